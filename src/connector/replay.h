// replay(): a capture's frames through a pipeline, as fast as they go or at their original pace.
#pragma once

#include <cstdint>
#include <functional>

#include "connector/capture.h"
#include "connector/pipeline.h"

namespace utp {

struct ReplayOptions {
  double pace = 0;  // 1 = as recorded, 2 = twice as fast; 0 = flat out
  std::int64_t publish_patience_ns = 60'000'000'000;  // a bus that takes nothing for so long ends the replay
  std::function<bool()> stop;                         // asked now and then; true ends the replay
  std::function<void(std::uint64_t bytes_read, std::uint64_t bytes_total)> progress;  // now and then
  // Waits so many nanoseconds; false = stop now.
  std::function<bool(std::int64_t)> wait;
};

struct ReplayResult {
  std::uint64_t frames = 0;
  bool stopped = false;    // before the end
  std::string damage;      // the capture's own end was damaged: what and where; all whole frames before it were replayed
  std::int64_t first_ns = 0, last_ns = 0;  // receive times
};

// Everything that was read is on the bus when it returns ok.
Result<ReplayResult> replay(CaptureReader& capture, Pipeline& pipeline, const Clock& clock, const ReplayOptions& options);

}  // namespace utp
