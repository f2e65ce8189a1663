// The contract of bus/bus.h as tests. A driver's test file includes this once and instantiates BusContract with its harness:
//   INSTANTIATE_TEST_SUITE_P(Embedded, BusContract, ::testing::Values(utp::bus_contract::Driver{"Embedded", make_harness}));
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "model/envelope.h"

extern char** environ;

namespace utp::bus_contract {

// One fresh storage per test. Opening a second bus stands for another process of the application; opening one after all
// are destroyed for a restart.
class Harness {
 public:
  virtual ~Harness() = default;
  virtual Result<std::unique_ptr<Bus>> open() = 0;
  // The program around run_contract_child() and the arguments that come before its own; empty when there is none.
  virtual std::vector<std::string> child_command() = 0;
  // What retention by size may leave above its limit.
  virtual std::uint64_t retention_slack_bytes() const = 0;
  // The shortest lease that its server grants.
  virtual std::int64_t lease_min_ns() const { return 50'000'000; }
};

struct Driver {
  std::string name;
  std::function<std::unique_ptr<Harness>()> make;
  std::string missing;  // why the driver's server cannot be had here: its tests are skipped for this reason
};
inline std::ostream& operator<<(std::ostream& out, const Driver& driver) { return out << driver.name; }

inline constexpr std::int64_t kSecond = 1'000'000'000;
// How long a test waits for what must happen; only a failure ever takes so long.
inline constexpr std::int64_t kPatience = 30 * kSecond;

struct Received {
  std::string topic;
  std::uint32_t partition = 0;
  std::uint64_t position = 0;
  std::uint32_t attempt = 0;
  Timestamp time;
  std::string key, value;
};

class Child {
 public:
  explicit Child(const std::vector<std::string>& command) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    std::vector<char*> arguments;
    for (const std::string& a : command) arguments.push_back(const_cast<char*>(a.c_str()));
    arguments.push_back(nullptr);
    if (::posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ) != 0) pid_ = -1;
    posix_spawn_file_actions_destroy(&actions);
    ::close(ends[1]);
    out_ = ends[0];
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ > 0) kill();
    if (out_ >= 0) ::close(out_);
  }
  // The next line it wrote; "" at its end.
  std::string line() {
    std::string text;
    char c = 0;
    while (::read(out_, &c, 1) == 1 && c != '\n') text += c;
    return text;
  }
  void kill() {
    ::kill(pid_, SIGKILL);
    wait();
  }
  int wait() {
    int status = -1;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t pid_ = -1;
  int out_ = -1;
};

class BusContract : public ::testing::TestWithParam<Driver> {
 protected:
  static constexpr const char* kTopic = "utp.test.local.quotes.v2";

  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    harness_ = GetParam().make();
    ASSERT_NE(harness_, nullptr);
    reopen();
  }
  void TearDown() override {
    bus_.reset();
    harness_.reset();
  }
  void reopen() {
    bus_.reset();
    bus_ = open();
    ASSERT_NE(bus_, nullptr);
  }
  std::unique_ptr<Bus> open() {
    auto bus = harness_->open();
    if (!bus) {
      ADD_FAILURE() << bus.error().message;
      return nullptr;
    }
    return std::move(*bus);
  }

  std::unique_ptr<Publisher> publisher(Durability durability = Durability::kInterval) {
    auto made = bus_->publisher({durability});
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  void publish(const std::string& topic, const std::string& key, const std::vector<std::string>& values) {
    std::vector<OutMessage> messages;
    for (const std::string& value : values) messages.push_back({topic, key, value});
    const auto status = publisher()->publish(messages);
    ASSERT_TRUE(status) << status.error().message;
  }
  void publish_numbers(const std::string& topic, int first, int count) {
    std::vector<std::string> values;
    for (int i = first; i < first + count; ++i) values.push_back(std::to_string(i));
    publish(topic, "K", values);
  }

  SubscriptionOptions options(const std::string& pattern, const std::string& group = "", const std::string& member = "") {
    SubscriptionOptions result;
    result.patterns = {pattern};
    result.group = group;
    result.member = member;
    return result;
  }
  std::unique_ptr<Subscription> subscribe(const SubscriptionOptions& wanted) {
    auto made = bus_->subscribe(wanted);
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  std::unique_ptr<Subscription> subscribe(const std::string& pattern, const std::string& group = "",
                                          const std::string& member = "") {
    return subscribe(options(pattern, group, member));
  }

  static std::vector<Received> poll(Subscription& subscription, std::int64_t timeout_ns = 0, std::size_t max = 1000) {
    auto got = subscription.poll(max, 64 << 20, timeout_ns);
    std::vector<Received> out;
    if (!got) {
      ADD_FAILURE() << got.error().message;
      return out;
    }
    for (const InMessage& m : *got) {
      out.push_back({std::string(m.topic), m.partition, m.position, m.attempt, m.publish_time, std::string(m.key),
                     std::string(m.value)});
    }
    return out;
  }
  // Polls until `count` messages are there.
  static std::vector<Received> receive(Subscription& subscription, std::size_t count) {
    std::vector<Received> all;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kPatience);
    while (all.size() < count && std::chrono::steady_clock::now() < deadline) {
      for (auto& message : poll(subscription, kSecond, count - all.size())) all.push_back(std::move(message));
    }
    EXPECT_EQ(all.size(), count);
    return all;
  }
  static std::vector<std::string> values(const std::vector<Received>& messages) {
    std::vector<std::string> out;
    for (const Received& m : messages) out.push_back(m.value);
    return out;
  }
  static std::vector<std::string> numbers(int first, int count) {
    std::vector<std::string> out;
    for (int i = first; i < first + count; ++i) out.push_back(std::to_string(i));
    return out;
  }
  static void acknowledge(Subscription& subscription, const Received& message) {
    const auto status = subscription.acknowledge(message.topic, message.partition, message.position);
    EXPECT_TRUE(status) << status.error().message;
  }
  TopicStats stats(const std::string& topic) {
    auto all = bus_->stats(topic);
    if (!all || all->size() != 1) {
      ADD_FAILURE() << (all ? "topics: " + std::to_string(all->size()) : all.error().message);
      return {};
    }
    return all->front();
  }
  GroupStats group_stats(const std::string& topic, const std::string& group) {
    for (GroupStats& g : stats(topic).groups) {
      if (g.group == group) return g;
    }
    ADD_FAILURE() << "no group " << group;
    return {};
  }
  bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kPatience);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
  }
  std::vector<std::string> child(const std::vector<std::string>& arguments) {
    auto command = harness_->child_command();
    command.insert(command.end(), arguments.begin(), arguments.end());
    return command;
  }

  std::unique_ptr<Harness> harness_;
  std::unique_ptr<Bus> bus_;
};

