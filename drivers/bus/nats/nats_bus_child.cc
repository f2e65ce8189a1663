// nats_bus_child PORT TOPIC PREFIX MESSAGES BATCH DURABILITY: the other process of the NATS bus's tests.
#include <cstdio>

#include "bus/contract_child.h"
#include "core/log.h"
#include "drivers/bus/nats/nats_bus.h"

int main(int argc, char** argv) {
  if (argc < 2) return 64;
  utp::log::set_level(utp::log::Level::kError);
  utp::NatsBusOptions options;
  options.servers = {"127.0.0.1:" + std::string(argv[1])};
  auto bus = utp::open_nats_bus(options);
  if (!bus) {
    std::fprintf(stderr, "%s\n", bus.error().message.c_str());
    return 1;
  }
  return utp::bus_contract::run_contract_child(**bus, {argv + 2, argv + argc});
}
