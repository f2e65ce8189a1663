#include "drivers/store/postgres/postgres_store.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include <gtest/gtest.h>

#include "drivers/store/postgres/postgres_test_server.h"
#include "store/contract_events.h"

namespace utp {
namespace {

using postgres_test::PostgresServer;
using store_test::Events;

constexpr int kCleanBatches = 20;  // as the store has it

TEST(PostgresUrl, ShowsHostPortAndDatabaseOnly) {
  const auto options = parse_postgres_url("postgres://me:hunter%402@db.example:6000/market?sslmode=verify-full&connect_timeout=3");
  ASSERT_TRUE(options) << options.error().message;
  EXPECT_EQ(options->place, "db.example:6000/market");
  EXPECT_EQ(options->connect_timeout_ms, 3000);
  EXPECT_EQ(parse_postgres_url("postgresql://me@a,b:1/market")->place, "a,b:,1/market");
  EXPECT_EQ(parse_postgres_url("postgres://me@db.example/market")->place, "db.example:5432/market");
}

TEST(PostgresUrl, NamesTheMistakeAndNeverThePassword) {
  for (const char* url : {"postgres://me:hunter@2@db/market", "postgres://me:hunter/2@db/market", "postgres://me:hunter?2@db/market",
                          "postgres://me:hunter#2@db/market", "postgres://me:hunter%zz@db/market", "postgres://me:hunter@db:hunter/market",
                          "postgres://me:hunter@db/", "postgres://me:hunter@db/market?hunter=1", "postgres://me:hunter@db/market?connect_timeout=hunter",
                          "mysql://me:hunter@db/market"}) {
    const auto options = parse_postgres_url(url);
    ASSERT_FALSE(options) << url;
    EXPECT_EQ(options.error().code, Code::kInvalidArgument);
    EXPECT_EQ(options.error().message.find("hunter"), std::string::npos) << options.error().message;
    EXPECT_NE(options.error().message.find("postgres://user@host"), std::string::npos) << options.error().message;
  }
}

TEST(PostgresUrl, TakesThePasswordFromTheEnvironmentWhereItHasNone) {
  ::setenv("UTP_POSTGRES_PASSWORD", "from-outside", 1);
  EXPECT_EQ(parse_postgres_url("postgres://me@db/market")->password, "from-outside");
  EXPECT_EQ(parse_postgres_url("postgres://me:own@db/market")->password, "");
  EXPECT_EQ(parse_postgres_url("postgres://me@db/market?password=own")->password, "");
  ::unsetenv("UTP_POSTGRES_PASSWORD");
}

class PostgresStore : public ::testing::Test {
 protected:
  void SetUp() override {
    if (PostgresServer::missing()) GTEST_SKIP() << PostgresServer::kMissing;
    schema_ = server().new_schema();
  }
  static PostgresServer& server() { return PostgresServer::shared(); }
  PostgresStoreOptions options() const { return *parse_postgres_url(server().url(schema_)); }
  std::unique_ptr<Store> open() { return open(options()); }
  static std::unique_ptr<Store> open(const PostgresStoreOptions& options) {
    auto store = open_postgres_store(options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  std::unique_ptr<Store> open_prepared() {
    auto store = open();
    EXPECT_TRUE(store->prepare(plan_));
    return store;
  }
  // One batch of events with these times.
  static WriteResult write(Store& store, const std::shared_ptr<const Plan>& plan, std::initializer_list<std::int64_t> times) {
    Events events;
    for (const std::int64_t time : times) events.add(plan, "X", time).envelope.checksum = 1;
    auto result = store.write(events.pointers());
    EXPECT_TRUE(result) << result.error().message;
    return result ? *result : WriteResult{};
  }
  int direct_copies() const { return server().statements(schema_, "COPY \"ticks\""); }
  int staged_copies() const { return server().statements(schema_, "COPY pg_temp."); }

  std::string schema_;
  std::shared_ptr<const Plan> plan_ = store_test::ticks_plan();
};

TEST_F(PostgresStore, IsReadableWithPlainSql) {
  auto store = open_prepared();
  Events events;
  Event& event = events.add(plan_, "BTC-USD", 1'700'000'000'123'456'789);
  Events::set_decimal(event, "price", "64250.5");
  Events::set_texts(event, "codes", {"A", "B"});
  ASSERT_TRUE(store->write(events.pointers()));
  EXPECT_EQ(server().sql("SELECT concat_ws(' ', symbol, source_id, price, codes->>1, event_time AT TIME ZONE 'UTC', event_time_ns) FROM ticks", schema_),
            "BTC-USD venue.us1 64250.5 B 2023-11-14 22:13:20.123456 789");
  EXPECT_EQ(server().sql("SELECT replace(key::text, '-', '') FROM ticks", schema_), event.key().to_hex());
}

TEST_F(PostgresStore, KeepsEveryInstantExactly) {
  auto store = open_prepared();
  const std::vector<std::int64_t> times{INT64_MIN, INT64_MIN + 1, -1'000'001, -1'000'000, -1001, -1000, -999, -1, 0, 1, 999, 1000, INT64_MAX - 1, INT64_MAX};
  Events events;
  for (const std::int64_t time : times) {
    Event& event = events.add(plan_, "X", 0);
    event.envelope.event_time = event.envelope.ingest_time = {time};
    event.row.set(*plan_->column("at"), Timestamp{time});
  }
  EXPECT_EQ(store->write(events.pointers())->inserted, times.size());
  auto cursor = store->query({.event_type = "ticks/v1"});
  ASSERT_TRUE(cursor) << cursor.error().message;
  std::vector<Value> values;
  for (const std::int64_t time : times) {
    ASSERT_TRUE(*(*cursor)->next(values));
    int seen = 0;
    for (const Value& value : values) {
      if (value.kind != Kind::kTime) continue;
      EXPECT_EQ(value.as_time().ns, time);
      ++seen;
    }
    EXPECT_EQ(seen, 3);
  }
  EXPECT_FALSE(*(*cursor)->next(values));
  // A boundary between two nanoseconds of one microsecond.
  const auto count = [&](Query query) {
    query.event_type = "ticks/v1";
    auto some = store->query(query);
    int rows = 0;
    while (some && *(*some)->next(values)) ++rows;
    return rows;
  };
  EXPECT_EQ(count({.from = Timestamp{-1000}, .to = Timestamp{-1}}), 2);
  EXPECT_EQ(count({.from = Timestamp{-1}, .to = Timestamp{1}}), 2);
  EXPECT_EQ(count({.from = Timestamp{INT64_MAX}}), 1);
  EXPECT_EQ((*store->stats())[0].first_time.ns, INT64_MIN);
  EXPECT_EQ((*store->stats())[0].last_time.ns, INT64_MAX);
}

TEST_F(PostgresStore, CopiesStraightAfterCleanBatchesAndStagesAfterADuplicate) {
  auto store = open_prepared();
  std::int64_t time = 0;
  const auto clean = [&] { EXPECT_EQ(write(*store, plan_, {++time}).inserted, 1u); };
  for (int i = 0; i < kCleanBatches; ++i) clean();
  EXPECT_EQ(staged_copies(), kCleanBatches);  // a new connection may follow a redelivery
  EXPECT_EQ(direct_copies(), 0);
  for (int i = 0; i < 3; ++i) clean();
  EXPECT_EQ(staged_copies(), kCleanBatches);
  EXPECT_EQ(direct_copies(), 3);

  const WriteResult mixed = write(*store, plan_, {time, 1000, time - 1});
  EXPECT_EQ(mixed.inserted, 1u);
  EXPECT_EQ(mixed.duplicates, 2u);
  EXPECT_EQ(direct_copies(), 4);  // it was tried, and
  EXPECT_EQ(staged_copies(), kCleanBatches + 1);
  EXPECT_EQ(mixed.by_type.at(plan_->event_type()).inserted, 1u);
  EXPECT_EQ(mixed.by_type.at(plan_->event_type()).duplicates, 2u);

  for (int i = 0; i < kCleanBatches - 1; ++i) clean();
  write(*store, plan_, {1});  // one short of enough: from the beginning
  for (int i = 0; i < kCleanBatches; ++i) clean();
  EXPECT_EQ(direct_copies(), 4);
  clean();
  EXPECT_EQ(direct_copies(), 5);
  EXPECT_EQ(write(*store, plan_, {2000, 2000}).duplicates, 1u);  // within the batch: found before
  EXPECT_EQ(direct_copies(), 6);
}

TEST_F(PostgresStore, NamesARowThatPostgresCannotHaveAndStoresTheRest) {
  auto store = open_prepared();
  for (int batch = 0; batch < kCleanBatches + 2; ++batch) {  // staged, then straight
    Events events;
    const std::int64_t base = batch * 10;
    events.add(plan_, "A", base);
    Events::set_text(events.add(plan_, "B", base + 1), "venue", std::string_view("a\0b", 3));
    Events::set_text(events.add(plan_, "C", base + 2), "venue", "\xC3\x28");
    events.add(plan_, "D", base + 3).row.set(*plan_->column("count"), *Decimal::parse("1.5"));
    events.add(plan_, std::string_view("E\0", 2), base + 4);
    events.add(plan_, "F", base + 5);
    const auto result = store->write(events.pointers());
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->inserted, 2u);
    ASSERT_EQ(result->errors.size(), 4u);
    const char* columns[] = {"venue", "venue", "count", "symbol"};
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(result->errors[i].index, i + 1);
      EXPECT_EQ(result->errors[i].error.code, Code::kInvalidArgument);
      EXPECT_NE(result->errors[i].error.message.find(std::string("\"") + columns[i] + "\""), std::string::npos) << result->errors[i].error.message;
    }
  }
  EXPECT_EQ(server().sql("SELECT count(*) FROM ticks", schema_), std::to_string(2 * (kCleanBatches + 2)));
  EXPECT_GT(direct_copies(), 0);
}

TEST_F(PostgresStore, FindsTheRowsThatAConstraintRefuses) {
  auto store = open_prepared();
  server().sql("ALTER TABLE ticks ADD CHECK (symbol <> 'bad'), ADD UNIQUE (event_time, venue)", schema_);
  for (int batch = 0; batch < kCleanBatches + 2; ++batch) {
    Events events;
    for (int i = 0; i < 40; ++i) events.add(plan_, i == 7 || i == 39 ? "bad" : "good", batch * 100 + i);
    const auto result = store->write(events.pointers());
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->inserted, 38u);
    ASSERT_EQ(result->errors.size(), 2u);
    EXPECT_EQ(result->errors[0].index, 7u);
    EXPECT_EQ(result->errors[1].index, 39u);
    EXPECT_NE(result->errors[1].error.message.find("check constraint"), std::string::npos) << result->errors[1].error.message;
  }
  Events twice;  // a duplicate by somebody else's key is no duplicate of the event
  Events::set_text(twice.add(plan_, "X", -1), "venue", "v");
  Events::set_text(twice.add(plan_, "X", -2), "venue", "v");
  const auto result = store->write(twice.pointers());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, 1u);
  EXPECT_EQ(result->errors.size(), 1u);
}

