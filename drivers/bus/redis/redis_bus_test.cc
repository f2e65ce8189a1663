// What the Redis bus does where the server, its settings or other programs get in its way.
#include "core/hash.h"
#include "drivers/bus/redis/redis_bus_fixture.h"

namespace utp::redis_bus_test {
namespace {

class RedisBus : public BusFixture {};

// ---- entries that others remove ----

TEST_F(RedisBus, LagIsRightWhereTheServersIsNot) {
  start();
  auto writer = publisher();
  expect_published(*writer, 0, 10);
  auto middle = subscribe("middle", {Start::Kind::kLatest, {}});
  expect_published(*writer, 10, 5);
  EXPECT_EQ(group("middle").lag, 5u);
  auto reader = subscribe("g");
  const auto got = receive(*reader, 15);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, got[9].position));
  const std::string id = std::to_string(got[4].position >> 42) + "-5";
  EXPECT_EQ(server_->command({"XDEL", kStream, id}), ":1\r\n");
  EXPECT_EQ(group("g").lag, 5u);
  EXPECT_EQ(group("middle").lag, 5u);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, got[14].position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(stats().published, 15u);
}

TEST_F(RedisBus, ProgressShowsInTheServersOwnTools) {
  start();
  expect_published(*publisher(), 0, 10);
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 10)[6].position));
  const std::string groups = server_->command({"XINFO", "GROUPS", kStream});
  EXPECT_NE(groups.find("-7\r\n"), std::string::npos) << groups;
  EXPECT_NE(groups.find("lag\r\n:3\r\n"), std::string::npos) << groups;
  // A group that somebody removed there comes back.
  server_->command({"XGROUP", "DESTROY", kStream, "g"});
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*subscribe(), 8).back().position));
  EXPECT_NE(server_->command({"XINFO", "GROUPS", kStream}).find("lag\r\n:2\r\n"), std::string::npos);
}

TEST_F(RedisBus, EverybodyGoesOnAfterTheServerWasEmptied) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 10);
  const auto before = receive(*reader, 10);
  EXPECT_EQ(receive(*lone, 10).size(), 10u);
  server_->command({"FLUSHALL"});
  expect_published(*writer, 10, 5);
  const auto status = reader->acknowledge(kTopic, 0, before.back().position);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFenced);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(10, 5));
  const auto after = receive(*reader, 5);
  EXPECT_EQ(numbers(after), range(10, 5));
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, after.back().position));
  EXPECT_EQ(group("g").lag, 0u);
}

TEST_F(RedisBus, ATopicThatWasMadeAnewWithOtherPartitionsIsTakenAsItIs) {
  start();
  auto writer = publisher();
  const OutMessage first[] = {{kTopic, "a", "1"}, {"utp.test.local.trades.v2", "a", "1"}};
  ASSERT_TRUE(writer->publish(first));
  server_->command({"FLUSHALL"});
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 4}));
  const OutMessage second[] = {
      {"utp.test.local.trades.v2", "a", "2"}, {kTopic, "a", "2"}, {kTopic, "b", "3"}, {kTopic, "c", "4"}};
  const auto status = writer->publish(second);
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().retryable) << status.error().message;
  ASSERT_TRUE(writer->publish(second));
  EXPECT_EQ(stats().published, 3u);
  EXPECT_EQ(stats().partitions, 4u);
  auto reader = subscribe();
  const auto got = reader->poll(10, 1 << 20, kSecond);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->size(), 3u);
  for (const InMessage& m : *got) EXPECT_EQ(m.partition, hash64(m.key) % 4) << m.key;
}

TEST_F(RedisBus, ATopicThatSomebodyRemovedAloneAndMadeAnewIsNoticedToo) {
  for (const bool with_streams : {true, false}) {
    start();
    auto writer = publisher();
    expect_published(*writer, 0, 5);
    server_->command({"HDEL", "utp:topics", kTopic});
    if (with_streams) server_->command({"DEL", kStream, std::string(kStream) + ":state"});
    ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 4}));
    const auto status = publish(*writer, 5, 3);
    ASSERT_FALSE(status);
    EXPECT_TRUE(status.error().retryable) << status.error().message;
    expect_published(*writer, 5, 3);
    EXPECT_EQ(stats().published, with_streams ? 3u : 8u);
    for (const Message& m : receive(*subscribe(), with_streams ? 3 : 8)) {
      if (m.number >= 5) {
        EXPECT_EQ(m.partition, hash64("K") % 4);
      }
    }
  }
}

TEST_F(RedisBus, EntriesOfAnotherProgramThatAreInTheWayAreNamed) {
  start();
  auto writer = publisher();
  expect_published(*writer, 0, 1);
  server_->command({"XADD", kStream, "*", "a", "b"});  // an id far ahead of ours
  const auto status = publish(*writer, 1, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kCorrupt);
  EXPECT_NE(status.error().message.find("another program"), std::string::npos) << status.error().message;
}

TEST_F(RedisBus, AStreamThatSomebodyRemovedIsMadeAgainWithNewPositions) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 10);
  const auto before = receive(*reader, 10);
  server_->command({"DEL", kStream});
  expect_published(*writer, 10, 5);
  const auto after = receive(*reader, 5);
  EXPECT_EQ(numbers(after), range(10, 5));
  EXPECT_GT(after[0].position, before[9].position);
  EXPECT_EQ(stats().published, 15u);
}

