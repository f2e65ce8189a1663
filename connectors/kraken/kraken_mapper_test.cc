#include "connectors/kraken/kraken_mapper.h"

#include <algorithm>

#include <gtest/gtest.h>
#include <zlib.h>

#include "connector/testing/recorded_output.h"
#include "connectors/kraken/kraken_book.h"

namespace utp {
namespace {

std::string crc(std::string_view digits) {
  return std::to_string(crc32(0, reinterpret_cast<const Bytef*>(digits.data()), static_cast<uInt>(digits.size())));
}

class KrakenMapperTest : public ::testing::Test {
 protected:
  KrakenMapperTest() : plans_(load_plans()), out_(plans_) { make({}); }

  static std::vector<std::shared_ptr<const Plan>> load_plans() {
    const auto registry = Registry::builtin();
    EXPECT_TRUE(registry) << registry.error().message;
    return {registry->by_event_type("quotes/v2"), registry->by_event_type("trades/v2"), registry->by_event_type("orderbook/v1")};
  }
  void make(std::vector<WantedStream> wanted) {
    MapperContext context;
    context.plans = plans_;
    context.wanted = std::move(wanted);
    context.symbols.set_separator("/");
    auto mapper = make_kraken_mapper(std::move(context));
    ASSERT_TRUE(mapper) << mapper.error().message;
    mapper_ = std::move(*mapper);
  }
  void frame(FrameKind kind, std::string_view bytes, std::uint32_t connection = 0) {
    mapper_->on_frame({connection, kind, Timestamp::from_seconds(1'700'000'000), "", bytes}, out_);
  }
  void ws(std::string_view bytes, std::uint32_t connection = 0) { frame(FrameKind::kWs, bytes, connection); }
  std::vector<std::string> taken() { return std::exchange(out_.lines, {}); }

  // `levels`: "price:qty,price:qty"
  static std::string list(std::string_view levels) {
    std::string out;
    while (!levels.empty()) {
      const std::size_t colon = levels.find(':');
      const std::size_t comma = std::min(levels.find(','), levels.size());
      if (!out.empty()) out += ',';
      out += R"({"price":)" + std::string(levels.substr(0, colon)) + R"(,"qty":)" + std::string(levels.substr(colon + 1, comma - colon - 1)) + "}";
      levels.remove_prefix(std::min(comma + 1, levels.size()));
    }
    return "[" + out + "]";
  }
  // `digits`: what the checksum is over
  static std::string book(const char* type, std::string_view bids, std::string_view asks, std::string_view digits,
                          const char* symbol = "BTC/USD") {
    return R"({"channel":"book","type":")" + std::string(type) + R"(","data":[{"symbol":")" + symbol + R"(","bids":)" + list(bids) +
           R"(,"asks":)" + list(asks) + R"(,"checksum":)" + crc(digits) + R"(,"timestamp":"2026-08-01T02:53:53.398143Z"}]})";
  }
  static std::string ack(const char* method, int depth) {
    return R"({"method":")" + std::string(method) + R"(","result":{"channel":"book","depth":)" + std::to_string(depth) +
           R"(,"snapshot":true,"symbol":"BTC/USD"},"success":true,"time_in":"2026-08-01T02:53:53.184174Z","time_out":"2026-08-01T02:53:53.184216Z"})";
  }

  std::vector<std::shared_ptr<const Plan>> plans_;
  RecordedOutput out_;
  std::unique_ptr<Mapper> mapper_;
};

using Lines = std::vector<std::string>;

constexpr const char* kResubscribed[] = {
    R"({"command":{"kind":"send","connection":0,"text":"{\"method\":\"unsubscribe\",\"params\":{\"channel\":\"book\",\"symbol\":[\"BTC/USD\"],\"depth\":10}}"}})",
    R"({"command":{"kind":"send","connection":0,"text":"{\"method\":\"subscribe\",\"params\":{\"channel\":\"book\",\"symbol\":[\"BTC/USD\"],\"depth\":10,\"snapshot\":true}}"}})"};

TEST_F(KrakenMapperTest, VerifiesTheChecksumOverTheTextOfNumbers) {
  ws(ack("subscribe", 10));
  ws(book("snapshot", "99.0:0.00005100,98.5:2.0", "100.0:1.50000000,100.5:3.0", "1000150000000" "100530" "9905100" "98520"));
  ws(book("update", "99.0:0.00000000", "99.5:0.50", "99550" "1000150000000" "100530" "98520"));
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2026-08-01T02:53:53.398143000Z","event_time_source":"venue","quality":["snapshot"],"payload":{"kind":"snapshot","book_id":"1785552833398143000.0","book_seq":0,"part":0,"parts":1,"depth":10,"bids":[[99,0.000051],[98.5,2]],"asks":[[100,1.5],[100.5,3]],"venue":"kraken"}})",
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2026-08-01T02:53:53.398143000Z","event_time_source":"venue","payload":{"kind":"delta","book_id":"1785552833398143000.0","book_seq":1,"part":0,"parts":1,"depth":10,"bids":[[99,0]],"asks":[[99.5,0.5]],"venue":"kraken"}})"}));
  EXPECT_EQ((out_.alive_calls[{"book", "BTC-USD"}]), 2u);
}

