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
                   std::uint32_t wanted) override {
    log.push_back("reconnected " + std::to_string(connection) + " " + std::string(reason) + " attempt " + std::to_string(attempt) +
                  " down " + std::to_string(down_ns / kSecond) + " wanted " + std::to_string(wanted));
  }
  void stale(const WatchedStream& stream, bool stale, std::int64_t age_ns) override {
    log.push_back((stale ? "stale " : "recovered ") + stream.channel + " " + stream.symbol + " " + std::to_string(age_ns / kSecond));
  }
  void missing(const WatchedStream& stream, std::string_view reason, Timestamp from, Timestamp to) override {
    log.push_back("missing " + stream.channel + " " + stream.symbol + " " + std::to_string((to - from) / kSecond) + ": " + std::string(reason));
  }
  void watermark(const WatchedStream& stream, Timestamp promise) override {
    log.push_back("watermark " + stream.symbol + " " + std::to_string(promise.ns / kSecond));
  }
  void reconnect(std::uint32_t connection, std::string reason) override {
    log.push_back("reconnect " + std::to_string(connection) + ": " + reason);
  }
  std::vector<std::string> take() { return std::exchange(log, {}); }
};

class StreamWatchTest : public ::testing::Test {
 protected:
  StreamWatchTest()
      : watch_({{{"ticker", "A"}, {"quotes/v2"}, 10 * kSecond},
                {{"ticker", "B"}, {"quotes/v2"}, 10 * kSecond},
                {{"trades", "A"}, {"trades/v2"}, 0},
                {{"heartbeats", ""}, {}, 0}},
               limits()) {
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
  EXPECT_EQ(check(12), (Log{"stale ticker A 11", "reconnect 0: 1 streams are stale"}));
  EXPECT_EQ(check(13), Log{});
  EXPECT_EQ(watch_.stale(), 1u);
  data(0, "ticker", "A", 14);
  EXPECT_EQ(recorder_.take(), (Log{"recovered ticker A 13"}));
  EXPECT_EQ(watch_.stale(), 0u);
}

TEST_F(StreamWatchTest, AStreamWithAnotherPaceIsWatchedAnew) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 1);
  data(0, "ticker", "B", 1);
  EXPECT_EQ(watch_.set_pace("ticker", 60 * kSecond, at(9)), 2u);
  EXPECT_EQ(watch_.set_pace("nothing", 60 * kSecond, at(9)), 0u);
  check(69);
  EXPECT_EQ(watch_.stale(), 0u);
  EXPECT_EQ(watch_.set_pace("ticker", 10 * kSecond, at(69)), 2u);
  check(79);
  EXPECT_EQ(watch_.stale(), 0u) << "its silence until then is the other pace's";
  check(80);
  EXPECT_EQ(watch_.stale(), 2u);
}

TEST_F(StreamWatchTest, AStreamThatNeverCameIsStaleToo) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 9);
  EXPECT_EQ(check(11), (Log{"stale ticker B 11", "reconnect 0: 1 streams are stale"}));
}

// A first subscription that the venue lost, or a feed that froze: the connection's heartbeats go on and say nothing of it.
TEST_F(StreamWatchTest, AStaleStreamIsMendedByReconnectsWithDoublingPatience) {
  frame(0, FrameKind::kOpen, 0);
  std::vector<int> asked;
  for (int s = 1; s <= 200; ++s) {
    frame(0, FrameKind::kWs, s);  // heartbeats
    data(0, "ticker", "A", s);
    for (const std::string& line : check(s)) {
      if (!line.starts_with("reconnect 0")) continue;
      asked.push_back(s);
      frame(0, FrameKind::kClose, s, "asked");
      frame(0, FrameKind::kOpen, s);
    }
  }
  EXPECT_EQ(asked, (std::vector<int>{11, 32, 73, 154}));  // 10 s, then 20, 40 and 80 after each opening
}

TEST_F(StreamWatchTest, AStreamThatFlowsAgainHasItsPatienceBack) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 1);
  data(0, "ticker", "B", 9);
  EXPECT_EQ(check(12), (Log{"stale ticker A 11", "reconnect 0: 1 streams are stale"}));
  frame(0, FrameKind::kClose, 12, "asked");
  frame(0, FrameKind::kOpen, 12);
  data(0, "ticker", "A", 13);  // what a subscription begins with
  data(0, "ticker", "B", 13);
  data(0, "ticker", "A", 18);  // and later than that: it flows
  data(0, "ticker", "B", 27);
  recorder_.take();
  EXPECT_EQ(check(29), (Log{"stale ticker A 11", "reconnect 0: 1 streams are stale"}));
}

