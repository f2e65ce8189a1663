#include "apps/utp/chamber.h"

#include <charconv>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

#include <fmt/format.h>

#include "apps/utp/ports.h"
#include "connector/manifest.h"
#include "core/embedded_file.h"
#include "core/json_writer.h"
#include "schema/json.h"
#include "schema/yaml.h"

namespace utp::app {
namespace {

constexpr std::string_view kSchemaPath = "schemas/chamber/2.0.0.json";
constexpr std::size_t kSecretBytesMax = 64 * 1024;

Result<Schema> chamber_schema() {
  for (const EmbeddedFile& file : embedded::schemas()) {
    if (file.path == kSchemaPath) return Schema::compile(file.content, file.path);
  }
  return fail(Code::kInternal, fmt::format("{} is not in this binary; build it again", kSchemaPath));
}

// The schema node that an instance pointer leads to; null when the schema leaves that place open.
const Node* node_at(const Schema& schema, std::string_view pointer) {
  const Node* node = &schema.root();
  while (node && !pointer.empty()) {
    pointer.remove_prefix(1);
    std::string token(pointer.substr(0, pointer.find('/')));
    pointer.remove_prefix(std::min(token.size(), pointer.size()));
    const bool index = !token.empty() && token.find_first_not_of("0123456789") == std::string::npos;
    const Node* found = nullptr;
    for (const Node::Property& property : node->properties) {
      if (property.name == token) found = property.node.get();
    }
    if (!found && index && node->items) found = node->items.get();
    if (!found && node->additional && !node->additional->never) found = node->additional.get();
    node = found;
  }
  return node;
}

// The violation in words; an unknown key with the known one that was meant.
std::string explain(const YamlDocument& document, const Schema& schema, const Violation& violation) {
  if (violation.code != "additionalProperties") return document.describe(violation);
  const std::size_t slash = violation.path.rfind('/');
  const std::string parent = violation.path.substr(0, slash);
  const std::string key = violation.path.substr(slash + 1);
  std::vector<std::string> known;
  if (const Node* node = node_at(schema, parent)) {
    for (const Node::Property& property : node->properties) known.push_back(property.name);
  }
  const std::string near = nearest_name(key, known);
  std::string hint;
  if (!near.empty()) {
    hint = fmt::format("did you mean \"{}\"?", near);
  } else {
    for (const std::string& name : known) hint += (hint.empty() ? "known here: " : ", ") + name;
  }
  return document.describe(violation.path, fmt::format("unknown key \"{}\"; {}", key, hint));
}

// Reads one checked document; the first error is kept, so that reading needs no test per field.
class Reader {
 public:
  Reader(const YamlDocument& document, const JsonTree& tree) : document_(document), tree_(tree) {}

  const JsonTree& tree() const { return tree_; }
  const std::optional<Error>& error() const { return error_; }

  void refuse(std::string_view pointer, std::string_view message) {
    if (!error_) error_ = Error{Code::kInvalidArgument, document_.describe(pointer, message)};
  }
  std::string place(std::string_view pointer) const { return fmt::format("{}:{}", document_.file, document_.line_of(pointer)); }

