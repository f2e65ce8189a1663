// What the tests of this driver share: a schema of their own, on the private server, or on the one with TimescaleDB that the
// environment names.
#pragma once

#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "drivers/store/postgres/postgres_store.h"
#include "drivers/store/postgres/postgres_test_database.h"
#include "schema/registry.h"
#include "store/contract_events.h"

namespace utp::postgres_test {

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
  bool has_apache() const { return GetParam() == apache_database; }
  static std::shared_ptr<const Plan> plan(const std::string& event_type) {
    static const auto registry = Registry::builtin();
    EXPECT_TRUE(registry) << registry.error().message;
    return registry->by_event_type(event_type);
  }

  Database database_;
};

#define UTP_TEST_ON_ENGINES(suite)                                                                                       \
  INSTANTIATE_TEST_SUITE_P(Engines, suite,                                                                               \
                           ::testing::Values(&postgres_test::plain_database, &postgres_test::timescale_database,         \
                                             &postgres_test::apache_database),                                           \
                           [](const auto& i) {                                                                           \
                             return std::string(i.index == 0 ? "Postgres" : i.index == 1 ? "Timescale" : "TimescaleApache"); \
                           })

}  // namespace utp::postgres_test
