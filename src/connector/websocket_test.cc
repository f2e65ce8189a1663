#include "connector/websocket.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>
#include <utility>

#include <dlfcn.h>
#include <gtest/gtest.h>
#include <netdb.h>

#include "connector/testing/websocket_peer.h"

namespace utp {
namespace {

using testing::PeerConnection;
using testing::PeerOptions;
using testing::PeerScript;
using testing::WebSocketPeer;

// While one of these lives, the first look-up of kHost waits for answer() and gives 127.0.0.1; later ones fail.
class SlowName {
 public:
  static constexpr const char* kHost = "slow.invalid";
  SlowName() { current_ = this; }
  ~SlowName() {
    answer();
    current_ = nullptr;
  }
  void answer() {
    if (!std::exchange(answered_, true)) answer_.set_value();
  }
  bool wait_until_asked() { return asking_.get_future().wait_for(std::chrono::seconds(20)) == std::future_status::ready; }
  // True: the first one.
  static bool look_up() {
    SlowName* const self = current_;
    if (self == nullptr || self->asked_.exchange(true)) return false;
    self->asking_.set_value();
    self->waiting_.wait();
    return true;
  }

 private:
  static inline std::atomic<SlowName*> current_ = nullptr;
  std::promise<void> asking_, answer_;
  std::future<void> waiting_ = answer_.get_future();
  std::atomic<bool> asked_ = false;
  bool answered_ = false;
};

struct Seen {
  FrameKind kind;
  std::uint32_t connection;
  std::string tag, bytes;
};

class Frames final : public FrameSink {
 public:
  bool push(const Frame& frame) override {
    std::unique_lock lock(mutex_);
    if (blocked_) changed_.wait(lock, [&] { return !blocked_; });
    EXPECT_GE(frame.receive_time, last_);
    last_ = frame.receive_time;
    frames_.push_back({frame.kind, frame.connection, std::string(frame.tag), std::string(frame.bytes)});
    changed_.notify_all();
    return open_;
  }
  void block(bool blocked) {
    std::lock_guard lock(mutex_);
    blocked_ = blocked;
    changed_.notify_all();
  }
  // Waits until `count` frames of this kind (and text) were seen; the limit only ends a test that has failed.
  bool wait_for(FrameKind kind, std::size_t count, std::string_view part = "") {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return count_of(kind, part) >= count; });
  }
  std::size_t count(FrameKind kind, std::string_view part = "") {
    std::lock_guard lock(mutex_);
    return count_of(kind, part);
  }
  std::vector<Seen> all() {
    std::lock_guard lock(mutex_);
    return frames_;
  }
  std::string dump() {
    std::string text;
    for (const Seen& s : all()) text += std::to_string(s.connection) + " " + std::string(to_string(s.kind)) + " " + s.bytes.substr(0, 100) + "\n";
    return text;
  }

 private:
  std::size_t count_of(FrameKind kind, std::string_view part) const {
    return static_cast<std::size_t>(std::ranges::count_if(frames_, [&](const Seen& s) { return s.kind == kind && s.bytes.find(part) != std::string::npos; }));
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Seen> frames_;
  Timestamp last_;
  bool blocked_ = false, open_ = true;
};

class WebSocketTest : public ::testing::Test {
 protected:
  void SetUp() override {
    options_.name = "test";
    options_.subscribe = [](std::uint32_t, std::span<const WantedStream> streams) {
      std::vector<std::string> messages;
      for (const WantedStream& s : streams) messages.push_back("subscribe " + s.symbol);
      return messages;
    };
    context_.wanted = {{"ticker", "A"}, {"ticker", "B"}};
    context_.clock = &clock_;
    context_.seed = 42;
    context_.rates = {.connections_per_minute = 0, .messages_per_second = 0, .subscriptions_per_connection = 100};
    context_.link.backoff_min_ns = 1'000'000;
    context_.link.backoff_max_ns = 20'000'000;
  }
  void TearDown() override { finish(); }

