// The direct scanner: tokens of JSON straight from the bytes, for text of the shape that this library writes. Every
// function is optimistic: false means "the general way must decide", never "invalid".
//
// The last bytes of a message are read together with what stands behind them in memory where that is of the same page;
// otherwise, and under sanitizers, in a copy that has room behind it. What is behind the end never decides anything.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "core/decimal.h"
#include "core/digits.h"
#include "core/timestamp.h"

namespace utp::scan {

constexpr std::size_t kSlack = 128;  // bytes behind a message's end that are read together with it
// True when the kSlack bytes from `end` on are of the page that the byte before `end` is of.
inline bool can_read_behind([[maybe_unused]] const char* end) {
#if defined(UTP_SANITIZED)
  return false;
#else
  constexpr std::uintptr_t kPage = 4096;  // the smallest there is
  return (reinterpret_cast<std::uintptr_t>(end - 1) & (kPage - 1)) < kPage - kSlack;
#endif
}

// The bytes of a message. Positions are plain pointers, so that they stay in registers; every position goes through ready()
// before more than a few bytes are read there.
class Cursor {
 public:
  static constexpr std::size_t kSlack = scan::kSlack;

  explicit Cursor(std::string_view bytes) : end_(bytes.data() + bytes.size()) {
    if (bytes.size() >= kSlack) {
      begin_ = bytes.data();
      limit_ = end_ - kSlack;
    } else {
      std::memset(tail_, 0, kSlack);
      if (!bytes.empty()) std::memcpy(tail_ + kSlack - bytes.size(), bytes.data(), bytes.size());
      begin_ = use_tail(end_ - bytes.size());
    }
  }
  Cursor(const Cursor&) = delete;
  Cursor& operator=(const Cursor&) = delete;

  const char* begin() const { return begin_; }
  // The same position, with at least kSlack bytes behind it that may be read; from a position behind the end: zeros.
  const char* ready(const char* p) {
    if (p > limit_) [[unlikely]] return leave_message(p);
    return p;
  }
  // Where `p` stands in the message itself.
  const char* original(const char* p) const { return p + shift_; }
  bool at_end(const char* p) const { return p == end_; }
  std::size_t left(const char* p) const { return static_cast<std::size_t>(end_ - p); }

 private:
  const char* leave_message(const char* p);
  const char* use_tail(const char* p) {
    std::memset(tail_ + kSlack, 0, kSlack);
    shift_ = end_ - (tail_ + kSlack);
    end_ = tail_ + kSlack;
    limit_ = tail_ + 2 * kSlack;
    return p - shift_;
  }

  const char* begin_;
  const char* end_;
  const char* limit_ = nullptr;
  std::ptrdiff_t shift_ = 0;
  char tail_[2 * kSlack];
};

// Literal texts of a known size: memcmp of a constant length compiles to a few loads.
template <std::size_t N>
bool literal(const char* p, const char (&text)[N]) {
  return std::memcmp(p, text, N - 1) == 0;
}

bool valid_utf8(std::string_view text);
std::uint64_t code_points(std::string_view text);  // of valid UTF-8

// True when all bytes are printable ASCII other than quote and backslash.
bool is_plain_ascii_long(std::string_view text);
inline bool is_plain_ascii(std::string_view text) {
#if defined(__SSE4_1__)
  const char* const p = text.data();
  const std::size_t size = text.size();
  if (size >= 4 && size <= 32) [[likely]] {
    __m128i a;
    __m128i b;
    if (size >= 16) {
      a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
      b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + size - 16));
    } else if (size >= 8) {
      a = _mm_loadu_si64(p);
      b = _mm_loadu_si64(p + size - 8);
      a = b = _mm_unpacklo_epi64(a, b);
    } else {
      a = _mm_loadu_si32(p);
      b = _mm_loadu_si32(p + size - 4);
      a = b = _mm_unpacklo_epi64(_mm_unpacklo_epi32(a, b), _mm_unpacklo_epi32(a, b));
    }
    const auto special = [](__m128i v) {
      return _mm_or_si128(_mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8('"')), _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'))),
                          _mm_cmpgt_epi8(_mm_set1_epi8(0x20), v));
    };
    const __m128i any = _mm_or_si128(special(a), special(b));
    return _mm_testz_si128(any, any) != 0;
  }
