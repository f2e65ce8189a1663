#include "connectors/kraken/kraken_mapper.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include "connector/book_recovery.h"
#include "connector/event_rows.h"
#include "connector/text_map.h"
#include "connector/trade_ids.h"
#include "connectors/kraken/kraken_book.h"
#include "connectors/kraken/kraken_frame.h"
#include "core/json_writer.h"

namespace utp {
namespace {

constexpr std::string_view kVenue = "kraken";
constexpr std::size_t kSymbolsMax = 20'000;     // the venue lists about 1,200; a bound against invented ones
constexpr std::size_t kConnectionsMax = 1'024;  // with state, at a time
constexpr std::array<std::uint32_t, 5> kDepths = {10, 25, 100, 500, 1000};  // that can be subscribed

struct Market {
  std::size_t index = 0;
  std::string_view symbol;  // canonical
  TradeIds trades;
};

struct Book : FollowedBook {
  KrakenVersion version = KrakenVersion::kV2;
  std::uint32_t depth = 0;
  std::string name;  // the venue's, for commands
  KrakenBook book;
};
using State = FollowedBook::State;

struct Connection {
  BookRecovery recovery;
  std::vector<std::unique_ptr<Book>> books;  // by Market::index
};

// v1 keeps names of its own for two assets.
std::string v2_name(std::string_view pair) {
  const std::size_t slash = pair.find('/');
  const auto asset = [](std::string_view name) { return name == "XBT" ? "BTC" : name == "XDG" ? "DOGE" : name; };
  if (slash == pair.npos) return std::string(pair);
  return std::string(asset(pair.substr(0, slash))) + "/" + std::string(asset(pair.substr(slash + 1)));
}

class KrakenMapper final : public Mapper {
 public:
  KrakenMapper(MapperContext context, EventRows rows) : context_(std::move(context)), rows_(std::move(rows)) {
    for (const auto& stream : context_.wanted) {
      if (!stream.symbol.empty()) wanted_.emplace(context_.symbols.venue(stream.symbol));
    }
  }

  void on_frame(const Frame& frame, MapperOutput& output) override {
    switch (frame.kind) {
      case FrameKind::kWs: return on_message(frame, output);
      case FrameKind::kOpen:
      case FrameKind::kClose: connections_.erase(frame.connection); return;
      case FrameKind::kSent:
      case FrameKind::kHttp: return;
    }
  }

 private:
  void on_message(const Frame& frame, MapperOutput& output) {
    if (!reader_.read(frame.bytes, parsed_, error_)) return unreadable(frame, output);
    switch (parsed_.kind) {
      case KrakenKind::kBook: return books(frame, output);
      case KrakenKind::kTrades: return trades(frame, output);
      case KrakenKind::kTickers: return tickers(frame, output);
      case KrakenKind::kBookSubscribed:
      case KrakenKind::kBookUnsubscribed: return subscription(frame);
      case KrakenKind::kError: return venue_error(frame, output);
      case KrakenKind::kIgnored: return;
    }
  }

  void venue_error(const Frame& frame, MapperOutput& output) {
    output.reject("venue_error", "", parsed_.error);
    if (!parsed_.refused) return;
    output.refused(frame.connection, parsed_.error);
    Connection& connection = connection_of(frame.connection);
    if (std::ranges::any_of(connection.books, [](const auto& book) { return book && book->state == State::kAwaited; })) {
      connection.recovery.reconnect(frame.connection, "an error while a book waits for its snapshot: " + parsed_.error, output);
    }
  }

  // A book that may have missed a frame is given up when it is known which one; else its next checksum tells.
  void unreadable(const Frame& frame, MapperOutput& output) {
    output.reject(error_.code, error_.path, error_.message);
    for (const KrakenBookRead& read : parsed_.books) {
      const auto known = markets_.find(read.symbol);
      if (known == markets_.end()) continue;
      Book& book = book_of(frame.connection, known->second);
      if (book.state == State::kLive) give_up(frame.connection, known->second, book, "a frame of this book could not be read", output);
    }
  }

  // ---- markets and connections ----

