#include "core/hash.h"

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace utp {

std::string Hash128::to_hex() const {
  std::array<char, 32> text;
  write_hex64(write_hex64(text.data(), high), low);
  return {text.data(), text.size()};
}

std::uint64_t hash64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Hash128 hash128(std::string_view bytes) {
  const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.high64, hash.low64};
}

char* write_hex64(char* out, std::uint64_t value) {
  constexpr std::string_view kDigits = "0123456789abcdef";
  for (int i = 15; i >= 0; --i) {
    out[i] = kDigits[value & 15];
    value >>= 4;
  }
  return out + 16;
}

bool parse_hex64(std::string_view text, std::uint64_t& value) {
  if (text.size() != 16) return false;
  std::uint64_t result = 0;
  for (const char c : text) {
    unsigned digit = 0;
    if (c >= '0' && c <= '9') digit = static_cast<unsigned>(c - '0');
    else if (c >= 'a' && c <= 'f') digit = static_cast<unsigned>(c - 'a') + 10;
    else return false;
    result = result << 4 | digit;
  }
  value = result;
  return true;
}

}  // namespace utp
