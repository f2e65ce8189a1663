// Files, locks and memory shared between processes: what the embedded bus needs from the operating system.
#pragma once

#include <pthread.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace utp::embedded_bus {

// `what` names the action and the file; `error` is an errno value. Full disks are kFull, retryable, with the cure.
Error errno_error(std::string_view what, int error);

class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  ~UniqueFd() { reset(); }
  int get() const { return fd_; }
  int release() { int fd = fd_; fd_ = -1; return fd; }
  void reset();

 private:
  int fd_ = -1;
};

bool file_exists(const std::string& path);
Status make_directory(const std::string& path);         // exists already: fine
Status sync_directory(const std::string& path);
Result<std::string> read_small_file(const std::string& path);
Status write_file_durably(const std::string& path, std::string_view bytes);  // by a temporary file and rename
Result<std::vector<std::string>> list_directory(const std::string& path);    // names, sorted, without . and ..
std::uint64_t disk_bytes(const std::string& path);      // 0 when absent
std::string read_boot_id();                             // "" where the system has none
std::int64_t steady_ns();                               // the clock of timeouts; Clock is for what is written down

// flock() on a file of its own, and locks on single bytes of it; gone with the process. One holder per object, so guard it
// against other threads.
class FileLock {
 public:
  Status open(const std::string& path);
  Status lock_exclusive();
  bool try_lock_exclusive();  // from unlocked
  Status lock_shared();
  // From shared to exclusive where nobody else holds it; else it is held shared still. Not atomic: between the two another
  // could get it, so callers of this and of try_lock_exclusive() exclude each other by other means.
  bool upgrade();
  void unlock();

  // The bytes need not be there. False when another has it.
  Result<bool> try_lock_byte(std::uint64_t offset);
  // Whether another object (of any process) has it; true when that cannot be told.
  bool is_byte_locked(std::uint64_t offset) const;

 private:
  UniqueFd fd_;
  std::string path_;
};

// A mutex in shared memory that the death of its holder does not block.
struct SharedMutex {
  pthread_mutex_t native;
  void initialize();
};

class SharedLock {
 public:
  explicit SharedLock(SharedMutex& mutex);
  ~SharedLock() { unlock(); }
  SharedLock(const SharedLock&) = delete;
  SharedLock& operator=(const SharedLock&) = delete;
  void unlock();

 private:
  SharedMutex* mutex_;
};

// A file of fixed size mapped for reading and writing by several processes. Its blocks are allocated when it is made, so
// that a full disk is an error then and not a signal later.
class SharedPage {
 public:
  static constexpr std::size_t kBytes = 4096;
  SharedPage() = default;
  SharedPage(const SharedPage&) = delete;
  SharedPage& operator=(const SharedPage&) = delete;
  ~SharedPage();
  // `initialize` fills a page that is new; the caller holds a lock that keeps others from opening it meanwhile.
  Status open(const std::string& path, void (*initialize)(void* page));
  template <class T>
  T* as() const {
    static_assert(sizeof(T) <= kBytes);
    return static_cast<T*>(memory_);
  }

 private:
  void* memory_ = nullptr;
};

// Sleeps while *word == seen, until woken or the time is over.
void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, std::int64_t timeout_ns);
void futex_wake_all(std::atomic<std::uint32_t>& word);

}  // namespace utp::embedded_bus
