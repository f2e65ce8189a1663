#include "core/decimal.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "core/digits.h"

namespace utp {
namespace {

using Int128 = __int128;

Int128 power_of_ten(int n) {
  Int128 value = 1;
  while (n-- > 0) value *= 10;
  return value;
}

Int128 magnitude(Int128 value) { return value < 0 ? -value : value; }

// Normalizes a 128-bit mantissa down to 64 bits, dropping only zeros.
std::optional<Decimal> fit(Int128 mantissa, int exponent) {
  if (mantissa == 0) return Decimal{};
  while (mantissa % 10 == 0 && (exponent < 0 || mantissa > INT64_MAX || mantissa < INT64_MIN)) {
    mantissa /= 10;
    ++exponent;
  }
  if (mantissa > INT64_MAX || mantissa < INT64_MIN) return std::nullopt;
  return Decimal::make(static_cast<std::int64_t>(mantissa), exponent);
}

// Both scaled to the smaller exponent; empty when that takes more than 128 bits.
struct Aligned {
  Int128 a;
  Int128 b;
  int exponent;
};

std::optional<Aligned> align(const Decimal& a, const Decimal& b) {
  const int exponent = std::min(a.exponent(), b.exponent());
  const int shift_a = a.exponent() - exponent;
  const int shift_b = b.exponent() - exponent;
  if (shift_a > 18 || shift_b > 18) return std::nullopt;  // 19 + 18 digits stay below 2^127
  return Aligned{a.mantissa() * power_of_ten(shift_a), b.mantissa() * power_of_ten(shift_b), exponent};
}

}  // namespace

std::optional<Decimal> Decimal::make(std::int64_t mantissa, int exponent) {
  if (mantissa != 0 && (exponent < 4 * kExponentMin || exponent > 4 * kExponentMax)) return std::nullopt;
  const Decimal value(mantissa, exponent);
  if (value.exponent_ < kExponentMin || value.exponent_ > kExponentMax) return std::nullopt;
  return value;
}

std::optional<Decimal> Decimal::parse(std::string_view text) {
  const char* p = text.data();
  const char* const end = p + text.size();
  const bool negative = p != end && *p == '-';
  if (negative) ++p;
  if (p == end || *p < '0' || *p > '9') return std::nullopt;
  if (*p == '0' && p + 1 != end && p[1] >= '0' && p[1] <= '9') return std::nullopt;
  std::uint64_t mantissa = 0;
  int exponent = 0;
  int zeros = 0;  // zeros seen since the last other digit, not yet in the mantissa
  const auto take = [&](unsigned digit) {
    if (digit == 0) {
      ++zeros;
      return true;
    }
    for (; zeros > 0; --zeros) {
      if (mantissa > UINT64_MAX / 100) return false;
      mantissa *= 10;
    }
    if (mantissa > (UINT64_MAX - digit) / 10) return false;
    mantissa = mantissa * 10 + digit;
    return true;
  };
  for (; p != end && *p >= '0' && *p <= '9'; ++p) {
    if (mantissa == 0 && *p == '0') continue;
    if (!take(static_cast<unsigned>(*p - '0'))) return std::nullopt;
  }
  if (p != end && *p == '.') {
    ++p;
    if (p == end || *p < '0' || *p > '9') return std::nullopt;
    for (; p != end && *p >= '0' && *p <= '9'; ++p) {
      if (exponent > -4096) --exponent;
      if (mantissa == 0 && *p == '0') {
        zeros = 0;
        continue;
      }
      if (!take(static_cast<unsigned>(*p - '0'))) return std::nullopt;
    }
  }
  exponent += zeros;
  if (p != end && (*p == 'e' || *p == 'E')) {
    ++p;
    if (p != end && *p == '+') {
      ++p;
      if (p != end && *p == '-') return std::nullopt;
    }
    int shift = 0;
    const auto [stop, error] = std::from_chars(p, end, shift);
    if (error != std::errc{}) return std::nullopt;
    p = stop;
    if (shift > 4096 || shift < -4096) {
      if (mantissa == 0 && p == end) return Decimal{};
      return std::nullopt;
    }
    exponent += shift;
  }
  if (p != end) return std::nullopt;
  if (mantissa == 0) return Decimal{};
  const std::uint64_t limit = static_cast<std::uint64_t>(INT64_MAX) + (negative ? 1 : 0);
  if (mantissa > limit) return std::nullopt;
  const auto value = negative ? static_cast<std::int64_t>(~mantissa + 1) : static_cast<std::int64_t>(mantissa);
  return make(value, exponent);
}

std::optional<Decimal> Decimal::from_double(double value) {
  if (!std::isfinite(value)) return std::nullopt;
  std::array<char, 32> text;
  const auto [end, error] = std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::scientific);
  if (error != std::errc{}) return std::nullopt;
  return parse({text.data(), static_cast<std::size_t>(end - text.data())});
}

