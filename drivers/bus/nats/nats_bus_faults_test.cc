// The NATS bus while its server dies, forgets its tail, hangs and comes back, and while others remove what it has made.
#include <filesystem>

#include "bus/server_suite.h"
#include "drivers/bus/nats/nats_bus_fixture.h"

namespace utp::nats_bus_test {
namespace {

class NatsBusFaults : public BusFixture {};

class Harness final : public HarnessOn<NatsServer> {
  void keep_newest(std::uint64_t count) override { Operator(server_).purge_keeping(kStream, count); }
};

INSTANTIATE_TEST_SUITE_P(Nats, BusOnServer, ::testing::Values(on_server<Harness>("Nats", NatsServer::missing())), driver_name);

// ---- the server ----

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

// As 2.9 leaves it when it is killed while it makes a stream: the checksum of its settings is not there yet.
TEST_F(NatsBusFaults, AStreamThatTheServerForgetsAtItsStartIsTheOneThatItWas) {
  start();
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 10);
  const auto before = receive(*reader, 10);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[4].position));
  server_->stop(SIGKILL);
  const auto sum = std::filesystem::path(server_->folder()) / "data" / "jetstream" / "$G" / "streams" / kStream / "meta.sum";
  ASSERT_TRUE(std::filesystem::exists(sum));
  std::filesystem::resize_file(sum, 0);
  server_->start();
  publish_until_done(*writer, 10, 10);
  server_->stop(SIGKILL);
  server_->start();  // which finds it now
  publish_until_done(*writer, 20, 10);
  EXPECT_EQ(stats().lost, 0u);
  EXPECT_EQ(stats().messages, 30u);
  EXPECT_EQ(numbers(receive(*reader, 20)), range(10, 20)) << "nothing comes again";
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
