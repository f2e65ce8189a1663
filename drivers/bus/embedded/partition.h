// One partition of a topic: a directory of segments, each an LMDB environment that holds blocks by position.
//
// A segment's file name says where it begins: base position, messages ever published before it, messages ever lost before
// it, creation time, each 16 hex digits. So an index of the partition costs a directory listing.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "drivers/bus/embedded/block.h"
#include "drivers/bus/embedded/checkpoint.h"
#include "drivers/bus/embedded/environment.h"
#include "drivers/bus/embedded/files.h"

namespace utp::embedded_bus {

struct SegmentName {
  std::uint64_t base = 0;          // position of its first message
  std::uint64_t count_before = 0;  // messages of the partition before it, without those lost
  std::uint64_t lost_before = 0;
  std::int64_t created_ns = 0;     // not before any publish time of earlier segments, not after any of its own

  std::string file_name() const;
  static std::optional<SegmentName> parse(std::string_view file_name);
};

// What the processes share about a partition.
struct PartitionState {
  SyncState sync;
  SharedMutex structure;                         // creating, opening and removing segments
  std::atomic<std::uint64_t> generation;         // changes with the list of segments
  std::atomic<std::uint64_t> tail;               // last position published; a hint, exact but for a publisher's death
  std::atomic<std::int64_t> interval_publish_ns; // last publish of interval durability, by the monotonic clock
};

struct PartitionOptions {
  std::string directory;
  std::uint32_t number = 0;
  std::uint64_t segment_bytes = 0;  // a segment is ended when it has passed this
  std::int64_t segment_ns = 0;
  std::uint64_t map_bytes = 0;      // the same in all processes
  Timestamp now;                    // when the first segment is made
};

class Partition {
 public:
  // The caller holds the bus's open lock.
  static Result<std::shared_ptr<Partition>> open(const PartitionOptions& options);
  // Before anything opens the partition, when the machine has restarted: back to the last checkpoint. What may have been
  // acknowledged after it is counted as lost, and its positions are passed over.
  static Status recover(const PartitionOptions& options);
  static std::uint64_t map_bytes(std::uint64_t segment_bytes);

  struct Appended {
    std::uint64_t last_position = 0;
    bool rolled = false;  // a new segment was begun: a moment for retention
  };
  // Appends in order, in one transaction while a segment takes it. `interval`: positions are reserved durably first.
  Result<Appended> append(std::span<const OutMessage* const> messages, Timestamp now, bool interval, std::int64_t monotonic_ns);
  Status sync();
  // Publishers of interval durability wait for the disk when the reservation is used up; extended when it is half used, by
  // another thread, they do not.
  bool is_reservation_low();
  Status extend_reservation();

  struct Index {
    std::uint64_t generation = 0;
    std::vector<SegmentName> segments;  // by base; the last one is written to
  };
  // The segments as of now. Never empty.
  Result<std::shared_ptr<const Index>> index();
  // kNotFound when retention has removed it.
  Result<std::shared_ptr<Environment>> segment(std::uint64_t base);
  // Messages ever published at or before `position`, as far as the segments that are left tell.
  static std::uint64_t count_at(const Index& index, std::uint64_t position);
  // Position and publish time of the newest message; the position is the base less one in a new log.
  struct Tail {
    std::uint64_t position = 0;
    Timestamp time;
  };
  Result<Tail> read_tail();
  // The first position published at or after `time`; one behind the tail when there is none.
  Result<std::uint64_t> find_time(Timestamp time);
  Result<std::optional<Timestamp>> publish_time_at_or_after(std::uint64_t position);

  // Ends the segment that is written to, if it has messages, so that retention can remove it.
  Status roll(Timestamp now);
  // Removes the oldest segments while `remove` says so; the last stays. `before_removal` is told the next segment first.
  struct Removal {
    SegmentName segment;
    SegmentName next;
    std::uint64_t bytes = 0;
    std::uint64_t total_bytes = 0;  // of all segments that are left, this one included
    Timestamp last_time;
  };
  Status remove_oldest(const std::function<Result<bool>(const Removal&)>& remove,
                       const std::function<Status(const Removal&)>& before_removal);
  std::uint64_t disk_bytes();

  // From time to time, by one thread: lets pages be reused, gives back the reservation when publishing has paused.
  // `closing`: no process is publishing any more.
  void rest(std::int64_t monotonic_ns, bool closing = false);
  void clear_dead_readers();
  // True when something was unsynced at the last call already and still is: its publisher has died.
  bool note_unsynced();

  std::uint32_t number() const { return options_.number; }
  PartitionState& state() { return *state_.as<PartitionState>(); }
  void raise_tail(std::uint64_t position);
  const std::string& directory() const { return options_.directory; }

  std::atomic<std::int64_t> sync_due_ns{0};      // this process has published; its sync is due then. 0 = nothing to sync
  std::atomic<bool> reservation_wanted{false};   // the keeper is to extend it
  std::atomic<bool> at_limit{false};             // keep_unread: at its limit when last looked at

 private:
  explicit Partition(PartitionOptions options) : options_(std::move(options)) {}
  Status open_state();
  Result<std::shared_ptr<Environment>> open_segment(const SegmentName& name);
  Result<std::shared_ptr<Environment>> current_segment();
  // Creates the segment after `sealed`, or finds that another process did.
  Status begin_next(const SegmentName& sealed, const SealRecord& seal, Timestamp now);
  // Up to `position` at least; waits for the disk when it is not reserved already.
  Status reserve(std::uint64_t position);
  Status store_reservation(std::uint64_t position);
  std::uint64_t next_reservation(std::uint64_t position, std::uint64_t reserved);
  EnvironmentOptions environment_options(const SegmentName& name);

  PartitionOptions options_;
  SharedPage state_;
  CheckpointFile checkpoints_;
  std::mutex open_mutex_;  // held while a segment is opened or closed, before mutex_: LMDB forbids one process two of a kind
  std::mutex mutex_;       // segments_, index_; every append takes it
  std::map<std::uint64_t, std::shared_ptr<Environment>> segments_;
  std::shared_ptr<const Index> index_;
  std::uint64_t position_at_sync_ = 0;    // under the sync lock
  std::uint64_t rested_transaction_ = 0;  // rest()'s own
  int quiet_looks_ = 0;                   // rest()'s own: since this process appended
  std::atomic<bool> appended_{false};     // since the last rest()
  std::uint64_t unsynced_position_ = 0;   // note_unsynced()'s own
};

// Last position of a segment in a snapshot, and its seal when it has one.
struct SegmentEnd {
  std::uint64_t position = 0;
  std::int64_t time_ns = 0;  // 0 = no message
  std::optional<SealRecord> seal;
};
Result<SegmentEnd> read_end(MDB_txn* txn, MDB_dbi dbi, const SegmentName& name, const std::string& path);

}  // namespace utp::embedded_bus
