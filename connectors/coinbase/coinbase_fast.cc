#include "connectors/coinbase/coinbase_fast.h"

#include <bit>

#include "core/digits.h"

// The words below are little-endian, as every processor with SSE2 is.
#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace utp {
namespace {

// Compares N bytes in words; a call of memcmp costs more than the comparison.
template <std::size_t N>
inline bool same(const char* a, const char* b) {
  if constexpr (N >= 8) {
    std::uint64_t difference = 0;
    const auto word = [&](std::size_t at) {
      std::uint64_t x, y;
      std::memcpy(&x, a + at, 8);
      std::memcpy(&y, b + at, 8);
      difference |= x ^ y;
    };
    for (std::size_t at = 0; at + 8 <= N; at += 8) word(at);
    if constexpr (N % 8 != 0) word(N - 8);
    return difference == 0;
  } else if constexpr (N >= 4) {
    std::uint32_t x, y, z, w;
    std::memcpy(&x, a, 4);
    std::memcpy(&y, b, 4);
    std::memcpy(&z, a + N - 4, 4);
    std::memcpy(&w, b + N - 4, 4);
    return ((x ^ y) | (z ^ w)) == 0;
  } else {
    for (std::size_t i = 0; i < N; ++i) {
      if (a[i] != b[i]) return false;
    }
    return true;
  }
}

class Scan {
 public:
  Scan(std::string_view bytes, json_frame::TimeReader& times)
      : p_(bytes.data()), end_(bytes.data() + bytes.size()), times_(times) {}

  template <std::size_t N>
  bool literal(const char (&text)[N]) {
    if (static_cast<std::size_t>(end_ - p_) < N - 1 || !same<N - 1>(p_, text)) return false;
    p_ += N - 1;
    return true;
  }
  bool at_end() const { return p_ == end_; }

  // After the opening quote; takes the closing one. Plain ASCII without escapes.
  bool text(std::string_view& out) {
    const char* const begin = p_;
#ifdef __SSE2__
    if (end_ - p_ >= 16) {
      const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p_));
      const auto quotes = static_cast<unsigned>(_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'))));
      // Signed: what is not ASCII is below the space too.
      const auto odd = static_cast<unsigned>(_mm_movemask_epi8(
          _mm_or_si128(_mm_cmplt_epi8(bytes, _mm_set1_epi8(0x20)), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')))));
      if (quotes != 0) {
        const int size = __builtin_ctz(quotes);
        if ((odd & ((1u << size) - 1)) != 0) return false;
        out = {begin, static_cast<std::size_t>(size)};
        p_ += size + 1;
        return true;
      }
    }
#endif
    for (; p_ != end_; ++p_) {
      const auto c = static_cast<unsigned char>(*p_);
      if (c == '"') {
        out = {begin, static_cast<std::size_t>(p_ - begin)};
        ++p_;
        return true;
      }
      if (c < 0x20 || c >= 0x80 || c == '\\') return false;
    }
    return false;
  }

  bool time(std::optional<Timestamp>& out) {
    if (end_ - p_ > 27 && p_[26] == 'Z' && p_[27] == '"' && times_.parse_micros(p_, out) && *out >= kCoinbaseFirstTime) {
      p_ += 28;
      return true;
    }
    std::string_view t;
    return text(t) && coinbase_time(times_, t, out);
  }

#ifdef __SSE4_1__
  // The same as decimal() for at most 15 characters; false says nothing.
  bool short_decimal(Decimal& out, std::size_t& text_bytes) {
    if (end_ - p_ < 16) return false;
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p_));
    const __m128i values = _mm_sub_epi8(bytes, _mm_set1_epi8('0'));
    const auto mask = [](__m128i truths) { return static_cast<unsigned>(_mm_movemask_epi8(truths)); };
    const unsigned digits = mask(_mm_cmpeq_epi8(_mm_min_epu8(values, _mm_set1_epi8(9)), values));
    const unsigned points = mask(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('.')));
    const unsigned zeros = mask(_mm_cmpeq_epi8(values, _mm_setzero_si128()));
    const unsigned size = static_cast<unsigned>(std::countr_zero(~(digits | points)));  // bits 16 and up are set
    if (size == 16 || p_[size] != '"') return false;
    const unsigned end = 1u << size;
    const unsigned inside = end - 1;
    const unsigned point = (points & inside) != 0 ? points & inside : end;
    const unsigned whole = static_cast<unsigned>(std::countr_zero(point));
    // A digit before the point and one behind it, one point, no zero before another digit.
    if (whole == 0 || point << 1 == end || (point & (point - 1)) != 0 || (whole > 1 && (zeros & 1) != 0)) return false;
    // Digits that count: those before the point, and of the others those up to the last that is no zero.
    const unsigned count = 31 - static_cast<unsigned>(std::countl_zero((~zeros & inside) | point));
    const __m128i iota = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m128i from = _mm_sub_epi8(iota, _mm_set1_epi8(static_cast<char>(16 - count)));  // negative: a leading zero
    const __m128i behind = _mm_cmpgt_epi8(from, _mm_set1_epi8(static_cast<char>(whole - 1)));
    const std::uint64_t mantissa = value_of_digits16(_mm_shuffle_epi8(values, _mm_sub_epi8(from, behind)));
    text_bytes += size;
    p_ += size + 1;
    out = Decimal(static_cast<std::int64_t>(mantissa), static_cast<int>(whole) - static_cast<int>(count));
    return true;
  }
#endif

