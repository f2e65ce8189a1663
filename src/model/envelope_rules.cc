#include "model/envelope_rules.h"

#include <algorithm>
#include <array>

namespace utp {
namespace {

bool is_lower(char c) { return c >= 'a' && c <= 'z'; }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_word(char c) { return is_lower(c) || is_digit(c) || c == '_'; }

bool is_name(std::string_view text) {
  return !text.empty() && is_lower(text[0]) && std::all_of(text.begin(), text.end(), is_word);
}

bool is_path(std::string_view text) {
  for (;;) {
    const std::size_t slash = text.find('/');
    if (!is_name(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool is_digits(std::string_view text) { return !text.empty() && std::all_of(text.begin(), text.end(), is_digit); }

constexpr auto kSymbolChars = [] {
  std::array<bool, 256> allowed{};
  for (const char c : std::string_view("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._:/+=^#$@&*!~-")) {
    allowed[static_cast<unsigned char>(c)] = true;
  }
  return allowed;
}();

}  // namespace

bool is_event_type(std::string_view text) {
  const std::size_t slash = text.rfind('/');
  if (text.size() > 64 || slash == std::string_view::npos || !is_path(text.substr(0, slash))) return false;
  const std::string_view version = text.substr(slash + 1);
  return version.size() >= 2 && version[0] == 'v' && version[1] != '0' && is_digits(version.substr(1));
}

bool is_schema_ref(std::string_view text) {
  constexpr std::string_view kScheme = "utp://";
  if (text.size() > 96 || !text.starts_with(kScheme)) return false;
  text.remove_prefix(kScheme.size());
  const std::size_t slash = text.rfind('/');
  if (slash == std::string_view::npos || !is_path(text.substr(0, slash))) return false;
  const std::string_view version = text.substr(slash + 1);
  const std::size_t first = version.find('.');
  if (first == std::string_view::npos) return false;
  const std::size_t second = version.find('.', first + 1);
  return second != std::string_view::npos && is_digits(version.substr(0, first)) &&
         is_digits(version.substr(first + 1, second - first - 1)) && is_digits(version.substr(second + 1));
}

bool is_source_id(std::string_view text) {
  return !text.empty() && text.size() <= 64 && (is_lower(text[0]) || is_digit(text[0])) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_word(c) || c == '.' || c == '-'; });
}

bool is_realm(std::string_view text) {
  return !text.empty() && text.size() <= 64 && (is_lower(text[0]) || is_digit(text[0])) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_word(c) || c == '-'; });
}

bool is_symbol(std::string_view text) {
  return text.size() <= 64 &&
         std::all_of(text.begin(), text.end(), [](char c) { return kSymbolChars[static_cast<unsigned char>(c)]; });
}

}  // namespace utp
