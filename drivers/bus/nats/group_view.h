// What a member knows of its group: the bucket's entries, as the server sends them when they change.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/clock.h"
#include "drivers/bus/nats/group_record.h"
#include "drivers/bus/nats/names.h"

namespace utp::nats_bus {

class GroupView {
 public:
  // `self`: the member whose entries are new when they come; "" = none.
  explicit GroupView(std::string self = {}) : self_(std::move(self)) {}

  struct Record {
    GroupRecord record;
    std::uint64_t revision = 0;
  };
  struct Member {
    MemberRecord record;
    std::uint64_t revision = 0;
    Timestamp time;  // the server's
  };

  void clear();
  // An entry as it is now. True when members or owners have changed.
  bool take(const GroupKey& key, std::string_view value, std::uint64_t revision, Timestamp time);
  // Without an entry now.
  void forget(const GroupKey& key);

  const Record* record(std::string_view topic, std::uint32_t partition) const;
  std::map<std::string, Member>& members() { return members_; }
  // The server's clock, as somebody asked for it now.
  void set_server_time(Timestamp now);
  // How long a member's lease still runs, by the server's clock; 0 and less: it is over, or there is no such member.
  std::int64_t lease_left_ns(const std::string& member) const;
  // Since its entry was written.
  std::int64_t silence_ns(const std::string& member) const;

 private:
  // Not later than the server's clock, and hardly earlier: the time of our own last entry, or of a newer one, and what passed here
  // since. Our own counts even when it is earlier than expected: the clock was set back.
  std::int64_t server_now_ns() const;

  std::string self_;
  std::map<std::pair<std::string, std::uint32_t>, Record> records_;
  std::map<std::string, Member> members_;
  std::int64_t clock_offset_ns_ = INT64_MIN;  // server's clock less ours
};

}  // namespace utp::nats_bus