  const JsonValue* member(const JsonValue& object, std::string_view key) const { return tree_.member(object, key); }
  void text(const JsonValue& object, std::string_view key, std::string& out) const {
    if (const JsonValue* v = member(object, key)) out = v->text;
  }
  void secret_text(const JsonValue& object, std::string_view key, const std::string& pointer, std::string& out) {
    const JsonValue* v = member(object, key);
    if (!v) return;
    if (auto expanded = expand_secrets(v->text)) out = *std::move(expanded);
    else refuse(pointer + "/" + std::string(key), expanded.error().message);
  }
  void flag(const JsonValue& object, std::string_view key, bool& out) const {
    if (const JsonValue* v = member(object, key)) out = v->kind == JsonKind::kTrue;
  }
  template <class T>
  void integer(const JsonValue& object, std::string_view key, T& out) const {
    if (const auto v = integer(object, key)) out = static_cast<T>(*v);
  }
  std::optional<std::uint64_t> integer(const JsonValue& object, std::string_view key) const {
    const JsonValue* v = member(object, key);
    if (!v) return std::nullopt;
    const auto number = Decimal::parse(v->text);
    return number && number->to_int64() ? std::optional<std::uint64_t>(*number->to_int64()) : std::nullopt;
  }
  std::optional<std::int64_t> duration(const JsonValue& object, std::string_view key, const std::string& pointer) {
    const JsonValue* v = member(object, key);
    if (!v) return std::nullopt;
    const auto ns = parse_duration(v->text);
    if (!ns) refuse(pointer + "/" + std::string(key), fmt::format("\"{}\" is no duration; write 500ms, 5s, 10m, 72h or 30d", v->text));
    return ns;
  }
  std::optional<std::uint64_t> size(const JsonValue& object, std::string_view key, const std::string& pointer) {
    const JsonValue* v = member(object, key);
    if (!v) return std::nullopt;
    const auto bytes = parse_size(v->text);
    if (!bytes) refuse(pointer + "/" + std::string(key), fmt::format("\"{}\" is no size; write 8MiB, 1GB or a number of bytes", v->text));
    return bytes;
  }
  std::vector<std::string> texts(const JsonValue& object, std::string_view key) const {
    std::vector<std::string> out;
    if (const JsonValue* v = member(object, key)) {
      for (const JsonValue* e = tree_.first(*v); e; e = tree_.next(*e)) out.emplace_back(e->text);
    }
    return out;
  }
  // Copies JSON with ${NAME} in texts replaced.
  void expanded(const JsonValue& value, const std::string& pointer, JsonWriter& out) {
    switch (value.kind) {
      case JsonKind::kObject:
        out.begin_object();
        for (const JsonValue* e = tree_.first(value); e; e = tree_.next(*e)) {
          std::string below = pointer;
          append_pointer(below, e->key);
          out.key(e->key);
          expanded(*e, below, out);
        }
        out.end_object();
        break;
      case JsonKind::kArray: {
        out.begin_array();
        std::size_t index = 0;
        for (const JsonValue* e = tree_.first(value); e; e = tree_.next(*e)) expanded(*e, fmt::format("{}/{}", pointer, index++), out);
        out.end_array();
        break;
      }
      case JsonKind::kString: {
        auto text_value = expand_secrets(value.text);
        if (!text_value) refuse(pointer, text_value.error().message);
        out.value(text_value ? *text_value : std::string());
        break;
      }
      case JsonKind::kNumber: out.raw(value.text); break;
      case JsonKind::kTrue: out.value(true); break;
      case JsonKind::kFalse: out.value(false); break;
      case JsonKind::kNull: out.null(); break;
    }
  }

