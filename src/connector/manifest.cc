#include "connector/manifest.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/embedded_file.h"
#include "core/json_writer.h"
#include "core/timestamp.h"
#include "schema/json.h"
#include "schema/schema.h"
#include "schema/yaml.h"

namespace utp {
namespace {

constexpr std::string_view kManifestSchema = "schemas/manifest/1.1.0.json";

Result<Schema> manifest_schema() {
  for (const EmbeddedFile& file : embedded::schemas()) {
    if (file.path == kManifestSchema) return Schema::compile(file.content, file.path);
  }
  return fail(Code::kInternal, "the binary does not contain " + std::string(kManifestSchema));
}

// Reads the checked document into a Manifest; what the schema cannot say is checked on the way. The first finding stays.
class ManifestReader {
 public:
  ManifestReader(const YamlDocument& document, const JsonTree& tree, const Registry& registry)
      : document_(document), tree_(tree), registry_(registry) {}

  Result<Manifest> read() {
    const JsonValue& root = tree_.root();
    manifest_.file = document_.file;
    manifest_.id = text(root, "id");
    manifest_.version = text(root, "version");
    manifest_.title = text(root, "title");
    manifest_.endpoint = text(root, "endpoint");
    read_entry(text(root, "entry"));
    if (const JsonValue* defaults = tree_.member(root, "defaults")) {
      text_into(*defaults, "realm", manifest_.realm);
      text_into(*defaults, "region", manifest_.region);
    }
    read_event_types(*tree_.member(root, "event_types"));
    if (const JsonValue* channels = tree_.member(root, "channels")) read_channels(*channels);
    if (const JsonValue* symbols = tree_.member(root, "symbols")) read_symbols(*symbols);
    if (const JsonValue* limits = tree_.member(root, "limits")) read_limits(*limits);
    if (const JsonValue* secrets = tree_.member(root, "secrets")) read_secrets(*secrets);
    read_times(root);
    if (const JsonValue* settings = tree_.member(root, "settings")) {
      manifest_.settings_json.clear();
      tree_.write(*settings, manifest_.settings_json);
    }
    if (!finding_.empty()) return fail(Code::kInvalidArgument, finding_);
    return std::move(manifest_);
  }

 private:
  void refuse(const std::string& pointer, const std::string& message) {
    if (finding_.empty()) finding_ = document_.describe(pointer, message);
  }

  std::string text(const JsonValue& object, std::string_view key) const {
    const JsonValue* value = tree_.member(object, key);
    return value == nullptr ? std::string() : std::string(value->text);
  }
  void text_into(const JsonValue& object, std::string_view key, std::string& out) const {
    if (const JsonValue* value = tree_.member(object, key)) out = std::string(value->text);
  }
  bool flag(const JsonValue& object, std::string_view key, bool otherwise) const {
    const JsonValue* value = tree_.member(object, key);
    return value == nullptr ? otherwise : value->kind == JsonKind::kTrue;
  }
  template <class T>
  void number_into(const JsonValue& object, std::string_view key, T& out) const {
    const JsonValue* value = tree_.member(object, key);
    if (value == nullptr) return;
    double number = 0;
    std::from_chars(value->text.data(), value->text.data() + value->text.size(), number);
    out = static_cast<T>(number);
  }
  void duration_into(const JsonValue& object, const std::string& parent, std::string_view key, std::int64_t& out) {
    const JsonValue* value = tree_.member(object, key);
    if (value == nullptr) return;
    const auto parsed = parse_duration(value->text);
    if (!parsed) {
      return refuse(parent + "/" + std::string(key), "found " + std::string(value->text) + ", expected a duration below 292 years, such as 250ms or 30s");
    }
    out = *parsed;
  }
  void bytes_into(const JsonValue& object, const std::string& parent, std::string_view key, std::uint64_t& out,
                  std::uint64_t least) {
    const JsonValue* value = tree_.member(object, key);
    if (value == nullptr) return;
    const auto parsed = parse_bytes(value->text);
    if (!parsed || *parsed < least || *parsed > (4ull << 30)) {
      return refuse(parent + "/" + std::string(key),
                    "found " + std::string(value->text) + ", expected " + std::to_string(least) + " bytes to 4GiB, such as 16MiB");
    }
    out = *parsed;
  }

