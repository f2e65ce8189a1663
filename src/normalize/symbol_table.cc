#include "normalize/symbol_table.h"

#include <cstring>

#include "core/hash.h"

namespace utp {

SymbolTable::SymbolTable() : slots_(64) {}

std::uint32_t SymbolTable::find(std::string_view symbol) const {
  const auto hash = static_cast<std::uint32_t>(hash64(symbol));
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t i = hash & mask; slots_[i].index != kNone; i = (i + 1) & mask) {
    if (slots_[i].hash == hash && states_[slots_[i].index].symbol() == symbol) return slots_[i].index;
  }
  return kNone;
}

std::uint32_t SymbolTable::add(std::string_view symbol, Timestamp highest) {
  const auto index = static_cast<std::uint32_t>(states_.size());
  State& state = states_.emplace_back();
  state.highest = highest;
  state.size = static_cast<std::uint8_t>(symbol.size());
  if (!symbol.empty()) std::memcpy(state.text, symbol.data(), symbol.size());
  if (states_.size() * 2 > slots_.size()) {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old) {
      if (slot.index != kNone) insert(slot.hash, slot.index);
    }
  }
  insert(static_cast<std::uint32_t>(hash64(symbol)), index);
  return index;
}

void SymbolTable::insert(std::uint32_t hash, std::uint32_t index) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash & mask;
  while (slots_[i].index != kNone) i = (i + 1) & mask;
  slots_[i] = {hash, index};
}

}  // namespace utp
