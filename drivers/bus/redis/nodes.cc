#include "drivers/bus/redis/nodes.h"

#include <algorithm>

namespace utp::redis_bus {
namespace {

std::vector<RedisNode> named_by(const RedisBusOptions& options) {
  std::vector<RedisNode> named{{options.host, options.port}};
  named.insert(named.end(), options.others.begin(), options.others.end());
  return named;
}

bool has(const std::vector<RedisNode>& nodes, const RedisNode& node) {
  return std::find(nodes.begin(), nodes.end(), node) != nodes.end();
}

}  // namespace

Nodes::Nodes(const RedisBusOptions& options) : named_(named_by(options)), nodes_(named_) {}

std::vector<RedisNode> Nodes::all() const {
  std::lock_guard lock(mutex_);
  return nodes_;
}

void Nodes::serves(const RedisNode& node) {
  std::lock_guard lock(mutex_);
  std::erase(nodes_, node);
  nodes_.insert(nodes_.begin(), node);
}

void Nodes::refuses(const RedisNode& node) {
  std::lock_guard lock(mutex_);
  if (std::erase(nodes_, node) > 0) nodes_.push_back(node);
}

void Nodes::learn(const std::vector<RedisNode>& told) {
  std::lock_guard lock(mutex_);
  std::erase_if(nodes_, [&](const RedisNode& node) { return !has(named_, node) && !has(told, node); });
  for (const RedisNode& node : told) {
    if (nodes_.size() < kNodesMax && !has(nodes_, node)) nodes_.push_back(node);
  }
}

bool Nodes::agree(bool is_cluster) {
  const Mode mode = is_cluster ? Mode::kCluster : Mode::kSingle;
  Mode stood = Mode::kUnknown;
  return mode_.compare_exchange_strong(stood, mode) || stood == mode;
}

}  // namespace utp::redis_bus