TEST_F(StreamWatchTest, ARefusedSubscriptionIsTriedAgainWithDoublingPatience) {
  const auto reconnects = [this](std::int64_t seconds) {
    Log found;
    for (const std::string& line : check(seconds)) {
      if (line.starts_with("reconnect ")) found.push_back(line);
    }
    return found;
  };
  frame(1, FrameKind::kOpen, 0);
  watch_.refused(1, "Exceeded msg rate", at(0));
  EXPECT_EQ(reconnects(5), Log{});
  EXPECT_EQ(reconnects(6), (Log{"reconnect 1: a subscription was refused: Exceeded msg rate"}));
  frame(1, FrameKind::kClose, 6, "asked");
  frame(1, FrameKind::kOpen, 6);
  recorder_.take();
  watch_.refused(1, "Exceeded msg rate", at(7));
  EXPECT_EQ(reconnects(16), Log{});
  EXPECT_EQ(reconnects(17), (Log{"reconnect 1: a subscription was refused: Exceeded msg rate"}));
  frame(1, FrameKind::kClose, 17, "asked");
  frame(1, FrameKind::kOpen, 17);
  recorder_.take();
  for (int s = 18; s < 60; ++s) {
    frame(1, FrameKind::kWs, s);
    EXPECT_EQ(reconnects(s), Log{}) << "nothing was refused this time";
  }
}

TEST_F(StreamWatchTest, HeartbeatsAreNoData) {
  frame(1, FrameKind::kOpen, 0);
  data(1, "trades", "A", 1);
  data(1, "heartbeats", "", 9);
  EXPECT_EQ(watch_.last_data(), at(1));
  EXPECT_EQ(watch_.confirmed(), 2u);
  EXPECT_EQ(watch_.wanted(), 4u);
  EXPECT_EQ(watch_.data_streams(), 3u);
}

TEST_F(StreamWatchTest, AMessageWithoutAnOpenFrameOpensTheConnection) {
  data(0, "ticker", "A", 1);
  EXPECT_EQ(watch_.open_connections(), 1u);
  EXPECT_EQ(watch_.connections(), 2u) << "the second was not tried yet, and counts";
  EXPECT_EQ(recorder_.take(), Log{});
}

TEST_F(StreamWatchTest, AnOpeningWithoutACloseIsAReconnectToo) {
  frame(0, FrameKind::kOpen, 0);
  data(0, "ticker", "A", 5);
  frame(0, FrameKind::kOpen, 65);
  EXPECT_EQ(recorder_.take(), (Log{"missing ticker A 60: connection lost: opened again without a close",
                                   "reconnected 0 opened again without a close attempt 1 down 60 wanted 2"}));
}

TEST_F(StreamWatchTest, LearnsTheStreamsOfARecordingAndWhatItsOutagesCost) {
  StreamWatch watch({}, limits(), {{"ticker", {"quotes/v2"}, true, true, 0}});
  const auto take = [&](FrameKind kind, std::int64_t seconds, std::string_view bytes = "") {
    watch.on_frame({0, kind, at(seconds), "", bytes}, recorder_);
  };
  take(FrameKind::kOpen, 0);
  take(FrameKind::kWs, 1);
  watch.alive(0, "ticker", "A", at(1), recorder_);
  watch.alive(0, "status", "", at(1), recorder_);  // no channel of the manifest
  take(FrameKind::kClose, 2, "cut");
  take(FrameKind::kOpen, 602);
  EXPECT_EQ(recorder_.take(), (Log{"missing ticker A 601: connection lost: cut", "reconnected 0 cut attempt 1 down 600 wanted 1"}));
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
  data(0, "ticker", "A", 1);
  data(0, "ticker", "B", 1);
  const auto early = check(11);
  EXPECT_TRUE(std::ranges::none_of(early, [](const std::string& s) { return s.starts_with("reconnect"); }));
  for (int s = 2; s < 22; ++s) frame(0, FrameKind::kSent, s, "ping");  // our own pings are no sign of life
  EXPECT_EQ(check(22).back(), "reconnect 0: silent for 21000 ms");
  EXPECT_EQ(check(23), Log{});
}

TEST_F(StreamWatchTest, AnIdleStreamPromisesAsFarAsItsConnectionWasHeard) {
  const auto watermarks = [this](std::int64_t seconds) {
    Log found;
    for (const std::string& line : check(seconds)) {
      if (line.starts_with("watermark")) found.push_back(line);
    }
    return found;
  };
  frame(1, FrameKind::kOpen, 0);
  data(1, "trades", "A", 1);
  frame(1, FrameKind::kWs, 7);
  EXPECT_EQ(watermarks(9), Log{}) << "nothing was heard for 2 s: the socket may be dead";
  frame(1, FrameKind::kSent, 9);
  EXPECT_EQ(watermarks(10), Log{});
  frame(1, FrameKind::kWs, 10);
  EXPECT_EQ(watermarks(11), (Log{"watermark A 9"}));  // the message's time less the lateness
  frame(1, FrameKind::kWs, 18);
  EXPECT_EQ(watermarks(18), Log{});
  frame(1, FrameKind::kWs, 19);
  EXPECT_EQ(watermarks(19), (Log{"watermark A 18"}));
  frame(1, FrameKind::kClose, 19, "cut");
  EXPECT_EQ(watermarks(40), Log{});
}

}  // namespace
}  // namespace utp
