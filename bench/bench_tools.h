// What benchmark programs share: the end of one whose set-up fails, and their command line.
#pragma once

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <regex>
#include <string>
#include <utility>

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
