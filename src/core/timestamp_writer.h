// TimestampWriter: writes canonical times and remembers the last date, for streams that stay on one day.
#pragma once

#include <cstdint>
#include <cstring>

#include "core/digits.h"
#include "core/timestamp.h"

namespace utp {

// Not thread-safe.
class TimestampWriter {
 public:
  // Writes exactly Timestamp::kTextSize characters, may touch two more, and returns the end.
  char* write(Timestamp time, char* out) {
    constexpr std::int64_t kDay = 86'400'000'000'000;
    const auto since_midnight = static_cast<std::uint64_t>(time.ns) - static_cast<std::uint64_t>(day_ns_);
    if (!known_ || since_midnight >= static_cast<std::uint64_t>(kDay)) [[unlikely]] return remember(time, out);
    std::memcpy(out, date_, 16);
    const auto seconds = static_cast<std::uint32_t>(since_midnight / 1'000'000'000);
    const auto nanos = static_cast<std::uint32_t>(since_midnight % 1'000'000'000);
    const std::uint32_t minutes = seconds / 60;
    const std::uint32_t clock = (minutes / 60) * 10'000 + (minutes % 60) * 100 + seconds % 60;
#if defined(__SSE4_1__)
    // hhmmssNN 0NNNNNNN, then the separators between.
    const __m128i digits = _mm_add_epi8(digits16(clock * 100 + nanos / 10'000'000, nanos % 10'000'000), _mm_set1_epi8('0'));
    const __m128i head = _mm_shuffle_epi8(digits, _mm_setr_epi8(0, 1, -1, 2, 3, -1, 4, 5, -1, 6, 7, 9, 10, 11, 12, 13));
    const __m128i separators = _mm_setr_epi8(0, 0, ':', 0, 0, ':', 0, 0, '.', 0, 0, 0, 0, 0, 0, 0);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + 11), _mm_or_si128(head, separators));
    const auto last = static_cast<std::uint16_t>(_mm_extract_epi16(digits, 7));
    std::memcpy(out + 27, &last, 2);
#else
    write_padded(out + 11, clock / 10'000, 2);
    out[13] = ':';
    write_padded(out + 14, clock / 100 % 100, 2);
    out[16] = ':';
    write_padded(out + 17, clock % 100, 2);
    out[19] = '.';
    write_padded(out + 20, nanos, 9);
#endif
    out[29] = 'Z';
    return out + Timestamp::kTextSize;
  }

 private:
  char* remember(Timestamp time, char* out) {
    constexpr std::int64_t kDay = 86'400'000'000'000;
    char* const end = time.write(out);
    std::memcpy(date_, out, 11);
    known_ = time.ns > INT64_MIN + kDay;
    if (known_) day_ns_ = time.ns - ((time.ns % kDay) + kDay) % kDay;
    return end;
  }

  bool known_ = false;
  std::int64_t day_ns_ = 0;
  char date_[16] = {};
};

}  // namespace utp
