// Clock: the only way to learn the time. Loops take one as an argument, so that a simulation can drive them.
#pragma once

#include <atomic>
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

// Moved by hand. Thread-safe.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Timestamp start) : ns_(start.ns) {}
  Timestamp now() const override { return {ns_}; }
  std::int64_t monotonic_ns() const override { return ns_; }
  void advance(std::int64_t ns) { ns_ += ns; }
  void set(Timestamp now) { ns_ = now.ns; }

 private:
  std::atomic<std::int64_t> ns_;
};

}  // namespace utp
