// Replay: a capture file as if it came from its venue now. The frames keep their receive times and their order; the mapper is
// that of the connector which they were recorded with.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "connector/collector.h"

namespace utp {

struct ReplayCollectorOptions {
  std::string path;
  bool flat = false;   // as fast as the queue takes them; else at the pace of the recording
  double speed = 1;    // factor on that pace
  bool loop = false;   // from the start again at the end, until stop()
};

// Its collectors end, ok, at the file's end; a damaged file is an error after all whole frames before the damage.
CollectorFactory replay_collector(ReplayCollectorOptions options);

// The connector "replay", configured by its settings (README.md). `find` gives the connector whose mapper a file needs, null
// when there is none of that id; it is called when an instance is made, not before.
using ConnectorFinder = std::function<const BuiltinConnector*(std::string_view id)>;
BuiltinConnector replay_connector(ConnectorFinder find = {});

}  // namespace utp
