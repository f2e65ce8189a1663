#include "apps/utp/catalog.h"

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "apps/utp/ports.h"
#include "core/embedded_file.h"

namespace utp::app {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kEmbeddedPrefix = "connectors/";

std::string embedded_path(const std::string& id) { return fmt::format("{}{}/{}", kEmbeddedPrefix, id, kManifestFile); }

}  // namespace

Result<std::vector<CatalogEntry>> list_connectors(const std::vector<std::string>& dirs) {
  std::vector<CatalogEntry> found;
  const auto known = [&](const std::string& id) {
    return std::any_of(found.begin(), found.end(), [&](const CatalogEntry& e) { return e.id == id; });
  };
  for (const std::string& dir : dirs) {
    std::error_code error;
    std::vector<std::string> ids;
    for (const auto& entry : fs::directory_iterator(dir, error)) {
      std::error_code ignored;
      if (fs::exists(entry.path() / kManifestFile, ignored)) ids.push_back(entry.path().filename().string());
    }
    if (error) return fail(Code::kNotFound, fmt::format("{}: the connector directory cannot be read: {}", dir, error.message()));
    std::sort(ids.begin(), ids.end());
    for (const std::string& id : ids) {
      if (!known(id)) found.push_back({id, (fs::path(dir) / id).string()});
    }
  }
  for (const EmbeddedFile& file : embedded::manifests()) {
    const std::string id(file.path.substr(kEmbeddedPrefix.size(), file.path.find('/', kEmbeddedPrefix.size()) - kEmbeddedPrefix.size()));
    if (!known(id)) found.push_back({id, ""});
  }
  return found;
}

Result<Manifest> find_manifest(const std::string& id, const std::vector<std::string>& dirs, const Registry& registry) {
  if (id.find('/') != std::string::npos) return load_manifest(id, registry);
  UTP_TRY(const auto entries, list_connectors(dirs));
  std::vector<std::string> ids;
  std::string list;
  for (const CatalogEntry& entry : entries) {
    if (entry.id != id) {
      ids.push_back(entry.id);
      list += (list.empty() ? "" : ", ") + entry.id;
      continue;
    }
    if (!entry.folder.empty()) return load_manifest(entry.folder, registry);
    for (const EmbeddedFile& file : embedded::manifests()) {
      if (file.path == embedded_path(id)) return parse_manifest(file.content, std::string(file.path), registry);
    }
  }
  const std::string near = nearest_name(id, ids);
  return fail(Code::kNotFound, near.empty() ? fmt::format("there is no connector \"{}\"; there are {} (and those of connector_dirs)", id, list)
                                            : fmt::format("there is no connector \"{}\"; did you mean \"{}\"?", id, near));
}

const BuiltinConnector* find_builtin(const Manifest& manifest) {
  return manifest.entry == Manifest::Entry::kBuiltin ? find_builtin_connector(manifest.builtin) : nullptr;
}

}  // namespace utp::app
