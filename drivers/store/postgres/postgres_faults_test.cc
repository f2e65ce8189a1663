// What happens when the server dies, hangs, refuses or is full. These tests have a server of their own.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <set>
#include <thread>

#include <gtest/gtest.h>

#include "core/random.h"
#include "drivers/store/postgres/postgres_connection.h"
#include "drivers/store/postgres/postgres_store.h"
#include "drivers/store/postgres/postgres_test_server.h"
#include "store/contract_events.h"

namespace utp {
namespace {

using postgres_test::PostgresServer;
using store_test::Events;

class PostgresFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (PostgresServer::missing()) GTEST_SKIP() << PostgresServer::kMissing;
    schema_ = server().new_schema();
    store_ = open();
    ASSERT_NE(store_, nullptr);
    ASSERT_TRUE(store_->prepare(plan_));
  }
  static PostgresServer& server() {
    static PostgresServer server;
    return server;
  }
  PostgresStoreOptions options() const { return *parse_postgres_url(server().url(schema_)); }
  std::unique_ptr<Store> open() { return open(options()); }
  std::unique_ptr<Store> open(const PostgresStoreOptions& options) {
    auto store = open_postgres_store(options);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  static constexpr int kManyRows = 5000;
  void write_more_than_the_network_holds() {
    Events events;
    const std::vector<std::string> codes(100, std::string(32, 'x'));
    for (int i = 0; i < kManyRows; ++i) Events::set_texts(events.add(plan_, "X", i), "codes", codes);
    ASSERT_TRUE(store_->write(events.pointers()));
  }
  // For tests that wait until a limit has passed.
  void be_impatient() {
    PostgresStoreOptions impatient = options();
    impatient.connect_timeout_ms = 3000;
    impatient.statement_timeout_ms = 3000;
    impatient.answer_timeout_ms = 500;
    store_ = open(impatient);
    ASSERT_NE(store_, nullptr);
    ASSERT_TRUE(store_->prepare(plan_));
  }
  // As a persister does: until it is written.
  WriteResult write(const Events& events) {
    for (;;) {
      auto result = store_->write(events.pointers());
      if (result) return std::move(*result);
      expect_retryable(result.error());
      if (HasFailure()) return {};
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
  static void expect_retryable(const Error& error) {
    EXPECT_EQ(error.code, Code::kUnavailable) << error.message;
    EXPECT_TRUE(error.retryable) << error.message;
    EXPECT_NE(error.message.find("127.0.0.1:"), std::string::npos) << error.message;
  }
  std::string rows() const { return server().sql("SELECT count(*) FROM ticks", schema_); }

  std::string schema_;
  std::shared_ptr<const Plan> plan_ = store_test::ticks_plan();
  std::unique_ptr<Store> store_;
};

TEST_F(PostgresFaults, ConnectsAgainWhenTheServerDiedBetweenWrites) {
  Events events;
  for (int i = 0; i < 10; ++i) events.add(plan_, "X", i);
  EXPECT_EQ(store_->write(events.pointers())->inserted, 10u);
  server().crash();
  const auto lost = store_->write(events.pointers());
  ASSERT_FALSE(lost);
  expect_retryable(lost.error());
  const auto away = store_->write(events.pointers());
  ASSERT_FALSE(away);
  expect_retryable(away.error());
  const auto unread = store_->query({.event_type = "ticks/v1"});
  ASSERT_FALSE(unread);
  expect_retryable(unread.error());
  server().start();
  events.add(plan_, "X", 10);
  const auto result = store_->write(events.pointers());
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->inserted, 1u);
  EXPECT_EQ(result->duplicates, 10u);
}

TEST_F(PostgresFaults, LosesAndRepeatsNothingWhenTheServerDiesInTheMiddleOfWrites) {
  constexpr int kBatches = 400, kBatchEvents = 50, kCrashes = 6;
  constexpr std::uint64_t kSeed = 5;
  SCOPED_TRACE("seed " + std::to_string(kSeed));
  Random random(kSeed);
  std::atomic<int> written{0};
  std::atomic<bool> failed{false};
  std::thread writer([&] {
    for (int batch = 0; batch < kBatches && !failed; ++batch) {
      Events events;
      for (int i = 0; i < kBatchEvents; ++i) Events::set_text(events.add(plan_, "X", batch * kBatchEvents + i), "venue", std::string(60, 'v'));
      const WriteResult result = write(events);
      EXPECT_EQ(result.inserted + result.duplicates, static_cast<std::size_t>(kBatchEvents));
      EXPECT_TRUE(result.errors.empty());
      if ((failed = HasFailure())) return;
      ++written;
    }
  });
  for (int crash = 1; crash <= kCrashes && !failed; ++crash) {
    while (written < crash * kBatches / (kCrashes + 1) && !failed) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::microseconds(random.between(0, 5000)));  // anywhere in a batch
    server().crash();
    server().start();
    ASSERT_TRUE(server().is_running());
  }
  writer.join();
  EXPECT_EQ(rows(), std::to_string(kBatches * kBatchEvents));
  EXPECT_EQ(server().sql("SELECT count(DISTINCT key) FROM ticks", schema_), std::to_string(kBatches * kBatchEvents));
}

TEST_F(PostgresFaults, TakesAServerThatHangsForGone) {
  be_impatient();
  Events events;
  events.add(plan_, "X", 1);
  write(events);
  server().freeze();
  for (int i = 0; i < 2; ++i) {  // a statement, then a connection
    const auto started = std::chrono::steady_clock::now();
    const auto result = store_->write(events.pointers());
    ASSERT_FALSE(result);
    expect_retryable(result.error());
    EXPECT_NE(result.error().message.find("ms"), std::string::npos) << result.error().message;
    EXPECT_GE(std::chrono::steady_clock::now() - started, std::chrono::milliseconds(2900));
  }
  server().thaw();
  EXPECT_EQ(write(events).duplicates, 1u);
}

TEST_F(PostgresFaults, EndsABatchThatHangsInTheMiddleOfACopy) {
  be_impatient();
  Events events;
  for (int i = 0; i < 20'000; ++i) Events::set_text(events.add(plan_, "X", i), "venue", std::string(64, 'v'));  // more than sockets hold
  std::thread freezer([&] {
    while (server().statements(schema_, "COPY pg_temp.") == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    server().freeze();
  });
  const auto result = store_->write(events.pointers());
  freezer.join();
  server().thaw();
  if (!result) expect_retryable(result.error());  // a fast server may have been done
  store_ = open();
  ASSERT_TRUE(store_->prepare(plan_));
  const WriteResult again = write(events);
  EXPECT_EQ(again.inserted + again.duplicates, 20'000u);
  EXPECT_EQ(rows(), "20000");
}

TEST_F(PostgresFaults, EndsAWaitForALockInTime) {
  be_impatient();
  PGconn* other = PQconnectdb(server().url(schema_).c_str());
  PQclear(PQexec(other, "BEGIN; LOCK TABLE ticks IN ACCESS EXCLUSIVE MODE"));
  Events events;
  events.add(plan_, "X", 1);
  const auto locked = store_->write(events.pointers());
  PQfinish(other);
  ASSERT_FALSE(locked);
  expect_retryable(locked.error());
  EXPECT_NE(locked.error().message.find("57014"), std::string::npos) << locked.error().message;
  EXPECT_EQ(write(events).inserted, 1u);
}

TEST_F(PostgresFaults, GoesOnAfterItsConnectionWasTerminated) {
  Events events;
  events.add(plan_, "X", 1);
  ASSERT_TRUE(store_->write(events.pointers()));
  server().sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = '" + schema_ + "' AND pid <> pg_backend_pid()", schema_);
  const auto lost = store_->write(events.pointers());
  ASSERT_FALSE(lost);
  expect_retryable(lost.error());
  EXPECT_EQ(store_->write(events.pointers())->duplicates, 1u);
}

TEST_F(PostgresFaults, KeepsTheOldRowsWhenAReplacementsConnectionIsLost) {
  Events events;
  for (int i = 0; i < 5; ++i) events.add(plan_, "X", i);
  write(events);
  const std::string keys = "SELECT string_agg(key::text, ' ' ORDER BY key) FROM ticks";
  const std::string before = server().sql(keys, schema_);
  Events fresh;
  fresh.add(plan_, "Y", 2, 7);
  for (const bool written : {false, true}) {
    auto replacement = store_->begin_replace({{"ticks/v1"}, "venue.us1", {0}, {10}});
    ASSERT_TRUE(replacement) << replacement.error().message;
    if (written) {
      ASSERT_TRUE((*replacement)->write(fresh.pointers()));
    }
    server().sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE application_name = '" + schema_ + "' AND pid <> pg_backend_pid()", schema_);
    const auto lost = written ? (*replacement)->commit() : Status((*replacement)->write(fresh.pointers()).map([](const WriteResult&) {}));
    ASSERT_FALSE(lost);
    expect_retryable(lost.error());
    EXPECT_FALSE((*replacement)->commit());
    EXPECT_EQ(server().sql(keys, schema_), before);
  }
  auto replacement = store_->begin_replace({{"ticks/v1"}, "venue.us1", {0}, {10}});
  while (!replacement && replacement.error().retryable) replacement = store_->begin_replace({{"ticks/v1"}, "venue.us1", {0}, {10}});
  ASSERT_TRUE(replacement) << replacement.error().message;
  ASSERT_TRUE((*replacement)->write(fresh.pointers()));
  ASSERT_TRUE((*replacement)->commit());
  EXPECT_EQ(server().sql("SELECT count(*) FROM ticks", schema_), "1");
}

TEST_F(PostgresFaults, NamesTheRowThatAConstraintRefusesInAReplacement) {
  Events events;
  events.add(plan_, "X", 1);
  write(events);
  server().sql("ALTER TABLE ticks ADD CHECK (symbol <> 'bad')", schema_);
  auto replacement = store_->begin_replace({{"ticks/v1"}, "venue.us1", {0}, {10}});
  ASSERT_TRUE(replacement) << replacement.error().message;
  Events fresh;
  for (int i = 0; i < 9; ++i) fresh.add(plan_, i == 4 ? "bad" : "Y", i);
  for (const std::size_t duplicates : {0u, 8u}) {
    const auto result = (*replacement)->write(fresh.pointers());
    ASSERT_TRUE(result) << result.error().message;
    EXPECT_EQ(result->duplicates, duplicates);
    ASSERT_EQ(result->errors.size(), 1u);
    EXPECT_EQ(result->errors[0].index, 4u);
  }
  ASSERT_TRUE((*replacement)->commit());
  EXPECT_EQ(server().sql("SELECT count(*) FROM ticks", schema_), "8");
}

// What nobody reads to its end costs the server nothing once the cursor is gone: not while it sends, not while it looks.
TEST_F(PostgresFaults, EndsTheQueryOfACursorThatIsDropped) {
  write_more_than_the_network_holds();
  const auto running = [&] {
    return server().sql("SELECT count(*) FROM pg_stat_activity WHERE state <> 'idle' AND query LIKE 'FETCH %' AND application_name = '" + schema_ + "' AND pid <> pg_backend_pid()", schema_);
  };
  const auto gone = [&] {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (running() != "0" && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return running();
  };
  {
    auto cursor = store_->query({.event_type = "ticks/v1"});
    std::vector<Value> values;
    ASSERT_TRUE(*(*cursor)->next(values));
    EXPECT_EQ(running(), "1");
  }
  EXPECT_EQ(gone(), "0");
  // Ten minutes until its first row, and the reader is killed.
  server().sql("ALTER TABLE ticks RENAME TO slow; CREATE VIEW ticks AS SELECT slow.* FROM slow, pg_sleep(600)", schema_);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto store = open_postgres_store(options());
    if (store) (void)(*store)->query({.event_type = "ticks/v1"});
    ::_exit(0);
  }
  while (running() == "0" && ::waitpid(child, nullptr, WNOHANG) == 0) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_EQ(running(), "1");
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  EXPECT_EQ(gone(), "0");
}

TEST_F(PostgresFaults, EndsACursorWhoseServerDied) {
  write_more_than_the_network_holds();
  auto cursor = store_->query({.event_type = "ticks/v1"});
  std::vector<Value> values;
  ASSERT_TRUE(*(*cursor)->next(values));
  server().crash();
  std::optional<Error> error;
  for (int i = 0; i < kManyRows && !error; ++i) {
    const auto more = (*cursor)->next(values);
    if (!more) error = more.error();
  }
  server().start();
  ASSERT_TRUE(error);
  expect_retryable(*error);
}

TEST_F(PostgresFaults, SaysThatNobodyListens) {
  const auto store = open_postgres_store(*parse_postgres_url("postgres://me:secret@127.0.0.1:1/market"));
  ASSERT_FALSE(store);
  expect_retryable(store.error());
  EXPECT_NE(store.error().message.find("127.0.0.1:1/market"), std::string::npos) << store.error().message;
  EXPECT_EQ(store.error().message.find("secret"), std::string::npos) << store.error().message;
}

TEST_F(PostgresFaults, SaysThatTheDatabaseIsMissing) {
  const auto store = open_postgres_store(*parse_postgres_url("postgres://utp@127.0.0.1:" + std::to_string(server().port()) + "/nothing_here"));
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, Code::kNotFound) << store.error().message;
}

TEST(PostgresErrors, SayWhatACallerCanDo) {
  const auto of = [](const char* state) { return postgres::error_of_state(state, "db:1/m", "write", "said", {}); };
  EXPECT_EQ(of("53100").code, Code::kFull);
  EXPECT_TRUE(of("53100").retryable);
  for (const char* state : {"57P01", "57P02", "57P03", "08006", "53200", "53300", "57014", "55P03", "40P01", "40001", "25006", "25P03"}) {
    EXPECT_EQ(of(state).code, Code::kUnavailable) << state;
    EXPECT_TRUE(of(state).retryable) << state;
  }
  for (const char* state : {"42501", "28P01", "28000"}) {
    EXPECT_EQ(of(state).code, Code::kPermission) << state;
    EXPECT_FALSE(of(state).retryable) << state;
  }
  EXPECT_EQ(of("XX001").code, Code::kCorrupt);
  EXPECT_NE(of("53100").message.find("db:1/m"), std::string::npos);
}

}  // namespace
}  // namespace utp
