// What benchmark programs share: the end of one whose set-up fails, and their command line.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <regex>
#include <string>
#include <utility>

#include "core/json_writer.h"
#include "core/result.h"

namespace utp::bench {

[[noreturn]] inline void stop(const std::string& message) {
  std::fprintf(stderr, "%s: %s\n", program_invocation_short_name, message.c_str());
  std::_Exit(2);
}
template <class T>
T must(Result<T> result) {
  if (!result) stop(result.error().message);
  return std::move(*result);
}
inline void must(Status status) {
  if (!status) stop(status.error().message);
}

// A fresh one below the system's, gone with its content.
class TemporaryFolder {
 public:
  TemporaryFolder() : path_((std::filesystem::temp_directory_path() / "utp_bench_XXXXXX").string()) {
    if (::mkdtemp(path_.data()) == nullptr) stop("no temporary folder");
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// The line of a result that could not be measured.
inline std::string skipped(const std::string& name, const std::string& why) {
  std::string line;
  JsonWriter(line).begin_object().field("name", name).field("skipped", why).end_object();
  return line;
}

struct Arguments {
  bool quick = false;
  std::regex filter{""};
};
// --json is taken and means nothing: they print nothing else. What is not understood ends the program.
inline Arguments read_arguments(int argc, char** argv) {
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) {
      arguments.quick = true;
    } else if (std::strcmp(argv[i], "--filter") == 0 && i + 1 < argc) {
      arguments.filter = std::regex(argv[++i]);
    } else if (std::strcmp(argv[i], "--json") != 0) {
      std::fprintf(stderr, "usage: %s [--filter REGEX] [--quick]\n", program_invocation_short_name);
      std::_Exit(2);
    }
  }
  return arguments;
}

}  // namespace utp::bench
