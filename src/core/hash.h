// The two hashes that travel: XXH3-64 (payload checksums, partitions) and XXH3-128 (idempotency keys).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

namespace utp {

struct Hash128 {
  std::uint64_t high = 0;
  std::uint64_t low = 0;
  friend constexpr auto operator<=>(const Hash128&, const Hash128&) = default;
  std::string to_hex() const;  // 32 lower-case digits
};

std::uint64_t hash64(std::string_view bytes);
Hash128 hash128(std::string_view bytes);

char* write_hex64(char* out, std::uint64_t value);  // 16 lower-case digits
bool parse_hex64(std::string_view text, std::uint64_t& value);  // exactly 16 lower-case digits

}  // namespace utp
