// The Redis bus while its server dies, forgets its tail, hangs and comes back.
#include "core/random.h"
#include "drivers/bus/redis/redis_bus_fixture.h"

namespace utp::redis_bus_test {
namespace {

class RedisBusFaults : public BusFixture {};

TEST_F(RedisBusFaults, AServerThatIsAwayIsUnavailableAndEverythingGoesOnWhenItIsBack) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 10);
  const auto before = receive(*reader, 10);
  EXPECT_EQ(receive(*lone, 10).size(), 10u);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[4].position));
  server_->stop(SIGTERM);
  const auto refused = publish(*writer, 10, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable) << refused.error().message;
  EXPECT_TRUE(refused.error().retryable);
  const auto polled = reader->poll(10, 1 << 20, 0);
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, Code::kUnavailable);
  EXPECT_FALSE(reader->acknowledge(kTopic, 0, before[5].position));
  server_->start();
  expect_published(*writer, 10, 5);
  const auto after = receive(*reader, 5);
  EXPECT_EQ(numbers(after), range(10, 5));
  EXPECT_GT(after[0].position, before[9].position);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(10, 5));
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, after.back().position)) << "the lease has outlived the restart";
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(stats().published, 15u);
  EXPECT_EQ(stats().lost, 0u);
  EXPECT_EQ(lost(*lone), 0u);
}

TEST_F(RedisBusFaults, KilledServersLoseNothingThatWasAcknowledgedAndOrderHolds) {
  start();
  auto writer = publisher(Durability::kCommit);
  auto reader = subscribe("g");
  const std::uint64_t seed = 20261122;
  Random random(seed);
  int next = 0;
  for (int round = 0; round < 8; ++round) {
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(20'000)));
      server_->stop(SIGKILL);
      server_->start();
    });
    for (int batch = 0; batch < 40; ++batch, next += 10) publish_until_done(*writer, next, 10);
    killer.join();
  }
  // Repeated batches stand twice; each number's first delivery comes in order.
  int expected = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (expected < next && std::chrono::steady_clock::now() < deadline) {
    const auto got = reader->poll(1000, 1 << 20, kSecond);
    if (!got) continue;
    for (const InMessage& m : *got) {
      const int number = std::stoi(std::string(m.value));
      ASSERT_LE(number, expected) << "seed " << seed;
      expected = std::max(expected, number + 1);
    }
    if (!got->empty()) (void)reader->acknowledge(kTopic, 0, got->back().position);
  }
  EXPECT_EQ(expected, next) << "seed " << seed;
  EXPECT_EQ(stats().lost, 0u);
}

TEST_F(RedisBusFaults, ALostTailIsCountedOnceAndItsPositionsDoNotComeAgain) {
  start({"--appendfsync", "everysec"});
  auto writer = publisher();
  auto other = publisher();
  auto reader = subscribe();
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  for (int i = 10; i < 15; ++i) expect_published(*other, i * 10, 10);
  const auto before = receive(*reader, 150);
  server_->lose_tail(4000);
  const std::uint64_t kept = stats().published;
  ASSERT_LT(kept, 150u);
  ASSERT_GT(kept, 0u);
  EXPECT_EQ(kept % 10, 0u) << "a publish is kept whole or not at all";
  publish_until_done(*writer, 1000, 5);
  publish_until_done(*other, 1005, 5);
  const TopicStats after = stats();
  EXPECT_EQ(after.published, kept + 10);
  EXPECT_EQ(after.lost, 150 - kept);
  expect_published(*writer, 1010, 1);
  EXPECT_EQ(stats().lost, 150 - kept);
  const auto got = receive(*reader, 11);
  EXPECT_EQ(numbers(got), range(1000, 11));
  EXPECT_GT(got[0].position, before.back().position);
}

TEST_F(RedisBusFaults, SyncCountsALostTailToo) {
  start({"--appendfsync", "everysec"});
  auto writer = publisher();
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  server_->lose_tail(3000);
  const std::uint64_t kept = stats().published;
  EXPECT_TRUE(writer->sync() || writer->sync()) << "the first may meet the broken connection";
  EXPECT_EQ(stats().lost, 100 - kept);
}

TEST_F(RedisBusFaults, PublishTimesAreFoundAcrossStartsOfTheServer) {
  start();
  auto writer = publisher();
  for (int start_number = 0; start_number < 3; ++start_number) {
    for (int i = 0; i < 5; ++i) {
      publish_until_done(*writer, start_number * 50 + i * 10, 10);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    server_->stop(SIGKILL);
    server_->start();
  }
  const auto all = receive(*subscribe(), 150);
  ASSERT_EQ(all.size(), 150u);
  for (std::size_t at = 0; at < all.size(); at += 7) {
    std::size_t first = at;
    while (first > 0 && all[first - 1].time == all[at].time) --first;
    const auto got = receive(*subscribe("", {Start::Kind::kTime, all[at].time}), all.size() - first);
    ASSERT_FALSE(got.empty());
    EXPECT_EQ(got[0].number, all[first].number) << at;
  }
}

TEST_F(RedisBusFaults, AServerThatHangsIsUnavailable) {
  start();
  RedisBusOptions options = server_->options();
  options.answer_timeout_ns = kSecond / 5;
  bus_ = open(options);
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 1);
  EXPECT_EQ(receive(*reader, 1).size(), 1u);
  ::kill(server_->pid(), SIGSTOP);
  const auto status = publish(*writer, 1, 1);
  const auto polled = reader->poll(1, 1000, 0);
  ::kill(server_->pid(), SIGCONT);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, Code::kUnavailable);
  publish_until_done(*writer, 2, 1);
  const auto got = receive(*reader, 2);  // what was sent to the server that hung may have been taken
  EXPECT_EQ(numbers(got), range(1, 2));
}

TEST_F(RedisBusFaults, AServerThatIsNotThereIsNamed) {
  start();
  RedisBusOptions options = server_->options();
  bus_.reset();
  server_->stop(SIGTERM);
  const auto bus = open_redis_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnavailable);
  EXPECT_NE(bus.error().message.find("127.0.0.1:" + std::to_string(options.port)), std::string::npos)
      << bus.error().message;
}

}  // namespace
}  // namespace utp::redis_bus_test