  // Null after a reject at `list`/`index`.
  Market* market(std::string_view name, std::string_view list, std::size_t index, MapperOutput& output) {
    const auto known = markets_.find(name);
    if (known != markets_.end()) return &known->second;
    const auto refuse = [&](std::string_view code, std::string message) -> Market* {
      output.reject(code, parsed_.version == KrakenVersion::kV2 ? std::string(list) + "/" + std::to_string(index) + "/symbol" : "",
                    message);
      return nullptr;
    };
    const std::string shown = "\"" + std::string(name.substr(0, 64)) + "\"";
    const bool plausible = !name.empty() && name.size() <= 64 &&
                           name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./-_") == name.npos;
    if (!plausible) return refuse("unknown_symbol", shown + " is no symbol");
    if (markets_.size() >= kSymbolsMax) return refuse("limit", "more than " + std::to_string(kSymbolsMax) + " symbols");
    const std::string today = parsed_.version == KrakenVersion::kV1 ? v2_name(name) : std::string(name);
    if (!wanted_.empty() && !wanted_.contains(today)) return refuse("unknown_symbol", "symbol " + shown + " was not asked for");
    return &markets_.emplace(std::string(name), Market{markets_.size(), context_.symbols.canonical(today), {}}).first->second;
  }

  Connection& connection_of(std::uint32_t number) {
    if (connections_.size() >= kConnectionsMax && !connections_.contains(number)) connections_.erase(connections_.begin());
    return connections_[number];
  }

  Book& book_of(std::uint32_t number, const Market& market) {
    auto& books = connection_of(number).books;
    if (market.index >= books.size()) books.resize(markets_.size());
    if (!books[market.index]) books[market.index] = std::make_unique<Book>();
    return *books[market.index];
  }

  // ---- events ----

  void subscription(const Frame& frame) {
    if (parsed_.symbol.empty()) return;
    auto known = markets_.find(parsed_.symbol);
    if (known == markets_.end()) {
      // The depth is said before the first data; an error about the symbol can wait until then.
      if (pending_depths_.size() < kSymbolsMax) pending_depths_[std::string(parsed_.symbol)] = parsed_.depth;
      return;
    }
    Book& book = book_of(frame.connection, known->second);
    if (parsed_.depth != 0) book.depth = parsed_.depth;
    if (parsed_.kind == KrakenKind::kBookUnsubscribed) book.state = State::kAwaited;
  }

  void books(const Frame& frame, MapperOutput& output) {
    for (std::size_t i = 0; i < parsed_.books.size(); ++i) {
      Market* const found = market(parsed_.books[i].symbol, "/data", i, output);
      if (found) book(frame, parsed_.books[i], *found, output);
    }
  }

  void book(const Frame& frame, const KrakenBookRead& read, const Market& market, MapperOutput& output) {
    if (!rows_.books()) return output.alive(frame.connection, "book", market.symbol);
    Book& book = book_of(frame.connection, market);
    const std::span<const KrakenLevelRead> levels(parsed_.levels.data() + read.first, read.count);
    EventHeader header;
    header.symbol = market.symbol;
    set_event_time(header, read.time, frame);
    if (read.snapshot) {
      header.quality = Quality::kSnapshot;
      begin(book, read, levels, header.event_time, frame.connection);
    } else if (book.state != State::kLive) {
      if (book.state == State::kNone) {
        learn(book, read);
        give_up(frame.connection, market, book, "a change came before its snapshot", output);
      }
      return;
    }
    for (const KrakenLevelRead& level : levels) {
      if (!book.book.apply(level.bid, level.price, level.size, level.price_text, level.size_text)) {
        return give_up(frame.connection, market, book, "a number of this book is too long", output);
      }
    }
    book.book.truncate(book.depth);
    if (read.checksum) {
      const std::uint32_t ours = book.book.checksum();
      if (ours != *read.checksum) {
        return give_up(frame.connection, market, book,
                       "book checksum is " + std::to_string(ours) + ", the venue says " + std::to_string(*read.checksum), output);
      }
    }
    output.alive(frame.connection, "book", market.symbol);  // changes that wait for a snapshot are no sign of life
    const bool sent = rows_.emit_book(output, header, {read.snapshot, book.id, book.next, book.depth, kVenue}, levels.size(),
                                      [&](std::size_t i) -> BookLevelView {
                                        const KrakenLevelRead& level = levels[i];
                                        return {level.price, level.size, written(level.price_text) + written(level.size_text) + 4, level.bid};
                                      });
    if (!sent) return give_up(frame.connection, market, book, "an event of this book was refused", output);
    book.advance();
  }

  // An upper bound of what a number takes when it is written.
  static std::size_t written(std::string_view text) {
    return text.find_first_of("eE") == text.npos ? text.size() : Decimal::kTextMax;
  }

