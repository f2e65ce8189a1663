#include "schema/plan.h"

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstring>

#include "schema/json.h"
#include "schema/plan_rules.h"

namespace utp {
namespace {

// Collects where a refusal happened, so that every message has file and JSON Pointer.
class Compiler {
 public:
  explicit Compiler(std::string_view origin) : origin_(origin) {}

  Result<void> run(PlanRules& plan);

 private:
  tl::unexpected<Error> refuse(std::string_view pointer, const std::string& message) const {
    return fail(Code::kInvalidArgument, origin_ + ": at " + (pointer.empty() ? "the root" : std::string(pointer)) + ": " + message);
  }

  Status no_reference(const Node& node, const std::string& pointer) const {
    if (!node.ref) return {};
    return refuse(pointer + "/$ref", "stands beside other keywords; an event schema takes a $ref alone, or write them out");
  }
  Status annotation(PlanRules& plan);
  Status identity(PlanRules& plan);
  Status column(PlanRules& plan, const Node::Property& property);
  Status array(const Node& node, const std::string& pointer, Column& column, ColumnRule& rule);
  Status scalar(std::shared_ptr<const Node> node, const std::string& pointer, ScalarRule& rule);
  Status choices(const Node& node, const std::string& pointer, ScalarRule& rule);
  Status integer_bounds(const Node& node, ScalarRule& rule);

  std::string origin_;
  std::vector<std::string> reserved_;
};

bool is_name(std::string_view text) {
  if (text.empty() || text[0] < 'a' || text[0] > 'z') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; });
}

// Segments of is_name, with slashes between.
bool is_path_name(std::string_view text) {
  for (;;) {
    const std::size_t slash = text.find('/');
    if (!is_name(text.substr(0, slash))) return false;
    if (slash == std::string_view::npos) return true;
    text.remove_prefix(slash + 1);
  }
}

bool read_version_part(std::string_view text, int& value) {
  if (text.empty() || text.size() > 6 || (text.size() > 1 && text[0] == '0')) return false;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && stop == text.data() + text.size() && text[0] != '-';
}

bool read_version(std::string_view text, SemanticVersion& version) {
  const std::size_t first = text.find('.');
  const std::size_t second = first == std::string_view::npos ? first : text.find('.', first + 1);
  return second != std::string_view::npos && read_version_part(text.substr(0, first), version.major) &&
         read_version_part(text.substr(first + 1, second - first - 1), version.minor) &&
         read_version_part(text.substr(second + 1), version.patch);
}

Status Compiler::annotation(PlanRules& plan) {
  const Node& root = plan.schema.root();
  if (root.x_utp.empty()) return refuse("", "no x-utp annotation; an event schema names its event_type there");
  JsonTree tree;
  std::string error;
  if (!tree.parse(root.x_utp, error)) return refuse("/x-utp", error);
  if (tree.root().kind != JsonKind::kObject) return refuse("/x-utp", "found " + std::string(to_string(tree.root().kind)) + ", expected an object");
  std::string explode;
  for (const JsonValue* item = tree.first(tree.root()); item != nullptr; item = tree.next(*item)) {
    std::string pointer = "/x-utp";
    append_pointer(pointer, item->key);
    if (item->key == "reserved") {
      if (item->kind != JsonKind::kArray) return refuse(pointer, "expected a list of names");
      for (const JsonValue* name = tree.first(*item); name != nullptr; name = tree.next(*name)) {
        if (name->kind != JsonKind::kString) return refuse(pointer, "expected a list of names");
        reserved_.emplace_back(name->text);
      }
      continue;
    }
    if (item->kind != JsonKind::kString) return refuse(pointer, "found " + std::string(to_string(item->kind)) + ", expected a string");
    if (item->key == "event_type") {
      plan.event_type = item->text;
    } else if (item->key == "table") {
      if (!is_name(item->text)) return refuse(pointer, "found \"" + shorten(item->text, 60) + "\", expected a name of a-z, 0-9 and _");
      plan.table = item->text;
    } else if (item->key == "explode") {
      explode = item->text;
    } else if (item->key == "delivery") {
      if (item->text == "lossless") plan.delivery = Delivery::kLossless;
      else if (item->text == "conflate") plan.delivery = Delivery::kConflate;
      else return refuse(pointer, "found \"" + shorten(item->text, 60) + "\", expected lossless or conflate");
    } else if (item->key == "retention") {
      const auto duration = parse_duration(item->text);
      if (!duration || *duration <= 0) return refuse(pointer, "found \"" + shorten(item->text, 60) + "\", expected a duration such as 72h or 30d");
      plan.retention_ns = *duration;
    } else {
      return refuse(pointer, "unknown x-utp field; known are event_type, table, explode, delivery, retention, reserved");
    }
  }
  if (plan.event_type.empty()) return refuse("/x-utp", "no event_type");
  if (!explode.empty()) {
    for (std::size_t i = 0; i < root.properties.size(); ++i) {
      if (root.properties[i].name == explode) plan.explode = i;
    }
    if (!plan.explode) return refuse("/x-utp/explode", "no property \"" + shorten(explode, 60) + "\"");
  }
  return {};
}

