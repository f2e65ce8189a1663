// QuotedText: a JSON text with the places of all its quotation marks, found a block at a time. Where every string begins and
// ends is then known without walking from one to the next, so keys in any order and white space cost little. For text
// without escapes; internal to the readers.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>
#include <vector>

#include "schema/scanner.h"

namespace utp::scan {

// Remembers the last run of white space: indentation repeats, and where it does the next token's place is known before
// the bytes are read.
struct IndentCache {
  char text[32] = {};
  std::uint32_t mask = 0;
  std::uint32_t size = 0;
};

// Not thread-safe; load() again and again.
class QuotedText {
 public:
  static constexpr std::size_t kPadding = 128;  // readable zeros behind the text

  // Copies `json`. False when it has an escape, a control character within a string, an open string, or is no UTF-8.
  bool load(std::string_view json);

  const char* begin() const { return buffer_.get(); }
  const char* end() const { return buffer_.get() + size_; }
  // The same place in the text that was loaded.
  const char* original(const char* p) const { return p + shift_; }
  bool ascii() const { return ascii_; }

  // The string whose opening quote is the n-th mark (n even) stands between quote(n) and quote(n + 1). Behind the last
  // mark: end().
  const char* quote(std::size_t n) const { return buffer_.get() + quotes_[n]; }
  std::size_t quotes() const { return count_; }

  const char* skip_space(const char* p) {
    if (static_cast<unsigned char>(*p) > ' ') return p;
    if (*p == ' ' && static_cast<unsigned char>(p[1]) > ' ') return p + 1;
#if defined(__AVX2__)
    const __m256i same = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                                           _mm256_loadu_si256(reinterpret_cast<const __m256i*>(indent_.text)));
    if ((~static_cast<std::uint32_t>(_mm256_movemask_epi8(same)) & indent_.mask) == 0 && indent_.size != 0 &&
        static_cast<unsigned char>(p[indent_.size]) > ' ') {
      return p + indent_.size;
    }
#endif
    return skip_space_slow(p);
  }

 private:
  const char* skip_space_slow(const char* p);

  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t size_ = 0;
  std::ptrdiff_t shift_ = 0;
  bool ascii_ = true;
  std::unique_ptr<std::uint32_t[]> quotes_;
  std::size_t count_ = 0;
  IndentCache indent_;
};

}  // namespace utp::scan
