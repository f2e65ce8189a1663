// What the tests of this driver share: a schema of their own, on the private server, or on the one with TimescaleDB that the
// environment names.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "drivers/store/postgres/postgres_store.h"
#include "drivers/store/postgres/postgres_test_server.h"
#include "schema/registry.h"
#include "store/contract_events.h"

namespace utp::postgres_test {

// A database, by what a person would type into psql and by URL.
struct Database {
  std::string url;  // without a schema; "" = there is none, see `missing`
  std::string missing;
  std::string schema;

  std::string in_schema() const {
    return url + (url.find('?') == std::string::npos ? "?" : "&") + "options=-csearch_path%3D" + schema + "%2Cpublic&application_name=" + schema;
  }
  // The first column of all rows, or the server's refusal.
  std::string sql(const std::string& text) const { return run_sql(in_schema(), text); }
};

inline Database plain_database() {
  if (PostgresServer::missing()) return {"", PostgresServer::kMissing, ""};
  PostgresServer& server = PostgresServer::shared();
  return {"postgres://utp@127.0.0.1:" + std::to_string(server.port()) + "/postgres", "", server.new_schema()};
}

// UTP_TEST_TIMESCALE_DSN: a URL of a database whose user may make extensions and schemas.
inline Database timescale_database() {
  const char* dsn = std::getenv("UTP_TEST_TIMESCALE_DSN");
  if (dsn == nullptr || *dsn == '\0') return {"", "UTP_TEST_TIMESCALE_DSN names no server with TimescaleDB (a URL: postgres://user:password@host:port/database)", ""};
  static int number = 0;
  Database database{dsn, "", "utp_test_" + std::to_string(::getpid()) + "_" + std::to_string(number++)};
  const std::string made = run_sql(dsn, "SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS timescaledb; CREATE SCHEMA " + database.schema);
  if (!made.empty()) return {"", "the server of UTP_TEST_TIMESCALE_DSN cannot be used: " + made, ""};
  return database;
}

class EngineTest : public ::testing::TestWithParam<Database (*)()> {
 protected:
  void SetUp() override {
    database_ = GetParam()();
    if (!database_.missing.empty()) GTEST_SKIP() << database_.missing;
  }
  void TearDown() override {
    if (!database_.schema.empty()) database_.sql("DROP SCHEMA " + database_.schema + " CASCADE");
  }
  std::unique_ptr<Store> open() const {
    auto store = open_postgres_store(*parse_postgres_url(database_.in_schema()));
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }
  bool has_timescale() const { return GetParam() == timescale_database; }
  static std::shared_ptr<const Plan> plan(const std::string& event_type) {
    static const auto registry = Registry::builtin();
    EXPECT_TRUE(registry) << registry.error().message;
    return registry->by_event_type(event_type);
  }

  Database database_;
};

#define UTP_TEST_ON_ENGINES(suite)                                                                                                       \
  INSTANTIATE_TEST_SUITE_P(Engines, suite, ::testing::Values(&postgres_test::plain_database, &postgres_test::timescale_database), \
                           [](const auto& i) { return std::string(i.index == 0 ? "Postgres" : "Timescale"); })

}  // namespace utp::postgres_test
