// The contract of Store as tests. A driver's test program defines how to open it and instantiates the suite:
//
//   INSTANTIATE_TEST_SUITE_P(Sqlite, StoreContract, ::testing::Values(make_sqlite_harness));
//   INSTANTIATE_TEST_SUITE_P(Sqlite, StoreAsOf, ::testing::Values(make_sqlite_harness));
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "store/contract_events.h"
#include "store/store.h"

namespace utp::store_test {

// One empty database, gone with the harness.
class StoreHarness {
 public:
  virtual ~StoreHarness() = default;
  // Why there can be no database here; "" where there can.
  virtual std::string missing() const { return {}; }
  // May be called several times: all see the same database.
  virtual Result<std::unique_ptr<Store>> open() = 0;
};
using MakeStoreHarness = std::function<std::unique_ptr<StoreHarness>()>;

// A row by column name, as text: what a reader sees. Nulls are "null".
using TextRow = std::map<std::string, std::string>;

class StoreContract : public ::testing::TestWithParam<MakeStoreHarness> {
 protected:
  void SetUp() override {
    harness_ = GetParam()();
    ASSERT_NE(harness_, nullptr);
    if (!harness_->missing().empty()) GTEST_SKIP() << harness_->missing();
    store_ = open();
    ASSERT_NE(store_, nullptr);
  }

  std::unique_ptr<Store> open() {
    auto store = harness_->open();
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }

  static void prepare(Store& store, const std::shared_ptr<const Plan>& plan) {
    const Status status = store.prepare(plan);
    ASSERT_TRUE(status) << status.error().message;
  }

  static WriteResult write(Store& store, const std::vector<const Event*>& events) {
    auto result = store.write(events);
    EXPECT_TRUE(result) << result.error().message;
    return result ? std::move(*result) : WriteResult{};
  }

  static std::string text(const Value& value) {
    switch (value.kind) {
      case Kind::kAbsent: return "absent";
      case Kind::kNull: return "null";
      case Kind::kBool: return value.as_bool() ? "true" : "false";
      case Kind::kInteger: return std::to_string(value.as_integer());
      case Kind::kDecimal: return value.as_decimal().to_string();
      case Kind::kText: return std::string(value.as_text());
      case Kind::kTime: return std::to_string(value.as_time().ns);
      case Kind::kArray: return "array";
    }
    return "";
  }

  static std::vector<TextRow> rows(Store& store, const Query& query) {
    std::vector<TextRow> out;
    auto cursor = store.query(query);
    EXPECT_TRUE(cursor) << cursor.error().message;
    if (!cursor) return out;
    std::vector<Value> values;
    for (;;) {
      const auto more = (*cursor)->next(values);
      EXPECT_TRUE(more) << more.error().message;
      if (!more || !*more) return out;
      TextRow& row = out.emplace_back();
      for (std::size_t i = 0; i < values.size(); ++i) row[(*cursor)->columns()[i].name] = text(values[i]);
    }
  }
  static std::vector<TextRow> all(Store& store, const std::string& event_type) { return rows(store, {.event_type = event_type}); }

  static std::string column(const std::vector<TextRow>& rows, const std::string& name) {
    std::string out;
    for (const TextRow& row : rows) out += (out.empty() ? "" : " ") + row.at(name);
    return out;
  }

