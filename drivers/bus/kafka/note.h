// What a group knows of a partition beside its offset: the text of each commit.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "bus/passes.h"
#include "core/clock.h"

namespace utp::kafka_bus {

struct Note {
  std::uint64_t trimmed = 0;    // removed before the group acknowledged them
  std::uint64_t reported = 0;   // of those, taken by take_lost()
  Timestamp acknowledged_time;  // of the last message acknowledged: finds the place again in a log that lost its end
  bool open = false;            // a member reads; one that leaves in order closes it
  Passes passes;

  std::string write() const;
  static Note read(std::string_view text);  // an empty one where another program committed
};

}  // namespace utp::kafka_bus
