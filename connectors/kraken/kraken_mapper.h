// KrakenMapper: frames of the websocket v2 and of v1 to quotes, trades and books.
//
// - Each book is kept to its subscribed depth, and every frame's CRC32 is verified over the text of the ten best levels a side,
//   after the change and the truncation. A book that fails is given up (a gap), and subscribed anew; nothing of the bad frame
//   and of those up to the next snapshot goes out. A book that fails again and again, or a refusal while one waits for its
//   snapshot, costs the connection (connector/book_recovery.h).
// - One book event per frame and symbol, with the levels that the frame holds; a reader keeps `depth` levels a side.
// - The venue names the taker's side. Trade ids of v2 count up by one for each symbol: a jump is a gap. v1 trades have no id, so
//   their sequence is left to the ordinal rule.
// - Tickers without a timestamp (v1, older v2) are stamped by receipt. A price of 0 is an empty side.
#pragma once

#include <memory>

#include "connector/mapper.h"

namespace utp {

Result<std::unique_ptr<Mapper>> make_kraken_mapper(MapperContext context);

}  // namespace utp
