#include <algorithm>
#include <atomic>
#include <thread>

#include "core/clock.h"
#include "drivers/store/postgres/postgres_fixture.h"

namespace utp {
namespace {

using postgres_test::EngineTest;
using store_test::Events;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDay = 86'400 * kSecond;

class PostgresCare : public EngineTest {
 protected:
  void SetUp() override {
    EngineTest::SetUp();
    if (IsSkipped()) return;
    trades_ = plan("trades/v2");
    store_ = open();
    ASSERT_TRUE(store_->prepare(trades_));
  }
  void write(std::initializer_list<std::int64_t> times) const {
    Events events;
    for (const std::int64_t time : times) {
      Event& event = events.add(trades_, "BTC-USD", time);
      event.envelope.checksum = 1;
      Events::set_decimal(event, "price", "100");
      Events::set_decimal(event, "size", "1");
    }
    const auto result = store_->write(events.pointers());
    ASSERT_TRUE(result) << result.error().message;
  }
  void maintain() const {
    const auto done = store_->maintain();
    ASSERT_TRUE(done) << done.error().message;
  }
  std::vector<Finding> verify() const {
    auto findings = store_->verify();
    EXPECT_TRUE(findings) << findings.error().message;
    return findings ? *findings : std::vector<Finding>{};
  }
  std::string rows() const { return database_.sql("SELECT count(*) FROM trades"); }

