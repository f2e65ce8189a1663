#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "bus/server_url.h"
#include "drivers/bus/kafka/kafka_bus.h"

namespace utp {
namespace {

constexpr const char* kForm = "write kafka://[user:password@]host[:port][,host2[:port]...][?name=value&...]";

tl::unexpected<Error> refuse(const std::string& what) {
  return fail(Code::kInvalidArgument, "the bus URL " + what + "; " + kForm);
}

bool read_whole(std::string_view text, int& value) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), value);
  return read.ec == std::errc() && read.ptr == text.data() + text.size();
}

std::string_view cut(std::string_view& rest, char end) {
  const std::size_t at = std::min(rest.find(end), rest.size());
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(std::min(at + 1, rest.size()));
  return part;
}

Status take_option(KafkaBusOptions& options, const std::string& name, std::string value) {
  if (name == "security") {
    constexpr std::string_view kKnown[] = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};
    if (std::find(std::begin(kKnown), std::end(kKnown), value) == std::end(kKnown)) {
      return refuse("has an unknown security; it is one of plaintext, ssl, sasl_plaintext, sasl_ssl");
    }
    options.security = std::move(value);
  } else if (name == "mechanism") {
    options.mechanism = std::move(value);
  } else if (name == "prefix") {
    options.prefix = std::move(value);
  } else if (name == "replication") {
    if (!read_whole(value, options.replication) || options.replication < 1 || options.replication > 100) {
      return refuse("has a replication that is no number from 1 to 100");
    }
  } else if (name.find('.') != std::string::npos) {
    options.properties[name] = std::move(value);
  } else {
    return refuse(
        "has the option \"" + name +
        "\"; known are security, mechanism, prefix, replication and librdkafka's properties, which have a dot");
  }
  return {};
}

}  // namespace

Result<KafkaBusOptions> parse_kafka_url(std::string_view url) {
  constexpr std::string_view kScheme = "kafka://";
  if (!url.starts_with(kScheme)) return refuse("is not one of Kafka");
  std::string_view rest = url.substr(kScheme.size());
  KafkaBusOptions options;
  // The last @ of the servers' part: a password may hold one unencoded, and an option too.
  std::string_view settings = rest;
  const std::size_t at = rest.substr(0, rest.find('?')).rfind('@');
  if (at != std::string_view::npos) {
    std::string_view who = rest.substr(0, at);
    rest.remove_prefix(at + 1);
    settings = rest;
    UTP_TRY(options.user, decode_percent(cut(who, ':')));
    UTP_TRY(options.password, decode_percent(who));
  }
  std::string_view servers = cut(settings, '?');
  if (servers.ends_with('/')) servers.remove_suffix(1);
  options.servers.clear();
  do {
    UTP_TRY(const HostPort server, read_host_port(cut(servers, ','), 9092, kForm));
    options.servers += (options.servers.empty() ? "" : ",") + server.host + ":" + std::to_string(server.port);
  } while (!servers.empty());
  while (!settings.empty()) {
    std::string_view value = cut(settings, '&');
    UTP_TRY(const std::string name, decode_percent(cut(value, '=')));
    UTP_TRY(std::string decoded, decode_percent(value));
    UTP_CHECK(take_option(options, name, std::move(decoded)));
  }
  if (options.password.empty() && !options.user.empty()) {
    if (const char* password = std::getenv("UTP_KAFKA_PASSWORD")) options.password = password;
  }
  return options;
}

}  // namespace utp
