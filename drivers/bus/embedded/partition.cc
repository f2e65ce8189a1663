#include "drivers/bus/embedded/partition.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace utp::embedded_bus {
namespace {

// After a power loss positions go on this far behind anything that may have been handed out, acknowledged or not.
constexpr std::uint64_t kPositionJump = std::uint64_t{1} << 30;
// Reserved ahead at least: a burst after a quiet time does not wait for the disk. What a power loss counts as lost is at most
// the reservation, so it is kept small.
constexpr std::uint64_t kReserveMin = 256;
// A partition without publishes of interval durability for this long gives its reservation back.
constexpr std::int64_t kReservationRestNs = 5'000'000'000;
// One transaction's share of a large batch: bounds the memory that LMDB holds for it.
constexpr std::size_t kTransactionBytesMax = std::size_t{16} << 20;
// Segments kept open that nobody reads now: the one written to and the one before.
constexpr std::size_t kIdleSegmentsMax = 2;
constexpr std::size_t kLockFileBytes = 40 * 1024;
// Looks at a partition that others write to, before this process gives its pin up: the next publish costs a sync then.
constexpr int kQuietLooksMax = 5;

void initialize_state(void* page) {
  auto* state = new (page) PartitionState;
  state->sync.mutex.initialize();
  state->sync.store.initialize();
  state->structure.initialize();
}

// LMDB maps its lock file sparse; on a full disk the first touch would be a signal.
Status allocate_lock_file(const std::string& path) {
  if (file_exists(path)) return {};
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (fd.get() < 0) return fail(errno_error("create " + path, errno));
  if (const int rc = ::posix_fallocate(fd.get(), 0, kLockFileBytes); rc != 0) {
    ::unlink(path.c_str());
    return fail(errno_error("create " + path, rc));
  }
  return {};
}

std::vector<SegmentName> segment_names(const std::vector<std::string>& files) {
  std::vector<SegmentName> names;
  for (const std::string& file : files) {
    if (const auto name = SegmentName::parse(file)) names.push_back(*name);
  }
  std::sort(names.begin(), names.end(), [](const auto& a, const auto& b) { return a.base < b.base; });
  return names;
}

Status put_seal(Environment::Write& write, const std::string& path, const SealRecord& seal) {
  std::uint64_t key = kSealKey;
  MDB_val k{sizeof key, &key};
  MDB_val v{sizeof seal, const_cast<SealRecord*>(&seal)};
  if (const int rc = mdb_put(write.txn(), write.dbi(), &k, &v, MDB_APPEND); rc != 0) return fail(lmdb_error("write " + path, rc));
  return write.commit();
}

}  // namespace

void Partition::raise_tail(std::uint64_t position) {
  std::atomic<std::uint64_t>& tail = state().tail;
  std::uint64_t seen = tail.load(std::memory_order_relaxed);
  while (seen < position && !tail.compare_exchange_weak(seen, position, std::memory_order_acq_rel)) {
  }
}

std::uint64_t Partition::map_bytes(std::uint64_t segment_bytes) {
  // A segment is closed when it passes segment_bytes; one more transaction and the pages that wait for a checkpoint fit.
  return segment_bytes * 2 + (std::uint64_t{64} << 20);
}

Status Partition::open_state() {
  UTP_CHECK(state_.open(options_.directory + "/state", initialize_state));
  UTP_CHECK(checkpoints_.open(options_.directory + "/checkpoint"));
  SyncState& sync = state().sync;
  if (sync.environment.load() != 0) return {};
  UTP_TRY(const auto checkpoint, checkpoints_.load());
  if (!checkpoint) return {};
  sync.reserved.store(checkpoint->reserved);
  sync.position.store(checkpoint->position);
  sync.transaction.store(checkpoint->transaction);
  sync.environment.store(checkpoint->environment);
  if (checkpoint->reserved > checkpoint->position) state().interval_publish_ns.store(1);
  return {};
}

