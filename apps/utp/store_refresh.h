// Store::maintain() for a command: with a progress line, and ended by a stop signal.
#pragma once

#include <string>

#include "apps/utp/command.h"
#include "store/store.h"

namespace utp::app {

// What a stop signal cut off is done the next time: kCancelled.
Result<Maintained> maintain_shown(Store& store, Context& context);

// After a command that wrote much: on a server the aggregates of what it touched, as a running chamber would refresh them within
// half a minute. What cannot be done is told and left to `utp store maintain`; the rows are stored whatever becomes of it.
void refresh_after_writing(const std::string& store_url, Context& context);

}  // namespace utp::app