TEST_F(KrakenMapperTest, GivesUpABookWhoseChecksumFailsUntilItsNextSnapshot) {
  ws(ack("subscribe", 10));
  ws(book("snapshot", "99:1", "100:1", "1001991"));
  taken();
  ws(book("update", "98:1", "", "wrong"));
  ws(book("update", "97:1", "", "whatever"));
  const auto lines = taken();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_TRUE(lines[0].starts_with(R"({"gap":{"event_type":"orderbook/v1","symbol":"BTC-USD","reason":"book checksum is )")) << lines[0];
  EXPECT_EQ(lines[1], kResubscribed[0]);
  EXPECT_EQ(lines[2], kResubscribed[1]);
  EXPECT_EQ((out_.alive_calls[{"book", "BTC-USD"}]), 1u);
  ws(ack("unsubscribe", 10));
  ws(ack("subscribe", 10));
  ws(book("snapshot", "99:1", "100:1", "1001991"));
  ws(book("update", "99:2", "", "1001992"));
  EXPECT_EQ(taken().size(), 2u);
  EXPECT_EQ(out_.gaps, 1u);
}

TEST_F(KrakenMapperTest, DropsLevelsBeyondTheSubscribedDepth) {
  ws(ack("subscribe", 10));
  std::string bids, digits = "2001";
  for (int i = 0; i < 10; ++i) {
    bids += (i ? "," : "") + std::to_string(110 - i) + ":1";
    digits += std::to_string(110 - i) + "1";
  }
  ws(book("snapshot", bids, "200:1", digits));
  // A new best bid pushes the worst one, 101, out; when it goes again the place stays free.
  digits = "2001" "1117";
  for (int i = 0; i < 9; ++i) digits += std::to_string(110 - i) + "1";
  ws(book("update", "111:7", "", digits));
  digits = "2001";
  for (int i = 0; i < 9; ++i) digits += std::to_string(110 - i) + "1";
  ws(book("update", "111:0.0", "", digits));
  EXPECT_EQ(taken().size(), 3u);
  EXPECT_EQ(out_.gaps, 0u);
}

TEST_F(KrakenMapperTest, GuessesTheDepthOfARecordingThatLacksTheSubscription) {
  ws(book("snapshot", "99:1,98:1,97:1,96:1,95:1,94:1,93:1,92:1,91:1,90:1,89:1", "100:1", "1001" "991981971961951941931921911901"));
  ASSERT_EQ(out_.lines.size(), 1u);
  EXPECT_NE(out_.lines[0].find(R"("depth":25)"), std::string::npos);
}

TEST_F(KrakenMapperTest, AsksForABookWhoseSnapshotNeverCameOnlyOnce) {
  ws(ack("subscribe", 10));
  ws(book("update", "99:1", "", "x"));
  ws(book("update", "99:1", "", "x"));
  const auto lines = taken();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[2], kResubscribed[1]);
}