Result<std::shared_ptr<Partition>> Partition::open(const PartitionOptions& options) {
  UTP_CHECK(make_directory(options.directory));
  std::shared_ptr<Partition> partition(new Partition(options));
  UTP_CHECK(partition->open_state());
  UTP_TRY(const auto files, list_directory(options.directory));
  if (segment_names(files).empty()) {
    const SegmentName first{1, 0, 0, options.now.ns};
    UTP_TRY(const auto environment, partition->open_segment(first));
    UTP_CHECK(sync_directory(options.directory));
    UTP_CHECK(environment->sync());
    partition->state().generation.fetch_add(1);
  }
  UTP_TRY(const Tail tail, partition->read_tail());
  partition->raise_tail(tail.position);
  return partition;
}

Status Partition::recover(const PartitionOptions& options) {
  const std::string& directory = options.directory;
  UTP_TRY(const auto files, list_directory(directory));
  for (const std::string& file : files) {
    if (file == "state" || file.ends_with("-lock") || file.ends_with(".new")) ::unlink((directory + "/" + file).c_str());
  }
  const std::vector<SegmentName> names = segment_names(files);
  const std::string file = directory + "/checkpoint";
  const bool has_file = file_exists(file);
  CheckpointFile checkpoints;
  UTP_CHECK(checkpoints.open(file));
  UTP_TRY(const auto checkpoint, checkpoints.load());
  if (!checkpoint && !names.empty()) {
    // A creation that was cut short leaves a blank checkpoint and the first segment, to which nothing was published.
    UTP_TRY(const bool blank, checkpoints.is_blank());
    if (!has_file || !blank || names.size() > 1 || names.front().base != 1) {
      return fail(Code::kCorrupt, file + (has_file ? ": holds no intact checkpoint" : ": is missing") +
                                      ", and the machine has restarted since the segments beside it were written. Restore the bus "
                                      "directory from a copy that was made while no process used it, or move it away to begin a new "
                                      "bus; nothing was changed");
    }
  }
  std::optional<SegmentName> last;
  for (const SegmentName& name : names) {
    const std::string path = directory + "/" + name.file_name();
    if (!checkpoint || name.base > checkpoint->environment) {
      if (::unlink(path.c_str()) != 0) return fail(errno_error("remove " + path, errno));
    } else if (name.base == checkpoint->environment) {
      last = name;
      UTP_CHECK(restore_environment(path, *checkpoint));
    }
  }
  UTP_CHECK(sync_directory(directory));
  if (!checkpoint) return {};  // its creation was cut short: nothing was ever published
  if (!last) {
    return fail(Code::kCorrupt, directory + ": the segment that its checkpoint names is missing; restore it from a copy, or "
                                            "remove the directory to begin the partition anew");
  }

  Partition partition(options);
  UTP_CHECK(partition.open_state());
  partition.state().interval_publish_ns.store(0);  // nobody publishes: the reservation is not to grow
  std::uint64_t position = checkpoint->position;
  std::int64_t time_ns = last->created_ns;
  UTP_TRY(const auto environment, partition.open_segment(*last));
  {
    UTP_TRY(auto write, environment->begin_write());
    UTP_TRY(const SegmentEnd end, read_end(write.txn(), write.dbi(), *last, environment->path()));
    if (end.position != position) {
      return fail(Code::kCorrupt, environment->path() + ": ends at position " + std::to_string(end.position) +
                                      ", its checkpoint says " + std::to_string(position) +
                                      "; move the partition's directory away to go on without it");
    }
    time_ns = std::max(time_ns, end.time_ns);
    if (!end.seal) {
      UTP_CHECK(put_seal(write, environment->path(), {position, time_ns}));
    }
  }
  // The sealed segment needs no checkpoint of its own: it is synced before the next segment's checkpoint stands, and until
  // then this recovery is repeated.
  UTP_CHECK(environment->sync());
  SegmentName next;
  next.base = std::max(position, checkpoint->reserved) + kPositionJump + 1;
  next.count_before = last->count_before + (position - last->base + 1);
  next.lost_before = last->lost_before + (checkpoint->reserved - position);
  next.created_ns = time_ns;
  UTP_TRY(const auto created, partition.open_segment(next));
  UTP_CHECK(sync_directory(directory));
  partition.state().sync.reserved.store(next.base - 1);
  UTP_CHECK(created->sync());
  ::unlink((directory + "/state").c_str());
  return {};
}

