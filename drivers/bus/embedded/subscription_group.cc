// What a subscription does as a member of a group: leases, acknowledgement, redelivery.
#include <algorithm>

#include "drivers/bus/embedded/subscription.h"

namespace utp::embedded_bus {
namespace {

// How soon the death of another process is noticed that holds what is to be this one's.
constexpr std::int64_t kWatchNs = 1'000'000'000;
constexpr std::size_t kPassesMax = 16;  // beyond, the oldest two become one: the attempt stays a lower bound

void prune(std::vector<Pass>& passes, std::uint64_t acknowledged) {
  std::erase_if(passes, [&](const Pass& pass) { return pass.high <= acknowledged; });
}

}  // namespace

void EmbeddedSubscription::end_pass(Cursor& cursor) {
  if (cursor.delivered > cursor.acknowledged) {
    if (!cursor.open_pass) cursor.passes.push_back({0, 1});
    cursor.passes.back().high = cursor.delivered;
    if (cursor.passes.size() > kPassesMax) {
      Pass& first = cursor.passes[0];
      Pass& second = cursor.passes[1];
      second = {std::min(first.high, second.high), first.times + second.times};
      cursor.passes.erase(cursor.passes.begin());
    }
  }
  cursor.open_pass = false;
  prune(cursor.passes, cursor.acknowledged);
}

// After the death of an owner, deliveries are written down before they are made: the message that kills its reader shows
// a growing attempt.
Status EmbeddedSubscription::write_passes() {
  const bool needed = std::any_of(cursors_.begin(), cursors_.end(), [](const auto& c) {
    return c->held && c->suspicious && c->delivered > c->acknowledged && (!c->open_pass || c->passes.back().high < c->delivered);
  });
  if (!needed) return {};
  UTP_TRY(auto change, directory_->cursors().change());
  std::vector<std::pair<Cursor*, std::vector<Pass>>> written;
  for (auto& cursor : cursors_) {
    if (!cursor->held || !cursor->suspicious || cursor->delivered <= cursor->acknowledged) continue;
    UTP_TRY(auto record, change.cursor(cursor->topic->name, cursor->partition->number(), options_.group));
    if (!record || record->owner != options_.member || record->epoch != cursor->epoch) continue;
    record->passes = cursor->passes;
    if (!cursor->open_pass) record->passes.push_back({0, 1});
    record->passes.back().high = cursor->delivered;
    UTP_CHECK(change.put_cursor(cursor->topic->name, cursor->partition->number(), options_.group, *record));
    written.emplace_back(cursor.get(), std::move(record->passes));
  }
  UTP_CHECK(change.commit());
  for (auto& [cursor, passes] : written) {
    cursor->passes = std::move(passes);
    cursor->open_pass = true;
  }
  directory_->cursors_changed();
  return {};
}

// Nothing is held that is not recorded: after an error everything is as it was before, and due again at once.
Status EmbeddedSubscription::maintain() {
  std::vector<Cursor> before;
  before.reserve(cursors_.size());
  for (const auto& cursor : cursors_) before.push_back(*cursor);
  Status status = try_maintain();
  if (status) return status;
  for (std::size_t i = 0; i < before.size(); ++i) *cursors_[i] = std::move(before[i]);
  next_maintenance_ns_ = 0;
  return status;
}

Status EmbeddedSubscription::try_maintain() {
  BusState& shared = directory_->state();
  const std::uint32_t seen = shared.groups.load();
  const std::int64_t now = directory_->clock().monotonic_ns();
  next_maintenance_ns_ = now + options_.lease_ns / 3;
  UTP_TRY(auto change, directory_->cursors().change());
  UTP_TRY(auto members, change.members(options_.group));
  bool changed = true;  // until found that this member is known
  std::vector<LiveMember> live;
  for (MemberRecord& member : members) {
    if (member.member == options_.member) {
      changed = !directory_->is_live(member.until_ns, member.boot, member.process) || member.patterns != options_.patterns;
    } else if (directory_->is_live(member.until_ns, member.boot, member.process)) {
      // When a silent member's time is over, or its process dead, its partitions are for the others.
      next_maintenance_ns_ = std::min(next_maintenance_ns_, member.until_ns);
      if (member.process != directory_->process()) next_maintenance_ns_ = std::min(next_maintenance_ns_, now + kWatchNs);
      live.push_back({std::move(member.member), std::move(member.patterns)});
    } else {
      UTP_CHECK(change.remove_member(options_.group, member.member));
    }
  }
  const MemberRecord own{options_.member, now + options_.lease_ns, directory_->boot(), directory_->process(), options_.patterns};
  UTP_CHECK(change.put_member(options_.group, own));
  live.push_back({options_.member, options_.patterns});
  std::sort(live.begin(), live.end(), [](const LiveMember& a, const LiveMember& b) { return a.name < b.name; });
  for (auto& cursor : cursors_) UTP_CHECK(maintain_cursor(change, *cursor, live, now, changed));
  UTP_CHECK(change.commit());
  directory_->cursors_changed();
  groups_seen_ = seen;
  if (changed) {
    if (shared.groups.fetch_add(1) == seen) groups_seen_ = seen + 1;
    directory_->wake();
  }
  return {};
}

Status EmbeddedSubscription::maintain_cursor(CursorStore::Change& change, Cursor& cursor, const std::vector<LiveMember>& live,
                                             std::int64_t now, bool& released) {
  const std::string& topic = cursor.topic->name;
  const std::uint32_t partition = cursor.partition->number();
  const bool mine = reader_of(live, topic, partition) == options_.member;
  UTP_TRY(auto found, change.cursor(topic, partition, options_.group));
  if (!found) {  // the group was deleted under us: it begins anew
    UTP_TRY(const auto index, cursor.partition->index());
    CursorRecord fresh;
    fresh.position = index->segments.front().base - 1;
    fresh.count = index->segments.front().count_before;
    fresh.epoch = static_cast<std::uint64_t>(directory_->clock().now().ns);
    found = fresh;
    cursor.held = false;
  }
  CursorRecord& record = *found;
  if (cursor.held && (record.owner != options_.member || record.epoch != cursor.epoch)) cursor.held = false;
  if (cursor.held) {
    cursor.handing_over = !mine;
    if (mine) {
      record.lease_until_ns = now + options_.lease_ns;
      record.boot = directory_->boot();
      record.process = directory_->process();
    } else if (cursor.delivered <= cursor.acknowledged) {
      record.owner.clear();
      cursor.held = false;
      released = true;
    } else {
      return {};  // what was delivered may still be acknowledged until the lease runs out
    }
    return change.put_cursor(topic, partition, options_.group, record);
  }
  if (!mine) return {};
  const bool free = record.owner.empty() || record.owner == options_.member ||
                    !directory_->is_live(record.lease_until_ns, record.boot, record.process);
  if (!free) {
    next_maintenance_ns_ = std::min({next_maintenance_ns_, record.lease_until_ns, now + kWatchNs});
    return {};
  }
  prune(record.passes, record.position);
  cursor.suspicious = !record.owner.empty() || !record.passes.empty();
  cursor.passes = record.passes;
  cursor.open_pass = false;
  cursor.held = true;
  cursor.handing_over = false;
  cursor.acknowledged = cursor.delivered = record.position;
  record.owner = options_.member;
  cursor.epoch = ++record.epoch;
  record.lease_until_ns = now + options_.lease_ns;
  record.boot = directory_->boot();
  record.process = directory_->process();
  UTP_CHECK(place(cursor, record.position + 1));
  return change.put_cursor(topic, partition, options_.group, record);
}

Status EmbeddedSubscription::acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) {
  const std::string place_name = "acknowledge " + std::string(topic) + "/" + std::to_string(partition);
  if (!in_group()) return fail(Code::kInvalidArgument, place_name + ": this subscription has no group; subscribe with one");
  const auto at = std::find_if(cursors_.begin(), cursors_.end(), [&](const auto& c) {
    return c->partition->number() == partition && c->topic->name == topic;
  });
  if (at == cursors_.end()) return fail(Code::kInvalidArgument, place_name + ": this subscription does not read it");
  Cursor& cursor = **at;
  // What was delivered was published, also where its publisher died before it said so.
  if (position > std::max(cursor.partition->state().tail.load(), cursor.delivered)) {
    return fail(Code::kInvalidArgument, place_name + ": position " + std::to_string(position) + " was not published yet");
  }
  const auto fenced = [&] {
    cursor.held = false;
    next_maintenance_ns_ = 0;
    return fail(Code::kFenced, place_name + ": the lease of member " + options_.member + " of group " + options_.group +
                                   " has gone to another; drop what was read of this partition");
  };
  if (!cursor.held) return fenced();
  const std::int64_t now = directory_->clock().monotonic_ns();
  UTP_TRY(auto change, directory_->cursors().change());
  UTP_TRY(auto record, change.cursor(topic, partition, options_.group));
  if (!record || record->owner != options_.member || record->epoch != cursor.epoch) return fenced();
  if (position > record->position) {
    UTP_TRY(const auto index, cursor.partition->index());
    record->position = position;
    record->count = Partition::count_at(*index, position);
  }
  std::vector<Pass> passes = cursor.passes;
  const bool is_open = cursor.open_pass && passes.back().high > position;
  prune(passes, position);
  record->passes = passes;
  const bool release = cursor.handing_over && cursor.delivered <= position;
  if (release) record->owner.clear();
  else if (!cursor.handing_over) record->lease_until_ns = now + options_.lease_ns;
  UTP_CHECK(change.put_cursor(topic, partition, options_.group, *record));
  UTP_CHECK(change.commit());
  directory_->cursors_changed();
  cursor.acknowledged = std::max(cursor.acknowledged, position);
  cursor.passes = std::move(passes);
  cursor.open_pass = is_open;
  if (cursor.passes.empty()) cursor.suspicious = false;
  if (release) {
    cursor.held = false;
    directory_->state().groups.fetch_add(1);
    directory_->wake();
  } else if (cursor.next <= position) {
    UTP_CHECK(place(cursor, position + 1));
  }
  return {};
}

