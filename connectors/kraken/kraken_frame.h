// KrakenFrame: one message of either protocol, read but not yet interpreted. A frame is read as a whole before anything is
// made of it, so that a damaged one yields no event at all.
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

struct KrakenLevelRead {
  Decimal price;
  Decimal size;
  std::string_view price_text;
  std::string_view size_text;
  bool bid = false;
};

struct KrakenBookRead {
  std::string_view symbol;  // the venue's
  bool snapshot = false;
  std::size_t first = 0;  // of KrakenFrame::levels
  std::size_t count = 0;
  std::uint32_t depth = 0;  // v1 only, 0 = not said
  std::optional<std::uint32_t> checksum;
  std::optional<Timestamp> time;
};

struct KrakenTradeRead {
  std::string_view symbol;
  std::string_view trade_id;  // v2 only
  Decimal price;
  Decimal size;
  Timestamp time;
  bool buy = false;  // the taker's side
  bool snapshot = false;
};

struct KrakenTickerRead {
  std::string_view symbol;
  std::optional<Decimal> bid, ask, bid_size, ask_size;
  std::optional<Timestamp> time;
  bool snapshot = false;
};

enum class KrakenVersion : std::uint8_t { kV1, kV2 };

enum class KrakenKind : std::uint8_t {
  kIgnored,  // known, and nothing is made of it
  kBook,
  kTrades,
  kTickers,
  kBookSubscribed,    // `symbol`, `depth`
  kBookUnsubscribed,  // `symbol`
  kError,             // the venue's own error message, in `error`; `refused`: to a subscription
};

struct KrakenFrame {
  KrakenVersion version = KrakenVersion::kV2;
  KrakenKind kind = KrakenKind::kIgnored;
  std::vector<KrakenBookRead> books;
  std::vector<KrakenLevelRead> levels;
  std::vector<KrakenTradeRead> trades;
  std::vector<KrakenTickerRead> tickers;
  std::string_view symbol;
  std::uint32_t depth = 0;
  std::string error;
  bool refused = false;

  void clear() {
    version = KrakenVersion::kV2;
    kind = KrakenKind::kIgnored;
    books.clear();
    levels.clear();
    trades.clear();
    tickers.clear();
    symbol = {};
    depth = 0;
    error.clear();
    refused = false;
  }
};

// Not thread-safe. A frame's texts are valid until the next call.
class KrakenReader {
 public:
  KrakenReader();
  ~KrakenReader();
  // False with the error when the frame is not understood; books then names the symbols that are known to be meant.
  bool read(std::string_view bytes, KrakenFrame& frame, FrameError& error);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace utp