#endif
  return is_plain_ascii_long(text);
}

struct Text {
  const char* bytes = nullptr;
  std::uint32_t size = 0;
  bool ascii = true;
  std::string_view view() const { return {bytes, size}; }
};

const char* scan_text_slow(Cursor& cursor, const char* p, Text& out);

// From behind the opening quote to behind the closing one. Null for escapes, control characters, bad UTF-8.
inline const char* scan_text(Cursor& cursor, const char* p, Text& out) {
#if defined(__AVX2__)
  const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
  const __m256i special =
      _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')),
                                      _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'))),
                      _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), v));  // signed: control characters and non-ASCII
  const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(special));
  const unsigned n = static_cast<unsigned>(std::countr_zero(mask));
  if (mask != 0 && p[n] == '"') [[likely]] {
    out.bytes = cursor.original(p);
    out.size = n;
    out.ascii = true;
    return p + n + 1;
  }
#endif
  return scan_text_slow(cursor, p, out);
}

const char* scan_decimal_slow(const char* p, std::int64_t& mantissa, std::int16_t& exponent);

// Shuffles that right-align the digits of a number of `length` characters whose dot is at `whole` (equal: no dot).
alignas(16) inline constexpr auto kAlign = [] {
  std::array<std::array<std::array<signed char, 16>, 16>, 16> table{};
  for (int whole = 0; whole < 16; ++whole) {
    for (int length = 0; length < 16; ++length) {
      const int count = length > whole ? length - 1 : length;
      for (int i = 0; i < 16; ++i) {
        const int digit = i - (16 - count);
        table[static_cast<std::size_t>(whole)][static_cast<std::size_t>(length)][static_cast<std::size_t>(i)] =
            static_cast<signed char>(digit < 0 ? -1 : digit < whole ? digit : digit + 1);
      }
    }
  }
  return table;
}();

// A number at `p`, normalized as Decimal is; null when it is none. What follows the number (an exponent, too) is
// the caller's to check.
inline const char* scan_decimal(const char* p, std::int64_t& mantissa, std::int16_t& exponent) {
#if defined(__SSE4_1__)
  const bool negative = *p == '-';
  const char* const first = p + negative;
  const __m128i v = _mm_loadu_si128(reinterpret_cast<const __m128i*>(first));
  const __m128i digits = _mm_sub_epi8(v, _mm_set1_epi8('0'));
  const __m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
  const std::uint32_t stops = ~static_cast<std::uint32_t>(_mm_movemask_epi8(is_digit)) | 0x10000;
  const auto dots = static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_cmpeq_epi8(v, _mm_set1_epi8('.'))));
  const std::uint32_t dot = dots & stops & (0 - stops);  // the first stop, if it is a dot
  const unsigned whole = static_cast<unsigned>(std::countr_zero(stops));
  const unsigned length = static_cast<unsigned>(std::countr_zero(stops ^ dot));
  const bool odd = (length > 15) | (whole == 0) | (length == whole + 1) | ((*first == '0') & (whole > 1)) |
                   ((length > whole) & (first[static_cast<int>(length) - 1] == '0'));
  if (odd) [[unlikely]] return scan_decimal_slow(p, mantissa, exponent);
  const __m128i aligned = _mm_shuffle_epi8(digits, _mm_load_si128(reinterpret_cast<const __m128i*>(kAlign[whole][length].data())));
  const auto value = static_cast<std::int64_t>(value_of_digits16(aligned));
  mantissa = negative ? -value : value;
  exponent = static_cast<std::int16_t>(whole - length + (length > whole ? 1 : 0));
  return first + length;
#else
  return scan_decimal_slow(p, mantissa, exponent);
#endif
}

const char* scan_integer_slow(const char* p, std::int64_t& value);