EnvironmentOptions Partition::environment_options(const SegmentName& name) {
  EnvironmentOptions options;
  options.path = options_.directory + "/" + name.file_name();
  options.number = name.base;
  options.map_bytes = options_.map_bytes;
  options.integer_keys = true;
  options.sync = &state().sync;
  options.checkpoints = &checkpoints_;
  options.calls.last_position = [name, path = options.path](MDB_txn* txn, MDB_dbi dbi) {
    const auto end = read_end(txn, dbi, name, path);
    return end ? end->position : name.base - 1;
  };
  options.calls.reserve = [this](std::uint64_t position, std::uint64_t reserved) {
    return next_reservation(position, reserved);
  };
  return options;
}

std::uint64_t Partition::next_reservation(std::uint64_t position, std::uint64_t reserved) {
  const std::uint64_t recent = position_at_sync_ == 0 ? 0 : position - std::min(position, position_at_sync_);
  position_at_sync_ = position;
  if (state().interval_publish_ns.load(std::memory_order_relaxed) == 0) return std::max(position, reserved);
  // As much again as was published since the last sync, and half more: then publishers seldom wait for a reservation.
  return std::max(reserved, position + std::max(kReserveMin, recent + recent / 2));
}

Result<std::shared_ptr<Environment>> Partition::open_segment(const SegmentName& name) {
  std::lock_guard opening(open_mutex_);
  {
    std::lock_guard lock(mutex_);
    if (const auto found = segments_.find(name.base); found != segments_.end()) return found->second;
  }
  EnvironmentOptions options = environment_options(name);
  UTP_CHECK(allocate_lock_file(options.path + "-lock"));
  UTP_TRY(std::shared_ptr<Environment> environment, Environment::open(options));
  std::vector<std::shared_ptr<Environment>> evicted;  // unmapping takes long: not under mutex_
  std::lock_guard lock(mutex_);
  std::size_t idle = 0;
  for (auto it = segments_.rbegin(); it != segments_.rend(); ++it) idle += it->second.use_count() == 1 ? 1 : 0;
  for (auto it = segments_.begin(); it != segments_.end() && idle > kIdleSegmentsMax;) {
    if (it->second.use_count() == 1) {
      evicted.push_back(std::move(it->second));
      it = segments_.erase(it);
      --idle;
    } else {
      ++it;
    }
  }
  segments_[name.base] = environment;
  return environment;
}

Result<std::shared_ptr<Environment>> Partition::segment(std::uint64_t base) {
  {
    std::lock_guard lock(mutex_);
    if (const auto found = segments_.find(base); found != segments_.end()) return found->second;
  }
  UTP_TRY(const auto list, index());
  const auto found = std::find_if(list->segments.begin(), list->segments.end(), [&](const auto& s) { return s.base == base; });
  if (found != list->segments.end()) {
    SharedLock structure(state().structure);  // nobody removes it while it is opened
    if (file_exists(options_.directory + "/" + found->file_name())) return open_segment(*found);
  }
  return fail(Code::kNotFound, options_.directory + ": the segment at " + std::to_string(base) + " was removed by retention");
}

Result<std::shared_ptr<Environment>> Partition::current_segment() {
  UTP_TRY(const auto list, index());
  return segment(list->segments.back().base);
}

