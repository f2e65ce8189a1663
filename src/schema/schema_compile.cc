#include <algorithm>
#include <array>
#include <deque>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>

#include "core/json_writer.h"
#include "schema/formats.h"
#include "schema/json.h"
#include "schema/number.h"
#include "schema/schema.h"

namespace utp {
namespace {

constexpr std::string_view kDialect = "https://json-schema.org/draft/2020-12/schema";
constexpr int kReferenceChainMax = 64;

// Keywords without a say in what is valid.
constexpr std::array<std::string_view, 11> kAnnotations = {
    "$comment",  "title",     "description",     "default",         "examples", "deprecated",
    "readOnly",  "writeOnly", "contentEncoding", "contentMediaType", "$defs"};

bool is_annotation(std::string_view keyword) {
  return keyword.starts_with("x-") ||
         std::find(kAnnotations.begin(), kAnnotations.end(), keyword) != kAnnotations.end();
}

std::optional<std::string> percent_decoded(std::string_view text) {
  const auto hex = [](char c) {
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
  };
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size() || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0) return std::nullopt;
    out.push_back(static_cast<char>(hex(text[i + 1]) * 16 + hex(text[i + 2])));
    i += 2;
  }
  return out;
}

std::optional<std::string> unescaped_token(std::string_view token) {
  std::string out;
  for (std::size_t i = 0; i < token.size(); ++i) {
    if (token[i] != '~') {
      out.push_back(token[i]);
    } else if (i + 1 < token.size() && (token[i + 1] == '0' || token[i + 1] == '1')) {
      out.push_back(token[++i] == '0' ? '~' : '/');
    } else {
      return std::nullopt;
    }
  }
  return out;
}

// Owns every node of a schema; the pointers between nodes own nothing, so that circles do no harm.
struct Arena {
  std::deque<Node> nodes;
};

class Compiler {
 public:
  Compiler(const JsonTree& tree, std::string origin, Formats formats)
      : tree_(tree), origin_(std::move(origin)), formats_(formats), arena_(std::make_shared<Arena>()) {}

  Result<std::shared_ptr<const Node>> run() {
    any_ = &arena_->nodes.emplace_back();
    UTP_CHECK(settle_dialect());
    UTP_TRY(const Node* root, compile(tree_.root(), ""));
    for (const Node& node : arena_->nodes) {
      int length = 0;
      for (const Node* at = node.ref.get(); at != nullptr; at = at->ref.get()) {
        if (++length > kReferenceChainMax) {
          return refuse("", "a $ref leads back to itself, or through more than " + std::to_string(kReferenceChainMax) +
                                " others");
        }
      }
    }
    return std::shared_ptr<const Node>(arena_, root);
  }

 private:
  struct State {
    const Node* node = nullptr;  // null while a $ref is being resolved
    bool complete = false;
  };

  tl::unexpected<Error> refuse(const std::string& pointer, const std::string& message, Code code = Code::kInvalidArgument) const {
    return fail(code, origin_ + ": at #" + pointer + ": " + message);
  }
  tl::unexpected<Error> expected(const std::string& pointer, const JsonValue& value, const std::string& what) const {
    std::string text;
    tree_.write(value, text);
    return refuse(pointer, "found " + shorten(text, 80) + ", expected " + what);
  }
  static std::shared_ptr<const Node> borrow(const Node* node) { return {std::shared_ptr<void>(), node}; }

  Status settle_dialect() {
    const JsonValue& root = tree_.root();
    const JsonValue* dialect = tree_.member(root, "$schema");
    const JsonValue* id = tree_.member(root, "$id");
    ours_ = dialect == nullptr || tree_.member(root, "x-utp") != nullptr ||
            (id != nullptr && id->text.starts_with("utp://"));
    if (dialect == nullptr) return {};
    std::string_view text = dialect->text;
    if (text.ends_with('#')) text.remove_suffix(1);
    if (dialect->kind != JsonKind::kString || text != kDialect) {
      return expected("/$schema", *dialect, "\"" + std::string(kDialect) + "\"");
    }
    return {};
  }

