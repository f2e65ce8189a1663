// The fast reader for the frequent frames, and the rules of value that both readers share.
#pragma once

#include <algorithm>
#include <charconv>

#include "connector/json_frame.h"
#include "connectors/coinbase/coinbase_frame.h"

namespace utp {

// False when this is not exactly one of the shapes that it knows; `frame` is then unspecified.
bool coinbase_read_fast(std::string_view bytes, json_frame::TimeReader& times, CoinbaseFrame& frame);

// Times before it stand for none.
inline constexpr Timestamp kCoinbaseFirstTime = Timestamp::from_seconds(86'400);

// Empty for the venue's zero time; false when the text is no time.
inline bool coinbase_time(json_frame::TimeReader& times, std::string_view text, std::optional<Timestamp>& out) {
  out.reset();
  if (text.starts_with("0001-01-01T")) return true;
  const auto time = times.parse(text);
  if (!time) return false;
  if (*time >= kCoinbaseFirstTime) out = time;
  return true;
}

inline std::optional<std::uint64_t> coinbase_integer(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failed != std::errc{} || end != text.data() + text.size() || value >= (std::uint64_t{1} << 53)) {
    return std::nullopt;
  }
  return value;
}

// An upper bound of what the number takes when it is written.
inline std::size_t coinbase_text_bytes(std::string_view text) {
  for (const char c : text) {
    if (c == 'e' || c == 'E') return Decimal::kTextMax;
  }
  return text.size();
}
// ... and of a level: two numbers, brackets, commas.
inline std::uint8_t coinbase_level_bytes(std::size_t text_bytes) {
  return static_cast<std::uint8_t>(std::min<std::size_t>(text_bytes + 4, 255));
}

// A price of 0 is the venue's way to say that a side of the book is empty.
inline void coinbase_drop_empty_sides(CoinbaseTicker& ticker) {
  if (!ticker.bid || ticker.bid->is_zero()) ticker.bid.reset(), ticker.bid_size.reset();
  if (!ticker.ask || ticker.ask->is_zero()) ticker.ask.reset(), ticker.ask_size.reset();
}

}  // namespace utp