  std::unique_ptr<StoreHarness> harness_;
  std::unique_ptr<Store> store_;
};

TEST_P(StoreContract, StoresHeaderAndPayloadExactly) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  Event& event = events.add(plan, "BTC-USD", 1'795'357'800'123'456'789, 42);
  event.envelope.event_time_source = EventTimeSource::kGateway;
  event.envelope.quality = Quality::kLate | Quality::kSnapshot;
  event.envelope.checksum = 0xFEDCBA9876543210ull;
  Events::set_decimal(event, "price", "64250.123456789");
  Events::set_decimal(event, "size", "0.00000001");
  event.row.set(*plan->column("count"), std::int64_t{-7});
  event.row.set(*plan->column("firm"), true);
  Events::set_text(event, "venue", "caf\xC3\xA9 \"x\"");
  event.row.set(*plan->column("at"), Timestamp{1'700'000'000'000'000'001});
  Events::set_texts(event, "codes", {"A", "quote\""});
  const std::size_t levels = *plan->column("levels");
  event.row.begin_array(levels);
  for (const char* number : {"64250.10", "0.5", "64249.99", "12345678901234567.8"}) event.row.push(Value::of(*Decimal::parse(number)));
  event.row.end_array(levels, 2);

  const WriteResult result = write(*store_, events.pointers());
  EXPECT_EQ(result.inserted, 1u);
  EXPECT_EQ(result.duplicates, 0u);
  EXPECT_TRUE(result.errors.empty());

  const auto found = all(*store_, "ticks/v1");
  ASSERT_EQ(found.size(), 1u);
  const TextRow& row = found[0];
  EXPECT_EQ(row.at("key"), event.key().to_hex());
  EXPECT_EQ(row.at("event_time"), "1795357800123456789");
  EXPECT_EQ(row.at("ingest_time"), "1795357800124456789");
  EXPECT_EQ(row.at("symbol"), "BTC-USD");
  EXPECT_EQ(row.at("source_id"), "venue.us1");
  EXPECT_EQ(row.at("schema_ref"), "utp://ticks/1.0.0");
  EXPECT_EQ(row.at("event_time_source"), "gateway");
  EXPECT_EQ(row.at("sequence"), "42");
  EXPECT_EQ(row.at("checksum"), "fedcba9876543210");
  EXPECT_EQ(row.at("quality"), to_string(Quality::kLate | Quality::kSnapshot));
  EXPECT_EQ(row.at("price"), "64250.123456789");
  EXPECT_EQ(row.at("size"), "0.00000001");
  EXPECT_EQ(row.at("count"), "-7");
  EXPECT_EQ(row.at("firm"), "true");
  EXPECT_EQ(row.at("venue"), "caf\xC3\xA9 \"x\"");
  EXPECT_EQ(row.at("at"), "1700000000000000001");
  EXPECT_EQ(row.at("codes"), R"(["A","quote\""])");
  EXPECT_EQ(row.at("levels"), "[[64250.1,0.5],[64249.99,12345678901234567.8]]");
}

TEST_P(StoreContract, KeepsEveryDecimalOfFifteenDigits) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr std::uint64_t kSeed = 20261122;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  Events events;
  std::vector<std::string> numbers = {"0", "-0.1", "0.3", "999999999999999", "-999999999999999", "0.000000000000001", "1e18", "123456789012345e-30"};
  for (int i = 0; i < 2000; ++i) {
    numbers.push_back(Decimal(random.between(-999'999'999'999'999, 999'999'999'999'999), static_cast<int>(random.between(-20, 3))).to_string());
  }
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    Events::set_decimal(events.add(plan, "X", static_cast<std::int64_t>(i)), "price", numbers[i]);
  }
  EXPECT_EQ(write(*store_, events.pointers()).inserted, numbers.size());
  const auto found = all(*store_, "ticks/v1");
  ASSERT_EQ(found.size(), numbers.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].at("price"), Decimal::parse(numbers[i])->to_string());
    EXPECT_EQ(found[i].at("quality"), "null");
  }
}

TEST_P(StoreContract, MarksADecimalThatADoubleCannotHold) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  Events::set_decimal(events.add(plan, "X", 1), "price", "1234567890.123456789");
  events[0].envelope.quality = Quality::kLate;
  Events::set_decimal(events.add(plan, "X", 2), "price", "9007199254740993");
  Events::set_decimal(events.add(plan, "X", 3), "price", "9007199254740992");  // 16 digits that read back
  write(*store_, events.pointers());
  const auto found = all(*store_, "ticks/v1");
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].at("quality"), to_string(Quality::kLate | Quality::kRounded));
  EXPECT_EQ(found[0].at("price"), "1234567890.1234567");
  EXPECT_EQ(found[1].at("quality"), "rounded");
  EXPECT_EQ(found[2].at("quality"), "null");
  EXPECT_EQ(found[2].at("price"), "9007199254740992");
}

