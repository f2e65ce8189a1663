#include <algorithm>
#include <charconv>
#include <numeric>

#include "connector/manifest.h"
#include "core/json_writer.h"
#include "schema/json.h"

namespace utp {
namespace {

void merge(const JsonTree& base_tree, const JsonValue& base, const JsonTree& over_tree, const JsonValue& over, std::string& out) {
  out += '{';
  bool comma = false;
  const auto key = [&](std::string_view name) {
    if (comma) out += ',';
    comma = true;
    append_json_string(out, name);
    out += ':';
  };
  for (const JsonValue* item = base_tree.first(base); item != nullptr; item = base_tree.next(*item)) {
    key(item->key);
    const JsonValue* winner = over_tree.member(over, item->key);
    if (winner == nullptr) {
      base_tree.write(*item, out);
    } else if (winner->kind == JsonKind::kObject && item->kind == JsonKind::kObject) {
      merge(base_tree, *item, over_tree, *winner, out);
    } else {
      over_tree.write(*winner, out);
    }
  }
  for (const JsonValue* item = over_tree.first(over); item != nullptr; item = over_tree.next(*item)) {
    if (base_tree.member(base, item->key) != nullptr) continue;
    key(item->key);
    over_tree.write(*item, out);
  }
  out += '}';
}

}  // namespace

std::optional<std::uint64_t> parse_bytes(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit(end, static_cast<std::size_t>(text.data() + text.size() - end));
  unsigned shift = 0;
  if (unit == "KiB") shift = 10;
  else if (unit == "MiB") shift = 20;
  else if (unit == "GiB") shift = 30;
  else if (!unit.empty() && unit != "B") return std::nullopt;
  if (number > (UINT64_MAX >> shift)) return std::nullopt;
  return number << shift;
}

std::string nearest_name(std::string_view text, const std::vector<std::string>& candidates) {
  std::string best;
  std::size_t best_distance = std::max<std::size_t>(2, text.size() / 3) + 1;
  for (const std::string& candidate : candidates) {
    std::vector<std::size_t> row(candidate.size() + 1);
    std::iota(row.begin(), row.end(), 0u);
    for (std::size_t i = 0; i < text.size(); ++i) {
      std::size_t diagonal = row[0];
      row[0] = i + 1;
      for (std::size_t j = 0; j < candidate.size(); ++j) {
        const std::size_t above = row[j + 1];
        row[j + 1] = std::min({row[j] + 1, above + 1, diagonal + (text[i] == candidate[j] ? 0 : 1)});
        diagonal = above;
      }
    }
    if (row.back() < best_distance) {
      best_distance = row.back();
      best = candidate;
    }
  }
  return best;
}

Result<std::string> merge_json(std::string_view base, std::string_view over) {
  JsonTree base_tree, over_tree;
  std::string error;
  if (!base_tree.parse(base.empty() ? "{}" : base, error) || !over_tree.parse(over.empty() ? "{}" : over, error)) {
    return fail(Code::kInvalidArgument, "settings: " + error);
  }
  if (base_tree.root().kind != JsonKind::kObject || over_tree.root().kind != JsonKind::kObject) {
    return fail(Code::kInvalidArgument, "settings: expected an object");
  }
  std::string out;
  merge(base_tree, base_tree.root(), over_tree, over_tree.root(), out);
  return out;
}

}  // namespace utp
