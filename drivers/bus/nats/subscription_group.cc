// What a subscription does as a member of a group: leases, acknowledgement, redelivery.
#include <algorithm>
#include <chrono>

#include "core/log.h"
#include "drivers/bus/nats/subscription.h"

namespace utp::nats_bus {
namespace {

constexpr std::int64_t kAgainNs = 1'000'000;          // the least pause between two looks at a lease that is about to end
constexpr std::int64_t kForgetNs = 60'000'000'000;    // entries of members that are gone stay for so long: all others have seen them
constexpr int kChangeTries = 5;
constexpr std::int64_t kFloorLookNs = 20'000'000;     // between two looks at what was removed, while messages are acknowledged

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

NatsSubscription::~NatsSubscription() {
  if (!in_group() || link_ == nullptr || !link_->is_alive()) return;  // the leases run out by themselves
  MemberRecord gone;
  gone.patterns = options_.patterns;
  if (!server_->put(*link_, member_key(options_.group, options_.member), gone.write())) return;
  for (auto& cursor : cursors_) {
    if (!cursor->held) continue;
    end_pass(*cursor);
    const auto released = change(*cursor, [&](GroupRecord& record) -> Status {
      record.passes = cursor->passes;
      record.owner.clear();
      return {};
    });
    if (!released) return;
  }
}

GroupKey NatsSubscription::group_key(const Cursor& cursor) const { return {options_.group, "", cursor.topic, cursor.partition}; }

void NatsSubscription::end_pass(Cursor& cursor) {
  if (cursor.delivered > cursor.acknowledged) cursor.passes.set_open(cursor.delivered);
  cursor.passes.close();
  cursor.passes.prune(cursor.acknowledged);
}

void NatsSubscription::lose(Cursor& cursor) {
  cursor.held = false;
  cursor.handing_over = false;
  drop_fetched(cursor);
  next_maintenance_ns_ = 0;
}

// The record as it stands on the server.
Status NatsSubscription::refresh(const Cursor& cursor) {
  UTP_TRY(const Entry entry, server_->get(*link_, record_key(options_.group, cursor.topic, cursor.partition)));
  view_.forget(group_key(cursor));
  if (!entry.value.empty()) {
    view_.take(group_key(cursor), entry.value, entry.revision, entry.time);
  } else {
    group_feed_.close();  // somebody has removed the group, or the bucket: what else is known of it may be gone, too
  }
  return {};
}

// The revision fences: a write counts only where nobody has written since this member read.
Result<bool> NatsSubscription::change(Cursor& cursor, const std::function<Status(GroupRecord&)>& edit) {
  for (int tries = 0; tries < kChangeTries; ++tries) {
    const GroupView::Record* known = view_.record(cursor.topic, cursor.partition);
    if (known == nullptr) {
      UTP_CHECK(refresh(cursor));
      known = view_.record(cursor.topic, cursor.partition);
    }
    if (known == nullptr || known->record.owner != options_.member || known->record.epoch != cursor.epoch) {
      lose(cursor);
      return false;
    }
    GroupRecord record = known->record;
    UTP_CHECK(edit(record));
    const std::string value = record.write();
    const auto written = server_->put(*link_, record_key(options_.group, cursor.topic, cursor.partition), value, known->revision);
    if (written) {
      view_.take(group_key(cursor), value, *written, {});
      return true;
    }
    if (written.error().code != Code::kFenced) return fail(written.error());
    UTP_CHECK(refresh(cursor));  // a write of ours whose answer was lost, or another owner
  }
  return fail(Code::kUnavailable, link_->place() + ": the record of group " + options_.group + " changes all the time; repeat the call", true);
}

// Counts what was removed before the group acknowledged it, and moves the group behind it. True when there was something.
Result<bool> NatsSubscription::account(Cursor& cursor, const StreamFacts& facts, GroupRecord& record) {
  const std::uint64_t reached = cursor.lineage.sequence_reached(record.acknowledged);
  if (reached >= facts.floor()) return false;
  record.trimmed += facts.floor() - reached;
  record.unreported += facts.floor() - reached;
  record.acknowledged = std::max(record.acknowledged, cursor.lineage.position_of(facts.floor()));
  return true;
}

// After an owner that did not leave, deliveries are written down before they are made: the message that kills its reader shows a
// growing attempt.
Status NatsSubscription::write_passes() {
  for (auto& cursor : cursors_) {
    if (!cursor->held || !cursor->suspicious || cursor->delivered <= cursor->acknowledged) continue;
    if (cursor->passes.open_high() >= cursor->delivered) continue;
    Passes passes = cursor->passes;
    passes.set_open(cursor->delivered);
    UTP_TRY(const bool mine, change(*cursor, [&](GroupRecord& record) -> Status {
      record.passes = passes;
      return {};
    }));
    if (mine) cursor->passes.set_open(cursor->delivered);
  }
  return {};
}

// ---- leases ----

// This member is put down as alive. The server sends the entry back, and with it its clock.
Status NatsSubscription::heartbeat() {
  MemberRecord me;
  me.lease_ns = options_.lease_ns;
  me.patterns = options_.patterns;
  UTP_TRY(const std::uint64_t revision, server_->put(*link_, member_key(options_.group, options_.member), me.write()));
  next_heartbeat_ns_ = steady_ns() + options_.lease_ns / 3;
  const std::int64_t patience = steady_ns() + link_->answer_timeout_ms() * 1'000'000;
  for (;;) {
    UTP_CHECK(connect());
    const auto seen = view_.members().find(options_.member);
    if (is_view_whole_ && seen != view_.members().end() && seen->second.revision >= revision) return {};
    if (steady_ns() > patience) {
      next_heartbeat_ns_ = 0;
      group_feed_.close();
      return fail(link_->error("reading the group's entries", NATS_TIMEOUT));
    }
    UTP_CHECK(ask(true));
    UTP_CHECK(pump(kAgainNs));
  }
}

std::vector<LiveMember> NatsSubscription::live_members() {
  std::vector<LiveMember> live;
  auto& members = view_.members();
  for (auto member = members.begin(); member != members.end();) {
    const auto& [name, entry] = *member;
    const std::int64_t left = view_.lease_left_ns(name);
    if (name == options_.member || left > 0) {
      live.push_back({name, name == options_.member ? options_.patterns : entry.record.patterns});
      // When a silent member's time is over, its partitions are for the others.
      if (name != options_.member) next_maintenance_ns_ = std::min(next_maintenance_ns_, steady_ns() + left + kAgainNs);
      ++member;
    } else if (view_.silence_ns(name) > kForgetNs + entry.record.lease_ns) {
      (void)server_->remove(*link_, member_key(options_.group, name), entry.revision);
      member = members.erase(member);
    } else {
      ++member;
    }
  }
  return live;
}

Status NatsSubscription::maintain() {
  UTP_CHECK(connect());
  next_maintenance_ns_ = steady_ns() + options_.lease_ns / 3;
  Status done = [&]() -> Status {
    if (!is_view_whole_ || steady_ns() >= next_heartbeat_ns_ || !view_.members().contains(options_.member)) UTP_CHECK(heartbeat());
    is_view_changed_ = false;
    const auto live = live_members();
    for (auto& cursor : cursors_) {
      UTP_CHECK(settle(*cursor, reader_of(live, cursor->topic, cursor->partition) == options_.member));
    }
    return {};
  }();
  if (!done) next_maintenance_ns_ = 0;
  return done;
}

Status NatsSubscription::settle(Cursor& cursor, bool mine) {
  const GroupView::Record* known = view_.record(cursor.topic, cursor.partition);
  if (cursor.held) {
    if (known == nullptr || known->record.owner != options_.member || known->record.epoch != cursor.epoch) {
      lose(cursor);
      return {};
    }
    cursor.handing_over = !mine;
    if (mine) return {};
    drop_fetched(cursor);
    if (cursor.delivered > cursor.acknowledged) return {};
    UTP_TRY(const bool released, change(cursor, [&](GroupRecord& record) -> Status {
      record.passes = cursor.passes;
      record.owner.clear();
      return {};
    }));
    if (released) cursor.held = cursor.handing_over = false;
    return {};
  }
  if (!mine) return {};
  if (known == nullptr) {  // somebody has removed it
    UTP_CHECK(set_lineage(cursor));
    UTP_CHECK(place_new(cursor, false));
    UTP_CHECK(refresh(cursor));
    known = view_.record(cursor.topic, cursor.partition);
    if (known == nullptr) return {};
  }
  const std::string& owner = known->record.owner;
  if (!owner.empty() && owner != options_.member && view_.lease_left_ns(owner) > 0) return {};  // its entry wakes us, or its lease's end
  return take_over(cursor, known->record);
}

Status NatsSubscription::take_over(Cursor& cursor, const GroupRecord& before) {
  const GroupView::Record* known = view_.record(cursor.topic, cursor.partition);
  GroupRecord record = before;
  record.owner = options_.member;
  record.epoch = std::to_string(SystemClock().now().ns);
  if (record.epoch == before.epoch) record.epoch += "+";
  const std::string value = record.write();
  const bool was_owned = !before.owner.empty();
  const auto written = server_->put(*link_, record_key(options_.group, cursor.topic, cursor.partition), value, known->revision);
  if (!written) {
    if (written.error().code != Code::kFenced) return fail(written.error());
    next_maintenance_ns_ = 0;
    return refresh(cursor);  // another was first
  }
  view_.take(group_key(cursor), value, *written, {});
  cursor.held = true;
  cursor.handing_over = false;
  cursor.acknowledged = cursor.delivered = record.acknowledged;
  drop_fetched(cursor);
  cursor.is_lost_due = record.unreported > 0;
  cursor.epoch = record.epoch;
  cursor.passes = record.passes;
  cursor.passes.prune(cursor.acknowledged);
  cursor.suspicious = was_owned || !cursor.passes.empty();
  return {};
}

// ---- acknowledgement ----

Status NatsSubscription::acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) {
  const std::string place = "acknowledge " + std::string(topic) + "/" + std::to_string(partition);
  if (!in_group()) return fail(Code::kInvalidArgument, place + ": this subscription has no group; subscribe with one");
  const auto at =
      std::find_if(cursors_.begin(), cursors_.end(), [&](const auto& c) { return c->partition == partition && c->topic == topic; });
  if (at == cursors_.end()) return fail(Code::kInvalidArgument, place + ": this subscription does not read it");
  Cursor& cursor = **at;
  const auto fenced = [&] {
    return fail(Code::kFenced, place + ": the lease of member " + options_.member + " of group " + options_.group +
                                   " has gone to another; drop what was read of this partition");
  };
  if (!cursor.held) return fenced();
  UTP_CHECK(connect());
  // What was removed meanwhile is looked for now and then: what this member has just been given was there.
  StreamFacts facts;
  if (!cursor.feed.is_open() || position > cursor.delivered || cursor.is_lost_due || steady_ns() > cursor.next_look_ns) {
    if (!cursor.feed.is_open()) UTP_CHECK(set_lineage(cursor));
    UTP_TRY(const auto found, link_->stream(cursor.stream));
    facts = found.value_or(StreamFacts());
    cursor.next_look_ns = steady_ns() + kFloorLookNs;
    if (position > cursor.delivered && position > cursor.lineage.position_of(facts.last))
      return fail(Code::kInvalidArgument, place + ": position " + write_position(position) + " was not published yet");
  }
  Passes passes = cursor.passes;
  passes.prune(position);
  const bool release = cursor.handing_over && cursor.delivered <= position;
  std::uint64_t acknowledged = 0;
  bool is_lost_due = false;
  UTP_TRY(const bool mine, change(cursor, [&](GroupRecord& record) -> Status {
    UTP_CHECK(account(cursor, facts, record));
    record.acknowledged = acknowledged = std::max(record.acknowledged, position);
    record.passes = passes;
    is_lost_due = record.unreported > 0;
    if (release) record.owner.clear();
    return {};
  }));
  if (!mine) return fenced();
  is_unsent_ = false;  // it went with the write
  cursor.acknowledged = std::max(cursor.acknowledged, acknowledged);
  cursor.is_lost_due |= is_lost_due;
  cursor.passes = std::move(passes);
  if (cursor.passes.empty()) cursor.suspicious = false;
  if (cursor.fetched < cursor.acknowledged) drop_fetched(cursor);  // reading goes on behind it
  if (release) {
    cursor.held = cursor.handing_over = false;
    return {};
  }
  if (steady_ns() >= next_heartbeat_ns_) return heartbeat();
  return {};
}

Status NatsSubscription::rewind() {
  messages_.clear();
  kept_.clear();
  fetched_.clear();
  pending_ = false;
  for (auto& cursor : cursors_) {
    cursor->buffered = 0;
    if (in_group() && !cursor->held) continue;
    if (in_group()) end_pass(*cursor);
    cursor->delivered = cursor->acknowledged;
    drop_fetched(*cursor);
  }
  if (!in_group()) return {};
  UTP_CHECK(connect());
  for (auto& cursor : cursors_) {
    if (!cursor->held || cursor->passes.empty()) continue;
    UTP_CHECK(change(*cursor, [&](GroupRecord& record) -> Status {
      record.passes = cursor->passes;
      return {};
    }));
  }
  return {};
}

std::vector<LostRange> NatsSubscription::take_lost() {
  std::vector<LostRange> lost;
  for (auto& cursor : cursors_) {
    if (in_group()) {
      if (!cursor->held || !cursor->is_lost_due || !connect()) continue;
      const auto facts = link_->stream(cursor->stream);
      if (!facts || !*facts) continue;
      std::uint64_t count = 0;
      std::uint64_t acknowledged = 0;
      const auto taken = change(*cursor, [&](GroupRecord& record) -> Status {
        UTP_CHECK(account(*cursor, **facts, record));
        count = record.unreported;
        acknowledged = record.acknowledged;
        record.unreported = 0;
        return {};
      });
      if (!taken || !*taken) continue;  // it stays due
      cursor->is_lost_due = false;
      cursor->acknowledged = std::max(cursor->acknowledged, acknowledged);
      cursor->lost = count;
    }
    if (cursor->lost == 0) continue;
    lost.push_back({cursor->topic, cursor->partition, cursor->lost});
    cursor->lost = 0;
  }
  return lost;
}

}  // namespace utp::nats_bus