TEST_P(StoreContract, ReadsAbsentAndNullAsNull) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  events.add(plan, "", 1).row.set_null(*plan->column("price"));
  Events::set_texts(events.add(plan, "X", 2), "codes", {});
  write(*store_, events.pointers());
  const auto found = all(*store_, "ticks/v1");
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].at("symbol"), "");
  for (const char* name : {"price", "size", "count", "firm", "venue", "at", "levels", "codes", "quality"}) {
    EXPECT_EQ(found[0].at(name), "null") << name;
  }
  EXPECT_EQ(found[1].at("codes"), "[]");
}

TEST_P(StoreContract, AddsNoRowForAKeyThatIsThere) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  for (int i = 0; i < 5; ++i) events.add(plan, "X", 100 - i);
  auto pointers = events.pointers();
  EXPECT_EQ(write(*store_, pointers).inserted, 5u);
  events.add(plan, "X", 7);
  pointers = events.pointers();
  pointers.push_back(pointers.back());  // twice in one batch
  const WriteResult again = write(*store_, pointers);
  EXPECT_EQ(again.inserted, 1u);
  EXPECT_EQ(again.duplicates, 6u);
  EXPECT_TRUE(again.errors.empty());
  EXPECT_EQ(all(*store_, "ticks/v1").size(), 6u);
}

TEST_P(StoreContract, TakesARedeliveryWithAnotherIngestTimeForADuplicate) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  events.add(plan, "X", 1);
  write(*store_, events.pointers());
  events[0].envelope.ingest_time = {99};
  EXPECT_EQ(write(*store_, events.pointers()).duplicates, 1u);
  EXPECT_EQ(column(all(*store_, "ticks/v1"), "ingest_time"), "1000001");
}

TEST_P(StoreContract, NamesBadRowsAndStoresTheRest) {
  const auto plan = ticks_plan();
  const auto unknown = compile(schema_text("unknown", "1.0.0", R"("a":{"type":"number"})"));
  prepare(*store_, plan);
  Events events;
  events.add(plan, "A", 3);
  events.add(unknown, "B", 2);
  events.add(plan, "C", 1).envelope.realm = "other";
  events.add(plan, "D", 1);
  const WriteResult result = write(*store_, events.pointers());
  EXPECT_EQ(result.inserted, 2u);
  ASSERT_EQ(result.errors.size(), 2u);
  EXPECT_EQ(result.errors[0].index, 1u);
  EXPECT_EQ(result.errors[0].error.code, Code::kNotFound);
  EXPECT_NE(result.errors[0].error.message.find("utp://unknown/1.0.0"), std::string::npos) << result.errors[0].error.message;
  EXPECT_EQ(result.errors[1].index, 2u);
  EXPECT_NE(result.errors[1].error.message.find("other"), std::string::npos) << result.errors[1].error.message;
  EXPECT_EQ(column(all(*store_, "ticks/v1"), "symbol"), "D A");
}

TEST_P(StoreContract, HoldsOneRealmAlsoAfterReopening) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  events.add(plan, "A", 1);
  write(*store_, events.pointers());
  store_ = open();
  prepare(*store_, plan);
  Events other;
  other.add(plan, "A", 2).envelope.realm = "replay_7";
  const WriteResult result = write(*store_, other.pointers());
  EXPECT_EQ(result.inserted, 0u);
  ASSERT_EQ(result.errors.size(), 1u);
  EXPECT_EQ(all(*store_, "ticks/v1").size(), 1u);
}

