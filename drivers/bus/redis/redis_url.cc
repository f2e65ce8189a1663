#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "bus/server_url.h"
#include "drivers/bus/redis/redis_bus.h"

namespace utp {
namespace {

constexpr const char* kForm = "write redis://[user:password@]host[:port][,host[:port]...][/database], or rediss:// for TLS";

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
    UTP_TRY(options.user, decode_percent(who.substr(0, colon)));
    if (colon != std::string_view::npos) {
      UTP_TRY(options.password, decode_percent(who.substr(colon + 1)));
    }
  }
  if (const std::size_t slash = rest.find('/'); slash != std::string_view::npos) {
    const std::string_view database = rest.substr(slash + 1);
    rest = rest.substr(0, slash);
    if (!database.empty() && (!read_whole(database, options.database) || options.database < 0)) {
      return fail(Code::kInvalidArgument, std::string("the bus URL's database is no number from 0 on; ") + kForm);
    }
  }
  std::vector<RedisNode> nodes;
  for (std::size_t at = 0; at <= rest.size();) {
    const std::size_t end = std::min(rest.find(',', at), rest.size());
    const std::string_view written = rest.substr(at, end - at);
    UTP_TRY(const HostPort server, read_host_port(written, options.port, kForm));
    nodes.push_back({written.starts_with('[') ? server.host.substr(1, server.host.size() - 2) : server.host, server.port});
    at = end + 1;
  }
  options.host = std::move(nodes[0].host);
  options.port = nodes[0].port;
  options.others.assign(nodes.begin() + 1, nodes.end());
  if (options.password.empty()) {
    if (const char* password = std::getenv("UTP_REDIS_PASSWORD")) options.password = password;
  }
  if (const char* file = std::getenv("UTP_REDIS_CA")) options.ca_file = file;
  return options;
}

}  // namespace utp
