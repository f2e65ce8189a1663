// SimMessage: one message of the sim's wire protocol, read in one pass. Its texts live until the next read.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "connector/json_frame.h"

namespace utp::sim {

struct Message {
  std::optional<std::uint64_t> n, id, rev;
  std::optional<std::int64_t> ts, at;  // ns since the epoch
  std::optional<std::int64_t> price_digits, size_digits;
  std::string_view channel, symbol, kind, hash, side, wanted_channel;
  std::string_view underlying, expiration, right;
  std::string_view headline, source, url, event, country, actual, forecast, previous, unit, importance;
  std::optional<Decimal> bid, ask, bid_size, ask_size, price, size;
  std::optional<Decimal> strike, multiplier, last, mark, volume, open_interest, iv, delta, gamma, theta, vega, rho, spot, sentiment;
  std::vector<std::pair<Decimal, Decimal>> bids, asks;
  std::vector<std::string_view> tickers;
  bool has_bids = false, has_asks = false;
  bool available = true;
};

class MessageReader {
 public:
  bool read(std::string_view bytes, Message& message, FrameError& error);

 private:
  json_frame::Input input_;
};

}  // namespace utp::sim
