// The bus on Apache Kafka: a Kafka topic per topic, a partition per partition, Kafka's own consumer groups. See
// README.md beside this file for the mapping of the bus contract, the settings, what the operator provides, and the
// limits.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "bus/bus.h"
#include "core/result.h"

namespace utp {

struct KafkaBusOptions {
  std::string servers = "127.0.0.1:9092";  // host:port[,host:port...]
  std::string user;                        // "" = no SASL
  std::string password;                    // never in an error or a log
  std::string security;  // plaintext, ssl, sasl_plaintext, sasl_ssl; "" = sasl_ssl with a user, plaintext without
  std::string mechanism = "PLAIN";  // of SASL: PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, ...
  // Properties handed to librdkafka as they are, such as ssl.ca.location; what the driver sets itself comes after them.
  std::map<std::string, std::string> properties;
  std::string prefix;  // of the names of topics and groups: several buses can share a cluster

  int replication = -1;  // of topics that are made; -1 = the cluster's default
  // What a topic may take on each broker's disk when its TopicOptions name no limit.
  std::uint64_t retention_bytes = std::uint64_t{4} << 30;
  TopicOptions default_topic;  // for topics that publishing creates
  std::int64_t trim_every_ns =
      10'000'000'000;                   // how often each process that has the bus open runs retention; 0 = never
  std::uint32_t partitions_max = 1024;  // per topic

  std::int64_t connect_timeout_ns = 5'000'000'000;
  std::int64_t answer_timeout_ns = 10'000'000'000;  // a cluster that is silent for longer is taken for gone
};

// kafka://[user:password@]host[:port][,host2[:port]...][?name=value&...], percent-encoded where needed; names:
// security, mechanism, prefix, replication, and librdkafka's properties (those with a dot). A password that the URL
// does not have is taken from the environment variable UTP_KAFKA_PASSWORD. Errors do not show the URL.
[[nodiscard]] Result<KafkaBusOptions> parse_kafka_url(std::string_view url);

inline constexpr std::size_t kKafkaBusKeyBytesMax = 4096;  // of a message's key

// kUnavailable when no broker can be reached, kPermission when they refuse the user or the password, kInvalidArgument
// for settings that librdkafka does not take.
[[nodiscard]] Result<std::unique_ptr<Bus>> open_kafka_bus(const KafkaBusOptions& options);

}  // namespace utp
