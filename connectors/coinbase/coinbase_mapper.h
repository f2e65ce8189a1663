// CoinbaseMapper: frames of the Advanced Trade feed and of the Exchange feed to quotes, trades and books.
//
// - Quotes come from ticker frames only. A side whose price is "", null or 0 is empty: absent, not a price of 0.
// - Trades: the venue names the maker's side, so the aggressor is the other one. `last_match` is the trade before the
//   subscription and comes again with every reconnect: no event, but a jump from the last trade seen is a gap.
// - Books: one event per frame and product, in parts where it is too large for one message. book_id is the snapshot's time
//   and number; the book itself is not kept here. event_time is the newest of its updates, else the frame's, else receipt.
// - `sequence_num` counts all messages of an Advanced connection: a jump loses unknown data, so every book of the connection
//   is given up and the connection made again. A change without a snapshot is not passed on; the book is asked for anew, and
//   where that fails (connector/book_recovery.h) the connection is made again.
// - The venue sends X-USD for a subscription of X-USDC: events have the symbol that was asked for.
#pragma once

#include <memory>

#include "connector/mapper.h"

namespace utp {

Result<std::unique_ptr<Mapper>> make_coinbase_mapper(MapperContext context);

}  // namespace utp