  Result<const Node*> compile(const JsonValue& schema, const std::string& pointer) {
    const std::uint32_t index = tree_.index_of(schema);
    if (const auto found = states_.find(index); found != states_.end()) {
      if (found->second.node == nullptr) return refuse(pointer, "the $ref leads back to itself");
      return found->second.node;
    }
    if (schema.kind == JsonKind::kTrue || schema.kind == JsonKind::kFalse) {
      Node& node = arena_->nodes.emplace_back();
      node.never = schema.kind == JsonKind::kFalse;
      states_[index] = {&node, true};
      return &node;
    }
    if (schema.kind != JsonKind::kObject) return expected(pointer, schema, "a schema: an object, true or false");
    if (const JsonValue* reference = tree_.member(schema, "$ref")) return compile_reference(schema, *reference, pointer);
    Node& node = arena_->nodes.emplace_back();
    states_[index] = {&node, false};
    UTP_CHECK(fill(node, schema, pointer));
    states_[index].complete = true;
    return &node;
  }

  Result<const Node*> compile_reference(const JsonValue& schema, const JsonValue& reference, const std::string& pointer) {
    const std::uint32_t index = tree_.index_of(schema);
    states_[index] = {};
    bool annotated = false;
    bool asserting = false;
    for (const JsonValue* keyword = tree_.first(schema); keyword != nullptr; keyword = tree_.next(*keyword)) {
      if (keyword->key == "$ref" || keyword->key == "$schema" || keyword->key == "$id") continue;
      if (keyword->key == "properties" || keyword->key == "items" || keyword->key == "additionalProperties") {
        return refuse(pointer + "/" + std::string(keyword->key),
                      "stands beside a $ref, which is outside the profile; write the members out", Code::kUnsupported);
      }
      (is_annotation(keyword->key) ? annotated : asserting) = true;
    }
    UTP_TRY(const auto target_place, resolve(reference, pointer + "/$ref"));
    UTP_TRY(const Node* target, compile(*target_place.first, target_place.second));
    const State& target_state = states_[tree_.index_of(*target_place.first)];
    if (!annotated && !asserting) {
      states_[index] = {target, target_state.complete};
      return target;
    }
    // Annotations alone: a copy that carries them, so that readers of the tree need not know of the $ref.
    const bool copy = !asserting && target_state.complete;
    Node& node = copy ? arena_->nodes.emplace_back(Node(*target)) : arena_->nodes.emplace_back();
    if (!copy) node.ref = borrow(target);
    states_[index] = {&node, false};
    UTP_CHECK(fill(node, schema, pointer));
    states_[index].complete = true;
    return &node;
  }

  // The schema that a local $ref names, and its own pointer.
  Result<std::pair<const JsonValue*, std::string>> resolve(const JsonValue& reference, const std::string& pointer) {
    const std::string what = "a reference into this file: \"#\" or \"#/$defs/...\"";
    if (reference.kind != JsonKind::kString || !reference.text.starts_with('#')) return expected(pointer, reference, what);
    const auto decoded = percent_decoded(reference.text.substr(1));
    if (!decoded || (!decoded->empty() && (*decoded)[0] != '/')) return expected(pointer, reference, what);
    const JsonValue* place = &tree_.root();
    std::string path;
    // Only through places that hold schemas: what stands elsewhere (an enum, an annotation) is data.
    bool names = false;
    std::string_view rest = *decoded;
    while (!rest.empty()) {
      rest.remove_prefix(1);
      const std::size_t end = std::min(rest.find('/'), rest.size());
      const auto token = unescaped_token(rest.substr(0, end));
      rest.remove_prefix(end);
      if (!token) return expected(pointer, reference, what);
      const JsonValue* next = tree_.member(*place, *token);
      if (next == nullptr) return refuse(pointer, "refers to " + std::string(reference.text) + ", which is not there");
      append_pointer(path, *token);
      if (names) {
        names = false;
      } else if (*token == "properties" || *token == "$defs") {
        names = true;
      } else if (*token != "items" && *token != "additionalProperties") {
        return refuse(pointer, "refers to " + std::string(reference.text) + ", which is no place for a schema");
      }
      place = next;
    }
    if (names) return refuse(pointer, "refers to " + std::string(reference.text) + ", which is no schema");
    return std::pair(place, path);
  }

