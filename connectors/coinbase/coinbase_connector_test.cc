// The whole connector against a local server that speaks the Advanced Trade protocol.
#include "connectors/coinbase/coinbase.h"

#include <gtest/gtest.h>

#include <map>
#include <mutex>

#include "connector/testing/whole_connector.h"

namespace utp {
namespace {

using testing::between;
using testing::PeerConnection;
using testing::PeerScript;
using testing::WholeConnector;
using Texts = std::vector<std::string>;

// Answers subscriptions as the venue does, with a counter over all messages of a connection. Called on the peer's thread.
class Venue {
 public:
  // Asked before a subscription is answered; true: it was dealt with.
  std::function<bool(PeerConnection&, const std::string& channel, int subscription)> instead;

  PeerScript script() {
    PeerScript script;
    script.on_message = [this](PeerConnection& c, std::string_view text) { heard(c, std::string(text)); };
    return script;
  }

  void send(PeerConnection& c, const std::string& channel, const std::string& events) {
    c.send(R"({"channel":")" + channel + R"(","client_id":"","timestamp":"2026-04-07T14:30:01.000000001Z","sequence_num":)" +
           std::to_string(sequence_[c.number()]++) + R"(,"events":[)" + events + "]}");
  }
  void error(PeerConnection& c, const std::string& message) { c.send(R"({"type":"error","message":")" + message + "\"}"); }
  void heartbeat(PeerConnection& c) {
    send(c, "heartbeats", R"({"current_time":"2026-04-07 14:30:10 +0000 UTC","heartbeat_counter":"1"})");
  }
  void book(PeerConnection& c, const std::string& product, const char* type, const std::string& price) {
    send(c, "l2_data", R"({"type":")" + std::string(type) + R"(","product_id":")" + product +
                           R"(","updates":[{"side":"bid","event_time":"2026-04-07T14:30:00.5Z","price_level":)" + price +
                           R"(,"new_quantity":"1"}]})");
  }
  void answer(PeerConnection& c, const std::string& channel, const Texts& products) {
    if (channel == "heartbeats") heartbeat(c);
    for (const std::string& asked : products) {
      // One book for both: frames have the first name.
      const std::string product = asked.ends_with("-USDC") ? asked.substr(0, asked.size() - 1) : asked;
      if (channel == "level2") book(c, product, "snapshot", R"("100")");
      if (channel == "market_trades") {
        send(c, channel, R"({"type":"snapshot","trades":[{"trade_id":"7","product_id":")" + product +
                             R"(","price":"100","size":"0.5","side":"BUY","time":"2026-04-07T14:30:00.8Z"}]})");
      }
      if (channel == "ticker") {
        send(c, channel, R"({"type":"snapshot","tickers":[{"type":"ticker","product_id":")" + product +
                             R"(","price":"100","best_bid":"99","best_bid_quantity":"1","best_ask":"101","best_ask_quantity":"2"}]})");
      }
    }
  }

 private:
  void heard(PeerConnection& c, const std::string& text) {
    const std::string channel = between(text, "\"channel\":\"", '"');
    Texts products;
    std::string list = between(text, "\"product_ids\":[", ']');
    for (std::size_t at = 0; (at = list.find('"', at)) != std::string::npos;) {
      const std::size_t end = list.find('"', at + 1);
      products.push_back(list.substr(at + 1, end - at - 1));
      at = end + 1;
    }
    if (between(text, "\"type\":\"", '"') == "subscribe") {
      if (instead && instead(c, channel, subscriptions_[{c.number(), channel}]++)) return;
      answer(c, channel, products);
    }
    send(c, "subscriptions", R"({"subscriptions":{}})");
  }

  std::map<std::uint32_t, std::uint64_t> sequence_;
  std::map<std::pair<std::uint32_t, std::string>, int> subscriptions_;
};

class CoinbaseConnectorTest : public ::testing::Test {
 protected:
  CoinbaseConnectorTest() : live_(UTP_SOURCE_DIR "/connectors/coinbase", coinbase_connector(), venue_.script()) {}

  const Texts subscriptions_ = {R"({"type":"subscribe","channel":"heartbeats"})",
                                R"({"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"level2"})",
                                R"({"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"market_trades"})",
                                R"({"type":"subscribe","product_ids":["BTC-USD","ETH-USD"],"channel":"ticker"})"};
  Venue venue_;
  WholeConnector live_;
};

TEST_F(CoinbaseConnectorTest, SubscribesEveryChannelAndPublishesWhatTheVenueAnswers) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  EXPECT_EQ(live_.told(0), subscriptions_);
  for (const char* topic : {"trades.v2", "quotes.v2", "orderbook.v1"}) {
    for (const char* symbol : {"BTC-USD", "ETH-USD"}) EXPECT_EQ(live_.count(topic, symbol), 1u) << topic << " " << symbol;
  }
  EXPECT_EQ(live_.host().status().state, InstanceState::kUp) << live_.state();
  EXPECT_EQ(live_.host().status().counts.rejects, 0u);
}

