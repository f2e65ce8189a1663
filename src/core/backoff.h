// Exponential backoff with full jitter: many clients that lost the same server do not come back at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "core/random.h"

namespace utp {

// Random in [0, min(max_ns, min_ns * 2^attempt)].
inline std::int64_t full_jitter_ns(Random& random, std::int64_t min_ns, std::int64_t max_ns, unsigned attempt) {
  const std::int64_t least = std::max<std::int64_t>(min_ns, 1);
  std::int64_t most = std::max(max_ns, least);
  if (attempt < 62 && least <= (most >> attempt)) most = least << attempt;
  return static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(most) + 1));
}

}  // namespace utp
