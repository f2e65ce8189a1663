// Reading JSON frames on demand: the few helpers that mappers of JSON venues share. For a connector's .cc files only: it
// brings in the parser.
//
// The readers return false after noting the error at its leaf; each caller on the way out puts its own part of the path in
// front (at()), so that a good frame pays nothing for error messages.
#pragma once

#include <cstring>
#include <memory>
#include <string>
#include <string_view>

#include <simdjson.h>

#include "connector/frame_error.h"
#include "core/decimal.h"
#include "core/timestamp.h"

namespace utp::json_frame {

namespace ondemand = simdjson::ondemand;

// A parser and a buffer with the padding that it needs; both grow to the largest frame and stay.
class Input {
 public:
  // The document refers to the input's own copy of `bytes` until the next call.
  simdjson::error_code open(std::string_view bytes, ondemand::document& document) {
    const std::size_t needed = bytes.size() + simdjson::SIMDJSON_PADDING;
    if (needed > capacity_) {
      capacity_ = needed + needed / 2;
      buffer_ = std::make_unique<char[]>(capacity_);
    }
    if (!bytes.empty()) std::memcpy(buffer_.get(), bytes.data(), bytes.size());
    std::memset(buffer_.get() + bytes.size(), ' ', simdjson::SIMDJSON_PADDING);
    return parser_.iterate(buffer_.get(), bytes.size(), capacity_).get(document);
  }