TEST_P(StoreContract, FiltersAndOrders) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  events.add(plan, "B", 20, 2);
  events.add(plan, "B", 20, 1);
  events.add(plan, "A", 20, 3);
  events.add(plan, "C", 10, 4).envelope.source_id = "venue.us2";
  events.add(plan, "A", 30, 5).envelope.source_id = "venue.us2";
  events.add(plan, "A", -5, 6);  // before 1970
  write(*store_, events.pointers());
  const auto sequences = [&](Query query) {
    query.event_type = "ticks/v1";
    return column(rows(*store_, query), "sequence");
  };
  EXPECT_EQ(sequences({}), "6 4 3 1 2 5");
  EXPECT_EQ(sequences({.newest_first = true}), "5 2 1 3 4 6");
  EXPECT_EQ(sequences({.limit = 2}), "6 4");
  EXPECT_EQ(sequences({.limit = 2, .newest_first = true}), "5 2");
  EXPECT_EQ(sequences({.symbols = {"A"}}), "6 3 5");
  EXPECT_EQ(sequences({.symbols = {"A", "C", "it's"}}), "6 4 3 5");
  EXPECT_EQ(sequences({.sources = {"venue.us2"}}), "4 5");
  EXPECT_EQ(sequences({.symbols = {"A"}, .sources = {"venue.us1", "nobody"}}), "6 3");
  EXPECT_EQ(sequences({.from = Timestamp{20}}), "3 1 2 5");
  EXPECT_EQ(sequences({.to = Timestamp{20}}), "6 4");
  EXPECT_EQ(sequences({.from = Timestamp{10}, .to = Timestamp{30}}), "4 3 1 2");
  EXPECT_EQ(sequences({.symbols = {"Z"}}), "");
}

TEST_P(StoreContract, TellsWhatIsThereWhenAnEventTypeIsNot) {
  prepare(*store_, ticks_plan());
  const auto cursor = store_->query({.event_type = "tocks/v1"});
  ASSERT_FALSE(cursor);
  EXPECT_EQ(cursor.error().code, Code::kNotFound);
  EXPECT_NE(cursor.error().message.find("ticks/v1"), std::string::npos) << cursor.error().message;
}

TEST_P(StoreContract, ExplodesAnArrayIntoRows) {
  const auto plan = stories_plan();
  prepare(*store_, plan);
  Events events;
  Events::set_texts(events.add(plan, "", 1), "tickers", {"B", "A", "C"});
  Events::set_text(events[0], "headline", "three");
  Events::set_text(events.add(plan, "", 2), "headline", "none");
  Events::set_texts(events.add(plan, "", 3), "tickers", {"A"});
  Events::set_text(events[2], "headline", "one");
  EXPECT_EQ(write(*store_, events.pointers()).inserted, 3u);
  const WriteResult again = write(*store_, events.pointers());
  EXPECT_EQ(again.inserted, 0u);
  EXPECT_EQ(again.duplicates, 3u);
  const auto found = all(*store_, "stories/v1");
  EXPECT_EQ(column(found, "tickers"), "B A C null A");
  EXPECT_EQ(column(found, "row_no"), "0 1 2 0 0");
  EXPECT_EQ(column(found, "headline"), "three three three none one");
}