TEST_F(KrakenMapperTest, ABookThatFailsTheThirdTimeCostsTheConnectionOnce) {
  ws(ack("subscribe", 10));
  for (int i = 0; i < 5; ++i) ws(book("snapshot", "99:1", "100:1", "wrong"));
  ws(book("snapshot", "99:1", "100:1", "wrong", "ETH/USD"));  // the connection goes anyway
  const auto lines = taken();
  EXPECT_EQ(out_.gaps, 6u);
  EXPECT_EQ(std::count(lines.begin(), lines.end(), kResubscribed[1]), 2);
  EXPECT_EQ(std::count_if(lines.begin(), lines.end(), [](const auto& line) { return line.starts_with(R"({"command":{"kind":"reconnect")"); }), 1);
  EXPECT_EQ(out_.commands, 5u);
  frame(FrameKind::kOpen, "wss://x");
  ws(book("snapshot", "99:1", "100:1", "wrong"));
  EXPECT_EQ(taken().size(), 3u) << "a new connection starts from a clean state";
}

TEST_F(KrakenMapperTest, FailuresAreForgivenAfterAHundredGoodEvents) {
  ws(ack("subscribe", 10));
  for (int round = 0; round < 4; ++round) {
    ws(book("snapshot", "99:1", "100:1", "1001991"));
    for (int i = 0; i < 100; ++i) ws(book("update", "99:1", "", "1001991"));
    taken();
    ws(book("update", "99:1", "", "wrong"));
    EXPECT_EQ(taken().back(), kResubscribed[1]) << round;
  }
}

TEST_F(KrakenMapperTest, ARefusalWhileABookWaitsForItsSnapshotCostsTheConnection) {
  const char* const refusal = R"({"error":"Exceeded msg rate","method":"subscribe","success":false,"symbol":"BTC/USD"})";
  ws(refusal);
  EXPECT_EQ(out_.refusals, (std::vector<std::string>{"Exceeded msg rate"}));
  EXPECT_EQ(out_.commands, 0u) << "no book waits: the host tries again later";
  ws(R"({"error":"Subscription Not Found","method":"unsubscribe","success":false,"symbol":"BTC/USD"})");
  EXPECT_EQ(out_.refusals.size(), 1u);
  ws(ack("subscribe", 10));
  ws(book("update", "99:1", "", "x"));
  taken();
  ws(refusal);
  EXPECT_EQ(taken().back(), R"({"command":{"kind":"reconnect","connection":0,"text":"an error while a book waits for its snapshot: Exceeded msg rate"}})");
}

TEST_F(KrakenMapperTest, AJumpInTheTradeIdsIsAGapButNotAcrossASnapshot) {
  const auto trade = [this](const char* type, int id) {
    ws(R"({"channel":"trade","type":")" + std::string(type) + R"(","data":[{"symbol":"BTC/USD","side":"sell","price":1,"qty":1,"ord_type":"limit","trade_id":)" +
       std::to_string(id) + R"(,"timestamp":"2023-10-06T17:35:55.440295Z"}]})");
  };
  trade("snapshot", 10);
  trade("snapshot", 12);
  trade("update", 13);
  EXPECT_EQ(out_.gaps, 0u);
  taken();
  trade("update", 16);
  EXPECT_EQ(taken()[0], R"({"gap":{"event_type":"trades/v2","symbol":"BTC-USD","reason":"trade_id jumped from 13 to 16","missed":2}})");
  trade("update", 15);  // late, and no news
  trade("snapshot", 40);
  trade("update", 41);
  EXPECT_EQ(out_.gaps, 1u);
}

