// Large calls, whose ids and time the publisher names and the server checks: what is wrong is refused and repeated.
#include <csignal>
#include <map>

#include "drivers/bus/redis/keys.h"
#include "drivers/bus/redis/redis_bus_fixture.h"
#include "drivers/bus/redis/redis_cluster.h"

namespace utp::redis_bus_test {
namespace {

class RedisBusGuard : public BusFixture, public ::testing::WithParamInterface<std::uint32_t> {
 protected:
  static constexpr int kCall = 40;

  void start_with(std::vector<std::string> settings = {}) {
    start(std::move(settings));
    ASSERT_NE(bus_, nullptr);
    configure();
  }
  void configure() { ASSERT_TRUE(bus_->configure_topic(kTopic, {.partitions = 1, .pack = GetParam()})); }
  int transactions() {
    const std::string texts = info_of(server_->command({"INFO", "commandstats"}), "cmdstat_eval:calls=");
    return texts.empty() ? 0 : std::stoi(texts) / 2;  // the guard and the release
  }
  // Positions without gaps, times that never go back, and nothing left of what was refused.
  std::vector<Message> expect_whole(std::size_t count) {
    auto got = receive(*subscribe(), count);
    for (std::size_t i = 1; i < got.size(); ++i) {
      EXPECT_EQ(got[i].position, got[0].position + i);
      EXPECT_LE(got[i - 1].time, got[i].time);
    }
    EXPECT_EQ(server_->command({"HGET", "utp:bus", "held"}), "$-1\r\n");
    const std::string last = "-" + std::to_string(got.empty() ? 0 : redis_bus::number_of(got.back().position)) + "\r\n";
    const std::string info = server_->command({"XINFO", "STREAM", kStream});
    const std::size_t id = info.find("-", info.find("last-generated-id\r\n") + 19);
    EXPECT_EQ(info.substr(id, last.size()), last) << info;
    return got;
  }
};

TEST_P(RedisBusGuard, ASecondLargeCallIsATransactionAndASmallOneIsNot) {
  start_with();
  auto writer = publisher();
  expect_published(*writer, 0, kCall);
  EXPECT_EQ(transactions(), 0) << "others may have written before";
  expect_published(*writer, kCall, kCall);
  EXPECT_EQ(transactions(), 1);
  expect_published(*writer, 2 * kCall, 1);
  expect_published(*writer, 2 * kCall + 1, kCall);
  EXPECT_EQ(transactions(), 2);
  EXPECT_EQ(numbers(expect_whole(3 * kCall + 1)), range(0, 3 * kCall + 1));
  auto reader = subscribe("g");
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 3 * kCall + 1)[9].position));
  const std::string groups = server_->command({"XINFO", "GROUPS", kStream});
  EXPECT_NE(groups.find("lag\r\n:" + std::to_string(3 * kCall - 9) + "\r\n"), std::string::npos) << "the server's figure: " << groups;
}

TEST_P(RedisBusGuard, WhereAnotherHasWrittenTheCallIsRepeatedInWhole) {
  start_with();
  auto two = publisher();
  int next = 0;
  int first = 0;
  const auto write = [&](Publisher& writer, int count) {
    expect_published(writer, next, count);
    next += count;
  };
  // Fewer messages, as many, and more than the call whose numbers they take; and some that are gone when it comes.
  for (const int count : {1, 7, kCall, 3 * kCall, 3}) {
    auto one = publisher();  // has met nobody
    write(*one, kCall);
    write(*one, kCall);
    const int before = transactions();
    write(*two, count);
    if (count == 3) {
      server_->command({"XTRIM", kStream, "MAXLEN", "0"});
      first = next;
    }
    write(*one, kCall);
    EXPECT_GT(transactions(), before) << "refused, then repeated by the script";
    write(*one, kCall);
  }
  EXPECT_EQ(stats().published, static_cast<std::uint64_t>(next));
  EXPECT_EQ(numbers(expect_whole(static_cast<std::size_t>(next - first))), range(first, next - first));
}

