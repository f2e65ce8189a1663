#include "drivers/store/sqlite/sqlite_store.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "schema/registry.h"
#include "store/contract_events.h"
#include "store/stored_events.h"

namespace utp {
namespace {

using store_test::Events;

class SqliteStore : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "utp_sqlite_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    folder_ = name;
    path_ = (folder_ / "store.db").string();
  }
  void TearDown() override {
    ::chmod(folder_.c_str(), 0700);
    std::filesystem::remove_all(folder_);
  }

  SqliteStoreOptions options() const { return {.path = path_, .busy_timeout_ms = 10}; }
  std::unique_ptr<Store> open() { return open(options()); }
  static std::unique_ptr<Store> open(const SqliteStoreOptions& options) {
    auto store = open_sqlite_store(options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }

  // Runs SQL the way a person with the sqlite3 shell would; the first column of all rows.
  std::string shell(const std::string& sql) {
    sqlite3* database = nullptr;
    EXPECT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
    std::string out;
    char* message = nullptr;
    sqlite3_exec(database, sql.c_str(),
                 [](void* text, int, char** values, char**) {
                   auto& all = *static_cast<std::string*>(text);
                   all += (all.empty() ? "" : " ") + std::string(values[0] == nullptr ? "null" : values[0]);
                   return 0;
                 },
                 &out, &message);
    EXPECT_EQ(message, nullptr) << message;
    sqlite3_free(message);
    sqlite3_close(database);
    return out;
  }

  std::filesystem::path folder_;
  std::string path_;
  std::shared_ptr<const Plan> plan_ = store_test::ticks_plan();
};

TEST_F(SqliteStore, IsReadableWithPlainSql) {
  auto store = open();
  ASSERT_TRUE(store->prepare(plan_));
  Events events;
  Events::set_decimal(events.add(plan_, "BTC-USD", 1'700'000'000'000'000'000), "price", "64250.5");
  ASSERT_TRUE(store->write(events.pointers()));
  EXPECT_EQ(shell("SELECT symbol || ' ' || source_id || ' ' || price || ' ' || datetime(event_time / 1000000000, 'unixepoch') FROM ticks"),
            "BTC-USD venue.us1 64250.5 2023-11-14 22:13:20");
  EXPECT_EQ(shell("PRAGMA journal_mode"), "wal");
}

TEST_F(SqliteStore, TellsThatItIsLockedAndGoesOnAfterwards) {
  auto store = open();
  ASSERT_TRUE(store->prepare(plan_));
  Events events;
  events.add(plan_, "X", 1);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const auto locked = store->write(events.pointers());
  ASSERT_FALSE(locked);
  EXPECT_EQ(locked.error().code, Code::kUnavailable);
  EXPECT_TRUE(locked.error().retryable);
  EXPECT_NE(locked.error().message.find(path_), std::string::npos) << locked.error().message;
  sqlite3_close(other);
  EXPECT_EQ(store->write(events.pointers())->inserted, 1u);
}

TEST_F(SqliteStore, RollsBackWhenItsSizeLimitIsReached) {
  SqliteStoreOptions small = options();
  small.size_bytes_max = 400'000;
  auto store = open(small);
  ASSERT_TRUE(store->prepare(plan_));
  std::size_t stored = 0;
  std::optional<Error> error;
  for (int batch = 0; batch < 1000 && !error; ++batch) {
    Events events;
    for (int i = 0; i < 100; ++i) Events::set_text(events.add(plan_, "X", batch * 100 + i), "venue", std::string(60, 'v'));
    auto result = store->write(events.pointers());
    if (result) {
      stored += result->inserted;
    } else {
      error = result.error();
    }
  }
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Code::kFull);
  EXPECT_TRUE(error->retryable);
  EXPECT_EQ(shell("SELECT count(*) FROM ticks"), std::to_string(stored));
  EXPECT_EQ((*store->stats())[0].rows, stored);
  store.reset();
  store = open();  // without the limit
  ASSERT_TRUE(store->prepare(plan_));
  Events events;
  events.add(plan_, "Y", -1);
  EXPECT_EQ(store->write(events.pointers())->inserted, 1u);
}

// A file size limit of the process fails writes the way a full disk or quota does.
TEST_F(SqliteStore, CallsAnExhaustedDiskFullAndLosesNothing) {
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto store = open_sqlite_store(options());
    if (!store || !(*store)->prepare(plan_)) ::_exit(2);
    const rlimit limit{300'000, 300'000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    for (int batch = 0; batch < 100; ++batch) {
      Events events;
      for (int i = 0; i < 200; ++i) events.add(plan_, "X", batch * 200 + i);
      const auto result = (*store)->write(events.pointers());
      if (result) continue;
      std::ofstream(folder_ / "message") << result.error().message;
      ::_exit(batch > 0 && result.error().code == Code::kFull && result.error().retryable ? 0 : 3);
    }
    ::_exit(4);
  }
  int state = 0;
  ::waitpid(child, &state, 0);
  std::string message;
  std::getline(std::ifstream(folder_ / "message"), message);
  EXPECT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << state << " " << message;
  auto store = open();
  ASSERT_TRUE(store->prepare(plan_));
  EXPECT_EQ((*store->stats())[0].rows % 200, 0u);
  EXPECT_EQ(shell("SELECT count(*) FROM ticks"), std::to_string((*store->stats())[0].rows));
  EXPECT_EQ(shell("PRAGMA integrity_check"), "ok");
}