  // After the opening quote; takes the closing one. At most 18 digits, no sign, no exponent.
  bool decimal(Decimal& out, std::size_t& text_bytes) {
#ifdef __SSE4_1__
    if (short_decimal(out, text_bytes)) return true;
#endif
    return long_decimal(out, text_bytes);
  }
  [[gnu::noinline]] bool long_decimal(Decimal& out, std::size_t& text_bytes) {
    const char* const begin = p_;
    const char* const limit = end_ - begin > 19 ? begin + 19 : end_;  // 18 digits and a point
    const char* p = begin;
    std::uint64_t mantissa = 0;  // 19 digits fit; those that fit no Decimal end at the limit
    unsigned d = 0;
    for (; p != limit && (d = static_cast<unsigned>(*p) - '0') <= 9; ++p) mantissa = mantissa * 10 + d;
    if (p == begin || p == limit || (*begin == '0' && p - begin > 1)) return false;
    int scale = 0;
    if (*p == '.') {
      const char* const point = p++;
      for (; p != limit && (d = static_cast<unsigned>(*p) - '0') <= 9; ++p) mantissa = mantissa * 10 + d;
      if (p - point == 1 || p == limit) return false;
      const char* last = p;
      while (last[-1] == '0') --last;  // ends at the point at the latest
      if (last != p) mantissa /= kPowersOfTen[static_cast<std::size_t>(p - last)];
      scale = static_cast<int>(last - point) - 1;
    }
    if (p == end_ || *p != '"') return false;
    text_bytes += static_cast<std::size_t>(p - begin);
    p_ = p + 1;
    out = Decimal(static_cast<std::int64_t>(mantissa), -scale);
    return true;
  }

  bool integer(std::uint64_t& out) {
    const char* const begin = p_;
    std::uint64_t value = 0;
    for (; p_ != end_ && p_ - begin < 15 && *p_ >= '0' && *p_ <= '9'; ++p_) value = value * 10 + static_cast<unsigned>(*p_ - '0');
    out = value;
    return p_ != begin && (*begin != '0' || p_ - begin == 1);
  }

  // One `"key":value` of a flat object, value a string or an unsigned number, as its text.
  bool field(std::string_view& key, std::string_view& value, bool& is_text) {
    if (!literal("\"") || !text(key) || !literal(":")) return false;
    if (literal("\"")) {
      is_text = true;
      return text(value);
    }
    is_text = false;
    const char* const begin = p_;
    std::uint64_t number = 0;
    if (!integer(number)) return false;
    value = {begin, static_cast<std::size_t>(p_ - begin)};
    return p_ != end_ && (*p_ == ',' || *p_ == '}');
  }

