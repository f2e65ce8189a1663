#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "connector/capture_formats.h"

namespace utp::capture {
namespace {

template <class T>
std::optional<T> number(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

class CbcapReader final : public ReaderBase {
 public:
  using ReaderBase::ReaderBase;
  std::string_view format() const override { return "cbcap"; }

  Status read_header() {
    bool whole = false;
    const std::string_view line = window_.line(kHeaderLineMax, whole);
    if (!whole) return fail(cut("the header line \"CBCAP1 <venue> <symbol> <unix_ns>\""));
    const std::size_t venue_end = line.find(' ', 7);
    const std::size_t time_start = line.rfind(' ');
    const auto start = time_start == std::string_view::npos ? std::nullopt : number<std::int64_t>(line.substr(time_start + 1));
    if (venue_end == std::string_view::npos || venue_end == 7 || time_start <= venue_end || !start) {
      return fail(damaged(fmt::format("the header line is \"{}\", \"CBCAP1 <venue> <symbol> <unix_ns>\" was expected", line)));
    }
    connector_ = line.substr(7, venue_end - 7);
    start_ns_ = *start;
    done_with(line.size() + 1);
    return {};
  }

 private:
  static constexpr std::size_t kRecordLineMax = 64;

  Result<bool> read(Frame& frame) override {
    if (window_.fill(1) == 0 && window_.status()) return false;
    bool whole = false;
    const std::string_view line = window_.line(kRecordLineMax, whole);
    if (!whole && line.size() < kRecordLineMax) return fail(cut("a record"));
    const std::size_t space = line.find(' ');
    const auto time = space == std::string_view::npos ? std::nullopt : number<std::int64_t>(line.substr(0, space));
    const auto size = space == std::string_view::npos ? std::nullopt : number<std::uint64_t>(line.substr(space + 1));
    if (!whole || !time || !size) return fail(damaged("\"<ns> <byte count>\" was expected there"));
    if (*size > kCaptureRecordBytesMax) {
      return fail(damaged(fmt::format("its length is {} bytes, at most {} are allowed", *size, kCaptureRecordBytesMax)));
    }
    const std::size_t start = line.size() + 1;
    const std::size_t end = start + *size;
    const std::size_t there = window_.fill(end + 1);
    if (there < end) return fail(cut("a record"));
    if (there > end && window_.bytes()[end] != '\n') return fail(damaged("no line feed follows its bytes, so its length is wrong"));
    // Record times count from an unknown moment: the first one is the header's time.
    if (!first_ns_) first_ns_ = *time;
    std::int64_t since = 0, at = 0;
    if (__builtin_sub_overflow(*time, *first_ns_, &since) || __builtin_add_overflow(start_ns_, since, &at)) {
      return fail(damaged(fmt::format("its time {} is out of range", *time)));
    }
    frame = Frame{0, FrameKind::kWs, Timestamp{at}, {}, window_.bytes().substr(start, *size)};
    done_with(std::min(there, end + 1));
    return true;
  }

  std::int64_t start_ns_ = 0;
  std::optional<std::int64_t> first_ns_;
};

}  // namespace

Result<std::unique_ptr<CaptureReader>> open_cbcap(const std::string& path, CaptureWindow window) {
  auto reader = std::make_unique<CbcapReader>(path, std::move(window));
  UTP_CHECK(reader->read_header());
  return reader;
}

}  // namespace utp::capture
