#include "normalize/dead_letter.h"

#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "core/base64.h"
#include "schema/registry.h"

namespace utp {
namespace {

class DeadLetters : public ::testing::Test {
 protected:
  std::unique_ptr<DeadLetterWriter> writer(DeadLetterOptions options = {}) {
    options.realm = "prod";
    options.region = "local";
    auto made = DeadLetterWriter::create(registry_, clock_, std::move(options));
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }

  // A field of the event in `message`, as text.
  std::string field(const DeadLetterMessage& message, const char* name) {
    Violation violation;
    EXPECT_TRUE(reader_.read(message.value, event_, violation)) << violation.code << " " << violation.path << " " << violation.message;
    const auto column = event_.row.plan().column(name);
    if (!column) return "no such column";
    const Value& value = event_.row[*column];
    switch (value.kind) {
      case Kind::kText: return std::string(value.as_text());
      case Kind::kInteger: return std::to_string(value.as_integer());
      case Kind::kTime: return value.as_time().to_string();
      default: return "";
    }
  }

  Registry registry_ = std::move(*Registry::builtin());
  ManualClock clock_{Timestamp::from_seconds(1'700'000'000)};
  EventReader reader_{registry_};
  Event event_;
};

TEST_F(DeadLetters, KeepTheBytesAndWhereTheyCameFrom) {
  auto dead_letters = writer();
  const std::string original("\x00\xFF not json", 11);
  DeadLetter letter{.stage = DeadLetterStage::kRead, .code = "json", .path = "/payload", .message = "found \"x\", expected {",
                    .attempts = 3, .original = original, .origin_topic = "utp.prod.local.quotes.v2", .origin_partition = 1,
                    .origin_position = 77, .connector = "venue.us1", .receive_time = Timestamp{5}, .event_type = "quotes/v2",
                    .symbol = "BTC-USD"};
  EXPECT_EQ(dead_letters->add(letter), DeadLetterWriter::Outcome::kWritten);
  ASSERT_EQ(dead_letters->messages().size(), 1u);
  const DeadLetterMessage message = dead_letters->messages()[0];
  EXPECT_EQ(message.topic, "utp.prod.local.quotes.v2.dlq");
  EXPECT_EQ(message.key, "BTC-USD");
  EXPECT_EQ(decode_base64(field(message, "original")), original);
  EXPECT_EQ(field(message, "original_bytes"), "11");
  EXPECT_EQ(field(message, "stage"), "read");
  EXPECT_EQ(field(message, "code"), "json");
  EXPECT_EQ(field(message, "path"), "/payload");
  EXPECT_EQ(field(message, "attempts"), "3");
  EXPECT_EQ(field(message, "origin_partition"), "1");
  EXPECT_EQ(field(message, "origin_position"), "77");
  EXPECT_EQ(field(message, "connector"), "venue.us1");
  EXPECT_EQ(field(message, "receive_time"), Timestamp{5}.to_string());
}

TEST_F(DeadLetters, GoToTheFramesTopicWhenNoTopicIsKnown) {
  auto dead_letters = writer();
  dead_letters->add({.stage = DeadLetterStage::kMap, .code = "json", .original = "x", .connection = 0, .frame_kind = "ws"});
  EXPECT_EQ(dead_letters->messages()[0].topic, "utp.prod.local.system.frames.v1.dlq");
  EXPECT_EQ(field(dead_letters->messages()[0], "frame_kind"), "ws");
}

TEST_F(DeadLetters, SplitALargeOriginalIntoPartsThatTheBusTakes) {
  auto dead_letters = writer();
  std::string original;
  for (int i = 0; i < 250'000; ++i) original += std::to_string(i);
  dead_letters->add({.code = "size", .original = original, .origin_topic = "utp.prod.local.orderbook.v1"});
  ASSERT_GT(dead_letters->messages().size(), 1u);
  std::string joined;
  std::size_t part = 0;
  for (const DeadLetterMessage& message : dead_letters->messages()) {
    EXPECT_LE(message.value.size(), kEnvelopeBytesMax);
    EXPECT_EQ(field(message, "part"), std::to_string(part++));
    EXPECT_EQ(field(message, "parts"), std::to_string(dead_letters->messages().size()));
    joined += decode_base64(field(message, "original")).value_or("");
  }
  EXPECT_EQ(joined, original);
}

TEST_F(DeadLetters, CutTextsThatAreTooLongAndReplaceWhatIsNoUtf8) {
  auto dead_letters = writer();
  const std::string long_text(10'000, '\x01');
  const std::string bad = "caf\xC3\xA9 \xFF\xC3";
  dead_letters->add({.code = std::string(100, 'c'), .path = long_text, .message = bad + long_text, .original = "x",
                     .connector = std::string(300, 'i'), .symbol = "no\nsymbol"});
  ASSERT_EQ(dead_letters->messages().size(), 1u);
  const DeadLetterMessage message = dead_letters->messages()[0];
  EXPECT_EQ(message.key, "");
  EXPECT_EQ(field(message, "code").size(), 64u);
  EXPECT_EQ(field(message, "message").substr(0, 9), "caf\xC3\xA9 ???");
}

TEST_F(DeadLetters, CapAFloodPerConnectorCodeAndPath) {
  std::vector<std::string> overflowed;
  auto dead_letters = writer({.flood_per_minute = 3, .overflow = [&](const DeadLetter& letter) {
                                overflowed.emplace_back(letter.original);
                                return overflowed.size() <= 5;
                              }});
  for (int i = 0; i < 10; ++i) dead_letters->add({.code = "type", .path = "/a", .original = "x", .connector = "one"});
  for (int i = 0; i < 2; ++i) dead_letters->add({.code = "type", .path = "/b", .original = "y", .connector = "one"});
  EXPECT_EQ(dead_letters->messages().size(), 5u);
  EXPECT_EQ(overflowed.size(), 7u);
  DeadLetterStats stats = dead_letters->stats();
  EXPECT_EQ(stats.letters, 12u);
  EXPECT_EQ(stats.written, 5u);
  EXPECT_EQ(stats.overflowed, 5u);
  EXPECT_EQ(stats.dropped, 2u);
  dead_letters->clear();
  clock_.advance(60'000'000'000);
  EXPECT_EQ(dead_letters->add({.code = "type", .path = "/a", .original = "x", .connector = "one"}), DeadLetterWriter::Outcome::kWritten);
}

TEST_F(DeadLetters, RemembersABoundedNumberOfFloods) {
  auto dead_letters = writer({.flood_per_minute = 1, .flood_keys_max = 10, .overflow = {}});
  for (int i = 0; i < 1000; ++i) dead_letters->add({.code = "type", .path = "/" + std::to_string(i), .original = "x"});
  EXPECT_EQ(dead_letters->stats().written, 11u);  // ten of their own, and one for all others
}

TEST_F(DeadLetters, OverflowFileStopsAtItsLimit) {
  std::string folder = (std::filesystem::temp_directory_path() / "utp_dlq_XXXXXX").string();
  ASSERT_NE(::mkdtemp(folder.data()), nullptr);
  const std::string path = folder + "/overflow.jsonl";
  const DeadLetterOverflow overflow = overflow_file(path, 2000);
  int taken = 0;
  while (taken < 100 && overflow({.code = "type", .original = "abc"})) ++taken;
  EXPECT_GT(taken, 2);
  EXPECT_LT(taken, 20);
  EXPECT_LE(std::filesystem::file_size(path), 2000u);
  std::ifstream file(path);
  std::string line;
  ASSERT_TRUE(std::getline(file, line));
  EXPECT_NE(line.find(R"("original":"YWJj")"), std::string::npos) << line;
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace utp
