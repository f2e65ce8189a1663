#include <cstdlib>

#include "drivers/bus/nats/names.h"
#include "drivers/bus/nats/nats_bus.h"

namespace utp {
namespace {

constexpr const char* kForm = "write nats://[user:password@]host[:port][,host[:port]...]";

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
                  "the bus URL has a % without two hexadecimal digits in user, password or token; write %25 for a % itself");
    }
    out += static_cast<char>(high * 16 + low);
    i += 2;
  }
  return out;
}

// host, host:port, [::1] or [::1]:port, with the port in the end.
Result<std::string> read_server(std::string_view text) {
  std::string host;
  if (!text.empty() && text[0] == '[') {
    const std::size_t end = text.find(']');
    if (end == std::string_view::npos) return fail(Code::kInvalidArgument, std::string("the bus URL has a [ without its ]; ") + kForm);
    host = text.substr(0, end + 1);
    text.remove_prefix(end + 1);
    if (host == "[]") host.clear();
  } else {
    const std::size_t colon = std::min(text.find(':'), text.size());
    host = text.substr(0, colon);
    text.remove_prefix(colon);
  }
  if (host.empty()) return fail(Code::kInvalidArgument, std::string("the bus URL names no host; ") + kForm);
  if (text.empty()) return host + ":4222";
  const auto port = nats_bus::read_number(text.substr(1));
  if (text[0] != ':' || !port || *port < 1 || *port > 65535)
    return fail(Code::kInvalidArgument, std::string("a port of the bus URL is no number from 1 to 65535; ") + kForm);
  return host + ":" + std::to_string(*port);
}

}  // namespace

Result<NatsBusOptions> parse_nats_url(std::string_view url) {
  constexpr std::string_view kScheme = "nats://";
  constexpr std::string_view kTlsScheme = "tls://";
  NatsBusOptions options;
  options.tls = url.starts_with(kTlsScheme);
  if (!options.tls && !url.starts_with(kScheme))
    return fail(Code::kInvalidArgument, std::string("the bus URL is not one of NATS; ") + kForm + ", or tls://...");
  std::string_view rest = url.substr(options.tls ? kTlsScheme.size() : kScheme.size());
  // The last @: a password may hold one unencoded.
  if (const std::size_t at = rest.rfind('@'); at != std::string_view::npos) {
    const std::string_view who = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    const std::size_t colon = who.find(':');
    if (colon == std::string_view::npos) {
      // A user alone has its password in the environment; otherwise it is a token.
      auto& one = std::getenv("UTP_NATS_PASSWORD") != nullptr ? options.user : options.token;
      UTP_TRY(one, decode(who));
    } else {
      UTP_TRY(options.user, decode(who.substr(0, colon)));
      UTP_TRY(options.password, decode(who.substr(colon + 1)));
    }
  }
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    if (slash + 1 != rest.size()) return fail(Code::kInvalidArgument, std::string("the bus URL has a path, which NATS has not; ") + kForm);
    rest = rest.substr(0, slash);
  }
  options.servers.clear();
  for (std::size_t at = 0; at <= rest.size();) {
    const std::size_t end = std::min(rest.find(',', at), rest.size());
    UTP_TRY(auto server, read_server(rest.substr(at, end - at)));
    options.servers.push_back(std::move(server));
    at = end + 1;
  }
  if (options.token.empty() && options.password.empty()) {
    if (const char* password = std::getenv("UTP_NATS_PASSWORD"); password != nullptr && !options.user.empty()) options.password = password;
    if (const char* token = std::getenv("UTP_NATS_TOKEN"); token != nullptr && options.user.empty()) options.token = token;
  }
  return options;
}

}  // namespace utp
