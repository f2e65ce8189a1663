// Bridge and comparison, between two embedded buses.
#include "bus/bridge.h"

#include <cstdlib>
#include <filesystem>

#include <gtest/gtest.h>

#include "bus/compare.h"
#include "core/log.h"
#include "drivers/bus/embedded/embedded_bus.h"

namespace utp {
namespace {

constexpr const char* kTopic = "utp.prod.us.quotes.v2";

// Publishes, then says that it did not when `fails` says so: what a connection does that is cut before the answer.
class Doubtful final : public Bus {
 public:
  explicit Doubtful(Bus& inner) : inner_(inner) {}
  class Out final : public Publisher {
   public:
    Out(std::unique_ptr<Publisher> inner, int& failures) : inner_(std::move(inner)), failures_(failures) {}
    Status publish(std::span<const OutMessage> messages) override {
      const bool fails = failures_ > 0;
      if (fails) --failures_;
      UTP_CHECK(inner_->publish(fails ? messages.first(messages.size() / 2 + 1) : messages));
      return fails ? fail(Code::kUnavailable, "the connection was cut", true) : Status();
    }
    Status sync() override { return inner_->sync(); }

   private:
    std::unique_ptr<Publisher> inner_;
    int& failures_;
  };
  Status configure_topic(std::string_view topic, const TopicOptions& options) override { return inner_.configure_topic(topic, options); }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    UTP_TRY(auto inner, inner_.publisher(options));
    return std::unique_ptr<Publisher>(std::make_unique<Out>(std::move(inner), failures));
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override { return inner_.subscribe(options); }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return inner_.stats(pattern); }
  Status trim() override { return inner_.trim(); }
  Status delete_group(std::string_view group) override { return inner_.delete_group(group); }

  int failures = 0;

 private:
  Bus& inner_;
};

class BridgeTest : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "utp_bridge_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    near_ = open("near");
    far_ = open("far");
  }
  void TearDown() override {
    near_.reset();
    far_.reset();
    std::filesystem::remove_all(folder_);
  }
  std::unique_ptr<Bus> open(const std::string& name) { return std::move(*open_embedded_bus({.directory = folder_ + "/" + name})); }

  static void publish(Bus& bus, int first, int count, const std::string& topic = kTopic, int keys = 3) {
    std::vector<std::pair<std::string, std::string>> texts;
    for (int i = first; i < first + count; ++i) texts.emplace_back("K" + std::to_string(i % keys), std::to_string(i));
    std::vector<OutMessage> messages;
    for (const auto& [key, value] : texts) messages.push_back({topic, key, value});
    const auto done = (*bus.publisher({.durability = Durability::kInterval}))->publish(messages);
    ASSERT_TRUE(done) << done.error().message;
  }
  static std::vector<std::string> values(Bus& bus, const std::string& topic = kTopic) {
    auto reader = *bus.subscribe({.patterns = {topic}});
    std::vector<std::string> out;
    for (;;) {
      const auto messages = reader->poll(10'000, 64 << 20, 0);
      EXPECT_TRUE(messages) << messages.error().message;
      if (!messages || messages->empty()) return out;
      for (const InMessage& m : *messages) out.emplace_back(m.value);
    }
  }
  static std::vector<std::string> numbers(int first, int count) {
    std::vector<std::string> out;
    for (int i = first; i < first + count; ++i) out.push_back(std::to_string(i));
    return out;
  }
  static BridgeOptions options() {
    BridgeOptions o;
    o.filter.patterns = {"utp.>"};
    o.batch_messages = 100;
    return o;
  }
  static std::unique_ptr<Bridge> bridge(Bus& from, Bus& to, BridgeOptions o = options()) {
    auto made = Bridge::create(from, to, std::move(o));
    EXPECT_TRUE(made) << made.error().message;
    return std::move(*made);
  }
  // Until nothing is left.
  static BridgeStats run(Bridge& bridge) {
    for (int i = 0; i < 1000; ++i) {
      const auto done = bridge.step(0);
      if (!done && done.error().retryable) continue;
      EXPECT_TRUE(done) << done.error().message;
      if (!done || *done == 0) break;
    }
    return bridge.stats();
  }
  static TopicComparison compare_topic(Bus& from, Bus& to) {
    CompareOptions o;
    o.filter.patterns = {kTopic};
    const auto all = compare(from, to, o);
    EXPECT_TRUE(all) << all.error().message;
    EXPECT_EQ(all->size(), 1u);
    return all->empty() ? TopicComparison{} : all->front();
  }

  std::string folder_;
  std::unique_ptr<Bus> near_, far_;
};

TEST_F(BridgeTest, CopiesInOrderAndGoesOnWhereItStopped) {
  publish(*near_, 0, 250);
  EXPECT_EQ(run(*bridge(*near_, *far_)).forwarded, 250u);
  publish(*near_, 250, 250);
  auto again = bridge(*near_, *far_);
  EXPECT_EQ(*again->waiting(), 250u);
  EXPECT_EQ(run(*again).forwarded, 250u);
  EXPECT_EQ(*again->waiting(), 0u);
  EXPECT_EQ(values(*far_), numbers(0, 500));
}

