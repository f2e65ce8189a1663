// Node: one compiled (sub)schema. A tree of nodes is what the schema compiler makes of a JSON Schema 2020-12 file in our
// profile; the general validator walks it, a Plan is built from it, the generators and the compatibility checker read it.
//
// Nodes may refer to each other in circles (a recursive $ref), so none of the pointers between them owns: every node
// lives as long as its Schema, or a copy of Schema::root_pointer().
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/decimal.h"

namespace re2 {
class RE2;
}

namespace utp {

// Bits of Node::types.
enum TypeBit : std::uint8_t {
  kTypeNull = 1,
  kTypeBoolean = 2,
  kTypeObject = 4,
  kTypeArray = 8,
  kTypeString = 16,
  kTypeInteger = 32,  // any number with an integral value, 1.0 included
  kTypeNumber = 64,
  kTypeAny = 127,
};

// The formats of the profile; all are asserted.
enum class Format : std::uint8_t {
  kNone,
  kTimestamp,  // "utp-timestamp": the canonical 30 characters
  kDateTime,   // RFC 3339
  kDate,       // YYYY-MM-DD
  kUri,        // RFC 3986 with a scheme
};

struct Node {
  struct Property {
    std::string name;
    std::shared_ptr<const Node> node;
    bool required = false;
    bool declared = true;  // false: only `required` names it, and `additional` judges its value
  };

  // A $ref beside other keywords: this schema holds as well (a $ref alone is its target's node). Never a circle, and a
  // node with `ref` has no items, no additional and no property schemas of its own.
  std::shared_ptr<const Node> ref;

  bool never = false;  // the schema `false`: nothing is valid
  std::uint8_t types = kTypeAny;

  std::vector<std::string> choices;  // enum and const: canonical JSON texts of the allowed values; empty = no restriction
  bool has_choices = false;

  std::optional<Decimal> minimum, maximum, exclusive_minimum, exclusive_maximum, multiple_of;

  std::uint64_t min_length = 0;  // code points
  std::uint64_t max_length = UINT64_MAX;
  std::shared_ptr<const re2::RE2> pattern;  // unanchored search
  std::string pattern_text;
  Format format = Format::kNone;

  std::vector<Property> properties;         // in the file's order; names that only `required` has come last, with node == any
  std::shared_ptr<const Node> additional;   // null = anything allowed; never = closed

  std::shared_ptr<const Node> items;  // null = anything
  std::uint64_t min_items = 0;
  std::uint64_t max_items = UINT64_MAX;

  std::string title;
  std::string description;
  std::string x_utp;  // the raw JSON of the x-utp annotation, "" when absent
};

}  // namespace utp
