#include "apps/utp/data_directory.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include <fmt/format.h>

namespace utp::app {
namespace {

Code code_of(int error) { return error == ENOSPC || error == EDQUOT ? Code::kFull : Code::kPermission; }

Status make(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (!error) return {};
  return fail(code_of(error.value()), fmt::format("{}: the data directory cannot be made: {}; make it yourself, or name another data_dir that you may write",
                                                  path, error.message()));
}

}  // namespace

Result<DataDirectory> DataDirectory::share(const std::string& path) {
  UTP_CHECK(make(path));
  return DataDirectory(path, -1);
}

Result<DataDirectory> DataDirectory::lock(const std::string& path) {
  UTP_CHECK(make(path));
  const std::string file = fmt::format("{}/{}", path, kLockFile);
  const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd < 0) {
    const int why = errno;
    return fail(code_of(why), fmt::format("{}: the data directory cannot be written: {}; change its permissions, or name another data_dir", path,
                                          std::strerror(why)));
  }
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    char pid[24] = {};
    const ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    ::close(fd);
    const std::string holder = n > 0 ? fmt::format("process {}", std::string(pid, strcspn(pid, "\n"))) : std::string("another process");
    return fail(Code::kUnavailable, fmt::format("{}: {} runs a chamber on this data directory; stop it, or give this one another data_dir", path, holder));
  }
  const std::string pid = std::to_string(getpid()) + "\n";
  if (ftruncate(fd, 0) != 0 || pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    const int why = errno;
    ::close(fd);
    return fail(code_of(why), fmt::format("{}: writing failed: {}; free some space, or name another data_dir", file, std::strerror(why)));
  }
  return DataDirectory(path, fd);
}

DataDirectory::~DataDirectory() {
  if (fd_ >= 0) ::close(fd_);
}

Status DataDirectory::clear() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(path_, error)) {
    if (entry.path().filename() == kLockFile) continue;
    std::filesystem::remove_all(entry.path(), error);
    if (error) break;
  }
  if (error) return fail(Code::kPermission, fmt::format("{}: cannot be emptied: {}; remove it yourself, or name another with --data", path_, error.message()));
  return {};
}

Status replace_file(const std::string& path, std::string_view content, int mode) {
  const std::string temporary = fmt::format("{}.{}.part", path, getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
  if (fd < 0) return fail(code_of(errno), fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
  std::size_t done = 0;
  int why = 0;
  while (done < content.size() && why == 0) {
    const ssize_t n = ::write(fd, content.data() + done, content.size() - done);
    if (n >= 0) done += static_cast<std::size_t>(n);
    else if (errno != EINTR) why = errno;
  }
  ::close(fd);
  if (why == 0 && rename(temporary.c_str(), path.c_str()) != 0) why = errno;
  if (why == 0) return {};
  unlink(temporary.c_str());
  return fail(code_of(why), fmt::format("{}: writing failed: {}", path, std::strerror(why)));
}

}  // namespace utp::app
