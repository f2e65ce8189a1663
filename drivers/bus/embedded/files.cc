#include "drivers/bus/embedded/files.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cassert>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstring>
#include <ctime>

namespace utp::embedded_bus {

Error errno_error(std::string_view what, int error) {
  std::string message = std::string(what) + ": " + std::strerror(error);
  switch (error) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
      return {Code::kFull, message + "; free space on that disk (or lower the topics' retention), then repeat", true};
    case EACCES:
    case EPERM:
    case EROFS:
      return {Code::kPermission, message + "; give this user read and write access to the bus directory and its files, or "
                                           "choose another directory", false};
    case ENOENT:
    case ENOTDIR:
      return {Code::kNotFound, std::move(message), false};
    case EMFILE:
    case ENFILE:
      return {Code::kUnavailable, message + "; raise the limit of open files (ulimit -n)", true};
    default:
      return {Code::kIo, std::move(message), false};
  }
}

UniqueFd& UniqueFd::operator=(UniqueFd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

void UniqueFd::reset() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

bool file_exists(const std::string& path) {
  struct stat info {};
  return ::stat(path.c_str(), &info) == 0;
}

Status make_directory(const std::string& path) {
  if (::mkdir(path.c_str(), 0777) == 0) return {};
  const int error = errno;
  struct stat info {};
  if (error == EEXIST && ::stat(path.c_str(), &info) == 0 && S_ISDIR(info.st_mode)) return {};
  if (error == EEXIST) return fail(Code::kInvalidArgument, path + ": is no directory; name one, or remove the file");
  return fail(errno_error("make directory " + path, error));
}

Status sync_directory(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return fail(errno_error("open directory " + path, errno));
  if (::fsync(fd.get()) != 0) return fail(errno_error("sync directory " + path, errno));
  return {};
}

Result<std::string> read_small_file(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return fail(errno_error("open " + path, errno));
  std::string bytes;
  char buffer[4096];
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error("read " + path, errno));
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<std::size_t>(n));
  }
}

namespace {

Status write_all(int fd, const std::string& path, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return fail(errno_error("write " + path, errno));
    bytes.remove_prefix(static_cast<std::size_t>(n));
  }
  return {};
}

}  // namespace

Status write_file_durably(const std::string& path, std::string_view bytes) {
  const std::string temporary = path + ".new";
  UniqueFd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
  if (fd.get() < 0) return fail(errno_error("create " + temporary, errno));
  UTP_CHECK(write_all(fd.get(), temporary, bytes));
  if (::fsync(fd.get()) != 0) return fail(errno_error("sync " + temporary, errno));
  if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(errno_error("rename " + temporary, errno));
  const std::size_t slash = path.rfind('/');
  return sync_directory(slash == std::string::npos ? "." : path.substr(0, slash + 1));
}

Result<std::vector<std::string>> list_directory(const std::string& path) {
  DIR* directory = ::opendir(path.c_str());
  if (directory == nullptr) return fail(errno_error("list " + path, errno));
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(directory)) {
    const std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
  }
  ::closedir(directory);
  std::sort(names.begin(), names.end());
  return names;
}

std::uint64_t disk_bytes(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) return 0;
  return static_cast<std::uint64_t>(info.st_blocks) * 512;
}

std::string read_boot_id() {
  auto text = read_small_file("/proc/sys/kernel/random/boot_id");
  if (!text) return {};
  while (!text->empty() && text->back() <= ' ') text->pop_back();
  return *text;
}

std::int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Status FileLock::open(const std::string& path) {
  path_ = path;
  fd_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (fd_.get() < 0) return fail(errno_error("open " + path, errno));
  return {};
}

Status FileLock::lock_exclusive() {
  while (::flock(fd_.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return fail(errno_error("lock " + path_, errno));
  }
  return {};
}

bool FileLock::try_lock_exclusive() { return ::flock(fd_.get(), LOCK_EX | LOCK_NB) == 0; }

Status FileLock::lock_shared() {
  while (::flock(fd_.get(), LOCK_SH) != 0) {
    if (errno != EINTR) return fail(errno_error("lock " + path_, errno));
  }
  return {};
}

bool FileLock::upgrade() {
  if (try_lock_exclusive()) return true;
  (void)lock_shared();  // a conversion that fails gives the old lock up
  return false;
}

void FileLock::unlock() { ::flock(fd_.get(), LOCK_UN); }

namespace {

struct flock one_byte(std::uint64_t offset) {
  struct flock range {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(offset);
  range.l_len = 1;
  return range;
}

}  // namespace

Result<bool> FileLock::try_lock_byte(std::uint64_t offset) {
  struct flock range = one_byte(offset);
  if (::fcntl(fd_.get(), F_OFD_SETLK, &range) == 0) return true;
  if (errno == EAGAIN || errno == EACCES) return false;
  return fail(errno_error("lock a byte of " + path_, errno));
}

bool FileLock::is_byte_locked(std::uint64_t offset) const {
  struct flock range = one_byte(offset);
  return ::fcntl(fd_.get(), F_OFD_GETLK, &range) != 0 || range.l_type != F_UNLCK;
}

void SharedMutex::initialize() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&native, &attributes);
  pthread_mutexattr_destroy(&attributes);
}

SharedLock::SharedLock(SharedMutex& mutex) : mutex_(&mutex) {
  const int rc = pthread_mutex_lock(&mutex.native);
  // What the lock guards is written so that a holder's death at any point leaves it usable.
  if (rc == EOWNERDEAD) pthread_mutex_consistent(&mutex.native);
  assert(rc == 0 || rc == EOWNERDEAD);
}

void SharedLock::unlock() {
  if (mutex_ != nullptr) pthread_mutex_unlock(&mutex_->native);
  mutex_ = nullptr;
}

SharedPage::~SharedPage() {
  if (memory_ != nullptr) ::munmap(memory_, kBytes);
}

Status SharedPage::open(const std::string& path, void (*initialize)(void* page)) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd.get() < 0 && errno != ENOENT) return fail(errno_error("open " + path, errno));
  if (fd.get() < 0) {
    alignas(64) char page[kBytes] = {};
    initialize(page);
    const std::string temporary = path + ".new";
    fd = UniqueFd(::open(temporary.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666));
    if (fd.get() < 0) return fail(errno_error("create " + temporary, errno));
    UTP_CHECK(write_all(fd.get(), temporary, {page, kBytes}));
    // A mapped write must never be the first to need a disk block.
    if (const int rc = ::posix_fallocate(fd.get(), 0, kBytes); rc != 0) return fail(errno_error("allocate " + temporary, rc));
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail(errno_error("rename " + temporary, errno));
  }
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0 || info.st_size != static_cast<off_t>(kBytes)) {
    return fail(Code::kCorrupt, path + ": has " + std::to_string(info.st_size) + " bytes, expected " +
                                    std::to_string(kBytes) + "; stop every process that uses this bus and remove the file");
  }
  void* memory = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (memory == MAP_FAILED) return fail(errno_error("map " + path, errno));
  memory_ = memory;
  return {};
}

void futex_wait(std::atomic<std::uint32_t>& word, std::uint32_t seen, std::int64_t timeout_ns) {
  timespec timeout{static_cast<time_t>(timeout_ns / 1'000'000'000), static_cast<long>(timeout_ns % 1'000'000'000)};
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

void futex_wake_all(std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

}  // namespace utp::embedded_bus
