#include "apps/utp/console.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include <fmt/format.h>

#include "apps/utp/exit_code.h"
#include "core/clock.h"
#include "core/log.h"

namespace utp::app {
namespace {

Common& settings() {
  static Common common;
  return common;
}

constexpr std::size_t kBufferBytes = 64 * 1024;
constexpr std::int64_t kRedrawNs = 100'000'000;

// A terminal that is gone, a closed pipe or a full disk behind standard error must not end the work.
void to_stderr(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

bool looks_numeric(std::string_view text) {
  bool digit = false;
  for (char c : text) {
    if (std::isdigit(static_cast<unsigned char>(c))) digit = true;
    else if (std::string_view("-+.,%/ ").find(c) == std::string_view::npos) return false;
  }
  return digit && text.size() < 24;
}

}  // namespace

void configure_console(const Common& common) {
  settings() = common;
  const std::string& level = common.log_level;
  log::set_level(level == "debug"  ? log::Level::kDebug
                 : level == "info" ? log::Level::kInfo
                 : level == "error" ? log::Level::kError
                 : level == "off"   ? log::Level::kOff
                                    : log::Level::kWarn);
}

bool quiet() { return settings().quiet; }
bool is_terminal(int fd) { return isatty(fd) == 1; }

bool colored(int fd) {
  const std::string& when = settings().color;
  if (when == "always") return true;
  if (when == "never") return false;
  const char* no_color = std::getenv("NO_COLOR");
  const char* term = std::getenv("TERM");
  return is_terminal(fd) && !(no_color && *no_color) && term && std::string_view(term) != "dumb";
}

TerminalSize terminal_size(int fd) {
  winsize size{};
  if (ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0) return {size.ws_col, size.ws_row};
  return {};
}

std::string styled(std::string_view text, Style style, bool on) {
  if (!on) return std::string(text);
  constexpr const char* kCodes[] = {"1", "2", "31", "32", "33", "36"};
  return fmt::format("\033[{}m{}\033[0m", kCodes[static_cast<int>(style)], text);
}

std::size_t display_width(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

std::string clipped(std::string_view utf8, std::size_t columns) {
  if (display_width(utf8) <= columns) return std::string(utf8);
  if (columns == 0) return {};
  std::size_t end = 0;
  for (std::size_t seen = 0; end < utf8.size(); ++end) {
    if ((static_cast<unsigned char>(utf8[end]) & 0xC0) != 0x80 && seen++ == columns - 1) break;
  }
  return std::string(utf8.substr(0, end)) + "…";
}

std::string human_count(std::uint64_t count) {
  std::string digits = std::to_string(count);
  for (std::size_t at = digits.size(); at > 3;) digits.insert(at -= 3, 1, ',');
  return digits;
}

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) value /= 1024, ++unit;
  return fmt::format("{:.1f} {}", value, kUnits[unit]);
}

std::string human_duration(std::int64_t ns) {
  const double s = static_cast<double>(ns) / 1e9;
  if (s < 1e-3) return fmt::format("{:.0f} µs", s * 1e6);
  if (s < 1) return fmt::format("{:.0f} ms", s * 1e3);
  if (s < 120) return fmt::format("{:.1f} s", s);
  if (s < 7200) return fmt::format("{:.0f} min", s / 60);
  if (s < 172800) return fmt::format("{:.0f} h", s / 3600);
  return fmt::format("{:.0f} d", s / 86400);
}

void print_error(std::string_view message) {
  const bool color = colored(STDERR_FILENO);
  std::string text(message);
  for (std::size_t at = 0; (at = text.find('\n', at)) != std::string::npos; at += 6) text.replace(at, 1, "\n     ");
  to_stderr(fmt::format("{} {}\n", styled("utp:", Style::kRed, color), text));
}

void print_note(std::string_view message) {
  if (!quiet()) to_stderr(fmt::format("utp: {}\n", message));
}

int report(const Error& error) {
  print_error(error.message);
  switch (error.code) {
    case Code::kCancelled: return kInterrupted;
    case Code::kUnavailable:
    case Code::kTimeout:
    case Code::kFull:
    case Code::kNotFound:
    case Code::kPermission: return kUnavailable;
    default: return kFailure;
  }
}

int report_configuration(const Error& error) {
  const int code = report(error);
  return code == kFailure || error.code == Code::kNotFound ? static_cast<int>(kConfiguration) : code;
}

Result<Output> Output::open(const std::string& path) {
  if (path.empty() || path == "-") return Output(STDOUT_FILENO, "", "");
  struct stat existing {};
  // A device or pipe (/dev/null, >(cmd)) is written as it is.
  if (stat(path.c_str(), &existing) == 0 && !S_ISREG(existing.st_mode)) {
    const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return fail(Code::kPermission, fmt::format("{}: cannot be written: {}", path, std::strerror(errno)));
    return Output(fd, path, "");
  }
  std::string temporary = fmt::format("{}.{}.part", path, getpid());
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) {
    return fail(errno == ENOSPC ? Code::kFull : Code::kPermission,
                fmt::format("{}: cannot be written: {}; name a file in a directory that you may write", path,
                            std::strerror(errno)));
  }
  return Output(fd, path, std::move(temporary));
}

