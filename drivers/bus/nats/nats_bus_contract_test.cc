#include "bus/contract_suite.h"
#include "core/log.h"
#include "drivers/bus/nats/nats_bus.h"
#include "drivers/bus/nats/nats_server.h"

namespace utp::bus_contract {
namespace {

using nats_bus_test::NatsServer;

class NatsHarness final : public Harness {
 public:
  explicit NatsHarness(const std::string& program) : server_({}, program) { log::set_level(log::Level::kError); }
  Result<std::unique_ptr<Bus>> open() override { return open_nats_bus(server_.options()); }
  std::vector<std::string> child_command() override { return {UTP_BINARY_DIR "/bin/nats_bus_child", std::to_string(server_.port())}; }
  std::uint64_t retention_slack_bytes() const override { return 0; }  // the server keeps to it with each message

 private:
  NatsServer server_;
};

Driver driver(const std::string& name, const std::string& program, const std::string& missing) {
  return {name, [program] { return std::make_unique<NatsHarness>(program); }, missing};
}

}  // namespace

INSTANTIATE_TEST_SUITE_P(Nats, BusContract,
                         ::testing::Values(driver("Nats", NatsServer::program(), NatsServer::missing()),
                                           driver("NatsCurrent", NatsServer::current_program(), NatsServer::current_missing())),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