// ---- publishing and reading ----

TEST_P(BusContract, DeliversWhatWasPublishedWithKeyTimeAndPosition) {
  const Timestamp before = SystemClock().now();
  publish(kTopic, "BTC-USD", {"a", "", std::string("\0b", 2)});
  auto subscription = subscribe(kTopic);
  const auto got = receive(*subscription, 3);
  ASSERT_EQ(got.size(), 3u);
  EXPECT_EQ(values(got), (std::vector<std::string>{"a", "", std::string("\0b", 2)}));
  for (const Received& m : got) {
    EXPECT_EQ(m.topic, kTopic);
    EXPECT_EQ(m.key, "BTC-USD");
    EXPECT_EQ(m.partition, 0u);
    EXPECT_EQ(m.attempt, 1u);
    EXPECT_GE(m.time.ns, before.ns - kSecond);
    EXPECT_LE(m.time.ns, SystemClock().now().ns + kSecond);
  }
  EXPECT_LT(got[0].position, got[1].position);
  EXPECT_LT(got[1].position, got[2].position);
}

TEST_P(BusContract, TakesBothDurabilities) {
  for (const Durability durability : {Durability::kCommit, Durability::kInterval}) {
    auto writer = publisher(durability);
    const OutMessage message{kTopic, "K", "v"};
    EXPECT_TRUE(writer->publish({&message, 1}));
    EXPECT_TRUE(writer->sync());
  }
  EXPECT_EQ(receive(*subscribe(kTopic), 2).size(), 2u);
}

TEST_P(BusContract, AnEmptyBatchIsFine) {
  EXPECT_TRUE(publisher()->publish({}));
  EXPECT_TRUE(publisher(Durability::kCommit)->publish({}));
}

TEST_P(BusContract, KeepsTheOrderOfEachKeyInMixedBatches) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 4}));
  auto writer = publisher();
  std::map<std::string, std::vector<std::string>> expected;
  int number = 0;
  for (int batch = 0; batch < 20; ++batch) {
    std::vector<std::pair<std::string, std::string>> texts;
    for (int i = 0; i < 100; ++i) {
      texts.emplace_back("key" + std::to_string(number % 13), std::to_string(number));
      expected[texts.back().first].push_back(texts.back().second);
      ++number;
    }
    std::vector<OutMessage> messages;
    for (const auto& [key, value] : texts) messages.push_back({kTopic, key, value});
    ASSERT_TRUE(writer->publish(messages));
  }
  std::map<std::string, std::vector<std::string>> got;
  std::map<std::string, std::set<std::uint32_t>> partitions;
  for (const Received& m : receive(*subscribe(kTopic), 2000)) {
    got[m.key].push_back(m.value);
    partitions[m.key].insert(m.partition);
  }
  EXPECT_EQ(got, expected);
  for (const auto& [key, used] : partitions) {
    EXPECT_EQ(used.size(), 1u) << key;
    EXPECT_EQ(*used.begin(), hash64(key) % 4) << key;
  }
}

TEST_P(BusContract, OneBatchMayGoToSeveralTopics) {
  const std::string other = "utp.test.local.trades.v2";
  const OutMessage messages[] = {{kTopic, "A", "1"}, {other, "A", "2"}, {kTopic, "A", "3"}};
  ASSERT_TRUE(publisher()->publish(messages));
  EXPECT_EQ(values(receive(*subscribe(kTopic), 2)), (std::vector<std::string>{"1", "3"}));
  EXPECT_EQ(values(receive(*subscribe(other), 1)), (std::vector<std::string>{"2"}));
}