TEST_F(KrakenMapperTest, KeepsTheBooksOfConnectionsApart) {
  ws(book("snapshot", "99:1", "100:1", "1001991"), 0);
  ws(book("snapshot", "89:1", "90:1", "901891"), 1);
  ws(book("update", "99:2", "", "1001992"), 0);
  ws(book("update", "89:2", "", "901892"), 1);
  EXPECT_EQ(taken().size(), 4u);
  EXPECT_EQ(out_.gaps, 0u);
}

TEST_F(KrakenMapperTest, StartsAnewOnAnOpenedConnection) {
  ws(book("snapshot", "99:1", "100:1", "1001991"));
  frame(FrameKind::kClose, "gone");
  frame(FrameKind::kOpen, "wss://x");
  taken();
  ws(book("update", "99:2", "", "1001992"));
  EXPECT_EQ(out_.gaps, 1u);
}

TEST_F(KrakenMapperTest, MapsTradesWithTheTakersSideAndTheVenuesNumber) {
  ws(R"({"channel":"trade","type":"snapshot","data":[{"symbol":"BTC/USD","side":"sell","price":105944.20,"qty":0.00027625,"ord_type":"limit","trade_id":10218208,"timestamp":"2023-10-06T17:35:55.440295Z"}]})");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"trades/v2","symbol":"BTC-USD","event_time":"2023-10-06T17:35:55.440295000Z","event_time_source":"venue","sequence":10218208,"quality":["snapshot"],"payload":{"price":105944.2,"size":0.00027625,"side":"sell","trade_id":"10218208","venue":"kraken"}})"}));
}

TEST_F(KrakenMapperTest, StampsTickersByTheVenueWhereItSaysTheTime) {
  ws(R"({"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":105944.30,"ask_qty":3.20,"last":1,"timestamp":"2025-12-25T09:30:59.123456Z"}]})");
  ws(R"({"channel":"ticker","type":"snapshot","data":[{"symbol":"BTC/USD","bid":105944.20,"bid_qty":2.5,"ask":0,"ask_qty":0}]})");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"quotes/v2","symbol":"BTC-USD","event_time":"2025-12-25T09:30:59.123456000Z","event_time_source":"venue","payload":{"bid":105944.2,"ask":105944.3,"mid":105944.25,"bid_size":2.5,"ask_size":3.2,"venue":"kraken","tick_type":"ticker"}})",
      R"({"event_type":"quotes/v2","symbol":"BTC-USD","event_time":"2023-11-14T22:13:20.000000000Z","event_time_source":"receipt","quality":["snapshot"],"payload":{"bid":105944.2,"bid_size":2.5,"venue":"kraken","tick_type":"ticker"}})"}));
}

TEST_F(KrakenMapperTest, MapsTheOlderProtocolWithItsOwnAssetNames) {
  ws(R"([993,[["354.10","0.5","1618678142.557535","s","l",""],["354.20","1.0","1618678142.6","b","m",""]],"trade","XMR/XBT"])");
  ws(R"([1668,{"a":["13.25",35,"35.7"],"b":["13.23",185,"185.1"],"c":["13.25","3.7"],"v":["1","2"],"p":["1","2"],"t":[1,2],"l":["1","2"],"h":["1","2"],"o":["1","2"]},"ticker","XDG/USD"])");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"trades/v2","symbol":"XMR-BTC","event_time":"2021-04-17T16:49:02.557535000Z","event_time_source":"venue","payload":{"price":354.1,"size":0.5,"side":"sell","venue":"kraken"}})",
      R"({"event_type":"trades/v2","symbol":"XMR-BTC","event_time":"2021-04-17T16:49:02.600000000Z","event_time_source":"venue","payload":{"price":354.2,"size":1,"side":"buy","venue":"kraken"}})",
      R"({"event_type":"quotes/v2","symbol":"DOGE-USD","event_time":"2023-11-14T22:13:20.000000000Z","event_time_source":"receipt","payload":{"bid":13.23,"ask":13.25,"mid":13.24,"bid_size":185.1,"ask_size":35.7,"venue":"kraken","tick_type":"ticker"}})"}));
}

