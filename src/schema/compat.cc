#include "schema/compat.h"

#include <algorithm>
#include <charconv>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "schema/formats.h"
#include "schema/json.h"

namespace utp {
namespace {

constexpr std::string_view kScheme = "utp://";
constexpr std::string_view kNarrower = "documents stored before may not pass any more";
constexpr std::string_view kWider = "readers of the old version do not expect what is allowed now";

std::string types_text(std::uint8_t types) {
  if (types == kTypeAny) return "any type";
  static constexpr std::pair<std::uint8_t, std::string_view> kNames[] = {
      {kTypeBoolean, "boolean"}, {kTypeObject, "object"}, {kTypeArray, "array"}, {kTypeString, "string"},
      {kTypeInteger, "integer"}, {kTypeNumber, "number"}, {kTypeNull, "null"}};
  std::string out;
  for (const auto& [bit, name] : kNames) {
    if ((types & bit) == 0) continue;
    if (!out.empty()) out += " or ";
    out += name;
  }
  return out;
}

std::uint8_t with_integers(std::uint8_t types) {
  return (types & kTypeNumber) != 0 ? static_cast<std::uint8_t>(types | kTypeInteger) : types;
}

std::string text_of(const std::optional<Decimal>& bound) { return bound ? bound->to_string() : "none"; }

class Comparison {
 public:
  Compatibility result;

  void compare(const Node& before, const Node& after, const std::string& pointer) {
    if (!seen_.emplace(&before, &after).second) return;
    if (before.never || after.never) {
      if (before.never != after.never)
        add(ChangeLevel::kMajor, pointer,
            after.never ? "nothing is allowed here any more" : "was forbidden, is allowed now");
      return;
    }
    types(before, after, pointer);
    choices(before, after, pointer);
    numbers(before, after, pointer);
    texts(before, after, pointer);
    arrays(before, after, pointer);
    objects(before, after, pointer);
    reference(before, after, pointer);
    if (before.title != after.title) add(ChangeLevel::kPatch, pointer + "/title", "the title changed");
    if (before.description != after.description) add(ChangeLevel::kPatch, pointer + "/description", "the description changed");
    if (before.x_utp != after.x_utp) annotation(before.x_utp, after.x_utp, pointer + "/x-utp");
  }

  void add(ChangeLevel level, std::string pointer, std::string reason) {
    result.level = std::max(result.level, level);
    result.changes.push_back({level, std::move(pointer), std::move(reason)});
  }

 private:
  void narrower(const std::string& pointer, const std::string& what) {
    add(ChangeLevel::kMajor, pointer, what + ": " + std::string(kNarrower));
  }
  void wider(const std::string& pointer, const std::string& what) {
    add(ChangeLevel::kMajor, pointer, what + ": " + std::string(kWider));
  }
  static std::string step(std::string_view before, std::string_view after) {
    return "from " + std::string(before) + " to " + std::string(after);
  }

  void types(const Node& before, const Node& after, const std::string& pointer) {
    const std::uint8_t old_types = with_integers(before.types);
    const std::uint8_t new_types = with_integers(after.types);
    if (old_types == new_types) return;
    const std::string what = step(types_text(before.types), types_text(after.types));
    if ((new_types & ~old_types) == 0) {
      narrower(pointer + "/type", what);
    } else if ((old_types & ~new_types) == 0) {
      wider(pointer + "/type", what);
    } else {
      add(ChangeLevel::kMajor, pointer + "/type", what + ": another type");
    }
  }

  void choices(const Node& before, const Node& after, const std::string& pointer) {
    if (!before.has_choices && !after.has_choices) return;
    const std::string at = pointer + "/enum";
    if (!after.has_choices) return wider(at, "the list of values is gone");
    if (!before.has_choices) return narrower(at, "only listed values are allowed now");
    const std::set<std::string> old_values(before.choices.begin(), before.choices.end());
    const std::set<std::string> new_values(after.choices.begin(), after.choices.end());
    for (const std::string& value : old_values) {
      if (!new_values.contains(value)) narrower(at, "without " + shorten(value, 60) + " now");
    }
    for (const std::string& value : new_values) {
      if (!old_values.contains(value)) wider(at, "with " + shorten(value, 60) + " now");
    }
    if (old_values == new_values && before.choices != after.choices)
      add(ChangeLevel::kPatch, at, "the order of the values changed");
  }

