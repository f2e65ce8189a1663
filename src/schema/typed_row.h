// What generated C++ types are made of: conversion between a Row's values and plain members.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/decimal.h"
#include "core/timestamp.h"
#include "schema/plan.h"
#include "schema/value.h"

namespace utp::typed {

// The column `name` of this row's plan: `index` where the plan is `schema_ref` itself, else by name; a reader of one
// minor version so reads rows of another. Empty when that version has no such column.
inline std::optional<std::size_t> place(const Row& row, std::string_view schema_ref, std::size_t index, std::string_view name) {
  if (row.plan().schema_ref() == schema_ref) return index;
  return row.plan().column(name);
}

inline void read(const Value& value, bool& out) { out = value.as_bool(); }
inline void read(const Value& value, std::int64_t& out) { out = value.as_integer(); }
inline void read(const Value& value, Decimal& out) { out = value.as_decimal(); }
inline void read(const Value& value, Timestamp& out) { out = value.as_time(); }
inline void read(const Value& value, std::string& out) { out = value.as_text(); }
template <class T>
void read(const Value& value, std::optional<T>& out) {
  out.reset();
  if (value.present()) read(value, out.emplace());
}

inline Value make(Row&, bool value) { return Value::of(value); }
inline Value make(Row&, std::int64_t value) { return Value::of(value); }
inline Value make(Row&, const Decimal& value) { return Value::of(value); }
inline Value make(Row&, Timestamp value) { return Value::of(value); }
inline Value make(Row& row, const std::string& value) { return Value::of(row.keep(value)); }
template <class T>
Value make(Row& row, const std::optional<T>& value) {
  return value ? make(row, *value) : Value::null();
}

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};
template <class T>
struct TupleSize : std::integral_constant<std::size_t, 0> {};  // 0: a scalar
template <class T, std::size_t N>
struct TupleSize<std::array<T, N>> : std::integral_constant<std::size_t, N> {};

template <class T>
void read_column(const Row& row, std::optional<std::size_t> column, T& out) {
  if constexpr (IsVector<T>::value) {
    using Element = typename T::value_type;
    constexpr std::size_t kArity = TupleSize<Element>::value;
    out.clear();
    if (!column) return;
    const auto values = row.elements(*column, kArity == 0 ? 1 : kArity);
    if constexpr (kArity == 0) {
      for (const Value& value : values) {
        Element element{};
        read(value, element);
        out.push_back(std::move(element));
      }
    } else {
      for (std::size_t i = 0; i + kArity <= values.size(); i += kArity) {
        Element& tuple = out.emplace_back();
        for (std::size_t j = 0; j < kArity; ++j) read(values[i + j], tuple[j]);
      }
    }
  } else if (column && row[*column].present()) {
    read(row[*column], out);
  } else {
    out = T{};
  }
}

template <class T>
void read_column(const Row& row, std::optional<std::size_t> column, std::optional<T>& out) {
  out.reset();
  if (column && row[*column].present()) read_column(row, column, out.emplace());
}

template <class T>
void write_column(Row& row, std::size_t column, const T& value) {
  if constexpr (IsVector<T>::value) {
    row.begin_array(column);
    for (const auto& element : value) {
      if constexpr (TupleSize<typename T::value_type>::value == 0) {
        row.push(make(row, static_cast<const typename T::value_type&>(element)));
      } else {
        for (const auto& member : element) row.push(make(row, member));
      }
    }
    row.end_array(column, static_cast<std::uint32_t>(value.size()));
  } else {
    row.set(column, make(row, value));
  }
}

// Absent where there is no value, null where the column is required.
template <class T>
void write_column(Row& row, std::size_t column, const std::optional<T>& value, bool required) {
  if (value) {
    write_column(row, column, *value);
  } else if (required) {
    row.set_null(column);
  } else {
    row.set(column, Value{});
  }
}

}  // namespace utp::typed
