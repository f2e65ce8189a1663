// JsonTree: any legal JSON document as a tree, numbers as their text. For schemas and for the general validator; events
// take the faster way of a Plan.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace utp {

enum class JsonKind : std::uint8_t { kNull, kFalse, kTrue, kNumber, kString, kArray, kObject };

struct JsonValue {
  std::string_view key;      // the member's name, unescaped, where the parent is an object
  std::string_view text;     // kString: unescaped; kNumber: the token
  std::uint32_t first = 0;   // first child; 0 = none
  std::uint32_t next = 0;    // next sibling; 0 = none
  std::uint32_t count = 0;   // children
  JsonKind kind = JsonKind::kNull;
};

// Not thread-safe; may be parsed into again and again (what was there before is then gone).
class JsonTree {
 public:
  static constexpr int kDepthMax = 512;

  JsonTree();
  ~JsonTree();
  JsonTree(JsonTree&&) noexcept;
  JsonTree& operator=(JsonTree&&) noexcept;

  // UTF-8, need not be padded, need not outlive the call. Refused with `error` ("line 3, column 7: ..."): what RFC 8259
  // does not allow, text after the value, lone surrogates, two members of one name, nesting deeper than kDepthMax.
  bool parse(std::string_view json, std::string& error);

  const JsonValue& root() const { return at(1); }
  const JsonValue& at(std::uint32_t index) const;
  std::uint32_t index_of(const JsonValue& value) const;
  const JsonValue* first(const JsonValue& parent) const { return parent.first == 0 ? nullptr : &at(parent.first); }
  const JsonValue* next(const JsonValue& sibling) const { return sibling.next == 0 ? nullptr : &at(sibling.next); }
  const JsonValue* member(const JsonValue& object, std::string_view key) const;  // null when absent

  // Members sorted by name, numbers in one form (canonical_number), no spaces: equal texts are equal values.
  void write_canonical(const JsonValue& value, std::string& out) const;
  // As it was, without spaces: members in their order, number tokens untouched.
  void write(const JsonValue& value, std::string& out) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string_view to_string(JsonKind kind);  // "null", "boolean", "number", "string", "array", "object"

// Appends "/" and the token with "~" and "/" escaped.
void append_pointer(std::string& pointer, std::string_view token);

// At most `bytes_max` bytes of text for a message, cut between characters, with "..." where cut.
std::string shorten(std::string_view text, std::size_t bytes_max);

}  // namespace utp