  Status fill(Node& node, const JsonValue& schema, const std::string& pointer) {
    for (const JsonValue* keyword = tree_.first(schema); keyword != nullptr; keyword = tree_.next(*keyword)) {
      std::string at = pointer;
      append_pointer(at, keyword->key);
      UTP_CHECK(apply(node, *keyword, at, pointer.empty()));
    }
    return {};
  }

  Status apply(Node& node, const JsonValue& value, const std::string& at, bool at_root) {
    const std::string_view key = value.key;
    if (key == "type") return apply_type(node, value, at);
    if (key == "enum") return apply_enum(node, value, at);
    if (key == "const") {
      std::string text;
      tree_.write_canonical(value, text);
      return restrict_choices(node, {std::move(text)});
    }
    if (key == "properties") return apply_properties(node, value, at);
    if (key == "required") return apply_required(node, value, at);
    if (key == "additionalProperties" || key == "items") {
      UTP_TRY(const Node* child, compile(value, at));
      (key == "items" ? node.items : node.additional) = value.kind == JsonKind::kTrue ? nullptr : borrow(child);
      return {};
    }
    if (key == "minItems") return apply_count(node.min_items, value, at);
    if (key == "maxItems") return apply_count(node.max_items, value, at);
    if (key == "minLength") return apply_count(node.min_length, value, at);
    if (key == "maxLength") return apply_count(node.max_length, value, at);
    if (key == "minimum") return apply_number(node.minimum, value, at);
    if (key == "maximum") return apply_number(node.maximum, value, at);
    if (key == "exclusiveMinimum") return apply_number(node.exclusive_minimum, value, at);
    if (key == "exclusiveMaximum") return apply_number(node.exclusive_maximum, value, at);
    if (key == "multipleOf") {
      UTP_CHECK(apply_number(node.multiple_of, value, at));
      if (*node.multiple_of <= Decimal()) return expected(at, value, "a number above 0");
      return {};
    }
    if (key == "pattern") return apply_pattern(node, value, at);
    if (key == "format") return apply_format(node, value, at);
    return apply_other(node, value, at, at_root);
  }

  Status apply_other(Node& node, const JsonValue& value, const std::string& at, bool at_root) {
    const std::string_view key = value.key;
    if (key == "$ref") return {};
    if (key == "$schema" || key == "$id") {
      if (!at_root)
        return refuse(at, "stands in a subschema, which is outside the profile; only the root has it",
                      Code::kUnsupported);
      if (value.kind != JsonKind::kString) return expected(at, value, "a string");
      if (key == "$id" && value.text.find('#') != std::string_view::npos) return expected(at, value, "a URI without a fragment");
      return {};
    }
    if (key == "$defs") {
      if (value.kind != JsonKind::kObject) return expected(at, value, "an object of schemas");
      for (const JsonValue* child = tree_.first(value); child != nullptr; child = tree_.next(*child)) {
        std::string child_at = at;
        append_pointer(child_at, child->key);
        UTP_TRY([[maybe_unused]] const Node* compiled, compile(*child, child_at));
      }
      return {};
    }
    if (key == "title" || key == "description" || key == "$comment" || key == "contentEncoding" || key == "contentMediaType") {
      if (value.kind != JsonKind::kString) return expected(at, value, "a string");
      if (key == "title") node.title = value.text;
      if (key == "description") node.description = value.text;
      return {};
    }
    if (key == "deprecated" || key == "readOnly" || key == "writeOnly") {
      if (value.kind != JsonKind::kTrue && value.kind != JsonKind::kFalse) return expected(at, value, "true or false");
      return {};
    }
    if (key == "examples") {
      if (value.kind != JsonKind::kArray) return expected(at, value, "an array");
      return {};
    }
    if (key == "x-utp") {
      node.x_utp.clear();
      tree_.write(value, node.x_utp);
      return {};
    }
    if (is_annotation(key)) return {};
    return refuse(at, "the keyword \"" + shorten(key, 60) + "\" is outside the profile (docs/schemas.md lists what is in it)",
                  Code::kUnsupported);
  }

