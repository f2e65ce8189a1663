// One LMDB environment with its unnamed database, run without LMDB's own syncs and made durable by checkpoints.
//
// Why pages stay intact until the next checkpoint: LMDB reuses a page only when no reader's snapshot is older than the
// transaction that freed it. Every process that writes holds such a snapshot (the pin), never younger than the last
// checkpoint. So nothing that the checkpoint's trees reach is overwritten before the next checkpoint stands.
#pragma once

#include <lmdb.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "drivers/bus/embedded/checkpoint.h"
#include "drivers/bus/embedded/files.h"

namespace utp::embedded_bus {

Error lmdb_error(const std::string& place, int rc);

// What the processes share about syncing, in a SharedPage.
struct SyncState {
  SharedMutex mutex;                           // one sync at a time; held while the disk writes
  SharedMutex store;                           // the checkpoint file; taken after `mutex`, never held long
  std::atomic<std::uint64_t> environment;      // of the last checkpoint
  std::atomic<std::uint64_t> transaction;
  std::atomic<std::uint64_t> position;
  std::atomic<std::uint64_t> reserved;         // durable reservation; lowered only under the environment's writer lock
};

// `last_position` reads a checkpoint's position in a snapshot; `reserve` says up to where positions are to be reserved,
// given the snapshot's position and the reservation so far; it never lowers. Both run under the sync mutex.
struct SyncCalls {
  std::function<std::uint64_t(MDB_txn*, MDB_dbi)> last_position;
  std::function<std::uint64_t(std::uint64_t position, std::uint64_t reserved)> reserve;
};

struct EnvironmentOptions {
  std::string path;
  std::uint64_t number = 0;     // Checkpoint::environment
  std::uint64_t map_bytes = 0;
  bool integer_keys = false;
  SyncState* sync = nullptr;                    // outlives the environment
  const CheckpointFile* checkpoints = nullptr;  // outlives the environment
  SyncCalls calls;
};

class Environment {
 public:
  // One per path and process at a time, as LMDB demands; the caller sees to it.
  static Result<std::unique_ptr<Environment>> open(const EnvironmentOptions& options);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  // A writing transaction. Waits for the writers of all processes. Aborts when destroyed uncommitted.
  class Write {
   public:
    Write(Write&& other) noexcept;
    Write& operator=(Write&&) = delete;
    ~Write();
    MDB_txn* txn() const { return txn_; }
    MDB_dbi dbi() const { return environment_->dbi_; }
    Status commit();

   private:
    friend class Environment;
    Write(Environment& environment, MDB_txn* txn) : environment_(&environment), txn_(txn) {}
    Environment* environment_;
    MDB_txn* txn_;
  };
  Result<Write> begin_write();

  // A short read. Ends when destroyed; the slot is reused.
  class Read {
   public:
    Read(Read&& other) noexcept;
    Read& operator=(Read&&) = delete;
    ~Read();
    MDB_txn* txn() const { return txn_; }
    MDB_dbi dbi() const { return environment_->dbi_; }

   private:
    friend class Environment;
    Read(Environment& environment, MDB_txn* txn) : environment_(&environment), txn_(txn) {}
    Environment* environment_;
    MDB_txn* txn_;
  };
  Result<Read> begin_read();

  // Everything committed before the call is durable after it.
  Status sync();
  bool is_synced(std::uint64_t transaction) const;
  std::uint64_t last_transaction() const;  // committed by any process
  std::uint64_t used_bytes() const;

  // Lets other processes reuse pages while this one writes nothing. No effect while a Write is open.
  void unpin();
  // Whether this process's pin is older than the last checkpoint, so that it keeps pages from being reused for nothing.
  bool is_pin_stale() const;
  // Pages that a commit frees are not reused before the next sync. Syncs when those of so many commits wait for it that a
  // quarter of the map is owed.
  Status bound_unsynced();
  void clear_dead_readers();
  const std::string& path() const { return path_; }

 private:
  Environment() = default;
  Status pin_for_write();
  Result<MDB_txn*> take_reader();
  void give_reader(MDB_txn* txn);
  // The meta page of exactly this transaction; nothing when newer ones have overwritten it.
  Result<std::optional<MetaBytes>> read_meta(std::uint64_t transaction) const;

  std::string path_;
  std::uint64_t number_ = 0;
  SyncState* sync_ = nullptr;
  const CheckpointFile* checkpoints_ = nullptr;
  SyncCalls calls_;
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  int fd_ = -1;
  std::uint64_t page_bytes_ = 0;
  std::uint64_t map_bytes_ = 0;

  mutable std::mutex mutex_;         // pin_, writers_, readers_
  MDB_txn* pin_ = nullptr;
  int writers_ = 0;
  std::vector<MDB_txn*> readers_;    // reset, to be renewed
  std::atomic<bool> sync_failed_{false};
};

}  // namespace utp::embedded_bus
