// What the bus keeps about topics, groups, members and their leases: records in one environment of the bus directory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "drivers/bus/embedded/environment.h"

namespace utp::embedded_bus {

// A stretch of deliveries that ended unacknowledged: every message up to `high` (and above the cursor) was delivered
// `times` times more.
struct Pass {
  std::uint64_t high = 0;
  std::uint32_t times = 0;
};

struct CursorRecord {
  std::uint64_t position = 0;  // acknowledged up to here
  std::uint64_t count = 0;     // messages of the partition at or before it, ever
  std::uint64_t trimmed = 0;   // removed unacknowledged
  std::uint64_t unreported = 0;  // of these, not yet taken by a subscription
  std::uint64_t epoch = 0;     // grows with every change of owner: the fencing token
  std::int64_t lease_until_ns = 0;  // monotonic clock of the machine start `boot`
  std::uint64_t boot = 0;
  std::uint64_t process = 0;   // of the owner: Directory::process()
  std::string owner;           // "" = free
  std::vector<Pass> passes;
};

struct MemberRecord {
  std::string member;
  std::int64_t until_ns = 0;
  std::uint64_t boot = 0;
  std::uint64_t process = 0;
  std::vector<std::string> patterns;
};

struct TopicRecord {
  std::string topic;
  TopicOptions options;
};

class CursorStore {
 public:
  explicit CursorStore(Environment& environment) : environment_(&environment) {}

  // All reads and changes in one transaction; destroyed uncommitted, it changes nothing.
  class Change {
   public:
    Result<std::optional<CursorRecord>> cursor(std::string_view topic, std::uint32_t partition, std::string_view group);
    Status put_cursor(std::string_view topic, std::uint32_t partition, std::string_view group, const CursorRecord& record);
    Status remove_group(std::string_view group);
    Result<std::vector<MemberRecord>> members(std::string_view group);
    Status put_member(std::string_view group, const MemberRecord& record);
    Status remove_member(std::string_view group, std::string_view member);
    Result<std::optional<TopicRecord>> topic(std::string_view topic);
    Status put_topic(const TopicRecord& record);
    Status for_each_cursor(std::string_view topic, std::uint32_t partition,
                           const std::function<void(std::string_view group, CursorRecord& record)>& f);
    Status commit() { return write_.commit(); }

   private:
    friend class CursorStore;
    explicit Change(Environment::Write write) : write_(std::move(write)) {}
    Status put(const std::string& key, const std::string& value);
    Environment::Write write_;
  };
  Result<Change> change();

  Result<std::vector<TopicRecord>> topics();
  Status for_each_cursor(std::string_view topic, std::uint32_t partition,
                         const std::function<void(std::string_view group, CursorRecord& record)>& f);

 private:
  Environment* environment_;
};

}  // namespace utp::embedded_bus
