#include "drivers/bus/embedded/environment.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace utp::embedded_bus {
namespace {

// Reader slots per environment: each process takes one per subscription that reads it at this moment, and two to write.
constexpr unsigned kReadersMax = 510;
// LMDB reports a write that was cut short as an I/O error; with less room than this left it is taken for a full disk.
constexpr std::uint64_t kRoomBytes = std::uint64_t{32} << 20;
// What a small commit takes: the pages from the root to a leaf, those of the list of free pages.
constexpr std::uint64_t kCommitBytes = 16 * 1024;

bool has_room(int fd) {
  struct statvfs disk {};
  if (::fstatvfs(fd, &disk) == 0 && std::uint64_t{disk.f_bavail} * disk.f_frsize < kRoomBytes) return false;
  struct stat file {};
  rlimit limit{};
  return ::fstat(fd, &file) != 0 || ::getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY ||
         static_cast<std::uint64_t>(file.st_size) + kRoomBytes <= limit.rlim_cur;
}

}  // namespace

Error lmdb_error(const std::string& place, int rc) {
  switch (rc) {
    case MDB_MAP_FULL:
      return {Code::kFull, place + ": its map is full; raise the map size in the bus options (or lower retention), then repeat",
              true};
    case MDB_READERS_FULL:
      return {Code::kUnavailable, place + ": more than " + std::to_string(kReadersMax) +
                                      " readers at once; close subscriptions, then repeat", true};
    case MDB_VERSION_MISMATCH:
      return {Code::kUnsupported, place + ": written by another version of LMDB's format; export it with the program that "
                                          "wrote it", false};
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_PAGE_NOTFOUND:
      return {Code::kCorrupt, place + ": " + mdb_strerror(rc) + "; stop every process that uses this bus, move the file away, "
                                      "and restore it from a copy if there is one", false};
    case MDB_PANIC:
      return {Code::kIo, place + ": an earlier write failed half-way; close the bus in this process and open it again", false};
    default:
      if (rc > 0) return errno_error(place, rc);
      return {Code::kIo, place + ": " + mdb_strerror(rc), false};
  }
}

Result<std::unique_ptr<Environment>> Environment::open(const EnvironmentOptions& options) {
  std::unique_ptr<Environment> result(new Environment);
  Environment& e = *result;
  e.path_ = options.path;
  e.number_ = options.number;
  e.sync_ = options.sync;
  e.checkpoints_ = options.checkpoints;
  e.calls_ = options.calls;
  e.map_bytes_ = options.map_bytes;
  int rc = mdb_env_create(&e.env_);
  if (rc != 0) return fail(lmdb_error(options.path, rc));
  mdb_env_set_mapsize(e.env_, options.map_bytes);
  mdb_env_set_maxreaders(e.env_, kReadersMax);
  constexpr unsigned kFlags = MDB_NOSUBDIR | MDB_NOSYNC | MDB_NOTLS;
  rc = mdb_env_open(e.env_, options.path.c_str(), kFlags, 0666);
  if (rc != 0) return fail(lmdb_error("open " + options.path, rc));
  mdb_env_get_fd(e.env_, &e.fd_);
  MDB_stat stat{};
  mdb_env_stat(e.env_, &stat);
  e.page_bytes_ = stat.ms_psize;
  int dead = 0;
  mdb_reader_check(e.env_, &dead);

  MDB_txn* txn = nullptr;
  rc = mdb_txn_begin(e.env_, nullptr, 0, &txn);
  if (rc != 0) return fail(lmdb_error("open " + options.path, rc));
  rc = mdb_dbi_open(txn, nullptr, options.integer_keys ? unsigned{MDB_INTEGERKEY | MDB_CREATE} : unsigned{MDB_CREATE}, &e.dbi_);
  if (rc != 0) {
    mdb_txn_abort(txn);
    return fail(lmdb_error("open " + options.path, rc));
  }
  rc = mdb_txn_commit(txn);
  if (rc != 0) return fail(lmdb_error("open " + options.path, rc));
  return result;
}

Environment::~Environment() {
  if (env_ == nullptr) return;
  if (pin_ != nullptr) mdb_txn_abort(pin_);
  for (MDB_txn* reader : readers_) mdb_txn_abort(reader);
  mdb_env_close(env_);
}

