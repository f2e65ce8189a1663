// SymbolTable: what the normalizer remembers of each symbol on a route, found by its text without allocation.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "core/hash.h"
#include "core/packed_text.h"
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
  std::uint32_t find(std::string_view symbol) const {
    const Slot wanted = slot_of(symbol, kNone);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = hash_of(wanted) & mask; slots_[i].index != kNone; i = (i + 1) & mask) {
      const Slot& slot = slots_[i];
      if (slot.text == wanted.text && slot.size == wanted.size &&
          (slot.size <= PackedText::kSizeMax || states_[slot.index].symbol() == symbol)) {
        return slot.index;
      }
    }
    return kNone;
  }
  std::uint32_t add(std::string_view symbol, Timestamp highest);  // not there yet; at most kSymbolBytesMax bytes
  State& state(std::uint32_t index) { return states_[index]; }
  const State& state(std::uint32_t index) const { return states_[index]; }
  std::size_t size() const { return states_.size(); }

 private:
  struct Slot {
    PackedText text;  // of a longer symbol: its hash
    std::uint32_t size = 0;
    std::uint32_t index = kNone;
  };
  static Slot slot_of(std::string_view symbol, std::uint32_t index) {
    Slot slot{{}, static_cast<std::uint32_t>(symbol.size()), index};
    if (symbol.size() <= PackedText::kSizeMax) {
      slot.text = PackedText(symbol.data(), symbol.size());
    } else {
      slot.text.low = hash64(symbol);
    }
    return slot;
  }
  static std::size_t hash_of(const Slot& slot) {
    return static_cast<std::size_t>((slot.text.low ^ std::rotl(slot.text.high, 23)) * 0x9E3779B97F4A7C15ull >> 32);
  }
  void insert(const Slot& slot);

  std::vector<Slot> slots_;  // open addressing, a power of two
  std::vector<State> states_;
};

}  // namespace utp
