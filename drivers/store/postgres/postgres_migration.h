// The catalogue, and tables that follow the plans. Internal to this driver.
#pragma once

#include <string>

#include "drivers/store/postgres/postgres_connection.h"
#include "schema/plan.h"

namespace utp::postgres {

// What divides tables by time in this store, decided when its catalogue was made.
inline constexpr std::string_view kPlainEngine = "postgresql", kTimescaleEngine = "timescaledb";
Result<std::string> stored_engine(Connection& connection);

// Makes the catalogue where there is none; `read_only`: then it is kNotFound.
Status open_catalogue(Connection& connection, bool read_only);
// Empty when nothing was written yet.
Result<std::string> stored_realm(Connection& connection);
// Makes the plan's table, or adds the columns that it lacks. Never drops or retypes one: a column of another type, a table
// that belongs to another event type, or one that utp did not make is refused.
Status migrate(Connection& connection, const Plan& plan, bool read_only);

// Whether the table has partitions that its writers make.
Result<bool> has_partitions(Connection& connection, const Plan& plan);

}  // namespace utp::postgres