Result<std::shared_ptr<const Partition::Index>> Partition::index() {
  const std::uint64_t generation = state().generation.load(std::memory_order_acquire);
  {
    std::lock_guard lock(mutex_);
    if (index_ && index_->generation == generation) return index_;
  }
  UTP_TRY(const auto files, list_directory(options_.directory));
  auto fresh = std::make_shared<Index>();
  fresh->generation = generation;
  fresh->segments = segment_names(files);
  if (fresh->segments.empty()) {
    return fail(Code::kCorrupt, options_.directory + ": has no segment left; stop every process that uses this bus, then "
                                                     "remove the directory to begin the partition anew");
  }
  std::lock_guard lock(mutex_);
  index_ = fresh;
  return index_;
}

Status Partition::reserve(std::uint64_t position) {
  SyncState& sync = state().sync;
  if (sync.reserved.load(std::memory_order_acquire) >= position) return {};
  SharedLock lock(sync.store);  // not the sync's own: a publisher does not wait for the disk to take everything
  return sync.reserved.load() >= position ? Status() : store_reservation(position);
}

bool Partition::is_reservation_low() {
  SyncState& sync = state().sync;
  const std::uint64_t tail = state().tail.load(std::memory_order_acquire);
  const std::uint64_t synced = std::min(tail, sync.position.load(std::memory_order_acquire));
  const std::uint64_t reserved = std::max(tail, sync.reserved.load(std::memory_order_acquire));
  return reserved - tail < tail - synced;
}

Status Partition::extend_reservation() {
  SharedLock lock(state().sync.store);
  return is_reservation_low() ? store_reservation(state().tail.load()) : Status();
}

// The store lock is held.
Status Partition::store_reservation(std::uint64_t position) {
  SyncState& sync = state().sync;
  UTP_TRY(auto checkpoint, checkpoints_.load());
  if (!checkpoint) return fail(Code::kCorrupt, options_.directory + "/checkpoint: holds no checkpoint; restore it from a copy");
  // Doubling: a burst waits for few reservations, and what a loss counts too much stays within what was published.
  const std::uint64_t ahead = position - std::min(position, checkpoint->position);
  checkpoint->reserved = position + std::max(kReserveMin, ahead);
  UTP_CHECK(checkpoints_.store(*checkpoint));
  sync.reserved.store(checkpoint->reserved, std::memory_order_release);
  return {};
}

namespace {

// Puts messages[next...] as blocks behind `position`, until the transaction is large enough.
int put_blocks(MDB_txn* txn, MDB_dbi dbi, std::span<const OutMessage* const> messages, std::size_t& next,
               std::uint64_t& position, Timestamp time, std::size_t transaction_bytes_max) {
  std::size_t written = 0;
  while (next < messages.size() && written < transaction_bytes_max) {
    std::size_t end = next;
    std::size_t bytes = sizeof(BlockHeader);
    do {
      bytes += entry_bytes(messages[end]->key, messages[end]->value);
      ++end;
    } while (end < messages.size() && bytes + entry_bytes(messages[end]->key, messages[end]->value) <= kBlockBytes);
    std::uint64_t last = position + (end - next);
    MDB_val key{sizeof last, &last};
    MDB_val value{bytes, nullptr};
    if (const int rc = mdb_put(txn, dbi, &key, &value, MDB_APPEND | MDB_RESERVE); rc != 0) return rc;
    char* const block = static_cast<char*>(value.mv_data);
    BlockHeader header{0, time.ns, static_cast<std::uint32_t>(end - next), 0};
    std::memcpy(block, &header, sizeof header);
    char* out = block + sizeof header;
    for (; next < end; ++next) out = append_entry(out, messages[next]->key, messages[next]->value);
    header.checksum = block_checksum(block, bytes, last);
    std::memcpy(block, &header.checksum, sizeof header.checksum);
    position = last;
    written += bytes;
  }
  return 0;
}

}  // namespace

