#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <unistd.h>

#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

#include <fmt/format.h>

#include "apps/utp/chamber.h"
#include "apps/utp/command.h"
#include "apps/utp/data_directory.h"
#include "apps/utp/exit_code.h"
#include "core/clock.h"
#include "core/json_writer.h"
#include "schema/json.h"

namespace utp::app {
namespace {

constexpr std::int64_t kLookMs = 100;

struct ReloadOptions {
  std::string file = "chamber.yaml";
  double seconds = 60;
  bool wait = false;
};

// The process that runs a chamber on this folder; 0 when none does.
pid_t holder(const std::string& data_dir) {
  const int fd = ::open((data_dir + "/" + std::string(kLockFile)).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[24] = {};
  pid_t pid = 0;
  const bool held = flock(fd, LOCK_SH | LOCK_NB) != 0;
  if (held && pread(fd, text, sizeof text - 1, 0) > 0) std::from_chars(text, text + sizeof text, pid);
  ::close(fd);
  return pid;
}

struct Health {
  std::uint64_t reloads = 0, waiting = 0;
  std::string error, bus;
  std::size_t leaving = 0;
};

std::optional<Health> read_health(const std::string& path) {
  std::ifstream file(path);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  JsonTree tree;
  std::string error;
  if (!tree.parse(text, error)) return std::nullopt;
  Health health;
  const auto number = [&](const JsonValue& in, std::string_view name) {
    std::uint64_t value = 0;
    if (const JsonValue* v = tree.member(in, name)) std::from_chars(v->text.data(), v->text.data() + v->text.size(), value);
    return value;
  };
  health.reloads = number(tree.root(), "reloads");
  if (const JsonValue* v = tree.member(tree.root(), "reload_error")) health.error = v->text;
  if (const JsonValue* bus = tree.member(tree.root(), "bus")) {
    if (const JsonValue* v = tree.member(*bus, "url")) health.bus = v->text;
  }
  if (const JsonValue* leaving = tree.member(tree.root(), "leaving")) {
    for (const JsonValue* one = tree.first(*leaving); one; one = tree.next(*one)) {
      ++health.leaving;
      health.waiting += number(*one, "lag");
    }
  }
  return health;
}

int reload(const ReloadOptions& options, Context& context) {
  const auto chamber = load_chamber(options.file);
  if (!chamber) return report_configuration(chamber.error());
  const pid_t pid = holder(chamber->data_dir);
  if (pid <= 0) {
    print_error(fmt::format("no chamber runs on {}; start it with: utp up {}", chamber->data_dir, options.file));
    return kUnavailable;
  }
  const auto before = read_health(chamber->health_file);
  if (kill(pid, SIGUSR1) != 0) {
    print_error(fmt::format("process {} cannot be told: {}; run this as the user who runs the chamber", pid, std::strerror(errno)));
    return kUnavailable;
  }
  const SystemClock clock;
  const std::int64_t end = clock.monotonic_ns() + static_cast<std::int64_t>(options.seconds * 1e9);
  Progress progress("moving", !context.common.json && !context.common.quiet);
  std::optional<Health> now;
  bool done = false, taken = false;
  while (!done && clock.monotonic_ns() < end) {
    if (context.stop->wait(kLookMs)) return kInterrupted;
    now = read_health(chamber->health_file);
    taken = now && now->reloads > (before ? before->reloads : 0);
    done = taken && (!now->error.empty() || now->leaving == 0 || !options.wait);
    if (taken) progress.update(0, 0, fmt::format("{} messages of the old bus are not stored yet", human_count(now->waiting)));
  }
  progress.clear();
  if (!taken) {
    print_error(fmt::format("process {} did not answer within {:.0f} s ({} does not change); its log says why", pid, options.seconds, chamber->health_file));
    return kUnavailable;
  }
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("bus", now->bus).field("error", now->error).field("leaving", now->leaving).field("waiting", now->waiting).end_object();
    fmt::print("{}\n", out);
  } else if (now->error.empty()) {
    print_note(fmt::format("the chamber is on {}{}", now->bus,
                           now->leaving > 0 ? fmt::format("; {} messages of the bus before are being stored", human_count(now->waiting)) : ""));
  }
  if (!now->error.empty()) {
    print_error(now->error + "\nthe chamber goes on as it was");
    return kFailure;
  }
  if (done) return kOk;
  print_error(fmt::format("{} messages of the old bus are not stored yet; the chamber goes on with them", human_count(now->waiting)));
  return kUnavailable;
}

}  // namespace

void add_reload(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "reload", "Tells a running chamber that its file names another bus: it moves there without a stop",
                                  "  utp reload\n  utp reload chamber.yaml --wait       # until the old bus is stored whole\n"
                                  "  kill -USR1 $(cat data/utp.lock)     # the same from a script");
  auto options = std::make_shared<ReloadOptions>();
  command->add_option("CHAMBER", options->file, "The chamber file (default ./chamber.yaml)");
  command->add_flag("--wait", options->wait, "Ends when the store has everything of the bus that was left");
  command->add_option("--seconds", options->seconds, "Waits at most so long for the chamber")->capture_default_str()->check(above_zero("60"));
  command->callback([&context, options] { context.action = [&context, options] { return reload(*options, context); }; });
}

}  // namespace utp::app
