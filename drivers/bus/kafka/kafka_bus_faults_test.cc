// The bus on Kafka when its broker dies, hangs, forgets, and when somebody else removes things.
#include <filesystem>
#include <map>
#include <set>

#include "drivers/bus/kafka/admin.h"
#include "drivers/bus/kafka/kafka_bus_fixture.h"

namespace utp::kafka_bus_test {
namespace {

class KafkaFaults : public BusFixture {
 protected:
  std::filesystem::path log_of(const std::string& topic) const {
    return std::filesystem::path(own_->folder()) / "data" / (prefix_ + topic + "-0") / "00000000000000000000.log";
  }
  // What was published last is deleted from the disk while the broker is dead.
  void lose_tail(std::uintmax_t bytes_kept) {
    own_->stop(SIGKILL);
    std::filesystem::resize_file(log_of(kTopic), bytes_kept);
    own_->start();
  }
};

void expect_unavailable(const Status& status, std::int64_t began_ns) {
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
  EXPECT_TRUE(status.error().retryable);
  EXPECT_LT(steady_ns() - began_ns, 20 * kSecond);
}

TEST_F(KafkaFaults, ABrokerThatIsKilledComesBackWithItsData) {
  start_own();
  const auto out = publisher();
  publish_until_done(*out, 0, 10);
  const auto reader = subscribe("g");
  const auto lone = subscribe();
  const auto first = receive(*reader, 10);
  acknowledge(*reader, first[3]);
  receive(*lone, 10);
  own_->stop(SIGKILL);
  const auto began = steady_ns();
  expect_unavailable(publish(*out, 10, 5), began);
  EXPECT_FALSE(bus_->stats(">"));
  own_->start();
  ASSERT_TRUE(own_->is_running());
  publish_until_done(*out, 10, 5);
  // The member's lease may have ended with the broker: then what it had not acknowledged comes again.
  std::set<int> seen;
  ASSERT_TRUE(eventually([&] {
    const auto got = reader->poll(100, 1 << 20, kSecond / 10);
    for (const InMessage& m : got ? *got : std::span<const InMessage>()) {
      EXPECT_GE(std::stoi(std::string(m.value)), 4) << "came again though it was acknowledged";
      seen.insert(std::stoi(std::string(m.value)));
    }
    return seen.contains(14);
  }));
  for (const int number : range(10, 5)) EXPECT_TRUE(seen.contains(number)) << number;
  const auto more = receive(*lone, 5);
  EXPECT_EQ(numbers(more).back(), 14);
  EXPECT_EQ(stats().lost, 0u);
}

TEST_F(KafkaFaults, ABrokerThatHangsIsUnavailableAndOrderSurvives) {
  start_own();
  const auto out = publisher();
  publish_until_done(*out, 0, 5);
  const auto lone = subscribe();
  EXPECT_EQ(numbers(receive(*lone, 5)), range(0, 5));
  own_->pause();
  auto began = steady_ns();
  expect_unavailable(publish(*out, 5, 20), began);
  began = steady_ns();
  const auto figures = bus_->stats(">");
  ASSERT_FALSE(figures);
  EXPECT_EQ(figures.error().code, Code::kUnavailable);
  EXPECT_LT(steady_ns() - began, 20 * kSecond);
  own_->go_on();
  publish_until_done(*out, 5, 20);
  publish_until_done(*out, 25, 5);
  // What the broker had taken before it hung comes twice; of each the first is in order.
  std::vector<int> firsts;
  std::set<int> seen;
  for (const int number : numbers(receive(*lone, 25))) {
    if (seen.insert(number).second) firsts.push_back(number);
  }
  EXPECT_EQ(firsts, range(5, 25));
}

TEST_F(KafkaFaults, AnInterruptEndsAPollWhileTheBrokerIsAway) {
  start_own();
  publish_until_done(*publisher(), 0, 1);
  const auto lone = subscribe();
  receive(*lone, 1);
  own_->stop(SIGKILL);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    lone->interrupt();
  });
  Code code = Code::kInternal;
  ASSERT_TRUE(eventually([&] {
    const auto got = lone->poll(10, 1000, kPatience);
    if (!got) code = got.error().code;
    return code == Code::kCancelled;
  }));
  other.join();
}

TEST_F(KafkaFaults, WhatABrokerLostIsCountedOnceAndReadersGoOn) {
  start_own();
  const auto out = publisher();
  const auto second = publisher();
  publish_until_done(*out, 0, 60);
  const auto kept = std::filesystem::file_size(log_of(kTopic));
  const auto reader = subscribe("g");
  const auto lone = subscribe();
  publish_until_done(*second, 60, 30);
  publish_until_done(*out, 90, 10);
  acknowledge(*reader, receive(*reader, 100).back());
  receive(*lone, 100);
  lose_tail(kept);
  ASSERT_TRUE(own_->is_running());
  ASSERT_TRUE(eventually([&] { return out->sync().has_value(); }));
  ASSERT_TRUE(eventually([&] { return second->sync().has_value(); }));
  EXPECT_EQ(stats().lost, 40u);
  EXPECT_EQ(stats().published, 100u);
  // Readers were further: they go on with what is new.
  const auto is_at_the_end = [&](Subscription& subscription) {
    const auto got = subscription.poll(100, 1 << 20, kSecond / 10);
    EXPECT_TRUE(!got || got->empty());
    return got.has_value();
  };
  ASSERT_TRUE(eventually([&] { return is_at_the_end(*lone); }));
  ASSERT_TRUE(eventually([&] { return is_at_the_end(*reader); }));
  publish_until_done(*out, 100, 5);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(100, 5));
  const auto more = receive(*reader, 5);
  EXPECT_EQ(numbers(more), range(100, 5));
  acknowledge(*reader, more.back());
  EXPECT_EQ(stats().groups.at(0).lag, 0u);
}

TEST_F(KafkaFaults, ATopicThatWasRemovedIsMadeAgain) {
  start_own();
  const auto out = publisher();
  publish_until_done(*out, 0, 10);
  const auto lone = subscribe();
  const auto reader = subscribe("g");
  receive(*lone, 10);
  acknowledge(*reader, receive(*reader, 10).back());
  const auto asking = kafka_bus::new_client(RD_KAFKA_PRODUCER, options_, {});
  ASSERT_TRUE(asking);
  const kafka_bus::Queue answers(rd_kafka_queue_new(asking->get()));
  rd_kafka_DeleteTopic_t* topics[] = {rd_kafka_DeleteTopic_new((prefix_ + kTopic).c_str())};
  rd_kafka_DeleteTopics(asking->get(), topics, 1, nullptr, answers.get());
  const kafka_bus::Event done(rd_kafka_queue_poll(answers.get(), 30'000));
  rd_kafka_DeleteTopic_destroy(topics[0]);
  ASSERT_TRUE(eventually([&] { return bus_->stats(">") && bus_->stats(">")->empty(); }));
  // Readers notice within seconds.
  const auto until = steady_ns() + 3 * kSecond;
  while (steady_ns() < until) {
    (void)lone->poll(10, 1000, kSecond / 10);
    (void)reader->poll(10, 1000, kSecond / 10);
  }
  publish_until_done(*out, 10, 5);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(10, 5));
  EXPECT_EQ(numbers(receive(*reader, 5)), range(10, 5));
}

}  // namespace
}  // namespace utp::kafka_bus_test