  void start(const std::string& url) {
    options_.url = url;
    auto made = make_websocket_collector(options_, context_);
    ASSERT_TRUE(made) << made.error().message;
    collector_ = std::move(*made);
    thread_ = std::thread([this] { status_ = collector_->run(frames_); });
  }
  void finish() {
    if (!thread_.joinable()) return;
    collector_->stop();
    thread_.join();
    EXPECT_TRUE(status_) << status_.error().message;
  }

  SystemClock clock_;
  WebSocketOptions options_;
  CollectorContext context_;
  Frames frames_;
  std::unique_ptr<Collector> collector_;
  std::thread thread_;
  Status status_;
};

PeerScript echo_script() {
  PeerScript script;
  script.on_message = [](PeerConnection& c, std::string_view text) { c.send("data for " + std::string(text)); };
  return script;
}

TEST_F(WebSocketTest, SubscribesAndDeliversWhatTheVenueSends) {
  WebSocketPeer peer(echo_script());
  start(peer.url("/feed?key=hidden"));
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2)) << frames_.dump();
  const auto all = frames_.all();
  EXPECT_EQ(all[0].kind, FrameKind::kOpen);
  EXPECT_EQ(all[0].bytes, peer.url("/feed")) << "a key in the address stays out of frames";
  EXPECT_EQ(frames_.count(FrameKind::kSent, "subscribe A"), 1u);
  EXPECT_EQ(frames_.count(FrameKind::kWs, "data for subscribe B"), 1u);
  EXPECT_EQ(peer.connections()[0]->target(), "/feed?key=hidden");
  finish();
  EXPECT_EQ(frames_.all().back().kind, FrameKind::kClose);
}

TEST_F(WebSocketTest, TheEndpointCanBeOverridden) {
  WebSocketPeer peer(echo_script());
  context_.endpoint = peer.url("/other");
  start("wss://nowhere.invalid/real");
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2)) << frames_.dump();
  EXPECT_EQ(peer.connections()[0]->target(), "/other");
}

TEST_F(WebSocketTest, CutsTheWantedStreamsIntoConnections) {
  WebSocketPeer peer(echo_script());
  context_.wanted.clear();
  for (int i = 0; i < 7; ++i) context_.wanted.push_back({"ticker", "S" + std::to_string(i)});
  context_.rates.subscriptions_per_connection = 3;
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 7)) << frames_.dump();
  EXPECT_EQ(peer.connections().size(), 3u);
  for (const Seen& s : frames_.all()) {
    if (s.kind == FrameKind::kSent) {
      EXPECT_EQ(s.connection, static_cast<std::uint32_t>(s.bytes.back() - '0') / 3) << s.bytes;
    }
  }
}

TEST_F(WebSocketTest, ReconnectsAndSubscribesAnewAfterACut) {
  PeerScript script = echo_script();
  script.on_message = [](PeerConnection& c, std::string_view text) {
    c.send("data");
    if (c.number() == 0 && text == "subscribe B") c.cut();
  };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kSent, 4)) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kOpen), 2u);
  EXPECT_EQ(frames_.count(FrameKind::kClose), 1u);
  EXPECT_EQ(frames_.count(FrameKind::kSent, "subscribe A"), 2u);
}

class ThinTest : public WebSocketTest {
 protected:
  void SetUp() override {
    WebSocketTest::SetUp();
    const auto say = [](const char* verb, std::span<const WantedStream> streams) {
      std::vector<std::string> messages;
      for (const WantedStream& s : streams) messages.push_back(std::string(verb) + " " + (s.variant.empty() ? s.channel : s.variant) + " " + s.symbol);
      return messages;
    };
    options_.subscribe = [say](std::uint32_t, std::span<const WantedStream> streams) { return say("subscribe", streams); };
    options_.unsubscribe = [say](std::span<const WantedStream> streams) { return say("unsubscribe", streams); };
    context_.wanted = {{"ticker", "A"}, {"trades", "A"}};
    context_.thinner = {{"ticker", "slow"}};
  }
  std::vector<std::string> told(const WebSocketPeer& peer, std::uint32_t connection) {
    std::vector<std::string> texts;
    for (auto& [number, text] : peer.received()) {
      if (number == connection) texts.push_back(text);
    }
    return texts;
  }
  using Texts = std::vector<std::string>;
};

