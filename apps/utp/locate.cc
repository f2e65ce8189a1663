#include "apps/utp/locate.h"

#include <cstdlib>
#include <filesystem>

#include <fmt/format.h>

#include "apps/utp/ports.h"
#include "connector/manifest.h"

namespace utp::app {
namespace {

constexpr std::string_view kChamberFile = "chamber.yaml";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? value : "";
}

// Explicit URLs are relative to the working directory, and may name secrets like a chamber file.
Result<std::string> explicit_url(const std::string& url, Result<std::string> (*resolve)(std::string_view, const std::string&)) {
  UTP_TRY(const std::string expanded, expand_secrets(url));
  return resolve(expanded, "");
}

}  // namespace

void add_place_options(CLI::App& command, PlaceOptions& options, unsigned uses) {
  if (uses & kUsesBus) command.add_option("--bus", options.bus, "URL of the bus, such as embedded:PATH or redis://HOST:PORT (else UTP_BUS, else the chamber's)");
  if (uses & kUsesStore) command.add_option("--store", options.store, "URL of the store, such as sqlite:PATH or postgres://USER@HOST/DATABASE (else UTP_STORE, else the chamber's)");
  if (uses & kUsesSchemas) command.add_option("--schemas", options.schemas, "Folder with event schemas beside the canonical ones (repeatable)")->allow_extra_args(false);
  command.add_option("--chamber", options.chamber, "Chamber file to take them from (default ./chamber.yaml, else the demo's)");
}

std::string demo_data_dir() {
  const std::string data = environment("XDG_DATA_HOME");
  if (!data.empty()) return data + "/utp/demo";
  const std::string home = environment("HOME");
  return (home.empty() ? std::filesystem::temp_directory_path().string() : home + "/.local/share") + "/utp/demo";
}

Result<Place> locate(const PlaceOptions& options, unsigned uses) {
  Place place;
  place.schema_dirs = options.schemas;
  place.bus_shown = options.bus.empty() ? environment("UTP_BUS") : options.bus;
  place.store_shown = options.store.empty() ? environment("UTP_STORE") : options.store;
  if (!(uses & kUsesBus)) place.bus_shown.clear();
  if (!(uses & kUsesStore)) place.store_shown.clear();
  if (!place.bus_shown.empty()) {
    UTP_TRY(place.bus, explicit_url(place.bus_shown, resolve_bus_url));
    place.bus_shown = shown_url(place.bus_shown);
  }
  if (!place.store_shown.empty()) {
    UTP_TRY(place.store, explicit_url(place.store_shown, resolve_store_url));
    place.store_shown = shown_url(place.store_shown);
  }
  const bool bus_missing = (uses & kUsesBus) && place.bus.empty();
  const bool store_missing = (uses & kUsesStore) && place.store.empty();
  std::error_code ignored;
  const bool named = !options.chamber.empty();
  if (named || ((bus_missing || store_missing) && std::filesystem::exists(kChamberFile, ignored))) {
    UTP_TRY(place.chamber, load_chamber(named ? options.chamber : std::string(kChamberFile)));
    const Chamber& chamber = *place.chamber;
    place.schema_dirs.insert(place.schema_dirs.end(), chamber.schema_dirs.begin(), chamber.schema_dirs.end());
    if (bus_missing) place.bus = chamber.bus, place.bus_shown = chamber.bus_shown;
    if (store_missing) place.store = chamber.store, place.store_shown = chamber.store_shown;
    return place;
  }
  const std::string demo = demo_data_dir();
  if (!bus_missing && !store_missing) return place;
  if (!std::filesystem::exists(demo, ignored)) {
    return fail(Code::kNotFound, fmt::format("no {} to look at: name it with {} URL, or go to a folder with a {}, or run \"utp demo\" once",
                                             bus_missing ? "bus" : "store", bus_missing ? "--bus" : "--store", kChamberFile));
  }
  if (bus_missing) {
    UTP_TRY(place.bus, resolve_bus_url(kDefaultBus, demo));
    place.bus_shown = place.bus;
  }
  if (store_missing) {
    UTP_TRY(place.store, resolve_store_url(kDefaultStore, demo));
    place.store_shown = place.store;
  }
  return place;
}

Result<Registry> load_registry(const std::vector<std::string>& schema_dirs) {
  UTP_TRY(Registry registry, Registry::builtin());
  for (const std::string& dir : schema_dirs) {
    UTP_CHECK(registry.add_directory(dir));
  }
  return registry;
}

Result<std::shared_ptr<const Plan>> find_event_type(const Registry& registry, const std::string& name) {
  if (auto plan = registry.by_event_type(name)) return plan;
  std::vector<std::string> known;
  std::string list;
  for (const auto& plan : registry.all()) {
    known.push_back(plan->event_type());
    if (!plan->table().empty()) list += (list.empty() ? "" : ", ") + plan->event_type();
  }
  const std::string near = nearest_name(name, known);
  return fail(Code::kInvalidArgument,
              near.empty() ? fmt::format("\"{}\" is no event type; there are {} (and those of --schemas DIR)", name, list)
                           : fmt::format("\"{}\" is no event type; did you mean {}?", name, near));
}

}  // namespace utp::app
