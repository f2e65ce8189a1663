// The whole connector against a local server that speaks the websocket v2.
#include "connectors/kraken/kraken.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <zlib.h>

#include "connector/testing/whole_connector.h"

namespace utp {
namespace {

using testing::between;
using testing::PeerConnection;
using testing::PeerScript;
using testing::WholeConnector;
using Texts = std::vector<std::string>;

// Answers subscriptions as the venue does. Called on the peer's thread.
class Venue {
 public:
  // Asked before the subscription of a symbol is answered; true: it was dealt with.
  std::function<bool(PeerConnection&, const std::string& channel, const std::string& symbol)> instead;

  PeerScript script() {
    PeerScript script;
    script.on_open = [](PeerConnection& c) {
      c.send(R"({"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":1}]})");
    };
    script.on_message = [this](PeerConnection& c, std::string_view text) { heard(c, std::string(text)); };
    return script;
  }
  static void book(PeerConnection& c, const std::string& symbol, const char* type, const std::string& digits) {
    const auto sum = crc32(0, reinterpret_cast<const Bytef*>(digits.data()), static_cast<uInt>(digits.size()));
    const std::string asks = std::string(type) == "snapshot" ? R"({"price":100,"qty":1})" : "";
    const std::string qty = std::string(type) == "snapshot" ? "1" : "2";
    c.send(R"({"channel":"book","type":")" + std::string(type) + R"(","data":[{"symbol":")" + symbol + R"(","bids":[{"price":99,"qty":)" + qty +
           R"(}],"asks":[)" + asks + R"(],"checksum":)" + std::to_string(sum) + R"(,"timestamp":"2026-08-01T02:53:53.398143Z"}]})");
  }
  static void acknowledge(PeerConnection& c, const std::string& method, const std::string& channel, const std::string& symbol) {
    const std::string depth = channel == "book" ? R"("depth":25,)" : "";
    c.send(R"({"method":")" + method + R"(","result":{"channel":")" + channel + "\"," + depth + R"("snapshot":true,"symbol":")" + symbol +
           R"("},"success":true,"time_in":"2026-04-07T14:30:00Z","time_out":"2026-04-07T14:30:00Z"})");
  }
  static void refuse(PeerConnection& c, const char* method, const std::string& symbol, const std::string& why) {
    c.send(R"({"error":")" + why + R"(","method":")" + method + R"(","success":false,"symbol":")" + symbol +
           R"(","time_in":"2026-04-07T14:30:00Z","time_out":"2026-04-07T14:30:00Z"})");
  }
  static void trade(PeerConnection& c, const std::string& symbol, const char* type, int id) {
    c.send(R"({"channel":"trade","type":")" + std::string(type) + R"(","data":[{"symbol":")" + symbol +
           R"(","side":"sell","price":100,"qty":0.5,"ord_type":"limit","trade_id":)" + std::to_string(id) +
           R"(,"timestamp":"2026-08-01T02:53:53.4Z"}]})");
  }
  static constexpr const char* kGood = "1001991";  // of the snapshot

 private:
  void heard(PeerConnection& c, const std::string& text) {
    const std::string method = between(text, "\"method\":\"", '"');
    if (method == "ping") return c.send(R"({"method":"pong","time_in":"2026-04-07T14:30:00Z","time_out":"2026-04-07T14:30:00Z"})");
    const std::string channel = between(text, "\"channel\":\"", '"');
    std::string list = between(text, "\"symbol\":[", ']');
    for (std::size_t at = 0; (at = list.find('"', at)) != std::string::npos;) {
      const std::size_t end = list.find('"', at + 1);
      const std::string symbol = list.substr(at + 1, end - at - 1);
      at = end + 1;
      if (method == "subscribe" && instead && instead(c, channel, symbol)) continue;
      acknowledge(c, method, channel, symbol);
      if (method != "subscribe") continue;
      if (channel == "book") book(c, symbol, "snapshot", kGood);
      if (channel == "trade") trade(c, symbol, "snapshot", 7);
      if (channel == "ticker") {
        c.send(R"({"channel":"ticker","type":"snapshot","data":[{"symbol":")" + symbol + R"(","bid":99,"bid_qty":1,"ask":100,"ask_qty":1,"last":99.5}]})");
      }
    }
  }
};

