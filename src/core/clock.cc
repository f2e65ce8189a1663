#include "core/clock.h"

#include <ctime>

namespace utp {
namespace {

std::int64_t read_clock(clockid_t id) {
  timespec value{};
  clock_gettime(id, &value);
  return value.tv_sec * 1'000'000'000 + value.tv_nsec;
}

}  // namespace

Timestamp SystemClock::now() const { return {read_clock(CLOCK_REALTIME)}; }
std::int64_t SystemClock::monotonic_ns() const { return read_clock(CLOCK_MONOTONIC); }

}  // namespace utp