TEST_P(RedisBusGuard, ManyAtOnceShareAPartition) {
  start_with();
  constexpr int kWriters = 3, kRounds = 60, kEach = 100'000;
  std::vector<std::thread> threads;
  for (int w = 0; w < kWriters; ++w) {
    threads.emplace_back([&, w] {
      // Made anew from time to time: one that has met another sends no transactions for a while.
      for (int round = 0; round < kRounds; round += 3) {
        auto writer = publisher();
        for (int i = round; i < round + 3; ++i) expect_published(*writer, w * kEach + i * kCall, kCall);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  std::map<int, int> next;
  for (const Message& m : expect_whole(kWriters * kRounds * kCall)) {
    int& expected = next[m.number / kEach];
    EXPECT_EQ(m.number % kEach, expected);
    ++expected;
  }
}

TEST_P(RedisBusGuard, ATimeAheadOfTheServersIsRefused) {
  start_with();
  auto writer = publisher();
  expect_published(*writer, 0, kCall);
  const std::int64_t ahead_ms = receive(*subscribe(), 1)[0].time.ns / 1'000'000 + 3'600'000;
  server_->command({"HSET", "utp:bus", "time", std::to_string(ahead_ms)});  // the clock has been set back by an hour
  for (int i = 1; i < 6; ++i) {
    auto next = publisher();
    expect_published(*next, i * 2 * kCall, kCall);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));  // its guess goes on, the newest time does not
    expect_published(*next, (i * 2 + 1) * kCall, kCall);
  }
  for (const Message& m : expect_whole(11 * kCall)) {
    if (m.number >= kCall) {
      EXPECT_EQ(m.time.ns, ahead_ms * 1'000'000);
    }
  }
}

TEST_P(RedisBusGuard, ATimeThatHasBecomeTooOldIsRefused) {
  start_with();
  auto writer = publisher();
  expect_published(*writer, 0, kCall);
  ::kill(server_->pid(), SIGSTOP);
  std::thread late([&] { expect_published(*writer, kCall, kCall); });
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  const std::int64_t now_ns = std::chrono::system_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
  ::kill(server_->pid(), SIGCONT);
  late.join();
  const auto got = expect_whole(2 * kCall);
  EXPECT_EQ(numbers(got), range(0, 2 * kCall));
  for (std::size_t i = kCall; i < got.size(); ++i) {
    EXPECT_GE(got[i].time.ns, now_ns - 101'000'000) << "a tenth of a second, and the part of a millisecond";
  }
}

TEST_P(RedisBusGuard, ABusThatWasEmptiedAndFilledAnewIsNoticed) {
  start_with();
  auto writer = publisher();
  for (int i = 0; i < 3; ++i) expect_published(*writer, i * kCall, kCall);
  server_->command({"FLUSHALL"});
  configure();
  expect_published(*publisher(), 1000, 5);  // fewer than there were: the numbers of before would leave a gap
  expect_published(*writer, 1005, kCall);
  EXPECT_EQ(numbers(expect_whole(5 + kCall)), range(1000, 5 + kCall));
  EXPECT_EQ(stats().published, 5u + kCall);
  server_->command({"FLUSHALL"});
  expect_published(*writer, 2000, kCall);
  expect_published(*writer, 2000 + kCall, kCall);
  EXPECT_EQ(numbers(expect_whole(2 * kCall)), range(2000, 2 * kCall));
}

TEST_P(RedisBusGuard, AServerOutOfMemoryTakesNothingOfACall) {
  start_with({"--maxmemory", "4mb", "--maxmemory-policy", "noeviction"});
  auto writer = publisher();
  int next = 0;
  Status status;
  while (next < 20'000 && (status = publish(*writer, next, 50, {1000}))) next += 50;
  ASSERT_FALSE(status);
  EXPECT_GT(transactions(), 1);
  EXPECT_EQ(status.error().code, Code::kFull) << status.error().message;
  EXPECT_TRUE(status.error().retryable);
  EXPECT_EQ(stats().published, static_cast<std::uint64_t>(next));
  server_->command({"CONFIG", "SET", "maxmemory", "0"});
  expect_published(*writer, next, 50, {1000});
  EXPECT_EQ(numbers(expect_whole(static_cast<std::size_t>(next) + 50)), range(0, next + 50));
}

TEST_P(RedisBusGuard, OfManyTopicsOnlyThoseThatAnotherWroteOrRemovedAreRepeated) {
  start_with();
  constexpr int kTopics = 40;
  const auto name = [](int i) { return "utp.test.local.many" + std::to_string(i) + ".v1"; };
  auto one = publisher();
  auto two = publisher();
  int next = 0;
  // Topic 0 gets three of a call's messages, the others one each.
  const auto call = [&](Publisher& writer) {
    std::vector<std::pair<std::string, std::string>> texts;
    for (int i = 0; i < kTopics + 2; ++i) texts.emplace_back(name(std::max(0, i - 2)), std::to_string(next++));
    std::vector<OutMessage> messages;
    for (const auto& [topic, value] : texts) messages.push_back({topic, "K", value});
    const auto status = writer.publish(messages);
    EXPECT_TRUE(status) << status.error().message;
  };
  call(*one);
  call(*one);
  expect_published(*two, next++, 1, {0, name(0)});
  expect_published(*two, next++, 1, {0, name(5)});
  call(*one);
  server_->command({"DEL", "utp:{" + name(7) + "}:0"});
  const int removed = next;
  call(*two);
  call(*one);
  EXPECT_GT(transactions(), 1);
  for (int i = 0; i < kTopics; ++i) {
    const auto got = receive(*subscribe("", {}, name(i)), i == 0 ? 16 : i == 5 ? 6 : i == 7 ? 2 : 5);
    for (std::size_t m = 1; m < got.size(); ++m) {
      EXPECT_LT(got[m - 1].number, got[m].number) << i;
      EXPECT_EQ(got[m].position, got[0].position + m) << i;
    }
    if (i == 7) {
      EXPECT_GE(got[0].number, removed);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Pack, RedisBusGuard, ::testing::Values(1u, 10u));

}  // namespace
}  // namespace utp::redis_bus_test
