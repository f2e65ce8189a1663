// Timestamp: nanoseconds since 1970-01-01T00:00:00Z (no leap seconds), and its text forms.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace utp {

struct Timestamp {
  std::int64_t ns = 0;  // 1678-01-01 to 2261-12-31 can be written and read

  static constexpr std::size_t kTextSize = 30;  // 2026-11-22T14:30:00.123456789Z

  static constexpr Timestamp from_seconds(std::int64_t s) { return {s * 1'000'000'000}; }
  static constexpr Timestamp from_millis(std::int64_t ms) { return {ms * 1'000'000}; }
  static constexpr Timestamp from_micros(std::int64_t us) { return {us * 1'000}; }

  // Exactly the canonical 30 characters; a calendar date that exists.
  static std::optional<Timestamp> parse_canonical(std::string_view text);
  // RFC 3339: 0 to 9 fraction digits (more are refused unless zero), Z or an offset, upper or lower case T and Z,
  // a leap second only where RFC 3339 allows it (23:59:60 UTC; read as the second after).
  static std::optional<Timestamp> parse_rfc3339(std::string_view text);
  // What a person types: RFC 3339, a date alone, or date and time without zone (UTC).
  static std::optional<Timestamp> parse_lenient(std::string_view text);
  // Decimal seconds since the epoch, such as "1618678134.111725"; at most 9 fraction digits count, exact.
  static std::optional<Timestamp> parse_unix_seconds(std::string_view text);

  // Writes exactly kTextSize characters and returns the end.
  char* write(char* out) const;
  std::string to_string() const;

  friend constexpr auto operator<=>(const Timestamp&, const Timestamp&) = default;
};

constexpr Timestamp operator+(Timestamp t, std::int64_t ns) { return {t.ns + ns}; }
constexpr Timestamp operator-(Timestamp t, std::int64_t ns) { return {t.ns - ns}; }
constexpr std::int64_t operator-(Timestamp a, Timestamp b) { return a.ns - b.ns; }

// True for YYYY-MM-DD of a day that exists (years 0000 to 9999).
bool is_date(std::string_view text);

// "250ms", "5s", "10m", "72h", "30d" (and "ns", "us"); a plain number is refused. Nanoseconds.
std::optional<std::int64_t> parse_duration(std::string_view text);

}  // namespace utp