  bool next_is(char c) const { return p_ != end_ && *p_ == c; }

 private:
  const char* p_;
  const char* end_;
  json_frame::TimeReader& times_;
};

bool l2update(Scan& scan, CoinbaseFrame& frame) {
  CoinbaseBook& book = frame.books.emplace_back();
  if (!scan.text(book.product) || book.product.empty() || !scan.literal(",\"changes\":[")) return false;
  do {
    CoinbaseLevel& level = frame.levels.emplace_back();
    if (scan.literal("[\"buy\",\"")) level.bid = true;
    else if (!scan.literal("[\"sell\",\"")) return false;
    std::size_t bytes = 0;
    if (!scan.decimal(level.price, bytes) || !scan.literal(",\"") || !scan.decimal(level.size, bytes) || !scan.literal("]")) {
      return false;
    }
    level.text_bytes = coinbase_level_bytes(bytes);
  } while (scan.literal(","));
  if (!scan.literal("],\"time\":\"") || !scan.time(book.time) || !scan.literal("}") || !scan.at_end()) return false;
  book.count = frame.levels.size();
  frame.feed = CoinbaseFeed::kExchange;
  frame.kind = CoinbaseKind::kBook;
  return true;
}

// The two lists in the order that the venue has.
bool snapshot(Scan& scan, CoinbaseFrame& frame) {
  CoinbaseBook& book = frame.books.emplace_back();
  book.snapshot = true;
  if (!scan.text(book.product) || book.product.empty() || !scan.literal(",\"asks\":[")) return false;
  const auto side = [&](bool bid) {
    if (scan.next_is(']')) return scan.literal("]");
    do {
      CoinbaseLevel& level = frame.levels.emplace_back();
      level.bid = bid;
      std::size_t bytes = 0;
      if (!scan.literal("[\"") || !scan.decimal(level.price, bytes) || !scan.literal(",\"") || !scan.decimal(level.size, bytes) ||
          !scan.literal("]")) {
        return false;
      }
      level.text_bytes = coinbase_level_bytes(bytes);
    } while (scan.literal(","));
    return scan.literal("]");
  };
  if (!side(false) || !scan.literal(",\"bids\":[") || !side(true)) return false;
  if (scan.literal(",\"time\":\"") && !scan.time(book.time)) return false;
  if (!scan.literal("}") || !scan.at_end()) return false;
  book.count = frame.levels.size();
  frame.feed = CoinbaseFeed::kExchange;
  frame.kind = CoinbaseKind::kBook;
  return true;
}

bool match(Scan& scan, json_frame::TimeReader& times, CoinbaseFrame& frame) {
  CoinbaseTrade trade;
  unsigned seen = 0;
  do {
    std::string_view key;
    std::string_view value;
    bool is_text = false;
    if (!scan.field(key, value, is_text)) return false;
    if (!is_text) {
      if (key == "trade_id") {
        trade.trade_id = value;
        seen |= 2;
      } else if (key != "sequence") {
        return false;
      }
      continue;
    }
    std::optional<Decimal> number;
    if (key == "product_id") {
      trade.product = value;
      seen |= 1;
    } else if (key == "price" || key == "size") {
      number = Decimal::parse(value);
      if (!number || (key == "size" && number->mantissa() < 0)) return false;
      (key == "price" ? trade.price : trade.size) = *number;
      seen |= key == "price" ? 4 : 8;
    } else if (key == "time") {
      if (!coinbase_time(times, value, trade.time)) return false;
      seen |= 16;
    } else if (key == "side") {
      trade.maker_buys = value == "buy";
      if (!trade.maker_buys && value != "sell") return false;
      seen |= 32;
    } else if (key != "maker_order_id" && key != "taker_order_id") {
      return false;
    }
  } while (scan.literal(","));
  if (!scan.literal("}") || !scan.at_end() || seen != 63) return false;
  frame.trades.push_back(trade);
  frame.feed = CoinbaseFeed::kExchange;
  frame.kind = CoinbaseKind::kTrades;
  return true;
}

