// redis_bus_child PORT PACK BUS TOPIC PREFIX MESSAGES BATCH DURABILITY: the other process of the Redis bus's tests.
#include <cstdio>
#include <cstdlib>

#include "bus/contract_child.h"
#include "drivers/bus/redis/redis_bus.h"

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  utp::RedisBusOptions options;
  options.port = std::atoi(argv[1]);
  options.pack = static_cast<std::uint32_t>(std::atoi(argv[2]));
  options.prefix = argv[3];
  auto bus = utp::open_redis_bus(options);
  if (!bus) {
    std::fprintf(stderr, "%s\n", bus.error().message.c_str());
    return 1;
  }
  return utp::bus_contract::run_contract_child(**bus, {argv + 4, argv + argc});
}
