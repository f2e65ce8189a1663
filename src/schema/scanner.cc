#include "schema/scanner.h"

#include <simdjson.h>

namespace utp::scan {

bool valid_utf8(std::string_view text) { return simdjson::validate_utf8(text.data(), text.size()); }

std::uint64_t code_points(std::string_view text) {
  std::uint64_t count = 0;
  for (const char c : text) count += (static_cast<unsigned char>(c) & 0xC0) != 0x80 ? 1 : 0;
  return count;
}

bool is_plain_ascii_long(std::string_view text) {
  const char* p = text.data();
  std::size_t left = text.size();
#if defined(__AVX2__)
  const auto special = [](const char* q) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
    return _mm256_or_si256(_mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')),
                                           _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'))),
                           _mm256_cmpgt_epi8(_mm256_set1_epi8(0x20), v));
  };
  if (left >= 32) {
    const char* const last = p + left - 32;
    __m256i any = special(last);
    for (; p < last; p += 32) any = _mm256_or_si256(any, special(p));
    return _mm256_testz_si256(any, any) != 0;
  }
#endif
  for (; left > 0; --left, ++p) {
    const auto c = static_cast<unsigned char>(*p);
    if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\') return false;
  }
  return true;
}

const char* Cursor::leave_message(const char* p) {
  if (limit_ != end_) {
    if (can_read_behind(end_)) {
      limit_ = end_;
      return p;
    }
    std::memcpy(tail_, end_ - kSlack, kSlack);
    return use_tail(p);
  }
  std::memset(tail_, 0, kSlack);
  return tail_;
}

const char* scan_text_slow(Cursor& cursor, const char* p, Text& out) {
  const char* const start = cursor.original(p);
  out.bytes = start;
  out.ascii = true;
  for (;;) {
    p = cursor.ready(p);
#if defined(__AVX2__)
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i special = _mm256_or_si256(
        _mm256_or_si256(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')), _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'))),
        _mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v));
    const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(special));
    const auto high = static_cast<std::uint32_t>(_mm256_movemask_epi8(v));
    if (mask == 0) {
      out.ascii = out.ascii && high == 0;
      p += 32;
      continue;
    }
    const int n = std::countr_zero(mask);
    out.ascii = out.ascii && (high & ((mask & (0 - mask)) - 1)) == 0;
    p += n;
    if (*p != '"') return nullptr;
#else
    const auto c = static_cast<unsigned char>(*p);
    if (c < 0x20 || c == '\\') return nullptr;
    out.ascii = out.ascii && c < 0x80;
    if (c != '"') {
      ++p;
      continue;
    }
#endif
    out.size = static_cast<std::uint32_t>(cursor.original(p) - start);
    if (!out.ascii && !valid_utf8(out.view())) return nullptr;
    return p + 1;
  }
}

const char* scan_decimal_slow(const char* p, std::int64_t& mantissa, std::int16_t& exponent) {
  const char* q = p;
  const char* const stop = p + 64;  // longer numbers go the general way
  while (q != stop && ((*q >= '0' && *q <= '9') || *q == '.' || *q == '-' || *q == '+' || (*q | 0x20) == 'e')) ++q;
  if (q == stop) return nullptr;
  const auto value = Decimal::parse({p, static_cast<std::size_t>(q - p)});
  if (!value) return nullptr;
  mantissa = value->mantissa();
  exponent = static_cast<std::int16_t>(value->exponent());
  return q;
}

const char* scan_integer_slow(const char* p, std::int64_t& value) {
  const char* q = p;
  const bool negative = *q == '-';
  q += negative;
  const char* const first = q;
  std::uint64_t magnitude = 0;
  for (unsigned digit; (digit = static_cast<unsigned char>(*q) - unsigned{'0'}) < 10; ++q) {
    magnitude = magnitude * 10 + digit;
    if (q - first >= 18) return nullptr;
  }
  if (q == first || (*first == '0' && (q - first > 1 || negative))) return nullptr;
  value = negative ? -static_cast<std::int64_t>(magnitude) : static_cast<std::int64_t>(magnitude);
  return q;
}

bool scan_time_slow(const char* p, DateCache& cache, std::int64_t& ns) {
  const auto time = Timestamp::parse_canonical({p, Timestamp::kTextSize});
  if (!time) return false;
  ns = time->ns;
  // Days at the ends of the range, where a whole day does not fit, are not remembered; a leap second belongs to the day
  // before.
  if (ns > -9'000'000'000'000'000'000 && ns < 9'000'000'000'000'000'000 && p[17] != '6') {
    constexpr std::int64_t kDay = 86'400'000'000'000;
    std::memcpy(cache.text, p, 11);
    cache.day_ns = ns - ((ns % kDay) + kDay) % kDay;
  }
  return true;
}

}  // namespace utp::scan
