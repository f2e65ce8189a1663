// SymbolTable: what the normalizer remembers of each symbol on a route, found by its text without allocation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/timestamp.h"

namespace utp {

class SymbolTable {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;
  static constexpr std::size_t kSymbolBytesMax = 64;

  // The last event that moved a symbol's time on; its entry among the ordinals is made when the next one does.
  struct Latest {
    std::uint64_t epoch = UINT64_MAX;  // of the ordinals; another one: nothing to remember
    Timestamp event_time;
    std::uint64_t checksum = 0;
    std::uint64_t count = 0;
  };
  struct State {
    Timestamp highest;  // event time
    Latest latest;
    std::uint8_t size = 0;
    char text[kSymbolBytesMax];
    std::string_view symbol() const { return {text, size}; }
  };

  SymbolTable();
  // Index of the symbol's state, kNone when it was never added. Indices stay.
  std::uint32_t find(std::string_view symbol) const;
  std::uint32_t add(std::string_view symbol, Timestamp highest);  // not there yet; at most kSymbolBytesMax bytes
  State& state(std::uint32_t index) { return states_[index]; }
  const State& state(std::uint32_t index) const { return states_[index]; }
  std::size_t size() const { return states_.size(); }

 private:
  struct Slot {
    std::uint32_t hash = 0;
    std::uint32_t index = kNone;
  };
  void insert(std::uint32_t hash, std::uint32_t index);

  std::vector<Slot> slots_;  // open addressing, a power of two
  std::vector<State> states_;
};

}  // namespace utp
