#include "core/timestamp.h"

#include <array>
#include <charconv>
#include <cstring>

#include "core/digits.h"

namespace utp {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::int64_t kDay = 86'400 * kSecond;

// Days since 1970-01-01 in the proleptic Gregorian calendar, counting years from March so that leap days come last.
constexpr std::int64_t days_from_civil(std::int64_t year, unsigned month, unsigned day) {
  year -= month <= 2;
  const std::int64_t era = (year >= 0 ? year : year - 399) / 400;
  const auto year_of_era = static_cast<unsigned>(year - era * 400);
  const unsigned day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
  const unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
  return era * 146'097 + static_cast<std::int64_t>(day_of_era) - 719'468;
}

struct Civil {
  std::int64_t year;
  unsigned month;
  unsigned day;
};

constexpr Civil civil_from_days(std::int64_t days) {
  days += 719'468;
  const std::int64_t era = (days >= 0 ? days : days - 146'096) / 146'097;
  const auto day_of_era = static_cast<unsigned>(days - era * 146'097);
  const unsigned year_of_era =
      (day_of_era - day_of_era / 1'460 + day_of_era / 36'524 - day_of_era / 146'096) / 365;
  const unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
  const unsigned shifted = (5 * day_of_year + 2) / 153;
  const unsigned month = shifted < 10 ? shifted + 3 : shifted - 9;
  return {static_cast<std::int64_t>(year_of_era) + era * 400 + (month <= 2), month,
          day_of_year - (153 * shifted + 2) / 5 + 1};
}

constexpr unsigned days_in_month(std::int64_t year, unsigned month) {
  constexpr std::array<unsigned, 12> kDays = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
  return month == 2 && leap ? 29 : kDays[month - 1];
}

// Exactly `count` digits at text[pos]; -1 if one is none.
int digits(std::string_view text, std::size_t pos, std::size_t count) {
  if (pos + count > text.size()) return -1;
  int value = 0;
  for (std::size_t i = pos; i < pos + count; ++i) {
    if (text[i] < '0' || text[i] > '9') return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

std::optional<std::int64_t> parse_date(std::string_view text) {
  const int year = digits(text, 0, 4);
  const int month = digits(text, 5, 2);
  const int day = digits(text, 8, 2);
  if (year < 0 || month < 1 || month > 12 || day < 1 || text[4] != '-' || text[7] != '-') return std::nullopt;
  if (static_cast<unsigned>(day) > days_in_month(year, static_cast<unsigned>(month))) return std::nullopt;
  return days_from_civil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
}

std::optional<Timestamp> assemble(std::int64_t days, std::int64_t second_of_day, std::int64_t fraction) {
  const __int128 ns = static_cast<__int128>(days) * kDay + static_cast<__int128>(second_of_day) * kSecond + fraction;
  if (ns > INT64_MAX || ns < INT64_MIN) return std::nullopt;
  return Timestamp{static_cast<std::int64_t>(ns)};
}

}  // namespace

std::optional<Timestamp> Timestamp::parse_canonical(std::string_view text) {
  if (text.size() != kTextSize || text[10] != 'T' || text[29] != 'Z') return std::nullopt;
  return parse_rfc3339(text);
}

std::optional<Timestamp> Timestamp::parse_rfc3339(std::string_view text) {
  if (text.size() < 20) return std::nullopt;
  const auto days = parse_date(text);
  if (!days || (text[10] != 'T' && text[10] != 't')) return std::nullopt;
  const int hour = digits(text, 11, 2);
  const int minute = digits(text, 14, 2);
  const int second = digits(text, 17, 2);
  if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60 || text[13] != ':' ||
      text[16] != ':') {
    return std::nullopt;
  }
  std::size_t pos = 19;
  std::int64_t fraction = 0;
  if (text[pos] == '.') {
    const std::size_t first = ++pos;
    std::int64_t unit = kSecond / 10;
    for (; pos < text.size() && text[pos] >= '0' && text[pos] <= '9'; ++pos) {
      if (unit == 0 && text[pos] != '0') return std::nullopt;
      fraction += unit * (text[pos] - '0');
      unit /= 10;
    }
    if (pos == first) return std::nullopt;
  }
  std::int64_t offset_minutes = 0;
  if (pos < text.size() && (text[pos] == 'Z' || text[pos] == 'z')) {
    ++pos;
  } else if (pos + 6 == text.size() && (text[pos] == '+' || text[pos] == '-') && text[pos + 3] == ':') {
    const int offset_hour = digits(text, pos + 1, 2);
    const int offset_minute = digits(text, pos + 4, 2);
    if (offset_hour < 0 || offset_hour > 23 || offset_minute < 0 || offset_minute > 59) return std::nullopt;
    offset_minutes = (text[pos] == '-' ? -1 : 1) * (offset_hour * 60 + offset_minute);
    pos += 6;
  } else {
    return std::nullopt;
  }
  if (pos != text.size()) return std::nullopt;
  const std::int64_t minute_of_day_utc = ((hour * 60 + minute - offset_minutes) % 1'440 + 1'440) % 1'440;
  if (second == 60 && minute_of_day_utc != 1'439) return std::nullopt;
  return assemble(*days, (hour * 60 + minute - offset_minutes) * 60 + second, fraction);
}

std::optional<Timestamp> Timestamp::parse_lenient(std::string_view text) {
  if (text.size() == 10) {
    const auto days = is_date(text) ? parse_date(text) : std::nullopt;
    return days ? assemble(*days, 0, 0) : std::nullopt;
  }
  if (text.size() < 16) return std::nullopt;
  std::string full(text);
  if (full[10] == ' ') full[10] = 'T';
  if (full.size() == 16) full += ":00";
  if (full.size() == 17 && (full.back() == 'Z' || full.back() == 'z')) full.insert(16, ":00");
  if (const auto time = parse_rfc3339(full)) return time;
  return parse_rfc3339(full + "Z");
}

std::optional<Timestamp> Timestamp::parse_unix_seconds(std::string_view text) {
  std::int64_t seconds = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  if (error != std::errc{} || seconds > INT64_MAX / kSecond - 1 || seconds < 0) return std::nullopt;
  auto pos = static_cast<std::size_t>(stop - text.data());
  std::int64_t fraction = 0;
  if (pos < text.size()) {
    if (text[pos] != '.' || pos + 1 == text.size()) return std::nullopt;
    std::int64_t unit = kSecond / 10;
    for (++pos; pos < text.size(); ++pos) {
      if (text[pos] < '0' || text[pos] > '9') return std::nullopt;
      fraction += unit * (text[pos] - '0');
      unit /= 10;
    }
  }
  return Timestamp{seconds * kSecond + fraction};
}

char* Timestamp::write(char* out) const {
  std::int64_t days = ns / kDay;
  std::int64_t rest = ns % kDay;
  if (rest < 0) {
    rest += kDay;
    --days;
  }
  const Civil date = civil_from_days(days);
  const auto second_of_day = static_cast<unsigned>(rest / kSecond);
  out = write_padded(out, static_cast<unsigned>(date.year), 4);
  *out++ = '-';
  out = write_padded(out, date.month, 2);
  *out++ = '-';
  out = write_padded(out, date.day, 2);
  *out++ = 'T';
  out = write_padded(out, second_of_day / 3'600, 2);
  *out++ = ':';
  out = write_padded(out, second_of_day / 60 % 60, 2);
  *out++ = ':';
  out = write_padded(out, second_of_day % 60, 2);
  *out++ = '.';
  out = write_padded(out, static_cast<unsigned>(rest % kSecond), 9);
  *out++ = 'Z';
  return out;
}

std::string Timestamp::to_string() const {
  std::array<char, kTextSize> text;
  return std::string(text.data(), write(text.data()));
}

bool is_date(std::string_view text) { return text.size() == 10 && parse_date(text).has_value(); }

std::optional<std::int64_t> parse_duration(std::string_view text) {
  std::int64_t count = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), count);
  if (error != std::errc{} || count < 0) return std::nullopt;
  const std::string_view unit(stop, static_cast<std::size_t>(text.data() + text.size() - stop));
  std::int64_t scale = 0;
  if (unit == "ns") scale = 1;
  else if (unit == "us") scale = 1'000;
  else if (unit == "ms") scale = 1'000'000;
  else if (unit == "s") scale = kSecond;
  else if (unit == "m") scale = 60 * kSecond;
  else if (unit == "h") scale = 3'600 * kSecond;
  else if (unit == "d") scale = kDay;
  std::int64_t ns = 0;
  if (scale == 0 || __builtin_mul_overflow(count, scale, &ns)) return std::nullopt;
  return ns;
}

}  // namespace utp