TEST_F(RedisBus, ForgottenScriptsComeBack) {
  start();
  auto writer = publisher();
  expect_published(*writer, 0, 1);
  server_->command({"SCRIPT", "FLUSH"});
  const auto status = publish(*writer, 1, 1);
  ASSERT_FALSE(status);
  EXPECT_TRUE(status.error().retryable) << status.error().message;
  expect_published(*writer, 1, 1);
  EXPECT_EQ(numbers(receive(*subscribe(), 2)), range(0, 2));
}

// ---- who may come in ----

TEST_F(RedisBus, SaysWhatIsWrongWithAPassword) {
  server_ = std::make_unique<RedisServer>(std::vector<std::string>{"--requirepass", "right"});
  RedisBusOptions options = server_->options();
  auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission);
  EXPECT_NE(bus.error().message.find("UTP_REDIS_PASSWORD"), std::string::npos) << bus.error().message;
  options.password = "wrong";
  bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission);
  EXPECT_NE(bus.error().message.find("refuses this user or password"), std::string::npos) << bus.error().message;
  EXPECT_EQ(bus.error().message.find("wrong"), std::string::npos);
  options.password = "right";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  expect_published(*publisher(), 0, 3);
  EXPECT_EQ(receive(*subscribe("g"), 3).size(), 3u);
}

TEST_F(RedisBus, SaysThatThereIsNoPasswordToGive) {
  start();
  RedisBusOptions options = server_->options();
  options.password = "extra";
  const auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission);
  EXPECT_NE(bus.error().message.find("has no password"), std::string::npos) << bus.error().message;
}

TEST_F(RedisBus, AUserWithTheRightsOfTheReadmeIsEnough) {
  start();
  server_->command({"ACL", "SETUSER", "chamber", "on", ">word", "~utp:*", "-@all", "+@stream", "+@hash", "+@set",
                    "+@scripting", "+del", "+exists", "+multi", "+exec", "+info", "+select", "+client|setname", "+memory|usage", "+time"});
  RedisBusOptions options = server_->options();
  options.user = "chamber";
  options.password = "word";
  bus_ = open(options);
  ASSERT_NE(bus_, nullptr);
  auto writer = publisher();
  for (int i = 0; i < 3; ++i) expect_published(*writer, i * 40, 40);
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 120).back().position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_TRUE(bus_->trim());
  EXPECT_TRUE(bus_->delete_group("g"));
}

TEST_F(RedisBus, AUserWithoutRightsIsTold) {
  start();
  server_->command({"ACL", "SETUSER", "nobody", "on", ">word", "+@all", "~other:*"});
  RedisBusOptions options = server_->options();
  options.user = "nobody";
  options.password = "word";
  bus_ = open(options);
  const auto status = publish(*publisher(), 0, 1);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kPermission) << status.error().message;
}

TEST_F(RedisBus, AUserWhoMayNotPublishInOneStepIsToldAtOnce) {
  start();
  server_->command({"ACL", "SETUSER", "nobody", "on", ">word", "~utp:*", "+@all", "-multi"});
  RedisBusOptions options = server_->options();
  options.user = "nobody";
  options.password = "word";
  const auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission) << bus.error().message;
  EXPECT_NE(bus.error().message.find("README"), std::string::npos) << bus.error().message;
}

// ---- durability and limits ----

TEST_F(RedisBus, AServerThatForgetsIsRefused) {
  start({"--appendonly", "no"});
  for (const Durability durability : {Durability::kCommit, Durability::kInterval}) {
    const auto made = bus_->publisher({durability});
    ASSERT_FALSE(made);
    EXPECT_EQ(made.error().code, Code::kUnsupported);
    EXPECT_NE(made.error().message.find("appendonly yes"), std::string::npos) << made.error().message;
  }
}

TEST_F(RedisBus, CommitWaitsForADiskThatIsSyncedEverySecond) {
  start({"--appendfsync", "everysec"});
  auto writer = publisher(Durability::kCommit);
  const auto begin = std::chrono::steady_clock::now();
  expect_published(*writer, 0, 1);
  EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST_F(RedisBus, AServerOutOfMemoryIsFullAndOrderHolds) {
  start({"--maxmemory", "4mb", "--maxmemory-policy", "noeviction"});
  auto writer = publisher();
  int next = 0;
  Status status;
  while (next < 20'000 && (status = publish(*writer, next, 50, {1000}))) next += 50;
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFull) << status.error().message;
  EXPECT_TRUE(status.error().retryable);
  EXPECT_EQ(stats().published, static_cast<std::uint64_t>(next)) << "a refused batch leaves nothing behind";
  server_->command({"CONFIG", "SET", "maxmemory", "0"});
  expect_published(*writer, next, 50, {1000});
  EXPECT_EQ(numbers(receive(*subscribe(), static_cast<std::size_t>(next) + 50)), range(0, next + 50));
}

TEST_F(RedisBus, AGrowingTopicIsTrimmedByItsPublisher) {
  start();
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 1, .retention_bytes = 1 << 20}));
  auto writer = publisher();
  for (int i = 0; i < 100; ++i) expect_published(*writer, i * 50, 50, {1000});
  EXPECT_LT(stats().bytes, (1u << 20) + (200u << 10));
  EXPECT_EQ(stats().published, 5000u);
}

}  // namespace
}  // namespace utp::redis_bus_test