// An integer in its shortest form ("-0" is none); at most 18 digits. Null when it is none. What follows
// (a dot, an exponent) is the caller's to check.
inline const char* scan_integer(const char* p, std::int64_t& value) {
#if defined(__SSE4_1__)
  const bool negative = *p == '-';
  const char* const first = p + negative;
  const __m128i digits = _mm_sub_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(first)), _mm_set1_epi8('0'));
  const __m128i is_digit = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
  const std::uint32_t stops = ~static_cast<std::uint32_t>(_mm_movemask_epi8(is_digit)) | 0x10000;
  const int length = std::countr_zero(stops);
  if (length < 16) [[likely]] {
    if ((length == 0) | ((*first == '0') & ((length > 1) | negative))) return nullptr;
    const __m128i index = _mm_load_si128(reinterpret_cast<const __m128i*>(kAlign[15][static_cast<std::size_t>(length)].data()));
    const auto magnitude = static_cast<std::int64_t>(value_of_digits16(_mm_shuffle_epi8(digits, index)));
    value = negative ? -magnitude : magnitude;
    return first + length;
  }
#endif
  return scan_integer_slow(p, value);
}

struct DateCache;
bool scan_time_slow(const char* p, DateCache& cache, std::int64_t& ns);

// Remembers the last date that was read: streams stay on one day.
struct DateCache {
  char text[16] = {};  // "2026-11-22T"
  std::int64_t day_ns = 0;
};

#if defined(__SSE4_1__)
// Nanoseconds since midnight of hh:mm:ss.nnnnnnnnn at `p` (18 characters, the separators unseen); false when digits are
// missing or out of range (a leap second is).
inline bool scan_clock(const char* p, std::int64_t& ns) {
  const __m128i time = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const __m128i digits = _mm_shuffle_epi8(_mm_sub_epi8(time, _mm_set1_epi8('0')),
                                          _mm_setr_epi8(0, 1, 3, 4, 6, 7, -1, -1, -1, 9, 10, 11, 12, 13, 14, 15));
  const __m128i in_range = _mm_cmpeq_epi8(_mm_min_epu8(digits, _mm_set1_epi8(9)), digits);
  const __m128i twos = _mm_maddubs_epi16(digits, _mm_set1_epi16(0x010A));  // hh mm ss 0 n nn nn nn
  const __m128i over = _mm_cmpgt_epi16(twos, _mm_setr_epi16(23, 59, 59, 0, 9, 99, 99, 99));
  const auto tens = static_cast<unsigned>(static_cast<unsigned char>(p[16]) - unsigned{'0'});
  const auto ones = static_cast<unsigned>(static_cast<unsigned char>(p[17]) - unsigned{'0'});
  const __m128i sums = _mm_madd_epi16(twos, _mm_setr_epi16(3600, 60, 1, 0, 100, 1, 100, 1));
  const auto clock = static_cast<std::uint64_t>(_mm_cvtsi128_si64(sums));
  const auto fraction = static_cast<std::uint64_t>(_mm_extract_epi64(sums, 1));
  const std::uint64_t seconds = (clock & 0xFFFFFFFF) + (clock >> 32);
  ns = static_cast<std::int64_t>(seconds * 1'000'000'000 + (fraction & 0xFFFFFFFF) * 1'000'000 + (fraction >> 32) * 100 +
                                 tens * 10 + ones);
  return _mm_movemask_epi8(_mm_andnot_si128(over, in_range)) == 0xFFFF && tens < 10 && ones < 10;
}
#endif

// Exactly the canonical 30 characters at `p` (32 may be read).
inline bool scan_time(const char* p, DateCache& cache, std::int64_t& ns) {
#if defined(__SSE4_1__)
  const __m128i date = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
  const auto same = static_cast<unsigned>(_mm_movemask_epi8(
      _mm_cmpeq_epi8(date, _mm_loadu_si128(reinterpret_cast<const __m128i*>(cache.text)))));
  std::int64_t clock = 0;
  if ((same & 0x7FF) == 0x7FF && p[13] == ':' && p[16] == ':' && p[19] == '.' && p[29] == 'Z' && scan_clock(p + 11, clock)) {
    ns = cache.day_ns + clock;
    return true;
  }
#endif
  return scan_time_slow(p, cache, ns);
}

}  // namespace utp::scan