TEST_P(BusContract, CarriesTheLargestMessageAndRefusesALargerOne) {
  const std::string largest(kEnvelopeBytesMax, 'x');
  const std::string larger(kEnvelopeBytesMax + 1, 'x');
  const OutMessage good[] = {{kTopic, "K", largest}, {kTopic, "K", largest}};
  ASSERT_TRUE(publisher()->publish(good));
  const OutMessage bad[] = {{kTopic, "K", "small"}, {kTopic, "K", larger}};
  const auto refused = publisher()->publish(bad);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kInvalidArgument);
  EXPECT_NE(refused.error().message.find(kTopic), std::string::npos);
  auto subscription = subscribe(kTopic);
  const auto got = receive(*subscription, 2);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[1].value, largest);
  EXPECT_TRUE(poll(*subscription).empty()) << "part of a refused batch was published";
}

TEST_P(BusContract, RefusesABadTopic) {
  for (const std::string topic : {"", "Upper.case", "a..b", "../escape", "a/b", ".a", "a.", "utp.*.x"}) {
    const OutMessage messages[] = {{kTopic, "K", "small"}, {topic, "K", "v"}};
    const auto refused = publisher()->publish(messages);
    ASSERT_FALSE(refused) << topic;
    EXPECT_EQ(refused.error().code, Code::kInvalidArgument) << topic;
  }
  const auto all = bus_->stats(">");
  ASSERT_TRUE(all);
  EXPECT_TRUE(all->empty()) << "part of a refused batch was published";
  EXPECT_FALSE(bus_->configure_topic("Bad Topic", {}));
  EXPECT_FALSE(bus_->subscribe(options("a.>.b")));
  EXPECT_FALSE(bus_->subscribe(SubscriptionOptions{}));
}

TEST_P(BusContract, PartitionsAreFixedAtCreation) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 3}));
  EXPECT_TRUE(bus_->configure_topic(kTopic, {.partitions = 3, .retention_ns = kSecond}));
  const auto changed = bus_->configure_topic(kTopic, {.partitions = 4});
  ASSERT_FALSE(changed);
  EXPECT_EQ(changed.error().code, Code::kAlreadyExists);
  EXPECT_EQ(stats(kTopic).partitions, 3u);
}

TEST_P(BusContract, PollRespectsItsLimits) {
  publish(kTopic, "K", std::vector<std::string>(10, std::string(1000, 'x')));
  auto subscription = subscribe(kTopic);
  // A poll may give less than its limits allow: what is there already. Never more, never nothing.
  std::size_t total = 0;
  const auto polled = [&](std::size_t messages_max, std::size_t bytes_max) -> std::size_t {
    const auto got = subscription->poll(messages_max, bytes_max, kPatience);
    EXPECT_TRUE(got) << got.error().message;
    total += got ? got->size() : 0;
    return got ? got->size() : 0;
  };
  std::size_t size = polled(3, 1 << 20);
  EXPECT_TRUE(size >= 1 && size <= 3) << size;
  size = polled(1000, 2500);
  EXPECT_TRUE(size >= 1 && size <= 2) << size;
  EXPECT_EQ(polled(1000, 1), 1u) << "a message larger than the limit must still get through";
  while (total < 10 && !HasFailure()) polled(1000, 1 << 20);
  EXPECT_EQ(total, 10u);
}

TEST_P(BusContract, ReadersWithoutAGroupReadEverythingEach) {
  publish_numbers(kTopic, 0, 10);
  auto first = subscribe(kTopic);
  auto second = subscribe(kTopic);
  EXPECT_EQ(values(receive(*first, 10)), numbers(0, 10));
  EXPECT_EQ(values(receive(*second, 10)), numbers(0, 10));
  EXPECT_FALSE(first->acknowledge(kTopic, 0, 1));
  ASSERT_TRUE(first->rewind());
  EXPECT_EQ(values(receive(*first, 10)), numbers(0, 10));
}

TEST_P(BusContract, SurvivesReopening) {
  publish_numbers(kTopic, 0, 100);
  {
    auto reader = subscribe(kTopic, "g", "m");
    const auto got = receive(*reader, 100);
    acknowledge(*reader, got[39]);
  }
  reopen();
  publish_numbers(kTopic, 100, 5);
  EXPECT_EQ(values(receive(*subscribe(kTopic, "g", "m"), 65)), numbers(40, 65));
  EXPECT_EQ(values(receive(*subscribe(kTopic), 105)), numbers(0, 105));
  EXPECT_EQ(stats(kTopic).published, 105u);
}