  Status apply_type(Node& node, const JsonValue& value, const std::string& at) {
    const std::string what = "null, boolean, object, array, string, integer or number, or a list of them without repetition";
    const auto bit = [](const JsonValue& name) -> std::uint8_t {
      if (name.kind != JsonKind::kString) return 0;
      static constexpr std::array<std::pair<std::string_view, std::uint8_t>, 7> kNames = {
          {{"null", kTypeNull}, {"boolean", kTypeBoolean}, {"object", kTypeObject}, {"array", kTypeArray},
           {"string", kTypeString}, {"integer", kTypeInteger}, {"number", kTypeNumber}}};
      for (const auto& [text, type] : kNames) {
        if (name.text == text) return type;
      }
      return 0;
    };
    node.types = 0;
    if (value.kind != JsonKind::kArray) {
      node.types = bit(value);
      if (node.types == 0) return expected(at, value, what);
      return {};
    }
    for (const JsonValue* name = tree_.first(value); name != nullptr; name = tree_.next(*name)) {
      const std::uint8_t type = bit(*name);
      if (type == 0 || (node.types & type) != 0) return expected(at, value, what);
      node.types |= type;
    }
    if (node.types == 0) return expected(at, value, what);
    return {};
  }

  // enum and const beside each other: what both allow.
  static Status restrict_choices(Node& node, std::vector<std::string> choices) {
    if (node.has_choices) {
      std::erase_if(node.choices, [&](const std::string& text) {
        return std::find(choices.begin(), choices.end(), text) == choices.end();
      });
      return {};
    }
    node.has_choices = true;
    node.choices = std::move(choices);
    return {};
  }

  Status apply_enum(Node& node, const JsonValue& value, const std::string& at) {
    if (value.kind != JsonKind::kArray || value.count == 0) return expected(at, value, "an array of at least one value");
    std::vector<std::string> choices;
    for (const JsonValue* choice = tree_.first(value); choice != nullptr; choice = tree_.next(*choice)) {
      std::string text;
      tree_.write_canonical(*choice, text);
      if (std::find(choices.begin(), choices.end(), text) != choices.end()) {
        return refuse(at, "the value " + shorten(text, 60) + " stands twice; keep one of them");
      }
      choices.push_back(std::move(text));
    }
    return restrict_choices(node, std::move(choices));
  }

  static Node::Property* find_property(Node& node, std::string_view name) {
    for (Node::Property& property : node.properties) {
      if (property.name == name) return &property;
    }
    return nullptr;
  }

  Status apply_properties(Node& node, const JsonValue& value, const std::string& at) {
    if (value.kind != JsonKind::kObject) return expected(at, value, "an object of schemas");
    std::vector<Node::Property> properties;
    for (const JsonValue* child = tree_.first(value); child != nullptr; child = tree_.next(*child)) {
      std::string child_at = at;
      append_pointer(child_at, child->key);
      UTP_TRY(const Node* compiled, compile(*child, child_at));
      properties.push_back({std::string(child->key), borrow(compiled), false});
    }
    // `required` may have come first; its names take the order of the properties.
    for (Node::Property& earlier : node.properties) {
      const auto same = std::find_if(properties.begin(), properties.end(),
                                     [&](const Node::Property& p) { return p.name == earlier.name; });
      if (same == properties.end()) {
        properties.push_back(std::move(earlier));
      } else {
        same->required = true;
      }
    }
    node.properties = std::move(properties);
    return {};
  }