  void read_entry(const std::string& entry) {
    const std::size_t colon = entry.find(':');
    const std::string rest = entry.substr(colon + 1);
    if (entry.substr(0, colon) == "builtin") {
      manifest_.entry = Manifest::Entry::kBuiltin;
      manifest_.builtin = rest;
      return;
    }
    manifest_.entry = Manifest::Entry::kExec;
    // Words; quotes keep spaces together. No shell is involved.
    std::string word;
    char quote = 0;
    bool in_word = false;
    for (const char c : rest) {
      if (quote != 0) {
        if (c == quote) quote = 0;
        else word += c;
      } else if (c == '"' || c == '\'') {
        quote = c;
        in_word = true;
      } else if (c == ' ' || c == '\t') {
        if (in_word) manifest_.program.push_back(std::move(word));
        word.clear();
        in_word = false;
      } else {
        word += c;
        in_word = true;
      }
    }
    if (in_word) manifest_.program.push_back(std::move(word));
    if (quote != 0) refuse("/entry", "a quote is not closed");
    if (manifest_.program.empty() || manifest_.program.front().empty()) refuse("/entry", "found no program after exec:");
  }

  void read_event_types(const JsonValue& list) {
    std::vector<std::string> known_refs, known_types;
    for (const auto& plan : registry_.all()) {
      known_refs.push_back(plan->schema_ref());
      known_types.push_back(plan->event_type());
    }
    std::size_t index = 0;
    std::set<std::string> seen;
    for (const JsonValue* item = tree_.first(list); item != nullptr; item = tree_.next(*item), ++index) {
      const std::string pointer = "/event_types/" + std::to_string(index);
      Manifest::EventType event;
      event.event_type = text(*item, "event_type");
      event.schema_ref = text(*item, "schema_ref");
      event.plan = registry_.by_ref(event.schema_ref);
      if (!registry_.by_event_type(event.event_type)) {
        refuse(pointer + "/event_type", "no schema knows the event type " + event.event_type + suggestion(event.event_type, known_types));
      } else if (!event.plan) {
        const auto newest = registry_.by_event_type(event.event_type);
        refuse(pointer + "/schema_ref", "no schema " + event.schema_ref + suggestion(event.schema_ref, known_refs) + "; for " +
                                            event.event_type + " this program has " + newest->schema_ref());
      } else if (event.plan->event_type() != event.event_type) {
        refuse(pointer + "/schema_ref", event.schema_ref + " is a schema of " + event.plan->event_type() + ", not of " + event.event_type);
      } else if (!seen.insert(event.event_type).second) {
        refuse(pointer + "/event_type", event.event_type + " stands here twice");
      }
      manifest_.event_types.push_back(std::move(event));
    }
  }

  static std::string suggestion(const std::string& name, const std::vector<std::string>& known) {
    const std::string nearest = nearest_name(name, known);
    if (!nearest.empty()) return "; did you mean " + nearest + "?";
    std::string all;
    for (const std::string& each : known) all += (all.empty() ? "; there are " : ", ") + each;
    return all;
  }

