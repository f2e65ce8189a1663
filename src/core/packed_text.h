// PackedText: a text of at most 16 bytes as two words, so that comparing and hashing it takes a few instructions.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace utp {

struct PackedText {
  static constexpr std::size_t kSizeMax = 16;

  std::uint64_t low = 0;   // the first eight bytes, zeros behind the last
  std::uint64_t high = 0;  // the others

  PackedText() = default;
  // Loads from both ends, so that nothing behind the text is read.
  PackedText(const char* p, std::size_t size) {
    if (size >= 8) {
      std::memcpy(&low, p, 8);
      if (size > 8) {
        std::memcpy(&high, p + size - 8, 8);
        high >>= 8 * (16 - size);
      }
    } else if (size >= 4) {
      std::uint32_t head;
      std::uint32_t tail;
      std::memcpy(&head, p, 4);
      std::memcpy(&tail, p + size - 4, 4);
      low = head | std::uint64_t{tail} << 8 * (size - 4);
    } else {
      for (std::size_t i = 0; i < size; ++i) low |= static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])) << 8 * i;
    }
  }
  friend bool operator==(const PackedText&, const PackedText&) = default;
};

}  // namespace utp
