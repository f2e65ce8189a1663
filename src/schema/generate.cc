#include "schema/generate.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <map>

#include "schema/json.h"

namespace utp::generate {

std::vector<std::shared_ptr<const Plan>> newest(PlanList plans) {
  std::map<std::string, std::shared_ptr<const Plan>> chosen;
  for (const auto& plan : plans) {
    auto& best = chosen[plan->event_type()];
    if (best == nullptr || best->version() < plan->version()) best = plan;
  }
  std::vector<std::shared_ptr<const Plan>> out;
  for (auto& [event_type, plan] : chosen) out.push_back(std::move(plan));
  return out;
}

std::string type_name(const Plan& plan) {
  std::string out;
  bool upper = true;
  for (const char c : plan.event_type()) {
    if (c == '/' || c == '_') {
      upper = true;
      continue;
    }
    out.push_back(upper && c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c);
    upper = false;
  }
  return out;
}

const Node& element_node(const Column& column) {
  const Node* node = column.node.get();
  if (column.type != ColumnType::kArray) return *node;
  node = node->items.get();
  return column.tuples ? *node->items : *node;
}

bool element_nullable(const Column& column) { return (element_node(column).types & kTypeNull) != 0; }

bool is_optional(const Column& column) { return !column.required || column.nullable; }

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    if (lead < 0x80) {
      if (lead == '"' || lead == '\\') {
        out += {'\\', text[i]};
      } else if (lead < 0x20 || lead == 0x7F) {
        std::array<char, 8> escape;
        std::snprintf(escape.data(), escape.size(), "\\u%04x", lead);
        out += escape.data();
      } else {
        out.push_back(text[i]);
      }
      ++i;
      continue;
    }
    const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    out.append(text.substr(i, size));  // all three languages read UTF-8 source
    i += size;
  }
  return out + "\"";
}

std::string one_line(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20) c = ' ';
  }
  for (std::size_t at = 0; (at = out.find("*/", at)) != std::string::npos;) out.replace(at, 2, "* /");
  while (!out.empty() && out.back() == '\\') out.pop_back();
  return out;
}

std::vector<std::string> text_choices(const Node& node) {
  std::vector<std::string> out;
  for (const std::string& choice : node.choices) {
    JsonTree tree;
    std::string error;
    if (!tree.parse(choice, error)) return {};
    if (tree.root().kind == JsonKind::kNull) continue;
    if (tree.root().kind != JsonKind::kString) return {};
    out.emplace_back(tree.root().text);
  }
  return out;
}

}  // namespace utp::generate
