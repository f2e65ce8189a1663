#include "apps/utp/live_view.h"

#include <unistd.h>

#include <algorithm>
#include <optional>

#include <fmt/format.h>

namespace utp::app {
namespace {

constexpr int kTwoColumnsFrom = 104;  // below it prices stand under the tables
constexpr int kLeftColumns = 66;

struct Line {
  std::string text;
  std::optional<Style> style;
};
using Block = std::vector<Line>;

std::string right(std::string_view text, std::size_t width) {
  const std::size_t used = display_width(text);
  return std::string(used < width ? width - used : 0, ' ') + std::string(text);
}

std::string left(std::string_view text, std::size_t width) {
  std::string out = clipped(text, width);
  const std::size_t used = display_width(out);
  return out + std::string(used < width ? width - used : 0, ' ');
}

std::string rate_text(double rate) { return rate >= 100 || rate == 0 ? human_count(static_cast<std::uint64_t>(rate)) : fmt::format("{:.1f}", rate); }

std::string clock_text(std::int64_t ns) {
  const std::int64_t s = ns / 1'000'000'000;
  return s < 3600 ? fmt::format("{:02}:{:02}", s / 60, s % 60) : fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60);
}

Block event_types(const ViewState& state) {
  Block block{{left("EVENT TYPE", 26) + right("per s", 9) + right("events", 12) + right("stored", 12), Style::kBold}};
  for (const auto& t : state.event_types) {
    block.push_back({left(t.name, 26) + right(rate_text(t.rate), 9) + right(human_count(t.events), 12) + right(human_count(t.stored), 12), {}});
  }
  return block;
}

Block connectors(const ViewState& state) {
  Block block{{left("CONNECTOR", 20) + left("state", 10) + right("per s", 9) + right("events", 11) + right("p99", 9) + right("dead", 6), Style::kBold}};
  for (const auto& c : state.connectors) {
    block.push_back({left(c.name, 20) + left(c.state, 10) + right(rate_text(c.rate), 9) + right(human_count(c.events), 11) +
                         right(c.latency_ms > 0 ? human_duration(static_cast<std::int64_t>(c.latency_ms * 1e6)) : "-", 9) +
                         right(human_count(c.dead_letters), 6),
                     c.state == "up" ? std::optional<Style>{} : Style::kYellow});
  }
  return block;
}

Block prices(const ViewState& state) {
  Block block{{left("SYMBOL", 12) + right("bid", 12) + right("ask", 12) + right("last", 12), Style::kBold}};
  for (const auto& p : state.prices) {
    block.push_back({left(p.symbol, 12) + right(clipped(p.bid, 11), 12) + right(clipped(p.ask, 11), 12) + right(clipped(p.last, 11), 12),
                     p.direction > 0 ? std::optional(Style::kGreen) : p.direction < 0 ? std::optional(Style::kRed) : std::nullopt});
  }
  return block;
}

Block totals(const ViewState& state) {
  return {{fmt::format("bus    {} messages, {}, lag {}{}", human_count(state.bus_messages), human_bytes(state.bus_bytes), human_count(state.lag),
                       state.lag > 0 && state.oldest_unread_ns > 0 ? fmt::format(" ({} old)", human_duration(state.oldest_unread_ns)) : ""),
           {}},
          {fmt::format("store  {} events, {} per s{}", human_count(state.stored), rate_text(state.stored_rate),
                       state.duplicates > 0 ? fmt::format(", {} known already", human_count(state.duplicates)) : ""),
           {}},
          {fmt::format("dead   {} letters", human_count(state.dead_letters)),
           state.dead_letters > 0 ? std::optional(Style::kYellow) : std::nullopt}};
}

std::string drawn(const Line& line, std::size_t columns, bool color) {
  const std::string text = clipped(line.text, columns);
  return line.style ? styled(text, *line.style, color) : text;
}

}  // namespace

std::vector<std::string> render(const ViewState& state, TerminalSize size, bool color) {
  const std::size_t columns = static_cast<std::size_t>(std::max(size.columns, 1));
  const std::size_t rows = static_cast<std::size_t>(std::max(size.rows, 1));
  const std::string time = state.remaining_ns >= 0
                               ? fmt::format("{} · {} left", clock_text(state.elapsed_ns), clock_text(state.remaining_ns))
                               : clock_text(state.elapsed_ns);
  std::vector<std::string> out{drawn({fmt::format("{} · {} · Ctrl-C stops", state.title, time), Style::kCyan}, columns, color)};
  const Block bottom = totals(state);
  Block body = event_types(state);
  body.push_back({});
  for (Line& line : connectors(state)) body.push_back(std::move(line));
  const Block side = prices(state);
  const bool wide = size.columns >= kTwoColumnsFrom;
  if (!wide) {
    body.push_back({});
    body.insert(body.end(), side.begin(), side.end());
  }
  // The title, the totals and a message stay; the body gives way.
  const std::size_t fixed = 1 + bottom.size() + (state.message.empty() ? 0 : 1);
  const std::size_t room = rows > fixed + 2 ? rows - fixed - 2 : 0;
  if (room > 0) out.emplace_back();
  for (std::size_t i = 0; i < std::min(room, std::max(body.size(), wide ? side.size() : 0)); ++i) {
    const Line empty;
    const Line& main = i < body.size() ? body[i] : empty;
    if (!wide) {
      out.push_back(drawn(main, columns, color));
      continue;
    }
    const std::string text = left(main.text, kLeftColumns);
    out.push_back((main.style ? styled(text, *main.style, color) : text) + "  " +
                  (i < side.size() ? drawn(side[i], columns - kLeftColumns - 2, color) : ""));
  }
  if (room > 0) out.emplace_back();
  for (const Line& line : bottom) out.push_back(drawn(line, columns, color));
  if (!state.message.empty()) out.push_back(drawn({state.message, Style::kYellow}, columns, color));
  if (out.size() > rows) out.resize(rows);
  return out;
}

std::string summary_line(const ViewState& state) {
  double rate = 0;
  std::uint64_t events = 0;
  for (const auto& c : state.connectors) rate += c.rate, events += c.events;
  return fmt::format("{}  {} events ({} per s)  stored {}  lag {}  dead letters {}", clock_text(state.elapsed_ns), human_count(events),
                     rate_text(rate), human_count(state.stored), human_count(state.lag), human_count(state.dead_letters));
}

LiveScreen::LiveScreen(int fd) : fd_(fd) {
  constexpr std::string_view kEnter = "\033[?1049h\033[?25l\033[2J";
  (void)!write(fd_, kEnter.data(), kEnter.size());
}

LiveScreen::~LiveScreen() { leave(); }

void LiveScreen::leave() {
  if (!active_) return;
  active_ = false;
  constexpr std::string_view kLeave = "\033[?25h\033[?1049l";
  (void)!write(fd_, kLeave.data(), kLeave.size());
}

void LiveScreen::draw(const ViewState& state, bool color) {
  if (!active_) return;
  std::string out = "\033[H";
  const auto lines = render(state, terminal_size(fd_), color);
  for (std::size_t i = 0; i < lines.size(); ++i) {
    out += lines[i];
    out += "\033[K";
    if (i + 1 < lines.size()) out += "\r\n";
  }
  out += "\033[J";
  (void)!write(fd_, out.data(), out.size());
}

}  // namespace utp::app