  void read_channels(const JsonValue& list) {
    std::size_t index = 0;
    for (const JsonValue* item = tree_.first(list); item != nullptr; item = tree_.next(*item), ++index) {
      const std::string pointer = "/channels/" + std::to_string(index);
      Manifest::Channel channel;
      channel.name = text(*item, "name");
      channel.per_symbol = flag(*item, "per_symbol", true);
      channel.wanted_by_default = flag(*item, "default", true);
      duration_into(*item, pointer, "stale_after", channel.stale_after_ns);
      if (manifest_.channel(channel.name) != nullptr) refuse(pointer + "/name", "the channel " + channel.name + " stands here twice");
      if (const JsonValue* types = tree_.member(*item, "event_types")) {
        std::size_t at = 0;
        for (const JsonValue* type = tree_.first(*types); type != nullptr; type = tree_.next(*type), ++at) {
          const std::string name(type->text);
          if (!std::ranges::any_of(manifest_.event_types, [&](const auto& e) { return e.event_type == name; })) {
            refuse(pointer + "/event_types/" + std::to_string(at), "found " + name + ", which event_types above does not have");
          }
          channel.event_types.push_back(name);
        }
      }
      if (const JsonValue* thinner = tree_.member(*item, "thinner")) read_thinner(*thinner, pointer + "/thinner", channel);
      manifest_.channels.push_back(std::move(channel));
    }
  }

  void read_thinner(const JsonValue& thinner, const std::string& pointer, Manifest::Channel& channel) {
    channel.thinner = text(thinner, "name");
    duration_into(thinner, pointer, "stale_after", channel.thinner_stale_after_ns);
    if (manifest_.entry == Manifest::Entry::kExec) refuse(pointer, "a program cannot be asked for a thinner subscription: remove thinner");
    for (const std::string& type : channel.event_types) {
      if (type.starts_with("trades/")) refuse(pointer, "trades are never thinned, and the channel " + channel.name + " becomes " + type + ": remove thinner");
    }
  }

  void read_symbols(const JsonValue& symbols) {
    text_into(symbols, "separator", manifest_.separator);
    if (const JsonValue* list = tree_.member(symbols, "default")) {
      std::set<std::string> seen;
      std::size_t index = 0;
      for (const JsonValue* item = tree_.first(*list); item != nullptr; item = tree_.next(*item), ++index) {
        std::string symbol(item->text);
        if (!seen.insert(symbol).second) refuse("/symbols/default/" + std::to_string(index), symbol + " stands here twice");
        manifest_.default_symbols.push_back(std::move(symbol));
      }
    }
    pairs_into(symbols, "assets", manifest_.assets);
    pairs_into(symbols, "exceptions", manifest_.exceptions);
    std::map<std::string, std::string> by_venue;
    for (const auto& [canonical, venue] : manifest_.exceptions) {
      const auto [other, fresh] = by_venue.emplace(venue, canonical);
      if (!fresh) refuse("/symbols/exceptions/" + canonical, "the venue's symbol " + venue + " is already that of " + other->second);
    }
  }
  void pairs_into(const JsonValue& object, std::string_view key, std::map<std::string, std::string>& out) const {
    const JsonValue* pairs = tree_.member(object, key);
    if (pairs == nullptr) return;
    for (const JsonValue* item = tree_.first(*pairs); item != nullptr; item = tree_.next(*item)) {
      out.emplace(std::string(item->key), std::string(item->text));
    }
  }

  void read_limits(const JsonValue& limits) {
    number_into(limits, "connections_per_minute", manifest_.rates.connections_per_minute);
    number_into(limits, "messages_per_second", manifest_.rates.messages_per_second);
    number_into(limits, "subscriptions_per_connection", manifest_.rates.subscriptions_per_connection);
    number_into(limits, "events_per_second", manifest_.rates.events_per_second);
  }

  void read_secrets(const JsonValue& list) {
    std::size_t index = 0;
    std::set<std::string> seen;
    for (const JsonValue* item = tree_.first(list); item != nullptr; item = tree_.next(*item), ++index) {
      const std::string pointer = "/secrets/" + std::to_string(index);
      Manifest::Secret secret;
      secret.name = text(*item, "name");
      secret.env = text(*item, "env");
      secret.file = text(*item, "file");
      secret.required = flag(*item, "required", true);
      secret.description = text(*item, "description");
      if (secret.env.empty() == secret.file.empty()) {
        refuse(pointer, "the secret " + secret.name + " needs either env (an environment variable's name) or file, and not both");
      }
      if (!seen.insert(secret.name).second) refuse(pointer + "/name", "the secret " + secret.name + " stands here twice");
      manifest_.secrets.push_back(std::move(secret));
    }
  }

