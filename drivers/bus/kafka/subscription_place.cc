// Where a subscription reads: what was removed under it, a log that lost its end, and reading again.
#include <algorithm>

#include "core/log.h"
#include "drivers/bus/kafka/subscription.h"

namespace utp::kafka_bus {

// Everything before `low` was removed: what was not delivered of it is lost to this reader.
void KafkaSubscription::note_trimmed(Cursor& cursor, std::uint64_t low) {
  cursor.low = std::max(cursor.low, low);
  if (!in_group()) {
    if (cursor.low <= cursor.next) return;
    cursor.lost += cursor.low - cursor.next;
    cursor.next = cursor.low;
    return;
  }
  if (cursor.low <= cursor.acknowledged) return;
  // What was delivered and not acknowledged counts too, as it cannot be delivered again.
  cursor.note.trimmed += cursor.low - cursor.acknowledged;
  cursor.acknowledged = cursor.low;
  cursor.next = std::max(cursor.next, cursor.low);
  cursor.note.passes.prune(cursor.acknowledged);
  cursor.is_note_due = true;
}

Status KafkaSubscription::look_for_trimmed(const std::vector<Cursor*>& cursors) {
  std::vector<Partition> partitions;
  for (const Cursor* cursor : cursors) partitions.push_back(cursor->partition);
  UTP_TRY(const auto lows, server_->admin().offsets(partitions, Admin::kBegin));
  for (Cursor* cursor : cursors) {
    if (const auto found = lows.find(cursor->partition); found != lows.end() && found->second > 0) {
      note_trimmed(*cursor, static_cast<std::uint64_t>(found->second));
    }
  }
  return {};
}

// The log ends before what this cursor had: goes on at `place`, with what was published since.
void KafkaSubscription::find_place(Cursor& cursor, const Watermarks& marks, std::int64_t place) {
  log::error(
      "a topic ends before what was read of it: it was removed and made again, or its broker lost power; reading goes "
      "on with the "
      "messages published since",
      {{"topic", cursor.topic},
       {"partition", std::to_string(cursor.partition.second)},
       {"read", std::to_string(cursor.next)},
       {"end", std::to_string(marks.high)},
       {"reading_from", std::to_string(place)}});
  cursor.next = cursor.delivered = cursor.acknowledged = static_cast<std::uint64_t>(place);
  cursor.start = std::min(cursor.start, cursor.next);
  cursor.low = static_cast<std::uint64_t>(marks.low);
  cursor.note.passes = {};
  cursor.times.clear();
  cursor.is_note_due = true;
}

// Fetching goes on with what each cursor delivers next: after rewind(), or because its place is not in the log, where
// the oldest messages were removed, or the newest lost.
Status KafkaSubscription::bring_back() {
  std::vector<Cursor*> astray;
  std::vector<Partition> partitions;
  for (auto& [partition, cursor] : cursors_) {
    if (!cursor->astray || (in_group() && !cursor->held)) continue;
    drop_fetched(*cursor);
    astray.push_back(cursor.get());
    partitions.push_back(partition);
  }
  if (astray.empty()) return {};
  UTP_TRY(const auto marks, server_->watermarks(partitions));
  std::vector<Cursor*> placed;
  for (Cursor* cursor : astray) {
    const auto found = marks.find(cursor->partition);
    if (found == marks.end()) continue;
    if (cursor->next > static_cast<std::uint64_t>(found->second.high)) {
      const Timestamp last = cursor->delivered_time.ns != 0 ? cursor->delivered_time : cursor->note.acknowledged_time;
      UTP_TRY(const auto places, server_->places({cursor->partition}, {Start::Kind::kTime, last}));
      if (places.empty()) continue;
      find_place(*cursor, found->second, places.begin()->second);
    }
    note_trimmed(*cursor, static_cast<std::uint64_t>(found->second.low));
    placed.push_back(cursor);
  }
  if (placed.empty()) return {};
  const bool is_any_stopped =
      std::any_of(placed.begin(), placed.end(), [](const Cursor* cursor) { return cursor->stopped; });
  return is_any_stopped ? assign_anew() : seek(placed);
}

Status KafkaSubscription::seek(const std::vector<Cursor*>& cursors) {
  const List list = new_list(cursors.size());
  for (const Cursor* cursor : cursors)
    add(list, cursor->partition.first, cursor->partition.second, static_cast<std::int64_t>(cursor->next));
  if (const RdError error{rd_kafka_seek_partitions(client_.get(), list.get(), answer_ms())}) {
    return fail_with(server_->options(), "reading again", rd_kafka_error_code(error.get()),
                     rd_kafka_error_string(error.get()));
  }
  for (const auto& part : parts(list.get())) {
    Cursor& cursor = *cursors_.at({part.topic, static_cast<std::uint32_t>(part.partition)});
    cursor.astray = part.err != RD_KAFKA_RESP_ERR_NO_ERROR;
    // A partition that was assigned just now is not being read yet.
    if (part.err && part.err != RD_KAFKA_RESP_ERR__STATE)
      return fail_with(server_->options(), "reading again " + cursor.topic, part.err);
  }
  return {};
}

// All partitions of this subscription, each with what it delivers next.
Status KafkaSubscription::assign_anew() {
  if (revoked_ || assigned_) return {};  // the group deals them anew
  const List list = new_list();
  for (auto& [partition, cursor] : cursors_) {
    if (in_group() && !cursor->held) continue;
    drop_fetched(*cursor);
    cursor->astray = cursor->stopped = false;
    add(list, partition.first, partition.second, static_cast<std::int64_t>(cursor->next));
  }
  last_topic_ = nullptr;
  if (const auto error = rd_kafka_assign(client_.get(), list.get()))
    return fail_with(server_->options(), "reading again", error);
  return {};
}

}  // namespace utp::kafka_bus
