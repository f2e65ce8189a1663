// TokenBucket: how often something may be done. Time comes from the caller (Clock::monotonic_ns), so that a simulation can
// drive it.
#pragma once

#include <cstdint>

namespace utp {

class TokenBucket {
 public:
  // `per_second` 0 = no limit. The bucket starts full; `burst` at least 1.
  TokenBucket(double per_second, double burst);

  // Takes `count` tokens if they are there.
  bool take(std::int64_t now_ns, double count = 1);
  // Takes them in any case; the bucket may go into debt, which later takers wait off.
  void force(std::int64_t now_ns, double count);
  // Until `count` tokens are there; 0 = now.
  std::int64_t wait_ns(std::int64_t now_ns, double count = 1);
  bool limited() const { return per_second_ > 0; }

 private:
  void refill(std::int64_t now_ns);

  double per_second_;
  double burst_;
  double tokens_;
  std::int64_t last_ns_ = 0;
  bool started_ = false;
};

}  // namespace utp
