#include "drivers/store/postgres/postgres_partitions.h"

#include <algorithm>

namespace utp::postgres {

Status Partitions::ensure(Connection& connection, const std::string& table, std::int64_t event_time_us) {
  const std::int64_t time = event_time_us - kEpochShiftUs;
  const auto covers = [time](const Range& range) { return range.first <= time && time < range.behind; };
  if (const auto found = std::find_if(known_.begin(), known_.end(), covers); found != known_.end()) {
    std::iter_swap(known_.begin(), found);
    return {};
  }
  UTP_TRY(const Rows made, connection.run("SELECT made_first, made_behind FROM utp_make_partition($1, $2)", "make a partition of " + table,
                                          {text_parameter(table), time_parameter(event_time_us)}));
  known_.insert(known_.begin(), {made.integer(0, 0), made.integer(0, 1)});
  return {};
}

}  // namespace utp::postgres
