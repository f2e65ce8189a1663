#include <algorithm>
#include <bit>

#include "schema/quoted.h"

namespace utp::scan {
namespace {

constexpr std::size_t kBlock = 64;

// Bits 0, 0^1, 0^1^2, ...: from an opening quote up to before the closing one.
std::uint64_t prefix_xor(std::uint64_t bits) {
#if defined(__PCLMUL__)
  return static_cast<std::uint64_t>(_mm_cvtsi128_si64(
      _mm_clmulepi64_si128(_mm_set_epi64x(0, static_cast<long long>(bits)), _mm_set1_epi8(-1), 0)));
#else
  for (int shift = 1; shift < 64; shift *= 2) bits ^= bits << shift;
  return bits;
#endif
}

struct Block {
  std::uint64_t quotes = 0;
  std::uint64_t controls = 0;  // below 0x20
  bool escapes = false;
  bool ascii = true;
};

Block classify(const char* p) {
  Block block;
#if defined(__AVX2__)
  const auto half = [&](const char* q, int shift) {
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q));
    const auto bits = [shift](__m256i mask) {
      return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(mask))) << shift;
    };
    const __m256i escape = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\'));
    block.quotes |= bits(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')));
    block.controls |= bits(_mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v));
    block.escapes |= _mm256_testz_si256(escape, escape) == 0;
    block.ascii &= _mm256_movemask_epi8(v) == 0;
  };
  half(p, 0);
  half(p + 32, 32);
#else
  for (std::size_t i = 0; i < kBlock; ++i) {
    const auto c = static_cast<unsigned char>(p[i]);
    block.quotes |= std::uint64_t{c == '"'} << i;
    block.controls |= std::uint64_t{c < 0x20} << i;
    block.escapes |= c == '\\';
    block.ascii &= c < 0x80;
  }
#endif
  return block;
}

}  // namespace

bool QuotedText::load(std::string_view json) {
  if (json.size() + kPadding > capacity_) {
    capacity_ = std::max<std::size_t>(4096, (json.size() + kPadding) * 2);
    buffer_ = std::make_unique<char[]>(capacity_);
    quotes_ = std::make_unique<std::uint32_t[]>(capacity_ + kBlock);
  }
  if (!json.empty()) std::memcpy(buffer_.get(), json.data(), json.size());
  std::memset(buffer_.get() + json.size(), 0, kPadding);
  size_ = json.size();
  shift_ = json.data() - buffer_.get();

  std::uint32_t* out = quotes_.get();
  std::uint64_t carry = 0;  // all ones within a string that began in a block before
  std::uint64_t bad = 0;
  bool escapes = false;
  ascii_ = true;
  for (std::size_t at = 0; at < size_; at += kBlock) {
    const Block block = classify(buffer_.get() + at);
    const std::uint64_t inside = prefix_xor(block.quotes) ^ carry;
    bad |= inside & block.controls;  // zeros behind the end as well: an open string
    escapes |= block.escapes;
    ascii_ &= block.ascii;
    carry = static_cast<std::uint64_t>(static_cast<std::int64_t>(inside) >> 63);
    // Four at a time, more than there may be: what is too many is written over.
    std::uint64_t bits = block.quotes;
    const int count = std::popcount(bits);
    for (int i = 0; i < count; i += 4) {
      for (int j = 0; j < 4; ++j) {
        out[i + j] = static_cast<std::uint32_t>(at) + static_cast<std::uint32_t>(std::countr_zero(bits));
        bits &= bits - 1;
      }
    }
    out += count;
  }
  count_ = static_cast<std::size_t>(out - quotes_.get());
  if (bad != 0 || carry != 0 || escapes) return false;
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint32_t>(size_);
  return ascii_ || valid_utf8(json);
}

const char* QuotedText::skip_space_slow(const char* p) {
  const auto is_space = [](char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; };
  std::size_t run = 0;
  while (run < 31 && is_space(p[run])) ++run;
  if (run > 1 && run < 31) {
    std::memcpy(indent_.text, p, run);
    indent_.mask = (1u << run) - 1;
    indent_.size = static_cast<std::uint32_t>(run);
  }
  p += run;
  while (is_space(*p)) ++p;
  return p;
}

}  // namespace utp::scan
