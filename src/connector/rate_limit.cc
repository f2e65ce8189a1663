#include "connector/rate_limit.h"

#include <algorithm>
#include <cmath>

namespace utp {

TokenBucket::TokenBucket(double per_second, double burst)
    : per_second_(per_second), burst_(std::max(burst, 1.0)), tokens_(burst_) {}

void TokenBucket::refill(std::int64_t now_ns) {
  if (!started_) {
    started_ = true;
    last_ns_ = now_ns;
    return;
  }
  if (now_ns <= last_ns_) return;
  tokens_ = std::min(burst_, tokens_ + static_cast<double>(now_ns - last_ns_) * 1e-9 * per_second_);
  last_ns_ = now_ns;
}

bool TokenBucket::take(std::int64_t now_ns, double count) {
  if (!limited()) return true;
  refill(now_ns);
  // A request above the burst can never be covered at once: it goes when the bucket is full, and leaves a debt.
  if (tokens_ + 1e-9 < std::min(count, burst_)) return false;
  tokens_ -= count;
  return true;
}

void TokenBucket::force(std::int64_t now_ns, double count) {
  if (!limited()) return;
  refill(now_ns);
  tokens_ -= count;
}

std::int64_t TokenBucket::wait_ns(std::int64_t now_ns, double count) {
  if (!limited()) return 0;
  refill(now_ns);
  const double missing = std::min(count, burst_) - tokens_;
  return missing <= 1e-9 ? 0 : static_cast<std::int64_t>(std::ceil(missing / per_second_ * 1e9));
}

}  // namespace utp