TEST_F(KrakenMapperTest, MakesOneBookEventOfAnOlderFrameWithTwoSides) {
  ws(R"({"channelID":1,"channelName":"book-100","event":"subscriptionStatus","pair":"XBT/USD","status":"subscribed","subscription":{"depth":100,"name":"book"}})");
  ws(R"([1,{"as":[["100.00","1.0","1618678123.4"]],"bs":[["99.00","2.0","1618678123.5"]]},"book-100","XBT/USD"])");
  ws(R"([1,{"a":[["100.00","0.00","1618678124.5"],["101.00","1.0","1618678124.0","r"]]},{"b":[["99.00","3.0","1618678124.1"]],"c":")" +
     crc("1010010" "990030") + R"("},"book-100","XBT/USD"])");
  EXPECT_EQ(taken(), (Lines{
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2021-04-17T16:48:43.500000000Z","event_time_source":"venue","quality":["snapshot"],"payload":{"kind":"snapshot","book_id":"1618678123500000000.0","book_seq":0,"part":0,"parts":1,"depth":100,"bids":[[99,2]],"asks":[[100,1]],"venue":"kraken"}})",
      R"({"event_type":"orderbook/v1","symbol":"BTC-USD","event_time":"2021-04-17T16:48:44.500000000Z","event_time_source":"venue","payload":{"kind":"delta","book_id":"1618678123500000000.0","book_seq":1,"part":0,"parts":1,"depth":100,"bids":[[99,3]],"asks":[[100,0],[101,1]],"venue":"kraken"}})"}));
  ws(R"([1,{"b":[["98.00","3.0","1618678124.1"]],"c":"1"},"book-100","XBT/USD"])");
  const auto lines = taken();
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], R"({"command":{"kind":"send","connection":0,"text":"{\"event\":\"unsubscribe\",\"pair\":[\"XBT/USD\"],\"subscription\":{\"name\":\"book\",\"depth\":100}}"}})");
}

TEST_F(KrakenMapperTest, MakesNothingOfFramesWithoutEvents) {
  for (const char* const text :
       {R"({"channel":"heartbeat"})", R"({"channel":"status","type":"update","data":[{"version":"2.0.10","system":"online","api_version":"v2","connection_id":7204881492680171915}]})",
        R"({"method":"pong","req_id":42,"time_in":"2023-09-25T09:05:00.123456Z","time_out":"2023-09-25T09:05:00.123500Z"})",
        R"({"channel":"ohlc","type":"update","data":[]})", R"({"event":"heartbeat"})", R"({"connectionID":1,"event":"systemStatus","status":"online","version":"1.8.3"})",
        R"([42,["5698.4","5700.0","1542057299.545897","1.01234567","0.98765432"],"spread","XBT/USD"])"}) {
    ws(text);
  }
  ws(ack("subscribe", 10));
  ws(ack("unsubscribe", 10));
  frame(FrameKind::kSent, R"({"method":"subscribe"})");
  frame(FrameKind::kHttp, "[]");
  EXPECT_EQ(taken(), Lines{});
}

