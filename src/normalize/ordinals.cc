#include "normalize/ordinals.h"

#include <algorithm>
#include <bit>

namespace utp {

Ordinals::Ordinals(std::size_t entries_max) {
  // At most 2^20 sets, so that the set's number and the print share few bits of the hash.
  const std::size_t sets = std::bit_ceil(std::clamp<std::size_t>(entries_max / kWays, 1, std::size_t{1} << 20));
  sets_ = std::make_unique<Set[]>(sets);
  mask_ = sets - 1;
  recorded_ = std::make_unique<std::uint64_t[]>(sets * kWays);
  recorded_mask_ = sets * kWays - 1;
}

}  // namespace utp
