#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "drivers/bus/redis/redis_bus.h"

namespace utp {
namespace {

constexpr const char* kForm = "write redis://[user:password@]host[:port][/database], or rediss:// for TLS";

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> decode(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return fail(Code::kInvalidArgument,
                  "the bus URL has a % without two hexadecimal digits in user or password; write %25 for a % itself");
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

bool read_whole(std::string_view text, int& value) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() && read.ptr == text.data() + text.size();
}

}  // namespace

Result<RedisBusOptions> parse_redis_url(std::string_view url) {
  constexpr std::string_view kScheme = "redis://";
  constexpr std::string_view kTlsScheme = "rediss://";
  RedisBusOptions options;
  options.tls = url.starts_with(kTlsScheme);
  if (!options.tls && !url.starts_with(kScheme))
    return fail(Code::kInvalidArgument, std::string("the bus URL is not one of Redis; ") + kForm);
  std::string_view rest = url.substr(options.tls ? kTlsScheme.size() : kScheme.size());
  // The last @: a password may hold one unencoded.
  if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    const std::string_view who = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    const std::size_t colon = who.find(':');
    UTP_TRY(options.user, decode(who.substr(0, colon)));
    if (colon != std::string_view::npos) {
      UTP_TRY(options.password, decode(who.substr(colon + 1)));
    }
  }
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    const std::string_view database = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
    if (!database.empty() && (!read_whole(database, options.database) || options.database < 0)) {
      return fail(Code::kInvalidArgument, std::string("the bus URL's database is no number from 0 on; ") + kForm);
    }
  }
  if (!rest.empty() && rest[0] == '[') {  // [::1]:6379
    const std::size_t end = rest.find(']');
    if (end == std::string_view::npos)
      return fail(Code::kInvalidArgument, std::string("the bus URL has a [ without its ]; ") + kForm);
    options.host = rest.substr(1, end - 1);
    rest.remove_prefix(end + 1);
  } else {
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    options.host = rest.substr(0, colon);
    rest.remove_prefix(colon);
  }
  if (options.host.empty()) return fail(Code::kInvalidArgument, std::string("the bus URL names no host; ") + kForm);
  if (!rest.empty() &&
      (rest[0] != ':' || !read_whole(rest.substr(1), options.port) || options.port < 1 || options.port > 65535)) {
    return fail(Code::kInvalidArgument, std::string("the bus URL's port is no number from 1 to 65535; ") + kForm);
  }
  if (options.password.empty()) {
    if (const char* password = std::getenv("UTP_REDIS_PASSWORD")) options.password = password;
  }
  if (const char* file = std::getenv("UTP_REDIS_CA")) options.ca_file = file;
  return options;
}

}  // namespace utp
