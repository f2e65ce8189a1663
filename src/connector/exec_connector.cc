#include "connector/exec_connector.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/backoff.h"
#include "connector/rate_limit.h"
#include "core/json_writer.h"
#include "core/log.h"

namespace utp {
namespace {

class FileDescriptor {
 public:
  explicit FileDescriptor(int fd = -1) : fd_(fd) {}
  ~FileDescriptor() { reset(); }
  FileDescriptor(const FileDescriptor&) = delete;
  FileDescriptor& operator=(const FileDescriptor&) = delete;
  int get() const { return fd_; }
  void reset(int fd = -1) {
    if (fd_ >= 0) ::close(fd_);
    fd_ = fd;
  }

 private:
  int fd_;
};

// Cuts a stream of bytes into lines of bounded length.
class LineCutter {
 public:
  explicit LineCutter(std::size_t bytes_max) : bytes_max_(bytes_max) {}

  // Calls on_line for each whole line; false as soon as on_line says so.
  template <class OnLine>
  bool feed(std::string_view bytes, OnLine&& on_line) {
    while (!bytes.empty()) {
      const std::size_t end = bytes.find('\n');
      const std::string_view piece = bytes.substr(0, end);
      if (!skipping_) {
        line_.append(piece.substr(0, bytes_max_ - line_.size()));
        if (line_.size() == bytes_max_ && piece.size() > 0) skipping_ = end == std::string_view::npos;
      }
      if (end == std::string_view::npos) return true;
      skipping_ = false;
      const bool go_on = on_line(std::string_view(line_));
      line_.clear();
      if (!go_on) return false;
      bytes.remove_prefix(end + 1);
    }
    return true;
  }
  template <class OnLine>
  void finish(OnLine&& on_line) {
    if (!line_.empty()) on_line(std::string_view(line_));
    line_.clear();
    skipping_ = false;
  }

 private:
  const std::size_t bytes_max_;
  std::string line_;
  bool skipping_ = false;
};

class ExecCollector final : public Collector {
 public:
  ExecCollector(ExecOptions options, CollectorContext context)
      : options_(std::move(options)),
        context_(std::move(context)),
        random_(context_.seed),
        starts_(context_.rates.connections_per_minute / 60, std::max(1.0, context_.rates.connections_per_minute / 6)),
        log_lines_(options_.log_lines_per_minute / 60.0, options_.log_lines_per_minute),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {}

  Status run(FrameSink& sink) override {
    sink_ = &sink;
    if (wake_.get() < 0) return fail(Code::kIo, "connector " + options_.connector + ": eventfd: " + std::strerror(errno));
    unsigned attempt = 0;
    while (!stop_) {
      const std::int64_t now = context_.clock->monotonic_ns();
      if (!starts_.take(now)) {
        rest(starts_.wait_ns(now));
        continue;
      }
      restart_ = false;  // asked for while there was none: this is the new one
      if (auto status = spawn(); !status) {
        if (!status.error().retryable) return status;
        deliver(FrameKind::kClose, status.error().message);
        pause(status.error().message, attempt++);
        continue;
      }
      const std::int64_t started = context_.clock->monotonic_ns();
      deliver(FrameKind::kOpen, "exec:" + options_.program.front());
      log::info("program started", {{"connector", options_.connector}, {"pid", std::to_string(pid_)}});
      const std::string reason = follow();
      deliver(FrameKind::kClose, reason);
      if (stop_) break;
      if (context_.clock->monotonic_ns() - started >= context_.link.stable_ns) attempt = 0;
      pause(reason, attempt++);
    }
    return {};
  }

  void stop() override {
    stop_ = true;
    wake();
  }

  void carry_out(Command command) override {
    if (command.kind == Command::Kind::kReconnect) {
      restart_ = true;
      wake();
    } else {
      log::warn("a program of an exec: connector takes no commands", {{"connector", options_.connector}});
    }
  }

 private:
  void wake() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t written = ::write(wake_.get(), &one, sizeof one);
  }
  void drain_wake() {
    std::uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake_.get(), &ignored, sizeof ignored);
  }

  void pause(const std::string& reason, unsigned attempt) {
    const std::int64_t wait = full_jitter_ns(random_, context_.link.backoff_min_ns, context_.link.backoff_max_ns, attempt);
    log::warn("the program does not run, starting it again", {{"connector", options_.connector}, {"reason", reason},
                                                              {"next_try_ms", std::to_string(wait / 1'000'000)}});
    rest(wait);
  }