  void limit(const std::optional<Decimal>& before, const std::optional<Decimal>& after, bool lower, const std::string& pointer) {
    if (before == after) return;
    const bool tighter = !before || (after && (lower ? *after > *before : *after < *before));
    tighter ? narrower(pointer, step(text_of(before), text_of(after))) : wider(pointer, step(text_of(before), text_of(after)));
  }

  void numbers(const Node& before, const Node& after, const std::string& pointer) {
    limit(before.minimum, after.minimum, true, pointer + "/minimum");
    limit(before.maximum, after.maximum, false, pointer + "/maximum");
    limit(before.exclusive_minimum, after.exclusive_minimum, true, pointer + "/exclusiveMinimum");
    limit(before.exclusive_maximum, after.exclusive_maximum, false, pointer + "/exclusiveMaximum");
    if (before.multiple_of == after.multiple_of) return;
    const std::string what = step(text_of(before.multiple_of), text_of(after.multiple_of));
    const bool tighter = !before.multiple_of || (after.multiple_of && after.multiple_of->is_multiple_of(*before.multiple_of));
    tighter ? narrower(pointer + "/multipleOf", what) : wider(pointer + "/multipleOf", what);
  }

  void count(std::uint64_t before, std::uint64_t after, bool lower, const std::string& pointer) {
    if (before == after) return;
    const auto text = [](std::uint64_t n) { return n == UINT64_MAX ? std::string("none") : std::to_string(n); };
    const bool tighter = lower ? after > before : after < before;
    tighter ? narrower(pointer, step(text(before), text(after))) : wider(pointer, step(text(before), text(after)));
  }

  void texts(const Node& before, const Node& after, const std::string& pointer) {
    count(before.min_length, after.min_length, true, pointer + "/minLength");
    count(before.max_length, after.max_length, false, pointer + "/maxLength");
    if (before.pattern_text != after.pattern_text) {
      add(ChangeLevel::kMajor, pointer + "/pattern",
          step(before.pattern ? before.pattern_text : "none", after.pattern ? after.pattern_text : "none") +
              ": whether it allows the same cannot be told");
    }
    if (before.format != after.format) {
      const std::string what = step(before.format == Format::kNone ? "none" : to_string(before.format),
                                    after.format == Format::kNone ? "none" : to_string(after.format));
      after.format == Format::kNone ? wider(pointer + "/format", what) : narrower(pointer + "/format", what);
    }
  }

  void arrays(const Node& before, const Node& after, const std::string& pointer) {
    count(before.min_items, after.min_items, true, pointer + "/minItems");
    count(before.max_items, after.max_items, false, pointer + "/maxItems");
    part(before.items, after.items, pointer + "/items");
  }

  void part(const std::shared_ptr<const Node>& before, const std::shared_ptr<const Node>& after, const std::string& pointer) {
    if (before != nullptr && after != nullptr) return compare(*before, *after, pointer);
    if (before != nullptr) return wider(pointer, "the schema is gone");
    if (after != nullptr) return narrower(pointer, "has a schema now");
  }

  void objects(const Node& before, const Node& after, const std::string& pointer) {
    std::map<std::string_view, const Node::Property*> old_members;
    std::map<std::string_view, const Node::Property*> new_members;
    for (const auto& property : before.properties) old_members[property.name] = &property;
    for (const auto& property : after.properties) new_members[property.name] = &property;
    for (const auto& property : before.properties) {
      std::string at = pointer + "/properties";
      append_pointer(at, property.name);
      const auto found = new_members.find(property.name);
      if (found == new_members.end()) {
        add(ChangeLevel::kMajor, at, std::string(property.required ? "a required" : "an optional") + " member is gone" +
                renamed(property, after, old_members) + ": readers of the old version look for it");
      } else {
        compare_member(property, *found->second, at);
      }
    }
    for (const auto& property : after.properties) {
      if (!old_members.contains(property.name)) new_member(property, before, pointer);
    }
    order(before, after, pointer);
    part(before.additional, after.additional, pointer + "/additionalProperties");
  }

