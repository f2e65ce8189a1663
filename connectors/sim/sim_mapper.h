// SimMapper: the sim's wire protocol (README.md) to quotes, trades, books, options, news and calendar entries.
//
// - `n` counts a connection's messages: a jump is a gap, a number seen before is a duplicate and gives nothing, one that was
//   missing and comes late is taken.
// - A book is kept by revision and checked against the message's hash. When either does not fit, its changes are held back
//   and a snapshot is asked for.
#pragma once

#include <memory>

#include "connector/mapper.h"

namespace utp::sim {

Result<std::unique_ptr<Mapper>> make_sim_mapper(MapperContext context);

}  // namespace utp::sim