TEST_F(KrakenMapperTest, HasAPlaceAndAReasonForEachFrameThatItCannotRead) {
  struct Case { std::string frame, code, path; };
  const std::string good = book("snapshot", "99:1", "100:1", "1001991");
  const std::vector<Case> cases = {
      {"", "json", ""},
      {"7", "type", ""},
      {"{}", "missing", ""},
      {"[]", "missing", ""},
      {good.substr(0, good.size() / 2), "json", ""},
      {good.substr(0, good.size() - 1), "json", ""},
      {R"({"channel":"moon_phase"})", "channel", "/channel"},
      {R"({"channel":5})", "type", "/channel"},
      {R"({"method":"dance"})", "channel", "/method"},
      {R"({"event":"dance"})", "channel", "/event"},
      {R"([1,{},"dance","XBT/USD"])", "channel", "/2"},
      {R"([1,{},"book-10"])", "missing", ""},
      {R"([1,{},"book-10","XBT/USD"])", "missing", "/1"},
      {R"([1,{"a":[["1","1"]],"c":"1"},"book-10","XBT/USD"])", "missing", "/1/a/0"},
      {R"([1,{"a":[["1","x","1"]],"c":"1"},"book-10","XBT/USD"])", "value", "/1/a/0/1"},
      {R"([1,[["1","1","1","q"]],"trade","XBT/USD"])", "value", "/1/0/3"},
      {R"({"channel":"book","type":"update"})", "missing", "/data"},
      {R"({"channel":"book","type":"update","data":{}})", "type", "/data"},
      {R"({"channel":"book","type":"revolution","data":[]})", "value", "/type"},
      {R"({"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":"x","qty":1}],"checksum":1}]})", "value", "/data/0/asks/0/price"},
      {R"({"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":1,"qty":true}],"checksum":1}]})", "type", "/data/0/asks/0/qty"},
      {R"({"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[{"price":1}],"checksum":1}]})", "missing", "/data/0/asks/0"},
      {R"({"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[]}]})", "missing", "/data/0/checksum"},
      {R"({"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[],"asks":[],"checksum":-1}]})", "value", "/data/0/checksum"},
      {R"({"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":1,"qty":-1,"trade_id":1,"timestamp":"2023-10-06T17:35:55Z"}]})", "value", "/data/0/qty"},
      {R"({"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":1,"qty":1,"trade_id":1}]})", "missing", "/data/0"},
      {R"({"channel":"ticker","type":"update","data":[{"bid":1}]})", "missing", "/data/0/symbol"},
      {R"({"channel":"ticker","type":"update","data":[{"symbol":"no symbol","bid":1}]})", "unknown_symbol", "/data/0/symbol"},
      {R"({"error":"Currency pair not supported XX/YY","method":"subscribe","success":false,"symbol":"XX/YY"})", "venue_error", ""},
      {R"({"errorMessage":"Subscription depth not supported","event":"subscriptionStatus","pair":"XBT/USD","status":"error"})", "venue_error", ""},
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

TEST_F(KrakenMapperTest, RefusesSymbolsThatNobodyAskedFor) {
  make({{"book", "ETH-USD"}});
  ws(book("snapshot", "99:1", "100:1", "1001991"));
  EXPECT_EQ(out_.rejects["unknown_symbol"], 1u);
}

TEST(KrakenBook, AgreesWithASimpleBookUnderRandomChanges) {
  KrakenBook book;
  std::map<int, std::string, std::greater<>> bids;
  std::map<int, std::string> asks;
  constexpr std::size_t kDepth = 25;
  std::uint32_t state = 12345;  // fixed seed
  const auto random = [&](int n) { return static_cast<int>((state = state * 1664525u + 1013904223u) >> 8) % n; };
  for (int step = 0; step < 20'000; ++step) {
    const bool bid = random(2) == 0;
    const int price = bid ? 1000 - random(60) : 1001 + random(60);
    const std::string size = random(3) == 0 ? "0.0" : std::to_string(1 + random(9)) + ".5";
    const std::string price_text = std::to_string(price) + ".0";
    ASSERT_TRUE(book.apply(bid, *Decimal::parse(price_text), *Decimal::parse(size), price_text, size));
    const auto change = [&](auto& side) {
      if (size == "0.0") side.erase(price);
      else side[price] = size;
      while (side.size() > kDepth) side.erase(std::prev(side.end()));
    };
    if (bid) change(bids);
    else change(asks);
    book.truncate(kDepth);
    std::string digits;
    const auto top = [&](const auto& side) {
      int n = 0;
      for (const auto& [p, s] : side) {
        if (n++ == 10) break;
        digits += std::to_string(p) + "0" + s.substr(0, 1) + "5";
      }
    };
    top(asks);
    top(bids);
    ASSERT_EQ(std::to_string(book.checksum()), crc(digits)) << "step " << step;
    ASSERT_EQ(book.bids(), bids.size());
    ASSERT_EQ(book.asks(), asks.size());
  }
}

}  // namespace
}  // namespace utp