TEST_F(PostgresStore, StoresNoPartOfAnExplodedEventThatFails) {
  auto store = open();
  const auto stories = store_test::stories_plan();
  ASSERT_TRUE(store->prepare(stories));
  server().sql("ALTER TABLE stories ADD CHECK (tickers <> 'B')", schema_);
  Events events;
  Events::set_texts(events.add(stories, "", 1), "tickers", {"A", "B"});
  Events::set_texts(events.add(stories, "", 2), "tickers", {"A", "C"});
  Events::set_texts(events.add(stories, "", 3), "tickers", {"A", std::string("\0", 1)});
  const auto result = store->write(events.pointers());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, 1u);
  EXPECT_EQ(result->errors.size(), 2u);
  EXPECT_EQ(server().sql("SELECT tickers FROM stories ORDER BY row_no", schema_), "A C");
}

TEST_F(PostgresStore, ReadsWithSeveralCursorsWhileItWrites) {
  auto store = open_prepared();
  Events events;
  for (int i = 0; i < 100; ++i) events.add(plan_, "X", i);
  ASSERT_TRUE(store->write(events.pointers()));
  auto first = store->query({.event_type = "ticks/v1"});
  auto second = store->query({.event_type = "ticks/v1", .newest_first = true});
  ASSERT_TRUE(first && second);
  std::vector<Value> values;
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(*(*first)->next(values));
    EXPECT_EQ(values[0].as_time().ns, i);
    ASSERT_TRUE(*(*second)->next(values));
    EXPECT_EQ(values[0].as_time().ns, 99 - i);
    if (i % 10 == 0) write(*store, plan_, {1000 + i});
  }
  EXPECT_FALSE(*(*first)->next(values));  // what was written since is not in it
  EXPECT_FALSE(*(*first)->next(values));
  store.reset();
  EXPECT_TRUE((*second)->next(values));
}

