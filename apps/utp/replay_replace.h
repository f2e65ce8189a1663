// `utp replay --replace`: a capture mapped anew in the place of what a store has of it.
#pragma once

#include "apps/utp/command_replay.h"

namespace utp::app {

int replay_replace(const ReplayCommandOptions& options, Context& context);

}  // namespace utp::app
