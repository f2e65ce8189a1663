#include "connector/event_rows.h"

namespace utp {

Result<EventRoute> EventRoute::find(const MapperContext& context, std::string_view event_type, std::initializer_list<const char*> names) {
  EventRoute route;
  const auto number = context.route(event_type);
  if (!number) return route;
  route.number = *number;
  route.plan = context.plans[*number].get();
  for (const char* const name : names) {
    const auto column = route.plan->column(name);
    if (!column) {
      return fail(Code::kInvalidArgument, "the plan of " + std::string(event_type) + " (" + route.plan->schema_ref() +
                                              ") has no column \"" + name + "\", which this connector fills: use the "
                                              "canonical schema of that major version");
    }
    route.columns.push_back(*column);
  }
  route.row.reset(*route.plan);
  return route;
}

void set_event_time(EventHeader& header, std::optional<Timestamp> time, const Frame& frame) {
  header.event_time = time.value_or(frame.receive_time);
  header.event_time_source = time ? EventTimeSource::kVenue : EventTimeSource::kReceipt;
}

Result<EventRows> EventRows::make(const MapperContext& context) {
  EventRows rows;
  UTP_TRY(rows.quotes_, EventRoute::find(context, "quotes/v2", {"bid", "ask", "mid", "bid_size", "ask_size", "venue", "tick_type"}));
  UTP_TRY(rows.trades_, EventRoute::find(context, "trades/v2", {"price", "size", "side", "trade_id", "venue"}));
  UTP_TRY(rows.books_, EventRoute::find(context, "orderbook/v1",
                                        {"kind", "book_id", "book_seq", "part", "parts", "depth", "bids", "asks", "venue"}));
  return rows;
}

bool EventRows::emit_quote(MapperOutput& output, const EventHeader& header, const QuoteFields& fields) {
  Row& row = quotes_.row;
  row.reset(*quotes_.plan);
  const auto put = [&](std::size_t i, const std::optional<Decimal>& number) {
    if (number) row.set(quotes_.columns[i], *number);
  };
  put(0, fields.bid);
  put(1, fields.ask);
  if (fields.bid && fields.ask) put(2, Decimal::midpoint(*fields.bid, *fields.ask));
  put(3, fields.bid_size);
  put(4, fields.ask_size);
  row.set(quotes_.columns[5], fields.venue);
  row.set(quotes_.columns[6], fields.tick_type);
  return output.emit(quotes_.number, header, row);
}

bool EventRows::emit_trade(MapperOutput& output, const EventHeader& header, const TradeFields& fields) {
  Row& row = trades_.row;
  row.reset(*trades_.plan);
  row.set(trades_.columns[0], fields.price);
  row.set(trades_.columns[1], fields.size);
  if (!fields.side.empty()) row.set(trades_.columns[2], fields.side);
  if (!fields.trade_id.empty()) row.set(trades_.columns[3], fields.trade_id);
  row.set(trades_.columns[4], fields.venue);
  return output.emit(trades_.number, header, row);
}

void EventRows::begin_part(const BookFields& fields, std::size_t part, std::size_t parts) {
  Row& row = books_.row;
  row.reset(*books_.plan);
  row.set(books_.columns[kBookKind], std::string_view(fields.snapshot ? "snapshot" : "delta"));
  row.set(books_.columns[kBookId], fields.book_id);
  row.set(books_.columns[kBookSeq], static_cast<std::int64_t>(fields.book_seq));
  row.set(books_.columns[kPart], static_cast<std::int64_t>(part));
  row.set(books_.columns[kParts], static_cast<std::int64_t>(parts));
  if (fields.depth != 0) row.set(books_.columns[kDepth], static_cast<std::int64_t>(fields.depth));
  row.set(books_.columns[kVenueOfBook], fields.venue);
}

}  // namespace utp