TEST_F(PostgresStore, TakesTheSameKeysInOppositeOrderFromTwoWriters) {
  constexpr int kEvents = 400;
  Events events;
  for (int i = 0; i < kEvents; ++i) events.add(plan_, "S" + std::to_string(i % 7), i / 4);
  auto forward = events.pointers();
  std::vector<const Event*> backward(forward.rbegin(), forward.rend());
  auto one = open_prepared();
  auto two = open_prepared();
  for (int i = 0; i < kCleanBatches; ++i) {  // the first copies straight from now on, the second stages
    write(*one, plan_, {100'000 + i});
  }
  std::size_t inserted[2] = {0, 0};
  const auto run = [](Store& store, std::span<const Event* const> all, std::size_t& count) {
    for (std::size_t at = 0; at < all.size(); at += 50) {
      const auto result = store.write(all.subspan(at, 50));
      EXPECT_TRUE(result) << result.error().message;
      if (result) count += result->inserted;
    }
  };
  std::thread other([&] { run(*two, backward, inserted[1]); });
  run(*one, forward, inserted[0]);
  other.join();
  EXPECT_EQ(inserted[0] + inserted[1], static_cast<std::size_t>(kEvents));
  EXPECT_EQ(server().sql("SELECT count(*) FROM ticks WHERE symbol <> 'X'", schema_), std::to_string(kEvents));
}

TEST_F(PostgresStore, RepeatsABatchThatADeadlockEnded) {
  { auto store = open_prepared(); }
  Events events;
  events.add(plan_, "X", 1000);
  events.add(plan_, "X", 2000);
  // Who waits for three seconds looks for a deadlock: the store does, the person does not.
  auto store = open(*parse_postgres_url(server().url(schema_) + "&options=-csearch_path%3D" + schema_ + "%20-cdeadlock_timeout%3D3s"));
  ASSERT_TRUE(store->prepare(plan_));
  ASSERT_TRUE(store->write(events.pointers()));
  server().sql("CREATE TABLE kept AS SELECT * FROM ticks; DELETE FROM ticks", schema_);
  PGconn* person = PQconnectdb(server().url(schema_).c_str());
  PQclear(PQexec(person, "SET deadlock_timeout = '10min'; BEGIN; INSERT INTO ticks SELECT * FROM kept ORDER BY event_time DESC LIMIT 1"));
  std::thread closing([&] {
    while (server().sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND application_name = '" + schema_ + "'") == "0") {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    PQclear(PQexec(person, "INSERT INTO ticks SELECT * FROM kept ORDER BY event_time LIMIT 1"));
    PQclear(PQexec(person, "COMMIT"));
  });
  const auto result = store->write(events.pointers());
  closing.join();
  PQfinish(person);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->duplicates, 2u);
  EXPECT_GT(server().count_in_log(schema_ + "|ERROR:  deadlock detected"), 0);
}

TEST_F(PostgresStore, MigratesOnceWhenManyStart) {
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      auto store = open_postgres_store(options());
      ASSERT_TRUE(store) << store.error().message;
      const Status status = (*store)->prepare(plan_);
      ASSERT_TRUE(status) << status.error().message;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(server().statements(schema_, "CREATE TABLE \"ticks\""), 1);
}

TEST_F(PostgresStore, RefusesATableThatAPersonMade) {
  auto store = open();
  server().sql("CREATE TABLE ticks (mine integer)", schema_);
  const Status status = store->prepare(plan_);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kAlreadyExists);
}

TEST_F(PostgresStore, RefusesANewerCatalogueAnotherRealmAndASchemaThatIsNotThere) {
  {
    auto store = open_prepared();
    write(*store, plan_, {1});
  }
  PostgresStoreOptions wanted = options();
  wanted.realm = "other";
  EXPECT_EQ(open_postgres_store(wanted).error().code, Code::kInvalidArgument);
  wanted.realm = "test";
  EXPECT_NE(open(wanted), nullptr);
  server().sql("INSERT INTO utp_migrations (version, name) VALUES (99, 'of tomorrow')", schema_);
  EXPECT_EQ(open_postgres_store(options()).error().code, Code::kUnsupported);
  const auto nowhere = open_postgres_store(*parse_postgres_url(server().url("nowhere")));
  ASSERT_FALSE(nowhere);
  EXPECT_EQ(nowhere.error().code, Code::kNotFound);
  EXPECT_NE(nowhere.error().message.find("search path"), std::string::npos) << nowhere.error().message;
}

TEST_F(PostgresStore, ReadsOnlyWhenAskedTo) {
  PostgresStoreOptions reading = options();
  reading.read_only = true;
  EXPECT_EQ(open_postgres_store(reading).error().code, Code::kNotFound);
  {
    auto store = open_prepared();
    write(*store, plan_, {1});
  }
  auto store = open(reading);
  std::vector<Value> values;
  EXPECT_TRUE(*(*store->query({.event_type = "ticks/v1"}))->next(values));
  Events events;
  events.add(plan_, "X", 2);
  EXPECT_EQ(store->write(events.pointers()).error().code, Code::kPermission);
}

TEST_F(PostgresStore, NeverShowsThePassword) {
  server().sql("DO $$ BEGIN CREATE ROLE guarded LOGIN PASSWORD 'right-secret'; EXCEPTION WHEN duplicate_object THEN END $$");
  server().sql("GRANT USAGE ON SCHEMA " + schema_ + " TO guarded");
  const auto wrong = open_postgres_store(*parse_postgres_url(server().url(schema_, "guarded", "wrong-secret")));
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, Code::kPermission);
  EXPECT_EQ(wrong.error().message.find("secret"), std::string::npos) << wrong.error().message;
  EXPECT_NE(wrong.error().message.find("127.0.0.1:"), std::string::npos) << wrong.error().message;
  const auto none = open_postgres_store(*parse_postgres_url(server().url(schema_, "guarded")));
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, Code::kPermission) << none.error().message;
  // The right one, from the environment: in, but without the right to make tables.
  ::setenv("UTP_POSTGRES_PASSWORD", "right-secret", 1);
  const auto in = open_postgres_store(*parse_postgres_url(server().url(schema_, "guarded")));
  ::unsetenv("UTP_POSTGRES_PASSWORD");
  ASSERT_FALSE(in);
  EXPECT_EQ(in.error().code, Code::kPermission);
  EXPECT_NE(in.error().message.find("42501"), std::string::npos) << in.error().message;
  EXPECT_EQ(in.error().message.find("secret"), std::string::npos) << in.error().message;
}

