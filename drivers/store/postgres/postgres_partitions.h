// Which ranges of event time have a partition, so that a writer asks the server only where it does not know. Internal to this
// driver.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "drivers/store/postgres/postgres_connection.h"

namespace utp::postgres {

class Partitions {
 public:
  // Makes what is missing for this time, outside a transaction. Any number of writers may do so at once.
  Status ensure(Connection& connection, const std::string& table, std::int64_t event_time_us);
  // Somebody has dropped one.
  void forget() { known_.clear(); }

 private:
  struct Range {
    std::int64_t first, behind;  // as the server counts: microseconds since 2000; its least and greatest number are infinite
  };
  std::vector<Range> known_;  // the one that was used last is the first
};

}  // namespace utp::postgres
