#include "connectors/coinbase/coinbase_mapper.h"

#include <gtest/gtest.h>

#include "connector/testing/recorded_output.h"
#include "connectors/coinbase/coinbase_frame.h"

namespace utp {
namespace {

class CoinbaseMapperTest : public ::testing::Test {
 protected:
  CoinbaseMapperTest() : plans_(load_plans()), out_(plans_) { make({}); }

  static std::vector<std::shared_ptr<const Plan>> load_plans() {
    const auto registry = Registry::builtin();
    EXPECT_TRUE(registry) << registry.error().message;
    return {registry->by_event_type("quotes/v2"), registry->by_event_type("trades/v2"), registry->by_event_type("orderbook/v1")};
  }
  void make(std::vector<WantedStream> wanted) {
    MapperContext context;
    context.plans = plans_;
    context.wanted = std::move(wanted);
    auto mapper = make_coinbase_mapper(std::move(context));
    ASSERT_TRUE(mapper) << mapper.error().message;
    mapper_ = std::move(*mapper);
  }
  void frame(FrameKind kind, std::string_view bytes, std::uint32_t connection = 0) {
    mapper_->on_frame({connection, kind, Timestamp::from_seconds(1'700'000'000), "", bytes}, out_);
  }
  void ws(std::string_view bytes, std::uint32_t connection = 0) { frame(FrameKind::kWs, bytes, connection); }
  // Takes what was put out since the last call.
  std::vector<std::string> taken() { return std::exchange(out_.lines, {}); }

  static std::string l2(int sequence, const std::string& type, const std::string& updates, const std::string& product = "BTC-USD") {
    return R"({"channel":"l2_data","timestamp":"2026-04-07T14:30:01.000000001Z","sequence_num":)" + std::to_string(sequence) +
           R"(,"events":[{"type":")" + type + R"(","product_id":")" + product + R"(","updates":[)" + updates + "]}]}";
  }
  static std::string level(const std::string& side, const std::string& price, const std::string& size,
                           const std::string& time = "2026-04-07T14:30:00.5Z") {
    return R"({"side":")" + side + R"(","event_time":")" + time + R"(","price_level":")" + price + R"(","new_quantity":")" + size + "\"}";
  }
  static std::string heartbeat(int sequence) {
    return R"({"channel":"heartbeats","timestamp":"2026-04-07T14:30:10Z","sequence_num":)" + std::to_string(sequence) +
           R"(,"events":[{"current_time":"2026-04-07 14:30:10 +0000 UTC","heartbeat_counter":"42"}]})";
  }

  std::vector<std::shared_ptr<const Plan>> plans_;
  RecordedOutput out_;
  std::unique_ptr<Mapper> mapper_;
};

using Lines = std::vector<std::string>;

TEST_F(CoinbaseMapperTest, TakesTheAggressorToBeTheOtherSideThanTheMaker) {
  ws(R"({"channel":"market_trades","timestamp":"2026-04-07T14:30:02.9Z","sequence_num":5,"events":[{"type":"update","trades":[)"
     R"({"trade_id":"11","product_id":"BTC-USD","price":"68900.50","size":"0.00150000","side":"BUY","time":"2026-04-07T14:30:02.8Z"},)"
     R"({"trade_id":"10","product_id":"BTC-USD","price":"68900.00","size":"0.05","side":"SELL","time":"2026-04-07T14:30:02.789012Z"}]}]})");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"trades/v2","symbol":"BTC-USD","event_time":"2026-04-07T14:30:02.789012000Z","event_time_source":"venue","sequence":10,"payload":{"price":68900,"size":0.05,"side":"buy","trade_id":"10","venue":"coinbase"}})",
      R"({"event_type":"trades/v2","symbol":"BTC-USD","event_time":"2026-04-07T14:30:02.800000000Z","event_time_source":"venue","sequence":11,"payload":{"price":68900.5,"size":0.0015,"side":"sell","trade_id":"11","venue":"coinbase"}})"}));
}

TEST_F(CoinbaseMapperTest, MarksTradesOfASnapshot) {
  ws(R"({"channel":"market_trades","timestamp":"2026-04-07T14:30:02.9Z","sequence_num":0,"events":[{"type":"snapshot","trades":[)"
     R"({"trade_id":"11","product_id":"BTC-USD","price":"1","size":"1","side":"BUY","time":"2026-04-07T14:30:02.8Z"}]}]})");
  ASSERT_EQ(out_.lines.size(), 1u);
  EXPECT_NE(out_.lines[0].find(R"("quality":["snapshot"])"), std::string::npos);
}

