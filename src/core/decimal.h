// Decimal: an exact decimal number, mantissa x 10^exponent. Prices and sizes stay in it from the venue's text to the
// store's column, so no digit is invented or lost.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace utp {

// Always normalized: no trailing zero in the fraction (exponent < 0 implies mantissa % 10 != 0), and exponent > 0 only
// for an integer too large for the mantissa alone; so equal values have equal members.
class Decimal {
 public:
  static constexpr int kExponentMin = -36;
  static constexpr int kExponentMax = 18;
  static constexpr std::size_t kTextMax = 58;  // sign, "0.", 36 digits, or 19 digits and 18 zeros

  constexpr Decimal() = default;
  // Normalizes. Exponents beyond the range after normalization: use make().
  constexpr Decimal(std::int64_t mantissa, int exponent) : mantissa_(mantissa), exponent_(exponent) { normalize(); }
  static std::optional<Decimal> make(std::int64_t mantissa, int exponent);

  // JSON number grammar (an exponent is accepted), the whole text. Empty when it is no number or does not fit.
  static std::optional<Decimal> parse(std::string_view text);
  // The shortest decimal that reads back as this double (at most 17 digits); empty for NaN, infinities and what does
  // not fit.
  static std::optional<Decimal> from_double(double value);

  constexpr std::int64_t mantissa() const { return mantissa_; }
  constexpr int exponent() const { return exponent_; }
  constexpr bool is_zero() const { return mantissa_ == 0; }
  constexpr bool is_integer() const { return exponent_ >= 0; }
  double to_double() const;                        // correctly rounded
  std::optional<std::int64_t> to_int64() const;    // empty when fractional or too large
  int digits() const;                              // significant digits of the mantissa

  // Writes at most kTextMax characters, plain notation, no exponent; returns the end.
  char* write(char* out) const;
  std::string to_string() const;

  // True when this is an integer multiple of `unit` (unit > 0). Exact.
  bool is_multiple_of(const Decimal& unit) const;

  friend constexpr bool operator==(const Decimal&, const Decimal&) = default;
  friend std::strong_ordering operator<=>(const Decimal& a, const Decimal& b);

  // Exact; empty when the result does not fit.
  static std::optional<Decimal> add(const Decimal& a, const Decimal& b);
  static std::optional<Decimal> subtract(const Decimal& a, const Decimal& b);
  // (a + b) / 2: a mid price. Exact; empty when it does not fit.
  static std::optional<Decimal> midpoint(const Decimal& a, const Decimal& b);

 private:
  constexpr void normalize() {
    if (mantissa_ == 0) {
      exponent_ = 0;
      return;
    }
    while (exponent_ < 0 && mantissa_ % 10 == 0) {
      mantissa_ /= 10;
      ++exponent_;
    }
    while (exponent_ > 0 && mantissa_ <= INT64_MAX / 10 && mantissa_ >= INT64_MIN / 10) {
      mantissa_ *= 10;
      --exponent_;
    }
  }

  std::int64_t mantissa_ = 0;
  std::int32_t exponent_ = 0;
};

}  // namespace utp