TEST_P(StoreContract, AddsTheColumnsOfANewerMinorVersion) {
  const auto old_plan = compile(schema_text("m", "1.0.0", R"("a":{"type":"number"})"));
  const auto new_plan = compile(schema_text("m", "1.10.0", R"("a":{"type":"number"},"b":{"type":"string","maxLength":9})"));
  prepare(*store_, old_plan);
  Events events;
  Events::set_decimal(events.add(old_plan, "X", 1), "a", "1.5");
  write(*store_, events.pointers());

  auto newer = open();
  prepare(*newer, new_plan);
  Events added;
  Events::set_text(added.add(new_plan, "X", 2), "b", "new");
  write(*newer, added.pointers());

  // The older program goes on beside it, and one that starts later does too.
  Events late;
  Events::set_decimal(late.add(old_plan, "X", 3), "a", "3.5");
  EXPECT_EQ(write(*store_, late.pointers()).inserted, 1u);
  auto older = open();
  prepare(*older, old_plan);
  Events later;
  Events::set_decimal(later.add(old_plan, "X", 4), "a", "4.5");
  EXPECT_EQ(write(*older, later.pointers()).inserted, 1u);

  const auto found = all(*newer, "m/v1");
  EXPECT_EQ(column(found, "a"), "1.5 null 3.5 4.5");
  EXPECT_EQ(column(found, "b"), "null new null null");
  EXPECT_EQ(column(found, "schema_ref"), "utp://m/1.0.0 utp://m/1.10.0 utp://m/1.0.0 utp://m/1.0.0");
}

TEST_P(StoreContract, RefusesAColumnOfAnotherType) {
  prepare(*store_, compile(schema_text("m", "1.0.0", R"("a":{"type":"number"})")));
  const Status status = store_->prepare(compile(schema_text("m", "1.1.0", R"("a":{"type":"string","maxLength":9})")));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnsupported);
  EXPECT_FALSE(status.error().retryable);
  for (const char* part : {"\"a\"", "decimal", "text", "utp://m/1.1.0"}) {
    EXPECT_NE(status.error().message.find(part), std::string::npos) << part << " in " << status.error().message;
  }
}

TEST_P(StoreContract, RefusesATableOfAnotherEventType) {
  prepare(*store_, compile(schema_text("m", "1.0.0", R"("a":{"type":"number"})", "", "shared")));
  const Status status = store_->prepare(compile(schema_text("n", "1.0.0", R"("a":{"type":"number"})", "", "shared")));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kAlreadyExists);
}

TEST_P(StoreContract, RefusesAFieldWithTheNameOfAHeaderColumn) {
  const Status status = store_->prepare(compile(schema_text("m", "1.0.0", R"("symbol":{"type":"string","maxLength":9})")));
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kUnsupported);
}

TEST_P(StoreContract, KeepsFieldsNamedLikeSqlWords) {
  const auto plan = compile(schema_text("select", "1.0.0", R"("order":{"type":"number"},"group":{"type":"integer"})"));
  prepare(*store_, plan);
  Events events;
  Events::set_decimal(events.add(plan, "X", 1), "order", "2.5");
  write(*store_, events.pointers());
  EXPECT_EQ(column(all(*store_, "select/v1"), "order"), "2.5");
}

TEST_P(StoreContract, KeepsEverythingWhenReopened) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  Events events;
  for (int i = 0; i < 100; ++i) events.add(plan, "X", i);
  write(*store_, events.pointers());
  store_.reset();
  store_ = open();
  EXPECT_EQ(all(*store_, "ticks/v1").size(), 100u);  // readable without a plan
  prepare(*store_, plan);
  EXPECT_EQ(write(*store_, events.pointers()).duplicates, 100u);
}

TEST_P(StoreContract, CountsItsRows) {
  const auto ticks = ticks_plan();
  const auto stories = stories_plan();
  prepare(*store_, ticks);
  prepare(*store_, stories);
  Events events;
  for (int i = 10; i < 20; ++i) events.add(ticks, "X", i);
  Events::set_texts(events.add(stories, "", 5), "tickers", {"A", "B"});
  write(*store_, events.pointers());
  write(*store_, events.pointers());
  const auto stats = store_->stats();
  ASSERT_TRUE(stats) << stats.error().message;
  ASSERT_EQ(stats->size(), 2u);
  EXPECT_EQ((*stats)[0].event_type, "stories/v1");
  EXPECT_EQ((*stats)[0].rows, 2u);
  EXPECT_EQ((*stats)[1].table, "ticks");
  EXPECT_EQ((*stats)[1].rows, 10u);
  EXPECT_EQ((*stats)[1].first_time.ns, 10);
  EXPECT_EQ((*stats)[1].last_time.ns, 19);
}

