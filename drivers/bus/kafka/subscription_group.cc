// What a subscription does as a member of a group: partitions taken and given up, acknowledgement, redelivery.
#include <algorithm>
#include <thread>
#include <utility>

#include "core/log.h"
#include "drivers/bus/kafka/subscription.h"

namespace utp::kafka_bus {
namespace {

constexpr std::int64_t kLeaveNs = 3'000'000'000;  // a member that is going waits no longer for its cluster
constexpr std::int64_t kHandOverNs = 3'000'000'000;
constexpr auto kAgain = std::chrono::milliseconds(5);

bool is_fenced(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || error == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID ||
         error == RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID || error == RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST;
}

// The group is being rebalanced, or its broker has just taken it over.
bool passes_by(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS || error == RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS ||
         error == RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE || error == RD_KAFKA_RESP_ERR_NOT_COORDINATOR ||
         error == RD_KAFKA_RESP_ERR__WAIT_COORD;
}

}  // namespace

// A new group is put where it starts before anybody joins it: figures show it, and whatever is published from now on is
// its.
Status KafkaSubscription::start_group(const std::vector<TopicRecord>& found) {
  const std::string group = server_->group_name(options_.group);
  std::vector<Partition> wanted;
  for (const TopicRecord& record : found) {
    for (const Partition& partition : record.all()) wanted.push_back(partition);
  }
  UTP_TRY(const auto known, server_->admin().committed(group, wanted));
  std::vector<Partition> fresh;
  for (const Partition& partition : wanted) {
    if (!known.contains(partition)) fresh.push_back(partition);
  }
  UTP_TRY(const auto places, server_->places(fresh, options_.start));
  PerPartition<Committed> starts;
  for (const auto& [partition, offset] : places) {
    known_at_start_.insert(partition.first);
    starts[partition] = {offset, Note().write()};
  }
  UTP_CHECK(server_->admin().commit(group, starts));  // where it has members, they do this
  return {};
}

// ---- partitions taken and given up ----

// Begins where the group stands, or goes on as this member was.
void KafkaSubscription::take_over(Cursor& cursor, const rd_kafka_topic_partition_t& part,
                                  const PerPartition<std::int64_t>& places) {
  drop_fetched(cursor);
  cursor.low = 0;
  if (std::exchange(cursor.is_kept, false) && part.offset == static_cast<std::int64_t>(cursor.acknowledged) &&
      note_of(part) == cursor.told_note) {
    cursor.note = cursor.kept_note;
    cursor.note.open = true;
    return;
  }
  std::int64_t offset = part.offset;
  cursor.note = Note::read(note_of(part));
  if (offset < 0) {
    const auto place = places.find(cursor.partition);
    offset = place == places.end() ? 0 : std::max<std::int64_t>(place->second, 0);
    cursor.note = {};
  }
  cursor.acknowledged = cursor.delivered = cursor.next = static_cast<std::uint64_t>(offset);
  cursor.delivered_time = {};
  cursor.times.clear();
  cursor.suspicious = cursor.note.open || !cursor.note.passes.empty();
  cursor.note.passes.prune(cursor.acknowledged);
  cursor.note.open = true;
}

Status KafkaSubscription::take_assignment() {
  if (!assigned_) return {};
  const auto told = parts(assigned_.get());
  if (!told.empty()) {
    if (const auto error = rd_kafka_committed(client_.get(), assigned_.get(), answer_ms())) {
      return fail_with(server_->options(), "offsets of group " + options_.group, error);
    }
  }
  std::vector<Partition> all, fresh, later;
  for (const auto& part : told) {
    if (part.err) return fail_with(server_->options(), "offsets of group " + options_.group, part.err);
    all.emplace_back(part.topic, static_cast<std::uint32_t>(part.partition));
    if (part.offset < 0)
      (known_at_start_.contains(part.topic) || options_.start.kind != Start::Kind::kLatest ? fresh : later)
          .push_back(all.back());
  }
  UTP_TRY(const auto marks, server_->watermarks(all));
  UTP_TRY(auto places, server_->places(fresh, options_.start));
  // What was made after this subscription is read whole: all of it was published since.
  UTP_TRY(const auto begins, server_->places(later, {}));
  places.insert(begins.begin(), begins.end());
  std::vector<Cursor*> taken;
  for (auto& part : told) {
    Cursor& cursor = cursor_of({part.topic, static_cast<std::uint32_t>(part.partition)});
    take_over(cursor, part, places);
    cursor.is_note_due = true;
    cursor.handing_over = false;
    cursor.astray = cursor.stopped = false;
    if (const auto mark = marks.find(cursor.partition); mark != marks.end()) {
      note_trimmed(cursor, static_cast<std::uint64_t>(mark->second.low));
      cursor.astray = cursor.stopped = cursor.next > static_cast<std::uint64_t>(mark->second.high);
    }
    part.offset = static_cast<std::int64_t>(cursor.next);
    taken.push_back(&cursor);
  }
  last_topic_ = nullptr;
  if (const auto error = rd_kafka_assign(client_.get(), assigned_.get())) {
    return fail_with(server_->options(), "partitions of group " + options_.group, error);
  }
  for (Cursor* cursor : taken) cursor->held = true;
  assigned_.reset();
  return {};
}

void KafkaSubscription::take_revocation() {
  const bool lost = rd_kafka_assignment_lost(client_.get()) != 0;
  for (const auto& part : parts(revoked_.get())) {
    Cursor& cursor = cursor_of({part.topic, static_cast<std::uint32_t>(part.partition)});
    drop_fetched(cursor);
    cursor.handing_over = true;
    if (lost) cursor.held = cursor.is_kept = false;
  }
  hand_over_until_ns_ = steady_ns() + std::min(lease_ns_, kHandOverNs);
  if (lost) {
    assigned_.reset();
    hand_over(true);
  }
}

// With each change of a group all of its partitions are given up and dealt anew, and nobody reads meanwhile. What was
// delivered of them is to be acknowledged first, but the others do not wait for long.
void KafkaSubscription::hand_over(bool is_closing) {
  if (!revoked_) return;
  std::vector<Cursor*> given;
  for (const auto& part : parts(revoked_.get())) {
    Cursor& cursor = cursor_of({part.topic, static_cast<std::uint32_t>(part.partition)});
    if (cursor.held && cursor.delivered > cursor.acknowledged && !is_closing && steady_ns() < hand_over_until_ns_)
      return;
    if (cursor.held) given.push_back(&cursor);
  }
  for (Cursor* cursor : given) {
    cursor->kept_note = cursor->note;
    end_pass(*cursor);
    cursor->note.open = false;
    cursor->told_note = cursor->note.write();
  }
  // Where this fails the next owner takes this member for dead: it counts attempts more carefully than it need.
  const bool is_told = commit(given, std::min(kLeaveNs, server_->options().answer_timeout_ns)).has_value();
  for (Cursor* cursor : given) {
    cursor->held = false;
    cursor->is_kept = is_told;
  }
  last_topic_ = nullptr;
  if (const auto error = rd_kafka_assign(client_.get(), nullptr)) {
    log::warn("partitions could not be given up", {{"group", options_.group}, {"reason", rd_kafka_err2str(error)}});
  }
  revoked_.reset();
}

void KafkaSubscription::leave() {
  std::vector<Cursor*> held;
  for (auto& [partition, cursor] : cursors_) {
    if (!cursor->held) continue;
    end_pass(*cursor);
    cursor->note.open = false;
    held.push_back(cursor.get());
  }
  const std::int64_t patience = std::min(kLeaveNs, server_->options().answer_timeout_ns);
  if (!commit(held, patience) && !held.empty())
    log::info("a member left without telling how far its deliveries went", {{"group", options_.group}});
  is_leaving_ = true;
  const Queue last(rd_kafka_queue_new(client_.get()));
  if (const RdError error{rd_kafka_consumer_close_queue(client_.get(), last.get())}) return;
  for (const std::int64_t deadline = steady_ns() + patience;
       !rd_kafka_consumer_closed(client_.get()) && steady_ns() < deadline;) {
    rd_kafka_message_t* record = nullptr;
    if (rd_kafka_consume_batch_queue(last.get(), 10, &record, 1) == 1) rd_kafka_message_destroy(record);
  }
}

// ---- what the cluster is told ----

// The offsets and notes of these as they stand. kFenced when the lease is another's.
Status KafkaSubscription::commit(const std::vector<Cursor*>& cursors, std::int64_t patience_ns) {
  if (cursors.empty()) return {};
  const List list = new_list(cursors.size());
  for (Cursor* cursor : cursors) {
    set_note(
        add(list, cursor->partition.first, cursor->partition.second, static_cast<std::int64_t>(cursor->acknowledged)),
        cursor->note.write());
  }
  const std::string what = "acknowledging for group " + options_.group;
  const std::int64_t deadline = steady_ns() + patience_ns;
  for (auto answer = RD_KAFKA_RESP_ERR_NO_ERROR;;) {  // the broker's last
    if (rd_kafka_assignment_lost(client_.get()))
      return fail(Code::kFenced, place(server_->options()) + ": " + what + ": the lease is over");
    const Queue answers(rd_kafka_queue_new(client_.get()));
    auto error = rd_kafka_commit_queue(client_.get(), list.get(), answers.get(), nullptr, nullptr);
    if (!error) {
      const Event event(rd_kafka_queue_poll(answers.get(), std::max(millis(deadline - steady_ns()), 1)));
      error = event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT;
      for (const auto& part : parts(event ? rd_kafka_event_topic_partition_list(event.get()) : nullptr)) {
        if (!error) error = part.err;
      }
    }
    if (!error) break;
    if (is_fenced(error))
      return fail(Code::kFenced, place(server_->options()) + ": " + what + ": " + rd_kafka_err2str(error));
    if (error > 0) answer = error;
    if (!passes_by(error) || steady_ns() >= deadline)
      return fail_with(server_->options(), what, error == RD_KAFKA_RESP_ERR__TIMED_OUT && answer ? answer : error);
    std::this_thread::sleep_for(kAgain);
  }
  for (Cursor* cursor : cursors) cursor->is_note_due = false;
  return {};
}

Status KafkaSubscription::commit_due_notes() {
  std::vector<Cursor*> due;
  for (auto& [partition, cursor] : cursors_) {
    if (cursor->held && cursor->is_note_due) due.push_back(cursor.get());
  }
  const Status status = commit(due, server_->options().answer_timeout_ns);
  return !status && status.error().code != Code::kFenced ? status
                                                         : Status();  // whose lease is over is told by a rebalance
}

void KafkaSubscription::end_pass(Cursor& cursor) {
  if (cursor.delivered > cursor.acknowledged) cursor.note.passes.set_open(cursor.delivered);
  cursor.note.passes.close();
  cursor.note.passes.prune(cursor.acknowledged);
}

// After an owner that did not leave, deliveries are written down before they are made: the message that kills its
// reader shows a growing attempt.
Status KafkaSubscription::write_passes() {
  std::vector<Cursor*> noted;
  for (auto& [partition, cursor] : cursors_) {
    if (!cursor->held || !cursor->suspicious || cursor->delivered <= cursor->acknowledged) continue;
    if (cursor->note.passes.open_high() < cursor->delivered) noted.push_back(cursor.get());
  }
  if (noted.empty()) return {};
  std::vector<Passes> before;
  for (Cursor* cursor : noted) {
    before.push_back(cursor->note.passes);
    cursor->note.passes.set_open(cursor->delivered);
  }
  auto status = commit(noted, server_->options().answer_timeout_ns);
  if (status || status.error().code == Code::kFenced) return {};
  for (std::size_t i = 0; i < noted.size(); ++i) noted[i]->note.passes = std::move(before[i]);
  return status;
}

// ---- acknowledgement ----

void KafkaSubscription::note_acknowledged(Cursor& cursor, std::uint64_t position) {
  auto& times = cursor.times;
  while (times.size() > 1 && times[1].first <= position) times.pop_front();
  if (!times.empty() && times.front().first <= position) cursor.note.acknowledged_time = times.front().second;
  cursor.note.passes.prune(position);
  cursor.acknowledged = position;
}

Status KafkaSubscription::acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) {
  const std::string where = "acknowledge " + std::string(topic) + "/" + std::to_string(partition);
  if (!in_group()) return fail(Code::kInvalidArgument, where + ": this subscription has no group; subscribe with one");
  take_all();
  const auto at = cursors_.find({server_->name_of(topic), partition});
  if (at == cursors_.end()) return fail(Code::kInvalidArgument, where + ": this subscription does not read it");
  Cursor& cursor = *at->second;
  const auto fenced = [&] {
    return fail(Code::kFenced, where + ": the lease of member " + options_.member + " of group " + options_.group +
                                   " has gone to another; drop what was read of this partition");
  };
  if (!cursor.held) return fenced();
  if (position <= cursor.acknowledged) return {};
  if (position > cursor.delivered) {
    UTP_TRY(const auto ends, server_->admin().offsets({cursor.partition}, Admin::kEnd));
    if (ends.empty() || static_cast<std::int64_t>(position) > ends.begin()->second) {
      return fail(Code::kInvalidArgument, where + ": position " + std::to_string(position) + " was not published yet");
    }
  }
  const Note note = cursor.note;
  const std::uint64_t acknowledged = cursor.acknowledged;
  auto times = cursor.times.size() > 1 ? cursor.times : decltype(cursor.times)();
  note_acknowledged(cursor, position);
  auto status = commit({&cursor}, server_->options().answer_timeout_ns);
  if (!status) {
    cursor.note = note;
    cursor.acknowledged = acknowledged;
    if (!times.empty()) cursor.times = std::move(times);
    if (status.error().code == Code::kFenced) return fenced();
    return status;
  }
  if (cursor.note.passes.empty()) cursor.suspicious = false;
  cursor.next = std::max(cursor.next, position);
  hand_over(false);
  return {};
}

