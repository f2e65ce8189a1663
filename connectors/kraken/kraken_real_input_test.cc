#include "connector/testing/real_input.h"
#include "connectors/kraken/kraken_mapper.h"

namespace utp {
namespace {

class KrakenRealInput : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    path_ = std::string(UTP_FIXTURES_DIR) + "/kraken/" + GetParam();
    if (!std::filesystem::exists(path_)) GTEST_SKIP() << "the recordings are not here: " << path_;
  }
  std::string path_;
};

TEST_P(KrakenRealInput, HoldsExactlyWhatTheIndependentScriptCounts) {
  RealInputTally tally(market_plans());
  run_capture(path_, make_kraken_mapper, "/", tally);
  const auto expected = independent_lines(std::string(UTP_SOURCE_DIR) + "/tests/independent_count.py", "kraken", path_);
  ASSERT_FALSE(expected.empty()) << "tests/independent_count.py failed";
  EXPECT_EQ(tally.lines(), expected);
  EXPECT_EQ(tally.rejects, 0u) << tally.first_reject;
  EXPECT_EQ(tally.gaps, 0u);
  EXPECT_EQ(tally.commands, 0u);
  EXPECT_LT(tally.largest_payload, kEnvelopeBytesMax - 2048);
}

TEST_P(KrakenRealInput, GivesTheSameEventsEachTime) {
  RealInputTally first(market_plans()), second(market_plans());
  run_capture(path_, make_kraken_mapper, "/", first);
  run_capture(path_, make_kraken_mapper, "/", second);
  EXPECT_GT(first.events, 0u);
  EXPECT_EQ(first.digest, second.digest);
}

INSTANTIATE_TEST_SUITE_P(Recordings, KrakenRealInput,
                         ::testing::Values("kraken_btcusd_l2.cbcap", "kraken_btcusd_sample.cbcap", "kraken_ethusd_sample.cbcap",
                                           "cryptofeed_KRAKEN_v1.jsonl.zst"),
                         [](const auto& recording) {
                           const std::string name = recording.param;
                           return name.substr(0, name.find('.'));
                         });

}  // namespace
}  // namespace utp
