#include <algorithm>
#include <cctype>
#include <map>

#include <fmt/format.h>
#include <simdjson.h>

#include "connector/capture_formats.h"

namespace utp::capture {
namespace {

static_assert(CaptureWindow::kPaddingBytes >= simdjson::SIMDJSON_PADDING);

struct JsonLine {
  std::string_view type, connection, address, url, exchange;
  std::string_view time;  // the number's text, "" when absent
  std::string_view data;
  bool has_data = false;
};

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) text.remove_suffix(1);
  return text;
}

class JsonlReader final : public ReaderBase {
 public:
  using ReaderBase::ReaderBase;
  std::string_view format() const override { return "jsonl"; }

  // The recorder's header line, when there is one, names the venue.
  Status read_header() {
    std::string_view text;
    UTP_TRY(const bool more, next_line(text));
    if (!more) return {};
    JsonLine line;
    if (auto parsed = parse(text, line); !parsed) {
      Error error = parsed.error();
      error.message += "; a capture has {\"t\":\"header|http|connect|send|recv\",\"ts\":...,\"data\":\"...\"} a line";
      return fail(std::move(error));
    }
    if (line.type != "header") return {};
    connector_ = line.exchange;
    std::transform(connector_.begin(), connector_.end(), connector_.begin(), [](unsigned char c) { return std::tolower(c); });
    done_with(text.size() + 1);
    return {};
  }

 private:
  Result<bool> next_line(std::string_view& text) {
    for (;;) {
      bool whole = false;
      text = window_.line(kCaptureRecordBytesMax, whole);
      if (!whole && text.size() == kCaptureRecordBytesMax) {
        return fail(damaged(fmt::format("a line is longer than {} bytes", kCaptureRecordBytesMax)));
      }
      if (!whole) {
        // The last line may lack its line feed: an object that closes is whole.
        if (!window_.status() || (!text.empty() && !trimmed(text).ends_with('}'))) return fail(cut("a line"));
        return !trimmed(text).empty();
      }
      if (!trimmed(text).empty()) return true;
      window_.consume(text.size() + 1);
    }
  }

  Status parse(std::string_view text, JsonLine& line) {
    using simdjson::error_message;
    auto& document = document_;
    const simdjson::padded_string_view padded(text.data(), text.size(), text.size() + CaptureWindow::kPaddingBytes);
    if (const auto error = parser_.iterate(padded).get(document)) return fail(damaged(error_message(error)));
    simdjson::ondemand::object object;
    if (const auto error = document.get_object().get(object)) return fail(damaged(error_message(error)));
    for (auto field : object) {
      simdjson::ondemand::raw_json_string raw;
      simdjson::ondemand::value value;
      if (const auto error = field.key().get(raw)) return fail(damaged(error_message(error)));
      if (const auto error = field.value().get(value)) return fail(damaged(error_message(error)));
      std::string_view* target = nullptr;
      if (raw == "ts") {
        line.time = trimmed(value.raw_json_token());
        continue;
      }
      if (raw == "t") target = &line.type;
      else if (raw == "conn") target = &line.connection;
      else if (raw == "data") target = &line.data;
      else if (raw == "addr") target = &line.address;
      else if (raw == "url") target = &line.url;
      else if (raw == "exchange") target = &line.exchange;
      if (target == nullptr) continue;
      if (const auto error = value.get_string().get(*target)) {
        return fail(damaged(fmt::format("a field that must be a string: {}", error_message(error))));
      }
      if (target == &line.data) line.has_data = true;
    }
    const char* behind = nullptr;
    if (!document.current_location().get(behind)) return fail(damaged("something follows the object on its line"));
    if (line.type.empty()) return fail(damaged("the field \"t\" is missing"));
    return {};
  }

  Result<bool> read(Frame& frame) override {
    for (;;) {
      std::string_view text;
      UTP_TRY(const bool more, next_line(text));
      if (!more) return false;
      JsonLine line;
      UTP_CHECK(parse(text, line));
      const std::size_t size = text.size() + 1;
      if (line.type == "header") {
        window_.consume(size);
        continue;
      }
      if (line.type == "http") frame.kind = FrameKind::kHttp;
      else if (line.type == "connect") frame.kind = FrameKind::kOpen;
      else if (line.type == "send") frame.kind = FrameKind::kSent;
      else if (line.type == "recv") frame.kind = FrameKind::kWs;
      else return fail(damaged(fmt::format("\"t\" is \"{}\", header, http, connect, send or recv was expected", line.type)));
      const auto time = Timestamp::parse_unix_seconds(line.time);
      if (!time) return fail(damaged(fmt::format("\"ts\" is {}, a number of unix seconds was expected", line.time.empty() ? "missing" : line.time)));
      if (!line.has_data && frame.kind != FrameKind::kOpen) return fail(damaged("the field \"data\" is missing"));
      frame.receive_time = *time;
      frame.connection = frame.kind == FrameKind::kHttp ? 0 : connection_number(line.connection);
      frame.tag = frame.kind == FrameKind::kHttp ? line.url : std::string_view{};
      frame.bytes = frame.kind == FrameKind::kOpen ? line.address : line.data;
      done_with(size);
      return true;
    }
  }

  std::uint32_t connection_number(std::string_view name) {
    const auto found = connections_.find(name);
    if (found != connections_.end()) return found->second;
    const auto number = static_cast<std::uint32_t>(connections_.size());
    connections_.emplace(name, number);
    return number;
  }

  simdjson::ondemand::parser parser_{kCaptureRecordBytesMax};
  simdjson::ondemand::document document_;
  std::map<std::string, std::uint32_t, std::less<>> connections_;
};

}  // namespace

Result<std::unique_ptr<CaptureReader>> open_jsonl(const std::string& path, CaptureWindow window) {
  auto reader = std::make_unique<JsonlReader>(path, std::move(window));
  UTP_CHECK(reader->read_header());
  return reader;
}

}  // namespace utp::capture