TEST_F(CoinbaseConnectorTest, SubscribesTheSameAfterAReconnect) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  live_.peer().connections()[0]->cut();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.told(1).size() == subscriptions_.size(); })) << live_.state();
  EXPECT_EQ(live_.told(1), subscriptions_);
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("orderbook.v1", "BTC-USD") == 2; })) << live_.state();
  EXPECT_EQ(live_.count("system.gap.v1", "connection lost"), 6u) << "one for each stream with data, none for the heartbeats";
  EXPECT_EQ(live_.count("system.gap.v1", "\"stream_type\":\"trades/v2\"", "\"symbol\":\"ETH-USD\""), 1u);
}

TEST_F(CoinbaseConnectorTest, GetsABookAnewWhoseFrameItCouldNotRead) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  auto& c = *live_.peer().connections()[0];
  venue_.book(c, "BTC-USD", "update", "[]");
  venue_.heartbeat(c);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("orderbook.v1", "\"kind\":\"snapshot\"", "BTC-USD") == 2; })) << live_.state();
  EXPECT_EQ(live_.count("system.gap.v1", "orderbook/v1", "BTC-USD"), 1u);
  EXPECT_EQ(live_.count("orderbook.v1", "ETH-USD"), 1u) << "the other book goes on";
  EXPECT_EQ(live_.connections(), 1u);
  Texts again = live_.told(0);
  again.erase(again.begin(), again.begin() + 4);
  EXPECT_EQ(again, (Texts{R"({"type":"unsubscribe","product_ids":["BTC-USD"],"channel":"level2"})",
                          R"({"type":"subscribe","product_ids":["BTC-USD"],"channel":"level2"})"}));
}

TEST_F(CoinbaseConnectorTest, AnErrorInsteadOfASnapshotCostsTheConnectionAndNotTheBook) {
  venue_.instead = [this](PeerConnection& c, const std::string& channel, int subscription) {
    if (c.number() != 0 || channel != "level2" || subscription == 0) return false;
    venue_.error(c, "too many requests");
    return true;
  };
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  auto& c = *live_.peer().connections()[0];
  venue_.book(c, "BTC-USD", "update", "[]");
  venue_.heartbeat(c);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("orderbook.v1", "\"kind\":\"snapshot\"", "BTC-USD") == 2; })) << live_.state();
  EXPECT_EQ(live_.connections(), 2u);
  EXPECT_EQ(live_.count("system.reconnect.v1", "too many requests"), 1u);
}

TEST_F(CoinbaseConnectorTest, ARefusedSubscriptionIsTriedAgain) {
  venue_.instead = [this](PeerConnection& c, const std::string& channel, int) {
    if (c.number() != 0 || channel != "market_trades") return false;
    venue_.error(c, "rate limit exceeded");
    return true;
  };
  live_.options.manifest.confirm_within_ns = 100'000'000;
  live_.start();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("trades.v2") == 2; })) << live_.state();
  EXPECT_EQ(live_.count("system.reconnect.v1", "rate limit exceeded"), 1u);
}

TEST_F(CoinbaseConnectorTest, AStreamThatNeverComesIsMendedThoughTheHeartbeatsGoOn) {
  venue_.instead = [](PeerConnection& c, const std::string& channel, int) { return c.number() == 0 && channel == "ticker"; };
  for (auto& channel : live_.options.manifest.channels) channel.stale_after_ns = channel.name == "ticker" ? 200'000'000 : 0;
  live_.start();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("quotes.v2") == 2; })) << live_.state();
  EXPECT_EQ(live_.count("system.stale.v1", "\"state\":\"stale\"", "\"stream_type\":\"quotes/v2\""), 2u);
  EXPECT_GE(live_.count("system.reconnect.v1", "2 streams are stale"), 1u);
}

TEST_F(CoinbaseConnectorTest, AJumpOfTheCounterMakesTheConnectionAgain) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  live_.peer().connections()[0]->send(
      R"({"channel":"heartbeats","timestamp":"2026-04-07T14:30:10Z","sequence_num":9999,"events":[{"current_time":"x","heartbeat_counter":"1"}]})");
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("orderbook.v1", "snapshot") == 4; })) << live_.state();
  EXPECT_EQ(live_.count("system.reconnect.v1", "sequence_num jumped"), 1u);
  EXPECT_EQ(live_.connections(), 2u);
}

TEST_F(CoinbaseConnectorTest, FollowsAProductWhoseFramesHaveAnotherName) {
  live_.options.symbols = {"BTC-USDC"};
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  EXPECT_EQ(live_.told(0)[1], R"({"type":"subscribe","product_ids":["BTC-USDC"],"channel":"level2"})");
  for (const char* topic : {"trades.v2", "quotes.v2", "orderbook.v1"}) EXPECT_EQ(live_.count(topic, "\"symbol\":\"BTC-USDC\""), 1u) << topic;
  EXPECT_EQ(live_.host().status().counts.rejects, 0u);
}

}  // namespace
}  // namespace utp
