// What a bus on a server does while its server dies, hangs, comes back and is tidied up by others: tests that are the same for
// several drivers. A driver's test file includes this once and instantiates BusOnServer with its harness, as for the contract:
//   INSTANTIATE_TEST_SUITE_P(Name, BusOnServer, ::testing::Values(on_server<MyHarness>("Name", Server::missing())), driver_name);
#pragma once

#include "bus/testing/bus_fixture.h"
#include "bus/testing/server_process.h"
#include "core/random.h"

namespace utp::bus_test {

// A fresh server.
class ServerHarness {
 public:
  struct Wanted {  // 0 and "": as the driver has it
    std::int64_t answer_timeout_ns = 0;
    std::string prefix;
  };
  virtual ~ServerHarness() = default;
  virtual ServerProcess& server() = 0;
  virtual Result<std::unique_ptr<Bus>> open(const Wanted& wanted) = 0;
  // What an operator does who removes the oldest messages of kTopic with the server's own tools.
  virtual void keep_newest(std::uint64_t count) = 0;
};

template <class Server>
class HarnessOn : public ServerHarness {
 public:
  ServerProcess& server() override { return server_; }
  Result<std::unique_ptr<Bus>> open(const Wanted& wanted) override {
    auto options = server_.options();
    if (wanted.answer_timeout_ns != 0) options.answer_timeout_ns = wanted.answer_timeout_ns;
    if (!wanted.prefix.empty()) options.prefix = wanted.prefix;
    return Server::open(options);
  }

 protected:
  Server server_;
};

struct ServerDriver {
  std::string name;
  std::function<std::unique_ptr<ServerHarness>()> make;
  std::string missing;  // why the server cannot be had here: its tests are skipped for this reason
};
inline std::ostream& operator<<(std::ostream& out, const ServerDriver& driver) { return out << driver.name; }
template <class Harness>
ServerDriver on_server(const std::string& name, const std::string& missing) {
  return {name, [] { return std::make_unique<Harness>(); }, missing};
}
inline std::string driver_name(const ::testing::TestParamInfo<ServerDriver>& info) { return info.param.name; }

class BusOnServer : public BusFixture, public ::testing::WithParamInterface<ServerDriver> {
 protected:
  void SetUp() override {
    if (!GetParam().missing.empty()) GTEST_SKIP() << GetParam().missing;
    log::set_level(log::Level::kError);
    harness_ = GetParam().make();
    ASSERT_TRUE(server().is_running()) << "see the files in " << server().folder();
    bus_ = open();
    ASSERT_NE(bus_, nullptr);
  }
  void TearDown() override {
    bus_.reset();
    harness_.reset();
  }
  ServerProcess& server() { return harness_->server(); }
  std::unique_ptr<Bus> open(const ServerHarness::Wanted& wanted = {}) { return made(harness_->open(wanted)); }

  std::unique_ptr<ServerHarness> harness_;
};

// ---- the server ----

TEST_P(BusOnServer, AServerThatIsAwayIsUnavailableAndEverythingGoesOnWhenItIsBack) {
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 10);
  const auto before = receive(*reader, 10);
  EXPECT_EQ(receive(*lone, 10).size(), 10u);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[4].position));
  server().stop(SIGTERM);
  const auto refused = publish(*writer, 10, 1);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, Code::kUnavailable) << refused.error().message;
  EXPECT_TRUE(refused.error().retryable);
  const auto polled = reader->poll(10, 1 << 20, 0);
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, Code::kUnavailable);
  EXPECT_FALSE(reader->acknowledge(kTopic, 0, before[5].position));
  server().start();
  expect_published(*writer, 10, 5);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, before[5].position)) << "the lease has outlived the restart";
  const auto after = receive(*reader, 5);
  ASSERT_EQ(numbers(after), range(10, 5));
  EXPECT_GT(after[0].position, before[9].position);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(10, 5));
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, after.back().position));
  EXPECT_EQ(group("g").lag, 0u);
  EXPECT_EQ(stats().published, 15u);
  EXPECT_EQ(stats().lost, 0u);
  EXPECT_EQ(lost(*lone), 0u);
}

