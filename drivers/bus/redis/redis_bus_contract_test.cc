#include "bus/contract_suite.h"
#include "drivers/bus/redis/redis_bus.h"
#include "drivers/bus/redis/redis_cluster.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::bus_contract {
namespace {

class RedisHarness final : public Harness {
 public:
  explicit RedisHarness(std::uint32_t pack)
      : server_(std::make_unique<redis_bus_test::RedisServer>()), options_(server_->options()) {
    options_.pack = pack;
  }
  // A bus of its own, on the node that its name leads to, in a cluster that all tests share: making one takes seconds.
  explicit RedisHarness(redis_bus_test::RedisCluster& cluster) {
    static int count = 0;
    options_ = cluster.node(count % cluster.size()).options();
    options_.prefix = "bus" + std::to_string(count++);
  }
  Result<std::unique_ptr<Bus>> open() override { return open_redis_bus(options_); }
  std::vector<std::string> child_command() override {
    return {UTP_BINARY_DIR "/bin/redis_bus_child", std::to_string(options_.port), std::to_string(options_.pack), options_.prefix};
  }
  // Whole nodes of a stream are removed, of 4 KiB or one entry; and the server's figure is an estimate.
  std::uint64_t retention_slack_bytes() const override { return 64 << 10; }

 private:
  std::unique_ptr<redis_bus_test::RedisServer> server_;
  RedisBusOptions options_;
};

Driver driver(const std::string& name, std::uint32_t pack) {
  return {name, [pack] { return std::make_unique<RedisHarness>(pack); }, redis_bus_test::RedisServer::missing()};
}

std::unique_ptr<Harness> in_cluster() {
  static redis_bus_test::RedisCluster cluster;
  return std::make_unique<RedisHarness>(cluster);
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Redis, BusContract, ::testing::Values(driver("Redis", 1), driver("RedisPacked", 10)),
                         [](const auto& parameter) { return parameter.param.name; });
INSTANTIATE_TEST_SUITE_P(RedisCluster, BusContract, ::testing::Values(Driver{"RedisCluster", in_cluster, redis_bus_test::RedisServer::missing()}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