TEST_P(BusContract, ASecondBusOnTheSameStorageSeesEverything) {
  auto other = open();
  ASSERT_NE(other, nullptr);
  auto reader = other->subscribe(options(kTopic, "g"));
  ASSERT_TRUE(reader);
  publish_numbers(kTopic, 0, 5);
  EXPECT_EQ(values(receive(**reader, 5)), numbers(0, 5));
  bus_.reset();  // the other one goes on
  auto writer = other->publisher({Durability::kCommit});
  ASSERT_TRUE(writer);
  const OutMessage message{kTopic, "K", "5"};
  ASSERT_TRUE((*writer)->publish({&message, 1}));
  EXPECT_EQ(values(receive(**reader, 1)), numbers(5, 1));
}

// ---- where a group starts ----

TEST_P(BusContract, ANewGroupStartsAtTheEarliestByDefault) {
  publish_numbers(kTopic, 0, 5);
  EXPECT_EQ(values(receive(*subscribe(kTopic, "g"), 5)), numbers(0, 5));
}

TEST_P(BusContract, ANewGroupCanStartAtTheLatest) {
  publish_numbers(kTopic, 0, 5);
  auto wanted = options(kTopic, "g");
  wanted.start.kind = Start::Kind::kLatest;
  auto reader = subscribe(wanted);
  auto lone_options = options(kTopic);
  lone_options.start.kind = Start::Kind::kLatest;
  auto lone = subscribe(lone_options);
  EXPECT_TRUE(poll(*reader).empty());
  publish_numbers(kTopic, 5, 3);
  EXPECT_EQ(values(receive(*reader, 3)), numbers(5, 3));
  EXPECT_EQ(values(receive(*lone, 3)), numbers(5, 3));
  EXPECT_EQ(group_stats(kTopic, "g").lag, 3u);
}

TEST_P(BusContract, ANewGroupCanStartAtAPublishTime) {
  for (int i = 0; i < 10; ++i) {
    publish_numbers(kTopic, i * 10, 10);
    std::this_thread::sleep_for(std::chrono::milliseconds(2));  // so that the batches' times differ
  }
  const auto all = receive(*subscribe(kTopic), 100);
  ASSERT_EQ(all.size(), 100u);
  for (const std::size_t at : {0u, 10u, 55u, 99u}) {
    auto wanted = options(kTopic, "g" + std::to_string(at));
    wanted.start = {Start::Kind::kTime, all[at].time};
    std::size_t first = at;
    while (first > 0 && all[first - 1].time == all[at].time) --first;
    EXPECT_EQ(values(receive(*subscribe(wanted), 100 - first)), numbers(static_cast<int>(first), static_cast<int>(100 - first)));
  }
  auto future = options(kTopic, "future");
  future.start = {Start::Kind::kTime, all[99].time + 1};
  auto reader = subscribe(future);
  EXPECT_TRUE(poll(*reader).empty());
  publish_numbers(kTopic, 100, 1);
  EXPECT_EQ(values(receive(*reader, 1)), numbers(100, 1));
}

TEST_P(BusContract, AGroupThatExistsGoesOnWhereverItIsToldToStart) {
  publish_numbers(kTopic, 0, 10);
  {
    auto reader = subscribe(kTopic, "g");
    acknowledge(*reader, receive(*reader, 4).back());
  }
  auto wanted = options(kTopic, "g");
  wanted.start.kind = Start::Kind::kLatest;
  EXPECT_EQ(values(receive(*subscribe(wanted), 6)), numbers(4, 6));
}

TEST_P(BusContract, DeletedGroupsBeginAnew) {
  publish_numbers(kTopic, 0, 3);
  {
    auto reader = subscribe(kTopic, "g");
    acknowledge(*reader, receive(*reader, 3).back());
  }
  ASSERT_TRUE(bus_->delete_group("g"));
  EXPECT_TRUE(stats(kTopic).groups.empty());
  EXPECT_EQ(values(receive(*subscribe(kTopic, "g"), 3)), numbers(0, 3));
}

// ---- acknowledgement and redelivery ----

TEST_P(BusContract, RedeliversUntilAcknowledged) {
  publish_numbers(kTopic, 0, 5);
  for (std::uint32_t attempt = 1; attempt <= 3; ++attempt) {
    auto reader = subscribe(kTopic, "g", "m");
    const auto got = receive(*reader, 5);
    EXPECT_EQ(values(got), numbers(0, 5));
    for (const Received& m : got) EXPECT_LE(m.attempt, attempt) << "the attempt is a lower bound";
  }
  {
    auto reader = subscribe(kTopic, "g", "m");
    acknowledge(*reader, receive(*reader, 5).back());
  }
  EXPECT_TRUE(poll(*subscribe(kTopic, "g", "m")).empty());
}

TEST_P(BusContract, AcknowledgementIsCumulative) {
  publish_numbers(kTopic, 0, 10);
  {
    auto reader = subscribe(kTopic, "g");
    const auto got = receive(*reader, 10);
    acknowledge(*reader, got[6]);
    acknowledge(*reader, got[2]);  // going back changes nothing
    EXPECT_EQ(group_stats(kTopic, "g").lag, 3u);
  }
  EXPECT_EQ(values(receive(*subscribe(kTopic, "g"), 3)), numbers(7, 3));
}