TEST_F(ThinTest, ChangesOverOnTheOpenConnectionAndBack) {
  WebSocketPeer peer(echo_script());
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2)) << frames_.dump();
  EXPECT_EQ(collector_->thin(true), Texts{"ticker"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 4)) << frames_.dump();
  collector_->thin(true);
  EXPECT_EQ(collector_->thin(false), Texts{"ticker"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 6)) << frames_.dump();
  EXPECT_EQ(told(peer, 0), (Texts{"subscribe ticker A", "subscribe trades A", "unsubscribe ticker A", "subscribe slow A", "unsubscribe slow A",
                                  "subscribe ticker A"}));
  EXPECT_EQ(peer.connections().size(), 1u);
}

TEST_F(ThinTest, AReconnectSubscribesThinWithoutDetour) {
  WebSocketPeer peer(echo_script());
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2)) << frames_.dump();
  collector_->thin(true);
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 4)) << frames_.dump();
  peer.connections()[0]->cut();
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 6)) << frames_.dump();
  EXPECT_EQ(told(peer, 1), (Texts{"subscribe slow A", "subscribe trades A"}));
}

TEST_F(ThinTest, AManifestThatPromisesMoreThanTheConnectorCanIsRefused) {
  options_.unsubscribe = nullptr;
  options_.url = "ws://127.0.0.1:1";
  const auto made = make_websocket_collector(options_, context_);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("thinner"), std::string::npos) << made.error().message;
}

TEST_F(WebSocketTest, ACutInTheMiddleOfAMessageDeliversNoHalfMessage) {
  PeerScript script;
  script.on_open = [](PeerConnection& c) {
    if (c.number() > 0) return c.send("whole");
    c.send_raw(std::string("\x81\x7e\x10\x00half of it", 14));  // a text frame of 4096 bytes that stops
    c.cut();
  };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1)) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kWs, "half"), 0u);
  EXPECT_EQ(frames_.count(FrameKind::kWs, "whole"), 1u);
}

TEST_F(WebSocketTest, GarbageInsteadOfFramesClosesAndReconnects) {
  PeerScript script;
  script.on_open = [](PeerConnection& c) {
    if (c.number() > 0) return c.send("fine");
    c.send_raw("HTTP/1.1 this is no websocket frame \xff\xff\xff\xff");
  };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1, "fine")) << frames_.dump();
  EXPECT_GE(frames_.count(FrameKind::kClose), 1u);
}

TEST_F(WebSocketTest, AFrozenSocketIsNoticedAndReplaced) {
  context_.link.silence_ns = 50'000'000;
  context_.link.ping_timeout_ns = 100'000'000;
  PeerScript script;
  script.on_open = [](PeerConnection& c) {
    if (c.number() == 0) return c.freeze();
    c.send("alive");
  };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1, "alive")) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kClose, "no answer to a ping"), 1u) << frames_.dump();
}

// A snapshot on a slow line: no message is whole for longer than both limits, and no ping is answered meanwhile.
TEST_F(WebSocketTest, AMessageThatComesInPiecesIsNoSilence) {
  context_.link.silence_ns = 1'000'000'000;
  context_.link.ping_timeout_ns = 1'000'000'000;
  PeerScript script;
  script.on_open = [](PeerConnection& c) { c.freeze(); };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kSent, 2)) << frames_.dump();
  const auto connection = peer.connections()[0];
  constexpr int kPieces = 30;
  connection->send_raw(std::string("\x81\x7e\x01\x2c", 4));  // a text frame of 300 bytes
  for (int i = 0; i < kPieces; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    connection->send_raw(std::string(300 / kPieces, 'x'));
  }
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1, std::string(300, 'x'))) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kOpen), 1u) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kClose), 0u) << frames_.dump();
}

