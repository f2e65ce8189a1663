#include "schema/plan_rules.h"

#include <algorithm>
#include <array>

#include <re2/re2.h>

#include "core/random.h"
#include "schema/formats.h"
#include "schema/json.h"

namespace utp {

void TextMap::add(std::string_view text) {
  if (contains(text)) return;
  const std::uint32_t place_of_text = size_++;
  if (text.size() > 16) {
    long_.emplace_back(text, place_of_text);
    return;
  }
  std::vector<Entry> entries = {{PackedText(text.data(), text.size()), static_cast<std::uint32_t>(text.size()), place_of_text}};
  for (const Entry& entry : slots_) {
    if (entry.place != kNone) entries.push_back(entry);
  }
  // Random multipliers until none collide; with four slots for each text this takes few tries, and more slots end it.
  Random random(entries.size());
  for (std::size_t size = std::bit_ceil(entries.size() * 4);; size *= 2) {
    slots_.assign(size, {});
    shift_ = 64 - std::countr_zero(size);
    for (int tries = 0; tries < 100; ++tries) {
      multiplier_ = random.next() | 1;
      if (place(entries)) return;
    }
  }
}

bool TextMap::place(const std::vector<Entry>& entries) {
  std::fill(slots_.begin(), slots_.end(), Entry{});
  for (const Entry& entry : entries) {
    Entry& there = slots_[slot(entry.packed)];
    if (there.place != kNone) return false;
    there = entry;
  }
  return true;
}

std::uint32_t TextMap::find_long(std::string_view text) const {
  for (const auto& [known, known_place] : long_) {
    if (known == text) return known_place;
  }
  return kNone;
}

const char* ScalarRule::integer_keyword(std::int64_t value) const {
  const Decimal number(value, 0);
  if (node->minimum && number < *node->minimum) return "minimum";
  if (node->maximum && number > *node->maximum) return "maximum";
  if (node->exclusive_minimum && number <= *node->exclusive_minimum) return "exclusiveMinimum";
  return "exclusiveMaximum";
}

namespace {

// Short texts that passed a rule's format or pattern lately: the same few come again and again (the interval of a bar, the
// expiry of an option). One place for each hash.
class PassedTexts {
 public:
  bool has(std::uint32_t rule, std::string_view text) const {
    if (text.size() > PackedText::kSizeMax) return false;
    const Entry entry{PackedText(text.data(), text.size()), static_cast<std::uint32_t>(text.size()), rule};
    return entries_[place(entry)] == entry;
  }
  void add(std::uint32_t rule, std::string_view text) {
    if (text.size() > PackedText::kSizeMax) return;
    const Entry entry{PackedText(text.data(), text.size()), static_cast<std::uint32_t>(text.size()), rule};
    entries_[place(entry)] = entry;
  }

 private:
  struct Entry {
    PackedText text;
    std::uint32_t size = 0;
    std::uint32_t rule = 0;  // 0: none
    friend bool operator==(const Entry&, const Entry&) = default;
  };
  static std::size_t place(const Entry& entry) {
    return static_cast<std::size_t>((entry.text.low ^ std::rotl(entry.text.high, 23) ^ entry.rule) * 0x9E3779B97F4A7C15ull >> 56);
  }
  std::array<Entry, 256> entries_;
};

}  // namespace

const char* ScalarRule::broken_deep(const Value& value) const {
  switch (value.kind) {
    case Kind::kBool:
      if (has_choices && !(value.as_bool() ? allows_true : allows_false)) return "enum";
      return nullptr;
    case Kind::kInteger:
    case Kind::kDecimal: {
      const Decimal number = value.as_decimal();
      if (node->minimum && number < *node->minimum) return "minimum";
      if (node->maximum && number > *node->maximum) return "maximum";
      if (node->exclusive_minimum && number <= *node->exclusive_minimum) return "exclusiveMinimum";
      if (node->exclusive_maximum && number >= *node->exclusive_maximum) return "exclusiveMaximum";
      if (node->multiple_of && !number.is_multiple_of(*node->multiple_of)) return "multipleOf";
      if (has_choices) {
        for (const Decimal& choice : numbers) {
          if (choice == number) return nullptr;
        }
        return "enum";
      }
      return nullptr;
    }
    case Kind::kText: {
      const std::string_view text = value.as_text();
      if (has_choices && !texts.contains(text)) return "enum";
      if (node->format == Format::kNone && !node->pattern) return nullptr;
      thread_local PassedTexts passed;
      if (passed.has(id, text)) return nullptr;
      if (node->format != Format::kNone && !matches_format(node->format, text)) return "format";
      if (node->pattern && !re2::RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *node->pattern)) {
        return "pattern";
      }
      passed.add(id, text);
      return nullptr;
    }
    default: return nullptr;
  }
}

std::string_view to_string(ColumnType type) {
  switch (type) {
    case ColumnType::kBool: return "boolean";
    case ColumnType::kInteger: return "integer";
    case ColumnType::kDecimal: return "number";
    case ColumnType::kText: return "string";
    case ColumnType::kTime: return "string (utp-timestamp)";
    case ColumnType::kArray: return "array";
  }
  return "?";
}

std::string describe_value(const Value& value) {
  switch (value.kind) {
    case Kind::kAbsent: return "nothing";
    case Kind::kNull: return "null";
    case Kind::kBool: return value.as_bool() ? "true" : "false";
    case Kind::kInteger: return std::to_string(value.integer);
    case Kind::kDecimal: return value.as_decimal().to_string();
    case Kind::kText: return "\"" + shorten(value.as_text(), 60) + "\"";
    case Kind::kTime: return "\"" + value.as_time().to_string() + "\"";
    case Kind::kArray: return "an array";
  }
  return "?";
}

bool refuse_value(Violation& violation, const ScalarRule& rule, const char* keyword, std::string path, const Value& value) {
  const std::string_view code = keyword;
  const Node& node = *rule.node;
  std::string message = "found " + describe_value(value) + ", expected ";
  if (code == "minimum") message += "at least " + node.minimum->to_string();
  else if (code == "maximum") message += "at most " + node.maximum->to_string();
  else if (code == "exclusiveMinimum") message += "more than " + node.exclusive_minimum->to_string();
  else if (code == "exclusiveMaximum") message += "less than " + node.exclusive_maximum->to_string();
  else if (code == "multipleOf") message += "a multiple of " + node.multiple_of->to_string();
  else if (code == "maxLength") message += "at most " + std::to_string(node.max_length) + " characters";
  else if (code == "minLength") message += "at least " + std::to_string(node.min_length) + " characters";
  else if (code == "pattern") message += "text that matches " + node.pattern_text;
  else if (code == "format") message += "format " + std::string(to_string(node.format));
  else if (code == "enum") {
    message += "one of ";
    for (std::size_t i = 0; i < node.choices.size(); ++i) message += (i > 0 ? ", " : "") + node.choices[i];
  } else if (code == "type") message += std::string(to_string(rule.type)) + (rule.nullable ? " or null" : "");
  else message += code;
  violation = {std::string(code), std::move(path), std::move(message)};
  return false;
}

}  // namespace utp