  void read_times(const JsonValue& root) {
    duration_into(root, "", "lateness", manifest_.lateness_ns);
    // A program has no heartbeats that the host could know of: only its manifest can say how long it may be silent.
    if (manifest_.entry == Manifest::Entry::kExec) manifest_.silent_connection_ns = 0;
    if (const JsonValue* reconnect = tree_.member(root, "reconnect")) {
      LinkLimits& link = manifest_.link;
      const std::string at = "/reconnect";
      duration_into(*reconnect, at, "backoff_min", link.backoff_min_ns);
      duration_into(*reconnect, at, "backoff_max", link.backoff_max_ns);
      duration_into(*reconnect, at, "stable_after", link.stable_ns);
      duration_into(*reconnect, at, "connect_timeout", link.connect_timeout_ns);
      duration_into(*reconnect, at, "silence", link.silence_ns);
      duration_into(*reconnect, at, "ping_timeout", link.ping_timeout_ns);
      duration_into(*reconnect, at, "confirm_within", manifest_.confirm_within_ns);
      duration_into(*reconnect, at, "silent_connection", manifest_.silent_connection_ns);
      bytes_into(*reconnect, at, "message_bytes", link.message_bytes_max, 1024);
      if (link.backoff_min_ns > link.backoff_max_ns) refuse(at + "/backoff_min", "backoff_min is longer than backoff_max");
      for (const auto& [name, value] : {std::pair{"connect_timeout", link.connect_timeout_ns}, {"silence", link.silence_ns},
                                        {"ping_timeout", link.ping_timeout_ns}, {"confirm_within", manifest_.confirm_within_ns}}) {
        if (value <= 0) refuse(at + "/" + name, std::string(name) + " must be longer than 0");
      }
    }
    if (const JsonValue* queue = tree_.member(root, "queue")) {
      bytes_into(*queue, "/queue", "frames_bytes", manifest_.queue_frames_bytes, 64 << 10);
      bytes_into(*queue, "/queue", "events_bytes", manifest_.queue_events_bytes, 64 << 10);
    }
    if (const JsonValue* batch = tree_.member(root, "batch")) {
      number_into(*batch, "events", manifest_.batch_events);
      bytes_into(*batch, "/batch", "bytes", manifest_.batch_bytes, 1024);
      duration_into(*batch, "/batch", "linger", manifest_.batch_linger_ns);
    }
    if (const JsonValue* exec = tree_.member(root, "exec")) {
      bytes_into(*exec, "/exec", "line_bytes", manifest_.exec_line_bytes, 1024);
      duration_into(*exec, "/exec", "stop_timeout", manifest_.exec_stop_timeout_ns);
    }
    if (const JsonValue* health = tree_.member(root, "health")) {
      duration_into(*health, "/health", "degraded_after", manifest_.degraded_after_ns);
      duration_into(*health, "/health", "down_after", manifest_.down_after_ns);
    }
  }

