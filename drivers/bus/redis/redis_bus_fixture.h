// What the tests of the Redis bus share.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/log.h"
#include "drivers/bus/redis/redis_bus.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::redis_bus_test {

inline constexpr const char* kTopic = "utp.test.local.quotes.v2";
inline constexpr const char* kStream = "utp:{utp.test.local.quotes.v2}:0";
inline constexpr std::int64_t kSecond = 1'000'000'000;

class BusFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    if (RedisServer::program().empty()) GTEST_SKIP() << RedisServer::kMissing;
    log::set_level(log::Level::kError);
  }
  void start(std::vector<std::string> settings = {}) {
    server_ = std::make_unique<RedisServer>(std::move(settings));
    ASSERT_TRUE(server_->is_running()) << "see " << server_->folder() << "/log";
    bus_ = open(server_->options());
    ASSERT_NE(bus_, nullptr);
  }
  std::unique_ptr<Bus> open(const RedisBusOptions& options) {
    auto bus = open_redis_bus(options);
    if (!bus) ADD_FAILURE() << bus.error().message;
    return bus ? std::move(*bus) : nullptr;
  }
  std::unique_ptr<Publisher> publisher(Durability durability = Durability::kInterval) {
    auto made = bus_->publisher({durability});
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  static Status publish(Publisher& publisher, int first, int count, std::size_t size = 0) {
    std::vector<std::string> values;
    for (int i = first; i < first + count; ++i) {
      values.push_back(std::to_string(i));
      values.back().resize(std::max(size, values.back().size()), ' ');
    }
    std::vector<OutMessage> messages;
    for (const std::string& value : values) messages.push_back({kTopic, "K", value});
    return publisher.publish(messages);
  }
  static void expect_published(Publisher& writer, int first, int count, std::size_t size = 0) {
    const auto status = publish(writer, first, count, size);
    EXPECT_TRUE(status) << status.error().message;
  }
  // Repeats while the server is away, as a publisher's owner does.
  static void publish_until_done(Publisher& writer, int first, int count) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    for (;;) {
      const auto status = publish(writer, first, count);
      if (status) return;
      ASSERT_TRUE(status.error().retryable) << status.error().message;
      ASSERT_LT(std::chrono::steady_clock::now(), deadline) << status.error().message;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  }
  std::unique_ptr<Subscription> subscribe(const std::string& group = "", Start start = {}) {
    SubscriptionOptions options;
    options.patterns = {kTopic};
    options.group = group;
    options.start = start;
    auto made = bus_->subscribe(options);
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  struct Message {
    int number;
    std::uint64_t position;
    Timestamp time;
    std::uint32_t partition;
  };
  // Polls until `count` messages are there; what the server's absence refuses is asked for again.
  static std::vector<Message> receive(Subscription& subscription, std::size_t count) {
    std::vector<Message> all;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (all.size() < count && std::chrono::steady_clock::now() < deadline) {
      const auto got = subscription.poll(count - all.size(), 64 << 20, kSecond / 10);
      if (!got && got.error().retryable) {
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        continue;
      }
      EXPECT_TRUE(got) << got.error().message;
      if (!got) break;
      for (const InMessage& m : *got) all.push_back({std::stoi(std::string(m.value)), m.position, m.publish_time, m.partition});
    }
    EXPECT_EQ(all.size(), count);
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
  TopicStats stats() {
    auto all = bus_->stats(kTopic);
    for (int i = 0; i < 100 && !all && all.error().retryable; ++i) all = bus_->stats(kTopic);
    if (!all || all->size() != 1) {
      ADD_FAILURE() << (all ? "no such topic" : all.error().message);
      return {};
    }
    return all->front();
  }
  GroupStats group(const std::string& name) {
    for (GroupStats& g : stats().groups) {
      if (g.group == name) return g;
    }
    ADD_FAILURE() << "no group " << name;
    return {};
  }
  static std::uint64_t lost(Subscription& subscription) {
    std::uint64_t count = 0;
    for (const LostRange& range : subscription.take_lost()) count += range.count;
    return count;
  }

  std::unique_ptr<RedisServer> server_;
  std::unique_ptr<Bus> bus_;
};

}  // namespace utp::redis_bus_test
