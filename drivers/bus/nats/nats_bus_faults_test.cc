// The NATS bus while its server dies, forgets its tail, hangs and comes back, and while others remove what it has made.
#include "core/random.h"
#include "drivers/bus/nats/nats_bus_fixture.h"

namespace utp::nats_bus_test {
namespace {

class NatsBusFaults : public BusFixture {};

// ---- the server ----

TEST_F(NatsBusFaults, AServerThatIsAwayIsUnavailableAndEverythingGoesOnWhenItIsBack) {
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
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[5].position)) << "the lease has outlived the restart";
  const auto again = receive(*reader, 5);
  ASSERT_EQ(numbers(again), range(10, 5));
  EXPECT_GT(again[0].position, before[9].position);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(10, 5));
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, again.back().position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(stats().published, 15u);
  EXPECT_EQ(stats().lost, 0u);
  EXPECT_EQ(lost(*lone), 0u);
}

TEST_F(NatsBusFaults, KilledServersLoseNothingThatWasAcknowledgedAndOrderHolds) {
  start();
  auto writer = publisher(Durability::kCommit);
  auto reader = subscribe("g");
  const std::uint64_t seed = 20261123;
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

TEST_F(NatsBusFaults, ALostTailIsCountedOnceAndItsPositionsDoNotComeAgain) {
  start();
  auto writer = publisher();
  auto other = publisher();
  auto reader = subscribe();
  auto member = subscribe("g");
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  for (int i = 10; i < 15; ++i) expect_published(*other, i * 10, 10);
  const auto before = receive(*reader, 150);
  EXPECT_TRUE(member->acknowledge(kTopic, 0, receive(*member, 150)[144].position));
  server_->lose_tail(kStream, 4000);
  const std::uint64_t kept = stats().published;
  ASSERT_LT(kept, 140u);
  ASSERT_GT(kept, 0u);
  EXPECT_EQ(group("g").lag, 0u);
  publish_until_done(*writer, 1000, 50);
  publish_until_done(*other, 1050, 50);
  const TopicStats after = stats();
  EXPECT_EQ(after.published, kept + 100);
  EXPECT_EQ(after.lost, 150 - kept);
  EXPECT_EQ(group("g").lag, 100u);
  expect_published(*writer, 1100, 1);
  EXPECT_EQ(stats().lost, 150 - kept);
  const auto got = receive(*reader, 101);
  EXPECT_EQ(numbers(got), range(1000, 101)) << "though their sequences were used before";
  EXPECT_GT(got[0].position, before.back().position);
  const auto of_group = receive(*member, 101);
  EXPECT_EQ(numbers(of_group), range(1000, 101));
  EXPECT_TRUE(member->acknowledge(kTopic, 0, of_group.back().position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(group("g").trimmed_unread, 0u);
}

TEST_F(NatsBusFaults, SyncCountsALostTailToo) {
  start();
  auto writer = publisher();
  for (int i = 0; i < 10; ++i) expect_published(*writer, i * 10, 10);
  server_->lose_tail(kStream, 3000);
  const std::uint64_t kept = stats().published;
  ASSERT_LT(kept, 100u);
  EXPECT_TRUE(writer->sync());
  EXPECT_EQ(stats().lost, 100 - kept);
}

TEST_F(NatsBusFaults, ALostTailOfTheBucketRedeliversAndFences) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 10);
  const auto got = receive(*reader, 10);
  for (const Message& m : got) EXPECT_TRUE(reader->acknowledge(kTopic, 0, m.position));
  server_->lose_tail("KV_", 100'000);
  EXPECT_FALSE(reader->acknowledge(kTopic, 0, got[9].position)) << "its lease is gone with the bucket's entries";
  EXPECT_EQ(numbers(receive(*reader, 10)), range(0, 10));
  publish_until_done(*writer, 10, 5);
  const auto more = receive(*reader, 5);
  EXPECT_EQ(numbers(more), range(10, 5));
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, more.back().position));
  EXPECT_EQ(group("g").lag, 0u);
}

