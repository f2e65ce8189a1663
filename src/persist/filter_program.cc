#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "persist/dlq.h"

extern char** environ;

namespace utp {
namespace {

constexpr std::int64_t kStopLookMs = 100;

struct Descriptor {
  int number = -1;
  ~Descriptor() { reset(); }
  void reset() {
    if (number >= 0) ::close(number);
    number = -1;
  }
};

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};

Error io_error(const std::string& doing) { return {Code::kIo, doing + ": " + std::strerror(errno), true}; }

// Kills the child's whole group and reaps it when the function is left early.
struct Child {
  pid_t id = -1;
  ~Child() {
    if (id <= 0) return;
    ::kill(-id, SIGKILL);
    while (::waitpid(id, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

std::int64_t now_ms() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Result<std::string> filter_through(const std::string& command, std::string_view input, std::int64_t timeout_ms,
                                   std::size_t output_bytes_max, const std::function<bool()>& stop) {
  // The input as a file, so that a program which does not read it cannot block us.
  const std::unique_ptr<std::FILE, CloseFile> stdin_file(std::tmpfile());
  if (!stdin_file || std::fwrite(input.data(), 1, input.size(), stdin_file.get()) != input.size() ||
      std::fflush(stdin_file.get()) != 0) {
    return fail(io_error("a temporary file for the repair program"));
  }
  std::rewind(stdin_file.get());
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return fail(io_error("a pipe for the repair program"));
  Descriptor output{ends[0]}, child_output{ends[1]};

  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attributes);
  posix_spawn_file_actions_adddup2(&actions, ::fileno(stdin_file.get()), STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, child_output.number, STDOUT_FILENO);
  // What this process has blocked or ignores is its own affair.
  sigset_t none, usual;
  sigemptyset(&none);
  sigemptyset(&usual);
  for (const int signal : {SIGPIPE, SIGINT, SIGTERM, SIGHUP}) sigaddset(&usual, signal);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &usual);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  const char* arguments[] = {"sh", "-c", command.c_str(), nullptr};
  Child child;
  const int spawned = ::posix_spawn(&child.id, "/bin/sh", &actions, &attributes, const_cast<char**>(arguments), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (spawned != 0) {
    child.id = -1;
    errno = spawned;
    return fail(io_error("cannot start the repair program with /bin/sh"));
  }
  child_output.reset();

  std::string out;
  char buffer[16 * 1024];
  const std::int64_t deadline = now_ms() + timeout_ms;
  for (;;) {
    if (stop && stop()) return fail(Code::kCancelled, "interrupted");
    pollfd waiting{output.number, POLLIN, 0};
    const int ready = ::poll(&waiting, 1, static_cast<int>(std::clamp<std::int64_t>(deadline - now_ms(), 0, kStopLookMs)));
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) return fail(io_error("waiting for the repair program"));
    if (ready == 0 && now_ms() < deadline) continue;
    if (ready == 0) {
      return fail(Code::kTimeout, "the repair program was not done after " + std::to_string(timeout_ms) + " ms and was ended: " + command);
    }
    const ssize_t size = ::read(output.number, buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return fail(io_error("reading from the repair program"));
    if (size == 0) break;
    out.append(buffer, static_cast<std::size_t>(size));
    if (out.size() > output_bytes_max) {
      return fail(Code::kFull, "the repair program wrote more than " + std::to_string(output_bytes_max) + " bytes: " + command);
    }
  }
  int state = 0;
  pid_t ended = 0;
  while ((ended = ::waitpid(child.id, &state, WNOHANG)) == 0 || (ended < 0 && errno == EINTR)) {
    if (stop && stop()) return fail(Code::kCancelled, "interrupted");
    if (now_ms() >= deadline) {
      return fail(Code::kTimeout, "the repair program closed its output and did not end: " + command);
    }
    (void)::poll(nullptr, 0, 1);
  }
  child.id = -1;
  if (!WIFEXITED(state) || WEXITSTATUS(state) != 0) {
    return fail(Code::kInvalidArgument,
                "the repair program " +
                    (WIFEXITED(state) ? "exited with " + std::to_string(WEXITSTATUS(state)) : "was ended by signal " + std::to_string(WTERMSIG(state))) +
                    ", so the letter stays: " + command);
  }
  return out;
}

}  // namespace utp
