// What one process has open of a bus directory; every Bus of the process on that directory shares it.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "core/clock.h"
#include "drivers/bus/embedded/cursors.h"
#include "drivers/bus/embedded/embedded_bus.h"
#include "drivers/bus/embedded/environment.h"
#include "drivers/bus/embedded/files.h"
#include "drivers/bus/embedded/partition.h"

namespace utp::embedded_bus {

// Shared by all processes on the directory.
struct BusState {
  std::atomic<std::uint32_t> sequence;  // changes with every publish; pollers sleep on it
  std::atomic<std::uint32_t> waiters;   // at least as many as sleep (a killed one stays counted: costs a system call each)
  std::atomic<std::uint32_t> topics;    // changes when a topic is created
  std::atomic<std::uint32_t> groups;    // changes when a member comes or goes, or gives a partition back
  std::atomic<std::uint32_t> keep_unread;  // as the format file says, or said later
  SyncState cursors;
};

struct Topic {
  std::string name;
  std::vector<std::shared_ptr<Partition>> partitions;
};

class Directory {
 public:
  // Shares with what this process has open already. The last one to let go closes.
  static Result<std::shared_ptr<Directory>> open(const EmbeddedBusOptions& options);
  ~Directory();

  const Clock& clock() const { return *clock_; }
  BusState& state() { return *state_.as<BusState>(); }
  CursorStore& cursors() { return *cursor_store_; }
  std::uint64_t boot() const { return boot_; }
  std::uint64_t process() const { return process_; }
  // Whether a lease that was recorded with these is held still. Not when its time is over, or its process or the machine's
  // start is gone.
  bool is_live(std::int64_t until_ns, std::uint64_t boot, std::uint64_t process) const;
  const EmbeddedBusOptions& options() const { return options_; }
  std::uint64_t retention_bytes(const TopicRecord& record) const {
    return record.options.retention_bytes != 0 ? record.options.retention_bytes : options_.retention_bytes;
  }
  bool keep_unread() { return state().keep_unread.load(std::memory_order_relaxed) != 0; }

  // kNotFound when it does not exist.
  Result<std::shared_ptr<Topic>> find_topic(std::string_view name);
  Result<std::shared_ptr<Topic>> create_topic(std::string_view name, const TopicOptions& options);
  Status configure_topic(std::string_view name, const TopicOptions& options);
  Result<std::vector<TopicRecord>> topics() { return cursor_store_->topics(); }

  void wake();  // pollers of all processes
  // Have this partition synced at most `interval_ns` after its first unsynced publish.
  void sync_later(const std::shared_ptr<Partition>& partition, std::int64_t interval_ns);
  void reserve_later(const std::shared_ptr<Partition>& partition);
  void trim_later(std::string_view topic);
  void cursors_changed() { cursors_dirty_.store(true, std::memory_order_release); }
  Status trim();  // goes on after an error, and returns the first
  // keep_unread: whether the topic's partition is at its limit with messages that a group has not read.
  Result<bool> is_full(std::string_view topic, Partition& partition);
  // An error of a background sync, once.
  Status take_background_error();

 private:
  explicit Directory(EmbeddedBusOptions options);
  Status open_files();
  Status draw_process();
  Status set_keep_unread();
  std::string format_text(bool keep_unread) const;
  Status recover();
  Status recover_cursors();
  Result<std::shared_ptr<Topic>> open_topic(const TopicRecord& record);
  PartitionOptions partition_options(const TopicRecord& record, std::uint32_t partition) const;
  std::uint64_t partition_bytes_max(const TopicRecord& record) const;
  Status trim(const TopicRecord& record);
  Status trim_partition(const TopicRecord& record, Partition& partition);
  std::function<std::int64_t(Timestamp)> ages();
  Status sync_cursors();
  void run_keeper();
  void run_janitor();
  void sync_one(Partition& partition);
  void look_after(std::int64_t now);

  EmbeddedBusOptions options_;
  SystemClock system_clock_;
  const Clock* clock_;
  std::uint64_t segment_bytes_ = 0;     // the directory's, set when it was made
  std::uint64_t cursor_map_bytes_ = 0;
  std::string boot_id_;
  std::uint64_t boot_ = 0;
  std::uint64_t process_ = 0;  // drawn at random; its byte of alive.lock is locked while this process lives

  std::mutex open_mutex_;  // with open_lock_: one thread of one process creates files
  FileLock open_lock_;
  FileLock alive_lock_;    // held shared while open: who gets it exclusively is alone
  SharedPage state_;
  CheckpointFile cursor_checkpoints_;
  std::unique_ptr<Environment> cursor_environment_;
  std::unique_ptr<CursorStore> cursor_store_;
  std::atomic<bool> cursors_dirty_{false};

  std::mutex topics_mutex_;
  std::map<std::string, std::shared_ptr<Topic>, std::less<>> topics_;

  std::mutex age_mutex_;  // the next four: see ages()
  Timestamp wall_seen_;
  std::int64_t monotonic_seen_ = 0;
  Timestamp jumped_at_;
  std::int64_t jumped_by_ = 0;

  std::mutex keeper_mutex_;  // down to background_error_
  std::condition_variable keeper_wakes_, janitor_wakes_;
  std::vector<std::shared_ptr<Partition>> due_;       // to be synced at their sync_due_ns
  std::vector<std::shared_ptr<Partition>> reserves_;  // whose reservation is to be extended
  std::vector<std::string> trims_;                    // topics
  bool stopping_ = false;
  Status background_error_;
  std::int64_t next_cursor_sync_ = 0;  // the janitor's own, like the next
  std::int64_t next_trim_ = 0;
  std::thread keeper_;   // syncs
  std::thread janitor_;  // all that may take its time: retention, what other processes left behind
};

}  // namespace utp::embedded_bus