  void learn(Book& book, const KrakenBookRead& read) {
    book.version = parsed_.version;
    book.name = read.symbol;
    if (read.depth != 0) book.depth = read.depth;
    const auto pending = pending_depths_.find(read.symbol);
    if (pending != pending_depths_.end()) {
      if (pending->second != 0) book.depth = pending->second;
      pending_depths_.erase(pending);
    }
  }

  void begin(Book& book, const KrakenBookRead& read, std::span<const KrakenLevelRead> levels, Timestamp made, std::uint32_t connection) {
    learn(book, read);
    if (book.depth == 0) {
      const auto bids = static_cast<std::size_t>(std::count_if(levels.begin(), levels.end(), [](const auto& l) { return l.bid; }));
      const std::size_t count = std::max(bids, levels.size() - bids);
      const auto depth = std::find_if(kDepths.begin(), kDepths.end(), [&](std::uint32_t d) { return d >= count; });
      book.depth = depth == kDepths.end() ? kDepths.back() : *depth;
    }
    book.FollowedBook::begin(made, connection);
    book.book.clear();
  }

  void give_up(std::uint32_t connection, const Market& market, Book& book, std::string_view reason, MapperOutput& output) {
    book.book.clear();
    connection_of(connection).recovery.give_up(book, connection, market.symbol, reason, {request(book, false), request(book, true)}, output);
  }

  static std::string request(const Book& book, bool subscribe) {
    std::string text;
    JsonWriter json(text);
    const char* const verb = subscribe ? "subscribe" : "unsubscribe";
    if (book.version == KrakenVersion::kV2) {
      json.begin_object().field("method", verb).key("params").begin_object().field("channel", "book");
      json.key("symbol").begin_array().value(book.name).end_array();
      if (book.depth != 0) json.field("depth", book.depth);
      if (subscribe) json.field("snapshot", true);
    } else {
      json.begin_object().field("event", verb).key("pair").begin_array().value(book.name).end_array();
      json.key("subscription").begin_object().field("name", "book");
      if (book.depth != 0) json.field("depth", book.depth);
    }
    json.end_object().end_object();
    return text;
  }

  void trades(const Frame& frame, MapperOutput& output) {
    for (std::size_t i = 0; i < parsed_.trades.size(); ++i) {
      const KrakenTradeRead& trade = parsed_.trades[i];
      Market* const found = market(trade.symbol, "/data", i, output);
      if (!found) continue;
      output.alive(frame.connection, "trade", found->symbol);
      const auto id = number(trade.trade_id);
      if (id) found->trades.note(*id, found->symbol, trade.snapshot, output);
      if (!rows_.trades()) continue;
      EventHeader header;
      header.symbol = found->symbol;
      header.event_time = trade.time;
      header.sequence = id;
      if (trade.snapshot) header.quality = Quality::kSnapshot;
      rows_.emit_trade(output, header, {trade.price, trade.size, trade.buy ? "buy" : "sell", trade.trade_id, kVenue});
    }
  }

  static std::optional<std::uint64_t> number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (text.empty() || failed != std::errc{} || end != text.data() + text.size() || value > kSequenceMax) return std::nullopt;
    return value;
  }

  void tickers(const Frame& frame, MapperOutput& output) {
    for (std::size_t i = 0; i < parsed_.tickers.size(); ++i) {
      const KrakenTickerRead& ticker = parsed_.tickers[i];
      Market* const found = market(ticker.symbol, "/data", i, output);
      if (!found) continue;
      output.alive(frame.connection, "ticker", found->symbol);
      if (!rows_.quotes()) continue;
      EventHeader header;
      header.symbol = found->symbol;
      set_event_time(header, ticker.time, frame);
      if (ticker.snapshot) header.quality = Quality::kSnapshot;
      rows_.emit_quote(output, header, {ticker.bid, ticker.ask, ticker.bid_size, ticker.ask_size, kVenue, "ticker"});
    }
  }

  MapperContext context_;
  EventRows rows_;
  KrakenReader reader_;
  KrakenFrame parsed_;
  FrameError error_;
  TextSet wanted_;           // the venue's names of today; empty = all
  TextMap<Market> markets_;  // by the venue's name
  TextMap<std::uint32_t> pending_depths_;  // said of symbols that no data came of yet
  std::map<std::uint32_t, Connection> connections_;
};

}  // namespace

Result<std::unique_ptr<Mapper>> make_kraken_mapper(MapperContext context) {
  UTP_TRY(auto rows, EventRows::make(context));
  return std::make_unique<KrakenMapper>(std::move(context), std::move(rows));
}

}  // namespace utp
