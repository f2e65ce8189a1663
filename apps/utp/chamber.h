// A chamber's configuration: one YAML file, checked by schemas/chamber/2.0.0.json, with every default filled in.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "core/log.h"
#include "core/result.h"

namespace utp::app {

struct ConnectorConfig {
  std::string id;    // the connector's folder
  std::string name = "main";
  std::vector<std::string> symbols, streams;  // empty = the manifest's
  std::string endpoint, ca_file;
  std::string settings_json = "{}";
  std::map<std::string, double> limits;       // by the manifest's names
  std::optional<std::int64_t> lateness_ns, stale_ns;
  std::optional<std::uint64_t> seed;
  std::string place;  // "chamber.yaml:12", for errors

  std::string source_id() const { return id + "." + name; }
};

struct TopicConfig {
  std::string event_type;
  std::optional<std::uint32_t> partitions;
  std::optional<std::int64_t> retention_ns;
  std::optional<std::uint64_t> retention_bytes;
  std::optional<std::uint32_t> pack;
  std::string place;
};

// Another region's bus, whose events come to this chamber's too (chamber_bridge.h).
struct BridgeConfig {
  std::string region;                        // whose events
  std::string from, from_shown;              // URL of its bus, resolved, and for people
  std::vector<std::string> topics, symbols;  // patterns; empty = all
};

struct PersisterConfig {
  bool enabled = true;
  std::string group = "persister";
  std::size_t batch_events = 5'000;
  std::uint64_t batch_bytes = 8ull << 20;
  std::int64_t batch_ns = 100'000'000;
};

// In front of a bus on a server (src/bus/spooled_bus.h).
struct SpoolConfig {
  bool enabled = true;
  std::uint64_t bytes = 4ull << 30;  // of one topic
};

struct Chamber {
  std::string file;                    // as given; "" for one made by a command
  std::string realm = "prod", region = "local";
  std::string data_dir = "data";       // absolute or below the working directory
  std::string bus, store;              // URLs, resolved; may hold secrets: never printed
  std::string bus_shown, store_shown;  // as written, for people
  std::string bus_written;             // as written, ${NAME} and all; may hold a password
  Durability durability = Durability::kInterval;
  std::int64_t interval_ns = 100'000'000;
  std::vector<std::string> schema_dirs, connector_dirs;
  std::vector<ConnectorConfig> connectors;  // enabled ones
  std::vector<BridgeConfig> bridges;
  std::vector<TopicConfig> topics;
  PersisterConfig persister;
  SpoolConfig spool;
  std::string health_file;
  log::Level log_level = log::Level::kInfo;
  bool log_json = false;
  std::string log_file;
};

// Errors name file and line, what is wrong and what would be right.
Result<Chamber> load_chamber(const std::string& path);

// "64MiB", "1GB", "4096": bytes. Empty when it is none.
std::optional<std::uint64_t> parse_size(std::string_view text);

// Replaces ${NAME} by the environment variable and ${file:PATH} by a file's content (less the last line feed). The error
// says which is missing, never a value.
Result<std::string> expand_secrets(std::string_view text);

}  // namespace utp::app
