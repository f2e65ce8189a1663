// KrakenBook: one side-by-side copy of the venue's book to its subscribed depth, kept for the checksum. The venue computes it
// over the text of its numbers, so levels keep that text.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "core/decimal.h"

namespace utp {

class KrakenBook {
 public:
  // Of price and size together, without points and leading zeros; longer numbers are refused when they are read.
  static constexpr std::size_t kDigitsMax = 47;

  void clear() {
    bids_.levels.clear();
    bids_.head = 0;
    asks_.levels.clear();
    asks_.head = 0;
  }
  // A size of 0 removes the level. False when the digits are too many.
  bool apply(bool bid, const Decimal& price, const Decimal& size, std::string_view price_text, std::string_view size_text);
  void truncate(std::size_t depth);
  // CRC32 over the 10 best asks, then the 10 best bids, best first.
  std::uint32_t checksum() const;

  std::size_t bids() const { return bids_.size(); }
  std::size_t asks() const { return asks_.size(); }
  struct Level {
    Decimal price;
    Decimal size;
    std::uint8_t count = 0;  // of digits
    char digits[kDigitsMax];
  };
  const Level& bid(std::size_t i) const { return bids_.best(i); }
  const Level& ask(std::size_t i) const { return asks_.best(i); }

 private:
  // Worst first, so that the busy end is the cheap one; what truncation takes away is skipped by `head`.
  struct Side {
    std::vector<Level> levels;
    std::size_t head = 0;
    std::size_t size() const { return levels.size() - head; }
    const Level& best(std::size_t i) const { return levels[levels.size() - 1 - i]; }
    void truncate(std::size_t depth);
  };

  Side bids_;
  Side asks_;
};

}  // namespace utp
