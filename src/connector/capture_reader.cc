#include <fmt/format.h>

#include "connector/capture_formats.h"

namespace utp {
namespace capture {

Result<bool> ReaderBase::next(Frame& frame) {
  if (error_) return fail(*error_);
  window_.consume(pending_);
  pending_ = 0;
  auto outcome = read(frame);
  if (!outcome) error_ = outcome.error();
  return outcome;
}

Error ReaderBase::cut(std::string_view what) {
  was_cut_ = window_.source().compressed() ? window_.source().stopped_short() : window_.status().has_value();
  if (!window_.status()) return window_.status().error();
  return {Code::kCorrupt, fmt::format("{}: {} is cut short at byte {}: the file ends after {} of its bytes. Everything before it was read",
                                      path_, what, window_.offset(), window_.bytes().size())};
}

Error ReaderBase::damaged(std::string_view what) const {
  return {Code::kCorrupt, fmt::format("{}: damaged record at byte {}: {}", path_, window_.offset(), what)};
}

}  // namespace capture

namespace {

constexpr std::string_view kKnownFormats =
    "known are utpcap (\"UTPCAP1 ...\"), cbcap (\"CBCAP1 <venue> <symbol> <unix_ns>\"), jsonl ({\"t\":...,\"ts\":...,\"data\":...} a line) and "
    "text (\"<unix seconds>: <frame>\" a line), each plain or compressed with zstd or gzip";

std::string_view without_blank_lines(std::string_view text) {
  const std::size_t at = text.find_first_not_of("\r\n");
  return at == std::string_view::npos ? std::string_view{} : text.substr(at);
}

// What the file starts with, fit for a message.
std::string shown(std::string_view bytes) {
  std::string text;
  for (const char c : bytes.substr(0, 40)) {
    if (c >= ' ' && c <= '~') text += c;
    else text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  return text;
}

}  // namespace

Result<std::unique_ptr<CaptureReader>> open_capture(const std::string& path) {
  UTP_TRY(auto source, CaptureSource::open(path));
  CaptureWindow window(std::move(source));
  window.fill(4096);
  const std::string_view head = window.bytes();
  if (head.empty()) {
    if (!window.status()) return fail(window.status().error());
    return fail(Code::kInvalidArgument, fmt::format("{}: is empty, a capture was expected; {}", path, kKnownFormats));
  }
  if (head.starts_with(capture::kUtpcapMagic)) return capture::open_utpcap(path, std::move(window));
  if (head.starts_with("CBCAP1 ")) return capture::open_cbcap(path, std::move(window));
  const std::string_view text = without_blank_lines(head);
  if (text.starts_with('{')) return capture::open_jsonl(path, std::move(window));
  if (capture::is_text_line(text.substr(0, text.find('\n')))) return capture::open_text(path, std::move(window));
  return fail(Code::kUnsupported, fmt::format("{}: is in no capture format that is known here: it starts with \"{}\"; {}", path, shown(head),
                                              kKnownFormats));
}

}  // namespace utp
