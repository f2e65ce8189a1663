// The servers at which a bus may be found: those that its options name, and those that a cluster has told of. Shared by the
// connections of one bus, from any thread: what one of them has learned spares the others the way.
#pragma once

#include <atomic>
#include <cstddef>
#include <mutex>
#include <vector>

#include "drivers/bus/redis/redis_bus.h"

namespace utp::redis_bus {

inline constexpr std::size_t kNodesMax = 64;  // that are remembered: one of them will answer

class Nodes {
 public:
  explicit Nodes(const RedisBusOptions& options);

  // In the order in which to ask.
  std::vector<RedisNode> all() const;
  bool is_one_named() const { return named_.size() == 1; }
  void serves(const RedisNode& node);   // to be asked first
  void refuses(const RedisNode& node);  // to be asked last
  // All that the cluster has now. They take the place of those that it had; the named ones stay.
  void learn(const std::vector<RedisNode>& told);

  // Whether the servers are a cluster, where the keys have other names. The first to say so decides for good: false where
  // it was decided otherwise.
  bool agree(bool is_cluster);
  bool is_cluster() const { return mode_.load() == Mode::kCluster; }

 private:
  enum class Mode { kUnknown, kSingle, kCluster };

  const std::vector<RedisNode> named_;
  mutable std::mutex mutex_;
  std::vector<RedisNode> nodes_;
  std::atomic<Mode> mode_{Mode::kUnknown};
};

}  // namespace utp::redis_bus
