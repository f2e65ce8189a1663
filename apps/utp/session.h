// Runs a chamber until it is told to stop, with whatever a person or program wants to see meanwhile.
#pragma once

#include <cstdint>
#include <string>

#include "apps/utp/chamber_run.h"
#include "apps/utp/command.h"

namespace utp::app {

struct SessionOptions {
  std::string title;
  double seconds = 0;                      // 0 = until a signal
  bool live_view = false;                  // where standard output is a terminal
  double line_every_s = 10;                // summary lines elsewhere; 0 = none
  bool until_drained = false;              // ends when the bus is empty
  std::int64_t patience_ns = 15'000'000'000;  // for draining without progress
};

// Starts, runs, drains, prints the result. The exit code.
int run_session(ChamberRun& run, const SessionOptions& options, Context& context, const Clock& clock);

}  // namespace utp::app
