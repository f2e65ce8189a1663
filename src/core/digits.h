// Decimal digits to and from text, sixteen at a time where the machine has SSE4.1 (x86-64-v2 and above), two at a time
// elsewhere. Building blocks of decimal.cc, timestamp.cc and the event scanner and writer.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#if defined(__SSE4_1__)
#include <immintrin.h>
#endif

namespace utp {

inline constexpr std::array<std::uint64_t, 20> kPowersOfTen = [] {
  std::array<std::uint64_t, 20> powers{};
  std::uint64_t value = 1;
  for (auto& power : powers) {
    power = value;
    value *= 10;
  }
  return powers;
}();

inline constexpr std::array<char, 200> kDigitPairs = [] {
  std::array<char, 200> pairs{};
  for (std::size_t i = 0; i < 100; ++i) {
    pairs[2 * i] = static_cast<char>('0' + i / 10);
    pairs[2 * i + 1] = static_cast<char>('0' + i % 10);
  }
  return pairs;
}();

// Significant digits of `value`, 1 for zero.
inline int count_digits(std::uint64_t value) {
  value |= 1;
  const int guess = static_cast<int>((static_cast<unsigned>(std::bit_width(value)) * 1233) >> 12);
  return guess + (value >= kPowersOfTen[static_cast<std::size_t>(guess)] ? 1 : 0);
}

// Writes exactly `count` digits (leading zeros included) and returns the end.
inline char* write_padded(char* out, std::uint64_t value, int count) {
  char* p = out + count;
  while (p - out >= 2) {
    p -= 2;
    std::memcpy(p, kDigitPairs.data() + 2 * (value % 100), 2);
    value /= 100;
  }
  if (p != out) *out = static_cast<char>('0' + value % 10);
  return out + count;
}

inline char* write_unsigned(char* out, std::uint64_t value) {
  if (value < 10) {
    *out = static_cast<char>('0' + value);
    return out + 1;
  }
  if (value < 100) {
    std::memcpy(out, kDigitPairs.data() + 2 * value, 2);
    return out + 2;
  }
  return write_padded(out, value, count_digits(value));
}

inline char* write_signed(char* out, std::int64_t value) {
  auto magnitude = static_cast<std::uint64_t>(value);
  if (value < 0) {
    *out++ = '-';
    magnitude = ~magnitude + 1;
  }
  return write_unsigned(out, magnitude);
}

#if defined(__SSE4_1__)

// Two numbers below 10^8 as sixteen digits (values, not characters), `high` first.
inline __m128i digits16(std::uint32_t high, std::uint32_t low) {
  const __m128i x = _mm_set_epi64x(low, high);
  const __m128i thousands = _mm_srli_epi64(_mm_mul_epu32(x, _mm_set1_epi64x(0xd1b71759)), 45);
  const __m128i rest = _mm_sub_epi32(x, _mm_mul_epu32(thousands, _mm_set1_epi64x(10'000)));
  const __m128i fours = _mm_or_si128(thousands, _mm_slli_epi64(rest, 32));
  const __m128i hundreds = _mm_srli_epi16(_mm_mulhi_epu16(fours, _mm_set1_epi16(5243)), 3);
  const __m128i twos = _mm_or_si128(
      hundreds, _mm_slli_epi32(_mm_sub_epi16(fours, _mm_mullo_epi16(hundreds, _mm_set1_epi16(100))), 16));
  const __m128i tens = _mm_srli_epi16(_mm_mullo_epi16(twos, _mm_set1_epi16(103)), 10);
  const __m128i ones = _mm_sub_epi16(twos, _mm_mullo_epi16(tens, _mm_set1_epi16(10)));
  return _mm_or_si128(tens, _mm_slli_epi16(ones, 8));
}

// Writes value x 10^exponent (-14 to 0) of at most 15 digits, plain; may touch 16 bytes. Null when it has more: the
// caller then goes another way.
inline char* write_short_decimal(char* out, std::int64_t mantissa, int exponent) {
  *out = '-';
  out += mantissa < 0;
  const std::uint64_t value = mantissa < 0 ? ~static_cast<std::uint64_t>(mantissa) + 1 : static_cast<std::uint64_t>(mantissa);
  if (value >= 1'000'000'000'000'000 || exponent < -14 || exponent > 0) return nullptr;
  const __m128i digits = digits16(static_cast<std::uint32_t>(value / 100'000'000), static_cast<std::uint32_t>(value % 100'000'000));
  const auto zeros = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(digits, _mm_setzero_si128())));
  const int significant = 16 - std::countr_zero(~zeros | 0x8000);  // at least one
  const int places = -exponent;
  const int count = significant > places ? significant : places + 1;  // at least one before the dot
  const int whole = count - places;
  const __m128i iota = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  // Behind the dot everything comes from one place further left.
  const __m128i behind = _mm_cmpgt_epi8(iota, _mm_set1_epi8(static_cast<char>(whole)));
  const __m128i from = _mm_add_epi8(_mm_add_epi8(iota, behind), _mm_set1_epi8(static_cast<char>(16 - count)));
  __m128i text = _mm_add_epi8(_mm_shuffle_epi8(digits, from), _mm_set1_epi8('0'));
  text = _mm_blendv_epi8(text, _mm_set1_epi8('.'), _mm_cmpeq_epi8(iota, _mm_set1_epi8(static_cast<char>(whole))));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(out), text);
  return out + count + (places > 0 ? 1 : 0);
}

// The number that sixteen digit values make.
inline std::uint64_t value_of_digits16(__m128i digits) {
  const __m128i twos = _mm_maddubs_epi16(digits, _mm_set1_epi16(0x010A));
  const __m128i fours = _mm_madd_epi16(twos, _mm_set1_epi32(0x00010064));
  const __m128i packed = _mm_packus_epi32(fours, fours);
  const __m128i eights = _mm_madd_epi16(packed, _mm_set1_epi32(0x00012710));
  const auto pair = static_cast<std::uint64_t>(_mm_cvtsi128_si64(eights));
  return (pair & 0xFFFFFFFF) * 100'000'000 + (pair >> 32);
}

#endif

}  // namespace utp
