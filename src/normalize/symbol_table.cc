#include "normalize/symbol_table.h"

#include <cstring>

namespace utp {

SymbolTable::SymbolTable() : slots_(64) {}

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
      if (slot.index != kNone) insert(slot);
    }
  }
  insert(slot_of(symbol, index));
  return index;
}

void SymbolTable::insert(const Slot& slot) {
  const std::size_t mask = slots_.size() - 1;
  std::size_t i = hash_of(slot) & mask;
  while (slots_[i].index != kNone) i = (i + 1) & mask;
  slots_[i] = slot;
}

}  // namespace utp
