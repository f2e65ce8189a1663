#include <cmath>
#include <map>

#include "core/clock.h"
#include "core/random.h"
#include "drivers/store/postgres/postgres_fixture.h"

namespace utp {
namespace {

using postgres_test::EngineTest;
using store_test::Events;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMorning = 1'767'258'000 * kSecond;  // 2026-01-01 09:00 UTC

class PostgresAggregates : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    trades_ = plan("trades/v2");
    store_ = open();
    ASSERT_TRUE(store_->prepare(trades_));
  }
  Event& trade(Events& events, std::int64_t time, double price, double size, const char* symbol = "BTC-USD", const char* source = "a.us1") const {
    Event& event = events.add(trades_, symbol, time, ++sequence_);
    event.envelope.source_id = source;
    Events::set_decimal(event, "price", Decimal::from_double(price)->to_string());
    Events::set_decimal(event, "size", Decimal::from_double(size)->to_string());
    return event;
  }
  void write(const Events& events) const {
    const auto result = store_->write(events.pointers());
    ASSERT_TRUE(result) << result.error().message;
    ASSERT_TRUE(result->errors.empty()) << result->errors[0].error.message;
  }
  Maintained maintain() const {
    auto done = store_->maintain();
    while (!done && done.error().retryable) done = store_->maintain();  // TimescaleDB's own refresh may be at it
    EXPECT_TRUE(done) << done.error().message;
    return done ? *done : Maintained{};
  }
  std::string bars(const std::string& level, const std::string& where = "true") const {
    return database_.sql("SELECT concat_ws('|', to_char(bucket AT TIME ZONE 'UTC', 'HH24:MI:SS'), symbol, source_id, open, high, low, close, volume, notional, vwap, trades) FROM "
                         "trade_bars_" + level + " WHERE " + where + " ORDER BY bucket, symbol, source_id");
  }

  std::shared_ptr<const Plan> trades_;
  std::unique_ptr<Store> store_;
  mutable std::uint64_t sequence_ = 0;
};

UTP_TEST_ON_ENGINES(PostgresAggregates);

TEST_P(PostgresAggregates, MakesBarsOfEachSourceAtEveryLevel) {
  Events events;
  trade(events, kMorning + 1, 100, 2);
  trade(events, kMorning + 2, 103, 1);
  trade(events, kMorning + kSecond, 99, 1);
  trade(events, kMorning + 61 * kSecond, 101, 4);
  trade(events, kMorning + 1, 50, 2, "ETH-USD");
  trade(events, kMorning + 3, 100, 2, "BTC-USD", "b.us1");
  write(events);
  const std::string second = "09:00:00|BTC-USD|a.us1|100|103|100|103|3|303|101|2 09:00:00|BTC-USD|b.us1|100|100|100|100|2|200|100|1 "
                             "09:00:00|ETH-USD|a.us1|50|50|50|50|2|100|50|1 09:00:01|BTC-USD|a.us1|99|99|99|99|1|99|99|1 09:01:01|BTC-USD|a.us1|101|101|101|101|4|404|101|1";
  const std::string day = "00:00:00|BTC-USD|a.us1|100|103|99|101|8|806|100.75|4";
  for (int maintained = 0; maintained < 3; ++maintained) {
    SCOPED_TRACE(maintained);
    EXPECT_EQ(bars("1s"), second);
    EXPECT_EQ(bars("1m", "source_id = 'a.us1' AND symbol = 'BTC-USD'"), "09:00:00|BTC-USD|a.us1|100|103|99|99|4|402|100.5|3 09:01:00|BTC-USD|a.us1|101|101|101|101|4|404|101|1");
    EXPECT_EQ(bars("5m", "source_id = 'a.us1' AND symbol = 'BTC-USD'"), "09:00:00|BTC-USD|a.us1|100|103|99|101|8|806|100.75|4");
    EXPECT_EQ(bars("1d", "source_id = 'a.us1' AND symbol = 'BTC-USD'"), day);
    EXPECT_EQ(maintain().ranges, maintained == 0 ? 1u : 0u);
  }
  EXPECT_EQ(database_.sql("SELECT count(*) FROM utp_touched"), "0");
}