TEST_P(BusContract, DoesNotDeliverTwiceToOneMemberWithoutRewind) {
  publish_numbers(kTopic, 0, 10);
  auto reader = subscribe(kTopic, "g");
  EXPECT_EQ(receive(*reader, 10).size(), 10u);
  EXPECT_TRUE(poll(*reader).empty());
  publish_numbers(kTopic, 10, 1);
  EXPECT_EQ(values(receive(*reader, 1)), numbers(10, 1));
}

TEST_P(BusContract, RewindDeliversAgainBehindWhatWasAcknowledgedAndCountsAttempts) {
  publish_numbers(kTopic, 0, 10);
  auto reader = subscribe(kTopic, "g");
  auto got = receive(*reader, 6);
  acknowledge(*reader, got[1]);
  ASSERT_TRUE(reader->rewind());
  got = receive(*reader, 8);
  EXPECT_EQ(values(got), numbers(2, 8));
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].attempt, i < 4 ? 2u : 1u) << got[i].value;
  ASSERT_TRUE(reader->rewind());
  got = receive(*reader, 8);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i].attempt, i < 4 ? 3u : 2u) << got[i].value;
  acknowledge(*reader, got.back());
  publish_numbers(kTopic, 10, 1);
  got = receive(*reader, 1);
  EXPECT_EQ(got[0].attempt, 1u);
}

TEST_P(BusContract, GroupsDoNotDisturbEachOther) {
  publish_numbers(kTopic, 0, 4);
  auto a = subscribe(kTopic, "a");
  auto b = subscribe(kTopic, "b");
  acknowledge(*a, receive(*a, 4).back());
  EXPECT_EQ(group_stats(kTopic, "a").lag, 0u);
  EXPECT_EQ(group_stats(kTopic, "b").lag, 4u);
  EXPECT_EQ(values(receive(*b, 4)), numbers(0, 4));
}

TEST_P(BusContract, RefusesAcknowledgementOfWhatWasNeverPublished) {
  publish_numbers(kTopic, 0, 1);
  auto reader = subscribe(kTopic, "g");
  const auto got = receive(*reader, 1);
  EXPECT_FALSE(reader->acknowledge(kTopic, 0, got[0].position + 1'000'000));
  EXPECT_FALSE(reader->acknowledge("utp.test.local.other.v1", 0, 1));
  EXPECT_FALSE(reader->acknowledge(kTopic, 7, 1));
}

// ---- members and leases ----

TEST_P(BusContract, MembersShareThePartitionsAndEachMessageGoesToOneOfThem) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 8}));
  std::vector<std::unique_ptr<Subscription>> members;
  for (const char* name : {"a", "b", "c"}) members.push_back(subscribe(kTopic, "g", name));
  // A partition that another member gave up is taken at its next poll.
  ASSERT_TRUE(eventually([&] {
    for (auto& member : members) EXPECT_TRUE(poll(*member).empty());
    return group_stats(kTopic, "g").members.size() == 3;
  }));
  for (auto& member : members) poll(*member);
  auto writer = publisher();
  for (int i = 0; i < 400; ++i) {
    const std::string key = "k" + std::to_string(i);
    const std::string value = std::to_string(i);
    const OutMessage message{kTopic, key, value};
    ASSERT_TRUE(writer->publish({&message, 1}));
  }
  std::set<std::string> seen;
  std::map<std::uint32_t, std::size_t> owners;
  ASSERT_TRUE(eventually([&] {
    for (std::size_t i = 0; i < members.size(); ++i) {
      for (const Received& m : poll(*members[i])) {
        EXPECT_TRUE(seen.insert(m.value).second) << m.value << " was delivered twice";
        EXPECT_EQ(owners.try_emplace(m.partition, i).first->second, i) << "partition " << m.partition;
      }
    }
    return seen.size() == 400;
  })) << seen.size();
  std::set<std::size_t> used;
  for (const auto& [partition, owner] : owners) used.insert(owner);
  EXPECT_EQ(used.size(), 3u);
}

TEST_P(BusContract, WhenAMemberLeavesTheOthersTakeItsPartitions) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2}));
  auto a = subscribe(kTopic, "g", "a");
  auto b = subscribe(kTopic, "g", "b");
  ASSERT_TRUE(eventually([&] {
    poll(*a);
    poll(*b);
    return group_stats(kTopic, "g").members.size() == 2;
  }));
  b.reset();
  std::vector<std::pair<std::string, std::string>> texts;
  for (int i = 0; i < 50; ++i) texts.emplace_back("k" + std::to_string(i), std::to_string(i));
  std::vector<OutMessage> messages;
  for (const auto& [key, value] : texts) messages.push_back({kTopic, key, value});
  ASSERT_TRUE(publisher()->publish(messages));
  EXPECT_EQ(receive(*a, 50).size(), 50u);
}

