// Aggregates of stored events, level by level: bars of trades, statistics of quotes, the history of gamma levels. Each is read
// under its name (trade_bars_1m): a part that was computed and kept, and the newest buckets computed while they are read.
// TimescaleDB keeps them as continuous aggregates; without it they are tables that refresh() keeps, and views over them.
// Internal to this driver.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "drivers/store/postgres/postgres_connection.h"
#include "schema/plan.h"

namespace utp::postgres {

// Makes those over the plan's table, within the caller's transaction. Nothing where there are none.
Status make_aggregates(Connection& connection, const Plan& plan);
bool has_aggregates(std::string_view event_type);
struct Counted {
  const char* counter;                    // the column of the aggregate that counts rows
  std::span<const char* const> columns;   // of the table: a row counts where none of them is null
  std::string condition() const;          // the same as SQL
};
std::optional<Counted> counted_by(std::string_view aggregate);

struct Refreshed {
  std::uint64_t ranges = 0;  // of event time, touched since the last refresh
  std::uint64_t slices = 0;  // computed anew: a level of a range, a day at most at the finest
  std::optional<Error> failure;  // the first one; other tables were done all the same
  std::set<std::string> failed;  // tables
  bool elsewhere = false;        // another program is at it
};
// Computes anew what writers touched since the last time, in transactions of a bounded size; what is not done when it fails is
// done the next time. One at a time in a database: where another program is at it, nothing.
Result<Refreshed> refresh_touched(Connection& connection);

struct TimeRange {
  std::int64_t first_us, last_us;  // since 1970, both inclusive
};
// A statement for the transaction in which rows of the table in these ranges of event time came or went: it notes them. (Whole
// numbers are all that it holds of the rows, so it needs no parameters and can be one of several in a message.)
std::string touch_sql(std::string_view table, std::span<const TimeRange> ranges);

}  // namespace utp::postgres
