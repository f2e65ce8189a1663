// The disk spool in front of a remote bus: here the embedded bus is the spool, and what stands for the remote bus can be made to fail.
#include "bus/spooled_bus.h"

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <gtest/gtest.h>

#include "bus/testing/memory_bus.h"
#include "drivers/bus/embedded/embedded_bus.h"

namespace utp {
namespace {

using testing::MemoryBus;

// Lets a test keep hold of the bus that it hands over.
class SharedBus final : public Bus {
 public:
  explicit SharedBus(std::shared_ptr<MemoryBus> bus) : bus_(std::move(bus)) {}
  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    return away ? fail(Code::kUnavailable, "away", true) : bus_->configure_topic(topic, options);
  }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override { return bus_->publisher(options); }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return bus_->subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return bus_->stats(pattern); }
  Status trim() override { return bus_->trim(); }
  Status delete_group(std::string_view group) override { return bus_->delete_group(group); }

  static inline std::atomic<bool> away = false;

 private:
  std::shared_ptr<MemoryBus> bus_;
};

class SpooledBusTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "utp_spool_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    SharedBus::away = false;
    open();
  }
  void TearDown() override {
    publisher_.reset();
    bus_.reset();
    std::filesystem::remove_all(folder_);
  }

  void open(SpoolOptions options = {}, std::uint64_t bytes_max = 64 << 20) {
    publisher_.reset();
    bus_.reset();
    options.retry_min_ns = options.retry_max_ns = 1'000'000;
    auto spool = open_embedded_bus({.directory = folder_ + "/spool", .retention_bytes = bytes_max, .keep_unread = true});
    ASSERT_TRUE(spool) << spool.error().message;
    auto made = SpooledBus::create(std::make_unique<SharedBus>(remote_), std::move(*spool), std::move(options));
    ASSERT_TRUE(made) << made.error().message;
    bus_ = std::move(*made);
    publisher_ = std::move(*bus_->publisher({.durability = Durability::kInterval}));
  }
  Status publish(const std::string& value, const std::string& topic = "utp.r.x.t.v1") {
    const OutMessage message{topic, "key", value};
    return publisher_->publish({&message, 1});
  }
  void remote_fails(bool fails) {
    remote_->fail_with(fails ? std::optional(Error{Code::kUnavailable, "the server is away", true}) : std::nullopt);
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  bool forwarded() const { return eventually([&] { return !bus_->spool_stats()->spooling; }); }
  std::vector<std::string> values() const {
    std::vector<std::string> out;
    for (const auto& m : remote_->messages()) out.push_back(m.value);
    return out;
  }

  std::string folder_;
  std::shared_ptr<MemoryBus> remote_ = std::make_shared<MemoryBus>();
  std::unique_ptr<SpooledBus> bus_;
  std::unique_ptr<Publisher> publisher_;
};

TEST_F(SpooledBusTest, GoesStraightToABusThatTakesMessages) {
  ASSERT_TRUE(publish("1"));
  EXPECT_EQ(values(), std::vector<std::string>{"1"});
  EXPECT_FALSE(bus_->spool_stats()->spooling);
  EXPECT_EQ(bus_->spool_stats()->forwarded, 0u);
}

TEST_F(SpooledBusTest, BridgesABusThatIsAwayInOrder) {
  ASSERT_TRUE(publish("0"));
  remote_fails(true);
  std::vector<std::string> want = {"0"};
  for (int i = 1; i <= 3000; ++i) {
    ASSERT_TRUE(publish(std::to_string(i), i % 10 == 0 ? "utp.r.x.t.v1.dlq" : "utp.r.x.t.v1"));
    want.push_back(std::to_string(i));
  }
  const auto stats = bus_->spool_stats();
  ASSERT_TRUE(stats);
  EXPECT_TRUE(stats->spooling);
  EXPECT_EQ(stats->waiting, 3000u);
  EXPECT_NE(stats->oldest.ns, 0);
  EXPECT_EQ(stats->last_error, "the server is away");
  EXPECT_EQ(values(), std::vector<std::string>{"0"});
  remote_fails(false);
  for (int i = 3001; i <= 3100; ++i) {  // behind those that wait, or straight: never before them
    ASSERT_TRUE(publish(std::to_string(i)));
    want.push_back(std::to_string(i));
  }
  ASSERT_TRUE(forwarded());
  ASSERT_TRUE(publish("end"));
  want.push_back("end");
  auto of = [&](bool letters) {
    std::vector<std::string> out;
    for (const auto& m : remote_->messages()) {
      if (m.topic.ends_with(".dlq") == letters) out.push_back(m.value);
    }
    return out;
  };
  std::vector<std::string> events, letters;
  for (const std::string& value : want) {
    const int number = value == "end" ? 1 : std::stoi(value);
    (number % 10 == 0 && number > 0 && number <= 3000 ? letters : events).push_back(value);
  }
  EXPECT_EQ(of(false), events);
  EXPECT_EQ(of(true), letters);
  EXPECT_EQ(bus_->spool_stats()->waiting, 0u);
}