bool l2_data(Scan& scan, CoinbaseFrame& frame) {
  std::uint64_t sequence = 0;
  if (!scan.time(frame.timestamp) || !scan.literal(",\"sequence_num\":") || !scan.integer(sequence) ||
      !scan.literal(",\"events\":[")) {
    return false;
  }
  frame.sequence_num = sequence;
  frame.kind = CoinbaseKind::kBook;
  do {
    CoinbaseBook& book = frame.books.emplace_back();
    book.first = frame.levels.size();
    if (scan.literal("{\"type\":\"snapshot\",\"product_id\":\"")) book.snapshot = true;
    else if (!scan.literal("{\"type\":\"update\",\"product_id\":\"")) return false;
    if (!scan.text(book.product) || book.product.empty() || !scan.literal(",\"updates\":[")) return false;
    do {
      CoinbaseLevel& level = frame.levels.emplace_back();
      std::optional<Timestamp> time;
      std::size_t bytes = 0;
      if (scan.literal("{\"side\":\"bid\",\"event_time\":\"")) level.bid = true;
      else if (!scan.literal("{\"side\":\"offer\",\"event_time\":\"")) return false;
      if (!scan.time(time) || !scan.literal(",\"price_level\":\"") || !scan.decimal(level.price, bytes) ||
          !scan.literal(",\"new_quantity\":\"") || !scan.decimal(level.size, bytes) || !scan.literal("}")) {
        return false;
      }
      if (time && (!book.time || *time > *book.time)) book.time = time;
      level.text_bytes = coinbase_level_bytes(bytes);
    } while (scan.literal(","));
    if (!scan.literal("]}")) return false;
    book.count = frame.levels.size() - book.first;
  } while (scan.literal(","));
  return scan.literal("]}") && scan.at_end();
}

bool quote_number(std::string_view text, std::optional<Decimal>& out) {
  if (text.empty()) return true;
  const auto number = Decimal::parse(text);
  if (!number || number->mantissa() < 0) return false;
  out = number;
  return true;
}

bool exchange_ticker(Scan& scan, json_frame::TimeReader& times, CoinbaseFrame& frame) {
  CoinbaseTicker ticker;
  do {
    std::string_view key;
    std::string_view value;
    bool is_text = false;
    if (!scan.field(key, value, is_text)) return false;
    if (!is_text) {
      if (key != "sequence" && key != "trade_id") return false;
      continue;
    }
    if (key == "channel") return false;
    bool good = true;
    if (key == "product_id") ticker.product = value;
    else if (key == "best_bid") good = quote_number(value, ticker.bid);
    else if (key == "best_ask") good = quote_number(value, ticker.ask);
    else if (key == "best_bid_size") good = quote_number(value, ticker.bid_size);
    else if (key == "best_ask_size") good = quote_number(value, ticker.ask_size);
    else if (key == "time") good = coinbase_time(times, value, ticker.time);
    if (!good) return false;
  } while (scan.literal(","));
  if (!scan.literal("}") || !scan.at_end() || ticker.product.empty()) return false;
  coinbase_drop_empty_sides(ticker);
  frame.tickers.push_back(ticker);
  frame.feed = CoinbaseFeed::kExchange;
  frame.kind = CoinbaseKind::kTickers;
  return true;
}

}  // namespace

bool coinbase_read_fast(std::string_view bytes, json_frame::TimeReader& times, CoinbaseFrame& frame) {
  Scan scan(bytes, times);
  if (scan.literal("{\"type\":\"l2update\",\"product_id\":\"")) return l2update(scan, frame);
  if (scan.literal("{\"channel\":\"l2_data\",\"timestamp\":\"")) return l2_data(scan, frame);
  if (scan.literal("{\"type\":\"ticker\",")) return exchange_ticker(scan, times, frame);
  if (scan.literal("{\"type\":\"match\",")) return match(scan, times, frame);
  if (scan.literal("{\"type\":\"snapshot\",\"product_id\":\"")) return snapshot(scan, frame);
  return false;
}

}  // namespace utp
