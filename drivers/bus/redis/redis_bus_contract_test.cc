#include "bus/contract_suite.h"
#include "drivers/bus/redis/redis_bus.h"
#include "drivers/bus/redis/redis_server.h"

namespace utp::bus_contract {
namespace {

class RedisHarness final : public Harness {
 public:
  Result<std::unique_ptr<Bus>> open() override { return open_redis_bus(server_.options()); }
  std::vector<std::string> child_command() override {
    return {UTP_BINARY_DIR "/bin/redis_bus_child", std::to_string(server_.port())};
  }
  // Whole nodes of a stream are removed, of 4 KiB or one message; and the server's figure is an estimate.
  std::uint64_t retention_slack_bytes() const override { return 64 << 10; }

 private:
  redis_bus_test::RedisServer server_;
};

std::unique_ptr<Harness> make_harness() { return std::make_unique<RedisHarness>(); }

std::string missing() {
  return redis_bus_test::RedisServer::program().empty() ? redis_bus_test::RedisServer::kMissing : "";
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Redis, BusContract, ::testing::Values(Driver{"Redis", make_harness, missing()}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
