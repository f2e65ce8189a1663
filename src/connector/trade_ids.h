// TradeIds: the newest trade of a symbol where the venue numbers its trades one by one, so that a missing one is noticed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "connector/mapper.h"

namespace utp {

struct TradeIds {
  std::optional<std::uint64_t> newest;

  // A jump is a gap, but not within a snapshot: it holds the last few trades only, and what happened before it is the gap of
  // the connection that was lost.
  void note(std::uint64_t id, std::string_view symbol, bool snapshot, MapperOutput& output) {
    if (!snapshot && newest && id > *newest + 1) {
      output.gap("trades/v2", symbol, "trade_id jumped from " + std::to_string(*newest) + " to " + std::to_string(id), id - *newest - 1);
    }
    if (!newest || id > *newest) newest = id;
  }
};

}  // namespace utp