Result<MDB_txn*> Environment::take_reader() {
  {
    std::lock_guard lock(mutex_);
    if (!readers_.empty()) {
      MDB_txn* txn = readers_.back();
      readers_.pop_back();
      const int rc = mdb_txn_renew(txn);
      if (rc == 0) return txn;
      mdb_txn_abort(txn);
      return fail(lmdb_error("read " + path_, rc));
    }
  }
  MDB_txn* txn = nullptr;
  int rc = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  if (rc == MDB_READERS_FULL) {
    clear_dead_readers();
    rc = mdb_txn_begin(env_, nullptr, MDB_RDONLY, &txn);
  }
  if (rc != 0) return fail(lmdb_error("read " + path_, rc));
  return txn;
}

void Environment::give_reader(MDB_txn* txn) {
  mdb_txn_reset(txn);
  std::lock_guard lock(mutex_);
  readers_.push_back(txn);
}

Result<Environment::Read> Environment::begin_read() {
  UTP_TRY(MDB_txn * txn, take_reader());
  return Read(*this, txn);
}

Environment::Read::Read(Read&& other) noexcept : environment_(other.environment_), txn_(std::exchange(other.txn_, nullptr)) {}

Environment::Read::~Read() {
  if (txn_ != nullptr) environment_->give_reader(txn_);
}

bool Environment::is_synced(std::uint64_t transaction) const {
  const std::uint64_t environment = sync_->environment.load(std::memory_order_acquire);
  // A later environment's checkpoint is stored only when the earlier ones are durable to their ends.
  if (environment != number_) return environment > number_;
  return sync_->transaction.load(std::memory_order_acquire) >= transaction;
}

Status Environment::pin_for_write() {
  {
    std::lock_guard lock(mutex_);
    ++writers_;
    if (pin_ != nullptr) return {};
  }
  auto candidate = take_reader();
  if (!candidate) {
    std::lock_guard lock(mutex_);
    --writers_;
    return fail(std::move(candidate.error()));
  }
  if (is_synced(mdb_txn_id(*candidate))) {
    MDB_txn* spare = *candidate;
    {
      std::lock_guard lock(mutex_);
      if (pin_ == nullptr) pin_ = std::exchange(spare, nullptr);
    }
    if (spare != nullptr) give_reader(spare);
    return {};
  }
  give_reader(*candidate);
  // Others have written since the last checkpoint: a pin taken now would be younger than it.
  Status synced = sync();
  if (!synced) {
    std::lock_guard lock(mutex_);
    --writers_;
  }
  return synced;
}

Result<Environment::Write> Environment::begin_write() {
  UTP_CHECK(pin_for_write());
  MDB_txn* txn = nullptr;
  const int rc = mdb_txn_begin(env_, nullptr, 0, &txn);
  if (rc != 0) {
    std::lock_guard lock(mutex_);
    --writers_;
    return fail(lmdb_error("write " + path_, rc));
  }
  return Write(*this, txn);
}

Environment::Write::Write(Write&& other) noexcept
    : environment_(std::exchange(other.environment_, nullptr)), txn_(std::exchange(other.txn_, nullptr)) {}

Environment::Write::~Write() {
  if (txn_ != nullptr) mdb_txn_abort(txn_);
  if (environment_ != nullptr) {
    std::lock_guard lock(environment_->mutex_);
    --environment_->writers_;
  }
}

Status Environment::Write::commit() {
  int rc = mdb_txn_commit(std::exchange(txn_, nullptr));
  if (rc == EIO && !has_room(environment_->fd_)) rc = ENOSPC;
  if (rc != 0) return fail(lmdb_error("write " + environment_->path_, rc));
  return {};
}

Result<std::optional<MetaBytes>> Environment::read_meta(std::uint64_t transaction) const {
  // A transaction's meta page is overwritten by the next but one. Reading it twice tells a page that is being written.
  const auto offset = static_cast<off_t>((transaction & 1) * page_bytes_);
  MetaBytes first;
  MetaBytes second;
  for (MetaBytes* meta : {&first, &second}) {
    const ssize_t n = ::pread(fd_, meta->data(), meta->size(), offset);
    if (n != static_cast<ssize_t>(meta->size())) return fail(errno_error("read " + path_, n < 0 ? errno : EIO));
  }
  if (first != second) return std::nullopt;
  const auto found = meta_transaction(first);
  if (!found) {
    return fail(Code::kUnsupported, path_ + ": its meta page has an unknown layout; this program knows LMDB format version 1");
  }
  // The two first transactions share an all-new file's pages.
  if (*found != transaction) return std::nullopt;
  return first;
}

