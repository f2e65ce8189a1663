// What the parts of one bus share: where the server is, the keys, and what is known about topics.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "drivers/bus/redis/connection.h"
#include "drivers/bus/redis/keys.h"
#include "drivers/bus/redis/nodes.h"

namespace utp::redis_bus {

struct TopicRecord {
  std::string topic;
  TopicOptions options;
  std::string created;  // tells a topic from a later one of its name: somebody flushed the server
  std::string epoch;    // of the bus when the record was made or changed: another one after somebody flushed the server
};

class Server {
 public:
  explicit Server(const RedisBusOptions& options) : options_(options), nodes_(options), keys_(options.prefix) {}
  // Once a connection has found out what runs there, and before anybody uses the keys.
  Status choose_keys();

  const RedisBusOptions& options() const { return options_; }
  std::uint64_t retention_bytes(const TopicRecord& record) const {
    return record.options.retention_bytes != 0 ? record.options.retention_bytes : options_.retention_bytes;
  }
  Nodes& nodes() { return nodes_; }
  const Keys& keys() const { return keys_; }

  // All on the caller's connection.
  Result<std::vector<TopicRecord>> topics(Connection& connection) const;
  // The topic as it stands, made when it is not there. `change`: retention becomes that of `options`.
  Result<TopicRecord> create_topic(Connection& connection, std::string_view topic, const TopicOptions& options,
                                   bool change) const;
  Status trim_topic(Connection& connection, const TopicRecord& record) const;
  // Wakes every subscription that waits: `what` is "topic" or "group".
  Status announce(Connection& connection, std::string_view what, std::string_view name) const;

 private:
  RedisBusOptions options_;
  Nodes nodes_;
  Keys keys_;
};

}  // namespace utp::redis_bus