class KrakenConnectorTest : public ::testing::Test {
 protected:
  KrakenConnectorTest() : live_(UTP_SOURCE_DIR "/connectors/kraken", kraken_connector(), venue_.script()) {}
  std::size_t snapshots(const char* symbol) { return live_.count("orderbook.v1", "\"kind\":\"snapshot\"", symbol); }

  const Texts subscriptions_ = {
      R"({"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD"],"depth":25,"snapshot":true}})",
      R"({"method":"subscribe","params":{"channel":"trade","symbol":["BTC/USD","ETH/USD"],"snapshot":true}})",
      R"({"method":"subscribe","params":{"channel":"ticker","symbol":["BTC/USD","ETH/USD"],"event_trigger":"bbo","snapshot":true}})"};
  const Texts again_ = {R"({"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25}})",
                        R"({"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":25,"snapshot":true}})"};
  Venue venue_;
  WholeConnector live_;
};

TEST_F(KrakenConnectorTest, SubscribesEveryChannelAndPublishesWhatTheVenueAnswers) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  EXPECT_EQ(live_.told(0), subscriptions_);
  for (const char* topic : {"trades.v2", "quotes.v2", "orderbook.v1"}) {
    for (const char* symbol : {"BTC-USD", "ETH-USD"}) EXPECT_EQ(live_.count(topic, symbol), 1u) << topic << " " << symbol;
  }
  EXPECT_EQ(live_.host().status().state, InstanceState::kUp) << live_.state();
  EXPECT_EQ(live_.host().status().counts.rejects, 0u);
}

TEST_F(KrakenConnectorTest, SubscribesTheSameAfterAReconnect) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  live_.peer().connections()[0]->cut();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.told(1).size() == subscriptions_.size(); })) << live_.state();
  EXPECT_EQ(live_.told(1), subscriptions_);
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  EXPECT_EQ(live_.count("system.gap.v1", "connection lost"), 6u);
}

TEST_F(KrakenConnectorTest, ThinsTheTickersWhileTheBusIsBehindAndNothingElse) {
  const auto ticker = [](const char* method, const char* trigger, const char* more = "") {
    return R"({"method":")" + std::string(method) + R"(","params":{"channel":"ticker","symbol":["BTC/USD","ETH/USD"],"event_trigger":")" + trigger + "\"" + more + "}}";
  };
  constexpr const char* kSnapshot = R"(,"snapshot":true)";
  live_.options.thin_after_ns = live_.options.full_after_ns = 0;
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();

  live_.host().set_backlog(true);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("quotes.v2") == 4; })) << live_.state();
  Texts told = subscriptions_;
  told.push_back(ticker("unsubscribe", "bbo"));
  told.push_back(ticker("subscribe", "trades", kSnapshot));
  EXPECT_EQ(live_.told(0), told);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.host().status().thinned == 2; })) << live_.state();

  live_.peer().connections()[0]->cut();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("quotes.v2") == 6; })) << live_.state();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  Texts thin = subscriptions_;
  thin.back() = ticker("subscribe", "trades", kSnapshot);
  EXPECT_EQ(live_.told(1), thin) << "thin from the beginning";

  live_.host().set_backlog(false);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("quotes.v2") == 8; })) << live_.state();
  thin.push_back(ticker("unsubscribe", "trades"));
  thin.push_back(ticker("subscribe", "bbo", kSnapshot));
  EXPECT_EQ(live_.told(1), thin);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.host().status().state == InstanceState::kUp; })) << live_.state();
  EXPECT_EQ(live_.host().status().thinned, 0u);
  EXPECT_EQ(live_.host().status().counts.rejects, 0u);
  EXPECT_EQ(live_.count("system.health.v1", "2 streams (ticker) are subscribed"), 2u);
  EXPECT_EQ(live_.connections(), 2u);
}

TEST_F(KrakenConnectorTest, TickersThatComeWithTradesOnlyCannotBeThinned) {
  live_.options.settings_json = R"({"ticker_trigger":"trades"})";
  live_.options.thin_after_ns = 0;
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  live_.host().set_backlog(true);
  Venue::book(*live_.peer().connections()[0], "BTC/USD", "update", "wrong");
  ASSERT_TRUE(WholeConnector::eventually([&] { return snapshots("BTC-USD") == 2; })) << live_.state();
  EXPECT_EQ(live_.told(0).size(), subscriptions_.size() + again_.size());
  EXPECT_EQ(live_.host().status().thinned, 0u);
  EXPECT_EQ(live_.count("system.health.v1"), 0u);
}

