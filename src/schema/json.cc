#include "schema/json.h"

#include <algorithm>
#include <unordered_set>
#include <utility>
#include <vector>

#include <simdjson.h>

#include "core/json_writer.h"
#include "schema/number.h"

namespace utp {

namespace ondemand = simdjson::ondemand;

struct JsonTree::Impl {
  ondemand::parser parser;
  std::string buffer;  // the text and simdjson's padding
  std::vector<JsonValue> values;
  std::string failure;
  const char* failed_at = nullptr;

  bool refuse(std::string message, const char* at = nullptr) {
    failure = std::move(message);
    failed_at = at;
    return false;
  }
  bool refuse(simdjson::error_code code) { return refuse(simdjson::error_message(code)); }

  bool build(ondemand::value value, std::uint32_t index, int depth);
  bool build_object(ondemand::value value, std::uint32_t index, int depth);
  bool build_array(ondemand::value value, std::uint32_t index, int depth);
  bool build_scalar(ondemand::value value, std::uint32_t index);
  bool no_duplicates(std::uint32_t object);

  // Appends a child and links it behind `last` (0 = the first).
  std::uint32_t append(std::uint32_t parent, std::uint32_t last) {
    const auto index = static_cast<std::uint32_t>(values.size());
    values.emplace_back();
    (last == 0 ? values[parent].first : values[last].next) = index;
    ++values[parent].count;
    return index;
  }
};

bool JsonTree::Impl::build(ondemand::value value, std::uint32_t index, int depth) {
  if (depth > kDepthMax) return refuse("nested deeper than " + std::to_string(kDepthMax) + " levels");
  const std::string_view token = value.raw_json_token();
  switch (token.empty() ? '\0' : token[0]) {
    case '{': return build_object(value, index, depth);
    case '[': return build_array(value, index, depth);
    default: return build_scalar(value, index);
  }
}

bool JsonTree::Impl::build_scalar(ondemand::value value, std::uint32_t index) {
  std::string_view token = value.raw_json_token();
  while (!token.empty() && (token.back() == ' ' || token.back() == '\n' || token.back() == '\r' || token.back() == '\t')) {
    token.remove_suffix(1);
  }
  JsonValue& out = values[index];
  if (!token.empty() && token[0] == '"') {
    out.kind = JsonKind::kString;
    if (const auto code = value.get_string().get(out.text)) return refuse(code);
    return true;
  }
  if (token == "null") {
    out.kind = JsonKind::kNull;
  } else if (token == "true") {
    out.kind = JsonKind::kTrue;
  } else if (token == "false") {
    out.kind = JsonKind::kFalse;
  } else if (is_json_number(token)) {
    out.kind = JsonKind::kNumber;
    out.text = token;
  } else {
    return refuse("found " + (token.empty() ? "nothing" : shorten(token, 40)) + " where a value was expected", token.data());
  }
  return true;
}

bool JsonTree::Impl::build_array(ondemand::value value, std::uint32_t index, int depth) {
  values[index].kind = JsonKind::kArray;
  ondemand::array array;
  if (const auto code = value.get_array().get(array)) return refuse(code);
  std::uint32_t last = 0;
  for (auto item : array) {
    ondemand::value element;
    if (const auto code = std::move(item).get(element)) return refuse(code);
    last = append(index, last);
    if (!build(element, last, depth + 1)) return false;
  }
  return true;
}

bool JsonTree::Impl::build_object(ondemand::value value, std::uint32_t index, int depth) {
  values[index].kind = JsonKind::kObject;
  ondemand::object object;
  if (const auto code = value.get_object().get(object)) return refuse(code);
  std::uint32_t last = 0;
  for (auto item : object) {
    ondemand::field field;
    if (const auto code = std::move(item).get(field)) return refuse(code);
    std::string_view key;
    if (const auto code = field.unescaped_key().get(key)) return refuse(code);
    last = append(index, last);
    values[last].key = key;
    if (!build(field.value(), last, depth + 1)) return false;
  }
  return no_duplicates(index);
}

bool JsonTree::Impl::no_duplicates(std::uint32_t object) {
  const auto twice = [&](std::string_view key) {
    return refuse("the member \"" + shorten(key, 60) + "\" stands twice in one object");
  };
  constexpr std::uint32_t kFew = 12;
  if (values[object].count > kFew) {
    std::unordered_set<std::string_view> seen;
    for (std::uint32_t i = values[object].first; i != 0; i = values[i].next) {
      if (!seen.insert(values[i].key).second) return twice(values[i].key);
    }
    return true;
  }
  for (std::uint32_t i = values[object].first; i != 0; i = values[i].next) {
    for (std::uint32_t j = values[i].next; j != 0; j = values[j].next) {
      if (values[i].key == values[j].key) return twice(values[i].key);
    }
  }
  return true;
}

JsonTree::JsonTree() : impl_(std::make_unique<Impl>()) {}
JsonTree::~JsonTree() = default;
JsonTree::JsonTree(JsonTree&&) noexcept = default;
JsonTree& JsonTree::operator=(JsonTree&&) noexcept = default;

bool JsonTree::parse(std::string_view json, std::string& error) {
  Impl& impl = *impl_;
  impl.values.clear();
  impl.values.resize(2);
  impl.failed_at = nullptr;
  const std::size_t start = json.find_first_not_of(" \t\r\n");
  if (start == std::string_view::npos) {
    error = "found nothing where a JSON value was expected";
    return false;
  }
  // A lone scalar is read as the one element of an array: one way for all.
  const bool scalar = json[start] != '{' && json[start] != '[';
  const std::size_t shift = scalar ? 1 : 0;
  impl.buffer.clear();
  impl.buffer.reserve(json.size() + 2 * shift + simdjson::SIMDJSON_PADDING);
  if (scalar) impl.buffer.push_back('[');
  impl.buffer.append(json);
  if (scalar) impl.buffer.push_back(']');
  const std::size_t size = impl.buffer.size();
  impl.buffer.append(simdjson::SIMDJSON_PADDING, ' ');

  ondemand::document document;
  bool good = false;
  if (const auto code = impl.parser.iterate(impl.buffer.data(), size, impl.buffer.size()).get(document)) {
    impl.refuse(code);
  } else {
    ondemand::value value;
    if (const auto code_value = document.get_value().get(value)) {
      impl.refuse(code_value);
    } else if (impl.build(value, 1, 0)) {
      const char* rest = nullptr;
      good = document.current_location().get(rest) == simdjson::OUT_OF_BOUNDS || impl.refuse("found text after the value");
    }
  }
  if (good && scalar) {
    good = impl.values[1].count == 1 || impl.refuse("found text after the value");
    if (good) {
      const std::uint32_t element = impl.values[1].first;
      impl.values[1] = JsonValue(impl.values[element]);
    }
  }
  if (good) return true;

  const char* at = impl.failed_at;
  if (at == nullptr && document.is_alive()) {
    const char* location = nullptr;
    if (!document.current_location().get(location)) at = location;
  }
  error.clear();
  if (at != nullptr && at >= impl.buffer.data() && at <= impl.buffer.data() + size) {
    const std::string_view before(impl.buffer.data(), static_cast<std::size_t>(at - impl.buffer.data()));
    const auto line = 1 + std::count(before.begin(), before.end(), '\n');
    const std::size_t line_start = before.rfind('\n') + 1;
    const std::size_t column = before.size() - line_start + 1 - (line == 1 ? shift : 0);
    error = "line " + std::to_string(line) + ", column " + std::to_string(column) + ": ";
  }
  error += impl.failure;
  return false;
}

const JsonValue& JsonTree::at(std::uint32_t index) const { return impl_->values[index]; }

std::uint32_t JsonTree::index_of(const JsonValue& value) const {
  return static_cast<std::uint32_t>(&value - impl_->values.data());
}

const JsonValue* JsonTree::member(const JsonValue& object, std::string_view key) const {
  if (object.kind != JsonKind::kObject) return nullptr;
  for (const JsonValue* child = first(object); child != nullptr; child = next(*child)) {
    if (child->key == key) return child;
  }
  return nullptr;
}

namespace {

template <class Number, class Order>
void write_value(const JsonTree& tree, const JsonValue& value, std::string& out, const Number& number, const Order& order) {
  switch (value.kind) {
    case JsonKind::kNull: out += "null"; return;
    case JsonKind::kFalse: out += "false"; return;
    case JsonKind::kTrue: out += "true"; return;
    case JsonKind::kNumber: number(value.text, out); return;
    case JsonKind::kString: append_json_string(out, value.text); return;
    case JsonKind::kArray:
    case JsonKind::kObject: break;
  }
  const bool object = value.kind == JsonKind::kObject;
  std::vector<const JsonValue*> children;
  children.reserve(value.count);
  for (const JsonValue* child = tree.first(value); child != nullptr; child = tree.next(*child)) children.push_back(child);
  if (object) order(children);
  out.push_back(object ? '{' : '[');
  for (std::size_t i = 0; i < children.size(); ++i) {
    if (i != 0) out.push_back(',');
    if (object) {
      append_json_string(out, children[i]->key);
      out.push_back(':');
    }
    write_value(tree, *children[i], out, number, order);
  }
  out.push_back(object ? '}' : ']');
}

}  // namespace

void JsonTree::write_canonical(const JsonValue& value, std::string& out) const {
  write_value(
      *this, value, out, [](std::string_view token, std::string& text) { text += BigNumber(token).canonical(); },
      [](std::vector<const JsonValue*>& children) {
        std::sort(children.begin(), children.end(),
                  [](const JsonValue* a, const JsonValue* b) { return a->key < b->key; });
      });
}

void JsonTree::write(const JsonValue& value, std::string& out) const {
  write_value(
      *this, value, out, [](std::string_view token, std::string& text) { text += token; },
      [](std::vector<const JsonValue*>&) {});
}

std::string_view to_string(JsonKind kind) {
  switch (kind) {
    case JsonKind::kNull: return "null";
    case JsonKind::kFalse:
    case JsonKind::kTrue: return "boolean";
    case JsonKind::kNumber: return "number";
    case JsonKind::kString: return "string";
    case JsonKind::kArray: return "array";
    case JsonKind::kObject: return "object";
  }
  return "?";
}

void append_pointer(std::string& pointer, std::string_view token) {
  pointer.push_back('/');
  for (const char c : token) {
    if (c == '~') {
      pointer += "~0";
    } else if (c == '/') {
      pointer += "~1";
    } else {
      pointer.push_back(c);
    }
  }
}

std::string shorten(std::string_view text, std::size_t bytes_max) {
  if (text.size() <= bytes_max) return std::string(text);
  std::size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  return std::string(text.substr(0, end)) + "...";
}

}  // namespace utp
