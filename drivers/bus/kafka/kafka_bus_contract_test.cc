#include "bus/contract_suite.h"
#include "drivers/bus/kafka/kafka_bus.h"
#include "drivers/bus/kafka/kafka_server.h"

namespace utp::bus_contract {
namespace {

class KafkaHarness final : public Harness {
 public:
  Result<std::unique_ptr<Bus>> open() override { return open_kafka_bus(server_.options(prefix_)); }
  std::vector<std::string> child_command() override {
    return {UTP_BINARY_DIR "/bin/kafka_bus_child", std::to_string(server_.port()), prefix_};
  }
  std::uint64_t retention_slack_bytes() const override { return 0; }
  std::int64_t lease_min_ns() const override { return 3'000'000'000; }

 private:
  kafka_bus_test::KafkaServer& server_ = kafka_bus_test::KafkaServer::shared();
  std::string prefix_ = kafka_bus_test::KafkaServer::new_prefix();
};

std::unique_ptr<Harness> make_harness() { return std::make_unique<KafkaHarness>(); }

}  // namespace

INSTANTIATE_TEST_SUITE_P(Kafka, BusContract,
                         ::testing::Values(Driver{"Kafka", make_harness, kafka_bus_test::KafkaServer::missing()}),
                         [](const auto& parameter) { return parameter.param.name; });

}  // namespace utp::bus_contract