TEST_P(BusContract, AMemberThatLostItsLeaseIsFenced) {
  publish_numbers(kTopic, 0, 10);
  auto wanted = options(kTopic, "g", "slow");
  wanted.lease_ns = harness_->lease_min_ns();
  auto slow = subscribe(wanted);
  const auto got = receive(*slow, 4);
  wanted.member = "eager";
  auto eager = subscribe(wanted);
  // The slow one stays silent until its time is over: the eager one gets everything that was not acknowledged, in order.
  EXPECT_EQ(values(receive(*eager, 10)), numbers(0, 10));
  const auto status = slow->acknowledge(kTopic, 0, got.back().position);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFenced);
  EXPECT_EQ(group_stats(kTopic, "g").lag, 10u);
}

TEST_P(BusContract, AFencedMemberGetsNoFurtherMessagesOfThatPartition) {
  publish_numbers(kTopic, 0, 10);
  auto wanted = options(kTopic, "g", "b-slow");
  wanted.lease_ns = harness_->lease_min_ns();
  auto slow = subscribe(wanted);
  EXPECT_EQ(receive(*slow, 4).size(), 4u);
  wanted.member = "a-eager";
  wanted.lease_ns = 60 * kSecond;
  auto eager = subscribe(wanted);
  EXPECT_EQ(receive(*eager, 10).size(), 10u);
  EXPECT_TRUE(poll(*slow).empty());
  publish_numbers(kTopic, 10, 5);
  EXPECT_EQ(values(receive(*eager, 5)), numbers(10, 5));
  EXPECT_TRUE(poll(*slow).empty());
}

TEST_P(BusContract, PollingKeepsTheLease) {
  publish_numbers(kTopic, 0, 3);
  auto wanted = options(kTopic, "g", "z");
  wanted.lease_ns = 2 * kSecond;
  auto holder = subscribe(wanted);
  const auto got = receive(*holder, 3);
  wanted.member = "zz";
  auto waiting = subscribe(wanted);
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(wanted.lease_ns / 2);
  while (std::chrono::steady_clock::now() < end) {
    (void)poll(*holder, 1'000'000);
    (void)poll(*waiting, 1'000'000);
  }
  // Whether or not the partition is to change hands, what was delivered can be acknowledged within the lease.
  acknowledge(*holder, got.back());
  EXPECT_EQ(group_stats(kTopic, "g").lag, 0u);
}

// ---- patterns ----

TEST_P(BusContract, WildcardsMatchAndPassDeadLettersBy) {
  publish("utp.prod.us.quotes.v2", "K", {"1"});
  publish("utp.prod.eu.quotes.v2", "K", {"2"});
  publish("utp.prod.us.quotes.v2.dlq", "K", {"3"});
  publish("utp.prod.us.signals.zgzd.v1", "K", {"4"});
  const auto topics_of = [&](const std::string& pattern, std::size_t count) {
    std::multiset<std::string> got;
    for (const Received& m : receive(*subscribe(pattern), count)) got.insert(m.value);
    return got;
  };
  EXPECT_EQ(topics_of("utp.prod.*.quotes.v2", 2), (std::multiset<std::string>{"1", "2"}));
  EXPECT_EQ(topics_of("utp.prod.us.>", 2), (std::multiset<std::string>{"1", "4"}));
  EXPECT_EQ(topics_of("utp.prod.us.quotes.v2.dlq", 1), (std::multiset<std::string>{"3"}));
  EXPECT_TRUE(poll(*subscribe("utp.test.>")).empty());
}

TEST_P(BusContract, PicksUpTopicsThatAreCreatedLater) {
  auto wanted = options("utp.test.>", "g");
  wanted.start.kind = Start::Kind::kLatest;
  auto member = subscribe(wanted);
  auto lone_options = options("utp.test.>");
  lone_options.start.kind = Start::Kind::kLatest;
  auto lone = subscribe(lone_options);
  EXPECT_TRUE(poll(*member).empty());
  publish("utp.test.local.later.v1", "K", {"first", "second"});
  EXPECT_EQ(values(receive(*member, 2)), (std::vector<std::string>{"first", "second"}));
  EXPECT_EQ(values(receive(*lone, 2)), (std::vector<std::string>{"first", "second"}));
}

// ---- waiting ----

TEST_P(BusContract, APollThatWaitsIsWokenByAPublish) {
  auto reader = subscribe(kTopic);
  std::thread writer([&] {
    auto out = bus_->publisher({Durability::kInterval});
    ASSERT_TRUE(out);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // likely, not surely, after the poll began; both must work
    const OutMessage message{kTopic, "K", "v"};
    ASSERT_TRUE((*out)->publish({&message, 1}));
  });
  EXPECT_EQ(receive(*reader, 1).size(), 1u);
  writer.join();
}

TEST_P(BusContract, APollEndsWhenItsTimeIsOver) {
  auto reader = subscribe(kTopic, "g");
  const auto got = reader->poll(10, 1000, 10'000'000);
  ASSERT_TRUE(got);
  EXPECT_TRUE(got->empty());
}

TEST_P(BusContract, InterruptEndsAPollFromAnotherThread) {
  auto reader = subscribe(kTopic);
  std::thread other([&] { reader->interrupt(); });
  const auto got = reader->poll(10, 1000, kPatience);
  other.join();
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kCancelled);
  EXPECT_TRUE(poll(*reader).empty()) << "one interrupt ends one poll";
}

