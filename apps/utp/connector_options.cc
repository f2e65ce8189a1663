#include "apps/utp/connector_options.h"

#include <cstdlib>

#include <fmt/format.h>

#include "apps/utp/catalog.h"
#include "apps/utp/chamber.h"
#include "connector/exec_connector.h"

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

Result<std::unique_ptr<Collector>> make_collector(const PreparedConnector& prepared, SymbolMap& symbols, const Clock& clock) {
  const InstanceOptions& o = prepared.options;
  const Manifest& manifest = o.manifest;
  CollectorContext context;
  UTP_TRY(context.wanted, manifest.wanted(o.channels, o.symbols));
  context.endpoint = o.endpoint.empty() ? manifest.endpoint : o.endpoint;
  UTP_TRY(context.settings_json, merge_json(manifest.settings_json, o.settings_json));
  context.ca_file = o.ca_file;
  context.clock = &clock;
  context.seed = o.seed;
  context.symbols = &symbols;
  context.rates = manifest.rates;
  context.link = manifest.link;
  context.secrets = o.secrets;
  if (manifest.entry == Manifest::Entry::kExec) {
    ExecOptions exec;
    exec.connector = manifest.id;
    exec.program = manifest.program;
    exec.folder = manifest.folder;
    exec.environment = exec_environment(manifest, context);
    exec.line_bytes_max = manifest.exec_line_bytes;
    exec.stop_timeout_ns = manifest.exec_stop_timeout_ns;
    return make_exec_collector(std::move(exec), std::move(context));
  }
  if (!prepared.builtin->collector) {
    return fail(Code::kUnsupported, fmt::format("the connector {} has no collector: it maps captures only", manifest.id));
  }
  return prepared.builtin->collector(std::move(context));
}

Result<std::unique_ptr<Mapper>> make_capture_mapper(const PreparedConnector& prepared) {
  const Manifest& manifest = prepared.options.manifest;
  MapperContext context;
  context.plans = manifest.plans();
  context.symbols = manifest.symbol_map();
  UTP_TRY(context.settings_json, merge_json(manifest.settings_json, prepared.options.settings_json));
  if (manifest.entry == Manifest::Entry::kExec) return make_line_mapper(manifest, std::move(context));
  return prepared.builtin->mapper(std::move(context));
}

}  // namespace utp::app
