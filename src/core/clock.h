// Clock: the only way to learn the time. Loops take one as an argument, so that a simulation can drive them.
#pragma once

#include <cstdint>

#include "core/timestamp.h"

namespace utp {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual Timestamp now() const = 0;              // wall clock, may step
  virtual std::int64_t monotonic_ns() const = 0;  // never goes back; origin unspecified
};

// The machine's clocks. Thread-safe.
class SystemClock final : public Clock {
 public:
  Timestamp now() const override;
  std::int64_t monotonic_ns() const override;
};

// Moved by hand. Not thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Timestamp start) : now_(start) {}
  Timestamp now() const override { return now_; }
  std::int64_t monotonic_ns() const override { return now_.ns; }
  void advance(std::int64_t ns) { now_ = now_ + ns; }
  void set(Timestamp now) { now_ = now; }

 private:
  Timestamp now_;
};

}  // namespace utp
