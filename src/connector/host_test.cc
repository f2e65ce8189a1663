#include "connector/host.h"

#include <chrono>
#include <condition_variable>
#include <filesystem>

#include <gtest/gtest.h>

#include "connector/exec_connector.h"
#include "bus/testing/memory_bus.h"
#include "connector/testing/websocket_peer.h"
#include "connector/websocket.h"

namespace utp {
namespace {

using testing::MemoryBus;
using testing::PeerConnection;
using testing::PeerScript;
using testing::WebSocketPeer;

constexpr const char* kManifest = R"(manifest: 1
id: example
version: 1.0.0
entry: builtin:example
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
  - {event_type: trades/v2, schema_ref: "utp://trades/2.0.0"}
channels:
  - {name: ticker, event_types: [quotes/v2], stale_after: 10s}
  - {name: beat, per_symbol: false, default: false}
symbols: {default: [A, B]}
limits: {connections_per_minute: 0, messages_per_second: 0}
reconnect: {backoff_min: 1ms, backoff_max: 10ms, confirm_within: 5s, silent_connection: 20s}
queue: {frames_bytes: 64KiB, events_bytes: 64KiB}
health: {degraded_after: 8s, down_after: 30s}
)";

// "SYMBOL BID", or "beat".
class LinesMapper final : public Mapper {
 public:
  explicit LinesMapper(MapperContext context) : context_(std::move(context)) {}
  void on_frame(const Frame& frame, MapperOutput& output) override {
    if (frame.kind != FrameKind::kWs) return;
    if (frame.bytes == "beat") return output.alive(frame.connection, "beat", "");
    const std::size_t space = frame.bytes.find(' ');
    const auto bid = space == std::string_view::npos ? std::nullopt : Decimal::parse(frame.bytes.substr(space + 1));
    if (!bid) return output.reject("syntax", "", "no price");
    EventHeader header;
    header.symbol = frame.bytes.substr(0, space);
    header.event_time = frame.receive_time;
    row_.reset(*context_.plans[0]);
    row_.set(*context_.plans[0]->column("bid"), *bid);
    output.emit(0, header, row_);
    output.alive(frame.connection, "ticker", header.symbol);
  }

 private:
  MapperContext context_;
  Row row_;
};

// Remembers what it was told; delivers nothing by itself.
struct CommandLog {
  std::mutex mutex;
  std::vector<Command> commands;
  std::vector<Command> take() {
    std::lock_guard lock(mutex);
    return std::exchange(commands, {});
  }
  std::vector<std::string> thinnable;  // channels
  std::vector<bool> thinned;           // what thin() was called with
};

class SilentCollector final : public Collector {
 public:
  explicit SilentCollector(std::shared_ptr<CommandLog> log) : log_(std::move(log)) {}
  Status run(FrameSink&) override {
    std::unique_lock lock(mutex_);
    stopped_.wait(lock, [&] { return stop_; });
    return {};
  }
  void stop() override {
    std::lock_guard lock(mutex_);
    stop_ = true;
    stopped_.notify_all();
  }
  void carry_out(Command command) override {
    std::lock_guard lock(log_->mutex);
    log_->commands.push_back(std::move(command));
  }
  std::vector<std::string> thin(bool thin) override {
    log_->thinned.push_back(thin);
    return log_->thinnable;
  }

