// The bus on NATS JetStream: a stream per topic partition on one server or cluster, shared by any number of processes and
// machines. See README.md beside this file for the mapping of the bus contract, the names, the settings and the limits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "core/result.h"

namespace utp {

struct NatsBusOptions {
  std::vector<std::string> servers = {"127.0.0.1:4222"};  // host:port; any of one cluster
  bool tls = false;
  std::string ca_file;   // PEM; "" = the system's roots
  std::string user;      // "" = none
  std::string password;  // never in an error or a log
  std::string token;     // instead of user and password
  std::string prefix = "utp";  // of every stream, subject and the bucket: several buses on one account; [a-zA-Z0-9_], 1 to 32

  int replicas = 1;  // of each stream, in a cluster
  // What a topic may take on the server's disk when its TopicOptions name no limit: some 600,000 quotes. The server sets it
  // aside when the topic is made.
  std::uint64_t retention_bytes = std::uint64_t{256} << 20;
  TopicOptions default_topic;           // for topics that publishing creates
  std::uint32_t partitions_max = 1024;  // per topic; each is a stream

  std::int64_t connect_timeout_ns = 5'000'000'000;
  std::int64_t answer_timeout_ns = 10'000'000'000;  // a server that is silent for longer is taken for gone
};

// nats://[user:password@|token@]host[:port][,host[:port]...], percent-encoded where needed; tls:// for TLS. A password that the
// URL does not have is taken from the environment variable UTP_NATS_PASSWORD, a token (where no user is named) from
// UTP_NATS_TOKEN. Errors do not show the URL.
[[nodiscard]] Result<NatsBusOptions> parse_nats_url(std::string_view url);

inline constexpr std::size_t kNatsBusKeyBytesMax = 4096;  // of a message's key

// kUnavailable when no server can be reached, kPermission when it refuses the user, password or token, kUnsupported when it is
// older than 2.9, has no JetStream or takes only small messages.
[[nodiscard]] Result<std::unique_ptr<Bus>> open_nats_bus(const NatsBusOptions& options);

}  // namespace utp
