#include "connector/replay.h"

#include <algorithm>
#include <chrono>
#include <thread>

namespace utp {
namespace {

constexpr std::uint64_t kAskEveryFrames = 256;

class Replay {
 public:
  Replay(Pipeline& pipeline, const Clock& clock, const ReplayOptions& options)
      : pipeline_(pipeline), clock_(clock), options_(options) {}

  bool wait(std::int64_t ns) const {
    if (options_.wait) return options_.wait(ns);
    std::this_thread::sleep_for(std::chrono::nanoseconds(ns));
    return !(options_.stop && options_.stop());
  }

  Status flush() const {
    const std::int64_t start = clock_.monotonic_ns();
    for (std::int64_t pause = 5'000'000;; pause = std::min<std::int64_t>(pause * 2, 1'000'000'000)) {
      auto status = pipeline_.flush();
      if (status || !status.error().retryable) return status;
      if (clock_.monotonic_ns() - start > options_.publish_patience_ns || !wait(pause)) return status;
    }
  }

 private:
  Pipeline& pipeline_;
  const Clock& clock_;
  const ReplayOptions& options_;
};

}  // namespace

Result<ReplayResult> replay(CaptureReader& capture, Pipeline& pipeline, const Clock& clock, const ReplayOptions& options) {
  const Replay run(pipeline, clock, options);
  ReplayResult result;
  const std::int64_t start = clock.monotonic_ns();
  Frame frame;
  while (true) {
    auto more = capture.next(frame);
    if (!more) {
      result.damage = more.error().message;
      break;
    }
    if (!*more) break;
    if (result.frames == 0) result.first_ns = frame.receive_time.ns;
    result.last_ns = frame.receive_time.ns;
    if (options.pace > 0) {
      const double due = static_cast<double>(frame.receive_time.ns - result.first_ns) / options.pace;
      const std::int64_t ahead = static_cast<std::int64_t>(due) - (clock.monotonic_ns() - start);
      if (ahead > 0) {
        UTP_CHECK(run.flush());
        if (!run.wait(ahead)) result.stopped = true;
      }
    }
    if (!result.stopped) {
      pipeline.on_frame(frame);
      ++result.frames;
      if (pipeline.batch_ready() || pipeline.full()) UTP_CHECK(run.flush());
      if (result.frames % kAskEveryFrames == 0) {
        if (options.stop && options.stop()) result.stopped = true;
        if (options.progress) options.progress(capture.bytes_read(), capture.bytes_total());
      }
    }
    if (result.stopped) break;
  }
  UTP_CHECK(run.flush());
  if (options.progress) options.progress(capture.bytes_read(), capture.bytes_total());
  return result;
}

}  // namespace utp
