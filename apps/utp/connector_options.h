// Options of commands that run one connector outside of a chamber.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "apps/utp/command.h"
#include "connector/host.h"

namespace utp::app {

struct ConnectorOptions {
  std::string connector;  // an id, or a folder
  std::vector<std::string> connector_dirs, schemas, symbols, streams;
  std::string endpoint, settings = "{}", ca_file;
  std::uint64_t seed = 0;
};
void add_connector_argument(CLI::App& command, ConnectorOptions& options);
void add_collector_options(CLI::App& command, ConnectorOptions& options);

struct PreparedConnector {
  InstanceOptions options;
  const BuiltinConnector* builtin = nullptr;  // null for exec:
};
// Manifest, settings and secrets, checked. `secrets`: those of the manifest must be there.
Result<PreparedConnector> prepare_connector(const ConnectorOptions& options, const Registry& registry, bool secrets);

// A mapper for what was recorded: it wants whatever is in the capture, not the manifest's defaults.
Result<std::unique_ptr<Mapper>> make_capture_mapper(const PreparedConnector& prepared);

}  // namespace utp::app