  void new_member(const Node::Property& property, const Node& before, const std::string& pointer) {
    std::string at = pointer + "/properties";
    append_pointer(at, property.name);
    if (property.required) {
      add(ChangeLevel::kMajor, at, "a new required member: documents stored before lack it");
    } else if (before.additional == nullptr || !before.additional->never) {
      add(ChangeLevel::kMajor, at,
          "a new member where any name was allowed before: documents stored before may hold it with another meaning");
    } else {
      add(ChangeLevel::kMinor, at, "a new optional member: readers of the old version pass over it");
    }
  }

  void compare_member(const Node::Property& before, const Node::Property& after, const std::string& pointer) {
    if (before.required && !after.required) {
      add(ChangeLevel::kMajor, pointer, "not required any more: readers of the old version rely on it");
    }
    if (!before.required && after.required) {
      add(ChangeLevel::kMajor, pointer, "now required: documents stored before may lack it");
    }
    compare(*before.node, *after.node, pointer);
  }

  // A member that is new and means the same by its description or schema: the likely new name.
  static std::string renamed(const Node::Property& gone, const Node& after,
                             const std::map<std::string_view, const Node::Property*>& old_members) {
    for (const auto& candidate : after.properties) {
      if (old_members.contains(candidate.name) || candidate.node->types != gone.node->types) continue;
      if (candidate.node->description == gone.node->description && candidate.node->choices == gone.node->choices) {
        return " (renamed to " + candidate.name + "?)";
      }
    }
    return "";
  }

  void order(const Node& before, const Node& after, const std::string& pointer) {
    const auto common = [](const Node& node, const Node& other) {
      std::set<std::string_view> names;
      for (const auto& property : other.properties) names.insert(property.name);
      std::vector<std::string_view> kept;
      for (const auto& property : node.properties) {
        if (names.contains(property.name)) kept.push_back(property.name);
      }
      return kept;
    };
    if (common(before, after) != common(after, before))
      add(ChangeLevel::kPatch, pointer + "/properties", "the order of the members changed");
  }

  void reference(const Node& before, const Node& after, const std::string& pointer) {
    part(before.ref, after.ref, pointer + "/$ref");
  }

  void annotation(const std::string& before, const std::string& after, const std::string& pointer) {
    JsonTree old_tree;
    JsonTree new_tree;
    std::string error;
    if (!old_tree.parse(before.empty() ? "{}" : before, error) || !new_tree.parse(after.empty() ? "{}" : after, error)) return;
    const auto members = [](const JsonTree& tree) {
      std::map<std::string, std::string> out;
      for (const JsonValue* member = tree.first(tree.root()); member != nullptr; member = tree.next(*member)) {
        tree.write_canonical(*member, out[std::string(member->key)]);
      }
      return out;
    };
    auto old_members = members(old_tree);
    auto new_members = members(new_tree);
    std::set<std::string> names;
    for (const auto& [name, value] : old_members) names.insert(name);
    for (const auto& [name, value] : new_members) names.insert(name);
    for (const std::string& name : names) {
      const std::string old_value = old_members.contains(name) ? old_members[name] : "none";
      const std::string new_value = new_members.contains(name) ? new_members[name] : "none";
      if (old_value == new_value) continue;
      std::string at = pointer;
      append_pointer(at, name);
      const std::string what = step(shorten(old_value, 60), shorten(new_value, 60));
      if (name == "event_type" && follows_version(old_value, new_value)) continue;  // moves with the major version
      if (name == "reserved") {
        add(ChangeLevel::kPatch, at, what);
      } else if (name == "retention") {
        add(ChangeLevel::kMinor, at, what + ": messages are kept for another time");
      } else if (name == "delivery") {
        add(ChangeLevel::kMajor, at, what + ": which events reach a reader changes");
      } else {
        add(ChangeLevel::kMajor, at, what + ": rows go elsewhere or look different");
      }
    }
  }

  // "quotes/v2" and "quotes/v3": the same but for the version.
  static bool follows_version(std::string_view before, std::string_view after) {
    const auto stem = [](std::string_view text) { return text.substr(0, text.rfind("/v")); };
    return stem(before) == stem(after);
  }

