#include "drivers/bus/embedded/subscription.h"

#include <algorithm>
#include <cstring>

#include "bus/subscription_options.h"
#include "model/envelope.h"

namespace utp::embedded_bus {
namespace {

// Even an endless poll() looks again this often: a publisher that died between its commit and its wake-up is noticed.
constexpr std::int64_t kWaitSliceNs = 1'000'000'000;
constexpr std::size_t kChunkBytes = 256 * 1024;

}  // namespace

Result<std::unique_ptr<Subscription>> EmbeddedSubscription::open(std::shared_ptr<Directory> directory,
                                                                 SubscriptionOptions options) {
  UTP_CHECK(prepare(options));
  std::unique_ptr<EmbeddedSubscription> subscription(new EmbeddedSubscription(std::move(directory), std::move(options)));
  UTP_CHECK(subscription->find_topics(true));
  if (subscription->in_group()) {
    UTP_CHECK(subscription->maintain());
    subscription->directory_->state().groups.fetch_add(1);
    subscription->directory_->wake();
  }
  return std::unique_ptr<Subscription>(std::move(subscription));
}

EmbeddedSubscription::~EmbeddedSubscription() {
  if (!in_group()) return;
  auto left = [&]() -> Status {
    UTP_TRY(auto change, directory_->cursors().change());
    for (auto& cursor : cursors_) {
      if (!cursor->held) continue;
      UTP_TRY(auto record, change.cursor(cursor->topic->name, cursor->partition->number(), options_.group));
      if (!record || record->owner != options_.member || record->epoch != cursor->epoch) continue;
      end_pass(*cursor);
      record->owner.clear();
      record->passes = cursor->passes;
      UTP_CHECK(change.put_cursor(cursor->topic->name, cursor->partition->number(), options_.group, *record));
    }
    UTP_CHECK(change.remove_member(options_.group, options_.member));
    return change.commit();
  }();
  if (!left) return;  // the leases run out by themselves
  directory_->cursors_changed();
  directory_->state().groups.fetch_add(1);
  directory_->wake();
}

Result<std::uint64_t> EmbeddedSubscription::start_position(Partition& partition) const {
  switch (options_.start.kind) {
    case Start::Kind::kEarliest: return 1;
    case Start::Kind::kTime: return partition.find_time(options_.start.time);
    case Start::Kind::kLatest: break;
  }
  UTP_TRY(const auto tail, partition.read_tail());
  return tail.position + 1;
}

Status EmbeddedSubscription::find_topics(bool at_start) {
  const std::uint32_t seen = directory_->state().topics.load();
  UTP_TRY(const auto records, directory_->topics());
  for (const TopicRecord& record : records) {
    const bool wanted = std::any_of(options_.patterns.begin(), options_.patterns.end(),
                                    [&](const auto& pattern) { return topic_matches(pattern, record.topic); });
    const bool known = std::any_of(cursors_.begin(), cursors_.end(), [&](const auto& c) { return c->topic->name == record.topic; });
    if (!wanted || known) continue;
    UTP_TRY(const auto topic, directory_->find_topic(record.topic));
    for (const auto& partition : topic->partitions) {
      auto cursor = std::make_unique<Cursor>();
      cursor->topic = topic;
      cursor->partition = partition;
      // A topic that came later than the subscription is read whole: all of it was published since.
      std::uint64_t start = 1;
      if (at_start || options_.start.kind == Start::Kind::kTime) {
        UTP_TRY(start, start_position(*partition));
      }
      if (in_group()) {
        UTP_TRY(auto change, directory_->cursors().change());
        UTP_TRY(auto existing, change.cursor(topic->name, partition->number(), options_.group));
        if (!existing) {
          UTP_TRY(const auto index, partition->index());
          CursorRecord fresh;
          fresh.position = std::max(start, index->segments.front().base) - 1;
          fresh.count = Partition::count_at(*index, fresh.position);
          UTP_CHECK(change.put_cursor(topic->name, partition->number(), options_.group, fresh));
          UTP_CHECK(change.commit());
          directory_->cursors_changed();
        }
      } else {
        if (options_.start.kind == Start::Kind::kEarliest || start == 1) {
          UTP_TRY(const auto index, partition->index());
          start = std::max(start, index->segments.front().base);
        }
        cursor->start = start;
        UTP_CHECK(place(*cursor, start));
      }
      cursors_.push_back(std::move(cursor));
      next_maintenance_ns_ = 0;
    }
  }
  topics_seen_ = seen;
  return {};
}

Status EmbeddedSubscription::place(Cursor& cursor, std::uint64_t position) {
  UTP_TRY(const auto index, cursor.partition->index());
  cursor.next = position;
  cursor.next_count = Partition::count_at(*index, position - 1);
  cursor.next_lost = index->segments.front().lost_before;
  for (const SegmentName& name : index->segments) {
    if (name.base <= position) cursor.next_lost = name.lost_before;
  }
  cursor.segment.reset();
  cursor.verified = 0;
  return {};
}

// ---- reading ----

std::string_view EmbeddedSubscription::keep(std::string_view bytes) {
  while (chunk_ < chunks_.size() && chunks_[chunk_].size - chunk_used_ < bytes.size()) {
    ++chunk_;
    chunk_used_ = 0;
  }
  if (chunk_ == chunks_.size()) {
    const std::size_t size = std::max(kChunkBytes, bytes.size());
    chunks_.push_back({std::make_unique_for_overwrite<char[]>(size), size});
    chunk_used_ = 0;
  }
  char* at = chunks_[chunk_].bytes.get() + chunk_used_;
  std::memcpy(at, bytes.data(), bytes.size());
  chunk_used_ += bytes.size();
  return {at, bytes.size()};
}

namespace {

// What to do about a segment that cannot be read. The one that is written to cannot be taken out of a partition.
std::string corrupt_segment_cure(const Partition::Index& index, std::uint64_t base) {
  const std::string stop = "Stop every process that uses this bus and restore its directory from a copy, or move ";
  if (index.segments.back().base == base) return stop + "the directory away: a new bus is made at the next start";
  return stop + "this file away: reading goes on behind its messages";
}

}  // namespace

// Opens the segment that holds cursor.next, passing over what retention or a power loss took. False when there is no newer one.
Result<bool> EmbeddedSubscription::enter_segment(Cursor& cursor) {
  for (int attempt = 0;; ++attempt) {
    UTP_TRY(const auto index, cursor.partition->index());
    const auto& segments = index->segments;
    auto after = std::upper_bound(segments.begin(), segments.end(), cursor.next,
                                  [](std::uint64_t p, const SegmentName& s) { return p < s.base; });
    SegmentName name = after == segments.begin() ? segments.front() : *std::prev(after);
    if (cursor.segment && name.base == cursor.segment_name.base) {
      // `next` lies behind the end of the segment at hand: on to the one that follows it.
      if (after == segments.end()) return false;
      name = *after;
    }
    auto opened = cursor.partition->segment(name.base);
    if (!opened && opened.error().code == Code::kNotFound && attempt < 100) continue;
    if (!opened) return fail(std::move(opened.error()));
    cursor.segment = *opened;
    cursor.segment_name = name;
    cursor.verified = 0;
    if (cursor.next < name.base) {
      // Of a group, retention itself has counted what it took unacknowledged.
      if (!in_group() && name.count_before > cursor.next_count) cursor.lost += name.count_before - cursor.next_count;
      if (name.lost_before > cursor.next_lost) cursor.lost += name.lost_before - cursor.next_lost;
      cursor.next = name.base;
      cursor.next_count = name.count_before;
    }
    cursor.next_lost = std::max(cursor.next_lost, name.lost_before);
    return true;
  }
}

// True when the segment has ended and another may follow.
Result<bool> EmbeddedSubscription::read_segment(Cursor& cursor, std::size_t messages_max, std::size_t bytes_max,
                                                std::size_t& bytes) {
  UTP_TRY(auto read, cursor.segment->begin_read());
  MDB_cursor* at = nullptr;
  if (const int rc = mdb_cursor_open(read.txn(), read.dbi(), &at); rc != 0) {
    return fail(lmdb_error("read " + cursor.segment->path(), rc));
  }
  struct Close {
    MDB_cursor* cursor;
    ~Close() { mdb_cursor_close(cursor); }
  } close{at};
  std::uint64_t wanted = cursor.next;
  MDB_val key{sizeof wanted, &wanted};
  MDB_val value{};
  int rc = mdb_cursor_get(at, &key, &value, MDB_SET_RANGE);
  for (; rc == 0; rc = mdb_cursor_get(at, &key, &value, MDB_NEXT)) {
    std::uint64_t last = 0;
    std::memcpy(&last, key.mv_data, sizeof last);
    if (last == kSealKey) return true;
    BlockReader block;
    if (!block.open({static_cast<const char*>(value.mv_data), value.mv_size}, last, cursor.verified != last)) {
      UTP_TRY(const auto index, cursor.partition->index());
      return fail(Code::kCorrupt, cursor.segment->path() + ": the block that ends at position " + std::to_string(last) +
                                      " is not what was written; the disk is failing or another program changed the file. " +
                                      corrupt_segment_cure(*index, cursor.segment_name.base));
    }
    cursor.verified = last;
    std::uint64_t position = 0;
    std::string_view message_key;
    std::string_view message_value;
    while (block.next(position, message_key, message_value)) {
      if (position < cursor.next) continue;
      const std::size_t size = message_key.size() + message_value.size();
      if (messages_.size() >= messages_max || (!messages_.empty() && bytes + size > bytes_max)) return false;
      bytes += size;
      const std::string_view kept = keep({message_key.data(), size});
      InMessage message;
      message.topic = cursor.topic->name;
      message.partition = cursor.partition->number();
      message.position = position;
      message.publish_time = block.publish_time();
      message.key = kept.substr(0, message_key.size());
      message.value = kept.substr(message_key.size());
      for (std::size_t i = 0; i + (cursor.open_pass ? 1 : 0) < cursor.passes.size(); ++i) {
        if (cursor.passes[i].high >= position) message.attempt += cursor.passes[i].times;
      }
      messages_.push_back(message);
      cursor.next = position + 1;
      ++cursor.next_count;
      cursor.delivered = std::max(cursor.delivered, position);
    }
    if (block.broken()) return fail(lmdb_error("read " + cursor.segment->path(), MDB_CORRUPTED));
  }
  if (rc != MDB_NOTFOUND) return fail(lmdb_error("read " + cursor.segment->path(), rc));
  return false;
}

Status EmbeddedSubscription::read_cursor(Cursor& cursor, std::size_t messages_max, std::size_t bytes_max, std::size_t& bytes) {
  const std::uint64_t generation = cursor.partition->state().generation.load(std::memory_order_acquire);
  if (cursor.segment && generation != cursor.generation) {
    // A segment that retention has removed is still mapped here; what it counted as gone is not to be delivered too.
    UTP_TRY(const auto index, cursor.partition->index());
    if (cursor.segment_name.base < index->segments.front().base) cursor.segment.reset();
  }
  cursor.generation = generation;
  if (!cursor.segment) {
    UTP_TRY(const bool entered, enter_segment(cursor));
    if (!entered) return {};
  }
  for (;;) {
    UTP_TRY(const bool ended, read_segment(cursor, messages_max, bytes_max, bytes));
    if (!ended) return {};
    UTP_TRY(const bool entered, enter_segment(cursor));
    if (!entered) return {};
  }
}

Status EmbeddedSubscription::read_some(std::size_t messages_max, std::size_t bytes_max, bool force) {
  std::size_t bytes = 0;
  const std::size_t count = cursors_.size();
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t which = (turn_ + i) % count;
    Cursor& cursor = *cursors_[which];
    if (in_group() && (!cursor.held || cursor.handing_over)) continue;
    if (!force && cursor.partition->state().tail.load(std::memory_order_acquire) < cursor.next) continue;
    if (messages_.size() >= messages_max || bytes >= bytes_max) {
      turn_ = which;
      return {};
    }
    if (auto read = read_cursor(cursor, messages_max, bytes_max, bytes); !read) {
      // Messages that were read before go out first, and the error comes again; then the others have their turn before it.
      turn_ = messages_.empty() ? (which + 1) % count : which;
      return read;
    }
  }
  turn_ = count == 0 ? 0 : (turn_ + 1) % count;
  return {};
}

