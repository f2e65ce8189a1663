// Reading beyond the contract: the list of symbols, and how much memory a long answer takes.
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "drivers/store/postgres/postgres_store.h"
#include "drivers/store/postgres/postgres_test_server.h"
#include "store/contract_events.h"

namespace utp {
namespace {

using postgres_test::PostgresServer;
using store_test::Events;

class PostgresRead : public ::testing::Test {
 protected:
  void SetUp() override {
    if (PostgresServer::missing()) GTEST_SKIP() << PostgresServer::kMissing;
    schema_ = server().new_schema();
  }
  static PostgresServer& server() { return PostgresServer::shared(); }
  PostgresStoreOptions options() const { return *parse_postgres_url(server().url(schema_)); }
  std::unique_ptr<Store> open_prepared() {
    auto store = open_postgres_store(options());
    EXPECT_TRUE(store && (*store)->prepare(plan_));
    return std::move(*store);
  }
  static void write(Store& store, const std::shared_ptr<const Plan>& plan, std::int64_t time) {
    Events events;
    events.add(plan, "X", time);
    EXPECT_EQ(store.write(events.pointers())->inserted, 1u);
  }

  const std::shared_ptr<const Plan> plan_ = store_test::ticks_plan();
  std::string schema_;
};

TEST_F(PostgresRead, ReadsTenTimesTheRowsInTheSameMemory) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "the sanitizer keeps what is freed";
#endif
  auto store = open_prepared();
  for (int batch = 0; batch < 10; ++batch) {
    Events events;
    for (int i = 0; i < 20'000; ++i) Events::set_decimal(events.add(plan_, "X", batch * 20'000 + i), "price", "1.25");
    ASSERT_TRUE(store->write(events.pointers()));
  }
  const auto peak_kib = [&](std::uint64_t limit) -> long {
    int ends[2];
    if (::pipe(ends) != 0) return 0;
    const pid_t child = ::fork();
    if (child == 0) {
      auto reader = open_postgres_store(options());
      auto cursor = reader ? (*reader)->query({.event_type = "ticks/v1", .limit = limit}) : fail(reader.error());
      std::vector<Value> values;
      std::uint64_t rows = 0;
      while (cursor && (*cursor)->next(values).value_or(false)) ++rows;
      std::ifstream status("/proc/self/status");
      std::string line;
      while (std::getline(status, line) && !line.starts_with("VmHWM:")) {
      }
      const long peak = rows == limit ? std::atol(line.c_str() + std::min<std::size_t>(line.size(), 6)) : 0;
      const bool written = ::write(ends[1], &peak, sizeof peak) == sizeof peak;
      ::_exit(written ? 0 : 1);
    }
    long peak = 0;
    ::close(ends[1]);
    if (child < 0 || ::read(ends[0], &peak, sizeof peak) != sizeof peak) peak = 0;
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    return peak;
  };
  const long few = peak_kib(20'000), many = peak_kib(200'000);
  EXPECT_GT(few, 0);
  EXPECT_GT(many, 0);
  EXPECT_LT(many - few, 4 * 1024) << few << " KiB after 20,000 rows, " << many << " KiB after 200,000";
}

TEST_F(PostgresRead, ListsEachSymbolOnceInTheTransactionOfItsFirstRow) {
  auto store = open_prepared();
  Events events;
  for (const char* symbol : {"B", "A", "B", "it's", "{\"\\,}"}) events.add(plan_, symbol, 1, events.size());
  events.add(plan_, std::string_view("nul\0", 4), 1, 9);  // refused, and the others stay
  EXPECT_EQ(store->write(events.pointers())->inserted, 5u);
  write(*store, plan_, 2);
  write(*open_prepared(), plan_, 3);
  EXPECT_EQ(server().sql("SELECT table_name || ' ' || symbol FROM utp_symbols ORDER BY symbol COLLATE \"C\"", schema_), "ticks A ticks B ticks X ticks it's ticks {\"\\,}");
  EXPECT_EQ(server().statements(schema_, "INSERT INTO utp_symbols (table_name"), 3);  // each writer has to ask once
}

TEST_F(PostgresRead, TheNextQueryGoesOnAConnectionThatIsThere) {
  auto store = open_prepared();
  write(*store, plan_, 1);
  const auto rows = [&] {
    auto cursor = store->query({.event_type = "ticks/v1"});
    EXPECT_TRUE(cursor) << cursor.error().message;
    std::vector<Value> values;
    int count = 0;
    for (auto more = (*cursor)->next(values); more && *more; more = (*cursor)->next(values)) ++count;
    return count;
  };
  const auto connections = [&] { return server().statements(schema_, "client_connection_check_interval"); };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(rows(), 1);
  EXPECT_EQ(connections(), 1);
  // Idle, and in no transaction that would hold back the server's cleaning.
  const std::string idle = "SELECT count(*) FROM pg_stat_activity WHERE application_name = '" + schema_ + "' AND state LIKE 'idle in transaction%'";
  EXPECT_EQ(server().sql(idle), "0");
  // Two at a time have two; one that is left in the middle, with more to come, is closed.
  Events events;
  for (int i = 2; i <= 2000; ++i) events.add(plan_, "X", i);
  ASSERT_TRUE(store->write(events.pointers()));
  {
    auto open = store->query({.event_type = "ticks/v1"});
    ASSERT_TRUE(open);
    std::vector<Value> values;
    EXPECT_TRUE(*(*open)->next(values));
    EXPECT_EQ(rows(), 2000);
    EXPECT_EQ(connections(), 2);
  }
  EXPECT_EQ(rows(), 2000);
  EXPECT_EQ(connections(), 2);
  // One that died while nobody looked is replaced.
  server().sql("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = '" + schema_ + "' AND pid <> pg_backend_pid()");
  EXPECT_EQ(rows(), 2000);
  EXPECT_EQ(connections(), 3);
}

}  // namespace
}  // namespace utp