 private:
  ondemand::parser parser_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
};

inline bool fail(FrameError& error, std::string_view code, std::string message, std::string path = {}) {
  error.code = code;
  error.path = std::move(path);
  error.message = std::move(message);
  return false;
}

inline bool at(FrameError& error, std::string_view key) {
  std::string part = "/";
  for (const char c : key) {
    if (c == '~') part += "~0";
    else if (c == '/') part += "~1";
    else part += c;
  }
  error.path.insert(0, part);
  return false;
}
inline bool at(FrameError& error, std::size_t index) { return at(error, std::to_string(index)); }

// What the parser found, in our words: a wrong type is told apart from broken JSON.
inline bool fail(FrameError& error, simdjson::error_code code, std::string_view expected) {
  if (code == simdjson::INCORRECT_TYPE || code == simdjson::NUMBER_ERROR) {
    return fail(error, "type", "expected " + std::string(expected));
  }
  if (code == simdjson::NO_SUCH_FIELD) return fail(error, "missing", std::string(expected) + " is missing");
  return fail(error, "json", "broken or cut JSON where " + std::string(expected) + " was expected: " +
                                 simdjson::error_message(code));
}

inline bool text(ondemand::value value, std::string_view& out, FrameError& error) {
  const auto code = value.get_string().get(out);
  return code == simdjson::SUCCESS || fail(error, code, "a string");
}

// The characters of a JSON number (or of the digits in a string, where a venue sends either).
inline bool number_text(ondemand::value value, std::string_view& out, FrameError& error) {
  ondemand::json_type type;
  if (const auto code = value.type().get(type)) return fail(error, code, "a number");
  if (type == ondemand::json_type::string) return text(value, out, error);
  if (type != ondemand::json_type::number) return fail(error, "type", "expected a number");
  out = value.raw_json_token();
  while (!out.empty() && static_cast<unsigned char>(out.back()) <= ' ') out.remove_suffix(1);
  return true;
}

inline bool parse_decimal(std::string_view digits, Decimal& out, FrameError& error) {
  const auto number = Decimal::parse(digits);
  if (!number) {
    return fail(error, "value", "expected a decimal number that fits 19 digits, found \"" + std::string(digits.substr(0, 64)) + "\"");
  }
  out = *number;
  return true;
}

// An object that must end where the frame ends. `each(key, value)` is called per field; false stops.
template <class Each>
bool fields(ondemand::object& object, FrameError& error, Each&& each) {
  for (auto field : object) {
    ondemand::field f;
    if (const auto code = std::move(field).get(f)) return fail(error, code, "a field");
    const ondemand::raw_json_string key = f.key();
    if (!each(key, f.value())) return false;
  }
  return true;
}

template <class Each>
bool field_objects(ondemand::value value, FrameError& error, Each&& each) {
  ondemand::object object;
  if (const auto code = value.get_object().get(object)) return fail(error, code, "an object");
  return fields(object, error, each);
}

// `each(index, value)` per element; a failure inside gets the index into its path.
template <class Each>
bool elements(ondemand::value value, FrameError& error, Each&& each) {
  ondemand::array array;
  if (const auto code = value.get_array().get(array)) return fail(error, code, "an array");
  std::size_t index = 0;
  for (auto element : array) {
    ondemand::value v;
    if (const auto code = std::move(element).get(v)) {
      fail(error, code, "an element");
      return at(error, index);
    }
    if (!each(index, v)) return at(error, index);
    ++index;
  }
  return true;
}

inline std::string key_text(ondemand::raw_json_string key) {
  const char* begin = key.raw();
  const char* end = begin;
  while (*end != '"') end += *end == '\\' ? 2 : 1;
  return std::string(begin, end);
}

// Times of a feed are mostly of the same minute as the one before, which is remembered.
class TimeReader {
 public:
  // RFC 3339. Empty when it is no time.
  std::optional<Timestamp> parse(std::string_view text) {
    if (text.size() > 21 && text.size() <= 30 && known_ && text.back() == 'Z' && text[19] == '.' && same_minute(text.data())) {
      const unsigned tens = digit(text[17]), ones = digit(text[18]);
      if (tens > 5 || ones > 9) return Timestamp::parse_rfc3339(text);
      std::int64_t fraction = 0;
      std::size_t i = 20;
      for (; i + 1 < text.size(); ++i) {
        const unsigned d = digit(text[i]);
        if (d > 9) return std::nullopt;
        fraction = fraction * 10 + d;
      }
      static constexpr std::int64_t kScale[] = {1'000'000'000, 100'000'000, 10'000'000, 1'000'000, 100'000,
                                                10'000,        1'000,       100,        10,        1};
      return Timestamp{minute_start_ + (tens * 10 + ones) * 1'000'000'000LL + fraction * kScale[i - 20]};
    }
    const auto time = Timestamp::parse_rfc3339(text);
    if (time && text.back() == 'Z' && text[17] != '6') {  // a leap second is read as the next minute's
      std::memcpy(minute_, text.data(), sizeof minute_);
      constexpr std::int64_t kMinuteNs = 60'000'000'000;
      minute_start_ = time->ns - ((time->ns % kMinuteNs) + kMinuteNs) % kMinuteNs;
      known_ = true;
    }
    return time;
  }

  // "2026-11-22T14:30:00.123456", the first 26 characters of `text`, where it is of the remembered minute. False says
  // nothing: parse() decides.
  bool parse_micros(const char* text, std::optional<Timestamp>& out) const {
    if (!known_ || text[19] != '.' || !same_minute(text)) return false;
    const unsigned a = digit(text[17]), b = digit(text[18]), c = digit(text[20]), d = digit(text[21]), e = digit(text[22]),
                   f = digit(text[23]), g = digit(text[24]), h = digit(text[25]);
    if (((a > 5) | (b > 9) | (c > 9) | (d > 9) | (e > 9) | (f > 9) | (g > 9) | (h > 9)) != 0) return false;
    const std::uint32_t micros = ((((c * 10 + d) * 10 + e) * 10 + f) * 10 + g) * 10 + h;
    out = Timestamp{minute_start_ + (a * 10 + b) * 1'000'000'000LL + micros * 1'000LL};
    return true;
  }

 private:
  static unsigned digit(char c) { return static_cast<unsigned>(static_cast<unsigned char>(c)) - '0'; }
  bool same_minute(const char* text) const {  // "2026-11-22T14:30:", 17 characters
    std::uint64_t a[4];
    std::memcpy(&a[0], text, 8);
    std::memcpy(&a[1], text + 8, 8);
    std::memcpy(&a[2], minute_, 8);
    std::memcpy(&a[3], minute_ + 8, 8);
    return ((a[0] ^ a[2]) | (a[1] ^ a[3])) == 0 && text[16] == minute_[16];
  }

  char minute_[17] = {};
  bool known_ = false;
  std::int64_t minute_start_ = 0;
};

}  // namespace utp::json_frame