// A name's look-up cannot be cancelled: what was given up during it must not connect after all.
TEST_F(WebSocketTest, AnAttemptThatWasGivenUpDoesNotConnectLater) {
  WebSocketPeer peer({});
  SlowName name;
  context_.link.connect_timeout_ns = 1'000'000;
  start("ws://" + std::string(SlowName::kHost) + ":" + std::to_string(peer.port()) + "/");
  ASSERT_TRUE(name.wait_until_asked());
  const std::size_t given_up = frames_.count(FrameKind::kClose, "no connection within");
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, given_up + 1, "no connection within")) << frames_.dump();
  name.answer();
  // The look-ups after it fail; by then the first one's answer was seen.
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, 1, "name ")) << frames_.dump();
  finish();
  EXPECT_TRUE(peer.connections().empty());
}

TEST_F(WebSocketTest, ACommandForAConnectionThatIsGoneIsDropped) {
  WebSocketPeer peer(echo_script());
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2));
  collector_->carry_out({Command::Kind::kReconnect, 0, "", "first", 1});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kOpen, 2)) << frames_.dump();
  collector_->carry_out({Command::Kind::kReconnect, 0, "", "from frames of the first", 1});
  collector_->carry_out({Command::Kind::kSend, 0, "", "from frames of the first", 1});
  collector_->carry_out({Command::Kind::kSend, 0, "", "from frames of the second", 2});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1, "from frames of the second")) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kSent, "from frames of the first"), 0u);
  EXPECT_EQ(frames_.count(FrameKind::kOpen), 2u) << frames_.dump();
}

// The peer takes the request and never answers it.
TEST_F(WebSocketTest, StoppingDoesNotWaitForARequest) {
  std::promise<void> asked, go_on;
  PeerScript script = echo_script();
  script.on_get = [&, answer = go_on.get_future().share()](std::string_view) {
    asked.set_value();
    answer.wait();
    return std::pair<unsigned, std::string>(200, "too late");
  };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2));
  collector_->carry_out({Command::Kind::kRequest, 0, "slow", "/slow"});
  asked.get_future().wait();
  const auto before = clock_.monotonic_ns();
  finish();
  const auto took_ns = clock_.monotonic_ns() - before;
  go_on.set_value();
  EXPECT_LT(took_ns, 20'000'000'000) << "a request may take 30 s";
}

TEST_F(WebSocketTest, ASilentSocketThatAnswersPingsIsKept) {
  context_.link.silence_ns = 10'000'000;
  context_.link.ping_timeout_ns = 2'000'000'000;
  WebSocketPeer peer({});
  start(peer.url());
  for (int i = 0; i < 2000 && peer.pings() < 5; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_GE(peer.pings(), 5u);
  EXPECT_EQ(frames_.count(FrameKind::kClose), 0u) << frames_.dump();
}

TEST_F(WebSocketTest, AHostThatIsHeldUpDoesNotBlameTheVenue) {
  context_.link.silence_ns = 20'000'000;
  context_.link.ping_timeout_ns = 50'000'000;
  WebSocketPeer peer(echo_script());
  frames_.block(true);
  start(peer.url());
  std::this_thread::sleep_for(std::chrono::milliseconds(300));  // longer than both limits: the fault that is tested
  frames_.block(false);
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2)) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kClose), 0u) << frames_.dump();
}

TEST_F(WebSocketTest, ARefusedConnectionIsTriedAgainUntilItIsThere) {
  std::uint16_t port = 0;
  {
    WebSocketPeer gone({});
    port = gone.port();
  }
  start("ws://127.0.0.1:" + std::to_string(port) + "/");
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, 3, "connect")) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kOpen), 0u);
}

