// RandomRows: seeded rows that a plan allows, plain or nasty, for tests, benchmarks and fuzzing. Not for production.
#pragma once

#include <array>
#include <string>

#include "core/random.h"
#include "schema/plan.h"

namespace utp {

class RandomRows {
 public:
  // `nasty`: escapes, non-ASCII, extreme numbers and times; otherwise what a market feed looks like.
  RandomRows(std::uint64_t seed, bool nasty) : random_(seed), nasty_(nasty) {}

  // `habit`: a source that sends the same optional fields and as many decimal places each time, as venues do; 0 = none.
  void fill(const Plan& plan, Row& row, std::uint64_t habit = 0) {
    row.reset(plan);
    for (std::size_t i = 0; i < plan.columns().size(); ++i) {
      const Column& column = plan.columns()[i];
      Random own(habit * 1'000 + i);
      places_ = habit == 0 ? -1 : static_cast<int>(own.below(5));
      if (!column.required && (habit == 0 ? random_.chance(nasty_ ? 0.3 : 0.1) : own.chance(0.15))) continue;
      if (column.nullable && random_.chance(nasty_ ? 0.2 : 0.02)) {
        row.set_null(i);
      } else if (column.type == ColumnType::kArray) {
        fill_array(column, i, row);
      } else {
        row.set(i, scalar(column.type, *column.node, row));
      }
    }
  }
  Random& random() { return random_; }

 private:
  void fill_array(const Column& column, std::size_t index, Row& row) {
    const Node* node = column.node->items.get();
    if (column.tuples) node = node->items.get();
    const std::uint64_t most = column.tuples ? (nasty_ ? 50 : 10) : 4;
    const std::uint64_t low = column.node->min_items;
    const auto count = static_cast<std::uint32_t>(std::min(low + random_.below(most + 1), column.node->max_items));
    row.begin_array(index);
    for (std::uint32_t i = 0; i < count * column.arity; ++i) row.push(scalar(column.element, *node, row));
    row.end_array(index, count);
  }

  Value scalar(ColumnType type, const Node& node, Row& row) {
    switch (type) {
      case ColumnType::kBool: return Value::of(random_.chance(0.5));
      case ColumnType::kInteger: return Value::of(integer(node));
      case ColumnType::kDecimal: return Value::of(decimal(node));
      case ColumnType::kTime: return Value::of(time());
      default: return Value::of(row.keep(text(node)));
    }
  }

  Timestamp time() {
    if (nasty_ && random_.chance(0.3)) return {static_cast<std::int64_t>(random_.next())};
    return {1'795'357'800'000'000'000 + static_cast<std::int64_t>(random_.below(3'600'000'000'000))};
  }

  std::int64_t integer(const Node& node) {
    std::int64_t low = node.minimum ? node.minimum->to_int64().value_or(0) : (nasty_ ? INT64_MIN / 2 : -1'000'000);
    std::int64_t high = node.maximum ? node.maximum->to_int64().value_or(0) : (nasty_ ? INT64_MAX / 2 : 1'000'000);
    if (!nasty_ || random_.chance(0.5)) high = std::min(high, low + 1'000'000);
    return random_.between(low, high);
  }

  Decimal decimal(const Node& node) {
    for (;;) {
      Decimal value;
      if (nasty_ && random_.chance(0.4)) {
        const auto made = Decimal::make(static_cast<std::int64_t>(random_.next() >> random_.below(64)),
                                        static_cast<int>(random_.between(Decimal::kExponentMin, Decimal::kExponentMax)));
        if (!made) continue;
        value = *made;
      } else if (node.maximum && *node.maximum <= Decimal(1, 0)) {
        value = Decimal(random_.between(-10'000, 10'000), -4);
      } else {
        const int places = places_ >= 0 ? places_ : static_cast<int>(random_.below(9));
        value = Decimal(random_.between(1, 1'000'000'000), -places);
        if (nasty_ && random_.chance(0.5)) value = Decimal(-value.mantissa(), value.exponent());
      }
      if (node.minimum && value < *node.minimum) continue;
      if (node.maximum && value > *node.maximum) continue;
      return value;
    }
  }

  std::string text(const Node& node) {
    if (node.has_choices) {
      for (;;) {
        const std::string& choice = node.choices[random_.below(node.choices.size())];
        if (choice[0] == '"') return choice.substr(1, choice.size() - 2);
      }
    }
    if (node.format == Format::kDate) return nasty_ ? "2028-02-29" : "2026-12-18";
    if (node.format == Format::kUri) return "https://example.com/a?b=" + std::to_string(random_.below(100'000));
    if (node.pattern) return std::to_string(1 + random_.below(999)) + "m";  // the interval of bars
    static constexpr std::array<std::string_view, 14> kPieces = {
        "é", "\"", "\\", "\n", std::string_view("\0", 1), "\x1f", "\x7f", "漢字", "😀", "/", "<", "\t", " ", "x"};
    const std::uint64_t least = node.min_length;
    const std::uint64_t most = std::min<std::uint64_t>(node.max_length, nasty_ && random_.chance(0.1) ? 300 : node.max_length > 256 ? 80 : 12);
    const std::uint64_t length = least + random_.below(most - std::min(least, most) + 1);
    std::string out;
    for (std::uint64_t i = 0; i < std::max(length, least); ++i) {
      if (nasty_ && random_.chance(0.1)) {
        const std::string_view piece = kPieces[random_.below(kPieces.size())];
        if (piece == "漢字") out += "漢";
        else out += piece;
      } else {
        out += static_cast<char>('a' + random_.below(26));
      }
    }
    return out;
  }

  Random random_;
  bool nasty_;
  int places_ = -1;
};

}  // namespace utp