TEST_F(KrakenConnectorTest, GetsABookAnewWhoseChecksumFails) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  Venue::book(*live_.peer().connections()[0], "BTC/USD", "update", "wrong");
  ASSERT_TRUE(WholeConnector::eventually([&] { return snapshots("BTC-USD") == 2; })) << live_.state();
  EXPECT_EQ(live_.connections(), 1u);
  Texts told = live_.told(0);
  told.erase(told.begin(), told.begin() + 3);
  EXPECT_EQ(told, again_);
  EXPECT_EQ(live_.count("system.gap.v1", "book checksum is", "\"stream_type\":\"orderbook/v1\""), 1u);
}

// Without a count of its failures such a book is asked for anew with every round trip.
TEST_F(KrakenConnectorTest, ABookWhoseSnapshotsFailCostsTheConnectionAfterTheThird) {
  venue_.instead = [](PeerConnection& c, const std::string& channel, const std::string& symbol) {
    if (c.number() != 0 || channel != "book" || symbol != "BTC/USD") return false;
    Venue::acknowledge(c, "subscribe", channel, symbol);
    Venue::book(c, symbol, "snapshot", "wrong");
    return true;
  };
  live_.start();
  ASSERT_TRUE(WholeConnector::eventually([&] { return snapshots("BTC-USD") == 1; })) << live_.state();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  Texts told = live_.told(0);
  EXPECT_EQ(std::count(told.begin(), told.end(), again_[1]), 2);
  EXPECT_EQ(live_.connections(), 2u);
  EXPECT_EQ(live_.count("system.gap.v1", "\"reason\":\"book checksum is"), 3u);
  EXPECT_EQ(live_.count("system.reconnect.v1", "failed 3 times"), 1u);
}

TEST_F(KrakenConnectorTest, ARefusalInsteadOfASnapshotCostsTheConnectionAndNotTheBook) {
  int books = 0;
  venue_.instead = [&](PeerConnection& c, const std::string& channel, const std::string& symbol) {
    if (c.number() != 0 || channel != "book" || symbol != "BTC/USD" || books++ == 0) return false;
    Venue::refuse(c, "subscribe", symbol, "Exceeded msg rate");
    return true;
  };
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  Venue::book(*live_.peer().connections()[0], "BTC/USD", "update", "wrong");
  ASSERT_TRUE(WholeConnector::eventually([&] { return snapshots("BTC-USD") == 2; })) << live_.state();
  EXPECT_EQ(live_.connections(), 2u);
  EXPECT_EQ(live_.count("system.reconnect.v1", "Exceeded msg rate"), 1u);
}

TEST_F(KrakenConnectorTest, ARefusedSubscriptionIsTriedAgain) {
  venue_.instead = [](PeerConnection& c, const std::string& channel, const std::string& symbol) {
    if (c.number() != 0 || channel != "trade") return false;
    Venue::refuse(c, "subscribe", symbol, "Exceeded msg rate");
    return true;
  };
  live_.options.manifest.confirm_within_ns = 100'000'000;
  live_.start();
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("trades.v2") == 2; })) << live_.state();
  EXPECT_EQ(live_.count("system.reconnect.v1", "Exceeded msg rate"), 1u);
}

TEST_F(KrakenConnectorTest, AMissingTradeIsAGap) {
  live_.start();
  ASSERT_TRUE(live_.confirmed()) << live_.state();
  auto& c = *live_.peer().connections()[0];
  Venue::trade(c, "BTC/USD", "update", 8);
  Venue::trade(c, "BTC/USD", "update", 11);
  ASSERT_TRUE(WholeConnector::eventually([&] { return live_.count("trades.v2", "BTC-USD") == 3; })) << live_.state();
  EXPECT_EQ(live_.count("system.gap.v1", "trade_id jumped from 8 to 11", "\"missed\":2"), 1u);
}

}  // namespace
}  // namespace utp
