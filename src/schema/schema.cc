#include "schema/schema.h"

#include <algorithm>
#include <cstddef>
#include <utility>
#include <vector>

#include <re2/re2.h>

#include "schema/formats.h"
#include "schema/json.h"
#include "schema/number.h"

namespace utp {
namespace {

// The way from the root of the instance, kept on the stack; a pointer is made of it only when something is wrong.
struct Step {
  const Step* parent = nullptr;
  const JsonValue* value = nullptr;
  std::size_t index = 0;  // in an array
  bool in_array = false;
};

void append_path(const Step* step, std::string& path) {
  if (step == nullptr || step->parent == nullptr) return;
  append_path(step->parent, path);
  append_pointer(path, step->in_array ? std::string_view(std::to_string(step->index)) : step->value->key);
}

std::string type_names(std::uint8_t types) {
  std::string out;
  const auto add = [&](std::uint8_t bit, std::string_view name) {
    if ((types & bit) == 0) return;
    if (!out.empty()) out += " or ";
    out += name;
  };
  add(kTypeBoolean, "a boolean");
  add(kTypeObject, "an object");
  add(kTypeArray, "an array");
  add(kTypeString, "a string");
  add(kTypeInteger, "an integer");
  add(kTypeNumber, "a number");
  add(kTypeNull, "null");
  return out;
}

// What a text must look like: the patterns of the configuration files in words with an example, others as they are.
std::string in_words(const Node& node) {
  constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {"^[1-9][0-9]*(ms|s|m|h|d)$", "a duration above 0 in ms, s, m, h or d, such as 30s"},
      {"^[0-9]+(ns|us|ms|s|m|h|d)$", "a duration in ns, us, ms, s, m, h or d, such as 250ms or 30s"},
      {"^[1-9][0-9]*(B|KB|MB|GB|TB|KiB|MiB|GiB|TiB)?$", "a size such as 64MiB or 1GiB"},
      {"^[0-9]+(B|KiB|MiB|GiB)$", "a size such as 64MiB or 1GiB"},
      {"^(builtin:[a-z0-9][a-z0-9_-]*|exec:.*[^ ].*)$",
       "builtin:<id>, or exec:<program> [arguments], such as \"exec:python3 feed.py\""},
      {"^[0-9]+\\.[0-9]+\\.[0-9]+$", "three numbers such as 1.0.0"},
      {"^[a-z0-9][a-z0-9_-]*$", "a name of a-z 0-9 _ - that begins with a letter or digit, such as us_1"},
      {"^[A-Za-z_][A-Za-z0-9_]*$", "a name of letters, digits and _ that begins with no digit, such as API_KEY"},
      {"^[a-z0-9_]+(/[a-z0-9_]+)*/v[0-9]+$", "an event type such as quotes/v2"},
      {"^utp://[a-z0-9_/]+/[0-9]+\\.[0-9]+\\.[0-9]+$", "a schema's reference such as utp://quotes/2.0.0"},
  };
  for (const auto& [pattern, words] : kWords) {
    if (node.pattern_text == pattern) return std::string(words);
  }
  return "a match of " + shorten(node.pattern_text, 120);
}

std::uint64_t code_points(std::string_view text) {
  return static_cast<std::uint64_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

class Validator {
 public:
  Validator(const JsonTree& tree, Violation& violation) : tree_(tree), violation_(violation) {}

  bool check(const Node& node, const Step& at) {
    for (const Node* each = &node; each != nullptr; each = each->ref.get()) {
      if (!check_one(*each, at)) return false;
    }
    return true;
  }

 private:
  bool refuse(const Step& at, std::string_view code, std::string message) {
    violation_.code = code;
    violation_.path.clear();
    append_path(&at, violation_.path);
    violation_.message = std::move(message);
    return false;
  }
  std::string found(const JsonValue& value) const {
    if (value.kind == JsonKind::kObject) return "found an object";
    if (value.kind == JsonKind::kArray) return "found an array";
    std::string text;
    tree_.write(value, text);
    return "found " + shorten(text, 80);
  }

  bool check_one(const Node& node, const Step& at) {
    const JsonValue& value = *at.value;
    if (node.never) return refuse(at, "false", found(value) + ", expected nothing here");
    if (node.types != kTypeAny && !has_type(node, value)) {
      const bool pattern = node.types == kTypeString && node.pattern != nullptr;
      return refuse(at, "type", found(value) + ", expected " + (pattern ? in_words(node) : type_names(node.types)));
    }
    if (node.has_choices && !check_choices(node, at)) return false;
    switch (value.kind) {
      case JsonKind::kNumber: return check_number(node, at);
      case JsonKind::kString: return check_text(node, at);
      case JsonKind::kArray: return check_array(node, at);
      case JsonKind::kObject: return check_object(node, at);
      default: return true;
    }
  }

  static bool has_type(const Node& node, const JsonValue& value) {
    switch (value.kind) {
      case JsonKind::kNull: return (node.types & kTypeNull) != 0;
      case JsonKind::kFalse:
      case JsonKind::kTrue: return (node.types & kTypeBoolean) != 0;
      case JsonKind::kString: return (node.types & kTypeString) != 0;
      case JsonKind::kArray: return (node.types & kTypeArray) != 0;
      case JsonKind::kObject: return (node.types & kTypeObject) != 0;
      case JsonKind::kNumber:
        if ((node.types & kTypeNumber) != 0) return true;
        return (node.types & kTypeInteger) != 0 && BigNumber(value.text).is_integer();
    }
    return false;
  }

  bool check_choices(const Node& node, const Step& at) {
    canonical_.clear();
    tree_.write_canonical(*at.value, canonical_);
    if (std::find(node.choices.begin(), node.choices.end(), canonical_) != node.choices.end()) return true;
    std::string list;
    for (std::size_t i = 0; i < node.choices.size(); ++i) {
      if (list.size() > 200) {
        list += ", ...";
        break;
      }
      if (i != 0) list += ", ";
      list += shorten(node.choices[i], 80);
    }
    const bool one = node.choices.size() == 1;
    return refuse(at, one ? "const" : "enum",
                  found(*at.value) + ", expected " + (one ? "" : "one of ") + (list.empty() ? "nothing" : list));
  }

  bool check_number(const Node& node, const Step& at) {
    if (!node.minimum && !node.maximum && !node.exclusive_minimum && !node.exclusive_maximum && !node.multiple_of) return true;
    const BigNumber number(at.value->text);
    const auto bound = [&](const std::optional<Decimal>& limit, std::string_view code, std::string_view relation, auto holds) {
      if (!limit || holds(number <=> BigNumber(*limit))) return true;
      return refuse(at, code, found(*at.value) + ", expected " + std::string(relation) + " " + limit->to_string());
    };
    if (!bound(node.minimum, "minimum", "at least", [](auto order) { return order >= 0; })) return false;
    if (!bound(node.maximum, "maximum", "at most", [](auto order) { return order <= 0; })) return false;
    if (!bound(node.exclusive_minimum, "exclusiveMinimum", "more than", [](auto order) { return order > 0; })) return false;
    if (!bound(node.exclusive_maximum, "exclusiveMaximum", "less than", [](auto order) { return order < 0; })) return false;
    if (node.multiple_of && !number.is_multiple_of(*node.multiple_of)) {
      return refuse(at, "multipleOf", found(*at.value) + ", expected a multiple of " + node.multiple_of->to_string());
    }
    return true;
  }

  bool check_text(const Node& node, const Step& at) {
    const std::string_view text = at.value->text;
    if (node.min_length != 0 || text.size() > node.max_length) {
      const std::uint64_t length = code_points(text);
      if (length < node.min_length) {
        return refuse(at, "minLength",
                      found(*at.value) + " (" + std::to_string(length) + " characters), expected at least " +
                          std::to_string(node.min_length));
      }
      if (length > node.max_length) {
        return refuse(at, "maxLength",
                      found(*at.value) + " (" + std::to_string(length) + " characters), expected at most " +
                          std::to_string(node.max_length));
      }
    }
    if (node.pattern != nullptr && !re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *node.pattern)) {
      return refuse(at, "pattern", found(*at.value) + ", expected " + in_words(node));
    }
    if (node.format != Format::kNone && !matches_format(node.format, text)) {
      return refuse(at, "format", found(*at.value) + ", expected the format " + std::string(to_string(node.format)));
    }
    return true;
  }

  bool check_array(const Node& node, const Step& at) {
    const std::uint64_t size = at.value->count;
    if (size < node.min_items) {
      return refuse(at, "minItems",
                    "found " + std::to_string(size) + " items, expected at least " + std::to_string(node.min_items));
    }
    if (size > node.max_items) {
      return refuse(at, "maxItems",
                    "found " + std::to_string(size) + " items, expected at most " + std::to_string(node.max_items));
    }
    if (node.items == nullptr) return true;
    Step step{&at, nullptr, 0, true};
    for (const JsonValue* item = tree_.first(*at.value); item != nullptr; item = tree_.next(*item), ++step.index) {
      step.value = item;
      if (!check(*node.items, step)) return false;
    }
    return true;
  }

  bool check_object(const Node& node, const Step& at) {
    if (node.properties.empty() && node.additional == nullptr) return true;
    std::ptrdiff_t required = 0;
    Step step{&at, nullptr, 0, false};
    for (const JsonValue* member = tree_.first(*at.value); member != nullptr; member = tree_.next(*member)) {
      step.value = member;
      const auto property = std::find_if(node.properties.begin(), node.properties.end(),
                                         [&](const Node::Property& p) { return p.name == member->key; });
      const bool declared = property != node.properties.end();
      if (declared && property->required) ++required;
      const Node* schema = declared ? property->node.get() : nullptr;
      if (!declared || !property->declared) schema = node.additional.get();
      if (schema == nullptr) continue;
      if (schema->never && !(declared && property->declared)) {
        return refuse(step, "additionalProperties", "found a member that the schema does not name" + nearest(node, member->key));
      }
      if (!check(*schema, step)) return false;
    }
    const auto needed = std::count_if(node.properties.begin(), node.properties.end(),
                                      [](const Node::Property& p) { return p.required; });
    if (required == needed) return true;
    for (const Node::Property& property : node.properties) {
      if (!property.required) continue;
      if (tree_.member(*at.value, property.name) == nullptr) {
        return refuse(at, "required", "the member \"" + property.name + "\" is missing");
      }
    }
    return true;
  }

  // " (did you mean \"x\"?)" for a name within two edits.
  static std::string nearest(const Node& node, std::string_view name) {
    constexpr std::size_t kNameMax = 64;
    std::size_t best = std::min<std::size_t>(3, name.size() / 2 + 1);
    std::string_view suggestion;
    for (const Node::Property& property : node.properties) {
      if (property.name.size() > kNameMax || name.size() > kNameMax) continue;
      std::vector<std::size_t> row(property.name.size() + 1);
      for (std::size_t j = 0; j < row.size(); ++j) row[j] = j;
      for (std::size_t i = 0; i < name.size(); ++i) {
        std::size_t diagonal = row[0];
        row[0] = i + 1;
        for (std::size_t j = 0; j < property.name.size(); ++j) {
          const std::size_t replaced = diagonal + (name[i] == property.name[j] ? 0 : 1);
          diagonal = row[j + 1];
          row[j + 1] = std::min({replaced, row[j] + 1, row[j + 1] + 1});
        }
      }
      if (row.back() < best) {
        best = row.back();
        suggestion = property.name;
      }
    }
    return suggestion.empty() ? "" : "; did you mean \"" + std::string(suggestion) + "\"?";
  }

  const JsonTree& tree_;
  Violation& violation_;
  std::string canonical_;
};

}  // namespace

bool Schema::validate(std::string_view json, Violation& violation) const {
  thread_local JsonTree tree;
  std::string error;
  if (!tree.parse(json, error)) {
    violation = {"json", "", error};
    return false;
  }
  return Validator(tree, violation).check(*root_, Step{nullptr, &tree.root(), 0, false});
}

}  // namespace utp
