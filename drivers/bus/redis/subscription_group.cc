// What a subscription does as a member of a group: leases, acknowledgement, redelivery.
#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>

#include "drivers/bus/redis/subscription.h"

namespace utp::redis_bus {
namespace {

constexpr std::int64_t kAgainNs = 1'000'000;  // the least pause between two looks at a lease that is about to end

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

std::string micros(std::int64_t ns) { return std::to_string(std::max<std::int64_t>(ns / 1000, 1)); }

std::vector<std::string> split(std::string_view words) {
  std::vector<std::string> out;
  for (std::size_t at = 0; at < words.size();) {
    const std::size_t end = std::min(words.find(' ', at), words.size());
    out.emplace_back(words.substr(at, end - at));
    at = end + 1;
  }
  return out;
}

}  // namespace

void RedisSubscription::end_pass(Cursor& cursor) {
  if (cursor.delivered > cursor.acknowledged) cursor.passes.set_open(cursor.delivered);
  cursor.passes.close();
  cursor.passes.prune(cursor.acknowledged);
}

// After an owner that did not leave, deliveries are written down before they are made: the message that kills its
// reader shows a growing attempt.
Status RedisSubscription::write_passes() {
  std::vector<Cursor*> noted;
  for (auto& cursor : cursors_) {
    if (!cursor->held || !cursor->suspicious || cursor->delivered <= cursor->acknowledged) continue;
    if (cursor->passes.open_high() < cursor->delivered) noted.push_back(cursor.get());
  }
  if (noted.empty()) return {};
  UTP_CHECK(connection_.ensure());
  for (Cursor* cursor : noted) {
    Passes passes = cursor->passes;
    passes.set_open(cursor->delivered);
    connection_.add(Script::kNote, cursor->stream,
                    {options_.group, options_.member, cursor->epoch, passes.write(), "0"});
  }
  UTP_TRY(auto replies, connection_.run_all());
  for (std::size_t i = 0; i < replies.size(); ++i) {
    if (!replies[i]) return fail(std::move(replies[i].error()));
    noted[i]->passes.set_open(noted[i]->delivered);
  }
  return {};
}

// This member is put down as alive; the others that are, by name.
Result<std::vector<LiveMember>> RedisSubscription::live_members(bool& changed) {
  std::string patterns;
  for (const std::string& pattern : options_.patterns) patterns += (patterns.empty() ? "" : " ") + pattern;
  connection_.add(Script::kMembers, server_->keys().members(options_.group),
                  {options_.member, micros(options_.lease_ns), patterns});
  UTP_TRY(const Reply reply, connection_.run_one());
  const auto answer = items(reply.get());
  std::vector<LiveMember> live{{options_.member, options_.patterns}};
  changed = !answer.empty() && text(answer[0]) == "1";
  for (std::size_t i = 1; i + 2 < answer.size(); i += 3) {
    // When a silent member's time is over, its partitions are for the others.
    const auto left = static_cast<std::int64_t>(number(answer[i + 1])) * 1000;
    next_maintenance_ns_ = std::min(next_maintenance_ns_, steady_ns() + left + kAgainNs);
    live.push_back({std::string(text(answer[i])), split(text(answer[i + 2]))});
  }
  std::sort(live.begin(), live.end(), [](const LiveMember& a, const LiveMember& b) { return a.name < b.name; });
  return live;
}

Status RedisSubscription::maintain() {
  UTP_CHECK(connection_.ensure());
  next_maintenance_ns_ = steady_ns() + options_.lease_ns / 3;
  bool changed = false;
  Status done = [&]() -> Status {
    UTP_TRY(const auto live, live_members(changed));
    for (const auto& cursor : cursors_) {
      const bool mine = reader_of(live, cursor->topic, cursor->partition) == options_.member;
      if (cursor->held) cursor->handing_over = !mine;
      const bool idle = cursor->held && cursor->delivered <= cursor->acknowledged;
      connection_.add(Script::kLease, cursor->stream,
                      {options_.group, options_.member, cursor->held ? std::string_view(cursor->epoch) : "",
                       mine ? "1" : "0", micros(options_.lease_ns), idle ? "1" : "0", cursor->passes.write()});
    }
    UTP_TRY(auto replies, connection_.run_all());
    for (std::size_t i = 0; i < replies.size(); ++i) {
      if (!replies[i]) return fail(std::move(replies[i].error()));
      take_lease(*cursors_[i], replies[i]->get(), changed);
    }
    return {};
  }();
  if (!done) {
    next_maintenance_ns_ = 0;
    return done;
  }
  return changed ? server_->announce(connection_, "group", options_.group) : Status();
}

void RedisSubscription::take_lease(Cursor& cursor, const redisReply* reply, bool& released) {
  const auto answer = items(reply);
  const std::string_view state = answer.empty() ? std::string_view() : text(answer[0]);
  if (state == "held") {
    cursor.is_lost_due |= number(answer[2]) > 0;
    if (cursor.handing_over) drop_fetched(cursor);
    return;
  }
  cursor.held = false;
  cursor.handing_over = false;
  drop_fetched(cursor);
  if (state == "released") released = true;
  if (state == "busy")
    next_maintenance_ns_ =
        std::min(next_maintenance_ns_, steady_ns() + static_cast<std::int64_t>(number(answer[1])) * 1000 + kAgainNs);
  if (state != "taken" || answer.size() != 6) return;
  cursor.held = true;
  cursor.acknowledged = cursor.delivered = cursor.fetched = position_of(text(answer[1])).value_or(0);
  cursor.is_lost_due = number(answer[2]) > 0;
  cursor.epoch = text(answer[3]);
  cursor.passes = Passes::read(text(answer[4]));
  cursor.passes.prune(cursor.acknowledged);
  cursor.suspicious = !text(answer[5]).empty() || !cursor.passes.empty();
}

Status RedisSubscription::acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) {
  const std::string place = "acknowledge " + std::string(topic) + "/" + std::to_string(partition);
  if (!in_group()) return fail(Code::kInvalidArgument, place + ": this subscription has no group; subscribe with one");
  const auto at = std::find_if(cursors_.begin(), cursors_.end(),
                               [&](const auto& c) { return c->partition == partition && c->topic == topic; });
  if (at == cursors_.end()) return fail(Code::kInvalidArgument, place + ": this subscription does not read it");
  Cursor& cursor = **at;
  const auto fenced = [&] {
    cursor.held = false;
    next_maintenance_ns_ = 0;
    return fail(Code::kFenced, place + ": the lease of member " + options_.member + " of group " + options_.group +
                                   " has gone to another; drop what was read of this partition");
  };
  if (!cursor.held) return fenced();
  Passes passes = cursor.passes;
  passes.prune(position);
  const bool release = cursor.handing_over && cursor.delivered <= position;
  UTP_CHECK(connection_.ensure());
  connection_.add(Script::kAcknowledge, cursor.stream,
                  {options_.group, options_.member, cursor.epoch, id_of(position),
                   release ? "" : micros(options_.lease_ns), passes.write(), position > cursor.delivered ? "1" : "0"});
  UTP_TRY(const Reply reply, connection_.run_one());
  const auto answer = items(reply.get());
  const std::string_view state = answer.empty() ? std::string_view() : text(answer[0]);
  if (state == "fenced") return fenced();
  if (state == "ahead")
    return fail(Code::kInvalidArgument, place + ": position " + std::to_string(position) + " was not published yet");
  if (state != "done" || answer.size() != 3)
    return fail(Code::kInternal, place + ": " + connection_.place() + " gave no answer that is known");
  cursor.acknowledged = std::max(cursor.acknowledged, position_of(text(answer[1])).value_or(0));
  cursor.is_lost_due |= number(answer[2]) > 0;
  cursor.passes = std::move(passes);
  if (cursor.passes.empty()) cursor.suspicious = false;
  if (cursor.fetched < cursor.acknowledged) cursor.fetched = cursor.acknowledged;
  if (!release) return {};
  cursor.held = false;
  return server_->announce(connection_, "group", options_.group);
}

Status RedisSubscription::rewind() {
  messages_.clear();
  fetched_.clear();
  pending_ = false;
  for (auto& cursor : cursors_) {
    if (!in_group()) {
      cursor->fetched = cursor->start;
      continue;
    }
    if (!cursor->held) continue;
    end_pass(*cursor);
    cursor->delivered = cursor->fetched = cursor->acknowledged;
  }
  if (!in_group()) return {};
  UTP_CHECK(connection_.ensure());
  for (auto& cursor : cursors_) {
    if (!cursor->held || cursor->passes.empty()) continue;
    connection_.add(Script::kNote, cursor->stream,
                    {options_.group, options_.member, cursor->epoch, cursor->passes.write(), "0"});
  }
  UTP_TRY(auto replies, connection_.run_all());
  for (auto& reply : replies) {
    if (!reply) return fail(std::move(reply.error()));
  }
  return {};
}

}  // namespace utp::redis_bus