 private:
  std::shared_ptr<CommandLog> log_;
  std::mutex mutex_;
  std::condition_variable stopped_;
  bool stop_ = false;
};

class HostTest : public ::testing::Test {
 protected:
  HostTest() : registry_(*Registry::builtin()) {
    options_.source_id = "example.1";
    options_.realm = "r";
    options_.region = "x";
    builtin_.id = "example";
    builtin_.mapper = [](MapperContext context) -> Result<std::unique_ptr<Mapper>> { return std::make_unique<LinesMapper>(std::move(context)); };
    builtin_.collector = [this](CollectorContext) -> Result<std::unique_ptr<Collector>> { return std::make_unique<SilentCollector>(commands_); };
  }
  void make(const Clock& clock, const char* manifest = kManifest) {
    auto parsed = parse_manifest(manifest, "example.yaml", registry_);
    ASSERT_TRUE(parsed) << parsed.error().message;
    options_.manifest = *parsed;
    auto made = ConnectorInstance::create(options_, &builtin_, registry_, clock, bus_);
    ASSERT_TRUE(made) << made.error().message;
    host_ = std::move(*made);
  }
  void frame(FrameKind kind, std::string_view bytes = "") {
    Frame f;
    f.kind = kind;
    f.bytes = bytes;
    f.receive_time = clock_.now();
    ASSERT_TRUE(host_->queue().push(f));
  }
  void run(std::int64_t ns) {
    clock_.advance(ns);
    host_->step(0);
    host_->step(0);
  }
  std::size_t count(const std::string& topic, std::string_view part = "") {
    std::size_t n = 0;
    for (const auto& m : bus_.messages("utp.r.x." + topic)) n += m.value.find(part) != std::string::npos ? 1 : 0;
    return n;
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  static constexpr std::int64_t kSecond = 1'000'000'000;
  Registry registry_;
  ManualClock clock_{{1'700'000'000'000'000'000}};
  SystemClock system_clock_;
  MemoryBus bus_;
  InstanceOptions options_;
  BuiltinConnector builtin_;
  std::shared_ptr<CommandLog> commands_ = std::make_shared<CommandLog>();
  std::unique_ptr<ConnectorInstance> host_;
};

TEST_F(HostTest, TakesFramesToTheBusAndRegistersTheTopics) {
  make(clock_);
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1.5");
  run(1'000'000);
  EXPECT_EQ(count("quotes.v2", "\"bid\":1.5"), 1u);
  EXPECT_TRUE(host_->drained());
  EXPECT_EQ(bus_.topics().at("utp.r.x.quotes.v2").retention_ns, 72ll * 3600 * kSecond);
}

TEST_F(HostTest, StateFollowsWhatHappens) {
  make(clock_);
  EXPECT_EQ(host_->status().state, InstanceState::kStarting);
  frame(FrameKind::kOpen);
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kStarting);
  frame(FrameKind::kWs, "A 1");
  frame(FrameKind::kWs, "B 1");
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kUp) << host_->status().detail;
  EXPECT_EQ(host_->status().confirmed, 2u);
  run(9 * kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kDegraded);
  frame(FrameKind::kClose, "cut");
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kDegraded);
  run(40 * kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kDown);
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  frame(FrameKind::kWs, "B 1");
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kUp) << host_->status().detail;
  EXPECT_EQ(host_->status().reconnects, 1u);
  host_->stop();
  EXPECT_EQ(host_->status().counts.events_total, host_->status().counts.published);
}

TEST_F(HostTest, ASilentStreamIsReportedStaleAndThenRecovered) {
  make(clock_);
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  frame(FrameKind::kWs, "B 1");
  run(kSecond);
  run(5 * kSecond);
  frame(FrameKind::kWs, "B 2");
  run(kSecond);
  run(5 * kSecond);
  EXPECT_EQ(count("system.stale.v1", "\"state\":\"stale\""), 1u);
  EXPECT_EQ(host_->status().stale, 1u);
  const auto commands = commands_->take();
  ASSERT_EQ(commands.size(), 1u) << "and mended";
  EXPECT_EQ(commands[0].kind, Command::Kind::kReconnect);
  EXPECT_EQ(commands[0].opens, 1u);
  frame(FrameKind::kWs, "A 2");
  run(kSecond);
  EXPECT_EQ(count("system.stale.v1", "\"state\":\"recovered\""), 1u);
}

TEST_F(HostTest, AReconnectIsAnEventWithWhatIsMissing) {
  make(clock_);
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  run(kSecond);
  frame(FrameKind::kClose, "cut");
  run(kSecond);
  frame(FrameKind::kOpen);
  run(kSecond);
  EXPECT_EQ(count("system.reconnect.v1", "\"reason\":\"cut\""), 1u);
  EXPECT_EQ(count("system.gap.v1", "connection lost: cut"), 1u);
}

TEST_F(HostTest, ASilentConnectionIsToldToReconnect) {
  make(clock_);
  frame(FrameKind::kOpen);
  run(kSecond);
  run(21 * kSecond);
  const auto commands = commands_->take();
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(commands[0].kind, Command::Kind::kReconnect);
}

TEST_F(HostTest, HeartbeatsDoNotMakeAFrozenFeedLookAlive) {
  options_.channels = {"ticker", "beat"};
  make(clock_);
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  frame(FrameKind::kWs, "B 1");
  frame(FrameKind::kWs, "beat");
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kUp) << host_->status().detail;
  const Timestamp data = host_->status().last_ok;
  for (int i = 0; i < 7; ++i) {
    run(kSecond);
    frame(FrameKind::kWs, "beat");
    frame(FrameKind::kWs, "nonsense");  // something to publish
  }
  run(kSecond / 2);
  EXPECT_EQ(host_->status().state, InstanceState::kDegraded);
  EXPECT_EQ(host_->status().detail, "no data for 8 s");
  EXPECT_EQ(host_->status().last_ok, data);
}

