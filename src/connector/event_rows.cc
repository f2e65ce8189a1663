#include "connector/event_rows.h"

namespace utp {

Status EventRows::find(const MapperContext& context, std::string_view event_type, std::initializer_list<const char*> names,
                       Route& route, std::size_t* columns) {
  const auto number = context.route(event_type);
  if (!number) return {};
  route.number = *number;
  route.plan = context.plans[*number].get();
  for (const char* const name : names) {
    const auto column = route.plan->column(name);
    if (!column) {
      return fail(Code::kInvalidArgument, "the plan of " + std::string(event_type) + " (" + route.plan->schema_ref() +
                                              ") has no column \"" + name + "\", which this connector fills: use the "
                                              "canonical schema of that major version");
    }
    *columns++ = *column;
  }
  route.row.reset(*route.plan);
  return {};
}

Result<EventRows> EventRows::make(const MapperContext& context) {
  EventRows rows;
  UTP_CHECK(find(context, "quotes/v2", {"bid", "ask", "mid", "bid_size", "ask_size", "venue", "tick_type"}, rows.quotes_,
                 rows.quote_columns_));
  UTP_CHECK(find(context, "trades/v2", {"price", "size", "side", "trade_id", "venue"}, rows.trades_, rows.trade_columns_));
  UTP_CHECK(find(context, "orderbook/v1",
                 {"kind", "book_id", "book_seq", "part", "parts", "depth", "bids", "asks", "venue"}, rows.books_,
                 rows.book_columns_));
  return rows;
}

bool EventRows::emit_quote(MapperOutput& output, const EventHeader& header, const QuoteFields& fields) {
  Row& row = quotes_.row;
  row.reset(*quotes_.plan);
  const auto put = [&](std::size_t i, const std::optional<Decimal>& number) {
    if (number) row.set(quote_columns_[i], *number);
  };
  put(0, fields.bid);
  put(1, fields.ask);
  if (fields.bid && fields.ask) put(2, Decimal::midpoint(*fields.bid, *fields.ask));
  put(3, fields.bid_size);
  put(4, fields.ask_size);
  row.set(quote_columns_[5], fields.venue);
  row.set(quote_columns_[6], fields.tick_type);
  return output.emit(quotes_.number, header, row);
}

bool EventRows::emit_trade(MapperOutput& output, const EventHeader& header, const TradeFields& fields) {
  Row& row = trades_.row;
  row.reset(*trades_.plan);
  row.set(trade_columns_[0], fields.price);
  row.set(trade_columns_[1], fields.size);
  if (!fields.side.empty()) row.set(trade_columns_[2], fields.side);
  if (!fields.trade_id.empty()) row.set(trade_columns_[3], fields.trade_id);
  row.set(trade_columns_[4], fields.venue);
  return output.emit(trades_.number, header, row);
}

void EventRows::begin_part(const BookFields& fields, std::size_t part, std::size_t parts) {
  Row& row = books_.row;
  row.reset(*books_.plan);
  row.set(book_columns_[kBookKind], std::string_view(fields.snapshot ? "snapshot" : "delta"));
  row.set(book_columns_[kBookId], fields.book_id);
  row.set(book_columns_[kBookSeq], static_cast<std::int64_t>(fields.book_seq));
  row.set(book_columns_[kPart], static_cast<std::int64_t>(part));
  row.set(book_columns_[kParts], static_cast<std::int64_t>(parts));
  if (fields.depth != 0) row.set(book_columns_[kDepth], static_cast<std::int64_t>(fields.depth));
  row.set(book_columns_[kVenueOfBook], fields.venue);
}

}  // namespace utp