TEST_F(CoinbaseMapperTest, MakesQuotesOfTickersByTheFramesClock) {
  ws(R"({"channel":"ticker","timestamp":"2026-04-07T14:30:03.123456789Z","sequence_num":12,"events":[{"type":"update","tickers":[)"
     R"({"type":"ticker","product_id":"BTC-USD","price":"68900.50","best_bid":"68900.00","best_bid_quantity":"1.50000000","best_ask":"68901.01","best_ask_quantity":"0.50000000"}]}]})");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"quotes/v2","symbol":"BTC-USD","event_time":"2026-04-07T14:30:03.123456789Z","event_time_source":"venue","payload":{"bid":68900,"ask":68901.01,"mid":68900.505,"bid_size":1.5,"ask_size":0.5,"venue":"coinbase","tick_type":"ticker"}})"}));
}

// The batched ticker has no bid and ask: a quote without them would say that the book is empty.
TEST_F(CoinbaseMapperTest, MakesNoQuoteOfATickerThatSaysNothingOfBidAndAsk) {
  ws(R"({"channel":"ticker_batch","timestamp":"2026-04-07T14:30:03.123456789Z","sequence_num":12,"events":[{"type":"update","tickers":[)"
     R"({"type":"ticker","product_id":"BTC-USD","price":"68900.50","volume_24_h":"15328.1"}]}]})");
  EXPECT_EQ(taken(), Lines{});
}

TEST_F(CoinbaseMapperTest, LeavesOutTheSidesOfAnEmptyBook) {
  for (const char* const none : {R"("")", R"("0")", R"("0.00")", "null"}) {
    ws(R"({"type":"ticker","product_id":"BTC-USD","best_bid":)" + std::string(none) + R"(,"best_bid_size":"0","best_ask":"2","best_ask_size":"3","time":"2026-04-07T14:30:03Z"})");
    EXPECT_EQ(taken(), (Lines{
        R"({"event_type":"quotes/v2","symbol":"BTC-USD","event_time":"2026-04-07T14:30:03.000000000Z","event_time_source":"venue","payload":{"ask":2,"ask_size":3,"venue":"coinbase","tick_type":"ticker"}})"})) << none;
  }
}

TEST_F(CoinbaseMapperTest, NamesABookByItsSnapshotAndCountsItsEvents) {
  ws(l2(7, "snapshot", level("bid", "100.10", "1.50") + "," + level("offer", "100.2", "2")));
  ws(l2(8, "update", level("offer", "100.2", "0.00000000") + "," + level("bid", "100.15", "3", "2026-04-07T14:30:00.75Z")));
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2026-04-07T14:30:00.500000000Z","event_time_source":"venue","quality":["snapshot"],"payload":{"kind":"snapshot","book_id":"1775572201000000001.7","book_seq":0,"part":0,"parts":1,"bids":[[100.1,1.5]],"asks":[[100.2,2]],"venue":"coinbase"}})",
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2026-04-07T14:30:00.750000000Z","event_time_source":"venue","payload":{"kind":"delta","book_id":"1775572201000000001.7","book_seq":1,"part":0,"parts":1,"bids":[[100.15,3]],"asks":[[100.2,0]],"venue":"coinbase"}})"}));
}

TEST_F(CoinbaseMapperTest, TakesTheFramesTimeWhereLevelsHaveNone) {
  ws(l2(7, "snapshot", level("bid", "1", "1", "1970-01-01T00:00:00Z") + "," + level("offer", "2", "1", "0001-01-01T00:00:00Z")));
  ASSERT_EQ(out_.lines.size(), 1u);
  EXPECT_NE(out_.lines[0].find(R"("event_time":"2026-04-07T14:30:01.000000001Z")"), std::string::npos) << out_.lines[0];
}