Status Environment::sync() {
  const std::uint64_t wanted = last_transaction();
  SharedLock lock(sync_->mutex);
  bool pinned;
  {
    std::lock_guard guard(mutex_);
    pinned = pin_ != nullptr;
  }
  if (is_synced(wanted) && (pinned || sync_->environment.load() > number_)) {
    // Somebody else's sync covered ours. The pin stays where it is: older is only less space to reuse.
    bool stale = false;
    {
      std::lock_guard guard(mutex_);
      stale = pin_ != nullptr && mdb_txn_id(pin_) < wanted;
    }
    if (!stale) return {};
    auto candidate = take_reader();
    if (!candidate) return {};
    MDB_txn* spare = *candidate;
    if (is_synced(mdb_txn_id(spare))) {
      std::lock_guard guard(mutex_);
      std::swap(pin_, spare);
    }
    if (spare != nullptr) give_reader(spare);
    return {};
  }
  if (sync_failed_.load()) {
    return fail(Code::kIo, path_ + ": an earlier sync failed, so what was written since may not be on disk; check the disk, "
                                   "then close the bus in this process and open it again");
  }

  MDB_txn* candidate = nullptr;
  std::optional<MetaBytes> meta;
  for (int attempt = 0; !meta; ++attempt) {
    UTP_TRY(candidate, take_reader());
    auto found = read_meta(mdb_txn_id(candidate));
    if (!found || (!*found && attempt == 10'000)) {
      give_reader(candidate);
      if (!found) return fail(std::move(found.error()));
      return fail(Code::kUnavailable, path_ + ": its writers leave no moment to read its meta page; repeat", true);
    }
    if (*found) {
      meta = **found;
    } else {
      give_reader(candidate);
    }
  }
  Checkpoint checkpoint;
  checkpoint.environment = number_;
  checkpoint.transaction = mdb_txn_id(candidate);
  checkpoint.page_bytes = page_bytes_;
  checkpoint.meta = *meta;
  checkpoint.position = calls_.last_position ? calls_.last_position(candidate, dbi_) : 0;

  if (::fdatasync(fd_) != 0) {
    const int error = errno;
    // The kernel may have dropped the pages it could not write and would call the next sync a success.
    sync_failed_.store(true);
    give_reader(candidate);
    return fail(errno_error("sync " + path_, error));
  }
  SharedLock store(sync_->store);  // publishers may have reserved more meanwhile
  const std::uint64_t reserved = sync_->reserved.load(std::memory_order_acquire);
  checkpoint.reserved = calls_.reserve ? calls_.reserve(checkpoint.position, reserved) : std::max(checkpoint.position, reserved);
  if (auto stored = checkpoints_->store(checkpoint); !stored) {
    give_reader(candidate);
    return stored;
  }
  if (sync_->environment.load() != number_) {
    sync_->transaction.store(0, std::memory_order_release);
    sync_->environment.store(number_, std::memory_order_release);
  }
  sync_->transaction.store(checkpoint.transaction, std::memory_order_release);
  sync_->position.store(checkpoint.position, std::memory_order_release);
  if (checkpoint.reserved > reserved) sync_->reserved.store(checkpoint.reserved, std::memory_order_release);
  store.unlock();
  {
    std::lock_guard guard(mutex_);
    std::swap(pin_, candidate);
  }
  if (candidate != nullptr) give_reader(candidate);
  return {};
}

std::uint64_t Environment::last_transaction() const {
  MDB_envinfo info{};
  mdb_env_info(env_, &info);
  return info.me_last_txnid;
}

std::uint64_t Environment::used_bytes() const {
  MDB_envinfo info{};
  mdb_env_info(env_, &info);
  return (info.me_last_pgno + 1) * page_bytes_;
}

void Environment::unpin() {
  MDB_txn* pin = nullptr;
  {
    std::lock_guard lock(mutex_);
    if (writers_ > 0) return;
    pin = std::exchange(pin_, nullptr);
  }
  if (pin != nullptr) give_reader(pin);
}

bool Environment::is_pin_stale() const {
  std::lock_guard lock(mutex_);
  return pin_ != nullptr && sync_->environment.load(std::memory_order_acquire) == number_ &&
         mdb_txn_id(pin_) < sync_->transaction.load(std::memory_order_acquire);
}

Status Environment::bound_unsynced() {
  const std::uint64_t owed_max = std::max<std::uint64_t>(1, map_bytes_ / 4 / kCommitBytes);
  const std::uint64_t last = last_transaction();
  if (last <= owed_max || is_synced(last - owed_max)) return {};
  return sync();
}

void Environment::clear_dead_readers() {
  int dead = 0;
  mdb_reader_check(env_, &dead);
}

}  // namespace utp::embedded_bus
