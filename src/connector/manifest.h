// Manifest: connector.manifest.yaml, read and checked. Everything that the host must know of a connector before it runs.
// docs/connectors.md explains the fields to those who write one; schemas/manifest/1.1.0.json is the authority.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connector/limits.h"
#include "connector/mapper.h"
#include "core/result.h"
#include "schema/registry.h"

namespace utp {

inline constexpr std::string_view kManifestFile = "connector.manifest.yaml";

struct Manifest {
  enum class Entry : std::uint8_t { kBuiltin, kExec };
  struct EventType {
    std::string event_type;
    std::string schema_ref;
    std::shared_ptr<const Plan> plan;
  };
  struct Channel {
    std::string name;
    std::vector<std::string> event_types;
    bool per_symbol = true;
    bool wanted_by_default = true;
    std::int64_t stale_after_ns = 0;  // 0 = never stale
    std::string thinner;              // what is subscribed in its place under pressure; "" = there is nothing
    std::int64_t thinner_stale_after_ns = 0;
  };
  struct Secret {
    std::string name;
    std::string env;   // one of these two
    std::string file;
    bool required = true;
    std::string description;
  };

  std::string file;    // as given; goes into errors
  std::string folder;  // of the file, "" for one that is built in
  std::string id, version, title;
  Entry entry = Entry::kBuiltin;
  std::string builtin;                // kBuiltin: the id
  std::vector<std::string> program;   // kExec: program and arguments
  std::string realm = "prod";
  std::string region = "local";
  std::string endpoint;
  std::vector<EventType> event_types;
  std::vector<Channel> channels;

  std::vector<std::string> default_symbols;
  std::string separator;
  std::map<std::string, std::string> assets;      // venue: canonical
  std::map<std::string, std::string> exceptions;  // canonical: venue

  RateLimits rates;
  LinkLimits link;
  std::vector<Secret> secrets;
  std::int64_t lateness_ns = 5'000'000'000;
  std::int64_t confirm_within_ns = 30'000'000'000;
  std::int64_t silent_connection_ns = 60'000'000'000;  // 0 = never; an exec: manifest that does not say has 0
  std::size_t queue_frames_bytes = 16u << 20;
  std::size_t queue_events_bytes = 8u << 20;
  std::size_t batch_events = 1000;
  std::size_t batch_bytes = 1u << 20;
  std::int64_t batch_linger_ns = 2'000'000;
  std::size_t exec_line_bytes = 1u << 20;
  std::int64_t exec_stop_timeout_ns = 5'000'000'000;
  std::int64_t degraded_after_ns = 30'000'000'000;
  std::int64_t down_after_ns = 60'000'000'000;
  std::string settings_json = "{}";

  // By name; null when the manifest has no such channel.
  const Channel* channel(std::string_view name) const;
  std::vector<std::shared_ptr<const Plan>> plans() const;  // in the order of event_types
  SymbolMap symbol_map() const;
  // Every wanted channel for every symbol, each once; empty lists mean the manifest's defaults. Refused: a channel it does not
  // have.
  Result<std::vector<WantedStream>> wanted(const std::vector<std::string>& channels_wanted,
                                           const std::vector<std::string>& symbols_wanted) const;
  // The values of the secrets by name, by `environment` (null for an unset variable) and the named files. The error names
  // variable or file, connector and what it is for, never a value.
  Result<std::map<std::string, std::string>> read_secrets(
      const std::function<const char*(const char*)>& environment) const;
};

// Errors name file and line, what was found, what was expected. Event types that the registry does not know are refused.
Result<Manifest> load_manifest(const std::string& path, const Registry& registry);  // the file, or the folder it is in
Result<Manifest> parse_manifest(std::string_view text, const std::string& file, const Registry& registry);

// Durations and byte sizes as manifests write them ("16MiB", "4096").
std::optional<std::uint64_t> parse_bytes(std::string_view text);

// The candidate with the fewest edits from `text`, "" when none is near.
std::string nearest_name(std::string_view text, const std::vector<std::string>& candidates);

// A deep merge of two JSON objects: members of `over` win, objects merge. For settings.
Result<std::string> merge_json(std::string_view base, std::string_view over);

}  // namespace utp