TEST_F(SqliteStore, RefusesAFileThatIsNoDatabase) {
  std::ofstream(path_) << std::string(5000, 'x');
  const auto store = open_sqlite_store(options());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kCorrupt);
  EXPECT_FALSE(store.error().retryable);
  EXPECT_NE(store.error().message.find(path_), std::string::npos);
}

TEST_F(SqliteStore, LeavesTheDatabaseOfAnotherProgramAlone) {
  shell("CREATE TABLE accounts (a); INSERT INTO accounts VALUES (1)");
  const auto store = open_sqlite_store(options());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kCorrupt);
  EXPECT_EQ(shell("SELECT name FROM sqlite_schema"), "accounts");
  EXPECT_EQ(shell("PRAGMA journal_mode"), "delete");
}

TEST_F(SqliteStore, RefusesAFileOfANewerFormat) {
  open().reset();
  shell("PRAGMA user_version=99");
  const auto store = open_sqlite_store(options());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kUnsupported);
  EXPECT_NE(store.error().message.find("99"), std::string::npos);
}

TEST_F(SqliteStore, RefusesAtOnceToBeTheStoreOfAnotherRealm) {
  SqliteStoreOptions wanted = options();
  wanted.realm = "other";
  {
    auto store = open(wanted);  // nothing is in it: anybody's
    ASSERT_TRUE(store->prepare(plan_));
    Events events;
    events.add(plan_, "X", 1);
    ASSERT_TRUE(store->write(events.pointers()));
    wanted.realm = std::string(events[0].envelope.realm);
  }
  EXPECT_NE(open(wanted), nullptr);
  wanted.realm = "other";
  const auto store = open_sqlite_store(wanted);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kInvalidArgument);
  EXPECT_NE(store.error().message.find(path_), std::string::npos) << store.error().message;
}

TEST_F(SqliteStore, RefusesATableThatAPersonMade) {
  auto store = open();
  shell("CREATE TABLE ticks (mine)");
  const Status status = store->prepare(plan_);
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kAlreadyExists);
}

TEST_F(SqliteStore, SaysThatTheFolderIsMissing) {
  const auto store = open_sqlite_store({.path = (folder_ / "no" / "store.db").string()});
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kPermission);
  EXPECT_NE(store.error().message.find("folder"), std::string::npos) << store.error().message;
}

TEST_F(SqliteStore, SaysThatTheFolderMayNotBeWritten) {
  if (::geteuid() == 0) GTEST_SKIP() << "root may write everywhere";
  ::chmod(folder_.c_str(), 0500);
  const auto store = open_sqlite_store(options());
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kPermission);
}

TEST_F(SqliteStore, ReportsDamageInsteadOfRows) {
  {
    auto store = open();
    ASSERT_TRUE(store->prepare(plan_));
    Events events;
    for (int i = 0; i < 5000; ++i) events.add(plan_, "X", i);
    ASSERT_TRUE(store->write(events.pointers()));
  }
  shell("PRAGMA wal_checkpoint(TRUNCATE)");
  {
    std::fstream file(path_, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(8192 * 7);
    for (int page = 7; page < 60; ++page) file << std::string(8192, '\x5A');
  }
  auto store = open();
  auto cursor = store->query({.event_type = "ticks/v1"});
  std::optional<Error> error;
  std::vector<Value> values;
  if (!cursor) error = cursor.error();
  while (!error) {
    const auto more = (*cursor)->next(values);
    if (!more) error = more.error();
    if (more && !*more) break;
  }
  ASSERT_TRUE(error);
  EXPECT_EQ(error->code, Code::kCorrupt);
}

TEST_F(SqliteStore, ReadsOnlyWhenAskedTo) {
  EXPECT_EQ(open_sqlite_store({.path = path_, .read_only = true}).error().code, Code::kNotFound);
  {
    auto store = open();
    ASSERT_TRUE(store->prepare(plan_));
    Events events;
    events.add(plan_, "X", 1);
    ASSERT_TRUE(store->write(events.pointers()));
  }
  auto store = open({.path = path_, .read_only = true});
  ASSERT_NE(store, nullptr);
  std::vector<Value> values;
  auto cursor = store->query({.event_type = "ticks/v1"});
  ASSERT_TRUE(cursor) << cursor.error().message;
  EXPECT_TRUE(*(*cursor)->next(values));
  Events events;
  events.add(plan_, "X", 2);
  const auto written = store->write(events.pointers());
  ASSERT_FALSE(written);
  EXPECT_EQ(written.error().code, Code::kPermission);
}

TEST_F(SqliteStore, NamesARowThatATypeRefuses) {
  auto store = open();
  ASSERT_TRUE(store->prepare(plan_));
  Events events;
  events.add(plan_, "A", 1);
  events.add(plan_, "B", 2).row.set(*plan_->column("count"), *Decimal::parse("1.5"));  // a decimal in an integer column
  events.add(plan_, "C", 3);
  const auto result = store->write(events.pointers());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, 2u);
  ASSERT_EQ(result->errors.size(), 1u);
  EXPECT_EQ(result->errors[0].index, 1u);
  EXPECT_NE(result->errors[0].error.message.find("count"), std::string::npos) << result->errors[0].error.message;
}

