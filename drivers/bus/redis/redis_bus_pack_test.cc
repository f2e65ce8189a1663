// Several messages in one entry of a stream: positions and figures stay those of messages.
#include <map>

#include "drivers/bus/redis/keys.h"
#include "drivers/bus/redis/redis_bus_fixture.h"

namespace utp::redis_bus_test {
namespace {

class RedisBusPack : public BusFixture {
 protected:
  void start_packed(std::uint32_t pack, std::vector<std::string> settings = {}) {
    start(std::move(settings));
    ASSERT_NE(bus_, nullptr);
    configure(pack);
  }
  void configure(std::uint32_t pack) {
    const auto status = bus_->configure_topic(kTopic, {.partitions = 1, .pack = pack});
    ASSERT_TRUE(status) << status.error().message;
  }
  std::string entries() { return server_->command({"XLEN", kStream}); }
};

TEST_F(RedisBusPack, OneCallsMessagesStandInFewEntriesThatOthersCanRead) {
  start_packed(10);
  expect_published(*publisher(), 0, 25);
  EXPECT_EQ(entries(), ":4\r\n") << "the first alone, then ten, ten and four";
  const std::string last = server_->command({"XREVRANGE", kStream, "+", "-", "COUNT", "1"});
  EXPECT_NE(last.find("-25\r\n"), std::string::npos) << "the id has the number of its last message: " << last;
  EXPECT_NE(last.find("*4 2 1 K 2 1 K 2 1 K 2 1 K\r\n$8\r\n21222324\r\n"), std::string::npos) << last;
  const auto got = receive(*subscribe(), 25);
  EXPECT_EQ(numbers(got), range(0, 25));
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].position, got[0].position + i);
  EXPECT_EQ(stats().messages, 25u);
  EXPECT_EQ(stats().published, 25u);
}

TEST_F(RedisBusPack, AcknowledgesAndGoesBackInTheMiddleOfAnEntry) {
  start_packed(10);
  expect_published(*publisher(), 0, 21);
  {
    auto reader = subscribe("g");
    const auto got = receive(*reader, 21);
    EXPECT_TRUE(reader->acknowledge(kTopic, 0, got[14].position));
    EXPECT_EQ(group("g").lag, 6u);
    EXPECT_EQ(group("g").oldest_unread, got[15].time);
    const std::string groups = server_->command({"XINFO", "GROUPS", kStream});
    EXPECT_NE(groups.find("lag\r\n:6\r\n"), std::string::npos) << "the server's figure: " << groups;
    EXPECT_TRUE(reader->rewind());
    EXPECT_EQ(numbers(receive(*reader, 6)), range(15, 6));
  }
  auto reader = subscribe("g");
  EXPECT_EQ(numbers(receive(*reader, 6)), range(15, 6));
  EXPECT_EQ(lost(*reader), 0u);
}

TEST_F(RedisBusPack, TrimmedEntriesCountWithAllTheirMessages) {
  start_packed(10);
  auto writer = publisher();
  auto lone = subscribe();
  expect_published(*writer, 0, 5);
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 5)[2].position));
  EXPECT_EQ(receive(*lone, 5).size(), 5u);
  expect_published(*writer, 5, 31);
  server_->command({"XTRIM", kStream, "MAXLEN", "2"});  // 16 to 35 stay
  EXPECT_EQ(stats().messages, 20u);
  EXPECT_EQ(group("g").lag, 20u);
  EXPECT_EQ(group("g").trimmed_unread, 13u);
  EXPECT_EQ(numbers(receive(*reader, 20)), range(16, 20));
  EXPECT_EQ(lost(*reader), 13u);
  EXPECT_EQ(numbers(receive(*lone, 20)), range(16, 20));
  EXPECT_EQ(lost(*lone), 11u);
  server_->command({"XTRIM", kStream, "MAXLEN", "0"});
  EXPECT_EQ(stats().messages, 0u);
  expect_published(*writer, 36, 12);
  EXPECT_EQ(stats().published, 48u);
  EXPECT_EQ(numbers(receive(*lone, 12)), range(36, 12));
}

