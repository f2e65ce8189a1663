#include "bus/server_url.h"

#include <algorithm>
#include <charconv>

namespace utp {
namespace {

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<std::string> decode_percent(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 1 < text.size() ? hex_digit(text[i + 1]) : -1;
    const int low = i + 2 < text.size() ? hex_digit(text[i + 2]) : -1;
    if (high < 0 || low < 0) {
      return fail(Code::kInvalidArgument, "the bus URL has a % without two hexadecimal digits; write %25 for a % itself");
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

Result<HostPort> read_host_port(std::string_view text, int default_port, std::string_view form) {
  const auto refuse = [&](std::string_view what) { return fail(Code::kInvalidArgument, "the bus URL " + std::string(what) + "; " + std::string(form)); };
  std::size_t end = text.find(':');
  if (text.starts_with('[')) {
    end = text.find(']');
    if (end == std::string_view::npos) return refuse("has a [ without its ]");
    ++end;
  }
  end = std::min(end, text.size());
  HostPort out{std::string(text.substr(0, end)), default_port};
  if (out.host.empty() || out.host == "[]") return refuse("names no host");
  const std::string_view rest = text.substr(end);
  if (rest.empty()) return out;
  const auto read = std::from_chars(rest.data() + 1, rest.data() + rest.size(), out.port);
  if (rest[0] != ':' || read.ec != std::errc() || read.ptr != rest.data() + rest.size() || out.port < 1 || out.port > 65535) {
    return refuse("has a port that is no number from 1 to 65535");
  }
  return out;
}

}  // namespace utp
