#include "apps/utp/connector_options.h"

#include <cstdlib>

#include <fmt/format.h>

#include "apps/utp/catalog.h"
#include "apps/utp/chamber.h"

namespace utp::app {

void add_connector_argument(CLI::App& command, ConnectorOptions& options) {
  command.add_option("CONNECTOR", options.connector, "A connector's id, or the path of its folder")->required();
  command.add_option("--connectors", options.connector_dirs, "Folder whose sub-folders are connectors (repeatable)")->allow_extra_args(false);
  command.add_option("--schemas", options.schemas, "Folder with event schemas beside the canonical ones (repeatable)")->allow_extra_args(false);
}

void add_collector_options(CLI::App& command, ConnectorOptions& options) {
  command.add_option("--symbol", options.symbols, "Canonical symbol (repeatable; default: the manifest's)")->allow_extra_args(false);
  command.add_option("--stream", options.streams, "Channel of the venue (repeatable; default: the manifest's)")->allow_extra_args(false);
  command.add_option("--endpoint", options.endpoint, "Address instead of the connector's own");
  command.add_option("--ca-file", options.ca_file, "A further trust root for TLS");
  command.add_option("--settings", options.settings, "The connector's own settings, a JSON object; ${NAME} is an environment variable");
  command.add_option("--seed", options.seed, "Seed of simulated markets and of jitter");
}

Result<PreparedConnector> prepare_connector(const ConnectorOptions& options, const Registry& registry, bool secrets) {
  PreparedConnector out;
  InstanceOptions& o = out.options;
  UTP_TRY(o.manifest, find_manifest(options.connector, options.connector_dirs, registry));
  o.channels = options.streams;
  o.symbols = options.symbols;
  o.endpoint = options.endpoint;
  o.ca_file = options.ca_file;
  o.seed = options.seed;
  UTP_TRY(o.settings_json, expand_secrets(options.settings));
  if (auto merged = merge_json(o.manifest.settings_json, o.settings_json); !merged) {
    return fail(Code::kInvalidArgument, fmt::format("--settings: {}; write a JSON object such as '{{\"speed\":2}}'", merged.error().message));
  }
  if (secrets) {
    UTP_TRY(o.secrets, o.manifest.read_secrets([](const char* name) -> const char* { return std::getenv(name); }));
  }
  out.builtin = find_builtin(o.manifest);
  if (!out.builtin && o.manifest.entry == Manifest::Entry::kBuiltin) {
    return fail(Code::kUnsupported, fmt::format("{}: the entry \"builtin:{}\" is not in this program", o.manifest.file, o.manifest.builtin));
  }
  return out;
}

Result<std::unique_ptr<Mapper>> make_capture_mapper(const PreparedConnector& prepared) {
  InstanceOptions options = prepared.options;
  options.replay = true;
  return make_mapper(options, prepared.builtin);
}

}  // namespace utp::app
