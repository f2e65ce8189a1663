#include "connector/testing/real_input.h"
#include "connectors/coinbase/coinbase_frame.h"
#include "connectors/coinbase/coinbase_mapper.h"

namespace utp {
namespace {

class CoinbaseRealInput : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = std::string(UTP_FIXTURES_DIR) + "/coinbase/" + GetParam();
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << "the recordings are not here: " << path_;
  }
  std::string path_;
};

TEST_P(CoinbaseRealInput, HoldsExactlyWhatTheIndependentScriptCounts) {
  RealInputTally tally(market_plans());
  run_capture(path_, make_coinbase_mapper, "-", tally);
  const auto expected = independent_lines(std::string(UTP_SOURCE_DIR) + "/tests/independent_count.py", "coinbase", path_);
  ASSERT_FALSE(expected.empty()) << "tests/independent_count.py failed";
  EXPECT_EQ(tally.lines(), expected);
  EXPECT_EQ(tally.rejects, 0u) << tally.first_reject;
  EXPECT_EQ(tally.gaps, 0u);
  EXPECT_EQ(tally.commands, 0u);
  EXPECT_LT(tally.largest_payload, kEnvelopeBytesMax - 2048);
}

TEST_P(CoinbaseRealInput, GivesTheSameEventsEachTime) {
  RealInputTally first(market_plans()), second(market_plans());
  run_capture(path_, make_coinbase_mapper, "-", first);
  run_capture(path_, make_coinbase_mapper, "-", second);
  EXPECT_GT(first.events, 0u);
  EXPECT_EQ(first.digest, second.digest);
}

INSTANTIATE_TEST_SUITE_P(Recordings, CoinbaseRealInput,
                         ::testing::Values("cryptofeed_COINBASE_advanced_2026-08-09.jsonl.zst",
                                           "cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst"),
                         [](const auto& recording) { return std::string(recording.param).find("advanced") != std::string::npos ? "Advanced" : "Exchange"; });

TEST(CoinbaseReaderRealInput, ReadsEveryFrameTheSameByBothReaders) {
  const std::string folder = std::string(UTP_FIXTURES_DIR) + "/coinbase/";
  if (!std::filesystem::exists(folder)) GTEST_SKIP() << "the recordings are not here: " << folder;
  for (const char* const name : {"cryptofeed_COINBASE_advanced_2026-08-09.jsonl.zst", "cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst"}) {
    auto capture = open_capture(folder + name);
    ASSERT_TRUE(capture) << capture.error().message;
    CoinbaseReader fast_reader, general_reader;
    CoinbaseFrame fast, general;
    FrameError error;
    std::uint64_t frames = 0, fast_frames = 0;
    for (Frame frame; *(*capture)->next(frame);) {
      if (frame.kind != FrameKind::kWs) continue;
      ++frames;
      ASSERT_TRUE(general_reader.read_general(frame.bytes, general, error)) << error.message << " " << error.path;
      if (!fast_reader.read_fast(frame.bytes, fast)) continue;
      ++fast_frames;
      ASSERT_TRUE(fast == general) << frame.bytes.substr(0, 400);
    }
    EXPECT_GT(fast_frames, frames / 2) << name << ": the fast reader is hardly used";
  }
}

TEST(CoinbaseReaderRealInput, ReadsNothingOfAFrameThatIsCutAnywhere) {
  const std::string path = std::string(UTP_FIXTURES_DIR) + "/coinbase/cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst";
  if (!std::filesystem::exists(path)) GTEST_SKIP() << "the recordings are not here: " << path;
  auto capture = open_capture(path);
  ASSERT_TRUE(capture) << capture.error().message;
  CoinbaseReader reader;
  CoinbaseFrame read;
  FrameError error;
  std::uint64_t n = 0;
  for (Frame frame; *(*capture)->next(frame) && n < 400;) {
    if (frame.kind != FrameKind::kWs || frame.bytes.size() > 1000) continue;
    ++n;
    for (std::size_t size = 0; size < frame.bytes.size(); ++size) {
      ASSERT_FALSE(reader.read(frame.bytes.substr(0, size), read, error)) << frame.bytes.substr(0, size);
      ASSERT_FALSE(error.code.empty());
    }
  }
}

}  // namespace
}  // namespace utp