Status Compiler::identity(PlanRules& plan) {
  constexpr std::string_view kScheme = "utp://";
  plan.schema_ref = plan.schema.id();
  const std::string_view id = plan.schema_ref;
  const std::size_t slash = id.rfind('/');
  if (!id.starts_with(kScheme) || slash == std::string_view::npos || slash <= kScheme.size() ||
      !is_path_name(id.substr(kScheme.size(), slash - kScheme.size())) || !read_version(id.substr(slash + 1), plan.version) ||
      id.size() > 96) {
    return refuse("/$id", "found \"" + shorten(id, 100) + "\", expected utp://<name>/<major.minor.patch>, such as utp://quotes/2.0.0");
  }
  plan.name = id.substr(kScheme.size(), slash - kScheme.size());
  const std::string expected = plan.name + "/v" + std::to_string(plan.version.major);
  if (plan.event_type != expected) {
    return refuse("/x-utp/event_type", "found \"" + shorten(plan.event_type, 100) + "\", expected \"" + expected + "\" for the $id " + plan.schema_ref);
  }
  if (plan.event_type.size() > 64) return refuse("/x-utp/event_type", "longer than 64 characters");
  return {};
}

Status Compiler::choices(const Node& node, const std::string& pointer, ScalarRule& rule) {
  if (!node.has_choices) return {};
  rule.has_choices = true;
  rule.deep = true;
  rule.allows_true = rule.allows_false = false;
  bool null_allowed = false;
  for (const std::string& choice : node.choices) {
    JsonTree tree;
    std::string error;
    if (!tree.parse(choice, error)) return refuse(pointer + "/enum", error);
    const JsonValue& value = tree.root();
    switch (value.kind) {
      case JsonKind::kNull: null_allowed = true; break;
      case JsonKind::kTrue: rule.allows_true = true; break;
      case JsonKind::kFalse: rule.allows_false = true; break;
      case JsonKind::kString: rule.texts.add(value.text); break;
      case JsonKind::kNumber: {
        const auto number = Decimal::parse(value.text);
        if (number) rule.numbers.push_back(*number);
        break;
      }
      default: break;
    }
  }
  rule.nullable = rule.nullable && null_allowed;
  return {};
}

Status Compiler::integer_bounds(const Node& node, ScalarRule& rule) {
  using Wide = __int128;
  const auto floor_of = [](const Decimal& d) -> Wide {  // clamped to beyond the range of an integer
    if (d.exponent() > 0) return d.mantissa() < 0 ? Wide{INT64_MIN} - 2 : Wide{INT64_MAX} + 2;
    std::int64_t mantissa = d.mantissa();
    for (int e = d.exponent(); e < 0 && mantissa != 0; ++e) mantissa /= 10;
    return d.mantissa() < 0 && d.exponent() < 0 ? Wide{mantissa} - 1 : Wide{mantissa};
  };
  Wide low = INT64_MIN;
  Wide high = INT64_MAX;
  if (node.minimum) low = std::max(low, floor_of(*node.minimum) + (node.minimum->is_integer() ? 0 : 1));
  if (node.maximum) high = std::min(high, floor_of(*node.maximum));
  if (node.exclusive_minimum) low = std::max(low, floor_of(*node.exclusive_minimum) + 1);
  if (node.exclusive_maximum) {
    high = std::min(high, floor_of(*node.exclusive_maximum) - (node.exclusive_maximum->is_integer() ? 1 : 0));
  }
  const bool possible = low <= high;
  rule.integer_min = possible ? static_cast<std::int64_t>(low) : INT64_MAX;
  rule.integer_max = possible ? static_cast<std::int64_t>(high) : INT64_MIN;
  return {};
}