TEST_F(HostTest, FramesWithoutAnOpeningAreAConnection) {
  make(clock_);
  frame(FrameKind::kWs, "A 1");
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kUp) << host_->status().detail;
}

TEST_F(HostTest, AConnectionThatWasNotMadeYetIsMissing) {
  std::string manifest = kManifest;
  manifest.replace(manifest.find("limits: {"), 9, "limits: {subscriptions_per_connection: 1, ");
  make(clock_, manifest.c_str());
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  run(kSecond);
  EXPECT_EQ(host_->status().state, InstanceState::kDegraded);
  EXPECT_EQ(host_->status().detail, "1 of 2 connections are not there");
}

TEST_F(HostTest, TheStatusSaysTheLagAndNoLatencyThatWasNotMeasured) {
  make(clock_);
  EXPECT_NE(to_json(host_->status()).find("\"latency_p50_ms\":null,\"latency_p99_ms\":null,\"lag\":0,"), std::string::npos) << to_json(host_->status());
  bus_.fail_with(Error{Code::kUnavailable, "away", true});
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  frame(FrameKind::kWs, "B 1");
  run(kSecond);
  EXPECT_EQ(host_->status().lag, 2u);
  bus_.fail_with(std::nullopt);
  run(2 * kSecond);
  run(kSecond);
  EXPECT_EQ(host_->status().lag, 0u);
  EXPECT_EQ(to_json(host_->status()).find("null"), std::string::npos) << to_json(host_->status());
}

TEST_F(HostTest, AnIdleStreamSendsItsWatermark) {
  make(clock_);
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "A 1");
  run(kSecond);
  run(5 * kSecond);
  run(3 * kSecond);
  frame(FrameKind::kWs, "B 1");
  run(kSecond);
  EXPECT_EQ(count("system.watermark.v1", "\"stream_type\":\"quotes/v2\""), 1u);
}