TEST_F(WebSocketTest, AServerThatSpeaksNoWebSocketIsNamedByItsStatus) {
  WebSocketPeer peer({});
  // A TLS client on a plain port, and a plain request for a websocket that is declined, are both failures of the attempt.
  start("wss://127.0.0.1:" + std::to_string(peer.port()) + "/");
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, 1, "TLS")) << frames_.dump();
}

TEST_F(WebSocketTest, KeepsTheMessageLimit) {
  WebSocketPeer peer(echo_script());
  context_.wanted.clear();
  for (int i = 0; i < 12; ++i) context_.wanted.push_back({"ticker", "S" + std::to_string(i)});
  context_.rates.messages_per_second = 10;  // a burst of 10, then 0.1 s each
  const auto before = clock_.monotonic_ns();
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kSent, 12)) << frames_.dump();
  EXPECT_GE(clock_.monotonic_ns() - before, 190'000'000);
}

TEST_F(WebSocketTest, KeepsTheConnectionLimit) {
  PeerScript script;
  script.on_open = [](PeerConnection& c) { c.cut(); };
  WebSocketPeer peer(script);
  context_.rates.connections_per_minute = 600;  // a burst of 100, then 0.1 s each
  context_.link.backoff_max_ns = 1'000'000;
  const auto before = clock_.monotonic_ns();
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kOpen, 103)) << frames_.count(FrameKind::kOpen);
  EXPECT_GE(clock_.monotonic_ns() - before, 200'000'000);
}

TEST_F(WebSocketTest, CarriesOutCommands) {
  PeerScript script = echo_script();
  script.on_get = [](std::string_view target) { return std::pair<unsigned, std::string>(200, "answer to " + std::string(target)); };
  WebSocketPeer peer(script);
  start(peer.url("/stream"));
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2));
  collector_->carry_out({Command::Kind::kSend, 0, "", "hello"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1, "data for hello")) << frames_.dump();
  collector_->carry_out({Command::Kind::kRequest, 0, "snapshot", "/products?limit=5"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kHttp, 1, "answer to /products?limit=5")) << frames_.dump();
  for (const Seen& s : frames_.all()) {
    if (s.kind == FrameKind::kHttp) {
      EXPECT_EQ(s.tag, "snapshot");
    }
  }
  collector_->carry_out({Command::Kind::kReconnect, 0, "", "checksum"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kOpen, 2)) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kClose, "checksum"), 1u);
  collector_->carry_out({Command::Kind::kReconnect, 99, "", "no such connection"});
}

TEST_F(WebSocketTest, ARequestIsTriedAgainAndThenGivenUpWithAReconnect) {
  std::atomic<int> asked{0};
  PeerScript script = echo_script();
  script.on_get = [&](std::string_view target) {
    ++asked;
    if (target == "/flaky" && asked >= 3) return std::pair<unsigned, std::string>(200, "at last");
    return std::pair<unsigned, std::string>(503, "busy");
  };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kOpen, 1));
  collector_->carry_out({Command::Kind::kRequest, 0, "flaky", "/flaky"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kHttp, 1, "at last")) << frames_.dump();
  EXPECT_EQ(asked, 3);
  collector_->carry_out({Command::Kind::kRequest, 0, "dead", "/dead"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, 1, "request dead failed: HTTP 503")) << frames_.dump();
  ASSERT_TRUE(frames_.wait_for(FrameKind::kOpen, 2));
}

TEST_F(WebSocketTest, AMessageAboveTheLimitClosesTheConnection) {
  context_.link.message_bytes_max = 10'000;
  PeerScript script;
  script.on_open = [](PeerConnection& c) { c.send(c.number() == 0 ? std::string(20'000, 'x') : std::string(9'000, 'y')); };
  WebSocketPeer peer(script);
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 1, "yyy"));
  EXPECT_EQ(frames_.count(FrameKind::kWs, "xxx"), 0u);
}

