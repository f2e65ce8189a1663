// What the tests of the Kafka bus share.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "core/log.h"
#include "drivers/bus/kafka/kafka_bus.h"
#include "drivers/bus/kafka/kafka_server.h"

namespace utp::kafka_bus_test {

inline constexpr const char* kTopic = "utp.test.local.quotes.v2";
inline constexpr std::int64_t kSecond = 1'000'000'000;
inline constexpr std::int64_t kPatience = 60 * kSecond;  // only a failure takes so long

inline std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

class BusFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = KafkaServer::missing(); !reason.empty()) GTEST_SKIP() << reason;
    log::set_level(log::Level::kOff);  // brokers that go away are what is tested
    prefix_ = KafkaServer::new_prefix();
  }
  void TearDown() override { log::set_level(log::Level::kInfo); }
  // On the broker that all tests share.
  void start() { open_on(KafkaServer::shared()); }
  // On one of its own, which the test may kill.
  void start_own(std::string settings = {}) {
    own_ = std::make_unique<KafkaServer>(std::move(settings));
    ASSERT_TRUE(own_->is_running()) << "see " << own_->folder() << "/output";
    open_on(*own_);
  }
  void open_on(KafkaServer& server) {
    options_ = server.options(prefix_);
    options_.answer_timeout_ns = 2 * kSecond;
    bus_ = open(options_);
    ASSERT_NE(bus_, nullptr);
  }
  std::unique_ptr<Bus> open(const KafkaBusOptions& options) {
    auto bus = open_kafka_bus(options);
    if (!bus) ADD_FAILURE() << bus.error().message;
    return bus ? std::move(*bus) : nullptr;
  }
  std::unique_ptr<Publisher> publisher(Durability durability = Durability::kInterval) {
    auto made = bus_->publisher({durability});
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  static Status publish(Publisher& publisher, int first, int count, const std::string& topic = kTopic) {
    std::vector<std::string> values;
    for (int i = first; i < first + count; ++i) values.push_back(std::to_string(i));
    std::vector<OutMessage> messages;
    for (const std::string& value : values) messages.push_back({topic, value, value});
    return publisher.publish(messages);
  }
  // What the broker's absence refuses is published again.
  static void expect_published(Publisher& writer, int first, int count, const std::string& topic = kTopic) {
    Status status = publish(writer, first, count, topic);
    for (const auto end = steady_ns() + kPatience; !status && status.error().retryable && steady_ns() < end;)
      status = publish(writer, first, count, topic);
    EXPECT_TRUE(status) << status.error().message;
  }
  std::unique_ptr<Subscription> subscribe(const std::string& group = "", const std::string& pattern = kTopic,
                                          std::int64_t lease_ns = 10 * kSecond) {
    SubscriptionOptions options;
    options.patterns = {pattern};
    options.group = group;
    options.lease_ns = lease_ns;
    auto made = bus_->subscribe(options);
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  struct Message {
    std::string topic;
    std::uint32_t partition;
    int number;
    std::uint64_t position;
    std::uint32_t attempt;
  };
  // Polls until `count` different messages are there; what the broker's absence refuses is asked for again.
  static std::vector<Message> receive(Subscription& subscription, std::size_t count) {
    std::vector<Message> all;
    std::set<int> seen;
    for (const auto end = steady_ns() + kPatience; seen.size() < count && steady_ns() < end;) {
      const auto got = subscription.poll(count, 64 << 20, kSecond / 10);
      if (!got && got.error().retryable) continue;
      EXPECT_TRUE(got) << got.error().message;
      if (!got) break;
      for (const InMessage& m : *got) {
        all.push_back({std::string(m.topic), m.partition, std::stoi(std::string(m.value)), m.position, m.attempt});
        seen.insert(all.back().number);
      }
    }
    EXPECT_EQ(seen.size(), count);
    return all;
  }
  static std::vector<int> numbers(const std::vector<Message>& messages) {
    std::vector<int> out;
    for (const Message& m : messages) out.push_back(m.number);
    return out;
  }
  static std::vector<int> range(int first, int count) {
    std::vector<int> out;
    for (int i = first; i < first + count; ++i) out.push_back(i);
    return out;
  }
  static void acknowledge(Subscription& subscription, const Message& message) {
    Status status = subscription.acknowledge(message.topic, message.partition, message.position);
    for (const auto end = steady_ns() + kPatience; !status && status.error().retryable && steady_ns() < end;) {
      status = subscription.acknowledge(message.topic, message.partition, message.position);
    }
    EXPECT_TRUE(status) << status.error().message;
  }
  TopicStats stats(const std::string& topic = kTopic) {
    auto all = bus_->stats(topic);
    for (const auto end = steady_ns() + kPatience; !all && all.error().retryable && steady_ns() < end;)
      all = bus_->stats(topic);
    if (!all || all->size() != 1) {
      ADD_FAILURE() << (all ? "no such topic" : all.error().message);
      return {};
    }
    return all->front();
  }
  static bool eventually(const std::function<bool()>& condition) {
    for (const auto end = steady_ns() + kPatience; !condition();) {
      if (steady_ns() > end) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return true;
  }
  static std::uint64_t lost(Subscription& subscription) {
    std::uint64_t count = 0;
    for (const LostRange& range : subscription.take_lost()) count += range.count;
    return count;
  }

  std::string prefix_;
  KafkaBusOptions options_;
  std::unique_ptr<KafkaServer> own_;
  std::unique_ptr<Bus> bus_;
};

}  // namespace utp::kafka_bus_test
