// QuotedText: a JSON text with the places of all its quotation marks and braces, found a block at a time. Where every string
// and object begins and ends is then known without walking from one to the next, so keys in any order and white space cost
// little. For text without escapes; internal to the readers.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>
#include <string_view>

#include "schema/scanner.h"

namespace utp::scan {

// The comma between two members and the white space behind it, as it was seen last: mostly it is the same everywhere.
class Separator {
 public:
  // Eight bytes can be read at `p`; `next`: the next member's key.
  bool matches(const char* p, const char* next) const {
    std::uint64_t bytes;
    std::memcpy(&bytes, p, sizeof bytes);
    return next - p == size_ && ((bytes ^ bytes_) & mask_) == 0;
  }
  void learn(const char* p, const char* next) {
    if (next - p > static_cast<std::ptrdiff_t>(sizeof bytes_)) return;
    size_ = next - p;
    std::memcpy(&bytes_, p, sizeof bytes_);
    mask_ = 0;
    std::memset(&mask_, -1, static_cast<std::size_t>(size_));
  }

 private:
  std::ptrdiff_t size_ = -1;  // nothing was learned
  std::uint64_t bytes_ = 0;
  std::uint64_t mask_ = 0;
};

// Not thread-safe; load() again and again.
class QuotedText {
 public:
  static constexpr std::size_t kBlock = 64;  // bytes that are looked at together

  // `json` must outlive the reading. False when it has an escape, a control character within a string, an open string, or
  // is no UTF-8.
  bool load(std::string_view json);

  const char* begin() const { return text_; }
  const char* end() const { return text_ + size_; }
  // The same place in the text that was loaded, which may have been copied.
  const char* original(const char* p) const { return p + shift_; }
  bool ascii() const { return ascii_; }

  // The string whose opening quote is the n-th mark (n even) stands between quote(n) and quote(n + 1). Behind the last
  // mark: end().
  const char* quote(std::size_t n) const { return text_ + quotes_[n]; }
  std::size_t quotes() const { return count_; }

  // A brace outside strings.
  struct Brace {
    const char* at = nullptr;
    std::size_t mark = 0;  // the first quotation mark behind it
  };
  // The first one at `p` or behind; end() when there is none.
  Brace next_brace(const char* p) const {
    const auto from = static_cast<std::size_t>(p - text_);
    std::size_t i = from / kBlock;
    if (i >= blocks_size_) return {end(), count_};
    std::uint64_t bits = blocks_[i].braces & ~std::uint64_t{0} << from % kBlock;
    while (bits == 0) {
      if (++i == blocks_size_) return {end(), count_};
      bits = blocks_[i].braces;
    }
    const std::uint64_t before = (bits & (0 - bits)) - 1;
    const auto quotes_before = static_cast<std::size_t>(std::popcount(blocks_[i].quotes & before));
    return {text_ + i * kBlock + std::countr_zero(bits), blocks_[i].mark + quotes_before};
  }

  // The last byte that is no white space; end() when there is none.
  const char* last() const {
    const char* p = end();
    while (p != begin() && is_space(p[-1])) --p;
    return p == begin() ? end() : p - 1;
  }

  // True when behind the value that ends at `p` there is the object's end, at `close`, or a comma and the key at `next`.
  // `depth`: of the object, 0 or 1.
  bool behind(const char* p, const char* next, const char* close, int depth) {
    Separator& separator = separators_[depth];
    if (separator.matches(p, next)) [[likely]] return true;
    const char* const comma = skip_space(p);
    if (comma == close) return true;
    if (*comma != ',' || skip_space(comma + 1) != next) return false;
    separator.learn(p, next);
    return true;
  }

  // To be called only where something else than white space is known to follow within the text.
  static const char* skip_space(const char* p) {
    if (static_cast<unsigned char>(*p) > ' ') return p;
    if (*p == ' ' && static_cast<unsigned char>(p[1]) > ' ') return p + 1;
    return skip_spaces(p);
  }

 private:
  struct Block {
    std::uint64_t braces = 0;  // outside strings
    std::uint64_t quotes = 0;
    std::size_t mark = 0;  // its first quotation mark
  };

  static bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }
  static const char* skip_spaces(const char* p) {
#if defined(__AVX2__)
    // Each white-space byte stands at the place of its low half.
    const __m256i spaces = _mm256_broadcastsi128_si256(_mm_setr_epi8(' ', 0, 0, 0, 0, 0, 0, 0, 0, '\t', '\n', 0, 0, '\r', 0, 0));
    for (;; p += 32) {
      const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
      const auto others = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(v, _mm256_shuffle_epi8(spaces, v))));
      if (others != 0) [[likely]] return p + std::countr_zero(others);
    }
#else
    while (is_space(*p)) ++p;
    return p;
#endif
  }

  const char* text_ = nullptr;  // kSlack bytes behind it can be read
  std::unique_ptr<char[]> copy_;
  std::size_t capacity_ = 0;
  std::size_t size_ = 0;
  std::ptrdiff_t shift_ = 0;
  bool ascii_ = true;
  std::unique_ptr<std::uint32_t[]> quotes_;
  std::size_t count_ = 0;
  std::unique_ptr<Block[]> blocks_;
  std::size_t blocks_size_ = 0;
  Separator separators_[2];
};

}  // namespace utp::scan
