// What stands in a stream's entry: one field and its value.
//
//   field                                              value
//   <time> <key>                                       the envelope
//   <time>*<count>{ <bytes> <key bytes> <key>}...      the envelopes of `count` messages, one behind the other
//
// Times are milliseconds of the server's clock. A field costs the server less than a field more: no names are repeated.
#pragma once

#include <charconv>
#include <cstdint>
#include <string_view>

namespace utp::redis_bus {

// Takes an entry apart. What is not of this form is one message without time and key.
class EntryReader {
 public:
  EntryReader(std::string_view field, std::string_view value) : field_(field), value_(value) {
    std::size_t time = 0;
    if (!take_number(time) || field_.empty()) return;
    time_ns_ = static_cast<std::int64_t>(time) * 1'000'000;
    const bool is_pack = field_[0] == '*';
    field_.remove_prefix(1);
    std::size_t count = 0;
    if (!is_pack || !take_number(count) || count == 0 || count > field_.size()) return;
    is_pack_ = true;
    count_ = count;
  }
  std::int64_t time_ns() const { return time_ns_; }
  std::size_t count() const { return count_; }
  // False behind the last one.
  bool next(std::string_view& key, std::string_view& value) {
    if (read_ == count_) return false;
    ++read_;
    key = field_;
    value = value_;
    if (!is_pack_) return true;
    std::size_t value_bytes = 0;
    std::size_t key_bytes = 0;
    if (!skip_space() || !take_number(value_bytes) || !skip_space() || !take_number(key_bytes) || !skip_space()) value_bytes = 0;
    key = field_.substr(0, key_bytes);
    field_.remove_prefix(key.size());
    value = value_.substr(0, value_bytes);
    value_.remove_prefix(value.size());
    return true;
  }

 private:
  bool take_number(std::size_t& number) {
    const auto read = std::from_chars(field_.data(), field_.data() + field_.size(), number);
    if (read.ec != std::errc()) return false;
    field_.remove_prefix(static_cast<std::size_t>(read.ptr - field_.data()));
    return true;
  }
  bool skip_space() {
    if (field_.empty() || field_[0] != ' ') return false;
    field_.remove_prefix(1);
    return true;
  }

  std::string_view field_, value_;
  std::int64_t time_ns_ = 0;
  std::size_t count_ = 1, read_ = 0;
  bool is_pack_ = false;
};

}  // namespace utp::redis_bus
