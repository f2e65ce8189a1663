#include "bus/contract_suite.h"
#include "drivers/bus/redis/redis_bus.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::bus_contract {
namespace {

class RedisHarness final : public Harness {
 public:
  explicit RedisHarness(std::uint32_t pack) : pack_(pack) {}
  Result<std::unique_ptr<Bus>> open() override {
    RedisBusOptions options = server_.options();
    options.pack = pack_;
    return open_redis_bus(options);
  }
  std::vector<std::string> child_command() override {
    return {UTP_BINARY_DIR "/bin/redis_bus_child", std::to_string(server_.port()), std::to_string(pack_)};
  }
  // Whole nodes of a stream are removed, of 4 KiB or one entry; and the server's figure is an estimate.
  std::uint64_t retention_slack_bytes() const override { return 64 << 10; }

 private:
  std::uint32_t pack_;
  redis_bus_test::RedisServer server_;
};

Driver driver(const std::string& name, std::uint32_t pack) {
  return {name, [pack] { return std::make_unique<RedisHarness>(pack); },
          redis_bus_test::RedisServer::program().empty() ? redis_bus_test::RedisServer::kMissing : ""};
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Redis, BusContract, ::testing::Values(driver("Redis", 1), driver("RedisPacked", 10)),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
