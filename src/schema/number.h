// BigNumber: any JSON number, exactly, whatever its size; what Decimal cannot hold is compared in it.
#pragma once

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "core/decimal.h"

namespace utp {

bool is_json_number(std::string_view text);

// value = (negative ? -1 : 1) x 0.DIGITS x 10^top, DIGITS without leading and trailing zeros, empty for zero. Exponents
// beyond 10^17 are taken as that.
class BigNumber {
 public:
  explicit BigNumber(std::string_view token);  // is_json_number(token)
  explicit BigNumber(const Decimal& number) : BigNumber(number.to_string()) {}

  bool is_integer() const { return digits_.empty() || top_ >= static_cast<std::int64_t>(digits_.size()); }
  bool is_multiple_of(const Decimal& unit) const;  // unit > 0; exact

  // One text for one value: Decimal's plain notation where it fits it, else digits and an exponent.
  std::string canonical() const;

  friend std::strong_ordering operator<=>(const BigNumber& a, const BigNumber& b);
  friend bool operator==(const BigNumber& a, const BigNumber& b) = default;

 private:
  bool negative_ = false;
  std::string digits_;
  std::int64_t top_ = 0;
};

}  // namespace utp