TEST_P(BusContract, ManyThreadsPublishAndReadAtOnce) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 3}));
  constexpr int kWriters = 4;
  constexpr int kEach = 300;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      auto out = bus_->publisher({w % 2 == 0 ? Durability::kInterval : Durability::kCommit});
      ASSERT_TRUE(out);
      const std::string key = "w" + std::to_string(w);
      for (int i = 0; i < kEach; i += 10) {
        std::vector<std::string> texts;
        for (int j = i; j < i + 10; ++j) texts.push_back(std::to_string(j));
        std::vector<OutMessage> messages;
        for (const std::string& text : texts) messages.push_back({kTopic, key, text});
        const auto status = (*out)->publish(messages);
        ASSERT_TRUE(status) << status.error().message;
      }
    });
  }
  std::map<std::string, int> next;
  auto reader = subscribe(kTopic, "g");
  for (const Received& m : receive(*reader, kWriters * kEach)) EXPECT_EQ(m.value, std::to_string(next[m.key]++)) << m.key;
  for (auto& writer : writers) writer.join();
  for (const auto& [key, count] : next) EXPECT_EQ(count, kEach) << key;
}

// ---- figures ----

TEST_P(BusContract, StatsTellDepthLagAndTheOldestUnread) {
  publish_numbers(kTopic, 0, 10);
  auto reader = subscribe(kTopic, "g", "m1");
  const auto got = receive(*reader, 10);
  acknowledge(*reader, got[3]);
  publish_numbers(kTopic, 10, 5);
  const TopicStats s = stats(kTopic);
  EXPECT_EQ(s.topic, kTopic);
  EXPECT_EQ(s.messages, 15u);
  EXPECT_EQ(s.published, 15u);
  EXPECT_EQ(s.lost, 0u);
  EXPECT_GT(s.bytes, 0u);
  EXPECT_EQ(s.first_time, got[0].time);
  EXPECT_GE(s.last_time, got[9].time);
  ASSERT_EQ(s.groups.size(), 1u);
  EXPECT_EQ(s.groups[0].group, "g");
  EXPECT_EQ(s.groups[0].lag, 11u);
  EXPECT_EQ(s.groups[0].oldest_unread, got[4].time);
  EXPECT_EQ(s.groups[0].trimmed_unread, 0u);
  EXPECT_EQ(s.groups[0].members, (std::vector<std::string>{"m1"}));
  acknowledge(*reader, receive(*reader, 5).back());
  EXPECT_EQ(group_stats(kTopic, "g").lag, 0u);
  EXPECT_EQ(group_stats(kTopic, "g").oldest_unread.ns, 0);
  reader.reset();
  EXPECT_TRUE(group_stats(kTopic, "g").members.empty());
}

TEST_P(BusContract, StatsTellWhatATopicIsConfiguredTo) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2, .retention_ns = 3600 * kSecond, .retention_bytes = 16 << 20}));
  EXPECT_EQ(stats(kTopic).partitions, 2u);
  // A cluster may show a change a moment after it was made.
  EXPECT_TRUE(eventually([&] { return stats(kTopic).retention_ns == 3600 * kSecond && stats(kTopic).retention_bytes == 16u << 20; }));
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2}));
  EXPECT_TRUE(eventually([&] { return stats(kTopic).retention_ns == 0; }));
  EXPECT_GT(stats(kTopic).retention_bytes, 0u) << "the bus's default";
}

TEST_P(BusContract, StatsTakePatterns) {
  publish("utp.prod.us.quotes.v2", "K", {"1"});
  publish("utp.prod.us.quotes.v2.dlq", "K", {"1"});
  publish("utp.prod.eu.quotes.v2", "K", {"1"});
  const auto some = bus_->stats("utp.prod.us.>");
  ASSERT_TRUE(some);
  ASSERT_EQ(some->size(), 1u);
  EXPECT_EQ(some->front().topic, "utp.prod.us.quotes.v2");
}

// ---- retention ----

TEST_P(BusContract, RetentionBySizeRemovesTheOldestAndCountsWhatWasUnread) {
  constexpr std::uint64_t kLimit = 2 << 20;
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 1, .retention_ns = 3600 * kSecond, .retention_bytes = kLimit}));
  auto reader = subscribe(kTopic, "g", "m");
  publish_numbers(kTopic, 0, 10);
  acknowledge(*reader, receive(*reader, 10).back());
  auto lone = subscribe(kTopic);
  EXPECT_EQ(receive(*lone, 10).size(), 10u);
  const std::string text(1000, 'x');
  auto writer = publisher();
  constexpr std::uint64_t kMessages = 10'000;
  for (std::uint64_t i = 0; i < kMessages; i += 100) {
    const std::vector<OutMessage> messages(100, OutMessage{kTopic, "K", text});
    ASSERT_TRUE(writer->publish(messages));
  }
  ASSERT_TRUE(bus_->trim());
  const TopicStats s = stats(kTopic);
  EXPECT_LE(s.bytes, kLimit + harness_->retention_slack_bytes());
  EXPECT_LT(s.messages, kMessages);
  EXPECT_GT(s.messages, 0u);
  EXPECT_EQ(s.published, kMessages + 10);
  ASSERT_EQ(s.groups.size(), 1u);
  EXPECT_EQ(s.groups[0].lag, s.messages);
  EXPECT_EQ(s.groups[0].trimmed_unread, kMessages - s.messages);

  EXPECT_EQ(receive(*reader, s.messages).size(), s.messages);
  auto lost = reader->take_lost();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].topic, kTopic);
  EXPECT_EQ(lost[0].count, kMessages - s.messages);
  EXPECT_TRUE(reader->take_lost().empty()) << "reported once";
  EXPECT_TRUE(poll(*reader).empty());
  EXPECT_EQ(receive(*lone, s.messages).size(), s.messages);
  EXPECT_TRUE(poll(*lone).empty());
  lost = lone->take_lost();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].count, kMessages - s.messages);
}