TEST_F(CoinbaseMapperTest, SplitsALargeSnapshotIntoPartsOfOneEvent) {
  std::string updates;
  constexpr int kLevels = 46'000;
  for (int i = 0; i < kLevels; ++i) {
    if (i != 0) updates += ',';
    updates += i % 3 == 0 ? level("bid", std::to_string(1000000 - i) + ".01", "0.12345678") : level("offer", std::to_string(1000001 + i) + ".07", "12.3456789");
  }
  ws(l2(7, "snapshot", updates));
  ASSERT_GE(out_.lines.size(), 2u);
  std::size_t levels = 0;
  const std::string parts = R"("parts":)" + std::to_string(out_.lines.size()) + ",";
  for (std::size_t i = 0; i < out_.lines.size(); ++i) {
    const std::string& line = out_.lines[i];
    EXPECT_LT(line.size(), kEnvelopeBytesMax);
    EXPECT_NE(line.find(parts), std::string::npos);
    EXPECT_NE(line.find(R"("book_seq":0,"part":)" + std::to_string(i) + ","), std::string::npos);
    for (std::size_t at = line.find("],["); at != std::string::npos; at = line.find("],[", at + 1)) ++levels;
    levels += 2;  // both lists have one more level than separators
  }
  EXPECT_EQ(levels, static_cast<std::size_t>(kLevels));
}

TEST_F(CoinbaseMapperTest, GivesUpEveryBookOfAConnectionThatLostFrames) {
  ws(l2(1, "snapshot", level("bid", "1", "1")));
  ws(l2(2, "snapshot", level("bid", "1", "1"), "ETH-USD"));
  ws(heartbeat(3));
  taken();
  ws(l2(6, "update", level("bid", "1", "2")));
  ws(l2(7, "update", level("bid", "1", "3"), "ETH-USD"));
  const std::string reason = "sequence_num jumped from 3 to 6";
  EXPECT_EQ(taken(), (Lines{R"({"gap":{"event_type":"","symbol":"","reason":")" + reason + R"(","missed":2}})",
                            R"({"gap":{"event_type":"orderbook/v1","symbol":"BTC-USD","reason":")" + reason + R"(","missed":0}})",
                            R"({"gap":{"event_type":"orderbook/v1","symbol":"ETH-USD","reason":")" + reason + R"(","missed":0}})",
                            R"({"command":{"kind":"reconnect","connection":0,"text":")" + reason + R"("}})"}));
  frame(FrameKind::kClose, "reconnect");
  frame(FrameKind::kOpen, "wss://x");
  ws(l2(0, "snapshot", level("bid", "1", "1")));
  ws(l2(1, "update", level("bid", "1", "2")));
  EXPECT_EQ(taken().size(), 2u);
}

TEST_F(CoinbaseMapperTest, CountsFramesPerConnection) {
  ws(heartbeat(5), 0);
  ws(heartbeat(90), 1);
  ws(heartbeat(6), 0);
  ws(heartbeat(91), 1);
  EXPECT_EQ(taken(), Lines{});
}

TEST_F(CoinbaseMapperTest, LeavesOutARepeatedFrame) {
  ws(l2(1, "snapshot", level("bid", "1", "1")));
  ws(l2(2, "update", level("bid", "1", "2")));
  taken();
  ws(l2(2, "update", level("bid", "1", "2")));
  EXPECT_EQ(out_.rejects["sequence"], 1u);
  taken();
  ws(l2(3, "update", level("bid", "1", "0")));
  EXPECT_EQ(taken().size(), 1u);
}

TEST_F(CoinbaseMapperTest, AsksForABookWhoseSnapshotNeverCameOnlyOnce) {
  ws(l2(1, "update", level("bid", "1", "1")));
  ws(l2(2, "update", level("bid", "1", "1")));
  EXPECT_EQ(taken(), (Lines{
      R"({"gap":{"event_type":"orderbook/v1","symbol":"BTC-USD","reason":"a change came before its snapshot","missed":0}})",
      R"({"command":{"kind":"send","connection":0,"text":"{\"type\":\"unsubscribe\",\"product_ids\":[\"BTC-USD\"],\"channel\":\"level2\"}"}})",
      R"({"command":{"kind":"send","connection":0,"text":"{\"type\":\"subscribe\",\"product_ids\":[\"BTC-USD\"],\"channel\":\"level2\"}"}})"}));
}

TEST_F(CoinbaseMapperTest, ACounterThatStartsAnewMakesTheConnectionAgain) {
  ws(l2(5, "snapshot", level("bid", "1", "1")));
  taken();
  ws(heartbeat(0));
  const std::string reason = "sequence_num started anew without a new connection";
  EXPECT_EQ(taken(), (Lines{R"({"gap":{"event_type":"","symbol":"","reason":")" + reason + R"(","missed":0}})",
                            R"({"gap":{"event_type":"orderbook/v1","symbol":"BTC-USD","reason":")" + reason + R"(","missed":0}})",
                            R"({"command":{"kind":"reconnect","connection":0,"text":")" + reason + R"("}})"}));
}