Result<Partition::Appended> Partition::append(std::span<const OutMessage* const> messages, Timestamp now, bool interval,
                                              std::int64_t monotonic_ns) {
  Appended result;
  std::size_t next = 0;
  if (interval) state().interval_publish_ns.store(std::max<std::int64_t>(monotonic_ns, 1), std::memory_order_relaxed);
  std::uint64_t needed = 0;  // for what others had published meanwhile
  while (next < messages.size()) {
    // Before the writer's lock is taken: it is not held while the disk writes.
    if (interval) UTP_CHECK(reserve(std::max(needed, state().tail.load(std::memory_order_acquire) + messages.size() - next)));
    UTP_TRY(const auto list, index());
    const SegmentName name = list->segments.back();
    auto environment = segment(name.base);
    if (!environment) {
      if (environment.error().code == Code::kNotFound && state().generation.load() != list->generation) continue;
      return fail(std::move(environment.error()));
    }
    Environment& segment_environment = **environment;
    SealRecord seal;
    {
      UTP_TRY(auto write, segment_environment.begin_write());
      appended_.store(true, std::memory_order_relaxed);
      UTP_TRY(const SegmentEnd end, read_end(write.txn(), write.dbi(), name, segment_environment.path()));
      const bool empty = end.position < name.base;
      const bool full = !empty && (segment_environment.used_bytes() >= options_.segment_bytes ||
                                   now.ns - name.created_ns >= options_.segment_ns);
      if (end.seal) {
        seal = *end.seal;
      } else if (full) {
        seal = SealRecord{end.position, end.time_ns};
        UTP_CHECK(put_seal(write, segment_environment.path(), seal));
      } else {
        const Timestamp time{std::max({now.ns, end.time_ns, name.created_ns})};
        std::uint64_t position = end.position;
        std::size_t taken = next;
        const int rc = put_blocks(write.txn(), write.dbi(), messages, taken, position, time, kTransactionBytesMax);
        if (rc != 0) return fail(lmdb_error("write " + segment_environment.path(), rc));
        if (interval && position > state().sync.reserved.load(std::memory_order_acquire)) {
          needed = position;
          continue;
        }
        UTP_CHECK(write.commit());
        next = taken;
        raise_tail(position);
        result.last_position = position;
        continue;
      }
    }
    UTP_CHECK(begin_next(name, seal, now));
    result.rolled = true;
  }
  return result;
}

Status Partition::begin_next(const SegmentName& sealed, const SealRecord& seal, Timestamp now) {
  SharedLock structure(state().structure);
  UTP_TRY(const auto files, list_directory(options_.directory));
  const auto names = segment_names(files);
  if (!names.empty() && names.back().base > sealed.base) {
    state().generation.fetch_add(1, std::memory_order_acq_rel);
    return {};
  }
  UTP_TRY(const auto old, open_segment(sealed));
  UTP_CHECK(old->sync());
  SegmentName next;
  next.base = seal.last_position + 1;
  next.count_before = sealed.count_before + (seal.last_position - sealed.base + 1);
  next.lost_before = sealed.lost_before;
  next.created_ns = std::max({now.ns, seal.last_time_ns, sealed.created_ns});
  UTP_TRY(const auto created, open_segment(next));
  UTP_CHECK(sync_directory(options_.directory));
  UTP_CHECK(created->sync());
  state().generation.fetch_add(1, std::memory_order_acq_rel);
  return {};
}

Status Partition::sync() {
  UTP_TRY(const auto environment, current_segment());
  return environment->sync();
}

Status Partition::roll(Timestamp now) {
  UTP_TRY(const auto list, index());
  const SegmentName name = list->segments.back();
  UTP_TRY(const auto environment, segment(name.base));
  SealRecord seal;
  {
    UTP_TRY(auto write, environment->begin_write());
    UTP_TRY(const SegmentEnd end, read_end(write.txn(), write.dbi(), name, environment->path()));
    if (end.position < name.base && !end.seal) return {};
    seal = end.seal.value_or(SealRecord{end.position, end.time_ns});
    if (!end.seal) UTP_CHECK(put_seal(write, environment->path(), seal));
  }
  return begin_next(name, seal, now);
}

