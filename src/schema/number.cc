#include "schema/number.h"

#include <algorithm>

namespace utp {
namespace {

constexpr std::int64_t kExponentLimit = 100'000'000'000'000'000;

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::uint64_t multiply_modulo(std::uint64_t a, std::uint64_t b, std::uint64_t modulus) {
  return static_cast<std::uint64_t>(static_cast<unsigned __int128>(a) * b % modulus);
}

std::uint64_t power_of_ten_modulo(std::uint64_t exponent, std::uint64_t modulus) {
  std::uint64_t result = 1 % modulus;
  std::uint64_t base = 10 % modulus;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply_modulo(result, base, modulus);
    base = multiply_modulo(base, base, modulus);
  }
  return result;
}

}  // namespace

bool is_json_number(std::string_view text) {
  std::size_t i = 0;
  const auto digits = [&] {
    const std::size_t start = i;
    while (i < text.size() && is_digit(text[i])) ++i;
    return i - start;
  };
  if (i < text.size() && text[i] == '-') ++i;
  const bool zero = i < text.size() && text[i] == '0';
  const std::size_t count = digits();
  if (count == 0 || (zero && count > 1)) return false;
  if (i < text.size() && text[i] == '.') {
    ++i;
    if (digits() == 0) return false;
  }
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '+' || text[i] == '-')) ++i;
    if (digits() == 0) return false;
  }
  return i == text.size();
}

BigNumber::BigNumber(std::string_view token) {
  std::size_t i = 0;
  if (!token.empty() && token[0] == '-') {
    negative_ = true;
    i = 1;
  }
  std::int64_t point = -1;
  for (; i < token.size() && token[i] != 'e' && token[i] != 'E'; ++i) {
    if (token[i] == '.') {
      point = static_cast<std::int64_t>(digits_.size());
    } else {
      digits_.push_back(token[i]);
    }
  }
  top_ = point >= 0 ? point : static_cast<std::int64_t>(digits_.size());
  if (i < token.size()) {
    ++i;
    const bool down = i < token.size() && token[i] == '-';
    if (i < token.size() && !is_digit(token[i])) ++i;
    std::int64_t exponent = 0;
    for (; i < token.size(); ++i) exponent = std::min(kExponentLimit, exponent * 10 + (token[i] - '0'));
    top_ += down ? -exponent : exponent;
  }
  const std::size_t leading = std::min(digits_.find_first_not_of('0'), digits_.size());
  digits_.erase(0, leading);
  top_ -= static_cast<std::int64_t>(leading);
  digits_.erase(digits_.find_last_not_of('0') + 1);
  if (digits_.empty()) {
    negative_ = false;
    top_ = 0;
  }
}

bool BigNumber::is_multiple_of(const Decimal& unit) const {
  if (digits_.empty()) return true;
  // digits x 10^exponent over mantissa x 10^unit.exponent
  std::int64_t shift = top_ - static_cast<std::int64_t>(digits_.size()) - unit.exponent();
  auto modulus = static_cast<std::uint64_t>(unit.mantissa());
  // Tens of the unit that the digits lack: the digits end in no zero, so each must come out of the mantissa.
  if (shift < 0) return false;
  std::uint64_t remainder = 0;
  for (const char digit : digits_) {
    remainder = static_cast<std::uint64_t>(
        (static_cast<unsigned __int128>(remainder) * 10 + static_cast<unsigned>(digit - '0')) % modulus);
  }
  return multiply_modulo(remainder, power_of_ten_modulo(static_cast<std::uint64_t>(shift), modulus), modulus) == 0;
}

std::string BigNumber::canonical() const {
  if (digits_.empty()) return "0";
  const std::string scientific = (negative_ ? "-" : "") + digits_ + "e" +
                                 std::to_string(top_ - static_cast<std::int64_t>(digits_.size()));
  if (const auto decimal = Decimal::parse(scientific)) return decimal->to_string();
  return scientific;
}

std::strong_ordering operator<=>(const BigNumber& a, const BigNumber& b) {
  const auto sign = [](const BigNumber& n) { return n.digits_.empty() ? 0 : n.negative_ ? -1 : 1; };
  if (sign(a) != sign(b)) return sign(a) <=> sign(b);
  const auto magnitude = [](const BigNumber& x, const BigNumber& y) -> std::strong_ordering {
    if (x.top_ != y.top_) return x.top_ <=> y.top_;
    return x.digits_.compare(y.digits_) <=> 0;
  };
  return a.negative_ ? magnitude(b, a) : magnitude(a, b);
}

}  // namespace utp