TEST_F(CoinbaseMapperTest, AnErrorWhileABookWaitsForItsSnapshotCostsTheConnection) {
  const char* const error = R"({"type":"error","message":"too many requests"})";
  ws(error);
  EXPECT_EQ(out_.refusals, (Lines{"too many requests"}));
  EXPECT_EQ(out_.commands, 0u) << "no book waits: the host tries again later";
  ws(l2(1, "update", level("bid", "1", "1")));
  taken();
  ws(error);
  ws(error);
  const auto lines = taken();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], R"({"command":{"kind":"reconnect","connection":0,"text":"an error while a book waits for its snapshot: too many requests"}})");
}

TEST_F(CoinbaseMapperTest, ABookThatFailsTheThirdTimeCostsTheConnection) {
  const std::string bad = R"({"side":"bid","event_time":"2026-04-07T14:30:00.5Z","price_level":[],"new_quantity":"1"})";
  for (int i = 0; i < 9; i += 3) {
    ws(l2(i, "snapshot", level("bid", "1", "1")));
    ws(l2(i + 1, "update", bad));
    ws(heartbeat(i + 2));
  }
  EXPECT_EQ(out_.commands, 5u) << "two times unsubscribe and subscribe, and then";
  EXPECT_EQ(out_.lines.back(), R"({"command":{"kind":"reconnect","connection":0,"text":"the book of BTC-USD failed 3 times: a frame of this book could not be read"}})");
}

TEST_F(CoinbaseMapperTest, GivesAProductTheNameThatItWasAskedForBy) {
  make({{"level2", "BTC-USDC"}, {"ticker", "BTC-USDC"}});
  ws(l2(1, "update", level("bid", "1", "1")));
  const auto lines = taken();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].starts_with(R"({"gap":{"event_type":"orderbook/v1","symbol":"BTC-USDC")")) << lines[0];
  EXPECT_NE(lines[2].find(R"(\"product_ids\":[\"BTC-USDC\"])"), std::string::npos) << lines[2];
  ws(l2(2, "snapshot", level("bid", "1", "1")));
  EXPECT_EQ(out_.events["orderbook/v1 BTC-USDC"], 1u);
  EXPECT_EQ((out_.alive_calls[{"level2", "BTC-USDC"}]), 1u);
}

TEST_F(CoinbaseMapperTest, RefusesTwoProductsThatTheVenueSendsUnderOneName) {
  for (const char* const first : {"BTC-USD", "BTC-USDC"}) {
    MapperContext context;
    context.plans = plans_;
    context.wanted = {{"level2", first}, {"level2", first == std::string("BTC-USD") ? "BTC-USDC" : "BTC-USD"}};
    const auto made = make_coinbase_mapper(std::move(context));
    ASSERT_FALSE(made);
    EXPECT_NE(made.error().message.find("ask for one of the two"), std::string::npos) << made.error().message;
  }
}

TEST_F(CoinbaseMapperTest, GivesUpOnlyTheBookOfAFrameThatItCannotRead) {
  ws(l2(1, "snapshot", level("bid", "1", "1")));
  ws(l2(2, "snapshot", level("bid", "1", "1"), "ETH-USD"));
  ws(l2(3, "update", R"({"side":"bid","event_time":"2026-04-07T14:30:00.5Z","price_level":[],"new_quantity":"1"})"));
  taken();
  ws(l2(4, "update", level("bid", "1", "5"), "ETH-USD"));
  const auto lines = taken();
  ASSERT_EQ(lines.size(), 4u);
  EXPECT_TRUE(lines[0].starts_with(R"({"gap":{"event_type":"orderbook/v1","symbol":"BTC-USD")")) << lines[0];
  EXPECT_TRUE(lines[1].starts_with(R"({"command":{"kind":"send")"));
  EXPECT_TRUE(lines[3].starts_with(R"({"event_type":"orderbook/v1","symbol":"ETH-USD")")) << lines[3];
}