TEST_F(PostgresStore, WritesWithTheRightsOfAWriterAlone) {
  { auto store = open_prepared(); }
  server().sql("DO $$ BEGIN CREATE ROLE plain LOGIN; EXCEPTION WHEN duplicate_object THEN END $$");
  server().sql("GRANT USAGE ON SCHEMA " + schema_ + " TO plain; GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA " + schema_ +
               " TO plain; GRANT EXECUTE ON FUNCTION utp_make_partition TO plain", schema_);
  auto store = open(*parse_postgres_url(server().url(schema_, "plain")));
  ASSERT_TRUE(store->prepare(plan_));
  EXPECT_EQ(write(*store, plan_, {1, 2}).inserted, 2u);
  EXPECT_EQ(write(*store, plan_, {1, 2}).duplicates, 2u);
}

TEST_F(PostgresStore, QueriesWithoutSortingTheTable) {
  auto store = open_prepared();
  Events events;
  for (int i = 0; i < 20'000; ++i) events.add(plan_, "X", i * 1'000'000ll);
  ASSERT_TRUE(store->write(events.pointers()));
  server().sql("ANALYZE ticks", schema_);
  const std::string plan = server().sql("EXPLAIN DECLARE c CURSOR FOR SELECT * FROM ticks WHERE event_time >= '1970-01-01 00:00:05+0' AND (event_time, event_time_ns) >= "
                                        "('1970-01-01 00:00:05+0', 5) ORDER BY event_time, event_time_ns, symbol COLLATE \"C\", sequence, key",
                                        schema_);
  EXPECT_NE(plan.find("Incremental Sort"), std::string::npos) << plan;
  EXPECT_NE(plan.find("Index Scan using ticks_p_before_pkey"), std::string::npos) << plan;
}

}  // namespace
}  // namespace utp
