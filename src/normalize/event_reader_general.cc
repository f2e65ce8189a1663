// The general way: any legal JSON, and the words for every refusal.
#include <simdjson.h>

#include "core/hash.h"
#include "model/envelope_rules.h"
#include "normalize/event_reader_impl.h"

namespace utp {
namespace {

namespace ondemand = simdjson::ondemand;

std::string describe(const JsonValue& value) {
  if (value.kind == JsonKind::kString) return "\"" + shorten(value.text, 100) + "\"";
  if (value.kind == JsonKind::kNumber) return shorten(value.text, 60);
  return std::string(to_string(value.kind));
}

// The envelope's fields from a tree; texts refer to the tree.
class EnvelopeReader {
 public:
  EnvelopeReader(const JsonTree& tree, Envelope& envelope, Violation& violation)
      : tree_(tree), e_(envelope), violation_(violation) {}

  bool read() {
    const JsonValue& root = tree_.root();
    if (root.kind != JsonKind::kObject) return refuse("type", "", root, "an object");
    return read_version() && text("event_type", e_.event_type, 64, is_event_type, "such as quotes/v2") &&
           text("schema_ref", e_.schema_ref, 96, is_schema_ref, "such as utp://quotes/2.0.0") &&
           text("source_id", e_.source_id, 64, is_source_id, "a-z, 0-9, _, . and -") &&
           text("realm", e_.realm, 64, is_realm, "a-z, 0-9, _ and -") &&
           text("region", e_.region, 64, is_realm, "a-z, 0-9, _ and -") &&
           text("symbol", e_.symbol, 64, is_symbol, "letters, digits and \" ._:/+=^#$@&*!~-\"") &&
           time("event_time", e_.event_time) && source() && time("ingest_time", e_.ingest_time) && sequence() &&
           time("watermark", e_.watermark) && checksum() && quality() && (payload_ = require("payload")) != nullptr &&
           (payload_->kind == JsonKind::kObject || refuse("type", "/payload", *payload_, "an object"));
  }
  const JsonValue& payload() const { return *payload_; }
  std::uint64_t payload_checksum() const { return payload_checksum_; }  // of these bytes

 private:
  static constexpr const char* kChecksumForm = "16 digits of 0-9 and a-f";

  bool refuse(const char* code, const char* path, const JsonValue& found, const std::string& expected) {
    violation_ = {code, path, "found " + describe(found) + ", expected " + expected};
    return false;
  }

  const JsonValue* require(const char* name) {
    const JsonValue* const value = tree_.member(tree_.root(), name);
    if (value == nullptr) violation_ = {"required", "/" + std::string(name), "absent, but every envelope has it"};
    return value;
  }

  const JsonValue* require_text(const char* name) {
    const JsonValue* const value = require(name);
    if (value == nullptr || value->kind == JsonKind::kString) return value;
    refuse("type", ("/" + std::string(name)).c_str(), *value, "a string");
    return nullptr;
  }

  bool read_version() {
    const JsonValue* const value = require("v");
    if (value == nullptr) return false;
    if (value->kind != JsonKind::kNumber) return refuse("type", "/v", *value, "the integer 1");
    const auto number = Decimal::parse(value->text);
    return (number && *number == Decimal(1, 0)) || refuse("const", "/v", *value, "1, the envelope version this program knows");
  }

  bool text(const char* name, std::string_view& out, std::size_t bytes_max, bool (*rule)(std::string_view), const char* words) {
    const JsonValue* const value = require_text(name);
    if (value == nullptr) return false;
    const std::string path = "/" + std::string(name);
    if (value->text.size() > bytes_max && scan::code_points(value->text) > bytes_max) {
      return refuse("maxLength", path.c_str(), *value, "at most " + std::to_string(bytes_max) + " characters");
    }
    if (!rule(value->text)) return refuse("pattern", path.c_str(), *value, words);
    out = value->text;
    return true;
  }

  bool time(const char* name, Timestamp& out) {
    const JsonValue* const value = require_text(name);
    if (value == nullptr) return false;
    const auto parsed = Timestamp::parse_canonical(value->text);
    if (!parsed) return refuse("format", ("/" + std::string(name)).c_str(), *value, "a time such as 2026-11-22T14:30:00.123456789Z");
    out = *parsed;
    return true;
  }

  bool source() {
    const JsonValue* const value = require_text("event_time_source");
    if (value == nullptr) return false;
    const auto parsed = parse_event_time_source(value->text);
    if (!parsed) return refuse("enum", "/event_time_source", *value, "venue, gateway or receipt");
    e_.event_time_source = *parsed;
    return true;
  }

  bool sequence() {
    const JsonValue* const value = require("sequence");
    if (value == nullptr) return false;
    if (value->kind != JsonKind::kNumber) return refuse("type", "/sequence", *value, "an integer");
    const auto number = Decimal::parse(value->text);
    if (number && !number->is_integer()) return refuse("type", "/sequence", *value, "an integer");
    const auto whole = number ? number->to_int64() : std::nullopt;
    if (whole && *whole < 0) return refuse("minimum", "/sequence", *value, "at least 0");
    if (!whole || *whole > static_cast<std::int64_t>(kSequenceMax)) return refuse("maximum", "/sequence", *value, "at most 2^53-1");
    e_.sequence = static_cast<std::uint64_t>(*whole);
    return true;
  }

