// Sim: a seeded market, for demos, tests and benchmarks. It speaks a wire protocol of its own (README.md), so that everything
// from frames to events is exercised as with a venue, with faults on demand.
#pragma once

#include "connector/collector.h"

namespace utp {

BuiltinConnector sim_connector();

}  // namespace utp