  Status apply_required(Node& node, const JsonValue& value, const std::string& at) {
    const std::string what = "an array of property names without repetition";
    if (value.kind != JsonKind::kArray) return expected(at, value, what);
    std::set<std::string_view> seen;
    for (const JsonValue* name = tree_.first(value); name != nullptr; name = tree_.next(*name)) {
      if (name->kind != JsonKind::kString || !seen.insert(name->text).second) return expected(at, value, what);
      if (Node::Property* property = find_property(node, name->text)) {
        property->required = true;
      } else {
        node.properties.push_back({std::string(name->text), borrow(any_), true, false});
      }
    }
    return {};
  }

  Status apply_count(std::uint64_t& count, const JsonValue& value, const std::string& at) {
    const auto number = value.kind == JsonKind::kNumber ? Decimal::parse(value.text) : std::nullopt;
    const auto integer = number ? number->to_int64() : std::nullopt;
    if (!integer || *integer < 0) return expected(at, value, "a non-negative integer below 2^63");
    count = static_cast<std::uint64_t>(*integer);
    return {};
  }

  Status apply_number(std::optional<Decimal>& bound, const JsonValue& value, const std::string& at) {
    if (value.kind != JsonKind::kNumber) return expected(at, value, "a number");
    bound = Decimal::parse(value.text);
    if (!bound) return expected(at, value, "a number of at most 18 digits, between 1e-36 and 1e36");
    return {};
  }

  Status apply_pattern(Node& node, const JsonValue& value, const std::string& at) {
    if (value.kind != JsonKind::kString) return expected(at, value, "a string");
    auto compiled = compile_pattern(value.text);
    if (!compiled) return refuse(at, "the pattern cannot be used: " + compiled.error().message, compiled.error().code);
    node.pattern = std::move(*compiled);
    node.pattern_text = value.text;
    return {};
  }

  Status apply_format(Node& node, const JsonValue& value, const std::string& at) {
    if (value.kind != JsonKind::kString) return expected(at, value, "a string");
    if (formats_ == Formats::kAnnotation) return {};
    const Format format = format_by_name(value.text);
    if (format == Format::kNone) {
      return refuse(at,
                    "found the format \"" + shorten(value.text, 60) +
                        "\"; the profile has utp-timestamp, date-time, date and uri",
                    Code::kUnsupported);
    }
    if (formats_ == Formats::kByProfile && !ours_) {
      return refuse(at,
                    "format is an annotation in the dialect that $schema names and an assertion in our profile; give "
                    "the schema a "
                    "$id of \"utp://...\" or an x-utp annotation, or drop $schema or the format",
                    Code::kUnsupported);
    }
    node.format = format;
    return {};
  }

  const JsonTree& tree_;
  const std::string origin_;
  const Formats formats_;
  bool ours_ = false;
  std::shared_ptr<Arena> arena_;
  const Node* any_ = nullptr;
  std::unordered_map<std::uint32_t, State> states_;
};

}  // namespace

Result<Schema> Schema::compile(std::string_view text, std::string_view origin, Formats formats) {
  JsonTree tree;
  std::string error;
  if (!tree.parse(text, error)) {
    return fail(Code::kInvalidArgument, std::string(origin) + ": the schema is no JSON: " + error);
  }
  Schema schema;
  UTP_TRY(schema.root_, Compiler(tree, std::string(origin), formats).run());
  if (const JsonValue* id = tree.member(tree.root(), "$id")) schema.id_ = id->text;
  schema.origin_ = origin;
  schema.text_ = text;
  return schema;
}

}  // namespace utp
