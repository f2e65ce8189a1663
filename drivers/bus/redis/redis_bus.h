// The bus on Redis Streams: a stream per topic partition on one server, or one node of a cluster, shared by any number of
// processes and machines.
// See README.md beside this file for the mapping of the bus contract, the keys, the settings and the limits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "core/result.h"

namespace utp {

struct RedisNode {
  std::string host;
  int port = 0;
  bool operator==(const RedisNode&) const = default;
};

struct RedisBusOptions {
  std::string host = "127.0.0.1";
  int port = 6379;
  // More nodes of a cluster, any of which knows the others; or a server's replicas: the first that answers as a master is
  // used.
  std::vector<RedisNode> others;
  std::string user;      // "" = the server's default user
  std::string password;  // never in an error or a log
  int database = 0;
  bool tls = false;     // at least 1.2, the server's certificate and name verified
  std::string ca_file;  // a trust root besides the system's, a PEM file; "" = none
  std::string prefix = "utp";  // of every key: several buses can share a server; in a cluster it decides the node

  // What a topic may take of the server's memory when its TopicOptions name no limit: some 600,000 quotes.
  std::uint64_t retention_bytes = std::uint64_t{256} << 20;
  TopicOptions default_topic;  // for topics that publishing creates
  std::uint32_t pack = 1;      // for topics whose TopicOptions leave it at 1
  std::int64_t trim_every_ns =
      10'000'000'000;                   // how often each process that has the bus open runs retention; 0 = never
  std::uint32_t partitions_max = 1024;  // per topic; each is a stream

  std::int64_t connect_timeout_ns = 5'000'000'000;
  std::int64_t answer_timeout_ns = 10'000'000'000;  // a server that is silent for longer is taken for gone
};

// redis://[user:password@]host[:port][,host[:port]...][/database], percent-encoded where needed; rediss:// for TLS. A
// password that the URL does not have is taken from the environment variable UTP_REDIS_PASSWORD, the trust root's file from
// UTP_REDIS_CA. Errors do not show the URL.
[[nodiscard]] Result<RedisBusOptions> parse_redis_url(std::string_view url);

inline constexpr std::size_t kRedisBusKeyBytesMax = 4096;  // of a message's key
inline constexpr std::uint32_t kRedisBusPackMax = 1000;    // messages in an entry: it is read and trimmed as a whole

// kUnavailable when no server can be reached, kPermission when it refuses the user or the password, kUnsupported when it is
// older than 7.0.
[[nodiscard]] Result<std::unique_ptr<Bus>> open_redis_bus(const RedisBusOptions& options);

}  // namespace utp