TEST_F(SqliteStore, StoresNoPartOfAnExplodedEventThatFails) {
  auto store = open();
  const auto stories = store_test::stories_plan();
  ASSERT_TRUE(store->prepare(stories));
  Events events;
  Events::set_texts(events.add(stories, "", 1), "tickers", {"A", "B"});
  events[0].row.push(Value::of(*Decimal::parse("1.5")));
  shell("CREATE TRIGGER no_b BEFORE INSERT ON stories WHEN new.tickers = 'B' BEGIN SELECT raise(ABORT, 'no B here'); END");
  Events::set_texts(events.add(stories, "", 2), "tickers", {"A", "C"});
  const auto result = store->write(events.pointers());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, 1u);
  ASSERT_EQ(result->errors.size(), 1u);
  EXPECT_EQ(shell("SELECT group_concat(tickers) FROM stories"), "A,C");
  EXPECT_EQ((*store->stats())[0].rows, 2u);
}

TEST_F(SqliteStore, QueriesWithoutSortingTheTable) {
  auto store = open();
  ASSERT_TRUE(store->prepare(plan_));
  // Memory stays flat because the table is in time order already: only rows of one instant are sorted.
  EXPECT_NE(shell("EXPLAIN QUERY PLAN SELECT * FROM ticks WHERE event_time >= 5 ORDER BY event_time, symbol, sequence, key"), "");
  sqlite3* database = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &database), SQLITE_OK);
  std::string plan;
  sqlite3_exec(database, "EXPLAIN QUERY PLAN SELECT * FROM ticks WHERE event_time >= 5 ORDER BY event_time, symbol, sequence, key",
               [](void* text, int, char** values, char**) {
                 *static_cast<std::string*>(text) += std::string(values[3]) + ";";
                 return 0;
               },
               &plan, nullptr);
  sqlite3_close(database);
  EXPECT_NE(plan.find("SEARCH ticks USING PRIMARY KEY"), std::string::npos) << plan;
  EXPECT_NE(plan.find("RIGHT PART OF ORDER BY"), std::string::npos) << plan;
}

TEST_F(SqliteStore, ARowThatSomebodyChangedIsToldFromTheOneThatWasStored) {
  auto registry = Registry::builtin();
  ASSERT_TRUE(registry);
  const auto plan = registry->by_event_type("trades/v2");
  auto store = open();
  ASSERT_TRUE(store->prepare(plan));
  Events events;
  for (int i = 0; i < 3; ++i) {
    Event& event = events.add(plan, "X", 1'000 + i);
    Events::set_decimal(event, "price", "1.5");
    Events::set_decimal(event, "size", "2");
    Events::set_text(event, "side", "buy");
    std::string payload;
    plan->write(event.row, payload);
    event.envelope.checksum = hash64(payload);
  }
  ASSERT_TRUE(store->write(events.pointers()));
  shell("UPDATE trades SET price = 1.6 WHERE event_time = 1001; UPDATE trades SET symbol = 'Y' WHERE event_time = 1002");
  auto stored = StoredEvents::open(*store, *registry, {});
  ASSERT_TRUE(stored) << stored.error().message;
  std::vector<std::string> found;
  for (;;) {
    const auto next = (*stored)->next();
    ASSERT_TRUE(next) << next.error().message;
    if (*next == nullptr) break;
    found.push_back(!(*next)->refused.empty() ? (*next)->refused : (*next)->payload_checksum ? "other bytes" : "the same");
  }
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0], "the same");
  EXPECT_EQ(found[1], "other bytes");
  EXPECT_NE(found[2].find("changed after they were stored"), std::string::npos) << found[2];
}

TEST_F(SqliteStore, AReplacementWaitsForAnotherProgramAsWritesDo) {
  auto store = open();
  ASSERT_TRUE(store->prepare(plan_));
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const ReplaceRange range{{"ticks/v1"}, "venue.us1", {0}, {10}};
  const auto locked = store->begin_replace(range);
  ASSERT_FALSE(locked);
  EXPECT_EQ(locked.error().code, Code::kUnavailable);
  EXPECT_TRUE(locked.error().retryable);
  sqlite3_exec(other, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(other);
  auto replacement = store->begin_replace(range);
  ASSERT_TRUE(replacement) << replacement.error().message;
  Events events;
  events.add(plan_, "X", 1);
  const auto waits = store->write(events.pointers());  // the store itself is one of the others
  ASSERT_FALSE(waits);
  EXPECT_TRUE(waits.error().retryable);
  replacement->reset();
  EXPECT_TRUE(store->write(events.pointers()));
}

}  // namespace
}  // namespace utp