Status KafkaSubscription::rewind() {
  messages_.clear();
  pending_ = false;
  std::vector<Cursor*> noted;
  for (auto& [partition, cursor] : cursors_) {
    if (in_group() && !cursor->held) continue;
    if (in_group()) {
      end_pass(*cursor);
      cursor->delivered = cursor->next = cursor->acknowledged;
      cursor->times.clear();
      if (!cursor->note.passes.empty()) noted.push_back(cursor.get());
    } else {
      cursor->next = cursor->start;
    }
    drop_fetched(*cursor);
    cursor->astray = true;
  }
  const Status status = commit(noted, server_->options().answer_timeout_ns);
  if (!status && status.error().code != Code::kFenced) return status;
  return bring_back();
}

std::vector<LostRange> KafkaSubscription::take_lost() {
  std::vector<LostRange> lost;
  for (auto& [partition, cursor] : cursors_) {
    std::uint64_t count = cursor->lost;
    if (in_group()) {
      if (!cursor->held || cursor->note.trimmed <= cursor->note.reported) continue;
      const std::uint64_t reported = cursor->note.reported;
      count = cursor->note.trimmed - reported;
      cursor->note.reported = cursor->note.trimmed;
      if (!commit({cursor.get()}, server_->options().answer_timeout_ns)) {
        cursor->note.reported = reported;  // it stays due
        continue;
      }
    }
    if (count == 0) continue;
    lost.push_back({cursor->topic, partition.second, count});
    cursor->lost = 0;
  }
  return lost;
}

}  // namespace utp::kafka_bus
