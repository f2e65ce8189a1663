// A range replaced where tables have partitions and aggregates.
#include "drivers/store/postgres/postgres_fixture.h"

namespace utp {
namespace {

using postgres_test::EngineTest;
using store_test::Events;

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kMorning = 1'767'258'000 * kSecond;  // 2026-01-01 09:00 UTC
constexpr std::int64_t kDay = 86'400 * kSecond;

class PostgresReplacements : public EngineTest {};
UTP_TEST_ON_ENGINES(PostgresReplacements);

TEST_P(PostgresReplacements, MakesPartitionsAndKeepsAggregatesTrue) {
  const auto trades = plan("trades/v2");
  auto store = open();
  ASSERT_TRUE(store->prepare(trades));
  const auto add = [&](Events& events, std::int64_t time, const char* price) {
    Event& event = events.add(trades, "BTC-USD", time, 1);
    Events::set_decimal(event, "price", price);
    Events::set_decimal(event, "size", "1");
  };
  const auto maintain = [&] {
    const auto done = store->maintain();
    ASSERT_TRUE(done) << done.error().message;
  };
  const auto bars = [&] { return database_.sql("SELECT concat_ws('|', to_char(bucket AT TIME ZONE 'UTC', 'DD HH24:MI'), close, trades) FROM trade_bars_1m ORDER BY bucket"); };
  Events old;
  for (int i = 0; i < 4; ++i) add(old, kMorning + i * 60 * kSecond, "100");
  ASSERT_TRUE(store->write(old.pointers()));
  maintain();
  EXPECT_EQ(bars(), "01 09:00|100|1 01 09:01|100|1 01 09:02|100|1 01 09:03|100|1");
  {
    auto replacement = store->begin_replace({{"trades/v2"}, "venue.us1", {kMorning + 60 * kSecond}, {kMorning + 40 * kDay}});
    ASSERT_TRUE(replacement) << replacement.error().message;
    Events fresh;
    add(fresh, kMorning + 60 * kSecond, "200");
    add(fresh, kMorning + 61 * kSecond, "201");
    add(fresh, kMorning + 30 * kDay, "202");  // where no partition is yet
    const auto written = (*replacement)->write(fresh.pointers());
    ASSERT_TRUE(written) << written.error().message;
    EXPECT_EQ(written->inserted, 3u);
    ASSERT_TRUE((*replacement)->commit());
  }
  maintain();
  EXPECT_EQ(bars(), "01 09:00|100|1 01 09:01|201|2 31 09:00|202|1");
  const auto findings = store->verify();
  ASSERT_TRUE(findings) << findings.error().message;
  for (const Finding& finding : *findings) ADD_FAILURE() << finding.where << ": " << finding.what;
  // A partition that went with a replacement without a commit is made again.
  for (const bool kept : {false, true}) {
    auto replacement = store->begin_replace({{"trades/v2"}, "venue.us1", {kMorning + 100 * kDay}, {kMorning + 101 * kDay}});
    ASSERT_TRUE(replacement) << replacement.error().message;
    Events later;
    add(later, kMorning + 100 * kDay, "7");
    ASSERT_TRUE((*replacement)->write(later.pointers()));
    if (!kept) continue;
    ASSERT_TRUE((*replacement)->commit());
  }
  Events more;
  add(more, kMorning + 100 * kDay + 1, "8");
  EXPECT_EQ(store->write(more.pointers())->inserted, 1u);
  EXPECT_EQ(database_.sql("SELECT count(*) FROM trades"), "6");
}

}  // namespace
}  // namespace utp