Status EmbeddedSubscription::rewind() {
  messages_.clear();
  pending_ = false;
  for (auto& cursor : cursors_) {
    if (!in_group()) {
      UTP_CHECK(place(*cursor, cursor->start));
      continue;
    }
    if (!cursor->held) continue;
    end_pass(*cursor);
    cursor->delivered = cursor->acknowledged;
    UTP_CHECK(place(*cursor, cursor->acknowledged + 1));
  }
  if (!in_group()) return {};
  UTP_TRY(auto change, directory_->cursors().change());
  for (auto& cursor : cursors_) {
    if (!cursor->held || cursor->passes.empty()) continue;
    UTP_TRY(auto record, change.cursor(cursor->topic->name, cursor->partition->number(), options_.group));
    if (!record || record->owner != options_.member || record->epoch != cursor->epoch) continue;
    record->passes = cursor->passes;
    UTP_CHECK(change.put_cursor(cursor->topic->name, cursor->partition->number(), options_.group, *record));
  }
  UTP_CHECK(change.commit());
  directory_->cursors_changed();
  return {};
}

// What retention took from a held partition before the group acknowledged it; taken once.
void EmbeddedSubscription::collect_trimmed() {
  for (auto& cursor : cursors_) {
    if (!cursor->held) continue;
    const std::string& topic = cursor->topic->name;
    const std::uint32_t partition = cursor->partition->number();
    bool any = false;
    (void)directory_->cursors().for_each_cursor(topic, partition, [&](std::string_view group, CursorRecord& record) {
      any |= group == options_.group && record.unreported > 0;
    });
    if (!any) continue;
    auto change = directory_->cursors().change();
    if (!change) return;
    auto record = change->cursor(topic, partition, options_.group);
    if (!record || !*record) continue;
    const std::uint64_t count = std::exchange((*record)->unreported, 0);
    if (!change->put_cursor(topic, partition, options_.group, **record) || !change->commit()) continue;
    directory_->cursors_changed();
    cursor->lost += count;
  }
}

}  // namespace utp::embedded_bus
