// The terminal: colours, width, progress, tables, and output that notices a full disk.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace utp::app {

// Options that every command takes.
struct Common {
  bool json = false;
  bool quiet = false;
  std::string log_level = "warn";
  std::string color = "auto";
};

// Set once, from the command line, before anything is printed.
void configure_console(const Common& common);

bool colored(int fd);      // by --color, NO_COLOR, TERM, and whether fd is a terminal
bool is_terminal(int fd);
bool quiet();

struct TerminalSize {
  int columns = 80;
  int rows = 24;
};
TerminalSize terminal_size(int fd);

// ANSI styles; each returns the text unchanged when `on` is false.
enum class Style { kBold, kDim, kRed, kGreen, kYellow, kCyan };
std::string styled(std::string_view text, Style style, bool on);

std::size_t display_width(std::string_view utf8);                     // code points, good enough for our own text
std::string clipped(std::string_view utf8, std::size_t columns);       // ends in … when cut

std::string human_count(std::uint64_t count);     // 12,345
std::string human_bytes(std::uint64_t bytes);     // 3.4 MiB
std::string human_duration(std::int64_t ns);      // 1.2 s, 3 min, 2 d

// A file or standard output. A file is written beside its name and renamed by close(), so that no half file stands there.
class Output {
 public:
  static Result<Output> open(const std::string& path);  // "" or "-": standard output
  Output(Output&& other) noexcept;
  Output& operator=(Output&&) = delete;
  ~Output();

  Status write(std::string_view text);  // kCancelled when the reader of a pipe went away
  Status flush();
  Status close();

 private:
  Output(int fd, std::string path, std::string temporary);
  int fd_ = -1;
  std::string path_, temporary_, buffer_;
};

// Left-aligned text, right-aligned numbers, two spaces between; the header in bold on a terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> header) { rows_.push_back(std::move(header)); }
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::size_t size() const { return rows_.size() - 1; }
  std::string text(bool color) const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// One line on standard error that is redrawn at most ten times a second; nothing where that is no terminal.
class Progress {
 public:
  Progress(std::string label, bool enabled);
  ~Progress();
  void update(std::uint64_t done, std::uint64_t total, std::string_view detail);
  void clear();

 private:
  std::string label_;
  bool enabled_;
  bool drawn_ = false;
  std::int64_t last_ns_ = 0, started_ns_ = 0;
};

}  // namespace utp::app