TEST_F(NatsBusFaults, PublishTimesAreFoundAcrossStartsOfTheServer) {
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

TEST_F(NatsBusFaults, AServerThatHangsIsUnavailable) {
  start();
  NatsBusOptions options = server_->options();
  options.answer_timeout_ns = kSecond / 5;
  bus_ = open(options);
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 1);
  EXPECT_EQ(receive(*reader, 1).size(), 1u);
  server_->pause();
  const auto status = publish(*writer, 1, 1);
  const auto polled = reader->poll(1, 1000, 0);
  server_->go_on();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, Code::kUnavailable);
  publish_until_done(*writer, 2, 1);
  // What was sent to the server that hung may have been taken, and the repetition of 2 as well.
  int last = 0;
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (last != 2 && std::chrono::steady_clock::now() < deadline) {
    const auto got = reader->poll(10, 1000, kSecond / 10);
    for (std::size_t i = 0; got && i < got->size(); ++i) {
      const int number = std::stoi(std::string((*got)[i].value));
      EXPECT_GE(number, last);
      last = number;
    }
  }
  EXPECT_EQ(last, 2);
}

TEST_F(NatsBusFaults, AServerThatIsNotThereIsNamed) {
  start();
  const NatsBusOptions options = server_->options();
  bus_.reset();
  server_->stop(SIGTERM);
  const auto bus = open_nats_bus(options);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnavailable);
  EXPECT_NE(bus.error().message.find("127.0.0.1:" + std::to_string(server_->port())), std::string::npos) << bus.error().message;
}

TEST_F(NatsBusFaults, AnInterruptEndsAWaitWhileTheServerHangs) {
  start();
  auto reader = subscribe();
  expect_published(*publisher(), 0, 1);
  EXPECT_EQ(receive(*reader, 1).size(), 1u);
  EXPECT_TRUE(reader->poll(1, 1000, 1'000'000));  // asks for what comes next
  server_->pause();
  reader->interrupt();
  const auto polled = reader->poll(1, 1000, 60 * kSecond);
  server_->go_on();
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, Code::kCancelled) << polled.error().message;
}

// ---- what others remove ----

TEST_F(NatsBusFaults, AStreamThatSomebodyRemovedIsMadeAgainWithNewPositions) {
  start();
  auto writer = publisher();
  auto other = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 10);
  expect_published(*other, 10, 10);
  const auto before = receive(*reader, 20);
  EXPECT_EQ(receive(*lone, 20).size(), 20u);
  Operator(*server_).remove_stream(kStream);
  expect_published(*writer, 20, 5);
  expect_published(*other, 25, 5);  // it does not know yet
  expect_published(*other, 30, 5);
  for (Subscription* subscription : {reader.get(), lone.get()}) {
    const auto after = receive(*subscription, 15);
    EXPECT_EQ(numbers(after), range(20, 15));
    EXPECT_GT(after[0].position, before[19].position);
    for (std::size_t i = 1; i < after.size(); ++i) EXPECT_GT(after[i].position, after[i - 1].position);
    if (subscription == lone.get()) continue;
    EXPECT_TRUE(reader->acknowledge(kTopic, 0, after.back().position));
  }
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(stats().published, 15u);
  EXPECT_EQ(stats().lost, 20u) << "confirmed, and not there any more";
}

TEST_F(NatsBusFaults, ATopicThatWasMadeAnewWithOtherPartitionsIsTakenAsItIs) {
  start();
  auto writer = publisher();
  auto reader = subscribe();
  const OutMessage first = {kTopic, "a", "1"};
  ASSERT_TRUE(writer->publish({&first, 1}));
  EXPECT_EQ(receive(*reader, 1).size(), 1u);
  Operator(*server_).remove_stream(kStream);
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 4}));
  const OutMessage second[] = {{kTopic, "a", "2"}, {kTopic, "b", "3"}, {kTopic, "c", "4"}};
  // The streams that it knows are there: it goes on with them until it looks again.
  auto fresh = publisher();
  ASSERT_TRUE(fresh->publish(second));
  EXPECT_EQ(stats().published, 3u);
  EXPECT_EQ(stats().partitions, 4u);
  EXPECT_EQ(receive(*reader, 3).size(), 3u);
}

TEST_F(NatsBusFaults, EverybodyGoesOnAfterTheBucketWasRemoved) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 10);
  const auto before = receive(*reader, 10);
  EXPECT_EQ(receive(*lone, 10).size(), 10u);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[4].position));
  Operator(*server_).remove_stream(kBucket);
  const auto status = reader->acknowledge(kTopic, 0, before.back().position);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFenced) << status.error().message;
  expect_published(*writer, 10, 5);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(10, 5));
  const auto after = receive(*reader, 15);
  EXPECT_EQ(numbers(after), range(0, 15)) << "nobody knows any more what the group had acknowledged";
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, after.back().position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(group("g").members.size(), 1u);
}

}  // namespace
}  // namespace utp::nats_bus_test