TEST_P(BusOnServer, KilledServersLoseNothingThatWasAcknowledgedAndOrderHolds) {
  const std::uint64_t seed = 20261122;
  SCOPED_TRACE("seed " + std::to_string(seed));
  Random random(seed);
  auto writer = publisher(Durability::kCommit);
  auto reader = subscribe("g");
  int next = 0;
  for (int round = 0; round < 8; ++round) {
    std::thread killer([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(random.below(20'000)));
      server().stop(SIGKILL);
      server().start();
    });
    for (int batch = 0; batch < 40; ++batch, next += 10) publish_until_done(*writer, next, 10);
    killer.join();
  }
  expect_in_order(*reader, [&] { return next; });
  EXPECT_EQ(stats().lost, 0u);
}

TEST_P(BusOnServer, PublishTimesAreFoundAcrossStartsOfTheServer) {
  auto writer = publisher();
  for (int start_number = 0; start_number < 3; ++start_number) {
    for (int i = 0; i < 5; ++i) {
      publish_until_done(*writer, start_number * 50 + i * 10, 10);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    server().stop(SIGKILL);
    server().start();
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

TEST_P(BusOnServer, AServerThatHangsIsUnavailable) {
  bus_ = open({.answer_timeout_ns = kSecond / 5});
  auto writer = publisher();
  auto reader = subscribe("g");
  expect_published(*writer, 0, 1);
  EXPECT_EQ(receive(*reader, 1).size(), 1u);
  server().pause();
  const auto status = publish(*writer, 1, 1);
  const auto polled = reader->poll(1, 1000, 0);
  server().go_on();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnavailable) << status.error().message;
  ASSERT_FALSE(polled);
  EXPECT_EQ(polled.error().code, Code::kUnavailable);
  publish_until_done(*writer, 2, 1);
  // What was sent to the server that hung may have been taken, and the repetition of 2 as well.
  int last = 0;
  EXPECT_TRUE(eventually([&] {
    const auto got = reader->poll(10, 1000, kSecond / 10);
    for (std::size_t i = 0; got && i < got->size(); ++i) {
      EXPECT_GE(number_of((*got)[i]), last);
      last = number_of((*got)[i]);
    }
    return last == 2;
  }));
}

TEST_P(BusOnServer, AServerThatIsNotThereIsNamed) {
  bus_.reset();
  server().stop(SIGTERM);
  const auto bus = harness_->open({});
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnavailable);
  EXPECT_NE(bus.error().message.find("127.0.0.1:" + std::to_string(server().port())), std::string::npos) << bus.error().message;
}

TEST_P(BusOnServer, SeveralBusesShareAServerByPrefix) {
  auto other = open({.prefix = "other"});
  ASSERT_NE(other, nullptr);
  expect_published(*publisher(), 0, 1);
  const auto topics = other->stats(">");
  ASSERT_TRUE(topics);
  EXPECT_TRUE(topics->empty());
}

// ---- messages that others remove ----

TEST_P(BusOnServer, WhatIsTrimmedWhilePendingIsLostReportedAndAcknowledged) {
  auto writer = publisher();
  expect_published(*writer, 0, 10);
  auto reader = subscribe("g");
  const auto got = receive(*reader, 10);
  harness_->keep_newest(4);
  EXPECT_EQ(group("g").lag, 4u);
  EXPECT_EQ(group("g").trimmed_unread, 6u);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, got[7].position));
  EXPECT_EQ(lost(*reader), 6u);
  EXPECT_EQ(lost(*reader), 0u) << "reported once";
  EXPECT_EQ(group("g").lag, 2u);
  EXPECT_EQ(group("g").trimmed_unread, 6u);
  EXPECT_TRUE(reader->rewind());
  EXPECT_EQ(numbers(receive(*reader, 2)), range(8, 2));
}

TEST_P(BusOnServer, WhatIsTrimmedUnreadIsCountedAndReadingGoesOn) {
  auto writer = publisher();
  auto reader = subscribe("g");
  auto lone = subscribe();
  expect_published(*writer, 0, 3);
  EXPECT_TRUE(reader->acknowledge(kTopic, 0, receive(*reader, 3).back().position));
  EXPECT_EQ(receive(*lone, 3).size(), 3u);
  expect_published(*writer, 3, 20);
  harness_->keep_newest(5);
  EXPECT_EQ(group("g").trimmed_unread, 15u);
  EXPECT_EQ(numbers(receive(*reader, 5)), range(18, 5));
  EXPECT_EQ(lost(*reader), 15u);
  EXPECT_EQ(numbers(receive(*lone, 5)), range(18, 5));
  EXPECT_EQ(lost(*lone), 15u);
}

}  // namespace utp::bus_test