TEST_F(CoinbaseMapperTest, HasAPlaceAndAReasonForEachFrameThatItCannotRead) {
  struct Case { std::string frame, code, path; };
  const std::string good = l2(1, "update", level("bid", "1", "1"));
  const std::vector<Case> cases = {
      {"", "json", ""},
      {"[]", "type", ""},
      {"{}", "missing", ""},
      {"nonsense", "type", ""},
      {good.substr(0, good.size() / 2), "json", ""},
      {good.substr(0, good.size() - 1), "json", ""},
      {good + "{}", "json", ""},
      {R"({"channel":"moon_phase","timestamp":"2026-04-07T14:30:00Z","sequence_num":0,"events":[]})", "channel", "/channel"},
      {R"({"channel":7,"sequence_num":0,"events":[]})", "type", "/channel"},
      {R"({"type":"whatever"})", "channel", "/type"},
      {R"({"channel":"ticker","timestamp":"noon","sequence_num":0,"events":[]})", "value", "/timestamp"},
      {R"({"channel":"ticker","timestamp":"2026-04-07T14:30:00Z","events":[]})", "missing", "/sequence_num"},
      {R"({"channel":"ticker","timestamp":"2026-04-07T14:30:00Z","sequence_num":-1,"events":[]})", "value", "/sequence_num"},
      {R"({"channel":"ticker","timestamp":"2026-04-07T14:30:00Z","sequence_num":0,"events":{}})", "type", "/events"},
      {l2(0, "update", level("bid", "1e", "1")), "value", "/events/0/updates/0/price_level"},
      {l2(0, "update", level("bid", "1", "1") + "," + level("bid", "1", "-1")), "value", "/events/0/updates/1/new_quantity"},
      {l2(0, "update", level("middle", "1", "1")), "value", "/events/0/updates/0/side"},
      {l2(0, "update", level("bid", "1", "1", "yesterday")), "value", "/events/0/updates/0/event_time"},
      // The minute was seen before: remembering it must not make the reader lenient.
      {l2(0, "update", level("bid", "1", "1") + "," + level("bid", "1", "1", "2026-04-07T14:30:00.Z")), "value", "/events/0/updates/1/event_time"},
      {l2(0, "update", level("bid", "1", "1") + "," + level("bid", "1", "1", "2026-04-07T14:30:61.5Z")), "value", "/events/0/updates/1/event_time"},
      {l2(0, "update", "7"), "type", "/events/0/updates/0"},
      {l2(0, "update", R"({"side":"bid","price_level":"1"})"), "missing", "/events/0/updates/0"},
      {l2(0, "revolution", level("bid", "1", "1")), "value", "/events/0/type"},
      {l2(0, "update", level("bid", "1", "1"), "not a product"), "unknown_product", "/events/0/product_id"},
      {R"({"type":"match","trade_id":7,"side":"up","size":"1","price":"1","product_id":"BTC-USD","time":"2021-04-17T16:43:30Z"})", "value", "/side"},
      {R"({"type":"match","trade_id":7,"size":"1","price":"1","product_id":"BTC-USD","time":"2021-04-17T16:43:30Z"})", "missing", ""},
      {R"({"type":"match","trade_id":7,"side":"buy","size":1,"price":"1","product_id":"BTC-USD","time":"2021-04-17T16:43:30Z"})", "type", "/size"},
      {R"({"type":"l2update","product_id":"BTC-USD","changes":[["buy","1"]],"time":"2021-04-17T16:43:30Z"})", "value", "/changes/0"},
      {R"({"type":"snapshot","product_id":"BTC-USD","asks":[]})", "missing", ""},
      {R"({"type":"ticker","product_id":"BTC-USD","best_bid":"1.2.3","time":"2021-04-17T16:43:30Z"})", "value", "/best_bid"},
      {R"({"type":"error","message":"Failed to subscribe","reason":"no such product"})", "venue_error", "/message"},
  };
  for (const Case& c : cases) {
    make({});
    ws(c.frame);
    const auto lines = taken();
    ASSERT_EQ(lines.size(), 1u) << c.frame;
    EXPECT_TRUE(lines[0].starts_with(R"({"reject":{"code":")" + c.code + R"(","path":")" + c.path + "\"")) << c.frame << "\n" << lines[0];
  }
  EXPECT_TRUE(out_.events.empty());
}