  const std::int64_t now_ = SystemClock().now().ns;
  std::shared_ptr<const Plan> trades_;
  std::unique_ptr<Store> store_;
};

UTP_TEST_ON_ENGINES(PostgresCare);

TEST_P(PostgresCare, SaysWhatThereIs) {
  write({now_ - kDay, now_});
  const auto status = store_->status();
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_EQ(status->engine, has_timescale() ? "timescaledb" : "postgresql");
  EXPECT_NE(status->server_version.find(has_timescale() ? "TimescaleDB 2." : "PostgreSQL 1"), std::string::npos) << status->server_version;
  EXPECT_NE(status->engine_reason.find(has_timescale() ? "" : has_apache() ? "Apache licence" : "TimescaleDB is"), std::string::npos) << status->engine_reason;
  EXPECT_EQ(status->engine_reason.empty(), has_timescale());
  EXPECT_EQ(status->realm, "test");
  EXPECT_EQ(status->catalogue_version, 3);
  ASSERT_EQ(status->tables.size(), 1u);
  const TableStatus& table = status->tables[0];
  EXPECT_EQ(table.table, "trades");
  EXPECT_EQ(table.layout, has_timescale() ? "hypertable" : "partitions");
  EXPECT_EQ(table.parts, has_timescale() ? 2u : 4u);
  EXPECT_EQ(table.chunk_ns, kDay);
  EXPECT_EQ(table.retention_ns, 0);
  EXPECT_GT(table.bytes, 0u);
  ASSERT_EQ(status->aggregates.size(), 5u);
  EXPECT_EQ(status->aggregates[0].name, "trade_bars_1s");
  EXPECT_EQ(status->aggregates[0].kept_until.ns, 0);
  EXPECT_EQ(status->ranges_to_refresh, 2u);
  EXPECT_EQ(status->jobs.empty(), !has_timescale());
  maintain();
  EXPECT_GT(store_->status()->aggregates[0].kept_until.ns, now_ - kDay);
}

TEST_P(PostgresCare, DropsWhatIsOlderThanItsRetentionAndKeepsItsBars) {
  write({now_ - 30 * kDay, now_ - 29 * kDay, now_ - kDay, now_});
  maintain();
  ASSERT_TRUE(store_->set_policy("trades/v2", {.retention_ns = 7 * kDay}));
  EXPECT_EQ(store_->status()->tables[0].retention_ns, 7 * kDay);
  if (has_timescale()) {  // what the database's own job does
    database_.sql("SELECT drop_chunks('trades', INTERVAL '7 days')");
  } else {
    EXPECT_EQ(store_->maintain()->parts_dropped, 2u);
  }
  EXPECT_EQ(rows(), "2");
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1d"), "4");
  // What comes late for a part that is gone is stored, and goes again; bars of that time stay as they were.
  write({now_ - 30 * kDay + 5});
  if (!has_timescale()) {  // there the database's own job may have been faster
    EXPECT_EQ(rows(), "3");
  }
  maintain();
  if (!has_timescale()) {
    EXPECT_EQ(rows(), "2");
  }
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1d"), "4");
  EXPECT_TRUE(verify().empty());
  ASSERT_TRUE(store_->set_policy("trades/v2", {.retention_ns = 0}));
  EXPECT_EQ(store_->status()->tables[0].retention_ns, 0);
}

TEST_P(PostgresCare, CompressesOldRowsAndTakesLateOnesStill) {
  write({now_ - 30 * kDay, now_ - 30 * kDay + 1});
  const auto compressing = store_->set_policy("trades/v2", {.compress_after_ns = 2 * kDay});
  if (!has_timescale()) {
    ASSERT_FALSE(compressing);
    EXPECT_EQ(compressing.error().code, Code::kUnsupported);
    return;
  }
  ASSERT_TRUE(compressing) << compressing.error().message;
  database_.sql("DO $$ DECLARE c regclass; BEGIN FOR c IN SELECT show_chunks('trades') LOOP CALL convert_to_columnstore(c); END LOOP; END $$");
  EXPECT_EQ(store_->status()->tables[0].compressed_parts, 1u);
  for (int batch = 0; batch < 25; ++batch) write({now_ - 30 * kDay + 1, now_ - 30 * kDay + 2 + batch});  // a duplicate and a new one: both ways in
  EXPECT_EQ(rows(), "27");
  write({now_ - 30 * kDay + 500});
  EXPECT_EQ(rows(), "28");
  maintain();
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1d"), "28");
}

TEST_P(PostgresCare, ChangesTheSpanOfParts) {
  write({20'000 * kDay + 3 * 3600 * kSecond});
  ASSERT_TRUE(store_->set_policy("trades/v2", {.chunk_ns = 6 * 3600 * kSecond}));
  auto other = open();  // the first one knows its partitions still
  ASSERT_TRUE(other->prepare(trades_));
  store_ = std::move(other);
  write({20'000 * kDay + 5 * 3600 * kSecond, 20'001 * kDay, 20'001 * kDay + 7 * 3600 * kSecond});
  ASSERT_TRUE(store_->set_policy("trades/v2", {.chunk_ns = 7 * kDay}));  // wider than what lies between
  store_ = open();
  ASSERT_TRUE(store_->prepare(trades_));
  write({20'001 * kDay + 13 * 3600 * kSecond, 20'002 * kDay, 19'999 * kDay});
  EXPECT_EQ(rows(), "7");
  EXPECT_EQ(database_.sql("SELECT count(DISTINCT tableoid) FROM trades"), "5");
  maintain();
  EXPECT_TRUE(verify().empty());
}

// Ten days that nobody wrote before, by four writers at once.
TEST_P(PostgresCare, ManyWritersMakeThePartsThatTheyNeed) {
  constexpr int kWriters = 4, kDays = 10;
  std::vector<std::thread> writers;
  for (int w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      auto store = open();
      EXPECT_TRUE(store->prepare(trades_));
      for (int day = 0; day < kDays; ++day) {
        Events events;
        for (int i = 0; i < kDays; ++i) events.add(trades_, "BTC-USD", now_ - ((day + i) % kDays) * kDay, 1 + static_cast<std::uint64_t>(w * kDays + day)).envelope.checksum = 1;
        auto result = store->write(events.pointers());
        while (!result && result.error().retryable) result = store->write(events.pointers());
        EXPECT_TRUE(result) << result.error().message;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(rows(), std::to_string(kWriters * kDays * kDays));
  EXPECT_EQ(database_.sql("SELECT count(DISTINCT tableoid) FROM trades"), std::to_string(kDays));
}

// Its connections are cut again and again while it refreshes: what it had not done it does the next time.
TEST_P(PostgresCare, ARefreshThatIsCutOffIsDoneTheNextTime) {
  std::atomic<bool> done{false};
  std::thread cutter([&] {
    while (!done) {
      (void)postgres_test::run_sql(database_.url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = '" + database_.schema + "' AND query LIKE '%trade_bars%'");
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
  });
  int cut = 0;
  for (int round = 0; round < 20; ++round) {
    write({now_ - kDay - round * 3600 * kSecond, now_ - 2 * kDay - round * 3600 * kSecond});
    cut += store_->maintain() ? 0 : 1;
  }
  done = true;
  cutter.join();
  EXPECT_GT(cut, 0);
  maintain();
  EXPECT_EQ(database_.sql("SELECT sum(trades) FROM trade_bars_1d"), "40");
  EXPECT_EQ(database_.sql("SELECT count(*) FROM utp_touched"), "0");
  EXPECT_TRUE(verify().empty());
}

// Trades of a second that is not over when the store is looked after, and none that touch it later.
TEST_P(PostgresCare, KeepsBucketsThatWereNotOverTheLastTime) {
  const auto now = [] { return SystemClock().now().ns; };
  const std::int64_t soon = now() + 2 * kSecond;
  write({soon});
  maintain();
  while (now() < soon + 1500'000'000) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  write({soon + kSecond});  // so that the watermark passes the first one's bucket
  while (now() < soon + 3 * kSecond) std::this_thread::sleep_for(std::chrono::milliseconds(20));
  maintain();
  for (const char* level : {"1s", "1m", "1h"}) {
    EXPECT_EQ(database_.sql(std::string("SELECT sum(trades) FROM trade_bars_") + level), "2") << level;
  }
  EXPECT_GT(store_->status()->aggregates[0].kept_until.ns, soon);
  EXPECT_TRUE(verify().empty());
}

TEST_P(PostgresCare, OneTableThatCannotBeRefreshedKeepsNoOtherWaiting) {
  const auto quotes = plan("quotes/v2");
  ASSERT_TRUE(store_->prepare(quotes));
  Events events;
  for (const std::int64_t back : {20 * kDay, kDay}) {
    Event& event = events.add(quotes, "BTC-USD", now_ - back);
    Events::set_decimal(event, "bid", "99");
    Events::set_decimal(event, "ask", "101");
  }
  ASSERT_TRUE(store_->write(events.pointers()));
  write({now_ - 20 * kDay, now_ - kDay});
  const std::string kept = has_timescale() ? "MATERIALIZED VIEW quote_stats_1h" : "TABLE utp_quote_stats_1h";
  ASSERT_EQ(database_.sql("ALTER " + kept + " RENAME TO elsewhere"), "");
  if (!has_timescale()) {
    ASSERT_TRUE(store_->set_policy("trades/v2", {.retention_ns = 10 * kDay}));
  }
  const auto failed = store_->maintain();
  ASSERT_FALSE(failed);
  EXPECT_NE(failed.error().message.find("quote_stats_1h"), std::string::npos) << failed.error().message;
  EXPECT_EQ(database_.sql("SELECT DISTINCT table_name FROM utp_touched"), "quotes");
  EXPECT_EQ(database_.sql("SELECT count(*) FROM trade_bars_1d"), "2") << "bars of rows that retention took too";
  EXPECT_EQ(rows(), has_timescale() ? "2" : "1");
  database_.sql(has_timescale() ? "ALTER MATERIALIZED VIEW elsewhere RENAME TO quote_stats_1h" : "ALTER TABLE elsewhere RENAME TO utp_quote_stats_1h");
  maintain();
  EXPECT_EQ(database_.sql("SELECT sum(quotes) FROM quote_stats_1d"), "2");
  EXPECT_TRUE(verify().empty());
}

// The last rows before a weekend: their day was not over at the last refresh, nothing comes after them, and their part goes.
TEST_P(PostgresCare, WhatRetentionTakesIsAggregatedBefore) {
  if (has_timescale()) GTEST_SKIP() << "TimescaleDB's own jobs drop parts there";
  write({now_ - 3 * kDay});
  maintain();
  const std::string day = "date_trunc('day', now() - interval '3 days', 'UTC')";
  for (const char* level : {"1s", "1m", "5m", "1h", "1d"}) {
    EXPECT_EQ(database_.sql("UPDATE utp_aggregates SET watermark = " + day + " WHERE name = 'trade_bars_" + level + "'; DELETE FROM utp_trade_bars_" + level), "");
  }
  ASSERT_EQ(database_.sql("SELECT count(*) FROM utp_touched"), "0");
  ASSERT_TRUE(store_->set_policy("trades/v2", {.retention_ns = kDay}));
  maintain();
  EXPECT_EQ(rows(), "0");
  write({now_ - 7200 * kSecond});  // watermarks move on past the days without rows
  maintain();
  for (const char* level : {"1s", "1m", "5m", "1h", "1d"}) {
    EXPECT_EQ(database_.sql(std::string("SELECT sum(trades) FROM trade_bars_") + level), "2") << level;
  }
}

TEST_P(PostgresCare, RefusesPoliciesWithoutMeaning) {
  for (const TablePolicy& policy : {TablePolicy{.chunk_ns = 0}, TablePolicy{.chunk_ns = 60 * kSecond}, TablePolicy{.retention_ns = 3600 * kSecond},
                                    TablePolicy{.compress_after_ns = 1}}) {
    const auto status = store_->set_policy("trades/v2", policy);
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kInvalidArgument) << status.error().message;
  }
  EXPECT_EQ(store_->set_policy("nothing/v1", {.retention_ns = kDay}).error().code, Code::kNotFound);
}

TEST_P(PostgresCare, FindsWhatIsNotAsItShouldBe) {
  write({now_ - kDay, 1, 4'200'000'000 * kSecond});
  maintain();
  if (!has_timescale()) {
    const auto findings = verify();
    ASSERT_EQ(findings.size(), 2u);
    EXPECT_NE(findings[0].what.find("before the year 2000"), std::string::npos) << findings[0].what;
  }
  database_.sql("ALTER TABLE trades ADD COLUMN extra text; DELETE FROM trades");
  auto findings = verify();
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].where, "trade_bars_1s");
  // What it says helps.
  for (const Finding& finding : findings) {
    const std::size_t begin = finding.cure.find("INSERT"), end = finding.cure.find(", then");
    if (begin == std::string::npos || end == std::string::npos) continue;
    EXPECT_EQ(database_.sql(finding.cure.substr(begin, end - begin)), "") << finding.cure;
  }
  maintain();
  findings = verify();
  EXPECT_TRUE(std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.where == "trade_bars_1s"; }));
  database_.sql("ALTER TABLE trades DROP COLUMN venue CASCADE");
  findings = verify();
  ASSERT_FALSE(findings.empty());
  EXPECT_EQ(findings[0].where, "trades.venue");
}

}  // namespace
}  // namespace utp