  std::set<std::pair<const Node*, const Node*>> seen_;
};

std::optional<int> version_part(std::string_view text) {
  int value = 0;
  if (text.empty() || text.size() > 6 || (text.size() > 1 && text[0] == '0') || text[0] == '-') return std::nullopt;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

SemanticVersion next_version(const SemanticVersion& version, ChangeLevel level) {
  switch (level) {
    case ChangeLevel::kMajor: return {version.major + 1, 0, 0};
    case ChangeLevel::kMinor: return {version.major, version.minor + 1, 0};
    default: return {version.major, version.minor, version.patch + 1};
  }
}

}  // namespace

std::string_view to_string(ChangeLevel level) {
  switch (level) {
    case ChangeLevel::kNone: return "none";
    case ChangeLevel::kPatch: return "patch";
    case ChangeLevel::kMinor: return "minor";
    case ChangeLevel::kMajor: return "major";
  }
  return "none";
}

Compatibility compare_schemas(const Schema& before, const Schema& after) {
  Comparison comparison;
  comparison.compare(before.root(), after.root(), "");
  Compatibility result = std::move(comparison.result);
  if (result.changes.empty() && before.text() != after.text()) {
    result.level = ChangeLevel::kPatch;
    result.changes.push_back({ChangeLevel::kPatch, "",
                              "only the text changed (layout, comments, examples, defaults, names of definitions)"});
  }
  std::stable_sort(result.changes.begin(), result.changes.end(),
                   [](const SchemaChange& a, const SchemaChange& b) { return a.level > b.level; });
  return result;
}

std::string to_string(const SemanticVersion& version) {
  return std::to_string(version.major) + "." + std::to_string(version.minor) + "." + std::to_string(version.patch);
}

std::string to_string(const SchemaId& id) { return std::string(kScheme) + id.name + "/" + to_string(id.version); }

Result<SchemaId> parse_schema_id(std::string_view id) {
  const auto refuse = [&] {
    return fail(Code::kInvalidArgument,
                "found the $id \"" + shorten(id, 100) +
                    "\", expected utp://<name>/<major.minor.patch>, such as utp://quotes/2.0.0");
  };
  const std::size_t slash = id.rfind('/');
  if (!id.starts_with(kScheme) || slash == std::string_view::npos || slash <= kScheme.size()) return refuse();
  SchemaId out;
  out.name = id.substr(kScheme.size(), slash - kScheme.size());
  const std::string_view version = id.substr(slash + 1);
  const std::size_t first = version.find('.');
  const std::size_t second = first == std::string_view::npos ? first : version.find('.', first + 1);
  if (second == std::string_view::npos) return refuse();
  const auto major = version_part(version.substr(0, first));
  const auto minor = version_part(version.substr(first + 1, second - first - 1));
  const auto patch = version_part(version.substr(second + 1));
  if (!major || !minor || !patch) return refuse();
  out.version = {*major, *minor, *patch};
  return out;
}

Status check_version_step(const Schema& before, const Schema& after, const Compatibility& found) {
  const auto place = [](const Schema& schema) { return schema.origin() + ": "; };
  auto old_id = parse_schema_id(before.id());
  if (!old_id) return fail(Code::kInvalidArgument, place(before) + old_id.error().message);
  auto new_id = parse_schema_id(after.id());
  if (!new_id) return fail(Code::kInvalidArgument, place(after) + new_id.error().message);
  if (old_id->name != new_id->name) {
    return fail(Code::kInvalidArgument, place(after) + "is " + after.id() + ", another schema than " + before.id() +
                                            "; versions of one name can be compared");
  }
  const SemanticVersion needed = next_version(old_id->version, found.level);
  const bool enough = found.level == ChangeLevel::kNone ? new_id->version >= old_id->version : new_id->version >= needed;
  if (enough) return {};
  const std::string reason = found.changes.empty() ? "" : " (#" + found.changes[0].pointer + ": " + found.changes[0].reason + ")";
  return fail(Code::kInvalidArgument, place(after) + "found version " + to_string(new_id->version) + ", expected " +
                                          to_string(needed) + " or later: against " + before.id() + " it is a " +
                                          std::string(to_string(found.level)) + " change" + reason);
}

}  // namespace utp