  bool checksum() {
    const JsonValue* value = require_text("checksum");
    if (value == nullptr) return false;
    if (!parse_hex64(value->text, e_.checksum)) return refuse("pattern", "/checksum", *value, kChecksumForm);
    payload_checksum_ = e_.checksum;
    value = tree_.member(tree_.root(), "payload_checksum");
    if (value == nullptr) return true;
    if (value->kind != JsonKind::kString) return refuse("type", "/payload_checksum", *value, "a string");
    return parse_hex64(value->text, payload_checksum_) || refuse("pattern", "/payload_checksum", *value, kChecksumForm);
  }

  bool quality() {
    e_.quality = Quality::kNone;
    const JsonValue* const value = tree_.member(tree_.root(), "quality");
    if (value == nullptr) return true;
    if (value->kind != JsonKind::kArray) return refuse("type", "/quality", *value, "an array");
    if (value->count == 0) return refuse("minItems", "/quality", *value, "at least one item, or no quality at all");
    if (value->count > 16) return refuse("maxItems", "/quality", *value, "at most 16 items");
    std::size_t index = 0;
    for (const JsonValue* item = tree_.first(*value); item != nullptr; item = tree_.next(*item), ++index) {
      const std::string path = "/quality/" + std::to_string(index);
      if (item->kind != JsonKind::kString) return refuse("type", path.c_str(), *item, "a string");
      const auto flag = parse_quality(item->text);
      if (!flag) return refuse("enum", path.c_str(), *item, "delayed, stale, snapshot, gap, late, conflated, indicative, rounded or repaired");
      e_.quality = e_.quality | *flag;
    }
    return true;
  }

  const JsonTree& tree_;
  Envelope& e_;
  Violation& violation_;
  const JsonValue* payload_ = nullptr;
  std::uint64_t payload_checksum_ = 0;
};

// The payload's bytes within `bytes`, which is legal JSON with such an object; `padded` is scratch space.
std::string_view payload_bytes(ondemand::parser& parser, std::string& padded, std::string_view bytes) {
  padded.assign(bytes);
  padded.resize(bytes.size() + simdjson::SIMDJSON_PADDING);
  ondemand::document document;
  ondemand::object object;
  if (parser.iterate(padded.data(), bytes.size(), padded.size()).get(document) || document.get_object().get(object)) return {};
  for (auto item : object) {
    std::string_view key;
    if (item.error() || item.unescaped_key().get(key)) return {};
    if (key != "payload") continue;
    ondemand::object payload;
    std::string_view raw;
    if (item.value().get_object().get(payload) || payload.raw_json().get(raw)) return {};
    raw = raw.substr(0, raw.rfind('}') + 1);  // white space behind the object comes along
    return bytes.substr(static_cast<std::size_t>(raw.data() - padded.data()), raw.size());
  }
  return {};
}

}  // namespace

bool EventReader::Impl::read_general(std::string_view bytes, Event& event, Violation& violation) {
  if (bytes.size() > kEnvelopeBytesMax) {
    violation = {"size", "", "found " + std::to_string(bytes.size()) + " bytes, expected at most " + std::to_string(kEnvelopeBytesMax)};
    return false;
  }
  std::string error;
  if (!tree.parse(bytes, error)) {
    violation = {"json", "", std::move(error)};
    return false;
  }
  Envelope& e = event.envelope;
  EnvelopeReader reader(tree, e, violation);
  if (!reader.read()) return false;
  const auto plan = registry.by_ref(e.schema_ref);
  if (!plan) {
    violation = {"schema_unknown", "/schema_ref", "found \"" + std::string(e.schema_ref) + "\", which is no schema this program knows; "
                                                  "add its file to the schema directories"};
    return false;
  }
  if (plan->event_type() != e.event_type) {
    violation = {"const", "/event_type", "found \"" + std::string(e.event_type) + "\", expected \"" + plan->event_type() + "\" for " + plan->schema_ref()};
    return false;
  }
  event.row.reset(*plan);
  if (!PlanAccess::read_tree(PlanAccess::impl(*plan), tree, reader.payload(), event.row, violation)) {
    violation.path.insert(0, "/payload");
    return false;
  }
  for (std::string_view* text : {&e.event_type, &e.schema_ref, &e.source_id, &e.realm, &e.region, &e.symbol}) {
    *text = event.row.keep(*text);
  }
  thread_local ondemand::parser parser;
  e.payload = payload_bytes(parser, padded, bytes);
  const std::uint64_t actual = hash64(e.payload);
  if (actual != reader.payload_checksum()) {
    std::string found(16, '0');
    write_hex64(found.data(), actual);
    violation = {"checksum", "/checksum", "the payload's bytes hash to " + found + ": they were changed after they were written"};
    return false;
  }
  return true;
}

}  // namespace utp