 private:
  const YamlDocument& document_;
  const JsonTree& tree_;
  std::optional<Error> error_;
};

void read_connectors(Reader& in, const JsonValue& root, Chamber& chamber) {
  const JsonValue* list = in.member(root, "connectors");
  std::map<std::string, std::string> places;
  std::size_t index = 0;
  for (const JsonValue* e = list ? in.tree().first(*list) : nullptr; e; e = in.tree().next(*e), ++index) {
    const std::string pointer = fmt::format("/connectors/{}", index);
    ConnectorConfig c;
    bool enabled = true;
    in.flag(*e, "enabled", enabled);
    in.text(*e, "id", c.id);
    in.text(*e, "name", c.name);
    c.place = in.place(pointer);
    if (const auto [at, fresh] = places.emplace(c.source_id(), c.place); !fresh) {
      in.refuse(pointer, fmt::format("a second instance \"{}\" (the first: {}); give one of them another \"name\"", c.source_id(), at->second));
    }
    if (c.source_id().size() > 64) in.refuse(pointer, fmt::format("the source_id \"{}\" is longer than 64; shorten \"name\"", c.source_id()));
    if (!enabled) continue;
    c.symbols = in.texts(*e, "symbols");
    c.streams = in.texts(*e, "streams");
    in.secret_text(*e, "endpoint", pointer, c.endpoint);
    in.text(*e, "ca_file", c.ca_file);
    c.lateness_ns = in.duration(*e, "lateness", pointer);
    c.stale_ns = in.duration(*e, "stale_after", pointer);
    c.seed = in.integer(*e, "seed");
    if (const JsonValue* limits = in.member(*e, "limits")) {
      for (const JsonValue* l = in.tree().first(*limits); l; l = in.tree().next(*l)) {
        if (const auto number = Decimal::parse(l->text)) c.limits[std::string(l->key)] = number->to_double();
      }
    }
    if (const JsonValue* settings = in.member(*e, "settings")) {
      c.settings_json.clear();
      JsonWriter out(c.settings_json);
      in.expanded(*settings, pointer + "/settings", out);
    }
    chamber.connectors.push_back(std::move(c));
  }
  if (chamber.connectors.empty() && in.member(root, "bridges") == nullptr) {
    in.refuse(list ? "/connectors" : "", "there are no connectors and no bridges; enable a connector, or name the buses of other regions under bridges");
  }
}

void read_bridges(Reader& in, const JsonValue& root, Chamber& chamber) {
  const JsonValue* list = in.member(root, "bridges");
  if (list && !in.member(root, "region")) in.refuse("/bridges", "name this chamber's own region: the regions' buses keep under it how far its bridges are");
  std::size_t index = 0;
  for (const JsonValue* e = list ? in.tree().first(*list) : nullptr; e; e = in.tree().next(*e), ++index) {
    const std::string pointer = fmt::format("/bridges/{}", index);
    BridgeConfig b;
    in.text(*e, "region", b.region);
    if (b.region == chamber.region) in.refuse(pointer + "/region", fmt::format("\"{}\" is this chamber's own region, which would make a loop; name another's", b.region));
    for (const BridgeConfig& other : chamber.bridges) {
      if (other.region == b.region) in.refuse(pointer + "/region", fmt::format("a second bridge of region \"{}\"; one brings all of its topics", b.region));
    }
    in.text(*e, "from", b.from_shown);
    b.from_shown = shown_url(b.from_shown);
    in.secret_text(*e, "from", pointer, b.from);
    if (auto url = resolve_bus_url(b.from, chamber.data_dir)) b.from = *std::move(url);
    else in.refuse(pointer + "/from", url.error().message);
    b.topics = in.texts(*e, "topics");
    for (const std::string& topic : b.topics) {
      if (const Status good = check_topic_pattern(topic); !good) in.refuse(pointer + "/topics", good.error().message);
    }
    b.symbols = in.texts(*e, "symbols");
    chamber.bridges.push_back(std::move(b));
  }
}

void read_topics(Reader& in, const JsonValue& root, Chamber& chamber) {
  const JsonValue* topics = in.member(root, "topics");
  for (const JsonValue* e = topics ? in.tree().first(*topics) : nullptr; e; e = in.tree().next(*e)) {
    TopicConfig t;
    t.event_type = e->key;
    std::string pointer = "/topics";
    append_pointer(pointer, e->key);
    t.place = in.place(pointer);
    if (const auto n = in.integer(*e, "partitions")) t.partitions = static_cast<std::uint32_t>(*n);
    t.retention_ns = in.duration(*e, "retention", pointer);
    t.retention_bytes = in.size(*e, "retention_bytes", pointer);
    if (const auto n = in.integer(*e, "pack")) t.pack = static_cast<std::uint32_t>(*n);
    chamber.topics.push_back(std::move(t));
  }
}

void read_persister(Reader& in, const JsonValue& root, PersisterConfig& out) {
  const JsonValue* p = in.member(root, "persister");
  if (!p) return;
  in.flag(*p, "enabled", out.enabled);
  in.text(*p, "group", out.group);
  in.integer(*p, "batch_events", out.batch_events);
  if (const auto bytes = in.size(*p, "batch_bytes", "/persister")) out.batch_bytes = *bytes;
  if (const auto ms = in.integer(*p, "batch_ms")) out.batch_ns = static_cast<std::int64_t>(*ms) * 1'000'000;
}

void read_spool(Reader& in, const JsonValue& root, SpoolConfig& out) {
  const JsonValue* p = in.member(root, "spool");
  if (!p) return;
  in.flag(*p, "enabled", out.enabled);
  if (const auto bytes = in.size(*p, "bytes", "/spool")) out.bytes = *bytes;
}

std::string below(const std::filesystem::path& base, const std::string& path) {
  return std::filesystem::path(path).is_absolute() ? path : (base / path).lexically_normal().string();
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  constexpr std::pair<std::string_view, std::uint64_t> kUnits[] = {
      {"", 1},          {"B", 1},           {"KB", 1'000},      {"MB", 1'000'000},  {"GB", 1'000'000'000}, {"TB", 1'000'000'000'000},
      {"KiB", 1u << 10}, {"MiB", 1u << 20}, {"GiB", 1u << 30}, {"TiB", 1ull << 40}};
  for (const auto& [name, factor] : kUnits) {
    if (name == unit) return number > UINT64_MAX / factor ? std::nullopt : std::optional(number * factor);
  }
  return std::nullopt;
}

Result<std::string> expand_secrets(std::string_view text) {
  std::string out;
  for (std::size_t at = 0;;) {
    const std::size_t open = text.find("${", at);
    if (open == std::string_view::npos) return out += text.substr(at);
    const std::size_t close = text.find('}', open);
    if (close == std::string_view::npos) return fail(Code::kInvalidArgument, "\"${\" without \"}\"; write ${NAME}");
    out += text.substr(at, open - at);
    const std::string name(text.substr(open + 2, close - open - 2));
    if (name.starts_with("file:")) {
      std::ifstream file(name.substr(5), std::ios::binary);
      std::string content(kSecretBytesMax + 1, '\0');
      file.read(content.data(), static_cast<std::streamsize>(content.size()));
      content.resize(static_cast<std::size_t>(file.gcount()));
      if (content.empty() || content.size() > kSecretBytesMax) {
        return fail(Code::kNotFound, fmt::format("the secret's file {} cannot be read, is empty, or is larger than 64 KiB; create it and "
                                                 "make it readable for this user", name.substr(5)));
      }
      while (!content.empty() && (content.back() == '\n' || content.back() == '\r')) content.pop_back();
      out += content;
    } else {
      const char* value = name.empty() ? nullptr : std::getenv(name.c_str());
      if (!value || !*value) {
        return fail(Code::kNotFound, fmt::format("the environment variable {} is not set; export it before the start", name));
      }
      out += value;
    }
    at = close + 1;
  }
}

Result<Chamber> load_chamber(const std::string& path) {
  UTP_TRY(const YamlDocument document, load_yaml(path));
  UTP_TRY(const Schema schema, chamber_schema());
  Violation violation;
  if (!schema.validate(document.json, violation)) return fail(Code::kInvalidArgument, explain(document, schema, violation));
  JsonTree tree;
  std::string syntax;
  if (!tree.parse(document.json, syntax)) return fail(Code::kInternal, fmt::format("{}: {}", path, syntax));

  Chamber chamber;
  chamber.file = path;
  Reader in(document, tree);
  const JsonValue& root = tree.root();
  const std::filesystem::path base = std::filesystem::path(path).parent_path();
  in.text(root, "realm", chamber.realm);
  in.text(root, "region", chamber.region);
  in.text(root, "data_dir", chamber.data_dir);
  chamber.data_dir = below(base, chamber.data_dir);
  std::string durability = "interval";
  in.text(root, "durability", durability);
  chamber.durability = durability == "commit" ? Durability::kCommit : Durability::kInterval;
  if (const auto ms = in.integer(root, "interval_ms")) chamber.interval_ns = static_cast<std::int64_t>(*ms) * 1'000'000;
  for (const std::string& dir : in.texts(root, "schemas")) chamber.schema_dirs.push_back(below(base, dir));
  for (const std::string& dir : in.texts(root, "connector_dirs")) chamber.connector_dirs.push_back(below(base, dir));
  read_connectors(in, root, chamber);
  for (ConnectorConfig& c : chamber.connectors) {
    if (!c.ca_file.empty()) c.ca_file = below(base, c.ca_file);
  }
  read_bridges(in, root, chamber);
  read_topics(in, root, chamber);
  read_persister(in, root, chamber.persister);
  read_spool(in, root, chamber.spool);

  chamber.bus = chamber.bus_shown = std::string(kDefaultBus);
  chamber.store = chamber.store_shown = std::string(kDefaultStore);
  in.text(root, "bus", chamber.bus_shown);
  in.text(root, "store", chamber.store_shown);
  chamber.bus_written = chamber.bus_shown;
  chamber.bus_shown = shown_url(chamber.bus_shown);
  chamber.store_shown = shown_url(chamber.store_shown);
  in.secret_text(root, "bus", "", chamber.bus);
  in.secret_text(root, "store", "", chamber.store);
  if (auto url = resolve_bus_url(chamber.bus, chamber.data_dir)) chamber.bus = *std::move(url);
  else in.refuse("/bus", url.error().message);
  for (std::size_t i = 0; i < chamber.bridges.size(); ++i) {
    if (chamber.bridges[i].from == chamber.bus) in.refuse(fmt::format("/bridges/{}/from", i), "this is the chamber's own bus; name the region's");
  }
  if (auto url = resolve_store_url(chamber.store, chamber.data_dir)) chamber.store = *std::move(url);
  else in.refuse("/store", url.error().message);

  chamber.health_file = "health.json";
  in.text(root, "health_file", chamber.health_file);
  chamber.health_file = below(chamber.data_dir, chamber.health_file);
  if (const JsonValue* logging = in.member(root, "log")) {
    std::string level = "info";
    in.text(*logging, "level", level);
    constexpr std::string_view kLevels[] = {"debug", "info", "warn", "error", "off"};
    for (std::size_t i = 0; i < std::size(kLevels); ++i) {
      if (kLevels[i] == level) chamber.log_level = static_cast<log::Level>(i);
    }
    in.flag(*logging, "json", chamber.log_json);
    in.text(*logging, "file", chamber.log_file);
    if (!chamber.log_file.empty()) chamber.log_file = below(chamber.data_dir, chamber.log_file);
  }
  if (in.error()) return fail(*in.error());
  return chamber;
}

}  // namespace utp::app