  const YamlDocument& document_;
  const JsonTree& tree_;
  const Registry& registry_;
  Manifest manifest_;
  std::string finding_;
};

Result<Manifest> manifest_of(const YamlDocument& document, const Registry& registry) {
  UTP_TRY(const Schema schema, manifest_schema());
  UTP_CHECK(document.check(schema));
  JsonTree tree;
  std::string error;
  if (!tree.parse(document.json, error)) return fail(Code::kInternal, document.file + ": " + error);
  return ManifestReader(document, tree, registry).read();
}

}  // namespace

Result<Manifest> parse_manifest(std::string_view text, const std::string& file, const Registry& registry) {
  UTP_TRY(const YamlDocument document, parse_yaml(text, file));
  return manifest_of(document, registry);
}

Result<Manifest> load_manifest(const std::string& path, const Registry& registry) {
  std::error_code error;
  std::filesystem::path file(path);
  if (std::filesystem::is_directory(file, error)) file /= kManifestFile;
  UTP_TRY(const YamlDocument document, load_yaml(file.string()));
  UTP_TRY(Manifest manifest, manifest_of(document, registry));
  manifest.folder = file.parent_path().empty() ? "." : file.parent_path().string();
  const std::string folder_name = std::filesystem::weakly_canonical(file.parent_path().empty() ? "." : file.parent_path(), error).filename().string();
  if (!error && folder_name != manifest.id) {
    return fail(Code::kInvalidArgument, document.describe("/id", "found " + manifest.id + ", expected the folder's name " + folder_name));
  }
  return manifest;
}

const Manifest::Channel* Manifest::channel(std::string_view name) const {
  const auto found = std::ranges::find(channels, name, &Channel::name);
  return found == channels.end() ? nullptr : &*found;
}

std::vector<std::shared_ptr<const Plan>> Manifest::plans() const {
  std::vector<std::shared_ptr<const Plan>> all;
  for (const EventType& event : event_types) all.push_back(event.plan);
  return all;
}

SymbolMap Manifest::symbol_map() const {
  SymbolMap map;
  if (!separator.empty()) map.set_separator(separator);
  for (const auto& [venue, canonical] : assets) map.add_asset(venue, canonical);
  for (const auto& [canonical, venue] : exceptions) map.add(canonical, venue);
  return map;
}

Result<std::vector<WantedStream>> Manifest::wanted(const std::vector<std::string>& channels_wanted,
                                                   const std::vector<std::string>& symbols_wanted) const {
  std::vector<const Channel*> chosen;
  std::vector<std::string> names;
  for (const Channel& c : channels) {
    names.push_back(c.name);
    if (channels_wanted.empty() && c.wanted_by_default) chosen.push_back(&c);
  }
  for (const std::string& name : channels_wanted) {
    const Channel* found = channel(name);
    if (found == nullptr) {
      const std::string nearest = nearest_name(name, names);
      std::string list;
      for (const std::string& n : names) list += (list.empty() ? "" : ", ") + n;
      return fail(Code::kInvalidArgument, "connector " + id + " has no channel " + name +
                                              (nearest.empty() ? "" : "; did you mean " + nearest + "?") + "; it has: " + list);
    }
    chosen.push_back(found);
  }
  const std::vector<std::string>& symbols = symbols_wanted.empty() ? default_symbols : symbols_wanted;
  // What is named twice is wanted once: venues take a second subscription for an error, or send everything twice.
  std::vector<WantedStream> streams;
  std::set<std::pair<std::string, std::string>> seen;
  const auto want = [&](const std::string& name, const std::string& symbol) {
    if (seen.emplace(name, symbol).second) streams.push_back({name, symbol});
  };
  for (const Channel* c : chosen) {
    if (!c->per_symbol) {
      want(c->name, "");
      continue;
    }
    for (const std::string& symbol : symbols) want(c->name, symbol);
  }
  return streams;
}

Result<std::map<std::string, std::string>> Manifest::read_secrets(
    const std::function<const char*(const char*)>& environment) const {
  std::map<std::string, std::string> values;
  for (const Secret& secret : secrets) {
    const std::string what = secret.description.empty() ? "" : " (" + secret.description + ")";
    std::string value;
    std::string cure;
    if (!secret.env.empty()) {
      const char* found = environment(secret.env.c_str());
      if (found != nullptr) value = found;
      cure = "set the environment variable " + secret.env;
    } else {
      std::ifstream in(secret.file);
      if (in) std::getline(in, value);
      cure = "put it into the first line of " + secret.file + ", readable by this user";
    }
    while (!value.empty() && (value.back() == '\r' || value.back() == ' ')) value.pop_back();
    if (!value.empty()) {
      values.emplace(secret.name, std::move(value));
    } else if (secret.required) {
      return fail(Code::kNotFound, "connector " + id + " needs the secret " + secret.name + what + ": " + cure);
    }
  }
  return values;
}

}  // namespace utp
