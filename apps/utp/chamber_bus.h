// The bus as a chamber uses it: the configuration's topic options put over the schemas', and, for the kill tests, a record
// of what was acknowledged.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/utp/chamber.h"
#include "bus/bus.h"

namespace utp::app {

struct ChamberBusOptions {
  std::vector<TopicConfig> topics;
  // "" = none. Else the idempotency key of every message is appended to this file after its publish was acknowledged, 33
  // bytes each (32 hexadecimal digits, a line feed), in one write a batch. Dead letters are not noted.
  std::string record_acknowledged;
};

Result<std::unique_ptr<Bus>> make_chamber_bus(std::unique_ptr<Bus> bus, ChamberBusOptions options);

}  // namespace utp::app