TEST_P(BusContract, RetentionByAgeRemovesTheOldest) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 1, .retention_ns = 1'000'000}));
  publish_numbers(kTopic, 0, 50);
  ASSERT_TRUE(eventually([&] {
    EXPECT_TRUE(bus_->trim());
    return stats(kTopic).messages == 0;
  }));
  EXPECT_EQ(stats(kTopic).published, 50u);
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 1, .retention_ns = 3600 * kSecond}));
  publish_numbers(kTopic, 50, 2);
  ASSERT_TRUE(bus_->trim());
  EXPECT_EQ(values(receive(*subscribe(kTopic, "g"), 2)), numbers(50, 2));
}

TEST_P(BusContract, WhatWasAcknowledgedIsNotCountedWhenItIsTrimmed) {
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 1, .retention_ns = 1'000'000}));
  publish_numbers(kTopic, 0, 50);
  auto reader = subscribe(kTopic, "g");
  acknowledge(*reader, receive(*reader, 50).back());
  ASSERT_TRUE(eventually([&] {
    EXPECT_TRUE(bus_->trim());
    return stats(kTopic).messages == 0;
  }));
  EXPECT_EQ(group_stats(kTopic, "g").trimmed_unread, 0u);
  EXPECT_TRUE(reader->take_lost().empty());
}

// ---- several processes ----

TEST_P(BusContract, ProcessesPublishAtOnceAndNothingIsLostOrReordered) {
  if (harness_->child_command().empty()) GTEST_SKIP() << "this driver's test has no child program";
  ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 2}));
  constexpr int kEach = 2000;
  std::vector<std::unique_ptr<Child>> children;
  for (const char* prefix : {"a", "b", "c", "d"}) {
    children.push_back(std::make_unique<Child>(
        child({kTopic, prefix, std::to_string(kEach), "50", prefix[0] < 'c' ? "interval" : "commit"})));
  }
  auto reader = subscribe(kTopic, "g");
  std::map<std::string, std::vector<int>> got;
  std::size_t total = 0;
  ASSERT_TRUE(eventually([&] {
    for (const Received& m : poll(*reader, kSecond, 5000)) {
      got[m.key].push_back(std::stoi(m.value.substr(2)));
      ++total;
    }
    return total >= 4 * kEach;
  })) << total;
  for (auto& c : children) EXPECT_EQ(c->wait(), 0);
  EXPECT_TRUE(poll(*reader).empty());
  for (const auto& [key, numbers_of_key] : got) {
    for (std::size_t i = 1; i < numbers_of_key.size(); ++i) {
      ASSERT_EQ(numbers_of_key[i], numbers_of_key[i - 1] + 7) << key;
    }
  }
}

TEST_P(BusContract, WhatAKilledPublisherHadAcknowledgedIsThereAndOthersGoOn) {
  if (harness_->child_command().empty()) GTEST_SKIP() << "this driver's test has no child program";
  auto reader = subscribe(kTopic, "g");
  std::set<std::string> expected;
  for (int round = 0; round < 6; ++round) {
    const std::string prefix = "r" + std::to_string(round);
    Child victim(child({kTopic, prefix, "100000000", "20", round % 2 == 0 ? "interval" : "commit"}));
    std::string last;
    for (int lines = 0; lines < 5 + 17 * round; ++lines) last = victim.line();
    victim.kill();
    for (std::string more = victim.line(); !more.empty(); more = victim.line()) last = more;
    ASSERT_FALSE(last.empty());
    for (int i = 0; i < std::stoi(last); ++i) expected.insert(prefix + ":" + std::to_string(i));
    publish(kTopic, "K", {"alive" + std::to_string(round)});  // no lock stays behind
    expected.insert("alive" + std::to_string(round));
  }
  std::set<std::string> got;
  ASSERT_TRUE(eventually([&] {
    for (const Received& m : poll(*reader, kSecond / 10, 100'000)) got.insert(m.value);
    return got.count("alive5") != 0;
  }));
  for (const std::string& value : expected) EXPECT_TRUE(got.count(value)) << value;
}

}  // namespace utp::bus_contract
