// What a process does for its bus directory beside publishing and reading: syncs that are due, retention, and what processes
// that died left behind.
#include <algorithm>
#include <chrono>
#include <climits>

#include "core/log.h"
#include "drivers/bus/embedded/directory.h"

namespace utp::embedded_bus {
namespace {

constexpr std::int64_t kLookNs = 1'000'000'000;  // how often the janitor looks at what other processes left
// What the wall clock may run ahead of the monotonic one between two looks, before it counts as set forward.
constexpr std::int64_t kClockJumpNs = 60'000'000'000;

std::chrono::steady_clock::time_point time_point(std::int64_t steady) {
  return std::chrono::steady_clock::time_point(std::chrono::nanoseconds(steady));
}

}  // namespace

void Directory::sync_later(const std::shared_ptr<Partition>& partition, std::int64_t interval_ns) {
  // A quarter of the window is left for the sync itself.
  const std::int64_t due = steady_ns() + interval_ns - interval_ns / 4;
  const auto is_early_enough = [&] {
    const std::int64_t known = partition->sync_due_ns.load(std::memory_order_acquire);
    return known != 0 && known <= due;
  };
  if (is_early_enough()) return;
  {
    std::lock_guard lock(keeper_mutex_);
    if (is_early_enough()) return;
    if (partition->sync_due_ns.exchange(due, std::memory_order_acq_rel) == 0) due_.push_back(partition);
  }
  keeper_wakes_.notify_one();
}

void Directory::reserve_later(const std::shared_ptr<Partition>& partition) {
  if (partition->reservation_wanted.exchange(true, std::memory_order_acq_rel)) return;
  {
    std::lock_guard lock(keeper_mutex_);
    reserves_.push_back(partition);
  }
  keeper_wakes_.notify_one();
}

void Directory::trim_later(std::string_view topic) {
  {
    std::lock_guard lock(keeper_mutex_);
    if (std::find(trims_.begin(), trims_.end(), topic) == trims_.end()) trims_.emplace_back(topic);
  }
  janitor_wakes_.notify_one();
}

Status Directory::take_background_error() {
  std::lock_guard lock(keeper_mutex_);
  return std::exchange(background_error_, Status());
}

void Directory::run_keeper() {
  std::unique_lock lock(keeper_mutex_);
  while (!stopping_) {
    std::int64_t next = INT64_MAX;
    for (const auto& partition : due_) next = std::min(next, partition->sync_due_ns.load());
    const std::int64_t now = steady_ns();
    if (reserves_.empty() && next > now) {
      if (next == INT64_MAX) keeper_wakes_.wait(lock);
      else keeper_wakes_.wait_until(lock, time_point(next));
      continue;
    }
    const auto reserves = std::exchange(reserves_, {});
    std::vector<std::shared_ptr<Partition>> due;
    std::erase_if(due_, [&](auto& partition) {
      if (partition->sync_due_ns.load() > now) return false;
      partition->sync_due_ns.store(0, std::memory_order_release);  // what is published from here on is due anew
      due.push_back(std::move(partition));
      return true;
    });
    lock.unlock();
    for (const auto& partition : reserves) {
      partition->reservation_wanted.store(false, std::memory_order_release);
      (void)partition->extend_reservation();  // a publisher that needs it meets the error itself
    }
    for (const auto& partition : due) sync_one(*partition);
    lock.lock();
  }
}

void Directory::sync_one(Partition& partition) {
  auto synced = partition.sync();
  if (synced) return;
  log::error("embedded bus: sync failed", {{"directory", partition.directory()}, {"error", synced.error().message}});
  std::lock_guard lock(keeper_mutex_);
  background_error_ = std::move(synced);
}

void Directory::run_janitor() {
  std::int64_t next_look = steady_ns() + kLookNs;
  next_cursor_sync_ = steady_ns() + options_.cursor_sync_ns;
  next_trim_ = steady_ns() + options_.trim_every_ns;
  std::unique_lock lock(keeper_mutex_);
  while (!stopping_) {
    if (trims_.empty() && steady_ns() < next_look) {
      janitor_wakes_.wait_until(lock, time_point(next_look));
      continue;
    }
    const auto trims = std::exchange(trims_, {});
    lock.unlock();
    if (!trims.empty()) {
      const auto records = topics();
      for (const TopicRecord& record : records ? *records : std::vector<TopicRecord>()) {
        if (std::find(trims.begin(), trims.end(), record.topic) == trims.end()) continue;
        if (auto trimmed = trim(record); !trimmed) {
          log::warn("embedded bus: retention failed", {{"topic", record.topic}, {"error", trimmed.error().message}});
        }
      }
    }
    if (steady_ns() >= next_look) {
      look_after(steady_ns());
      next_look = steady_ns() + kLookNs;
    }
    lock.lock();
  }
}

void Directory::look_after(std::int64_t now) {
  std::vector<std::shared_ptr<Topic>> open;
  {
    std::lock_guard lock(topics_mutex_);
    for (const auto& [name, topic] : topics_) open.push_back(topic);
  }
  bool woke = false;
  for (const auto& topic : open) {
    for (const auto& partition : topic->partitions) {
      // What a publisher that died left behind: neither announced nor synced.
      if (const auto tail = partition->read_tail()) {
        if (tail->position > partition->state().tail.load()) {
          partition->raise_tail(tail->position);
          woke = true;
        }
      }
      if (partition->sync_due_ns.load() == 0 && partition->note_unsynced()) (void)partition->sync();
      partition->rest(clock_->monotonic_ns());
      partition->clear_dead_readers();
    }
  }
  if (woke) wake();
  cursor_environment_->clear_dead_readers();
  // A pin that does not move keeps every page that other processes free.
  if (!cursors_dirty_.load()) cursor_environment_->unpin();
  if (now >= next_cursor_sync_ && cursors_dirty_.exchange(false)) {
    next_cursor_sync_ = now + options_.cursor_sync_ns;
    if (auto synced = cursor_environment_->sync(); !synced) {
      log::warn("embedded bus: acknowledgements were not synced", {{"error", synced.error().message}});
    }
  }
  if (options_.trim_every_ns > 0 && now >= next_trim_) {
    next_trim_ = now + options_.trim_every_ns;
    if (auto trimmed = trim(); !trimmed) {
      log::warn("embedded bus: retention failed", {{"directory", options_.directory}, {"error", trimmed.error().message}});
    }
  }
}

Status Directory::trim() {
  UTP_TRY(const auto records, topics());
  Status first;
  for (const TopicRecord& record : records) {
    if (auto trimmed = trim(record); !trimmed && first) first = std::move(trimmed);
  }
  return first;
}

Status Directory::trim(const TopicRecord& record) {
  UTP_TRY(const auto topic, find_topic(record.topic));
  Status first;
  for (const auto& partition : topic->partitions) {
    if (auto trimmed = trim_partition(record, *partition); !trimmed && first) first = std::move(trimmed);
  }
  return first;
}

// How old a message is by its publish time. When the clock is set forward (or the machine slept), what was published before
// is not older for it: else one look would take everything, unread or not.
std::function<std::int64_t(Timestamp)> Directory::ages() {
  const Timestamp now = clock_->now();
  const std::int64_t monotonic = clock_->monotonic_ns();
  std::lock_guard lock(age_mutex_);
  const std::int64_t ahead = (now - wall_seen_) - (monotonic - monotonic_seen_);
  if (ahead > kClockJumpNs) {
    jumped_at_ = now;
    jumped_by_ += ahead;
    log::warn("embedded bus: the clock was set forward or the machine slept; retention by age leaves out that time",
              {{"directory", options_.directory}, {"seconds", std::to_string(ahead / 1'000'000'000)}});
  }
  wall_seen_ = now;
  monotonic_seen_ = monotonic;
  return [now, at = jumped_at_, by = jumped_by_](Timestamp time) { return now - time - (time < at ? by : 0); };
}

Status Directory::trim_partition(const TopicRecord& record, Partition& partition) {
  const auto age = ages();
  const std::int64_t age_max = record.options.retention_ns;
  const std::uint64_t bytes_max = partition_bytes_max(record);
  if (age_max > 0) {
    UTP_TRY(const auto tail, partition.read_tail());
    if (age(tail.time) > age_max) UTP_CHECK(partition.roll(clock_->now()));
  }
  // What no group has begun to read is unread, too.
  const auto has_unread = [&](const Partition::Removal& removal) -> Result<bool> {
    bool found = false, begun = false;
    UTP_CHECK(cursors().for_each_cursor(record.topic, partition.number(), [&](std::string_view, CursorRecord& cursor) {
      begun = true;
      found |= cursor.position + 1 < removal.next.base && cursor.count < removal.next.count_before;
    }));
    return found || !begun;
  };
  return partition.remove_oldest(
      [&](const Partition::Removal& removal) -> Result<bool> {
        if (removal.next.base == removal.segment.base) return false;
        const bool old = age_max > 0 && age(removal.last_time) > age_max;
        if (!old && removal.total_bytes <= bytes_max) return false;
        if (!keep_unread()) return true;
        UTP_TRY(const bool kept, has_unread(removal));
        return !kept;
      },
      [&](const Partition::Removal& removal) -> Status {
        UTP_TRY(auto change, cursors().change());
        std::vector<std::pair<std::string, CursorRecord>> behind;
        UTP_CHECK(change.for_each_cursor(record.topic, partition.number(), [&](std::string_view group, CursorRecord& cursor) {
          if (cursor.position + 1 < removal.next.base) behind.emplace_back(group, cursor);
        }));
        if (behind.empty()) return {};
        for (auto& [group, cursor] : behind) {
          const std::uint64_t unread = removal.next.count_before - std::min(cursor.count, removal.next.count_before);
          cursor.trimmed += unread;
          cursor.unreported += unread;
          cursor.count = removal.next.count_before;
          cursor.position = removal.next.base - 1;
          UTP_CHECK(change.put_cursor(record.topic, partition.number(), group, cursor));
        }
        UTP_CHECK(change.commit());
        return cursor_environment_->sync();
      });
}

Result<bool> Directory::is_full(std::string_view topic, Partition& partition) {
  UTP_TRY(const auto records, topics());
  for (const TopicRecord& record : records) {
    if (record.topic != topic) continue;
    UTP_CHECK(trim_partition(record, partition));
    return partition.disk_bytes() > partition_bytes_max(record);
  }
  return false;
}

}  // namespace utp::embedded_bus