TEST_F(HostTest, ABusThatIsAwayHoldsTheCollectorBackAndLosesNothing) {
  make(clock_, R"(manifest: 1
id: example
version: 1.0.0
entry: builtin:example
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
queue: {frames_bytes: 64KiB, events_bytes: 64KiB}
)");
  bus_.fail_with(Error{Code::kUnavailable, "the server is away", true});
  std::atomic<int> pushed{0};
  std::atomic<bool> go_on{true};
  std::thread producer([&] {
    for (int i = 0; i < 20'000 && go_on; ++i) {
      const std::string bytes = "S" + std::to_string(i) + " 1";  // all different: nothing can be conflated
      Frame f;
      f.bytes = bytes;
      f.receive_time = clock_.now();
      if (!host_->queue().push(f)) return;
      ++pushed;
    }
  });
  // Until the producer is stuck: bounded by both queues.
  int last = -1;
  for (int still = 0; still < 20;) {
    host_->step(0);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    still = pushed == last ? still + 1 : 0;
    last = pushed;
  }
  EXPECT_LT(pushed, 20'000);
  EXPECT_TRUE(bus_.messages().empty());
  EXPECT_LE(host_->queue().bytes(), 64u << 10);
  bus_.fail_with(std::nullopt);
  ASSERT_TRUE(eventually([&] {
    clock_.advance(kSecond);
    for (int i = 0; i < 100; ++i) host_->step(0);
    return pushed == 20'000 && host_->drained();
  }));
  go_on = false;
  producer.join();
  EXPECT_EQ(count("quotes.v2"), 20'000u);
}

// Of a connection that is open: the bus takes nothing for so long that frames are dropped.
class StoppedStreamTest : public HostTest {
 protected:
  void stop_stream() {
    make(clock_, R"(manifest: 1
id: example
version: 1.0.0
entry: builtin:example
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
queue: {frames_bytes: 64KiB, events_bytes: 64KiB}
)");
    frame(FrameKind::kOpen);
    run(kSecond);
    bus_.fail_with(Error{Code::kUnavailable, "the server is away", true});
    // As fast as the queue takes it, until the stream has stopped and dropped some.
    for (int i = 0; i < 20 && host_->status().dropped_frames == 0; ++i) {
      push();
      for (int j = 0; j < 300; ++j) host_->step(0);
      clock_.advance(kSecond);
    }
    push();
    for (int j = 0; j < 300; ++j) host_->step(0);
    clock_.advance(kSecond);
    host_->step(0);
  }
  void push() {
    while (host_->queue().bytes() < (64u << 10) - 1024) frame(FrameKind::kWs, "S" + std::to_string(pushed_++) + " 1");
  }
  std::size_t dropped_gap(std::uint64_t missed) { return count("system.gap.v1", "\"missed\":" + std::to_string(missed)); }

  int pushed_ = 0;
};

TEST_F(StoppedStreamTest, AGapSaysHowMuchIsMissing) {
  stop_stream();
  EXPECT_GT(host_->status().dropped_frames, 100u);
  EXPECT_NE(host_->status().detail.find("the stream has stopped"), std::string::npos) << host_->status().detail;
  EXPECT_EQ(host_->queue().bytes(), 0u) << "the venue is read all the same";
  commands_->take();

  bus_.fail_with(std::nullopt);
  for (int i = 0; i < 5; ++i) run(2 * kSecond);
  // The connection is made anew; what comes on the old one is of no use.
  const auto commands = commands_->take();
  ASSERT_EQ(commands.size(), 1u);
  EXPECT_EQ(commands[0].kind, Command::Kind::kReconnect);
  frame(FrameKind::kWs, "LATE 1");
  run(kSecond);
  EXPECT_EQ(count("quotes.v2", "LATE"), 0u);
  EXPECT_EQ(count("system.gap.v1", "frames were dropped"), 0u) << "the count is not final";
  frame(FrameKind::kClose, "made anew");
  frame(FrameKind::kOpen);
  frame(FrameKind::kWs, "NEW 1");
  run(kSecond);
  run(kSecond);
  EXPECT_EQ(count("quotes.v2", "NEW"), 1u);
  const std::uint64_t dropped = host_->status().dropped_frames;
  EXPECT_EQ(dropped_gap(dropped), 1u);
  // Nothing is missing that the gap does not count: every frame is an event or was dropped.
  EXPECT_EQ(count("quotes.v2") + dropped, static_cast<std::uint64_t>(pushed_) + 2);
}

TEST_F(StoppedStreamTest, AConnectionThatDoesNotComeBackIsToldNowAndThen) {
  stop_stream();
  bus_.fail_with(std::nullopt);
  for (int i = 0; i < 300; ++i) {
    frame(FrameKind::kWs, "LATE 1");
    run(kSecond);
  }
  EXPECT_EQ(count("quotes.v2", "LATE"), 0u);
  const std::size_t told = count("system.gap.v1", "frames were dropped");
  EXPECT_GE(told, 5u);
  EXPECT_LE(told, 10u);
}

TEST_F(StoppedStreamTest, WhatWasDroppedIsToldBeforeTheEnd) {
  stop_stream();
  bus_.fail_with(std::nullopt);
  for (int i = 0; i < 5; ++i) run(2 * kSecond);
  EXPECT_EQ(count("system.gap.v1", "frames were dropped"), 0u);
  host_->start();
  host_->stop();
  EXPECT_EQ(dropped_gap(host_->status().dropped_frames), 1u);
}

// A source whose ticker has a thinner form, with data on both of its streams.
class ThinningTest : public HostTest {
 protected:
  void SetUp() override {
    commands_->thinnable = {"ticker"};
    std::string manifest = kManifest;
    const std::string own = "stale_after: 10s";
    manifest.replace(manifest.find(own), own.size(), own + ", thinner: {name: ticker_slow, stale_after: 15s}");
    make(clock_, manifest.c_str());
    frame(FrameKind::kOpen);
    data();
    run(kSecond);
  }
  void data() {
    frame(FrameKind::kWs, "A 1");
    frame(FrameKind::kWs, "B 1");
  }
  void pressure(bool on) {
    host_->set_backlog(on);
    host_->step(0);
  }
  // Seconds with data, so that nothing is stale.
  void live(int seconds) {
    for (int i = 0; i < seconds; ++i) {
      data();
      run(kSecond);
    }
  }
  std::vector<bool> asked() { return std::exchange(commands_->thinned, {}); }
  using Asked = std::vector<bool>;
};

TEST_F(ThinningTest, PressureThatLastsThinsTheSourceAndALongCalmTakesItBack) {
  pressure(true);
  live(1);
  EXPECT_EQ(asked(), Asked{});
  live(1);
  EXPECT_EQ(asked(), Asked{true});
  live(5);
  EXPECT_EQ(asked(), Asked{}) << "once";
  EXPECT_EQ(host_->status().thinned, 2u);
  EXPECT_NE(to_json(host_->status()).find("\"thinned\":2,"), std::string::npos) << to_json(host_->status());
  EXPECT_EQ(host_->status().state, InstanceState::kDegraded);
  EXPECT_EQ(host_->status().detail, "2 of 2 streams are thinner while the bus is behind");
  EXPECT_EQ(count("system.health.v1", R"("component":"example.1","state":"degraded","detail":"2 streams (ticker) are subscribed thinner)"), 1u);
  pressure(false);
  live(29);
  EXPECT_EQ(asked(), Asked{});
  EXPECT_EQ(host_->status().thinned, 2u);
  live(1);
  EXPECT_EQ(asked(), Asked{false});
  live(1);
  EXPECT_EQ(host_->status().thinned, 0u);
  EXPECT_EQ(host_->status().state, InstanceState::kUp) << host_->status().detail;
  EXPECT_EQ(count("system.health.v1"), 2u);
  EXPECT_EQ(count("system.health.v1", R"("state":"up","detail":"2 streams (ticker) are subscribed in full again")"), 1u);
}

TEST_F(ThinningTest, PressureThatComesAndGoesChangesNothing) {
  for (int i = 0; i < 5; ++i) {
    pressure(true);
    live(1);
    pressure(false);
    live(1);
  }
  EXPECT_EQ(asked(), Asked{}) << "never long enough to thin";
  pressure(true);
  live(2);
  EXPECT_EQ(asked(), Asked{true});
  for (int i = 0; i < 3; ++i) {
    pressure(false);
    live(20);
    pressure(true);
    live(3);
  }
  EXPECT_EQ(asked(), Asked{}) << "never long enough to take it back";
}

TEST_F(ThinningTest, ABusThatTakesNothingThinsTheSourceBeforeFramesAreDropped) {
  bus_.fail_with(Error{Code::kUnavailable, "away", true});
  live(4);
  EXPECT_EQ(asked(), Asked{true});
  EXPECT_EQ(host_->status().dropped_frames, 0u);
  bus_.fail_with(std::nullopt);
  live(2);
  EXPECT_EQ(count("system.health.v1", "subscribed thinner"), 1u) << "told when the bus is back";
}

TEST_F(ThinningTest, AThinnedStreamMayBeSilentForLonger) {
  pressure(true);
  live(2);
  for (int i = 0; i < 14; ++i) run(kSecond);
  EXPECT_EQ(host_->status().stale, 0u) << "not after the channel's own 10 s";
  for (int i = 0; i < 2; ++i) run(kSecond);
  EXPECT_EQ(host_->status().stale, 2u);
  EXPECT_EQ(count("system.stale.v1", "\"limit_ms\":15000"), 2u);
  pressure(false);
  live(31);
  EXPECT_EQ(asked(), (Asked{true, false}));
  for (int i = 0; i < 11; ++i) run(kSecond);
  EXPECT_EQ(count("system.stale.v1", "\"limit_ms\":10000"), 2u);
}

TEST_F(HostTest, ASourceThatCannotBeThinnedStaysAsItIs) {
  make(clock_);
  frame(FrameKind::kOpen);
  host_->set_backlog(true);
  for (int i = 0; i < 5; ++i) {
    frame(FrameKind::kWs, "A 1");
    frame(FrameKind::kWs, "B 1");
    run(kSecond);
  }
  EXPECT_EQ(host_->status().thinned, 0u);
  EXPECT_EQ(host_->status().state, InstanceState::kUp) << host_->status().detail;
  EXPECT_EQ(count("system.health.v1"), 0u);
}

TEST_F(HostTest, OnlyASourceThatCannotWaitIsConflated) {
  class Waiting final : public Collector {
   public:
    explicit Waiting(bool can_wait) : can_wait_(can_wait) {}
    Status run(FrameSink&) override { return {}; }
    void stop() override {}
    void carry_out(Command) override {}
    bool can_wait() const override { return can_wait_; }

   private:
    bool can_wait_;
  };
  for (const bool can_wait : {false, true}) {
    builtin_.collector = [&](CollectorContext) -> Result<std::unique_ptr<Collector>> { return std::make_unique<Waiting>(can_wait); };
    make(clock_);
    bus_.fail_with(Error{Code::kUnavailable, "the server is away", true});
    frame(FrameKind::kOpen);
    frame(FrameKind::kWs, "A 1");
    run(kSecond);  // the bus is found away
    for (int i = 0; i < 10; ++i) frame(FrameKind::kWs, "B " + std::to_string(i));
    run(kSecond / 1000);
    bus_.fail_with(std::nullopt);
    run(kSecond);
    EXPECT_EQ(count("quotes.v2"), can_wait ? 13u : 2u);
  }
}

TEST_F(HostTest, TheEventLimitHoldsTheCollectorBack) {
  make(clock_, R"(manifest: 1
id: example
version: 1.0.0
entry: builtin:example
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
limits: {events_per_second: 10}
)");
  for (int i = 0; i < 40; ++i) frame(FrameKind::kWs, "A " + std::to_string(i));
  for (int i = 0; i < 50; ++i) host_->step(0);
  EXPECT_LE(count("quotes.v2"), 11u);
  clock_.advance(kSecond);
  for (int i = 0; i < 50; ++i) host_->step(0);
  EXPECT_GE(count("quotes.v2"), 19u);
  EXPECT_LE(count("quotes.v2"), 22u);
}

TEST_F(HostTest, ABuiltinThatIsNotLinkedInIsNamed) {
  auto parsed = parse_manifest(kManifest, "example.yaml", registry_);
  ASSERT_TRUE(parsed);
  options_.manifest = *parsed;
  const auto made = ConnectorInstance::create(options_, nullptr, registry_, clock_, bus_);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("builtin:example"), std::string::npos) << made.error().message;
}

TEST_F(HostTest, ACollectorThatGivesUpPutsTheInstanceDownWithItsReason) {
  class Failing final : public Collector {
   public:
    Status run(FrameSink&) override { return fail(Code::kPermission, "the key was refused"); }
    void stop() override {}
    void carry_out(Command) override {}
  };
  builtin_.collector = [](CollectorContext) -> Result<std::unique_ptr<Collector>> { return std::make_unique<Failing>(); };
  make(system_clock_);
  host_->start();
  ASSERT_TRUE(eventually([&] { return host_->status().state == InstanceState::kDown; }));
  EXPECT_EQ(host_->status().detail, "the key was refused");
}

TEST_F(HostTest, ACollectorThatEndsLeavesEverythingPublished) {
  class Finite final : public Collector {
   public:
    Status run(FrameSink& sink) override {
      for (int i = 0; i < 5000; ++i) {
        const std::string bytes = "A " + std::to_string(i);
        Frame f;
        f.bytes = bytes;
        f.receive_time = {1'700'000'000'000'000'000 + i};
        if (!sink.push(f)) break;
      }
      return {};
    }
    void stop() override {}
    void carry_out(Command) override {}
  };
  builtin_.collector = [](CollectorContext) -> Result<std::unique_ptr<Collector>> { return std::make_unique<Finite>(); };
  make(system_clock_);
  host_->start();
  ASSERT_TRUE(eventually([&] { return host_->finished(); }));
  const auto status = host_->status();
  EXPECT_EQ(status.state, InstanceState::kStopped);
  EXPECT_EQ(status.counts.frames, 5000u);
  EXPECT_EQ(count("quotes.v2") + status.counts.conflated, 5000u);
}

TEST_F(HostTest, AWholeConnectorRunsAgainstAServerAndSurvivesItsDeath) {
  PeerScript script;
  script.on_message = [](PeerConnection& c, std::string_view text) { c.send(std::string(text) + " 1" + std::to_string(c.number())); };
  WebSocketPeer peer(script);
  builtin_.collector = [&](CollectorContext context) {
    WebSocketOptions ws;
    ws.name = "example";
    ws.url = peer.url();
    ws.subscribe = [](std::uint32_t, std::span<const WantedStream> streams) {
      std::vector<std::string> messages;
      for (const WantedStream& s : streams) messages.push_back(s.symbol);
      return messages;
    };
    return make_websocket_collector(std::move(ws), std::move(context));
  };
  make(system_clock_);
  host_->start();
  ASSERT_TRUE(eventually([&] { return count("quotes.v2") >= 2; }));
  peer.connections()[0]->cut();
  ASSERT_TRUE(eventually([&] { return count("quotes.v2", "\"bid\":11") >= 2; }));
  ASSERT_TRUE(eventually([&] { return host_->status().confirmed == 2; }));
  EXPECT_EQ(count("system.reconnect.v1"), 1u);
  EXPECT_EQ(count("system.gap.v1"), 2u);
  host_->stop();
  EXPECT_EQ(host_->status().state, InstanceState::kStopped);
  host_->stop();
}

}  // namespace
}  // namespace utp
