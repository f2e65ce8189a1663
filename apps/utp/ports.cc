#include "apps/utp/ports.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "connectors/coinbase/coinbase.h"
#include "connectors/kraken/kraken.h"
#include "connectors/replay/replay.h"
#include "connectors/sim/sim.h"
#include "drivers/bus/embedded/embedded_bus.h"
#ifdef UTP_BUS_KAFKA
#include "drivers/bus/kafka/kafka_bus.h"
#endif
#ifdef UTP_BUS_NATS
#include "drivers/bus/nats/nats_bus.h"
#endif
#ifdef UTP_BUS_REDIS
#include "drivers/bus/redis/redis_bus.h"
#endif
#ifdef UTP_STORE_POSTGRES
#include "drivers/store/postgres/postgres_store.h"
#endif
#include "drivers/store/sqlite/sqlite_store.h"

namespace utp::app {
namespace {

struct Scheme {
  std::string_view name;   // before the colon
  bool local = false;      // the rest is a path
  std::string_view form;   // for errors
};

constexpr Scheme kBuses[] = {{"embedded", true, "embedded:PATH"},
                             {"redis", false, "redis://HOST:PORT"},
                             {"nats", false, "nats://HOST:PORT"},
                             {"kafka", false, "kafka://HOST:PORT"}};
constexpr Scheme kStores[] = {{"sqlite", true, "sqlite:PATH"}, {"postgres", false, "postgres://USER@HOST:PORT/DATABASE"}};

Result<std::string> resolve(std::string_view url, const std::string& base, std::span<const Scheme> schemes, std::string_view what) {
  const std::size_t colon = url.find(':');
  std::string forms;
  for (const Scheme& scheme : schemes) forms += (forms.empty() ? "" : ", ") + std::string(scheme.form);
  for (const Scheme& scheme : schemes) {
    if (colon == std::string_view::npos || url.substr(0, colon) != scheme.name) continue;
    const std::filesystem::path path(url.substr(colon + 1));
    if (path.empty()) return fail(Code::kInvalidArgument, fmt::format("the {} URL names no path; write {}", what, scheme.form));
    if (!scheme.local || path.is_absolute() || base.empty()) return std::string(url);
    return fmt::format("{}:{}", scheme.name, (std::filesystem::path(base) / path).lexically_normal().string());
  }
  // Only the scheme is shown: the rest may hold a password.
  if (colon == std::string_view::npos) return fail(Code::kInvalidArgument, fmt::format("\"{}\" is no URL of a {}; write {}", url, what, forms));
  return fail(Code::kUnsupported, fmt::format("this program has no {} driver \"{}\"; it has {}", what, url.substr(0, colon), forms));
}

Status make_parents(const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (parent.empty()) return {};
  std::filesystem::create_directories(parent, error);
  if (error) {
    return fail(error == std::errc::no_space_on_device ? Code::kFull : Code::kPermission,
                fmt::format("{}: the directory cannot be made: {}; make it yourself, or name one that you may write", parent.string(), error.message()));
  }
  return {};
}

Status must_exist(const std::string& path, std::string_view what) {
  std::error_code error;
  if (std::filesystem::exists(path, error)) return {};
  if (error && error != std::errc::no_such_file_or_directory) {
    return fail(Code::kPermission, fmt::format("{}: cannot be looked at: {}; check its permissions", path, error.message()));
  }
  return fail(Code::kNotFound, fmt::format("{}: there is no {} here; name another with --{}, or start a chamber that makes it (utp up, utp demo)", path, what, what));
}

using OpenBus = Result<std::unique_ptr<Bus>> (*)(std::string_view url, bool check_only);  // check_only: null where the URL is good

template <class Options, Result<Options> (*parse)(std::string_view), Result<std::unique_ptr<Bus>> (*open)(const Options&)>
Result<std::unique_ptr<Bus>> open_by(std::string_view url, bool check_only) {
  UTP_TRY(const Options options, parse(url));
  if (check_only) return std::unique_ptr<Bus>();
  return open(options);
}

// Buses on servers.
struct ServerBus {
  std::string_view scheme, tls_scheme, name, package;
  OpenBus open = nullptr;  // null: left out of this program
};
constexpr ServerBus kServerBuses[] = {
    {"redis", "rediss", "Redis", "libhiredis-dev",
#ifdef UTP_BUS_REDIS
     open_by<RedisBusOptions, parse_redis_url, open_redis_bus>
#endif
    },
    {"nats", "tls", "NATS", "libnats-dev",
#ifdef UTP_BUS_NATS
     open_by<NatsBusOptions, parse_nats_url, open_nats_bus>
#endif
    },
    {"kafka", "kafka", "Kafka", "librdkafka-dev",
#ifdef UTP_BUS_KAFKA
     open_by<KafkaBusOptions, parse_kafka_url, open_kafka_bus>
#endif
    },
};

const ServerBus* find_server_bus(std::string_view url) {
  const std::string_view scheme = url.substr(0, url.find(':'));
  for (const ServerBus& bus : kServerBuses) {
    if (scheme == bus.scheme || scheme == bus.tls_scheme) return &bus;
  }
  return nullptr;
}

// The store on a server; null where `check_only` and the URL is good.
bool is_postgres(std::string_view url) { return url.starts_with("postgres:") || url.starts_with("postgresql:"); }

Result<std::unique_ptr<Store>> open_postgres([[maybe_unused]] std::string_view url, [[maybe_unused]] bool read_only, [[maybe_unused]] const std::string& realm,
                                             [[maybe_unused]] bool may_be_away, [[maybe_unused]] bool check_only) {
#ifdef UTP_STORE_POSTGRES
  UTP_TRY(PostgresStoreOptions options, parse_postgres_url(url));
  if (check_only) return std::unique_ptr<Store>();
  options.read_only = read_only;
  options.realm = realm;
  options.may_be_away = may_be_away;
  return open_postgres_store(options);
#else
  return fail(Code::kUnsupported, "this program was built without the PostgreSQL store: install libpq-dev, configure and build again");
#endif
}

}  // namespace

std::string shown_url(std::string_view url) {
  const std::size_t scheme = url.find("://");
  if (scheme == std::string_view::npos) return std::string(url);
  const std::size_t who = scheme + 3;
  // Options may hold secrets of the client library, such as the password of a key: only their names are shown.
  std::string options;
  if (std::size_t at = url.find('?', who); at != std::string_view::npos && url.find('@', at) == std::string_view::npos) {
    std::string_view rest = url.substr(at);
    url = url.substr(0, at);
    while (!rest.empty()) {
      const std::size_t end = std::min(rest.find('&', 1), rest.size());
      const std::size_t equals = std::min(rest.find('='), end);
      const std::string_view name = rest.substr(0, equals);
      const bool secret = name.find('.') != std::string_view::npos || name.find("password") != std::string_view::npos;
      options += secret ? std::string(name) + "=***" : std::string(rest.substr(0, end));
      rest.remove_prefix(end);
    }
  }
  const std::size_t at = url.rfind('@');
  const std::size_t colon = url.find(':', who);
  if (at == std::string_view::npos) return std::string(url) + options;
  if (colon > url.find('@', who)) {  // one word: with NATS it may be a token
    const std::string_view name = url.substr(0, scheme);
    return (name == "nats" || name == "tls" ? std::string(url.substr(0, who)) + "***" + std::string(url.substr(at)) : std::string(url)) + options;
  }
  return std::string(url.substr(0, colon + 1)) + "***" + std::string(url.substr(at)) + options;
}

std::string local_path(std::string_view url) {
  const std::size_t colon = url.find(':');
  for (const Scheme& scheme : kBuses) {
    if (url.substr(0, colon) == scheme.name && scheme.local) return std::string(url.substr(colon + 1));
  }
  for (const Scheme& scheme : kStores) {
    if (url.substr(0, colon) == scheme.name && scheme.local) return std::string(url.substr(colon + 1));
  }
  return {};
}

Result<std::string> resolve_bus_url(std::string_view url, const std::string& base) {
  if (const ServerBus* server = find_server_bus(url)) {
    if (!server->open) {
      return fail(Code::kUnsupported, fmt::format("this program was built without the {} bus: install {}, configure and build again", server->name, server->package));
    }
    UTP_CHECK(server->open(url, true));
    return std::string(url);
  }
  return resolve(url, base, kBuses, "bus");
}
Result<std::string> resolve_store_url(std::string_view url, const std::string& base) {
  if (!is_postgres(url)) return resolve(url, base, kStores, "store");
  UTP_TRY(const auto none, open_postgres(url, true, "", false, true));
  return std::string(url);
}

Result<std::unique_ptr<Bus>> open_bus(const std::string& url, const Clock& clock, bool create, bool keep_unread) {
  UTP_TRY(const std::string checked, resolve_bus_url(url, ""));
  if (const ServerBus* server = find_server_bus(checked)) return server->open(checked, false);
  EmbeddedBusOptions options;
  options.directory = local_path(checked);
  options.clock = &clock;
  options.keep_unread = keep_unread;
  UTP_CHECK(create ? make_parents(options.directory) : must_exist(options.directory, "bus"));
  return open_embedded_bus(options);
}

Result<std::unique_ptr<SpooledBus>> open_spooled_bus(std::shared_ptr<Bus> remote, const std::string& directory, std::uint64_t topic_bytes_max,
                                                     SpoolOptions spool_options, const Clock& clock) {
  UTP_CHECK(make_parents(directory));
  EmbeddedBusOptions options;
  options.directory = directory;
  options.retention_bytes = topic_bytes_max;
  options.default_topic.retention_ns = kSpoolKeptNs;
  options.keep_unread = true;
  options.clock = &clock;
  UTP_TRY(auto spool, open_embedded_bus(options));
  return SpooledBus::create(std::move(remote), std::move(spool), std::move(spool_options));
}

Result<std::unique_ptr<Store>> open_store(const std::string& url, bool create, const std::string& realm, bool may_be_away) {
  UTP_TRY(const std::string checked, resolve_store_url(url, ""));
  if (is_postgres(checked)) return open_postgres(checked, !create, realm, may_be_away, false);
  const std::string path = local_path(checked);
  UTP_CHECK(create ? make_parents(path) : must_exist(path, "store"));
  SqliteStoreOptions options;
  options.path = path;
  options.realm = realm;
  options.read_only = !create;
  return open_sqlite_store(options);
}

Result<StoreStatus> look_at_store([[maybe_unused]] const std::string& url) {
#ifdef UTP_STORE_POSTGRES
  UTP_TRY(const PostgresStoreOptions options, parse_postgres_url(url));
  return look_at_postgres(options);
#else
  return fail(Code::kUnsupported, "this program was built without a store on a server");
#endif
}

namespace {

Result<PostgresStoreOptions> federated_store([[maybe_unused]] const std::string& url) {
  if (!is_postgres(url)) return fail(Code::kUnsupported, fmt::format("{}: only a PostgreSQL server reads other regions' stores; name one: {}", shown_url(url), kStores[1].form));
#ifdef UTP_STORE_POSTGRES
  return parse_postgres_url(url);
#else
  UTP_TRY(const auto none, open_postgres(url, true, "", false, true));
  return PostgresStoreOptions{};
#endif
}

}  // namespace

Result<Federation> federate_store(const std::string& url, [[maybe_unused]] FederationOptions options) {
  UTP_TRY(options.store, federated_store(url));
#ifdef UTP_STORE_POSTGRES
  return federate(options);
#else
  return Federation{};
#endif
}

Status drop_federation_of(const std::string& url, [[maybe_unused]] const std::string& schema) {
  UTP_TRY(const PostgresStoreOptions store, federated_store(url));
#ifdef UTP_STORE_POSTGRES
  return drop_federation(store, schema);
#else
  return {};
#endif
}

const BuiltinConnector* find_builtin_connector(std::string_view id) {
  for (const BuiltinConnector& connector : builtin_connectors()) {
    if (connector.id == id) return &connector;
  }
  return nullptr;
}

std::span<const BuiltinConnector> builtin_connectors() {
  static const std::vector<BuiltinConnector> connectors{
      coinbase_connector(),
      kraken_connector(),
      replay_connector([](std::string_view id) { return find_builtin_connector(id); }),
      sim_connector(),
  };
  return connectors;
}

}  // namespace utp::app
