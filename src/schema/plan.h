// Plan: what a schema file becomes for events. One plan serves validation and extraction in one pass over the bytes,
// validation of a typed row, serialization, store columns, topic and retention.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "schema/schema.h"
#include "schema/value.h"

namespace utp {

enum class ColumnType : std::uint8_t { kBool, kInteger, kDecimal, kText, kTime, kArray };

struct Column {
  std::string name;
  ColumnType type = ColumnType::kText;
  bool required = false;   // must be present in the payload
  bool nullable = false;   // may be null
  // kArray: its elements are scalars (arity 1) or tuples of `arity` scalars, all of `element` type.
  ColumnType element = ColumnType::kDecimal;
  std::uint32_t arity = 1;
  bool tuples = false;     // elements are written as arrays, [[1,2],[3,4]]
  std::string description;
  std::shared_ptr<const Node> node;
};

enum class Delivery : std::uint8_t {
  kLossless,
  kConflate,  // in the host's queue, under pressure, the newest of a symbol may replace those before it
};

struct SemanticVersion {
  int major = 0;
  int minor = 0;
  int patch = 0;
  friend constexpr auto operator<=>(const SemanticVersion&, const SemanticVersion&) = default;
};

class Plan {
 public:
  // A schema with an x-utp event type, of the flat shape that can be stored; refused otherwise, with the JSON Pointer.
  static Result<std::shared_ptr<const Plan>> compile(std::string_view text, std::string_view origin);
  ~Plan();

  const Schema& schema() const;
  const std::string& event_type() const;   // "quotes/v2"
  const std::string& schema_ref() const;   // "utp://quotes/2.0.0" (the schema's $id)
  const std::string& name() const;         // "quotes", "gex/levels"
  SemanticVersion version() const;
  const std::string& table() const;        // "" when events of this type are not stored
  std::optional<std::size_t> explode() const;  // the array column that becomes rows (row_no)
  Delivery delivery() const;
  std::int64_t retention_ns() const;       // on the bus; 0 = the bus's default

  std::span<const Column> columns() const;
  std::optional<std::size_t> column(std::string_view name) const;

  // Reads a payload: validates it and fills `row` in one pass. Texts in the row refer to `json` or to the row's arena, so
  // both must outlive its use. False with the violation otherwise; the row's content is then unspecified.
  // The fast scanner takes what this library writes; anything else that is legal JSON goes the general way.
  bool read(std::string_view json, Row& row, Violation& violation) const;
  bool read_general(std::string_view json, Row& row, Violation& violation) const;
  // The fast scanner alone: true = read; false = the general way must decide.
  bool read_fast(std::string_view json, Row& row) const;

  // Checks a typed row; what passes can be serialized and will be valid.
  bool validate(const Row& row, Violation& violation) const;

  // Appends the canonical serialization: keys in column order, absent columns left out, no spaces.
  void write(const Row& row, std::string& out) const;

 private:
  Plan();
  friend struct PlanAccess;  // the normalizer's and event reader's way to the same scanner and writer
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace utp
