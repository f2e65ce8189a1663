#include "drivers/bus/nats/group_view.h"

#include <algorithm>
#include <chrono>

namespace utp::nats_bus {
namespace {

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

void GroupView::clear() {
  records_.clear();
  members_.clear();
  clock_offset_ns_ = INT64_MIN;  // it may be another server
}

bool GroupView::take(const GroupKey& key, std::string_view value, std::uint64_t revision, Timestamp time) {
  if (time.ns != 0) {
    const std::int64_t offset_ns = time.ns - steady_ns();
    const bool is_ours = !self_.empty() && key.member == self_;
    clock_offset_ns_ = is_ours ? offset_ns : std::max(clock_offset_ns_, offset_ns);
  }
  if (!key.member.empty()) {
    Member& member = members_[key.member];
    if (revision <= member.revision) return false;
    const bool was_live = member.revision != 0 && lease_left_ns(key.member) > 0;
    MemberRecord record = MemberRecord::read(value);
    const bool changed = !was_live || record.lease_ns <= 0 || record.patterns != member.record.patterns;
    member = {std::move(record), revision, time};
    return changed;
  }
  Record& known = records_[{key.topic, key.partition}];
  if (revision <= known.revision) return false;
  GroupRecord record = GroupRecord::read(value);
  const bool changed = record.owner != known.record.owner || record.epoch != known.record.epoch;
  known = {std::move(record), revision};
  return changed;
}

void GroupView::forget(const GroupKey& key) {
  if (key.member.empty()) {
    records_.erase({key.topic, key.partition});
  } else {
    members_.erase(key.member);
  }
}

const GroupView::Record* GroupView::record(std::string_view topic, std::uint32_t partition) const {
  const auto found = records_.find({std::string(topic), partition});
  return found == records_.end() ? nullptr : &found->second;
}

void GroupView::set_server_time(Timestamp now) { clock_offset_ns_ = std::max(clock_offset_ns_, now.ns - steady_ns()); }

std::int64_t GroupView::server_now_ns() const { return clock_offset_ns_ == INT64_MIN ? 0 : steady_ns() + clock_offset_ns_; }

std::int64_t GroupView::lease_left_ns(const std::string& member) const {
  const auto found = members_.find(member);
  if (found == members_.end() || found->second.record.lease_ns <= 0) return 0;
  return found->second.time.ns + found->second.record.lease_ns - server_now_ns();
}

std::int64_t GroupView::silence_ns(const std::string& member) const {
  const auto found = members_.find(member);
  return found == members_.end() ? 0 : server_now_ns() - found->second.time.ns;
}

}  // namespace utp::nats_bus
