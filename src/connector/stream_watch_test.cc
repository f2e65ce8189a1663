#include "connector/stream_watch.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace utp {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

class Recorder final : public WatchActions {
 public:
  std::vector<std::string> log;
  void reconnected(std::uint32_t connection, std::string_view reason, std::uint32_t attempt, std::int64_t down_ns,
                   std::uint32_t wanted, std::uint32_t) override {
    log.push_back("reconnected " + std::to_string(connection) + " " + std::string(reason) + " attempt " + std::to_string(attempt) +
                  " down " + std::to_string(down_ns / kSecond) + " wanted " + std::to_string(wanted));
  }
  void stale(const WantedStream& stream, bool stale, std::int64_t age_ns, std::int64_t) override {
    log.push_back((stale ? "stale " : "recovered ") + stream.channel + " " + stream.symbol + " " + std::to_string(age_ns / kSecond));
  }
  void missing(const WantedStream& stream, std::string_view reason, Timestamp from, Timestamp to) override {
    log.push_back("missing " + stream.channel + " " + stream.symbol + " " + std::to_string((to - from) / kSecond) + ": " + std::string(reason));
  }
  void watermark(const WantedStream& stream, Timestamp promise) override {
    log.push_back("watermark " + stream.symbol + " " + std::to_string(promise.ns / kSecond));
  }
  void reconnect(std::uint32_t connection, std::string reason) override {
    log.push_back("reconnect " + std::to_string(connection) + ": " + reason);
  }
  std::vector<std::string> take() { return std::exchange(log, {}); }
};

class StreamWatchTest : public ::testing::Test {
 protected:
  StreamWatchTest() : watch_({{"ticker", "A"}, {"ticker", "B"}, {"trades", "A"}}, {10 * kSecond, 10 * kSecond, 0}, limits()) {
    watch_.start(at(0));
  }
  static StreamWatch::Limits limits() {
    StreamWatch::Limits l;
    l.subscriptions_per_connection = 2;
    l.confirm_within_ns = 5 * kSecond;
    l.silent_connection_ns = 20 * kSecond;
    l.lateness_ns = kSecond;
    l.watermark_every_ns = 8 * kSecond;
    return l;
  }
  static Timestamp at(std::int64_t seconds) { return {seconds * kSecond}; }
  void frame(std::uint32_t connection, FrameKind kind, std::int64_t seconds, std::string_view bytes = "") {
    Frame f;
    f.connection = connection;
    f.kind = kind;
    f.receive_time = at(seconds);
    f.bytes = bytes;
    watch_.on_frame(f, recorder_);
  }
  void data(std::uint32_t connection, std::string_view channel, std::string_view symbol, std::int64_t seconds) {
    frame(connection, FrameKind::kWs, seconds);
    watch_.alive(connection, channel, symbol, at(seconds), recorder_);
  }
  std::vector<std::string> check(std::int64_t seconds) {
    watch_.check(at(seconds), recorder_);
    return recorder_.take();
  }

  Recorder recorder_;
  StreamWatch watch_;
};

using Log = std::vector<std::string>;

TEST_F(StreamWatchTest, SaysStaleOnceAndRecoveredWithTheAge) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 1);
  data(0, "ticker", "B", 1);
  EXPECT_EQ(check(5), Log{});
  data(0, "ticker", "B", 8);
  EXPECT_EQ(check(12), (Log{"stale ticker A 11"}));
  EXPECT_EQ(check(13), Log{});
  EXPECT_EQ(watch_.stale(), 1u);
  data(0, "ticker", "A", 14);
  EXPECT_EQ(recorder_.take(), (Log{"recovered ticker A 13"}));
  EXPECT_EQ(watch_.stale(), 0u);
}

TEST_F(StreamWatchTest, AStreamThatNeverCameIsStaleToo) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 9);
  EXPECT_EQ(check(11), (Log{"stale ticker B 11"}));
}

TEST_F(StreamWatchTest, AReconnectSaysWhyHowLongAndWhatIsMissing) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 1);
  EXPECT_EQ(watch_.confirmed(), 1u);
  frame(0, FrameKind::kClose, 2, "cut");
  EXPECT_EQ(watch_.confirmed(), 0u);
  EXPECT_EQ(watch_.open_connections(), 0u);
  frame(0, FrameKind::kClose, 3, "refused");
  frame(0, FrameKind::kOpen, 6);
  EXPECT_EQ(recorder_.take(), (Log{"missing ticker A 5: connection lost: cut", "reconnected 0 cut attempt 2 down 4 wanted 2"}));
  EXPECT_EQ(watch_.reconnects(), 1u);
}

TEST_F(StreamWatchTest, WhatIsNotConfirmedAfterAReconnectIsReconnectedWithGrowingPatience) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 1);
  data(0, "ticker", "B", 1);
  frame(0, FrameKind::kClose, 2, "cut");
  frame(0, FrameKind::kOpen, 3);
  recorder_.take();
  data(0, "ticker", "A", 4);
  EXPECT_EQ(check(8), Log{});
  EXPECT_EQ(check(9), (Log{"missing ticker B 8: not confirmed by data after a reconnect",
                           "reconnect 0: 1 subscriptions not confirmed by data"}));
  EXPECT_EQ(check(10), Log{});  // once
  frame(0, FrameKind::kClose, 10, "asked");
  frame(0, FrameKind::kOpen, 10);
  recorder_.take();
  data(0, "ticker", "A", 16);
  const auto early = check(16);  // 6 s: within the doubled patience of 10 s
  EXPECT_TRUE(std::ranges::none_of(early, [](const std::string& s) { return s.starts_with("reconnect "); }));
  const auto late = check(21);
  EXPECT_TRUE(std::ranges::any_of(late, [](const std::string& s) { return s.starts_with("reconnect "); }));
}

TEST_F(StreamWatchTest, AQuietMarketIsNotReconnectedForEver) {
  frame(1, FrameKind::kOpen, 0);
  for (int s = 1; s < 100; ++s) {
    frame(1, FrameKind::kWs, s);  // heartbeats, no trades
    for (const std::string& line : check(s)) EXPECT_FALSE(line.starts_with("reconnect")) << line;
  }
}

TEST_F(StreamWatchTest, ASilentConnectionIsMadeAgain) {
  frame(0, FrameKind::kOpen, 0);
  frame(0, FrameKind::kWs, 1);
  const auto early = check(20);
  EXPECT_TRUE(std::ranges::none_of(early, [](const std::string& s) { return s.starts_with("reconnect"); }));
  EXPECT_EQ(check(22), (Log{"reconnect 0: silent for 21000 ms"}));
  EXPECT_EQ(check(23), Log{});
}

TEST_F(StreamWatchTest, AnIdleStreamPromisesWhileItsConnectionIsUp) {
  frame(1, FrameKind::kOpen, 0);
  data(1, "trades", "A", 1);
  frame(1, FrameKind::kWs, 8);
  check(8);
  EXPECT_EQ(check(9), (Log{"watermark A 8"}));
  const auto later = check(16);
  EXPECT_TRUE(std::ranges::none_of(later, [](const std::string& s) { return s.starts_with("watermark"); }));
  frame(1, FrameKind::kClose, 16, "cut");
  for (const std::string& line : check(40)) EXPECT_FALSE(line.starts_with("watermark")) << line;
}

}  // namespace
}  // namespace utp