TEST_P(StoreContract, StoresABigShuffledBatchOnce) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr std::uint64_t kSeed = 7;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  Events events;
  std::vector<const Event*> pointers;
  for (int i = 0; i < 20'000; ++i) {
    Event& event = events.add(plan, "S" + std::to_string(random.below(5)), random.between(0, 1000), static_cast<std::uint64_t>(i));
    Events::set_text(event, "venue", "v");
    pointers.push_back(&event);
    if (random.chance(0.1)) pointers.push_back(&events[random.below(events.size())]);
  }
  const WriteResult result = write(*store_, pointers);
  EXPECT_EQ(result.inserted, 20'000u);
  EXPECT_EQ(result.duplicates, pointers.size() - 20'000u);
  const auto found = all(*store_, "ticks/v1");
  ASSERT_EQ(found.size(), 20'000u);
  for (std::size_t i = 1; i < found.size(); ++i) {
    ASSERT_LE(std::stoll(found[i - 1].at("event_time")), std::stoll(found[i].at("event_time")));
  }
}

TEST_P(StoreContract, CountsByEventType) {
  prepare(*store_, ticks_plan());
  prepare(*store_, stories_plan());
  Events events;
  events.add(ticks_plan(), "X", 1);
  Events::set_texts(events.add(stories_plan(), "", 1), "tickers", {"B", "A", "C"});
  write(*store_, {&events[0]});
  auto counts = write(*store_, events.pointers()).by_type;
  EXPECT_EQ(counts["ticks/v1"].inserted + counts["ticks/v1"].rows, 0u);
  EXPECT_EQ(counts["ticks/v1"].duplicates, 1u);
  EXPECT_EQ(counts["stories/v1"].inserted, 1u);
  EXPECT_EQ(counts["stories/v1"].rows, 3u);
  EXPECT_EQ(counts["stories/v1"].duplicates, 0u);
}

// Where a store has such a part; another says so and is done.
TEST_P(StoreContract, WritesWhatWasMadeReadyAsTheEventsThemselves) {
  const auto ticks = ticks_plan(), stories = stories_plan();
  std::unique_ptr<ReadyEvents> ready;
  Events events;
  for (int i = 0; i < 40; ++i) events.add(ticks, "T" + std::to_string(i % 7), 100 - i);
  for (int i = 0; i < 5; ++i) Events::set_texts(events.add(stories, "", i), "tickers", {"A", "B"});
  auto pointers = events.pointers();
  pointers.push_back(pointers[3]);
  prepare(*store_, ticks);
  EXPECT_FALSE(store_->make_ready(pointers, ready));  // the other table is not known
  prepare(*store_, stories);
  if (!store_->make_ready(pointers, ready)) return;
  write(*store_, {pointers[10], pointers[42]});
  const auto result = store_->write_ready(pointers, *ready);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, 43u);
  EXPECT_EQ(result->duplicates, 3u);
  EXPECT_EQ(all(*store_, "ticks/v1").size(), 40u);
  EXPECT_EQ(all(*store_, "stories/v1").size(), 10u);
  EXPECT_EQ(store_->write_ready(pointers, *ready)->duplicates, 46u);
  // The realm of a store is known to its server alone.
  Events more;
  more.add(ticks, "X", 1).envelope.realm = "other";
  more.add(ticks, "Y", 2);
  ASSERT_TRUE(store_->make_ready(more.pointers(), ready));
  const auto mixed = store_->write_ready(more.pointers(), *ready);
  ASSERT_TRUE(mixed) << mixed.error().message;
  EXPECT_EQ(mixed->inserted, 1u);
  ASSERT_EQ(mixed->errors.size(), 1u);
  EXPECT_EQ(mixed->errors[0].index, 0u);
}

TEST_P(StoreContract, MakesTheNextBatchReadyWhileItWritesOne) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr int kBatches = 40, kBatchEvents = 100;
  std::vector<Events> batches(kBatches);
  for (int i = 0; i < kBatches * kBatchEvents; ++i) batches[static_cast<std::size_t>(i / kBatchEvents)].add(plan, "S" + std::to_string(i % 31), i);
  std::unique_ptr<ReadyEvents> ready[2];
  bool made = store_->make_ready(batches[0].pointers(), ready[0]);
  for (std::size_t i = 0; i < kBatches; ++i) {
    const auto now = batches[i].pointers();
    std::thread writer([&, made] {
      const auto result = made ? store_->write_ready(now, *ready[i % 2]) : store_->write(now);
      ASSERT_TRUE(result) << result.error().message;
      EXPECT_EQ(result->inserted, kBatchEvents);
    });
    if (i + 1 < kBatches) made = store_->make_ready(batches[i + 1].pointers(), ready[(i + 1) % 2]);
    writer.join();
  }
  EXPECT_EQ(all(*store_, "ticks/v1").size(), kBatches * kBatchEvents);
}