Output::Output(int fd, std::string path, std::string temporary)
    : fd_(fd), path_(std::move(path)), temporary_(std::move(temporary)) {
  buffer_.reserve(kBufferBytes + 4096);
}

Output::Output(Output&& other) noexcept
    : fd_(other.fd_), path_(std::move(other.path_)), temporary_(std::move(other.temporary_)), buffer_(std::move(other.buffer_)) {
  other.fd_ = -1;
  other.buffer_.clear();
}

Output::~Output() {
  if (fd_ == STDOUT_FILENO) (void)flush();
  if (fd_ > STDOUT_FILENO) {
    ::close(fd_);
    if (!temporary_.empty()) unlink(temporary_.c_str());
  }
}

Status Output::write(std::string_view text) {
  buffer_ += text;
  return buffer_.size() < kBufferBytes ? Status{} : flush();
}

Status Output::flush() {
  std::size_t done = 0;
  while (done < buffer_.size()) {
    const ssize_t n = ::write(fd_, buffer_.data() + done, buffer_.size() - done);
    if (n >= 0) {
      done += static_cast<std::size_t>(n);
    } else if (errno != EINTR) {
      const int why = errno;
      buffer_.clear();
      const std::string_view name = path_.empty() ? "standard output" : std::string_view(path_);
      if (why == EPIPE) return fail(Code::kCancelled, "the reader of standard output went away");
      return fail(why == ENOSPC || why == EDQUOT || why == EFBIG ? Code::kFull : Code::kIo,
                  fmt::format("{}: writing failed: {}; free some space or write elsewhere with --output", name,
                              std::strerror(why)));
    }
  }
  buffer_.clear();
  return {};
}

Status Output::close() {
  UTP_CHECK(flush());
  if (fd_ == STDOUT_FILENO) return {};
  const int fd = fd_;
  fd_ = -1;
  const bool synced = temporary_.empty() || fsync(fd) == 0;
  if (::close(fd) != 0 || !synced || (!temporary_.empty() && rename(temporary_.c_str(), path_.c_str()) != 0)) {
    const int why = errno;
    if (!temporary_.empty()) unlink(temporary_.c_str());
    return fail(why == ENOSPC ? Code::kFull : Code::kIo,
                fmt::format("{}: writing failed: {}; free some space or write elsewhere with --output", path_,
                            std::strerror(why)));
  }
  return {};
}

std::string Table::text(bool color) const {
  std::vector<std::size_t> widths;
  std::vector<bool> numeric;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    widths.resize(std::max(widths.size(), rows_[r].size()));
    numeric.resize(widths.size(), rows_.size() > 1);
    for (std::size_t c = 0; c < rows_[r].size(); ++c) {
      widths[c] = std::max(widths[c], display_width(rows_[r][c]));
      if (r > 0 && !rows_[r][c].empty() && !looks_numeric(rows_[r][c])) numeric[c] = false;
    }
  }
  std::string out;
  for (std::size_t r = 0; r < rows_.size(); ++r) {
    std::string line;
    for (std::size_t c = 0; c < rows_[r].size(); ++c) {
      const std::string pad(widths[c] - display_width(rows_[r][c]), ' ');
      if (c > 0) line += "  ";
      line += numeric[c] ? pad + rows_[r][c] : rows_[r][c] + pad;
    }
    line.erase(line.find_last_not_of(' ') + 1);
    out += r == 0 ? styled(line, Style::kBold, color) : line;
    out += '\n';
  }
  return out;
}

Progress::Progress(std::string label, bool enabled)
    : label_(std::move(label)), enabled_(enabled && is_terminal(STDERR_FILENO) && !quiet()),
      started_ns_(SystemClock().monotonic_ns()) {}

Progress::~Progress() { clear(); }

void Progress::clear() {
  if (drawn_) to_stderr("\r\033[K");
  drawn_ = false;
}

void Progress::update(std::uint64_t done, std::uint64_t total, std::string_view detail) {
  if (!enabled_) return;
  const std::int64_t now = SystemClock().monotonic_ns();
  if (now - last_ns_ < kRedrawNs) return;
  last_ns_ = now;
  const int columns = terminal_size(STDERR_FILENO).columns;
  std::string line;
  if (total > 0) {
    const double part = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
    constexpr int kBar = 24;
    const int filled = static_cast<int>(part * kBar);
    std::string bar;
    for (int i = 0; i < kBar; ++i) bar += i < filled ? "█" : "░";
    const std::int64_t left =
        part > 0.01 ? static_cast<std::int64_t>(static_cast<double>(now - started_ns_) * (1 - part) / part) : 0;
    line = fmt::format("{} {} {:3.0f}%  {}{}", label_, bar, part * 100, detail,
                       left > 0 ? fmt::format("  {} left", human_duration(left)) : "");
  } else {
    line = fmt::format("{} {}", label_, detail);
  }
  to_stderr(fmt::format("\r\033[K{}", clipped(line, static_cast<std::size_t>(std::max(columns - 1, 10)))));
  drawn_ = true;
}

}  // namespace utp::app
