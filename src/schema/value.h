// Value and Row: one canonical payload, typed, in the column order of its Plan. A Row is reused from event to event, so
// that the hot path does not allocate.
#pragma once

#include <cassert>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/decimal.h"
#include "core/timestamp.h"

namespace utp {

class Plan;

enum class Kind : std::uint8_t { kAbsent, kNull, kBool, kInteger, kDecimal, kText, kTime, kArray };

// 16 bytes. A text refers to bytes that live elsewhere: the message that was read, the frame that was mapped, or the
// row's own arena (Row::copy). An array refers to `size` entries of its row's elements, tuple by tuple.
struct Value {
  union {
    std::int64_t integer = 0;  // kBool 0/1, kInteger, kDecimal mantissa, kTime ns since the epoch
    const char* text;          // kText
    std::uint64_t first;       // kArray: index of the first element in Row::elements()
  };
  std::uint32_t size = 0;      // kText: bytes; kArray: tuples (elements for an array of scalars); kDecimal: unused
  std::int16_t exponent = 0;   // kDecimal
  Kind kind = Kind::kAbsent;

  static Value null() { return of(Kind::kNull, 0); }
  static Value of(bool flag) { return of(Kind::kBool, flag ? 1 : 0); }
  static Value of(std::int64_t number) { return of(Kind::kInteger, number); }
  static Value of(Timestamp time) { return of(Kind::kTime, time.ns); }
  static Value of(const Decimal& number) {
    Value v = of(Kind::kDecimal, number.mantissa());
    v.exponent = static_cast<std::int16_t>(number.exponent());
    return v;
  }
  static Value of(std::string_view text_bytes) {
    Value v;
    v.text = text_bytes.data();
    v.size = static_cast<std::uint32_t>(text_bytes.size());
    v.kind = Kind::kText;
    return v;
  }

  bool present() const { return kind > Kind::kNull; }
  bool as_bool() const { return integer != 0; }
  std::int64_t as_integer() const { return integer; }
  Timestamp as_time() const { return {integer}; }
  Decimal as_decimal() const { return {integer, exponent}; }
  std::string_view as_text() const { return {text, size}; }

 private:
  static Value of(Kind kind, std::int64_t integer) {
    Value v;
    v.integer = integer;
    v.kind = kind;
    return v;
  }
};
static_assert(sizeof(Value) == 16);

// Not thread-safe. Texts set with set() must outlive the row's use; copy() keeps its own bytes until reset().
class Row {
 public:
  Row() = default;
  explicit Row(const Plan& plan) { reset(plan); }
  Row(const Row&) = delete;
  Row& operator=(const Row&) = delete;
  Row(Row&&) = default;
  Row& operator=(Row&&) = default;

  void reset(const Plan& plan);  // all columns absent; defined in plan.cc
  const Plan& plan() const { return *plan_; }
  bool has_plan() const { return plan_ != nullptr; }

  std::span<const Value> values() const { return values_; }
  std::span<Value> values() { return values_; }
  const Value& operator[](std::size_t column) const { return values_[column]; }
  void set(std::size_t column, Value value) { values_[column] = value; }
  template <class T>
  void set(std::size_t column, const T& value) {
    values_[column] = Value::of(value);
  }
  void set_null(std::size_t column) { values_[column] = Value::null(); }
  void copy(std::size_t column, std::string_view text) { values_[column] = Value::of(keep(text)); }

  // An array column: begin, push each element (all members of a tuple in order), end with the number of tuples.
  void begin_array(std::size_t column) {
    Value v;
    v.first = elements_.size();
    v.kind = Kind::kArray;
    values_[column] = v;
  }
  void push(Value element) { elements_.push_back(element); }
  void end_array(std::size_t column, std::uint32_t tuples) { values_[column].size = tuples; }

  // All elements of an array column: size x arity values.
  std::span<const Value> elements(std::size_t column, std::size_t arity = 1) const {
    const Value& v = values_[column];
    return v.kind == Kind::kArray ? std::span<const Value>(elements_).subspan(v.first, v.size * arity)
                                  : std::span<const Value>{};
  }
  std::vector<Value>& element_buffer() { return elements_; }

  // Copies `text` into the arena; the view is valid until reset().
  std::string_view keep(std::string_view text) {
    char* bytes = reserve_text(text.size());
    if (!text.empty()) std::memcpy(bytes, text.data(), text.size());
    return {bytes, text.size()};
  }
  // `size` writable bytes of the arena, valid until reset().
  char* reserve_text(std::size_t size);

 private:
  static constexpr std::size_t kBlockBytes = 4096;
  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };

  const Plan* plan_ = nullptr;
  std::vector<Value> values_;
  std::vector<Value> elements_;
  std::vector<Block> blocks_;
  std::size_t block_ = 0;  // in use
  std::size_t used_ = 0;   // bytes of it
};

}  // namespace utp
