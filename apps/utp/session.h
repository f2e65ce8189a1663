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
  bool until_drained = false;              // ends when what is on the bus at the start is stored
  std::int64_t patience_ns = 15'000'000'000;  // for draining without progress
};

// Starts, runs, stops, prints the result. The exit code. It drains before it stops where connectors ran here; a persister alone
// leaves the rest to the next start, since others may go on publishing.
int run_session(ChamberRun& run, const SessionOptions& options, Context& context, const Clock& clock);

}  // namespace utp::app