TEST_F(BridgeTest, ABatchWhoseFateIsUnknownIsNotSentTwice) {
  publish(*near_, 0, 500);
  Doubtful far(*far_);
  far.failures = 1;
  auto copy = bridge(*near_, far);
  EXPECT_FALSE(copy->step(0));
  EXPECT_EQ(copy->stats().last_error, "the connection was cut");
  EXPECT_EQ(values(*far_).size(), 51u);
  far.failures = 3;
  const BridgeStats stats = run(*copy);
  EXPECT_EQ(stats.last_error, "");
  EXPECT_GT(stats.already_there, 51u);
  EXPECT_EQ(values(*far_), numbers(0, 500));
}

TEST_F(BridgeTest, ABridgeThatDiedBeforeItCouldAcknowledgeSendsNothingTwice) {
  publish(*near_, 0, 1000);
  run(*bridge(*near_, *far_));
  // Like a bridge whose acknowledgement of the last batch is missing: a group that begins a batch before the end.
  publish(*far_, 5000, 300);  // and another program has written since
  BridgeOptions o = options();
  o.group = "other";
  o.batch_messages = 1000;
  const BridgeStats stats = run(*bridge(*near_, *far_, o));
  EXPECT_EQ(stats.already_there, 1000u);
  EXPECT_EQ(stats.forwarded, 0u);
}

TEST_F(BridgeTest, FiltersByRealmRegionAndSymbolAndPassesDeadLettersBy) {
  publish(*near_, 0, 9);
  publish(*near_, 100, 3, "utp.prod.eu.quotes.v2");
  publish(*near_, 200, 3, "utp.test.us.quotes.v2");
  publish(*near_, 300, 3, std::string(kTopic) + ".dlq");
  BridgeOptions o = options();
  o.filter.realms = {"prod"};
  o.filter.regions = {"us"};
  o.filter.symbols = {"K0", "K2"};
  const BridgeStats stats = run(*bridge(*near_, *far_, o));
  EXPECT_EQ(values(*far_), (std::vector<std::string>{"0", "2", "3", "5", "6", "8"}));
  EXPECT_EQ(stats.filtered, 3u + 3 + 3);
  EXPECT_EQ(far_->stats(">")->size(), 1u);
  o.filter = {};
  o.filter.patterns = {"utp.>.dlq"};
  o.group = "letters";
  EXPECT_EQ(run(*bridge(*near_, *far_, o)).forwarded, 3u);
}

TEST_F(BridgeTest, TwoBridgesThatForwardTheirOwnRegionMakeNoLoop) {
  publish(*near_, 0, 50, "utp.prod.us.quotes.v2");
  publish(*far_, 0, 50, "utp.prod.eu.quotes.v2");
  BridgeOptions us = options(), eu = options();
  us.filter.regions = {"us"};
  eu.filter.regions = {"eu"};
  auto there = bridge(*near_, *far_, us);
  auto back = bridge(*far_, *near_, eu);
  for (int i = 0; i < 3; ++i) {
    run(*there);
    run(*back);
  }
  for (Bus* bus : {near_.get(), far_.get()}) {
    const auto topics = bus->stats(">");
    ASSERT_TRUE(topics);
    EXPECT_EQ(topics->size(), 2u);
    for (const TopicStats& topic : *topics) EXPECT_EQ(topic.messages, 50u) << topic.topic;
  }
}