void EmbeddedSubscription::wait(std::uint32_t sequence, std::int64_t timeout_ns) {
  if (timeout_ns > 0) futex_wait(directory_->state().sequence, sequence, timeout_ns);
}

Result<std::span<const InMessage>> EmbeddedSubscription::poll(std::size_t messages_max, std::size_t bytes_max,
                                                              std::int64_t timeout_ns) {
  if (pending_) {
    UTP_CHECK(write_passes());
    pending_ = false;
    return std::span<const InMessage>(messages_);
  }
  messages_.clear();
  if (chunks_.size() > 1 && chunk_ == 0) chunks_.resize(1);  // a burst is over: give its memory back
  chunk_ = 0;
  chunk_used_ = 0;
  messages_max = std::max<std::size_t>(messages_max, 1);
  BusState& shared = directory_->state();
  const std::int64_t begin = steady_ns();
  const std::int64_t deadline = timeout_ns > INT64_MAX - begin ? INT64_MAX : begin + std::max<std::int64_t>(timeout_ns, 0);

  struct Waiter {  // counted before the last look, so that a publisher after it wakes us
    BusState& state;
    bool counted = false;
    ~Waiter() {
      if (counted) state.waiters.fetch_sub(1);
    }
  } waiter{shared};
  for (bool force = false;; ) {
    if (interrupted_.exchange(false)) return fail(Code::kCancelled, "poll was interrupted");
    const std::uint32_t sequence = shared.sequence.load(std::memory_order_seq_cst);
    if (shared.topics.load() != topics_seen_) UTP_CHECK(find_topics(false));
    if (in_group()) {
      const std::int64_t now = directory_->clock().monotonic_ns();
      if (now >= next_maintenance_ns_ || shared.groups.load() != groups_seen_) UTP_CHECK(maintain());
    }
    // The cursors have moved on behind what was read: an error must not lose it.
    auto read = read_some(messages_max, bytes_max, force);
    if (!messages_.empty()) {
      pending_ = true;
      if (in_group()) UTP_CHECK(write_passes());
      pending_ = false;
      return std::span<const InMessage>(messages_);
    }
    if (!read) return fail(std::move(read.error()));
    const std::int64_t now = steady_ns();
    if (now >= deadline) return std::span<const InMessage>();
    if (!waiter.counted) {
      shared.waiters.fetch_add(1, std::memory_order_seq_cst);
      waiter.counted = true;
      continue;
    }
    std::int64_t slice = std::min(kWaitSliceNs, deadline - now);
    if (in_group()) {
      slice = std::min(slice, std::max<std::int64_t>(1'000'000, next_maintenance_ns_ - directory_->clock().monotonic_ns()));
    }
    wait(sequence, slice);
    force = steady_ns() - now >= slice;
  }
}

std::vector<LostRange> EmbeddedSubscription::take_lost() {
  if (in_group()) collect_trimmed();
  std::vector<LostRange> lost;
  for (auto& cursor : cursors_) {
    if (cursor->lost == 0) continue;
    lost.push_back({cursor->topic->name, cursor->partition->number(), cursor->lost});
    cursor->lost = 0;
  }
  return lost;
}

void EmbeddedSubscription::interrupt() {
  interrupted_.store(true);
  directory_->wake();
}

}  // namespace utp::embedded_bus
