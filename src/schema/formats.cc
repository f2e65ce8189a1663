#include "schema/formats.h"

#include <algorithm>
#include <array>

#include "core/timestamp.h"

namespace utp {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_alpha(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_hex(char c) { return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'); }

// `count` digits at `at`, as a number; -1 when they are not there.
int digits(std::string_view text, std::size_t at, std::size_t count) {
  if (at + count > text.size()) return -1;
  int value = 0;
  for (std::size_t i = at; i < at + count; ++i) {
    if (!is_digit(text[i])) return -1;
    value = value * 10 + (text[i] - '0');
  }
  return value;
}

constexpr auto kUnreservedOrSubDelimiter = [] {
  std::array<bool, 256> table{};
  for (const char c : std::string_view("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=")) {
    table[static_cast<unsigned char>(c)] = true;
  }
  return table;
}();

// Every character is unreserved, a sub-delimiter, one of `extra`, or a whole percent escape.
bool is_made_of(std::string_view text, std::string_view extra) {
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (kUnreservedOrSubDelimiter[static_cast<unsigned char>(text[i])]) continue;
    if (text[i] == '%') {
      if (i + 2 >= text.size() || !is_hex(text[i + 1]) || !is_hex(text[i + 2])) return false;
      i += 2;
    } else if (extra.find(text[i]) == std::string_view::npos) {
      return false;
    }
  }
  return true;
}

bool is_ipv4(std::string_view text) {
  int parts = 0;
  for (;;) {
    const std::size_t dot = std::min(text.find('.'), text.size());
    const std::string_view part = text.substr(0, dot);
    if (part.empty() || part.size() > 3 || (part.size() > 1 && part[0] == '0')) return false;
    const int value = digits(part, 0, part.size());
    if (value < 0 || value > 255) return false;
    ++parts;
    if (dot == text.size()) return parts == 4;
    text.remove_prefix(dot + 1);
  }
}

bool is_ipv6(std::string_view text) {
  int groups = 0;
  bool gap = false;
  if (text.starts_with("::")) {
    gap = true;
    text.remove_prefix(2);
    if (text.empty()) return true;
  }
  for (;;) {
    const std::size_t colon = std::min(text.find(':'), text.size());
    const std::string_view group = text.substr(0, colon);
    if (colon == text.size() && group.find('.') != std::string_view::npos) {
      if (!is_ipv4(group)) return false;
      groups += 2;
      break;
    }
    if (group.empty() || group.size() > 4 || !std::all_of(group.begin(), group.end(), is_hex)) return false;
    ++groups;
    if (colon == text.size()) break;
    text.remove_prefix(colon + 1);
    if (!text.empty() && text[0] == ':') {
      if (gap) return false;
      gap = true;
      text.remove_prefix(1);
      if (text.empty()) break;
    }
  }
  return gap ? groups < 8 : groups == 8;
}

bool is_ip_literal(std::string_view text) {  // without the brackets
  if (!text.empty() && (text[0] == 'v' || text[0] == 'V')) {
    const std::size_t dot = text.find('.');
    if (dot == std::string_view::npos || dot < 2 || dot + 1 == text.size()) return false;
    const std::string_view version = text.substr(1, dot - 1);
    return std::all_of(version.begin(), version.end(), is_hex) &&
           text.find('%') == std::string_view::npos && is_made_of(text.substr(dot + 1), ":");
  }
  return is_ipv6(text);
}

bool is_authority(std::string_view text) {
  if (const std::size_t at = text.rfind('@'); at != std::string_view::npos) {
    if (!is_made_of(text.substr(0, at), ":")) return false;
    text.remove_prefix(at + 1);
  }
  std::string_view port;
  if (!text.empty() && text[0] == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos || !is_ip_literal(text.substr(1, end - 1))) return false;
    const std::string_view rest = text.substr(end + 1);
    if (!rest.empty() && rest[0] != ':') return false;
    port = rest.empty() ? rest : rest.substr(1);
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    if (!is_made_of(text.substr(0, colon), "")) return false;
    port = colon == text.size() ? std::string_view() : text.substr(colon + 1);
  }
  return std::all_of(port.begin(), port.end(), is_digit);
}

}  // namespace

Format format_by_name(std::string_view name) {
  for (const Format format : {Format::kTimestamp, Format::kDateTime, Format::kDate, Format::kUri}) {
    if (name == to_string(format)) return format;
  }
  return Format::kNone;
}

std::string_view to_string(Format format) {
  switch (format) {
    case Format::kNone: return "";
    case Format::kTimestamp: return "utp-timestamp";
    case Format::kDateTime: return "date-time";
    case Format::kDate: return "date";
    case Format::kUri: return "uri";
  }
  return "";
}

bool matches_format(Format format, std::string_view text) {
  switch (format) {
    case Format::kNone: return true;
    case Format::kTimestamp: return Timestamp::parse_canonical(text).has_value();
    case Format::kDateTime: return is_rfc3339(text);
    case Format::kDate: return is_date(text);
    case Format::kUri: return is_absolute_uri(text);
  }
  return true;
}

bool is_rfc3339(std::string_view text) {
  if (text.size() < 20 || !is_date(text.substr(0, 10)) || (text[10] != 'T' && text[10] != 't')) return false;
  const int hour = digits(text, 11, 2);
  const int minute = digits(text, 14, 2);
  const int second = digits(text, 17, 2);
  if (text[13] != ':' || text[16] != ':' || hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 ||
      second > 60) {
    return false;
  }
  std::size_t at = 19;
  if (text[at] == '.') {
    const std::size_t start = ++at;
    while (at < text.size() && is_digit(text[at])) ++at;
    if (at == start) return false;
  }
  if (at == text.size()) return false;
  int offset = 0;  // minutes
  if (text[at] == 'Z' || text[at] == 'z') {
    if (at + 1 != text.size()) return false;
  } else {
    const int offset_hour = digits(text, at + 1, 2);
    const int offset_minute = digits(text, at + 4, 2);
    if ((text[at] != '+' && text[at] != '-') || at + 6 != text.size() || text[at + 3] != ':' || offset_hour < 0 ||
        offset_hour > 23 || offset_minute < 0 || offset_minute > 59) {
      return false;
    }
    offset = (text[at] == '-' ? -1 : 1) * (offset_hour * 60 + offset_minute);
  }
  if (second < 60) return true;
  // A leap second is the last of a day in UTC.
  return ((hour * 60 + minute - offset) % 1440 + 1440) % 1440 == 1439;
}

bool is_absolute_uri(std::string_view text) {
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon == 0 || !is_alpha(text[0])) return false;
  for (const char c : text.substr(0, colon)) {
    if (!is_alpha(c) && !is_digit(c) && c != '+' && c != '-' && c != '.') return false;
  }
  std::string_view rest = text.substr(colon + 1);
  if (const std::size_t hash = rest.find('#'); hash != std::string_view::npos) {
    if (!is_made_of(rest.substr(hash + 1), ":@/?")) return false;
    rest = rest.substr(0, hash);
  }
  if (const std::size_t mark = rest.find('?'); mark != std::string_view::npos) {
    if (!is_made_of(rest.substr(mark + 1), ":@/?")) return false;
    rest = rest.substr(0, mark);
  }
  if (rest.starts_with("//")) {
    rest.remove_prefix(2);
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    if (!is_authority(rest.substr(0, slash))) return false;
    rest.remove_prefix(slash);
  }
  return is_made_of(rest, ":@/");
}

}  // namespace utp
