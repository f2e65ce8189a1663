#include <algorithm>
#include <array>
#include <bit>

#include "schema/quoted.h"

namespace utp::scan {
namespace {

constexpr std::size_t kBlock = QuotedText::kBlock;
constexpr int kAtOnce = 4;  // quotation marks

#if defined(__AVX2__)
constexpr auto kOnes = [] {  // then as many zeros
  std::array<char, 2 * kBlock> bytes{};
  std::fill_n(bytes.begin(), kBlock, static_cast<char>(-1));
  return bytes;
}();
#endif

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

struct Classes {
  std::uint64_t quotes = 0;
  std::uint64_t braces = 0;
  std::uint64_t controls = 0;  // below 0x20
};

// What is asked of a text as a whole.
struct Whole {
#if defined(__AVX2__)
  __m256i escape_bytes = _mm256_setzero_si256();
  __m256i all_bytes = _mm256_setzero_si256();
  bool escapes() const { return _mm256_testz_si256(escape_bytes, escape_bytes) == 0; }
  bool ascii() const { return _mm256_movemask_epi8(all_bytes) == 0; }
#else
  bool escape_bytes = false;
  unsigned char all_bytes = 0;
  bool escapes() const { return escape_bytes; }
  bool ascii() const { return all_bytes < 0x80; }
#endif
};

// The first `left` bytes of a block that reaches behind the text; zeros stand for the others.
template <bool kLast>
[[gnu::always_inline]] inline Classes classify(const char* p, [[maybe_unused]] std::size_t left, Whole& whole) {
  Classes block;
#if defined(__AVX2__)
  const auto half = [&](std::size_t at) {
    __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + at));
    if constexpr (kLast) {
      v = _mm256_and_si256(v, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kOnes.data() + kBlock - left + at)));
    }
    const auto bits = [at](__m256i mask) {
      return static_cast<std::uint64_t>(static_cast<std::uint32_t>(_mm256_movemask_epi8(mask))) << at;
    };
    block.quotes |= bits(_mm256_cmpeq_epi8(v, _mm256_set1_epi8('"')));
    const __m256i open = _mm256_cmpeq_epi8(v, _mm256_set1_epi8('{'));
    block.braces |= bits(_mm256_or_si256(open, _mm256_cmpeq_epi8(v, _mm256_set1_epi8('}'))));
    block.controls |= bits(_mm256_cmpeq_epi8(_mm256_min_epu8(v, _mm256_set1_epi8(0x1F)), v));
    whole.escape_bytes = _mm256_or_si256(whole.escape_bytes, _mm256_cmpeq_epi8(v, _mm256_set1_epi8('\\')));
    whole.all_bytes = _mm256_or_si256(whole.all_bytes, v);
  };
  half(0);
  half(32);
#else
  for (std::size_t i = 0; i < kBlock; ++i) {
    const auto c = static_cast<unsigned char>(kLast && i >= left ? 0 : p[i]);
    block.quotes |= std::uint64_t{c == '"'} << i;
    block.braces |= std::uint64_t{c == '{' || c == '}'} << i;
    block.controls |= std::uint64_t{c < 0x20} << i;
    whole.escape_bytes |= c == '\\';
    whole.all_bytes |= c;
  }
#endif
  return block;
}

}  // namespace

bool QuotedText::load(std::string_view json) {
  size_ = json.size();
  if (size_ + kSlack > capacity_) {
    capacity_ = std::max<std::size_t>(4096, (size_ + kSlack) * 2);
    copy_ = std::make_unique<char[]>(capacity_);
    quotes_ = std::make_unique<std::uint32_t[]>(capacity_ + kBlock);
    blocks_ = std::make_unique<Block[]>(capacity_ / kBlock + 1);
  }
  text_ = json.data();
  if (size_ == 0 || !can_read_behind(end())) {
    if (size_ != 0) std::memcpy(copy_.get(), text_, size_);
    std::memset(copy_.get() + size_, 0, kSlack);
    text_ = copy_.get();
  }
  shift_ = json.data() - text_;

  std::uint32_t* out = quotes_.get();
  Block* blocks = blocks_.get();
  std::uint64_t carry = 0;  // all ones within a string that began in a block before
  std::uint64_t bad = 0;
  Whole whole;
  const auto add = [&](const Classes& block, std::size_t at) {
    const std::uint64_t inside = prefix_xor(block.quotes) ^ carry;
    bad |= inside & block.controls;  // zeros behind the end as well: an open string
    carry = static_cast<std::uint64_t>(static_cast<std::int64_t>(inside) >> 63);
    *blocks++ = {block.braces & ~inside, block.quotes, static_cast<std::size_t>(out - quotes_.get())};
    // kAtOnce at a time, more than there may be: what is too many is written over.
    std::uint64_t bits = block.quotes;
    const int count = std::popcount(bits);
    int i = 0;
    do {
      for (int j = 0; j < kAtOnce; ++j) {
        out[i + j] = static_cast<std::uint32_t>(at) + static_cast<std::uint32_t>(std::countr_zero(bits));
        bits &= bits - 1;
      }
      i += kAtOnce;
    } while (i < count);
    out += count;
  };
  std::size_t at = 0;
  for (; at + kBlock <= size_; at += kBlock) add(classify<false>(text_ + at, kBlock, whole), at);
  if (at < size_) add(classify<true>(text_ + at, size_ - at, whole), at);
  count_ = static_cast<std::size_t>(out - quotes_.get());
  if (bad != 0 || carry != 0 || whole.escapes()) return false;
  blocks_size_ = static_cast<std::size_t>(blocks - blocks_.get());
  for (int i = 0; i < 4; ++i) out[i] = static_cast<std::uint32_t>(size_);
  ascii_ = whole.ascii();
  return ascii_ || valid_utf8(json);
}

}  // namespace utp::scan