double Decimal::to_double() const {
  static constexpr std::array<double, 23> kPowers = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                                     1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                                     1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
  constexpr std::int64_t kExact = std::int64_t{1} << 53;
  if (mantissa_ >= -kExact && mantissa_ <= kExact && exponent_ >= -22 && exponent_ <= 0) {
    return static_cast<double>(mantissa_) / kPowers[static_cast<std::size_t>(-exponent_)];
  }
  std::array<char, kTextMax + 1> text;
  *write(text.data()) = '\0';
  return std::strtod(text.data(), nullptr);
}

std::optional<std::int64_t> Decimal::to_int64() const {
  if (exponent_ != 0) return std::nullopt;
  return mantissa_;
}

int Decimal::digits() const {
  int count = 1;
  for (std::int64_t rest = mantissa_ / 10; rest != 0; rest /= 10) ++count;
  return count;
}

char* Decimal::write(char* out) const {
  std::uint64_t value = static_cast<std::uint64_t>(mantissa_);
  if (mantissa_ < 0) {
    *out++ = '-';
    value = ~value + 1;
  }
  if (exponent_ >= 0) {
    out = write_unsigned(out, value);
    for (int i = 0; i < exponent_; ++i) *out++ = '0';
    return out;
  }
  const int count = count_digits(value);
  const int whole = count + exponent_;
  if (whole > 0) {
    // All digits, then the fraction one place on.
    write_padded(out, value, count);
    std::memmove(out + whole + 1, out + whole, static_cast<std::size_t>(-exponent_));
    out[whole] = '.';
    return out + count + 1;
  }
  *out++ = '0';
  *out++ = '.';
  for (int i = whole; i < 0; ++i) *out++ = '0';
  return write_padded(out, value, count);
}

std::string Decimal::to_string() const {
  std::array<char, kTextMax> text;
  return std::string(text.data(), write(text.data()));
}

bool Decimal::is_multiple_of(const Decimal& unit) const {
  if (is_zero()) return true;
  // value / unit = (m / n) x 10^(e - f), an integer or not.
  const int shift = exponent_ - unit.exponent_;
  if (shift >= 0) {
    Int128 remainder = magnitude(mantissa_) % magnitude(unit.mantissa_);
    for (int i = 0; i < shift && remainder != 0; ++i) remainder = remainder * 10 % magnitude(unit.mantissa_);
    return remainder == 0;
  }
  // unit x 10^-shift must divide the mantissa.
  Int128 divisor = magnitude(unit.mantissa_);
  for (int i = 0; i < -shift; ++i) {
    divisor *= 10;
    if (divisor > magnitude(mantissa_)) return false;
  }
  return magnitude(mantissa_) % divisor == 0;
}

std::strong_ordering operator<=>(const Decimal& a, const Decimal& b) {
  if (a.exponent_ == b.exponent_) return a.mantissa_ <=> b.mantissa_;
  const auto sign = [](const Decimal& d) { return d.mantissa_ < 0 ? -1 : d.mantissa_ > 0 ? 1 : 0; };
  if (sign(a) != sign(b)) return sign(a) <=> sign(b);
  if (const auto aligned = align(a, b)) return aligned->a <=> aligned->b;
  // The exponents are more than 18 apart and neither is zero: the position of the leading digit may decide, else the
  // smaller exponent's digits reach below the other's.
  const int top_a = a.digits() + a.exponent_;
  const int top_b = b.digits() + b.exponent_;
  if (top_a != top_b) return a.mantissa_ < 0 ? top_b <=> top_a : top_a <=> top_b;
  // Same leading position with shifts of 19 and more: only possible with 19 digits against one; scale the short one.
  const bool a_short = a.exponent_ > b.exponent_;
  const Decimal& shorter = a_short ? a : b;
  const Decimal& longer = a_short ? b : a;
  const Int128 scaled = shorter.mantissa_ * power_of_ten(shorter.exponent_ - longer.exponent_);
  const auto order = scaled <=> Int128{longer.mantissa_};
  return a_short ? order : 0 <=> order;
}

std::optional<Decimal> Decimal::add(const Decimal& a, const Decimal& b) {
  if (a.is_zero()) return b;
  if (b.is_zero()) return a;
  const auto aligned = align(a, b);
  if (!aligned) return std::nullopt;
  return fit(aligned->a + aligned->b, aligned->exponent);
}

std::optional<Decimal> Decimal::subtract(const Decimal& a, const Decimal& b) {
  if (b.is_zero()) return a;
  const auto aligned = align(a, b);
  if (!aligned) return std::nullopt;
  return fit(aligned->a - aligned->b, aligned->exponent);
}

std::optional<Decimal> Decimal::midpoint(const Decimal& a, const Decimal& b) {
  const auto aligned = align(a, b);
  if (!aligned) return std::nullopt;
  const Int128 sum = aligned->a + aligned->b;
  if (magnitude(sum) > power_of_ten(37)) return std::nullopt;
  return fit(sum * 5, aligned->exponent - 1);
}

}  // namespace utp
