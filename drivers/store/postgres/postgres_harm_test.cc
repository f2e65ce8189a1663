// A server that is harmed while a writer writes without a pause: nothing is lost, nothing stands twice, the writer needs no help.
// These tests have a server of their own.
#include <atomic>
#include <thread>

#include <gtest/gtest.h>

#include "drivers/store/postgres/postgres_store.h"
#include "drivers/store/postgres/postgres_test_server.h"
#include "store/contract_events.h"

namespace utp {
namespace {

using postgres_test::PostgresServer;
using store_test::Events;

constexpr int kCleanBatches = 20;  // as the store has it

// Writes batches on a thread, each until it is stored, as a persister does.
class Writer {
 public:
  explicit Writer(const std::string& url) : url_(url) {
    thread_ = std::thread([this] { run(); });
  }
  ~Writer() { finish(); }
  void finish() {
    stopping_ = true;
    if (thread_.joinable()) thread_.join();
  }
  // Waits until so many more events are stored.
  void wait_for(std::uint64_t more) const {
    const std::uint64_t wanted = stored_ + more;
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (stored_ < wanted && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_GE(stored_, wanted) << "the writer does not get on";
  }
  std::uint64_t stored() const { return stored_; }  // acknowledged to it
  // Every batch has an event that is stored already, so that the writer stays with its staging table.
  void stay_staged() { staged_ = true; }

 private:
  void run() {
    PostgresStoreOptions options = *parse_postgres_url(url_);
    options.may_be_away = true;
    auto store = std::move(*open_postgres_store(options));
    constexpr std::int64_t kBegin = 1'767'268'800'000'000'000;  // 2026-01-01
    std::int64_t time = kBegin;
    while (!stopping_) {
      // Small ones, so that the writer copies straight into the table again, then a big one.
      for (int i = 0; i <= kCleanBatches && !stopping_; ++i) {
        const bool staged = staged_;
        Events events;
        const auto add = [&](std::int64_t at) {
          Event& event = events.add(plan_, "X", at);
          Events::set_text(event, "venue", std::string(64, 'v'));
          event.envelope.checksum = 1;
        };
        for (int n = i < kCleanBatches && !staged ? 1 : kBigBatch; n > 0; --n) add(time += 1'000'000);
        if (staged) add(kBegin + 1'000'000);
        if (!write(*store, events)) return;
        stored_ += events.size() - (staged ? 1 : 0);
      }
    }
  }
  // False when the test has failed: what never gets on is not waited for.
  bool write(Store& store, const Events& events) {
    for (;;) {
      const auto prepared = store.prepare(plan_);
      const auto result = prepared ? store.write(events.pointers()) : Result<WriteResult>(tl::unexpected(prepared.error()));
      if (result) {
        EXPECT_EQ(result->inserted + result->duplicates, events.size());
        return true;
      }
      if (stopping_ && ::testing::Test::HasFailure()) return false;
      EXPECT_TRUE(result.error().retryable) << result.error().message;
      EXPECT_EQ(result.error().code, Code::kUnavailable) << result.error().message;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  static constexpr int kBigBatch = 4000;
  const std::string url_;
  std::shared_ptr<const Plan> plan_ = store_test::ticks_plan();
  std::atomic<bool> stopping_{false}, staged_{false};
  std::atomic<std::uint64_t> stored_{0};
  std::thread thread_;
};

class PostgresHarm : public ::testing::Test {
 protected:
  void SetUp() override {
    if (PostgresServer::missing()) GTEST_SKIP() << PostgresServer::kMissing;
  }
  // As many rows as were acknowledged, each once.
  static void check(const PostgresServer& server, const std::string& schema, const Writer& writer) {
    EXPECT_EQ(server.sql("SELECT count(*) FROM ticks", schema), std::to_string(writer.stored()));
    EXPECT_EQ(server.sql("SELECT count(DISTINCT key) FROM ticks", schema), std::to_string(writer.stored()));
  }
};

TEST_F(PostgresHarm, AWriterWhoseConnectionIsEndedInTheMiddleLosesNothing) {
  PostgresServer server;
  const std::string schema = server.new_schema();
  Writer writer(server.url(schema));
  writer.wait_for(1);
  for (const char* statement : {"%COPY \"ticks\"%", "%COPY pg_temp.%", "INSERT INTO \"ticks\"%"}) {
    const std::string terminate = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = '" + schema +
                                  "' AND state = 'active' AND pid <> pg_backend_pid() AND query LIKE '" + statement + "'";
    if (std::string_view(statement) != "%COPY \"ticks\"%") writer.stay_staged();
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    int hits = 0;
    while (hits < 3 && std::chrono::steady_clock::now() < deadline) {
      if (server.sql(terminate, "public") != "1") continue;
      ++hits;
      writer.wait_for(1);
    }
    EXPECT_EQ(hits, 3) << statement;
  }
  writer.finish();
  check(server, schema, writer);
}

TEST_F(PostgresHarm, AServerThatIsStoppedAndStartedCostsNothing) {
  PostgresServer server;
  const std::string schema = server.new_schema();
  Writer writer(server.url(schema));
  for (const int how : {SIGINT, SIGQUIT, SIGINT, SIGQUIT}) {  // restart -m fast, -m immediate
    writer.wait_for(3000);
    server.stop(how);
    server.start();
    ASSERT_TRUE(server.is_running());
  }
  writer.wait_for(1);
  writer.finish();
  check(server, schema, writer);
}

TEST_F(PostgresHarm, ADatabaseThatIsReadOnlyForATimeCostsNothing) {
  PostgresServer server;
  const std::string schema = server.new_schema();
  Writer writer(server.url(schema));
  writer.wait_for(1);
  server.sql("ALTER SYSTEM SET default_transaction_read_only = on");
  server.sql("SELECT pg_reload_conf()");
  const auto refused = [&] { return server.count_in_log(schema + "|ERROR:  cannot execute"); };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (refused() == 0 && std::chrono::steady_clock::now() < deadline) std::this_thread::sleep_for(std::chrono::milliseconds(5));
  EXPECT_GT(refused(), 0);
  const auto away = open_postgres_store(*parse_postgres_url(server.url(schema)));
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().code, Code::kUnavailable) << away.error().message;
  EXPECT_TRUE(away.error().retryable);
  server.sql("ALTER SYSTEM RESET default_transaction_read_only");
  server.sql("SELECT pg_reload_conf()");
  writer.wait_for(3000);
  writer.finish();
  check(server, schema, writer);
}

// Two servers, the second a standby that has each commit before it is acknowledged.
class PostgresFailover : public PostgresHarm {
 protected:
  void SetUp() override {
    PostgresHarm::SetUp();
    if (IsSkipped()) return;
    primary_ = std::make_unique<PostgresServer>();
    schema_ = primary_->new_schema();
    standby_ = std::make_unique<PostgresServer>(*primary_);
    ASSERT_TRUE(standby_->is_running()) << "see pg_basebackup's words in " << standby_->folder();
    primary_->sql("ALTER SYSTEM SET synchronous_standby_names = '*'");
    primary_->sql("SELECT pg_reload_conf()");
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
    while (primary_->sql("SELECT sync_state FROM pg_stat_replication") != "sync" && std::chrono::steady_clock::now() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    ASSERT_EQ(primary_->sql("SELECT sync_state FROM pg_stat_replication"), "sync");
  }
  std::string url() const {
    const std::string hosts = "127.0.0.1:" + std::to_string(primary_->port()) + ",127.0.0.1:" + std::to_string(standby_->port());
    return "postgres://utp@" + hosts + "/postgres?options=-csearch_path%3D" + schema_ + "&application_name=" + schema_;
  }

  std::unique_ptr<PostgresServer> primary_, standby_;
  std::string schema_;
};

TEST_F(PostgresFailover, AWriterGoesOnWithThePromotedServerAndNothingAcknowledgedIsLost) {
  Writer writer(url());
  writer.wait_for(3000);
  primary_->crash();
  EXPECT_EQ(standby_->sql("SELECT pg_promote()"), "t");
  writer.wait_for(3000);
  writer.finish();
  check(*standby_, schema_, writer);
}

// The old primary lives on, and takes no more writes: the connection to it is good, and of no use.
TEST_F(PostgresFailover, AWriterLeavesAServerThatOnlyReadsForTheOneThatWrites) {
  Writer writer(url());
  writer.wait_for(3000);
  primary_->sql("ALTER SYSTEM SET default_transaction_read_only = on");
  primary_->sql("SELECT pg_reload_conf()");
  // What the old one committed last is on its way: without it the writer would repeat it, which is right as well.
  EXPECT_EQ(standby_->sql("SELECT pg_promote()"), "t");
  primary_->sql("ALTER SYSTEM RESET synchronous_standby_names");  // nobody answers it any more
  primary_->sql("SELECT pg_reload_conf()");
  writer.wait_for(3000);
  writer.finish();
  check(*standby_, schema_, writer);
}

}  // namespace
}  // namespace utp
