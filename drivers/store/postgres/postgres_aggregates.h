// Aggregates of stored events, level by level: bars of trades, statistics of quotes, the history of gamma levels. Each is read
// under its name (trade_bars_1m): a part that was computed and kept, and the newest buckets computed while they are read.
// TimescaleDB keeps them as continuous aggregates; without it they are tables that refresh() keeps, and views over them.
// Internal to this driver.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "drivers/store/postgres/postgres_connection.h"
#include "schema/plan.h"

namespace utp::postgres {

// Makes those over the plan's table, within the caller's transaction. Nothing where there are none.
Status make_aggregates(Connection& connection, const Plan& plan);
bool has_aggregates(const Plan& plan);
struct Counted {
  const char* column;     // of the aggregate, that counts rows
  const char* condition;  // which rows of the table it counts
};
std::optional<Counted> counted_by(std::string_view aggregate);

struct Refreshed {
  std::uint64_t ranges = 0;  // of event time, touched since the last refresh
  std::uint64_t slices = 0;  // computed anew: a level of a range, a day at most at the finest
};
// Computes anew what writers touched since the last time, in transactions of a bounded size; what is not done when it fails is
// done the next time. One at a time in a database: where another program is at it, nothing.
Result<Refreshed> refresh_touched(Connection& connection);

struct TimeRange {
  std::int64_t first_us, last_us;  // since 1970, both inclusive
};
// Notes, within the caller's transaction, that rows of the table in these ranges of event time came or went.
Status touch(Connection& connection, std::string_view table, std::span<const TimeRange> ranges);

}  // namespace utp::postgres