TEST_F(CoinbaseMapperTest, MakesNothingOfChannelsWithoutEvents) {
  for (const char* const text :
       {R"({"channel":"subscriptions","timestamp":"2026-04-07T14:30:00Z","sequence_num":0,"events":[{"subscriptions":{"ticker":["BTC-USD"]}}]})",
        R"({"channel":"candles","timestamp":"2026-04-07T14:30:00Z","sequence_num":1,"events":[{"type":"update","candles":[]}]})",
        R"({"type":"subscriptions","channels":[{"name":"level2","product_ids":["BTC-USD"]}]})",
        R"({"type":"received","order_id":"x","order_type":"limit","size":"1","price":"1","side":"buy","client_oid":"","product_id":"BTC-USD","sequence":1,"time":"2021-04-17T16:43:30Z"})"}) {
    ws(text);
  }
  frame(FrameKind::kSent, R"({"type":"subscribe"})");
  frame(FrameKind::kHttp, "[]");
  EXPECT_EQ(taken(), Lines{});
}

TEST_F(CoinbaseMapperTest, ReportsDataAndHeartbeatsAsAlive) {
  ws(l2(1, "snapshot", level("bid", "1", "1")));
  ws(heartbeat(2));
  EXPECT_EQ((out_.alive_calls[{"level2", "BTC-USD"}]), 1u);
  EXPECT_EQ((out_.alive_calls[{"heartbeats", ""}]), 1u);
}

TEST_F(CoinbaseMapperTest, RefusesProductsThatNobodyAskedFor) {
  make({{"level2", "ETH-USD"}});
  ws(l2(1, "snapshot", level("bid", "1", "1")));
  EXPECT_EQ(out_.rejects["unknown_product"], 1u);
}

TEST_F(CoinbaseMapperTest, TakesLastMatchForNoNewTradeButNoticesWhatItMissed) {
  const auto match = [](const char* type, int id) {
    return R"({"type":")" + std::string(type) + R"(","trade_id":)" + std::to_string(id) +
           R"(,"maker_order_id":"a","taker_order_id":"b","side":"sell","size":"0.04","price":"14.7775","product_id":"BAND-GBP","sequence":333,"time":"2021-04-17T16:43:30.244075Z"})";
  };
  ws(match("last_match", 100));
  EXPECT_EQ(taken(), Lines{});
  ws(match("match", 101));
  ASSERT_EQ(out_.lines.size(), 1u);
  EXPECT_EQ(taken()[0], R"({"event_type":"trades/v2","symbol":"BAND-GBP","event_time":"2021-04-17T16:43:30.244075000Z","event_time_source":"venue","sequence":101,"payload":{"price":14.7775,"size":0.04,"side":"buy","trade_id":"101","venue":"coinbase"}})");
  frame(FrameKind::kClose, "");
  frame(FrameKind::kOpen, "");
  ws(match("last_match", 101));
  EXPECT_EQ(taken(), Lines{});
  ws(match("last_match", 104));
  ASSERT_EQ(out_.gaps, 1u);
  EXPECT_NE(taken()[0].find("\"missed\":3"), std::string::npos);
  ws(match("match", 105));
  EXPECT_EQ(taken().size(), 1u);
  ws(match("match", 107));
  EXPECT_EQ(out_.gaps, 2u);
}

TEST_F(CoinbaseMapperTest, StampsAnExchangeSnapshotByReceipt) {
  ws(R"({"type":"snapshot","product_id":"BTC-USD","asks":[["2.00","1.0"],["3","4"]],"bids":[["1.50","2"]]})");
  ws(R"({"type":"l2update","product_id":"BTC-USD","changes":[["buy","1.50","0.0"],["sell","2.00","7"]],"time":"2026-04-07T14:30:03.5Z"})");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2023-11-14T22:13:20.000000000Z","event_time_source":"receipt","quality":["snapshot"],"payload":{"kind":"snapshot","book_id":"1700000000000000000.0","book_seq":0,"part":0,"parts":1,"bids":[[1.5,2]],"asks":[[2,1],[3,4]],"venue":"coinbase"}})",
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2026-04-07T14:30:03.500000000Z","event_time_source":"venue","payload":{"kind":"delta","book_id":"1700000000000000000.0","book_seq":1,"part":0,"parts":1,"bids":[[1.5,0]],"asks":[[2,7]],"venue":"coinbase"}})"}));
}

