// Which bus and store a command means when it is not told: --bus and --store, else UTP_BUS and UTP_STORE, else the chamber
// file (--chamber, ./chamber.yaml), else the demo's data folder.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apps/utp/chamber.h"
#include "apps/utp/command.h"
#include "core/result.h"
#include "schema/registry.h"

namespace utp::app {

struct PlaceOptions {
  std::string chamber, bus, store;
  std::vector<std::string> schemas;
};

enum PlaceUse : unsigned { kUsesBus = 1, kUsesStore = 2, kUsesSchemas = 4 };
void add_place_options(CLI::App& command, PlaceOptions& options, unsigned uses);

struct Place {
  std::string bus, store;              // resolved URLs; may hold secrets
  std::string bus_shown, store_shown;  // for people
  std::vector<std::string> schema_dirs;
  std::optional<Chamber> chamber;      // when a chamber file was found
};

// Only what `uses` names is looked for; the error says how to name it.
Result<Place> locate(const PlaceOptions& options, unsigned uses);

// The canonical schemas and those of the directories.
Result<Registry> load_registry(const std::vector<std::string>& schema_dirs);

std::string demo_data_dir();  // $XDG_DATA_HOME/utp/demo, else ~/.local/share/utp/demo

// The name that the registry knows, or an error with the nearest.
Result<std::shared_ptr<const Plan>> find_event_type(const Registry& registry, const std::string& name);

}  // namespace utp::app