TEST_F(BridgeTest, AFarTopicIsMadeLikeTheNearOneAndLeftAloneWhenItIsThere) {
  ASSERT_TRUE(near_->configure_topic(kTopic, {.partitions = 3, .retention_ns = 3600'000'000'000, .retention_bytes = 32 << 20}));
  publish(*near_, 0, 10);
  publish(*near_, 0, 10, "utp.prod.us.trades.v2");
  ASSERT_TRUE(far_->configure_topic("utp.prod.us.trades.v2", {.partitions = 2, .retention_bytes = 64 << 20}));
  run(*bridge(*near_, *far_));
  const TopicStats made = far_->stats(kTopic)->front();
  EXPECT_EQ(made.partitions, 3u);
  EXPECT_EQ(made.retention_ns, 3600'000'000'000);
  EXPECT_NE(made.retention_bytes, 32u << 20) << "the far bus's own";
  EXPECT_EQ(far_->stats("utp.prod.us.trades.v2")->front().retention_bytes, 64u << 20);
  EXPECT_EQ(far_->stats("utp.prod.us.trades.v2")->front().messages, 10u);
}

TEST_F(BridgeTest, ComparingFindsWhatIsMissingExtraTwiceAndOutOfOrder) {
  publish(*near_, 0, 1000);
  run(*bridge(*near_, *far_));
  TopicComparison same = compare_topic(*near_, *far_);
  EXPECT_TRUE(same.equal());
  EXPECT_EQ(same.from_messages, 1000u);
  EXPECT_EQ(same.to_messages, 1000u);
  publish(*far_, 10, 5);     // twice
  publish(*far_, 2000, 3);   // only there
  TopicComparison more = compare_topic(*near_, *far_);
  EXPECT_TRUE(more.equal());
  EXPECT_EQ(more.to_messages, 1008u);
  EXPECT_EQ(more.to_distinct, 1003u);
  EXPECT_EQ(more.extra, 3u);
  publish(*near_, 3000, 7);
  TopicComparison less = compare_topic(*near_, *far_);
  EXPECT_FALSE(less.equal());
  EXPECT_EQ(less.missing, 7u);
  ASSERT_EQ(less.missing_examples.size(), 5u);
  EXPECT_EQ(less.missing_examples[0], "K0 3000");
  publish(*far_, 3003, 4, kTopic);
  publish(*far_, 3000, 3, kTopic);
  TopicComparison mixed = compare_topic(*near_, *far_);
  EXPECT_EQ(mixed.missing, 0u);
  EXPECT_GT(mixed.out_of_order, 0u);
  EXPECT_FALSE(mixed.equal());
}

TEST_F(BridgeTest, WhatComesAfterTheMarkIsNotWaitedForAndNotMissing) {
  publish(*near_, 0, 1000);
  auto copying = bridge(*near_, *far_);
  CompareOptions o;
  o.filter.patterns = {kTopic};
  o.until = *copying->mark();
  EXPECT_FALSE(*copying->has_reached(*o.until));
  const Timestamp marked = o.until->at(kTopic);
  while (SystemClock().now() <= marked) {
  }
  run(*copying);
  publish(*near_, 1000, 50);
  EXPECT_TRUE(*copying->has_reached(*o.until));
  (void)copying->step(0);
  publish(*near_, 1050, 50);
  const auto compared = compare(*near_, *far_, o);
  ASSERT_TRUE(compared) << compared.error().message;
  EXPECT_TRUE(compared->front().equal());
  EXPECT_EQ(compared->front().extra, 0u);
  EXPECT_FALSE(compare_topic(*near_, *far_).equal());
}

// What it reads comes in small parts, and only to who waits for it.
class Trickling final : public Bus {
 public:
  explicit Trickling(Bus& inner) : inner_(inner) {}
  class In final : public Subscription {
   public:
    explicit In(std::unique_ptr<Subscription> inner) : inner_(std::move(inner)) {}
    Result<std::span<const InMessage>> poll(std::size_t, std::size_t bytes_max, std::int64_t timeout_ns) override {
      if (timeout_ns == 0) return std::span<const InMessage>();
      return inner_->poll(1, bytes_max, timeout_ns);
    }
    Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) override { return inner_->acknowledge(topic, partition, position); }
    Status rewind() override { return inner_->rewind(); }
    std::vector<LostRange> take_lost() override { return inner_->take_lost(); }
    void interrupt() override { inner_->interrupt(); }

   private:
    std::unique_ptr<Subscription> inner_;
  };
  Status configure_topic(std::string_view topic, const TopicOptions& options) override { return inner_.configure_topic(topic, options); }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override { return inner_.publisher(options); }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    UTP_TRY(auto inner, inner_.subscribe(options));
    return std::unique_ptr<Subscription>(std::make_unique<In>(std::move(inner)));
  }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override { return inner_.stats(pattern); }
  Status trim() override { return inner_.trim(); }
  Status delete_group(std::string_view group) override { return inner_.delete_group(group); }

 private:
  Bus& inner_;
};

TEST_F(BridgeTest, ComparingReadsEveryPartitionToItsEnd) {
  ASSERT_TRUE(near_->configure_topic(kTopic, {.partitions = 4}));
  for (int i = 0; i < 8; ++i) {  // the newest in one partition, then in another
    publish(*near_, i * 100, 100, kTopic, 50);
    Trickling slow(*near_);
    const TopicComparison same = compare_topic(slow, slow);
    EXPECT_EQ(same.from_messages, 100u * (static_cast<unsigned>(i) + 1));
    EXPECT_TRUE(same.equal());
  }
}

TEST_F(BridgeTest, ComparingReadsFromATimeAndRefusesMoreThanItsLimit) {
  publish(*near_, 0, 100);
  const Timestamp later{near_->stats(kTopic)->front().last_time.ns + 1};
  while (SystemClock().now() <= later) {
  }
  publish(*near_, 100, 100);
  run(*bridge(*near_, *far_));
  CompareOptions o;
  o.filter.patterns = {kTopic};
  o.messages_max = 150;
  const auto all = compare(*near_, *far_, o);
  ASSERT_FALSE(all);
  EXPECT_EQ(all.error().code, Code::kFull);
  o.start = {Start::Kind::kTime, later};
  const auto part = compare(*near_, *far_, o);
  ASSERT_FALSE(part) << "the far side holds all of it since then";
  o.messages_max = 200;
  const auto fits = compare(*near_, *far_, o);
  ASSERT_TRUE(fits) << fits.error().message;
  EXPECT_EQ(fits->front().from_messages, 100u);
  EXPECT_EQ(fits->front().missing, 0u);
}

}  // namespace
}  // namespace utp