Status Compiler::scalar(std::shared_ptr<const Node> node, const std::string& pointer, ScalarRule& rule) {
  rule.node = node;
  rule.nullable = (node->types & kTypeNull) != 0;
  if (node->never) return refuse(pointer, "the schema false allows no value, so this column can never be written");
  UTP_CHECK(no_reference(*node, pointer));
  unsigned types = node->types & ~unsigned{kTypeNull};
  if ((types & kTypeNumber) != 0) types &= ~unsigned{kTypeInteger};
  switch (types) {
    case kTypeBoolean: rule.type = ColumnType::kBool; break;
    case kTypeInteger: rule.type = ColumnType::kInteger; break;
    case kTypeNumber: rule.type = ColumnType::kDecimal; break;
    case kTypeString: rule.type = node->format == Format::kTimestamp ? ColumnType::kTime : ColumnType::kText; break;
    default:
      return refuse(pointer + "/type", "a column needs exactly one of boolean, integer, number, string or array (and null)");
  }
  UTP_CHECK(choices(*node, pointer, rule));
  static std::atomic<std::uint32_t> ids{0};
  rule.id = ++ids;
  const bool numeric_bounds =
      node->minimum || node->maximum || node->exclusive_minimum || node->exclusive_maximum || node->multiple_of;
  const bool text_bounds = node->min_length > 0 || node->max_length != UINT64_MAX;
  switch (rule.type) {
    case ColumnType::kTime:
      if (rule.has_choices || text_bounds || node->pattern) {
        return refuse(pointer, "a utp-timestamp column takes no enum, const, pattern or length");
      }
      break;
    case ColumnType::kInteger:
      UTP_CHECK(integer_bounds(*node, rule));
      rule.deep = rule.deep || node->multiple_of;
      rule.plain = !numeric_bounds && !rule.deep;
      break;
    case ColumnType::kDecimal:
      rule.non_negative = node->minimum && node->minimum->is_zero();
      rule.deep = rule.deep || node->multiple_of || node->maximum || node->exclusive_minimum || node->exclusive_maximum ||
                  (node->minimum && !rule.non_negative);
      rule.plain = !numeric_bounds && !rule.deep;
      break;
    case ColumnType::kText:
      rule.min_length = node->min_length;
      rule.max_length = node->max_length;
      rule.deep = rule.deep || node->pattern || node->format != Format::kNone;
      rule.plain = !text_bounds && !rule.deep;
      break;
    default: rule.plain = !rule.deep; break;
  }
  return {};
}

Status Compiler::array(const Node& node, const std::string& pointer, Column& column, ColumnRule& rule) {
  UTP_CHECK(no_reference(node, pointer));
  column.type = rule.type = ColumnType::kArray;
  rule.nullable = (node.types & kTypeNull) != 0;
  if (node.has_choices) return refuse(pointer + "/enum", "an array column takes no enum or const");
  rule.min_items = node.min_items;
  rule.max_items = node.max_items;
  if (!node.items) return refuse(pointer, "an array column needs items");
  std::shared_ptr<const Node> item = node.items;
  std::string item_pointer = pointer + "/items";
  if ((item->types & ~unsigned{kTypeNull}) == kTypeArray && !item->never) {
    UTP_CHECK(no_reference(*item, item_pointer));
    if ((item->types & kTypeNull) != 0 || item->has_choices) return refuse(item_pointer, "a tuple takes neither null nor enum");
    if (!item->items) return refuse(item_pointer, "a tuple needs items");
    if (item->min_items != item->max_items || item->min_items == 0 || item->min_items > 64) {
      return refuse(item_pointer, "a tuple needs minItems = maxItems, 1 to 64");
    }
    rule.tuples = column.tuples = true;
    rule.arity = column.arity = static_cast<std::uint32_t>(item->min_items);
    item = item->items;
    item_pointer += "/items";
  }
  UTP_CHECK(scalar(item, item_pointer, rule.scalar));
  column.element = rule.scalar.type;
  return {};
}

Status Compiler::column(PlanRules& plan, const Node::Property& property) {
  std::string pointer = "/properties";
  append_pointer(pointer, property.name);
  if (!is_name(property.name) || property.name.size() > 60) {
    return refuse(pointer, "a column's name is of a-z, 0-9 and _, begins with a letter, and has at most 60 characters");
  }
  if (std::find(reserved_.begin(), reserved_.end(), property.name) != reserved_.end()) {
    return refuse(pointer, "the name is reserved by /x-utp/reserved: it once meant something else");
  }
  Column column;
  ColumnRule rule;
  column.name = rule.name = property.name;
  column.required = rule.required = property.required;
  column.description = property.node->description;
  column.node = property.node;
  if ((property.node->types & ~unsigned{kTypeNull}) == kTypeArray && !property.node->never) {
    UTP_CHECK(array(*property.node, pointer, column, rule));
  } else {
    UTP_CHECK(scalar(property.node, pointer, rule.scalar));
    column.type = rule.type = rule.scalar.type;
    rule.nullable = rule.scalar.nullable;
  }
  column.nullable = rule.nullable;
  const std::string quoted = "\"" + property.name + "\":";
  rule.written_key = "," + quoted;
  plan.keys_bytes += rule.written_key.size();
  if (rule.type == ColumnType::kText || rule.type == ColumnType::kArray) plan.variable.push_back(static_cast<std::uint32_t>(plan.rules.size()));
  if (rule.required) {
    plan.required.push_back(static_cast<std::uint32_t>(plan.columns.size()));
    if (plan.columns.size() < 64) plan.required_columns |= std::uint64_t{1} << plan.columns.size();
  }
  plan.columns.push_back(std::move(column));
  plan.rules.push_back(std::move(rule));
  return {};
}

