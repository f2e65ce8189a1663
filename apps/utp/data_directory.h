// A chamber's folder: made when absent, used by one running chamber at a time.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"

namespace utp::app {

class DataDirectory {
 public:
  // kUnavailable when another process holds it (the message names it), kPermission or kFull when it cannot be made or written.
  static Result<DataDirectory> lock(const std::string& path);
  // Made when absent, for one of several processes on it; no lock.
  static Result<DataDirectory> share(const std::string& path);
  DataDirectory(DataDirectory&& other) noexcept : path_(std::move(other.path_)), fd_(other.fd_) { other.fd_ = -1; }
  DataDirectory& operator=(DataDirectory&&) = delete;
  ~DataDirectory();

  const std::string& path() const { return path_; }
  // Removes everything in it but the lock. Only for folders that this program made for itself.
  Status clear();

 private:
  DataDirectory(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  std::string path_;
  int fd_ = -1;
};

inline constexpr std::string_view kLockFile = "utp.lock";

// Readers see the old content or the new, never a part.
Status replace_file(const std::string& path, std::string_view content, int mode = 0644);

}  // namespace utp::app
