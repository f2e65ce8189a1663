#include <algorithm>
#include <cstdlib>

#include "bus/server_url.h"
#include "drivers/bus/nats/nats_bus.h"

namespace utp {
namespace {

constexpr const char* kForm = "write nats://[user:password@]host[:port][,host[:port]...]";

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
      UTP_TRY(one, decode_percent(who));
    } else {
      UTP_TRY(options.user, decode_percent(who.substr(0, colon)));
      UTP_TRY(options.password, decode_percent(who.substr(colon + 1)));
    }
  }
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    if (slash + 1 != rest.size()) return fail(Code::kInvalidArgument, std::string("the bus URL has a path, which NATS has not; ") + kForm);
    rest = rest.substr(0, slash);
  }
  options.servers.clear();
  for (std::size_t at = 0; at <= rest.size();) {
    const std::size_t end = std::min(rest.find(',', at), rest.size());
    UTP_TRY(const HostPort server, read_host_port(rest.substr(at, end - at), 4222, kForm));
    options.servers.push_back(server.host + ":" + std::to_string(server.port));
    at = end + 1;
  }
  if (options.token.empty() && options.password.empty()) {
    if (const char* password = std::getenv("UTP_NATS_PASSWORD"); password != nullptr && !options.user.empty()) options.password = password;
    if (const char* token = std::getenv("UTP_NATS_TOKEN"); token != nullptr && options.user.empty()) options.token = token;
  }
  return options;
}

}  // namespace utp