TEST_F(SpooledBusTest, WhatWaitsAtTheEndIsForwardedByTheNextProcess) {
  remote_fails(true);
  ASSERT_TRUE(publish("1"));
  ASSERT_TRUE(publish("2"));
  open();
  EXPECT_TRUE(bus_->spool_stats()->spooling);
  ASSERT_TRUE(publish("3"));
  EXPECT_TRUE(values().empty());
  remote_fails(false);
  ASSERT_TRUE(forwarded());
  EXPECT_EQ(values(), (std::vector<std::string>{"1", "2", "3"}));
}

TEST_F(SpooledBusTest, AFullSpoolSaysSoAndLosesNothing) {
  open({}, 1 << 20);
  remote_fails(true);
  const std::string large(60'000, 'x');
  Status status;
  std::size_t taken = 0;
  while (taken < 1000 && (status = publish(std::to_string(taken) + large))) ++taken;
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFull);
  EXPECT_TRUE(status.error().retryable);
  EXPECT_GT(taken, 5u);
  remote_fails(false);
  ASSERT_TRUE(forwarded());
  const auto got = values();
  ASSERT_EQ(got.size(), taken);
  for (std::size_t i = 0; i < taken; ++i) EXPECT_TRUE(got[i].starts_with(std::to_string(i) + "x"));
  EXPECT_TRUE(publish("on"));
}

TEST_F(SpooledBusTest, AMessageThatTheBusRefusesIsHandedOver) {
  std::vector<std::string> refused;
  std::mutex mutex;
  SpoolOptions options;
  options.refused = [&](const InMessage& message, const Error& error) {
    const std::lock_guard lock(mutex);
    refused.push_back(std::string(message.value) + ": " + std::string(to_string(error.code)));
  };
  open(options);
  remote_fails(true);
  ASSERT_TRUE(publish("1"));
  ASSERT_TRUE(publish("bad"));
  ASSERT_TRUE(publish("3"));
  remote_->refuse_values_with("bad");
  remote_fails(false);
  ASSERT_TRUE(forwarded());
  EXPECT_EQ(values(), (std::vector<std::string>{"1", "3"}));
  const std::lock_guard lock(mutex);
  ASSERT_EQ(refused.size(), 1u);
  EXPECT_TRUE(refused[0].starts_with("bad: ")) << refused[0];
  EXPECT_EQ(bus_->spool_stats()->refused, 1u);
  EXPECT_EQ(bus_->spool_stats()->forwarded, 2u);
}

TEST_F(SpooledBusTest, TopicsAreConfiguredWhenTheBusIsThere) {
  SharedBus::away = true;
  remote_fails(true);
  ASSERT_TRUE(bus_->configure_topic("utp.r.x.t.v1", {.partitions = 3}));
  ASSERT_TRUE(publish("1"));
  EXPECT_TRUE(remote_->topics().empty());
  SharedBus::away = false;
  remote_fails(false);
  ASSERT_TRUE(forwarded());
  ASSERT_TRUE(remote_->topics().contains("utp.r.x.t.v1"));
  EXPECT_EQ(remote_->topics()["utp.r.x.t.v1"].partitions, 3u);
  EXPECT_EQ(values(), std::vector<std::string>{"1"});
}

TEST_F(SpooledBusTest, AnErrorThatNoRepetitionMendsIsThePublishersOwn) {
  remote_->refuse_values_with("bad");
  const auto status = publish("bad");
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kInvalidArgument);
  EXPECT_FALSE(bus_->spool_stats()->spooling);
}

}  // namespace
}  // namespace utp
