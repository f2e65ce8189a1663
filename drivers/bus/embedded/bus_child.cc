// bus_child DIRECTORY SEGMENT_BYTES TOPIC PREFIX MESSAGES BATCH DURABILITY: the other process of the embedded bus's tests.
#include <cstdio>
#include <cstdlib>

#include "bus/contract_child.h"
#include "drivers/bus/embedded/embedded_bus.h"

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  utp::EmbeddedBusOptions options;
  options.directory = argv[1];
  options.segment_bytes = std::strtoull(argv[2], nullptr, 10);
  auto bus = utp::open_embedded_bus(options);
  if (!bus) {
    std::fprintf(stderr, "%s\n", bus.error().message.c_str());
    return 1;
  }
  return utp::bus_contract::run_contract_child(**bus, {argv + 3, argv + argc});
}
