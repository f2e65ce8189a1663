// Ctrl-C and SIGTERM as something to poll, and SIGUSR1, which asks to read the configuration again. Made in main before any thread, so that every thread inherits the blocked
// signals. After the first signal they act as usual again: a second Ctrl-C ends the process at once (which loses nothing
// that was acknowledged).
#pragma once

#include <cstdint>
#include <utility>

namespace utp::app {

class StopSignal {
 public:
  StopSignal();
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  // True once a signal came. Waits for it at most `timeout_ms`; 0 looks only.
  bool wait(std::int64_t timeout_ms);
  bool pending() { return wait(0); }
  bool take_reload() { return std::exchange(reload_, false); }  // true once after SIGUSR1, seen by wait()

 private:
  int fd_ = -1;
  bool stopped_ = false, reload_ = false;
};

}  // namespace utp::app
