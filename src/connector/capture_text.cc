#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "connector/capture_formats.h"
#include "core/digits.h"

namespace utp::capture {
namespace {

// One line: "<time>: <frame>" received; "<address> <-> <time>" opened; "<address> <- <time>: <frame>" sent;
// "<url> -> <time>: <answer>" fetched; "configuration: ..." is the recorder's own note.
struct TextLine {
  FrameKind kind = FrameKind::kWs;
  Timestamp time;
  std::string_view tag;
  std::string_view bytes;
  bool note = false;
};

constexpr std::size_t kTimeMax = 40;

std::optional<Timestamp> parse_time(std::string_view text) {
  if (text.empty() || text.size() > kTimeMax) return std::nullopt;
  return Timestamp::parse_unix_seconds(text);
}

// "<seconds>.<at most 9 digits>: ", as nearly every line begins; where the frame begins, 0 for anything else.
std::size_t parse_usual_time(std::string_view text, Timestamp& time) {
  const auto digits = [&](std::size_t from, std::size_t most, std::int64_t& value) {
    std::size_t at = from;
    const std::size_t end = std::min(text.size(), from + most);
    for (unsigned d = 0; at < end && (d = static_cast<unsigned char>(text[at]) - unsigned{'0'}) <= 9; ++at) value = value * 10 + d;
    return at;
  };
  std::int64_t seconds = 0, fraction = 0;
  const std::size_t point = digits(0, 10, seconds);
  constexpr std::int64_t kSecondsMax = 9'000'000'000;  // all of them fit in 64 bits of nanoseconds
  if (point == 0 || point == text.size() || text[point] != '.' || seconds > kSecondsMax) return 0;
  const std::size_t end = digits(point + 1, 9, fraction);
  if (end == point + 1 || text.size() - end < 2 || text[end] != ':' || text[end + 1] != ' ') return 0;
  constexpr std::int64_t kSecond = 1'000'000'000;
  time = Timestamp{seconds * kSecond + fraction * static_cast<std::int64_t>(kPowersOfTen[9 - (end - point - 1)])};
  return end + 2;
}

// "<time>: <frame>"
bool parse_timed(std::string_view text, TextLine& line) {
  if (const std::size_t begin = parse_usual_time(text, line.time)) {
    line.bytes = text.substr(begin);
    return true;
  }
  const std::size_t colon = text.substr(0, kTimeMax).find(": ");
  if (colon == std::string_view::npos) return false;
  const auto time = parse_time(text.substr(0, colon));
  if (!time) return false;
  line.time = *time;
  line.bytes = text.substr(colon + 2);
  return true;
}

bool is_address(std::string_view text) {
  return text.starts_with("wss://") || text.starts_with("ws://") || text.starts_with("https://") || text.starts_with("http://");
}

std::optional<TextLine> parse_line(std::string_view text) {
  TextLine line;
  if (!text.empty() && text[0] >= '0' && text[0] <= '9') {
    if (!parse_timed(text, line)) return std::nullopt;
    return line;
  }
  if (text.starts_with("configuration: ")) {
    line.note = true;
    return line;
  }
  const std::size_t space = text.find(' ');
  if (!is_address(text) || space == std::string_view::npos) return std::nullopt;
  const std::string_view address = text.substr(0, space);
  const std::string_view rest = text.substr(space + 1);
  if (rest.starts_with("<-> ")) {
    const auto time = parse_time(rest.substr(4));
    if (!time) return std::nullopt;
    line.kind = FrameKind::kOpen;
    line.time = *time;
    line.bytes = address;
    return line;
  }
  const bool fetched = rest.starts_with("-> ");
  if (!fetched && !rest.starts_with("<- ")) return std::nullopt;
  if (!parse_timed(rest.substr(3), line)) return std::nullopt;
  line.kind = fetched ? FrameKind::kHttp : FrameKind::kSent;
  if (fetched) line.tag = address;
  return line;
}

class TextReader final : public ReaderBase {
 public:
  using ReaderBase::ReaderBase;
  std::string_view format() const override { return "text"; }

 private:
  Result<bool> read(Frame& frame) override {
    for (;;) {
      bool whole = false;
      const std::string_view text = window_.line(kCaptureRecordBytesMax, whole);
      if (!whole && text.size() == kCaptureRecordBytesMax) {
        return fail(damaged(fmt::format("a line is longer than {} bytes", kCaptureRecordBytesMax)));
      }
      // A last line without its line feed was cut: nothing tells whether its frame is whole.
      if (!whole && (!text.empty() || !window_.status())) return fail(cut("a line"));
      if (!whole) return false;
      if (text.empty()) {
        window_.consume(1);
        continue;
      }
      const auto line = parse_line(text);
      if (!line) return fail(damaged(fmt::format("\"<unix seconds>: <frame>\" was expected, found \"{}\"", text.substr(0, 60))));
      if (line->note) {
        window_.consume(text.size() + 1);
        continue;
      }
      // One file holds one connection (a reconnect is one more open line), so its number is 0.
      frame = Frame{0, line->kind, line->time, line->tag, line->bytes};
      done_with(text.size() + 1);
      return true;
    }
  }
};

}  // namespace

bool is_text_line(std::string_view line) {
  // The first line may be longer than what the caller looked at, so an empty rest is fine.
  return parse_line(line).has_value();
}

Result<std::unique_ptr<CaptureReader>> open_text(const std::string& path, CaptureWindow window) {
  return std::make_unique<TextReader>(path, std::move(window));
}

}  // namespace utp::capture