Status Partition::remove_oldest(const std::function<Result<bool>(const Removal&)>& remove,
                                const std::function<Status(const Removal&)>& before_removal) {
  SharedLock structure(state().structure);
  UTP_TRY(const auto files, list_directory(options_.directory));
  const auto names = segment_names(files);
  std::uint64_t total = 0;
  for (const SegmentName& name : names) total += embedded_bus::disk_bytes(options_.directory + "/" + name.file_name());
  for (std::size_t i = 0; i + 1 < names.size(); ++i) {
    const std::string path = options_.directory + "/" + names[i].file_name();
    Removal removal{names[i], names[i + 1], embedded_bus::disk_bytes(path), total, {}};
    {
      UTP_TRY(const auto environment, open_segment(names[i]));
      UTP_TRY(auto read, environment->begin_read());
      UTP_TRY(const SegmentEnd end, read_end(read.txn(), read.dbi(), names[i], path));
      removal.last_time = {end.time_ns};
    }
    UTP_TRY(const bool wanted, remove(removal));
    if (!wanted) break;
    UTP_CHECK(before_removal(removal));
    std::shared_ptr<Environment> removed;  // unmapped outside mutex_
    {
      std::lock_guard lock(mutex_);
      if (auto found = segments_.extract(names[i].base)) removed = std::move(found.mapped());
    }
    removed.reset();
    state().generation.fetch_add(1, std::memory_order_acq_rel);
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return fail(errno_error("remove " + path, errno));
    ::unlink((path + "-lock").c_str());
    state().generation.fetch_add(1, std::memory_order_acq_rel);
    total -= removal.bytes;
  }
  return {};
}

std::uint64_t Partition::disk_bytes() {
  const auto list = index();
  if (!list) return 0;
  std::uint64_t total = 0;
  for (const SegmentName& name : (*list)->segments) {
    total += embedded_bus::disk_bytes(options_.directory + "/" + name.file_name());
  }
  return total;
}

void Partition::rest(std::int64_t monotonic_ns, bool closing) {
  const auto environment = current_segment();
  if (!environment) return;
  SyncState& sync = state().sync;
  const std::int64_t last_publish = state().interval_publish_ns.load();
  const bool idle = closing || last_publish == 0 || monotonic_ns - last_publish > kReservationRestNs;
  if (idle && sync.reserved.load() > sync.position.load() && (*environment)->is_synced((*environment)->last_transaction())) {
    if (auto write = (*environment)->begin_write()) {  // publishers look at the reservation under the writer's lock
      SharedLock lock(sync.mutex);
      SharedLock store(sync.store);
      auto checkpoint = checkpoints_.load();
      if (checkpoint && *checkpoint && (*environment)->is_synced((*environment)->last_transaction()) &&
          (*checkpoint)->position == sync.position.load() &&
          (*checkpoint)->position == state().tail.load()) {
        state().interval_publish_ns.store(0);
        sync.reserved.store((*checkpoint)->position, std::memory_order_release);
        (*checkpoint)->reserved = (*checkpoint)->position;
        (void)checkpoints_.store(**checkpoint);
      }
    }
  }
  // Without a pin the next publish needs everything synced; so only when this partition is quiet, or long left to others. An
  // old pin keeps every page that they free since.
  const std::uint64_t transaction = (*environment)->last_transaction();
  quiet_looks_ = appended_.exchange(false, std::memory_order_relaxed) ? 0 : quiet_looks_ + 1;
  if ((transaction == rested_transaction_ && (*environment)->is_synced(transaction)) || quiet_looks_ > kQuietLooksMax) {
    (*environment)->unpin();
  } else if ((*environment)->is_pin_stale()) {
    (void)(*environment)->sync();
  }
  rested_transaction_ = transaction;
}

bool Partition::note_unsynced() {
  const std::uint64_t synced = state().sync.position.load();
  if (state().tail.load() <= synced) {
    unsynced_position_ = 0;
    return false;
  }
  const bool again = unsynced_position_ == synced + 1;
  unsynced_position_ = synced + 1;
  return again;
}

void Partition::clear_dead_readers() {
  if (const auto environment = current_segment()) (*environment)->clear_dead_readers();
}

}  // namespace utp::embedded_bus
