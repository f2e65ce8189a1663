// What `utp replay` is told.
#pragma once

#include <string>

#include "apps/utp/command.h"
#include "apps/utp/connector_options.h"
#include "apps/utp/locate.h"
#include "connector/pipeline.h"

namespace utp::app {

struct ReplayCommandOptions {
  ConnectorOptions connector;
  PlaceOptions place;
  std::string file, realm, source, region = "replay", pace = "flat";
  double speed = 1;
  bool replace = false, allow_refused = false;
  std::string from, to;  // with replace: event times
};

}  // namespace utp::app
