#include <bit>
#include <cstring>

#include <fmt/format.h>

#include "connector/capture_formats.h"
#include "core/hash.h"

namespace utp::capture {
namespace {

static_assert(std::endian::native == std::endian::little, "records are written as they lie in memory");

template <class T>
T load(const char* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

template <class T>
char* store(char* at, T value) {
  std::memcpy(at, &value, sizeof value);
  return at + sizeof value;
}

}  // namespace

void append_utpcap_record(std::string& out, const Frame& frame) {
  const std::size_t start = out.size();
  char head[kUtpcapHeadBytes];
  char* at = store(head, static_cast<std::uint32_t>(frame.bytes.size()));
  at = store(at, frame.connection);
  at = store(at, frame.receive_time.ns);
  at = store(at, static_cast<std::uint16_t>(frame.tag.size()));
  at = store(at, static_cast<std::uint8_t>(frame.kind));
  store(at, std::uint8_t{0});
  out.append(head, sizeof head);
  out.append(frame.tag);
  out.append(frame.bytes);
  const std::uint64_t checksum = hash64(std::string_view(out).substr(start));
  char tail[kUtpcapTailBytes];
  store(tail, checksum);
  out.append(tail, sizeof tail);
}

Status UtpcapReader::read_header() {
  bool whole = false;
  const std::string_view line = window_.line(kHeaderLineMax, whole);
  if (!whole) return fail(cut("the header line \"UTPCAP1 <connector>\""));
  const std::string_view name = line.substr(kUtpcapMagic.size());
  if (name.empty() || name.find(' ') != std::string_view::npos) {
    return fail(damaged(fmt::format("the header line is \"{}\", \"UTPCAP1 <connector or ->\" was expected", line)));
  }
  if (name != "-") connector_ = name;
  done_with(line.size() + 1);
  return {};
}

Result<bool> UtpcapReader::read(Frame& frame) {
  const std::size_t there = window_.fill(kUtpcapHeadBytes);
  if (there == 0 && window_.status()) return false;
  if (there < kUtpcapHeadBytes) return fail(cut("a record"));
  const char* head = window_.bytes().data();
  const std::size_t size = load<std::uint32_t>(head);
  const std::size_t tag_size = load<std::uint16_t>(head + 16);
  const auto kind = load<std::uint8_t>(head + 18);
  if (size > kCaptureRecordBytesMax) {
    return fail(damaged(fmt::format("its length is {} bytes, at most {} are allowed", size, kCaptureRecordBytesMax)));
  }
  if (kind > static_cast<std::uint8_t>(FrameKind::kHttp) || head[19] != 0) {
    return fail(damaged(fmt::format("its kind is {}.{}, 0 to 4 and a zero were expected", kind, static_cast<int>(head[19]))));
  }
  const std::size_t checked = kUtpcapHeadBytes + tag_size + size;
  if (window_.fill(checked + kUtpcapTailBytes) < checked + kUtpcapTailBytes) return fail(cut("a record"));
  const std::string_view bytes = window_.bytes();
  if (hash64(bytes.substr(0, checked)) != load<std::uint64_t>(bytes.data() + checked)) {
    return fail(damaged("its checksum does not fit its bytes"));
  }
  frame.connection = load<std::uint32_t>(bytes.data() + 4);
  frame.kind = static_cast<FrameKind>(kind);
  frame.receive_time = {load<std::int64_t>(bytes.data() + 8)};
  frame.tag = bytes.substr(kUtpcapHeadBytes, tag_size);
  frame.bytes = bytes.substr(kUtpcapHeadBytes + tag_size, size);
  done_with(checked + kUtpcapTailBytes);
  return true;
}

Result<std::unique_ptr<CaptureReader>> open_utpcap(const std::string& path, CaptureWindow window) {
  auto reader = std::make_unique<UtpcapReader>(path, std::move(window));
  UTP_CHECK(reader->read_header());
  return reader;
}

}  // namespace utp::capture