TEST_F(CoinbaseMapperTest, GivesTheSameForFieldsInAnyOrderAndSpaces) {
  ws(l2(7, "snapshot", level("bid", "100.10", "1.50") + "," + level("offer", "100.2", "2")));
  const auto expected = taken();
  make({});
  ws(R"( { "events" : [ { "updates" : [ {"new_quantity":"1.50","price_level":"100.10","event_time":"2026-04-07T14:30:00.5Z","side":"bid"} ,
     {"side":"offer","extra":{"a":[1,2]},"event_time":"2026-04-07T14:30:00.5Z","price_level":"100.2","new_quantity":"2"} ] ,
     "product_id":"BTC-USD", "type":"snapshot"} ], "sequence_num": 7, "timestamp":"2026-04-07T14:30:01.000000001Z", "channel":"l2_data" } )");
  EXPECT_EQ(taken(), expected);
}

TEST(CoinbaseReader, ReadsFastWhatTheVenueSendsAndGetsTheSameAsTheGeneralReader) {
  CoinbaseReader fast_reader, general_reader;
  CoinbaseFrame fast, general;
  FrameError error;
  for (const std::string text :
       {R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","0.00001306","660.5"],["buy","10","0.0"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","12345678.012345678","0"]],"time":"0001-01-01T00:00:00.000000Z"})",
        R"({"type":"ticker","sequence":333938798,"product_id":"BAND-GBP","price":"14.7775","open_24h":"14.6647","best_bid":"14.7550","best_bid_size":"3","best_ask":"14.8060","best_ask_size":"","side":"buy","time":"2021-04-17T16:43:30.244075Z","trade_id":881613,"last_size":"0.04"})",
        R"({"channel":"l2_data","timestamp":"2026-08-09T21:05:48.505350477Z","sequence_num":14,"events":[{"type":"update","product_id":"BTC-USD","updates":[{"side":"bid","event_time":"2026-08-09T21:05:48.210883Z","price_level":"65062.5","new_quantity":"0.00583"},{"side":"offer","event_time":"2026-08-09T21:05:47.210883Z","price_level":"65062.50","new_quantity":"100"}]}]})"}) {
    ASSERT_TRUE(fast_reader.read_fast(text, fast)) << text;
    ASSERT_TRUE(general_reader.read_general(text, general, error)) << text << error.message;
    EXPECT_TRUE(fast == general) << text;
  }
}

TEST(CoinbaseReader, ReadsRandomNumbersTheSameByBothReaders) {
  std::uint32_t state = 7;  // fixed seed
  const auto random = [&](unsigned n) { return (state = state * 1664525u + 1013904223u) / 65536 % n; };
  const auto digits = [&](unsigned count, unsigned zeros) {
    std::string out;
    while (count-- > 0) out += static_cast<char>('0' + (random(zeros) == 0 ? 0 : random(10)));
    return out;
  };
  const auto number = [&] {
    std::string out = random(4) == 0 ? "0" : std::to_string(1 + random(9)) + digits(random(9), 3);
    if (const unsigned fraction = random(10)) out += "." + digits(fraction, 2);
    return out;
  };
  CoinbaseReader fast_reader, general_reader;
  CoinbaseFrame fast, general;
  FrameError error;
  int read = 0;
  for (int i = 0; i < 20'000; ++i) {
    const std::string text = R"({"type":"l2update","product_id":"A-B","changes":[["buy",")" + number() + "\",\"" + number() +
                             R"("]],"time":"2021-04-17T16:43:37.075687Z"})";
    ASSERT_TRUE(general_reader.read_general(text, general, error)) << text << error.message;
    if (!fast_reader.read_fast(text, fast)) continue;
    ++read;
    ASSERT_TRUE(fast == general) << text;
  }
  EXPECT_GT(read, 15'000);
}

TEST(CoinbaseReader, LeavesUnusualFramesToTheGeneralReader) {
  CoinbaseReader reader;
  CoinbaseFrame frame;
  for (const std::string text :
       {R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","-1","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","01","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1.","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1.2.3","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell",".5","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","00.5","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1","."]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1",""]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1e3","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL\u002dBTC","changes":[["sell","1","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","9999999999999999999","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","12345678901234567890","660.5"]],"time":"2021-04-17T16:43:37.075687Z"})",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1","660.5"]],"time":"2021-04-17T16:43:37.075687Z"} )",
        R"({"type":"l2update","product_id":"SKL-BTC","changes":[["sell","1","660.5")", R"({"type":"l2update","product_id":")"}) {
    EXPECT_FALSE(reader.read_fast(text, frame)) << text;
  }
}

}  // namespace
}  // namespace utp
