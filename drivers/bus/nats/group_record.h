// What the bucket keeps of a group: its progress in each partition, and its members. Texts, so that an operator can read them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/passes.h"

namespace utp::nats_bus {

struct GroupRecord {
  std::uint64_t acknowledged = 0;  // position
  std::string owner;               // "" = none
  std::string epoch;               // the fencing token: another with each owner
  std::uint64_t trimmed = 0;       // removed before they were acknowledged
  std::uint64_t unreported = 0;    // of these, what take_lost() has not given yet
  Passes passes;

  std::string write() const;
  static GroupRecord read(std::string_view text);
};

struct MemberRecord {
  std::int64_t lease_ns = 0;  // 0: it has left
  std::vector<std::string> patterns;

  std::string write() const;
  static MemberRecord read(std::string_view text);
};

}  // namespace utp::nats_bus
