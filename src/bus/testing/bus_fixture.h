// What tests of buses share: numbered messages on one topic, published, received and counted.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "bus/bus.h"
#include "core/log.h"

namespace utp::bus_test {

inline constexpr const char* kTopic = "utp.test.local.quotes.v2";
inline constexpr std::int64_t kSecond = 1'000'000'000;
// How long a test waits for what must happen; only a failure ever takes so long.
inline constexpr std::int64_t kPatience = 60 * kSecond;

inline std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

inline bool eventually(const std::function<bool()>& condition) {
  for (const auto end = steady_ns() + kPatience; !condition();) {
    if (steady_ns() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

// What was asked for, or a failure of the test and nothing.
template <class T>
std::unique_ptr<T> made(Result<std::unique_ptr<T>> result) {
  if (!result) ADD_FAILURE() << result.error().message;
  return result ? std::move(*result) : nullptr;
}

// ---- publishing ----

struct Shape {
  std::size_t size = 0;  // values are padded to it
  std::string topic = kTopic;
  bool is_keyed = false;  // each number is its own key, so that they spread over partitions; otherwise all have one
};

inline Status publish(Publisher& writer, int first, int count, const Shape& shape = {}) {
  std::vector<std::pair<std::string, std::string>> texts;
  for (int i = first; i < first + count; ++i) {
    std::string number = std::to_string(i);
    std::string value = number;
    value.resize(std::max(shape.size, value.size()), ' ');
    texts.emplace_back(shape.is_keyed ? std::move(number) : "K", std::move(value));
  }
  std::vector<OutMessage> messages;
  for (const auto& [key, value] : texts) messages.push_back({shape.topic, key, value});
  return writer.publish(messages);
}

inline void expect_published(Publisher& writer, int first, int count, const Shape& shape = {}) {
  const auto status = publish(writer, first, count, shape);
  EXPECT_TRUE(status) << status.error().message;
}

// Repeats while the server is away, as a publisher's owner does.
inline void publish_until_done(Publisher& writer, int first, int count, const Shape& shape = {}) {
  for (const auto end = steady_ns() + kPatience;;) {
    const auto status = publish(writer, first, count, shape);
    if (status) return;
    ASSERT_TRUE(status.error().retryable) << status.error().message;
    ASSERT_LT(steady_ns(), end) << status.error().message;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

// ---- receiving ----

struct Message {
  int number;
  std::uint64_t position;
  Timestamp time;
  std::uint32_t partition;
  std::uint32_t attempt;
  std::string topic;
};

inline int number_of(const InMessage& m) { return std::stoi(std::string(m.value)); }
inline Message kept(const InMessage& m) {
  return {number_of(m), m.position, m.publish_time, m.partition, m.attempt, std::string(m.topic)};
}

enum class Counted : std::uint8_t { kAll, kDifferent };

// Polls until `count` messages are there; what the server's absence refuses is asked for again. kDifferent: where publishers
// have repeated what may have been taken, a number that comes twice counts once.
inline std::vector<Message> receive(Subscription& subscription, std::size_t count, Counted counted = Counted::kAll) {
  std::vector<Message> all;
  std::set<int> seen;
  std::string refused;
  const auto there = [&] { return counted == Counted::kAll ? all.size() : seen.size(); };
  for (const auto end = steady_ns() + kPatience; there() < count && steady_ns() < end;) {
    const auto got = subscription.poll(count - there(), 64 << 20, kSecond / 10);
    if (!got && got.error().retryable) {
      refused = got.error().message;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    EXPECT_TRUE(got) << got.error().message;
    if (!got) break;
    for (const InMessage& m : *got) {
      all.push_back(kept(m));
      seen.insert(all.back().number);
    }
  }
  EXPECT_EQ(there(), count) << refused;
  return all;
}

// Reads to the number before `end` and acknowledges. Repeated batches stand twice: each number's first delivery comes in
// order, and none is missing.
inline void expect_in_order(Subscription& reader, const std::function<int()>& end) {
  int expected = 0;
  EXPECT_TRUE(eventually([&] {
    const auto got = reader.poll(1000, 1 << 20, kSecond / 10);
    if (!got) {
      EXPECT_TRUE(got.error().retryable) << got.error().message;
      return false;
    }
    for (const InMessage& m : *got) {
      EXPECT_LE(number_of(m), expected);
      expected = std::max(expected, number_of(m) + 1);
    }
    if (!got->empty()) (void)reader.acknowledge(kTopic, 0, got->back().position);
    return expected == end();
  })) << expected << " of " << end();
}

inline std::vector<int> numbers(const std::vector<Message>& messages) {
  std::vector<int> out;
  for (const Message& m : messages) out.push_back(m.number);
  return out;
}

inline std::vector<int> range(int first, int count) {
  std::vector<int> out;
  for (int i = first; i < first + count; ++i) out.push_back(i);
  return out;
}

inline std::uint64_t lost(Subscription& subscription) {
  std::uint64_t count = 0;
  for (const LostRange& range : subscription.take_lost()) count += range.count;
  return count;
}

// ---- figures ----

// What the server's absence refuses is asked for again.
inline TopicStats stats(Bus& bus, const std::string& topic = kTopic) {
  auto all = bus.stats(topic);
  for (const auto end = steady_ns() + kPatience; !all && all.error().retryable && steady_ns() < end;) all = bus.stats(topic);
  if (!all || all->size() != 1) {
    ADD_FAILURE() << (all ? "topics: " + std::to_string(all->size()) : all.error().message);
    return {};
  }
  return all->front();
}

inline GroupStats group(Bus& bus, const std::string& name) {
  for (GroupStats& g : stats(bus).groups) {
    if (g.group == name) return g;
  }
  ADD_FAILURE() << "no group " << name;
  return {};
}

// ---- tests with one bus ----

class BusFixture : public ::testing::Test {
 protected:
  std::unique_ptr<Publisher> publisher(Durability durability = Durability::kInterval) {
    return made(bus_->publisher({durability}));
  }
  std::unique_ptr<Subscription> subscribe(const std::string& group = "", Start start = {}, const std::string& pattern = kTopic,
                                          std::int64_t lease_ns = 10 * kSecond) {
    SubscriptionOptions options;
    options.patterns = {pattern};
    options.group = group;
    options.start = start;
    options.lease_ns = lease_ns;
    return made(bus_->subscribe(options));
  }
  TopicStats stats(const std::string& topic = kTopic) { return bus_test::stats(*bus_, topic); }
  GroupStats group(const std::string& name) { return bus_test::group(*bus_, name); }

  std::unique_ptr<Bus> bus_;
};

// On a server of the test's own. A Server says why there can be none here (missing(), "" where there can), what to connect with
// (options()) and how (open()).
template <class Server>
class ServerFixture : public BusFixture {
 protected:
  using Options = decltype(std::declval<const Server&>().options());

  void SetUp() override {
    if (const std::string reason = Server::missing(); !reason.empty()) GTEST_SKIP() << reason;
    log::set_level(log::Level::kError);
  }
  // `settings`: more command-line arguments of the server.
  void start(std::vector<std::string> settings = {}) {
    server_ = std::make_unique<Server>(std::move(settings));
    ASSERT_TRUE(server_->is_running()) << "see the files in " << server_->folder();
    bus_ = open(server_->options());
    ASSERT_NE(bus_, nullptr);
  }
  void TearDown() override {
    bus_.reset();  // while its server is there
    server_.reset();
  }
  std::unique_ptr<Bus> open(const Options& options) { return made(Server::open(options)); }

  std::unique_ptr<Server> server_;
};

}  // namespace utp::bus_test
