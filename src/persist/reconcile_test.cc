#include "persist/reconcile.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "persist/test_chamber.h"

namespace utp {
namespace {

using persist_test::Chamber;
using persist_test::kStartNs;
using persist_test::must;
using persist_test::Source;

constexpr std::int64_t kHourNs = 3'600'000'000'000;
const SystemClock kClock;

std::vector<ReconciledType> reconciled(Chamber& chamber, ReconcileOptions options = {}) {
  return must(reconcile(chamber.bus.inner(), chamber.store, chamber.registry, kClock, options));
}
const ReconciledType& of(const std::vector<ReconciledType>& all, const std::string& event_type) {
  for (const ReconciledType& type : all) {
    if (type.event_type == event_type) return type;
  }
  throw std::runtime_error("no " + event_type);
}

void run_sql(Chamber& chamber, const char* text) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((chamber.folder / "store.db").c_str(), &db), SQLITE_OK);
  EXPECT_EQ(sqlite3_exec(db, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(db);
  sqlite3_close(db);
}

TEST(Reconcile, CountsByTypeSymbolAndHour) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 30; ++i) source.quote(i % 3 == 0 ? "ETH-USD" : "BTC-USD", i % 2 * kHourNs + i);
  source.trade("BTC-USD", 5, 1);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  const auto all = reconciled(chamber);
  ASSERT_EQ(all.size(), 2u);
  const ReconciledType& quotes = of(all, "quotes/v2");
  ASSERT_EQ(quotes.hours.size(), 4u);
  EXPECT_EQ(quotes.hours[0].symbol, "BTC-USD");
  EXPECT_EQ(quotes.hours[1].symbol, "ETH-USD");
  EXPECT_EQ(quotes.hours[2].hour.ns - quotes.hours[0].hour.ns, kHourNs);
  for (const ReconciledHour& hour : quotes.hours) {
    EXPECT_EQ(hour.on_bus, hour.symbol == "BTC-USD" ? 10u : 5u);
    EXPECT_EQ(hour.stored, hour.on_bus);
    EXPECT_TRUE(hour.equal());
    EXPECT_EQ(hour.waiting + hour.missing + hour.only_stored + hour.dead_letters, 0u);
  }
  EXPECT_EQ(of(all, "trades/v2").hours.size(), 1u);
}

TEST(Reconcile, AnEventSentTwiceIsOne) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 3; ++i) source.trade("X", 5, 7);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  const auto all = reconciled(chamber);
  const ReconciledHour& hour = of(all, "trades/v2").hours.at(0);
  EXPECT_EQ(hour.messages, 3u);
  EXPECT_EQ(hour.on_bus, 1u);
  EXPECT_EQ(hour.stored, 1u);
  EXPECT_TRUE(hour.equal());
}

TEST(Reconcile, WhatIsNotAcknowledgedWaits) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  source.quote("X", 2);
  source.quote("X", 3);
  source.publish();
  const auto all = reconciled(chamber);
  const ReconciledHour& hour = of(all, "quotes/v2").hours.at(0);
  EXPECT_EQ(hour.on_bus, 3u);
  EXPECT_EQ(hour.stored, 1u);
  EXPECT_EQ(hour.waiting, 2u);
  EXPECT_TRUE(hour.equal());
}

TEST(Reconcile, WhatWasAcknowledgedAndIsNotThereIsMissing) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 10; ++i) source.quote("X", i);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  run_sql(chamber, "DELETE FROM quotes WHERE event_time % 2 = 0");
  auto all = reconciled(chamber);
  const ReconciledHour& hour = of(all, "quotes/v2").hours.at(0);
  EXPECT_EQ(hour.stored, 5u);
  EXPECT_EQ(hour.missing, 5u);
  EXPECT_FALSE(hour.equal());
  EXPECT_EQ(of(all, "quotes/v2").missing_examples.size(), 5u);
  // Another group mends it.
  PersisterOptions options = chamber.options();
  options.group = "again";
  auto again = chamber.persister(options);
  chamber.drain(*again);
  EXPECT_TRUE(of(reconciled(chamber), "quotes/v2").hours.at(0).equal());
}

TEST(Reconcile, DeadLettersAreNotMissing) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 4; ++i) source.quote("X", i);
  source.publish();
  source.publish_bytes("utp.prod.local.quotes.v2", "no event at all");
  {
    auto persister = chamber.persister();
    chamber.drain(*persister);
  }
  // A table that refuses a row: the event goes to the dead letters.
  run_sql(chamber, "CREATE TRIGGER no_more BEFORE INSERT ON quotes WHEN NEW.symbol = 'Y' BEGIN SELECT RAISE(ABORT, 'no'); END");
  source.quote("Y", 9);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  const auto all = reconciled(chamber);
  const ReconciledType& quotes = of(all, "quotes/v2");
  EXPECT_EQ(quotes.unreadable, 1u);
  ASSERT_EQ(quotes.hours.size(), 2u);
  EXPECT_EQ(quotes.hours[1].symbol, "Y");
  EXPECT_EQ(quotes.hours[1].dead_letters, 1u);
  EXPECT_TRUE(quotes.hours[1].equal());
}

TEST(Reconcile, WhatOnlyTheStoreHasIsNoDifference) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  persister.reset();
  const auto other = must(open_embedded_bus({.directory = chamber.folder / "other"}));
  EXPECT_TRUE(must(reconcile(*other, chamber.store, chamber.registry, kClock, {})).empty()) << "no hours are asked for";
  ReconcileOptions options;
  options.from = Timestamp{kStartNs};
  options.to = Timestamp{kStartNs + 1'000};
  const auto all = must(reconcile(*other, chamber.store, chamber.registry, kClock, options));
  const ReconciledHour& hour = of(all, "quotes/v2").hours.at(0);
  EXPECT_EQ(hour.only_stored, 1u);
  EXPECT_TRUE(hour.equal());
}

TEST(Reconcile, TimeAndSymbolsNarrowIt) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 5; ++i) source.quote("X", i * kHourNs), source.quote("Y", i * kHourNs);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  ReconcileOptions options;
  options.symbols = {"Y"};
  options.from = Timestamp{kStartNs + kHourNs};
  options.to = Timestamp{kStartNs + 2 * kHourNs};
  const auto all = reconciled(chamber, options);
  // The time is widened to whole hours, and the second does not end on one.
  ASSERT_EQ(of(all, "quotes/v2").hours.size(), 2u);
  for (const ReconciledHour& hour : of(all, "quotes/v2").hours) EXPECT_EQ(hour.symbol, "Y");
}

TEST(Reconcile, SaysWhatItCannotDo) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 3; ++i) source.quote("X", i);
  source.publish();
  auto result = reconcile(chamber.bus.inner(), chamber.store, chamber.registry, kClock, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kNotFound) << "no realm";
  ReconcileOptions options;
  options.realm = "prod";
  options.events_max = 2;
  result = reconcile(chamber.bus.inner(), chamber.store, chamber.registry, kClock, options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kFull);
  options.event_types = {"quotas/v9"};
  result = reconcile(chamber.bus.inner(), chamber.store, chamber.registry, kClock, options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kNotFound);
  options = {};
  options.realm = "prod";
  result = reconcile(chamber.bus.inner(), chamber.store, chamber.registry, kClock, options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kNotFound) << "no persister has read it";
  options.give_up = [] { return true; };
  result = reconcile(chamber.bus.inner(), chamber.store, chamber.registry, kClock, options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, Code::kCancelled);
}

}  // namespace
}  // namespace utp
