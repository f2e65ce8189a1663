// The catalogue, and tables that follow the plans. Internal to this driver.
#pragma once

#include <string>

#include "drivers/store/postgres/postgres_connection.h"
#include "schema/plan.h"

namespace utp::postgres {

// What divides tables by time in this store, decided when its catalogue was made.
inline constexpr std::string_view kPlainEngine = "postgresql", kTimescaleEngine = "timescaledb";
// An expression: whether the server loaded TimescaleDB at its start, which every user sees by its loader's own setting (one that
// only stands in a file is not listed). Without that CREATE EXTENSION ends the connection.
inline constexpr std::string_view kTimescaleLoaded =
    "EXISTS (SELECT FROM pg_catalog.pg_settings WHERE name = 'timescaledb.max_background_workers')";
// A schema of views over the stores of regions (postgres_federation.h): to be read only.
inline constexpr std::string_view kFederationEngine = "federation";
Result<std::string> stored_engine(Connection& connection);
Error federation_error(Connection& connection);  // to who would write, or look after it
int newest_catalogue();                          // the version that this program makes
// The catalogue that a reader needs but for utp_symbols and what it names, in the current schema and the caller's transaction.
Status make_federation_catalogue(Connection& connection);

// Makes the catalogue where there is none; `read_only`: then it is kNotFound.
Status open_catalogue(Connection& connection, bool read_only);
Result<int> catalogue_version(Connection& connection);  // 0 = there is none
// Empty when nothing was written yet.
Result<std::string> stored_realm(Connection& connection);
// Makes the plan's table, or adds the columns that it lacks. Never drops or retypes one: a column of another type, a table
// that belongs to another event type, or one that utp did not make is refused.
Status migrate(Connection& connection, const Plan& plan, bool read_only);

// Whether the table has partitions that its writers make.
Result<bool> has_partitions(Connection& connection, const Plan& plan);

// Until the caller's transaction ends, no other program makes or drops partitions. To be taken before a table is locked.
Status lock_partitions(Connection& connection);

}  // namespace utp::postgres
