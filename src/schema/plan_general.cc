// The general way in: any legal JSON. Also where every refusal gets its code, path and words.
#include "schema/json.h"
#include "schema/plan_rules.h"

namespace utp {
namespace {

class Reader {
 public:
  Reader(const JsonTree& tree, Row& row, Violation& violation) : tree_(tree), row_(row), violation_(violation) {}

  bool read(const PlanRules& plan, const JsonValue& root) {
    if (root.kind != JsonKind::kObject) return refuse("type", "", "found " + describe(root) + ", expected an object");
    for (const JsonValue* member = tree_.first(root); member != nullptr; member = tree_.next(*member)) {
      std::size_t column = 0;
      while (column < plan.rules.size() && plan.rules[column].name != member->key) ++column;
      if (column == plan.rules.size()) {
        return refuse("additionalProperties", pointer(member->key),
                      "the schema " + plan.schema_ref + " knows no such field");
      }
      if (!read_column(plan.rules[column], column, *member)) return false;
    }
    for (const std::uint32_t column : plan.required) {
      if (row_[column].kind == Kind::kAbsent) {
        return refuse("required", pointer(plan.rules[column].name), "absent, but required by " + plan.schema_ref);
      }
    }
    return true;
  }

 private:
  bool refuse(const char* code, std::string path, std::string message) {
    violation_ = {code, std::move(path), std::move(message)};
    return false;
  }
  static std::string pointer(std::string_view token) {
    std::string path;
    append_pointer(path, token);
    return path;
  }
  static std::string describe(const JsonValue& value) {
    if (value.kind == JsonKind::kString) return "\"" + shorten(value.text, 60) + "\"";
    if (value.kind == JsonKind::kNumber) return shorten(value.text, 60);
    return std::string(to_string(value.kind));
  }

  bool read_column(const ColumnRule& rule, std::size_t column, const JsonValue& member) {
    if (rule.type == ColumnType::kArray) return read_array(rule, column, member);
    Value value;
    const char* const keyword = read_scalar(rule.scalar, member, value);
    if (keyword != nullptr) return refuse_scalar(rule.scalar, keyword, pointer(member.key), member, value);
    row_.set(column, value);
    return true;
  }

  bool read_array(const ColumnRule& rule, std::size_t column, const JsonValue& member) {
    if (member.kind == JsonKind::kNull && rule.nullable) {
      row_.set_null(column);
      return true;
    }
    const std::string path = pointer(member.key);
    if (member.kind != JsonKind::kArray) return refuse("type", path, "found " + describe(member) + ", expected an array");
    if (member.count < rule.min_items) {
      return refuse("minItems", path, "found " + std::to_string(member.count) + " items, expected at least " + std::to_string(rule.min_items));
    }
    if (member.count > rule.max_items) {
      return refuse("maxItems", path, "found " + std::to_string(member.count) + " items, expected at most " + std::to_string(rule.max_items));
    }
    row_.begin_array(column);
    std::size_t index = 0;
    for (const JsonValue* item = tree_.first(member); item != nullptr; item = tree_.next(*item), ++index) {
      if (!rule.tuples) {
        if (!read_element(rule, *item, path + "/" + std::to_string(index))) return false;
        continue;
      }
      const std::string item_path = path + "/" + std::to_string(index);
      if (item->kind != JsonKind::kArray) return refuse("type", item_path, "found " + describe(*item) + ", expected an array");
      if (item->count != rule.arity) {
        return refuse(item->count < rule.arity ? "minItems" : "maxItems", item_path,
                      "found " + std::to_string(item->count) + " items, expected " + std::to_string(rule.arity));
      }
      std::size_t place = 0;
      for (const JsonValue* part = tree_.first(*item); part != nullptr; part = tree_.next(*part), ++place) {
        if (!read_element(rule, *part, item_path + "/" + std::to_string(place))) return false;
      }
    }
    row_.end_array(column, member.count);
    return true;
  }

  bool read_element(const ColumnRule& rule, const JsonValue& item, const std::string& path) {
    Value value;
    const char* const keyword = read_scalar(rule.scalar, item, value);
    if (keyword != nullptr) return refuse_scalar(rule.scalar, keyword, path, item, value);
    row_.push(value);
    return true;
  }

  bool refuse_scalar(const ScalarRule& rule, const char* keyword, std::string path, const JsonValue& item, const Value& value) {
    if (std::string_view(keyword) == "type") {
      return refuse("type", std::move(path),
                    "found " + describe(item) + ", expected " + std::string(to_string(rule.type)) + (rule.nullable ? " or null" : ""));
    }
    if (std::string_view(keyword) == "format" && value.kind != Kind::kText) {
      return refuse("format", std::move(path),
                    "found " + describe(item) + ", expected a time such as 2026-11-22T14:30:00.123456789Z");
    }
    if (std::string_view(keyword) == "precision") {
      return refuse("precision", std::move(path),
                    "found " + describe(item) + ", which does not fit " +
                        (rule.type == ColumnType::kInteger ? "64 bits" : "19 digits with an exponent of -36 to 18"));
    }
    return refuse_value(violation_, rule, keyword, std::move(path), value);
  }

  // The keyword that is broken, null when none.
  const char* read_scalar(const ScalarRule& rule, const JsonValue& item, Value& value) {
    if (item.kind == JsonKind::kNull) {
      if (!rule.nullable) return "type";
      value = Value::null();
      return nullptr;
    }
    switch (rule.type) {
      case ColumnType::kBool:
        if (item.kind != JsonKind::kTrue && item.kind != JsonKind::kFalse) return "type";
        value = Value::of(item.kind == JsonKind::kTrue);
        break;
      case ColumnType::kInteger: {
        if (item.kind != JsonKind::kNumber) return "type";
        const auto number = Decimal::parse(item.text);
        if (!number) return "precision";
        if (!number->is_integer()) return "type";
        const auto whole = number->to_int64();
        if (!whole) return "precision";
        value = Value::of(*whole);
        break;
      }
      case ColumnType::kDecimal: {
        if (item.kind != JsonKind::kNumber) return "type";
        const auto number = Decimal::parse(item.text);
        if (!number) return "precision";
        value = Value::of(*number);
        break;
      }
      case ColumnType::kText:
        if (item.kind != JsonKind::kString) return "type";
        value = Value::of(row_.keep(item.text));
        break;
      case ColumnType::kTime: {
        if (item.kind != JsonKind::kString) return "type";
        const auto time = Timestamp::parse_canonical(item.text);
        if (!time) return "format";
        value = Value::of(*time);
        break;
      }
      case ColumnType::kArray: return "type";
    }
    return rule.broken(value, false);
  }

  const JsonTree& tree_;
  Row& row_;
  Violation& violation_;
};

}  // namespace

bool PlanAccess::read_tree(const PlanRules& plan, const JsonTree& tree, const JsonValue& payload, Row& row,
                           Violation& violation) {
  return Reader(tree, row, violation).read(plan, payload);
}

bool Plan::read_general(std::string_view json, Row& row, Violation& violation) const {
  thread_local JsonTree tree;
  std::string error;
  row.reset(*this);
  if (!tree.parse(json, error)) {
    violation = {"json", "", std::move(error)};
    return false;
  }
  return PlanAccess::read_tree(*impl_, tree, tree.root(), row, violation);
}

}  // namespace utp
