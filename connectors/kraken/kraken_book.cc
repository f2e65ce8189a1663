#include "connectors/kraken/kraken_book.h"

#include <algorithm>

#include <zlib.h>

namespace utp {
namespace {

constexpr std::size_t kChecksumLevels = 10;
constexpr std::size_t kHeadMax = 1'024;  // skipped levels before they are moved out

// Appends the digits of `text` without its point and leading zeros; null when they do not fit.
char* append_digits(char* out, const char* end, std::string_view text) {
  bool leading = true;
  for (const char c : text) {
    if (c == '.' || (leading && c == '0')) continue;
    leading = false;
    if (out == end) return nullptr;
    *out++ = c;
  }
  return out;
}

}  // namespace

bool KrakenBook::apply(bool bid, const Decimal& price, const Decimal& size, std::string_view price_text,
                       std::string_view size_text) {
  Side& side = bid ? bids_ : asks_;
  const auto first = side.levels.begin() + static_cast<std::ptrdiff_t>(side.head);
  const auto place = std::lower_bound(first, side.levels.end(), price, [bid](const Level& level, const Decimal& p) {
    return bid ? level.price < p : level.price > p;
  });
  const bool there = place != side.levels.end() && place->price == price;
  if (size.is_zero()) {
    if (there) side.levels.erase(place);
    return true;
  }
  Level level;
  level.price = price;
  level.size = size;
  char* const end = level.digits + kDigitsMax;
  char* out = append_digits(level.digits, end, price_text);
  if (out) out = append_digits(out, end, size_text);
  if (!out) return false;
  level.count = static_cast<std::uint8_t>(out - level.digits);
  if (there) *place = level;
  else side.levels.insert(place, level);
  return true;
}

void KrakenBook::Side::truncate(std::size_t depth) {
  if (size() <= depth) return;
  head = levels.size() - depth;
  if (head > kHeadMax) {
    levels.erase(levels.begin(), levels.begin() + static_cast<std::ptrdiff_t>(head));
    head = 0;
  }
}

void KrakenBook::truncate(std::size_t depth) {
  bids_.truncate(depth);
  asks_.truncate(depth);
}

std::uint32_t KrakenBook::checksum() const {
  char text[2 * kChecksumLevels * kDigitsMax];
  char* out = text;
  for (const Side* const side : {&asks_, &bids_}) {
    const std::size_t count = std::min(side->size(), kChecksumLevels);
    for (std::size_t i = 0; i < count; ++i) {
      const Level& level = side->best(i);
      out = std::copy_n(level.digits, level.count, out);
    }
  }
  return static_cast<std::uint32_t>(crc32(0, reinterpret_cast<const Bytef*>(text), static_cast<uInt>(out - text)));
}

}  // namespace utp
