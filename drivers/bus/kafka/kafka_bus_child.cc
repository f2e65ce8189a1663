// kafka_bus_child PORT BUS_PREFIX TOPIC PREFIX MESSAGES BATCH DURABILITY: the other process of the Kafka bus's tests.
#include <cstdio>
#include <string>

#include "bus/contract_child.h"
#include "drivers/bus/kafka/kafka_bus.h"

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  utp::KafkaBusOptions options;
  options.servers = std::string("127.0.0.1:") + argv[1];
  options.prefix = argv[2];
  auto bus = utp::open_kafka_bus(options);
  if (!bus) {
    std::fprintf(stderr, "%s\n", bus.error().message.c_str());
    return 1;
  }
  return utp::bus_contract::run_contract_child(**bus, {argv + 3, argv + argc});
}
