// Connectors by id: folders of the configuration first, then what is built in.
#pragma once

#include <string>
#include <vector>

#include "connector/collector.h"
#include "connector/manifest.h"
#include "core/result.h"

namespace utp::app {

struct CatalogEntry {
  std::string id;
  std::string folder;  // "" when built in
};

// Sub-folders of `dirs` that hold a manifest, then the built-in connectors; an id is listed once.
Result<std::vector<CatalogEntry>> list_connectors(const std::vector<std::string>& dirs);

// By id, or by the path of a folder (anything with a "/"). The error names the ids there are.
Result<Manifest> find_manifest(const std::string& id, const std::vector<std::string>& dirs, const Registry& registry);

// Null when the manifest's entry is no linked-in connector of this program.
const BuiltinConnector* find_builtin(const Manifest& manifest);

}  // namespace utp::app