Status Compiler::run(PlanRules& plan) {
  const Node& root = plan.schema.root();
  UTP_CHECK(annotation(plan));
  UTP_CHECK(identity(plan));
  UTP_CHECK(no_reference(root, ""));
  if (root.never || root.types != kTypeObject) return refuse("/type", "an event's payload is of type object");
  if (root.has_choices) return refuse("/enum", "a payload takes no enum or const");
  if (!root.additional || !root.additional->never) {
    return refuse("/additionalProperties", "must be false: what is published is exactly what the schema names");
  }
  if (root.properties.size() > 1'000) return refuse("/properties", "more than 1,000 columns");
  for (const Node::Property& property : root.properties) {
    if (!property.node) return refuse("/required", "\"" + shorten(property.name, 60) + "\" is no property");
    UTP_CHECK(column(plan, property));
  }
  if (plan.explode && plan.columns[*plan.explode].type != ColumnType::kArray) {
    return refuse("/x-utp/explode", "\"" + plan.columns[*plan.explode].name + "\" is no array");
  }
  return {};
}

// What the scanner does at a column. `broken` is left out where size and bounds say it all.
Step step_of(const ColumnRule& rule) {
  Step step;
  const std::string& key = rule.written_key;
  std::memset(step.key, 0, Step::kKeyBytes);
  std::memcpy(step.key, key.data(), std::min(key.size(), Step::kKeyBytes));
  step.mask = (key.size() >= Step::kKeyBytes ? 0xFFFFFFFFu : (1u << key.size()) - 1) & ~1u;
  step.key_size = static_cast<std::uint8_t>(key.size());
  step.long_key = key.size() > Step::kKeyBytes;
  step.rule = &rule;
  const ScalarRule& scalar = rule.scalar;
  step.deep = scalar.deep;
  switch (rule.type) {
    case ColumnType::kDecimal:
      step.op = Step::Op::kDecimal;
      step.low = scalar.non_negative ? 0 : INT64_MIN;
      break;
    case ColumnType::kInteger:
      step.op = Step::Op::kInteger;
      step.low = scalar.integer_min;
      step.high = scalar.integer_max;
      break;
    case ColumnType::kText:
      // Bytes bound code points from above; where the byte count does not decide, the rule is asked.
      step.op = scalar.has_choices && !scalar.node->pattern && scalar.node->format == Format::kNone ? Step::Op::kChoice : Step::Op::kText;
      step.deep = step.deep && step.op == Step::Op::kText;
      step.low = static_cast<std::int64_t>(std::min<std::uint64_t>(scalar.min_length, INT64_MAX));
      step.high = static_cast<std::int64_t>(std::min<std::uint64_t>(scalar.max_length, INT64_MAX));
      break;
    case ColumnType::kArray: step.op = Step::Op::kArray; break;
    default: step.op = Step::Op::kOther;
  }
  return step;
}

}  // namespace

Plan::Plan() : impl_(std::make_unique<Impl>()) {}
Plan::~Plan() = default;

Result<std::shared_ptr<const Plan>> Plan::compile(std::string_view text, std::string_view origin) {
  UTP_TRY(auto schema, Schema::compile(text, origin));
  std::shared_ptr<Plan> plan(new Plan());
  plan->impl_->schema = std::move(schema);
  UTP_CHECK(Compiler(origin).run(*plan->impl_));
  for (const ColumnRule& rule : plan->impl_->rules) {
    plan->impl_->steps.push_back(step_of(rule));
    plan->impl_->keys.add(rule.name);
  }
  return std::shared_ptr<const Plan>(std::move(plan));
}

const Schema& Plan::schema() const { return impl_->schema; }
const std::string& Plan::event_type() const { return impl_->event_type; }
const std::string& Plan::schema_ref() const { return impl_->schema_ref; }
const std::string& Plan::name() const { return impl_->name; }
SemanticVersion Plan::version() const { return impl_->version; }
const std::string& Plan::table() const { return impl_->table; }
std::optional<std::size_t> Plan::explode() const { return impl_->explode; }
Delivery Plan::delivery() const { return impl_->delivery; }
std::int64_t Plan::retention_ns() const { return impl_->retention_ns; }
std::span<const Column> Plan::columns() const { return impl_->columns; }

std::optional<std::size_t> Plan::column(std::string_view name) const {
  for (std::size_t i = 0; i < impl_->columns.size(); ++i) {
    if (impl_->columns[i].name == name) return i;
  }
  return std::nullopt;
}

bool Plan::read(std::string_view json, Row& row, Violation& violation) const {
  return read_fast(json, row) || read_general(json, row, violation);
}

}  // namespace utp