TEST_F(RedisBusPack, ALostTailIsCountedInMessages) {
  start_packed(10, {"--appendfsync", "everysec"});
  auto writer = publisher();
  for (int i = 0; i < 20; ++i) expect_published(*writer, i * 25, 25);
  const auto before = receive(*subscribe(), 500);
  server_->lose_tail(2000);
  const std::uint64_t kept = stats().published;
  ASSERT_LT(kept, 500u);
  ASSERT_GT(kept, 0u);
  EXPECT_EQ(kept % 25, 0u) << "a publish is kept whole or not at all";
  EXPECT_TRUE(writer->sync() || writer->sync()) << "the first may meet the broken connection";
  EXPECT_EQ(stats().lost, 500 - kept);
  expect_published(*writer, 1000, 11);
  const auto after = receive(*subscribe(), kept + 11);
  EXPECT_GT(after[kept].position, before.back().position);
  EXPECT_EQ(redis_bus::number_of(after.back().position), kept + 11);
}

TEST_F(RedisBusPack, PublishersWithAndWithoutPackingShareAPartition) {
  start_packed(1);
  auto plain = publisher();
  expect_published(*plain, 0, 3);
  configure(10);
  auto packing = publisher();
  auto other = publisher();
  int next = 3;
  for (int round = 0; round < 5; ++round) {
    for (Publisher* writer : {plain.get(), packing.get(), other.get()}) {
      expect_published(*writer, next, 12);
      next += 12;
    }
    if (round == 2) server_->command({"XTRIM", kStream, "MAXLEN", "0"});
  }
  EXPECT_EQ(stats().published, static_cast<std::uint64_t>(next));
  auto reader = subscribe();
  const auto got = receive(*reader, 72);
  EXPECT_EQ(numbers(got), range(next - 72, 72));
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].position, got[0].position + i);
}

TEST_F(RedisBusPack, AnEntryHasALimitInBytes) {
  start_packed(10);
  expect_published(*publisher(), 0, 10, {30'000});
  EXPECT_EQ(entries(), ":6\r\n") << "the first alone, then two each";
  EXPECT_EQ(numbers(receive(*subscribe(), 10)), range(0, 10));
}

TEST_F(RedisBusPack, ACallOfThousandsOverManyPartitionsKeepsTheOrderOfEach) {
  start();
  for (const std::uint32_t pack : {1u, 10u}) {
    const std::string wide = "utp.test.local.wide" + std::to_string(pack) + ".v1";
    const std::string lone = "utp.test.local.lone" + std::to_string(pack) + ".v1";
    ASSERT_TRUE(bus_->configure_topic(wide, {.partitions = 8, .pack = pack}));
    std::vector<std::pair<std::string, std::string>> texts;
    for (int i = 0; i < 6000; ++i) texts.emplace_back("key" + std::to_string(i % 100), std::to_string(i) + std::string(1000, ' '));
    std::vector<OutMessage> messages;
    for (std::size_t i = 0; i < texts.size(); ++i) messages.push_back({i % 1000 == 999 ? lone : wide, texts[i].first, texts[i].second});
    const auto status = publisher()->publish(messages);
    ASSERT_TRUE(status) << status.error().message;
    SubscriptionOptions options;
    options.patterns = {wide, lone};
    auto reader = bus_->subscribe(options);
    ASSERT_TRUE(reader);
    std::map<std::string, int> last;
    for (const Message& m : receive(**reader, 6000)) {
      int& before = last.try_emplace("key" + std::to_string(m.number % 100) + (m.number % 1000 == 999 ? " lone" : ""), -1).first->second;
      EXPECT_GT(m.number, before);
      before = m.number;
    }
  }
}

TEST_F(RedisBusPack, MayChangeAtAnyTimeAndARecordWithoutItMeansOne) {
  start_packed(10);
  configure(1);
  expect_published(*publisher(), 0, 5);
  EXPECT_EQ(entries(), ":5\r\n");
  for (const std::uint32_t bad : {0u, kRedisBusPackMax + 1}) {
    const auto status = bus_->configure_topic(kTopic, {.partitions = 1, .pack = bad});
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kInvalidArgument);
    EXPECT_NE(status.error().message.find("1 to 1000"), std::string::npos) << status.error().message;
  }
  std::string record = server_->command({"HGET", "utp:topics", kTopic});
  record = record.substr(record.find('\n') + 1);
  EXPECT_TRUE(record.ends_with(" 1\r\n")) << record;
  server_->command({"HSET", "utp:topics", kTopic, record.substr(0, record.size() - 4)});
  expect_published(*publisher(), 5, 5);
  EXPECT_EQ(entries(), ":10\r\n");
}

}  // namespace
}  // namespace utp::redis_bus_test
