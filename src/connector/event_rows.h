// EventRows: fills the rows of the canonical quote, trade and book events for a mapper, reusing them from event to event.
// An event type that the manifest does not name is left out.
#pragma once

#include <initializer_list>
#include <optional>
#include <vector>

#include "connector/mapper.h"

namespace utp {

struct QuoteFields {
  std::optional<Decimal> bid, ask, bid_size, ask_size;  // mid is computed
  std::string_view venue;
  std::string_view tick_type;
};

struct TradeFields {
  Decimal price, size;
  std::string_view side;      // the aggressor's, "" when unknown
  std::string_view trade_id;  // "" = none
  std::string_view venue;
};

struct BookFields {
  bool snapshot = false;
  std::string_view book_id;
  std::uint64_t book_seq = 0;
  std::uint32_t depth = 0;  // 0 = the full book
  std::string_view venue;
};

struct BookLevelView {
  Decimal price, size;
  std::size_t text_bytes = 0;  // no fewer than "[price,size]," takes
  bool bid = false;
};

// An event type that a mapper fills by column. The plan is kept alive by the mapper's context.
struct EventRoute {
  const Plan* plan = nullptr;  // null: the manifest does not name the type
  std::uint32_t number = 0;
  std::vector<std::size_t> columns;  // of the names, in their order
  Row row;

  // The error names the column that the plan does not have.
  static Result<EventRoute> find(const MapperContext& context, std::string_view event_type, std::initializer_list<const char*> names);
};

// The venue's time where it says one, else that of the receipt.
void set_event_time(EventHeader& header, std::optional<Timestamp> time, const Frame& frame);

// Texts must live until the emit call returns.
class EventRows {
 public:
  static Result<EventRows> make(const MapperContext& context);

  bool quotes() const { return quotes_.plan != nullptr; }
  bool trades() const { return trades_.plan != nullptr; }
  bool books() const { return books_.plan != nullptr; }

  bool emit_quote(MapperOutput& output, const EventHeader& header, const QuoteFields& fields);
  bool emit_trade(MapperOutput& output, const EventHeader& header, const TradeFields& fields);

  // One book event of `count` levels, `level(i)` giving the i-th as a BookLevelView; split into parts that keep below the
  // envelope's size and the schema's number of levels a side. False when any part was refused.
  template <class Level>
  bool emit_book(MapperOutput& output, const EventHeader& header, const BookFields& fields, std::size_t count, Level&& level);

 private:
  static constexpr std::size_t kPartBytesMax = kEnvelopeBytesMax - 4096;  // room for the envelope
  static constexpr std::size_t kSideLevelsMax = 20'000;

  void begin_part(const BookFields& fields, std::size_t part, std::size_t parts);
  enum BookColumn : std::size_t { kBookKind, kBookId, kBookSeq, kPart, kParts, kDepth, kBids, kAsks, kVenueOfBook };

  EventRoute quotes_, trades_, books_;
};

template <class Level>
bool EventRows::emit_book(MapperOutput& output, const EventHeader& header, const BookFields& fields, std::size_t count,
                          Level&& level) {
  // Where the next part begins: `take` levels from `first` fit.
  const auto take = [&](std::size_t first) {
    std::size_t bytes = 0, bids = 0, asks = 0, i = first;
    for (; i < count; ++i) {
      const BookLevelView l = level(i);
      bytes += l.text_bytes;
      std::size_t& side = l.bid ? bids : asks;
      if (bytes > kPartBytesMax || side == kSideLevelsMax) break;
      ++side;
    }
    return i - first;
  };
  constexpr std::size_t kSurelyFits = kPartBytesMax / 256;  // levels; text_bytes of 255 and less
  std::size_t parts = 1;
  if (count > kSurelyFits) {
    parts = 0;
    for (std::size_t first = 0; first < count; first += take(first)) ++parts;
  }
  bool good = true;
  std::size_t first = 0;
  for (std::size_t part = 0; part < parts; ++part) {
    const std::size_t n = parts == 1 ? count : take(first);
    begin_part(fields, part, parts);
    for (const bool bid : {true, false}) {
      const std::size_t column = books_.columns[bid ? kBids : kAsks];
      books_.row.begin_array(column);
      std::uint32_t levels = 0;
      for (std::size_t i = first; i < first + n; ++i) {
        const BookLevelView l = level(i);
        if (l.bid != bid) continue;
        books_.row.push(Value::of(l.price));
        books_.row.push(Value::of(l.size));
        ++levels;
      }
      books_.row.end_array(column, levels);
    }
    good = output.emit(books_.number, header, books_.row) && good;
    first += n;
  }
  return good;
}

}  // namespace utp