TEST_F(WebSocketTest, ABadEndpointIsRefusedAtOnce) {
  for (const char* url : {"", "nonsense", "ftp://x/", "ws://", "ws://host:0/", "ws://host:99999/", "ws://user:pass@host/", "ws://a b/"}) {
    options_.url = url;
    EXPECT_FALSE(make_websocket_collector(options_, context_)) << url;
  }
  EXPECT_EQ(Url::parse("wss://[::1]:9/x?q=1")->host, "::1");
  EXPECT_EQ(Url::parse("wss://h")->authority(), "h");
  EXPECT_EQ(Url::parse("ws://h:81")->authority(), "h:81");
}

class WebSocketTlsTest : public WebSocketTest {
 protected:
  void SetUp() override {
    WebSocketTest::SetUp();
    char folder[] = "/tmp/utp-tls-XXXXXX";
    ASSERT_NE(mkdtemp(folder), nullptr);
    folder_ = folder;
    if (!testing::make_certificate(folder_, "good", "IP:127.0.0.1,DNS:localhost") ||
        !testing::make_certificate(folder_, "other", "DNS:other.example")) {
      GTEST_SKIP() << "the openssl command is not there to make certificates";
    }
  }
  void TearDown() override {
    finish();
    std::filesystem::remove_all(folder_);
  }
  PeerOptions server(const std::string& name) const { return {folder_ + "/" + name + ".pem", folder_ + "/" + name + ".key"}; }
  std::string folder_;
};

TEST_F(WebSocketTlsTest, TrustsTheGivenAuthority) {
  WebSocketPeer peer(echo_script(), server("good"));
  context_.ca_file = folder_ + "/ca.pem";
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kWs, 2)) << frames_.dump();
  finish();
}

TEST_F(WebSocketTlsTest, RequestsGoOverTlsToo) {
  PeerScript script;
  script.on_get = [](std::string_view) { return std::pair<unsigned, std::string>(200, "secure"); };
  WebSocketPeer peer(script, server("good"));
  context_.ca_file = folder_ + "/ca.pem";
  start("wss://localhost:" + std::to_string(peer.port()));
  ASSERT_TRUE(frames_.wait_for(FrameKind::kOpen, 1)) << frames_.dump();
  collector_->carry_out({Command::Kind::kRequest, 0, "r", "/r"});
  ASSERT_TRUE(frames_.wait_for(FrameKind::kHttp, 1, "secure")) << frames_.dump();
}

TEST_F(WebSocketTlsTest, RefusesACertificateOfAnUnknownAuthority) {
  WebSocketPeer peer(echo_script(), server("good"));
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, 2, "certificate")) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kOpen), 0u);
  EXPECT_TRUE(peer.received().empty()) << "nothing may be sent to a server that is not verified";
}

TEST_F(WebSocketTlsTest, RefusesACertificateOfAnotherHost) {
  WebSocketPeer peer(echo_script(), server("other"));
  context_.ca_file = folder_ + "/ca.pem";
  start(peer.url());
  ASSERT_TRUE(frames_.wait_for(FrameKind::kClose, 1, "certificate")) << frames_.dump();
  EXPECT_EQ(frames_.count(FrameKind::kOpen), 0u);
}

TEST_F(WebSocketTlsTest, AnUnreadableAuthorityFileIsNamed) {
  context_.ca_file = folder_ + "/nothing.pem";
  options_.url = "wss://localhost/";
  const auto made = make_websocket_collector(options_, context_);
  ASSERT_FALSE(made);
  EXPECT_NE(made.error().message.find("nothing.pem"), std::string::npos);
}

}  // namespace

int look_up(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  const auto real = reinterpret_cast<decltype(&getaddrinfo)>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (host == nullptr || std::string_view(host) != SlowName::kHost) return real(host, service, hints, found);
  return SlowName::look_up() ? real("127.0.0.1", service, hints, found) : EAI_NONAME;
}

}  // namespace utp

// Takes the library's place in this program.
extern "C" int getaddrinfo(const char* host, const char* service, const addrinfo* hints, addrinfo** found) {
  return utp::look_up(host, service, hints, found);
}