  void rest(std::int64_t wait_ns) {
    const std::int64_t until = context_.clock->monotonic_ns() + wait_ns;
    while (!stop_) {
      const std::int64_t left = until - context_.clock->monotonic_ns();
      if (left <= 0) return;
      pollfd event{wake_.get(), POLLIN, 0};
      if (::poll(&event, 1, static_cast<int>(std::min<std::int64_t>(left / 1'000'000 + 1, 60'000))) > 0) drain_wake();
    }
  }

  bool deliver(FrameKind kind, std::string_view bytes) {
    Frame frame;
    frame.kind = kind;
    frame.bytes = bytes;
    frame.receive_time = last_time_ = std::max(context_.clock->now(), last_time_);
    if (sink_->push(frame)) return true;
    stop_ = true;
    return false;
  }

  Status spawn() {
    int out[2], err[2];
    if (::pipe2(out, O_CLOEXEC) != 0) return fail(Code::kIo, "connector " + options_.connector + ": pipe: " + std::strerror(errno), true);
    out_.reset(out[0]);
    FileDescriptor out_end(out[1]);
    if (::pipe2(err, O_CLOEXEC) != 0) return fail(Code::kIo, "connector " + options_.connector + ": pipe: " + std::strerror(errno), true);
    err_.reset(err[0]);
    FileDescriptor err_end(err[1]);
    ::fcntl(out_.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(err_.get(), F_SETFL, O_NONBLOCK);

    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, out_end.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, err_end.get(), 2);
    if (!options_.folder.empty()) posix_spawn_file_actions_addchdir_np(&actions, options_.folder.c_str());
    sigset_t all, none;
    sigfillset(&all);
    sigemptyset(&none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);

    std::vector<std::string> words = options_.program;
    std::error_code ignored;
    if (words.front().find('/') == std::string::npos &&
        std::filesystem::exists(std::filesystem::path(options_.folder.empty() ? "." : options_.folder) / words.front(), ignored)) {
      words.front().insert(0, "./");
    }
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::vector<std::string> settings;
    for (const auto& [name, value] : options_.environment) settings.push_back(name + "=" + value);
    std::vector<char*> environment;
    for (std::string& setting : settings) environment.push_back(setting.data());
    environment.push_back(nullptr);

    const int failed = ::posix_spawnp(&pid_, arguments.front(), &actions, &attributes, arguments.data(), environment.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (failed != 0) {
      pid_ = -1;
      // What the machine is short of, or a file that is being written: it may pass.
      if (failed == EMFILE || failed == ENFILE || failed == EAGAIN || failed == ENOMEM || failed == ETXTBSY) {
        return fail(Code::kUnavailable, "connector " + options_.connector + ": the program " + options_.program.front() +
                                            " cannot be started now: " + std::strerror(failed), true);
      }
      return fail(Code::kNotFound, "connector " + options_.connector + ": the program " + options_.program.front() +
                                       " (folder " + (options_.folder.empty() ? "." : options_.folder) +
                                       ") cannot be started: " + std::strerror(failed) +
                                       "; check that it is there and executable");
    }
    pid_fd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0)));
    return {};
  }

  // Reads until the program ends or must be ended; why it ended.
  std::string follow() {
    LineCutter lines(options_.line_bytes_max), log_lines(4096);
    const auto on_line = [&](std::string_view line) { return deliver(FrameKind::kWs, line); };
    const auto on_log = [&](std::string_view line) { return to_log(line); };
    std::string asked;
    std::int64_t kill_at_ns = 0;
    bool ended = false;
    int status = 0;
    while (!ended) {
      if (asked.empty() && (stop_ || restart_.exchange(false))) {
        asked = stop_ ? "stopped" : "restart asked for";
        ::kill(-pid_, SIGTERM);
        kill_at_ns = context_.clock->monotonic_ns() + options_.stop_timeout_ns;
      }
      if (kill_at_ns != 0 && context_.clock->monotonic_ns() >= kill_at_ns) {
        ::kill(-pid_, SIGKILL);
        kill_at_ns += 1'000'000'000;
      }
      pollfd events[] = {{out_.get(), POLLIN, 0}, {err_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}, {pid_fd_.get(), POLLIN, 0}};
      const bool polled_exit = pid_fd_.get() < 0 || out_.get() < 0;
      ::poll(events, 4, kill_at_ns != 0 || polled_exit ? 50 : 1000);
      if ((events[2].revents & POLLIN) != 0) drain_wake();
      read_all(out_, lines, on_line, false);
      read_all(err_, log_lines, on_log, false);
      ended = ::waitpid(pid_, &status, WNOHANG) == pid_;
    }
    ::kill(-pid_, SIGKILL);  // what it may have left behind in its group
    read_all(out_, lines, on_line, true);
    read_all(err_, log_lines, on_log, true);
    lines.finish(on_line);
    log_lines.finish(on_log);
    out_.reset();
    err_.reset();
    pid_fd_.reset();
    pid_ = -1;
    if (!asked.empty()) return asked;
    if (WIFSIGNALED(status)) return "killed by signal " + std::to_string(WTERMSIG(status));
    return "exit status " + std::to_string(WEXITSTATUS(status));
  }

  // One buffer's worth of each stream in turn, or all of it.
  template <class OnLine>
  void read_all(FileDescriptor& from, LineCutter& lines, OnLine& on_line, bool to_the_end) {
    char buffer[64 * 1024];
    while (from.get() >= 0) {
      const ssize_t got = ::read(from.get(), buffer, sizeof buffer);
      if (got > 0) {
        if (!lines.feed({buffer, static_cast<std::size_t>(got)}, on_line) || !to_the_end) return;
        continue;
      }
      if (got < 0 && errno == EINTR) continue;
      if (got == 0) from.reset();
      return;
    }
  }

  bool to_log(std::string_view line) {
    if (!log_lines_.take(context_.clock->monotonic_ns())) {
      ++log_lines_dropped_;
      return true;
    }
    std::string text(line);
    for (const auto& [name, value] : context_.secrets) {
      for (std::size_t at = 0; !value.empty() && (at = text.find(value, at)) != std::string::npos;) text.replace(at, value.size(), "***");
    }
    log::info("program says", {{"connector", options_.connector}, {"line", text}, {"dropped", std::to_string(log_lines_dropped_)}});
    return true;
  }

  ExecOptions options_;
  CollectorContext context_;
  Random random_;
  TokenBucket starts_, log_lines_;
  std::uint64_t log_lines_dropped_ = 0;
  FileDescriptor wake_, out_, err_, pid_fd_;
  pid_t pid_ = -1;
  FrameSink* sink_ = nullptr;
  Timestamp last_time_;
  std::atomic<bool> stop_{false}, restart_{false};
};

}  // namespace

std::vector<std::pair<std::string, std::string>> exec_environment(const Manifest& manifest, const CollectorContext& context) {
  std::vector<std::pair<std::string, std::string>> all;
  for (const char* name : {"PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR"}) {
    if (const char* value = std::getenv(name)) all.emplace_back(name, value);
  }
  std::string streams;
  JsonWriter json(streams);
  json.begin_array();
  for (const WantedStream& stream : context.wanted) {
    json.begin_object().field("channel", stream.channel).field("symbol", stream.symbol);
    if (context.symbols != nullptr) json.field("venue_symbol", context.symbols->venue(stream.symbol));
    json.end_object();
  }
  json.end_array();
  all.emplace_back("UTP_CONNECTOR", manifest.id);
  all.emplace_back("UTP_STREAMS", streams);
  all.emplace_back("UTP_ENDPOINT", context.endpoint.empty() ? manifest.endpoint : context.endpoint);
  all.emplace_back("UTP_SETTINGS", context.settings_json.empty() ? "{}" : context.settings_json);
  all.emplace_back("UTP_SEED", std::to_string(context.seed));
  all.emplace_back("UTP_CA_FILE", context.ca_file);
  for (const Manifest::Secret& secret : manifest.secrets) {
    const auto found = context.secrets.find(secret.name);
    if (found != context.secrets.end()) all.emplace_back(secret.env.empty() ? secret.name : secret.env, found->second);
  }
  return all;
}

Result<std::unique_ptr<Collector>> make_exec_collector(ExecOptions options, CollectorContext context) {
  if (context.clock == nullptr) return fail(Code::kInvalidArgument, "connector " + options.connector + ": no clock was given");
  if (options.program.empty()) return fail(Code::kInvalidArgument, "connector " + options.connector + ": no program was given");
  return std::make_unique<ExecCollector>(std::move(options), std::move(context));
}

}  // namespace utp