// The order within a second is that of the nanoseconds, then of the sequence.
TEST_P(PostgresAggregates, OpensAndClosesInTheOrderOfNanoseconds) {
  Events events;
  trade(events, kMorning + 999, 3, 1);
  trade(events, kMorning + 1, 1, 1);
  trade(events, kMorning + 500, 2, 1);
  trade(events, kMorning + 999, 4, 1);
  write(events);
  EXPECT_EQ(bars("1s"), "09:00:00|BTC-USD|a.us1|1|4|1|4|4|10|2.5|4");
  maintain();
  EXPECT_EQ(bars("1s"), "09:00:00|BTC-USD|a.us1|1|4|1|4|4|10|2.5|4");
}

TEST_P(PostgresAggregates, TakesWhatComesLateIntoWhatIsKept) {
  Events events;
  trade(events, kMorning, 100, 1);
  write(events);
  maintain();
  Events late;
  trade(late, kMorning + 10, 200, 1);
  trade(late, kMorning - 86'400 * kSecond, 7, 1);
  write(late);
  maintain();
  EXPECT_EQ(bars("1m"), "09:00:00|BTC-USD|a.us1|7|7|7|7|1|7|7|1 09:00:00|BTC-USD|a.us1|100|200|100|200|2|300|150|2");
  EXPECT_EQ(database_.sql("SELECT count(*) FROM trade_bars_1d"), "2");
}

TEST_P(PostgresAggregates, ShowsTradesOfThisMomentAtOnce) {
  const std::int64_t now = SystemClock().now().ns + 30 * kSecond;  // its bucket is not over, however long this takes
  Events events;
  trade(events, now - 90 * kSecond, 100, 1);
  trade(events, now, 101, 1);
  write(events);
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1s"), "2");
  maintain();  // the bucket of this moment is not over
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1s"), "2");
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1h"), "2");
  Events more;
  trade(more, now + 1, 102, 1);
  write(more);
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1d"), "3");
}

// A time that nobody means costs no refresh of the years between, and does not hide what comes now.
TEST_P(PostgresAggregates, BearsTimesThatNobodyMeans) {
  const std::int64_t now = SystemClock().now().ns + 120 * kSecond;  // its minute is not over, however long this takes
  Events events;
  trade(events, 1, 1, 1);
  trade(events, now - 3600 * kSecond, 100, 1);
  trade(events, now + 40ll * 365 * 86'400 * kSecond, 5, 1);
  write(events);
  EXPECT_LT(maintain().slices, 40u);
  Events more;
  trade(more, now, 101, 1);
  write(more);
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1m WHERE bucket > now() - INTERVAL '1 day' AND bucket < now() + INTERVAL '1 day'"), "2");
}

TEST_P(PostgresAggregates, KeepsStatisticsOfQuotesAndTheHistoryOfGammaLevels) {
  const auto quotes = plan("quotes/v2"), gex = plan("gex/levels/v1");
  ASSERT_TRUE(store_->prepare(quotes));
  ASSERT_TRUE(store_->prepare(gex));
  Events events;
  const auto quote = [&](std::int64_t time, const char* bid, const char* ask) {
    Event& event = events.add(quotes, "BTC-USD", time);
    if (*bid != '\0') Events::set_decimal(event, "bid", bid);
    if (*ask != '\0') Events::set_decimal(event, "ask", ask);
  };
  quote(kMorning, "100", "102");
  quote(kMorning + kSecond, "", "103");
  quote(kMorning + 2 * kSecond, "100", "101");
  Event& level = events.add(gex, "SPX", kMorning);
  Events::set_decimal(level, "zero_gamma", "5000");
  Events::set_decimal(level, "total", "12");
  Events::set_decimal(events.add(gex, "SPX", kMorning + kSecond), "total", "-3");
  write(events);
  for (int maintained = 0; maintained < 2; ++maintained) {
    for (const char* bucket : {"1m", "1h", "1d"}) {
      EXPECT_EQ(database_.sql(std::string("SELECT concat_ws('|', quotes, spread_min, spread_max, spread_mean, mid_high, mid_low, mid_close) FROM quote_stats_") + bucket),
                "2|1|2|1.5|101|100.5|100.5");
      EXPECT_EQ(database_.sql(std::string("SELECT concat_ws('|', samples, zero_gamma, total, total_min, total_max) FROM gex_history_") + bucket), "2|5000|-3|-3|12");
    }
    maintain();
  }
}

TEST_P(PostgresAggregates, AreReadAsTablesAre) {
  Events events;
  for (int minute = 0; minute < 3; ++minute) trade(events, kMorning + minute * 60 * kSecond, 100 + minute, 1);
  trade(events, kMorning, 7, 2, "ETH-USD");
  write(events);
  const auto read = [&](Query query) {
    std::string out;
    query.event_type = "trade_bars_1m";
    auto cursor = store_->query(query);
    EXPECT_TRUE(cursor) << cursor.error().message;
    std::vector<Value> values;
    while (cursor && *(*cursor)->next(values)) {
      for (std::size_t i = 0; i < values.size(); ++i) {
        const std::string& name = (*cursor)->columns()[i].name;
        if (name == "bucket") out += std::to_string((values[i].as_time().ns - kMorning) / (60 * kSecond)) + " ";
        if (name == "symbol") out += std::string(values[i].as_text()) + " ";
        if (name == "close") out += values[i].as_decimal().to_string() + "; ";
      }
    }
    return out;
  };
  EXPECT_EQ(read({}), "0 BTC-USD 100; 0 ETH-USD 7; 1 BTC-USD 101; 2 BTC-USD 102; ");
  EXPECT_EQ(read({.symbols = {"BTC-USD"}, .from = Timestamp{kMorning + 1}}), "1 BTC-USD 101; 2 BTC-USD 102; ");
  EXPECT_EQ(read({.to = Timestamp{kMorning + 1}}), "0 BTC-USD 100; 0 ETH-USD 7; ");
  EXPECT_EQ(read({.limit = 1, .newest_first = true}), "2 BTC-USD 102; ");
  EXPECT_EQ(store_->query({.event_type = "trade_bars_1m", .as_of = kEndOfTime}).error().code, Code::kInvalidArgument);
  const auto none = store_->query({.event_type = "trade_bars_2m"});
  ASSERT_FALSE(none);
  EXPECT_NE(none.error().message.find("trade_bars_1m"), std::string::npos) << none.error().message;
}

// However writes and refreshes are mixed, and whatever came late: the bars are those of the rows.
TEST_P(PostgresAggregates, EqualTheRowsWhateverTheOrder) {
  constexpr std::uint64_t kSeed = 20261123;
  Random random(kSeed);
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  for (int round = 0; round < 12; ++round) {
    Events events;
    for (int i = 0; i < 200; ++i) {
      const std::int64_t time = kMorning + (round % 3 == 2 ? random.between(0, 2) * 86'400 : 0) * kSecond + random.between(0, 60) * kSecond + random.between(0, kSecond - 1);
      trade(events, time, static_cast<double>(random.between(1, 1000)), static_cast<double>(random.between(1, 9)), random.between(0, 1) == 0 ? "A" : "B");
    }
    write(events);
    if (round % 2 == 1) maintain();
  }
  for (int maintained = 0; maintained < 2; ++maintained) {
    for (const auto& [level, unit] : std::map<std::string, std::string>{{"1s", "second"}, {"1m", "minute"}, {"1h", "hour"}, {"1d", "day"}}) {
      EXPECT_EQ(database_.sql("SELECT count(*) FROM (SELECT date_trunc('" + unit + "', event_time, 'UTC') AS bucket, symbol, max(price) AS high, min(price) AS low, "
                              "sum(size) AS volume, count(*) AS trades, sum(price * size) AS notional FROM trades GROUP BY 1, 2) r FULL JOIN trade_bars_" + level +
                              " b USING (bucket, symbol) WHERE r.high IS DISTINCT FROM b.high OR r.low IS DISTINCT FROM b.low OR r.volume IS DISTINCT FROM b.volume OR "
                              "r.trades IS DISTINCT FROM b.trades OR r.notional IS DISTINCT FROM b.notional"),
                "0") << level;
    }
    maintain();
  }
  const auto findings = store_->verify();
  ASSERT_TRUE(findings) << findings.error().message;
  EXPECT_TRUE(findings->empty()) << (*findings)[0].where << ": " << (*findings)[0].what;
}

}  // namespace
}  // namespace utp