TEST_P(StoreContract, LetsAReaderSeeWholeBatchesWhileItWrites) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  constexpr int kBatches = 50;
  constexpr int kBatchEvents = 20;
  auto reader = open();
  std::thread writer([&] {
    for (int batch = 0; batch < kBatches; ++batch) {
      Events events;
      for (int i = 0; i < kBatchEvents; ++i) events.add(plan, "X", batch * kBatchEvents + i);
      write(*store_, events.pointers());
    }
  });
  std::size_t seen = 0;
  while (seen < kBatches * kBatchEvents && !HasFailure()) {
    const std::size_t now = all(*reader, "ticks/v1").size();
    EXPECT_EQ(now % kBatchEvents, 0u);
    EXPECT_GE(now, seen);
    seen = now;
  }
  writer.join();
}

TEST_P(StoreContract, KeepsWholeCommittedBatchesWhenItsProcessIsKilled) {
  const auto plan = ticks_plan();
  prepare(*store_, plan);
  store_.reset();
  constexpr int kBatchEvents = 50;
  constexpr std::uint64_t kSeed = 99;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  int next_batch = 0;
  for (int round = 0; round < 3; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe(ends), 0);
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto store = harness_->open();
      if (!store || !(*store)->prepare(plan)) ::_exit(2);
      for (int batch = next_batch;; ++batch) {
        Events events;
        for (int i = 0; i < kBatchEvents; ++i) events.add(plan, "X", batch * kBatchEvents + i);
        if (!(*store)->write(events.pointers())) ::_exit(3);
        if (::write(ends[1], &batch, sizeof batch) != sizeof batch) ::_exit(4);
      }
    }
    ::close(ends[1]);
    const int kill_after = next_batch + static_cast<int>(random.between(3, 30));
    int committed = -1;
    while (::read(ends[0], &committed, sizeof committed) == sizeof committed && committed < kill_after) {
    }
    ::kill(child, SIGKILL);
    int rest = 0;
    while (::read(ends[0], &rest, sizeof rest) == sizeof rest) committed = rest;
    ::close(ends[0]);
    int state = 0;
    ::waitpid(child, &state, 0);
    ASSERT_TRUE(WIFSIGNALED(state)) << "the child ended by itself: " << state;
    auto store = open();
    const std::size_t found = all(*store, "ticks/v1").size();
    EXPECT_EQ(found % kBatchEvents, 0u);
    EXPECT_GE(found, static_cast<std::size_t>(committed + 1) * kBatchEvents);
    next_batch = static_cast<int>(found) / kBatchEvents;
  }
}

}  // namespace utp::store_test

#include "store/contract_as_of.h"
