// CoinbaseFrame: one message of either feed, read but not yet interpreted. A frame is read as a whole before anything is
// made of it, so that a damaged one yields no event at all.
//
// Two readers fill it. The fast one knows the exact byte shapes that the venue sends for its frequent messages and gives up
// on anything else; the general one takes any legal JSON. Where the fast one succeeds, both give the same result.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connector/frame_error.h"
#include "core/decimal.h"
#include "core/timestamp.h"

namespace utp {

struct CoinbaseLevel {
  Decimal price;
  Decimal size;
  std::uint8_t text_bytes = 0;  // no fewer than price and size take when they are written
  bool bid = false;
  friend bool operator==(const CoinbaseLevel&, const CoinbaseLevel&) = default;
};

struct CoinbaseBook {
  std::string_view product;
  bool snapshot = false;
  std::size_t first = 0;  // of CoinbaseFrame::levels
  std::size_t count = 0;
  std::optional<Timestamp> time;  // newest of its updates
  friend bool operator==(const CoinbaseBook&, const CoinbaseBook&) = default;
};

struct CoinbaseTrade {
  std::string_view product;
  std::string_view trade_id;
  Decimal price;
  Decimal size;
  std::optional<Timestamp> time;
  bool maker_buys = false;
  bool snapshot = false;
  friend bool operator==(const CoinbaseTrade&, const CoinbaseTrade&) = default;
};

struct CoinbaseTicker {
  std::string_view product;
  std::optional<Decimal> bid, ask, bid_size, ask_size;
  std::optional<Timestamp> time;  // Exchange only
  bool snapshot = false;
  bool quoted = true;  // false: it says nothing of bid and ask (ticker_batch), not even that there are none
  friend bool operator==(const CoinbaseTicker&, const CoinbaseTicker&) = default;
};

enum class CoinbaseFeed : std::uint8_t { kAdvanced, kExchange };

enum class CoinbaseKind : std::uint8_t {
  kIgnored,  // a channel that we know and make nothing of
  kBook,
  kTrades,
  kLastMatch,  // Exchange: the trade before the subscription; repeated on each reconnect
  kTickers,
  kHeartbeat,
  kError,  // the venue's own error message, in `error`
};

struct CoinbaseFrame {
  CoinbaseFeed feed = CoinbaseFeed::kAdvanced;
  CoinbaseKind kind = CoinbaseKind::kIgnored;
  std::optional<Timestamp> timestamp;         // Advanced: of the frame
  std::optional<std::uint64_t> sequence_num;  // Advanced: per connection, over all channels
  std::vector<CoinbaseBook> books;
  std::vector<CoinbaseLevel> levels;
  std::vector<CoinbaseTrade> trades;
  std::vector<CoinbaseTicker> tickers;
  std::string error;

  void clear() {
    feed = CoinbaseFeed::kAdvanced;
    kind = CoinbaseKind::kIgnored;
    timestamp.reset();
    sequence_num.reset();
    books.clear();
    levels.clear();
    trades.clear();
    tickers.clear();
    error.clear();
  }
  friend bool operator==(const CoinbaseFrame&, const CoinbaseFrame&) = default;
};


// Not thread-safe. The texts of a frame refer to the bytes that were read or to the reader's own memory: valid until the next
// call.
class CoinbaseReader {
 public:
  CoinbaseReader();
  ~CoinbaseReader();
  // False with the error when the frame is not understood; feed, kind, timestamp and sequence_num are then filled as far as
  // they could be read, and books names the products that are known to be meant.
  bool read(std::string_view bytes, CoinbaseFrame& frame, FrameError& error);
  bool read_general(std::string_view bytes, CoinbaseFrame& frame, FrameError& error);
  bool read_fast(std::string_view bytes, CoinbaseFrame& frame);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace utp
