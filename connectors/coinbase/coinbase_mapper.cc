#include "connectors/coinbase/coinbase_mapper.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "connector/book_recovery.h"
#include "connector/event_rows.h"
#include "connector/text_map.h"
#include "connector/trade_ids.h"
#include "connectors/coinbase/coinbase_fast.h"
#include "core/json_writer.h"

namespace utp {
namespace {

constexpr std::string_view kVenue = "coinbase";
constexpr std::size_t kProductsMax = 20'000;    // the venue lists about 800; a bound against invented ones
constexpr std::size_t kUnreadMax = 64;          // frames in a row that were not understood; more are a gap
constexpr std::size_t kConnectionsMax = 1'024;  // with state, at a time

struct Product {
  std::string name;         // in frames
  std::string subscribed;   // what it was asked for by: BTC-USDC, where frames say BTC-USD
  std::size_t index = 0;    // of Connection::books
  std::string_view symbol;  // canonical
  TradeIds trades;
};

struct Book : FollowedBook {
  CoinbaseFeed feed = CoinbaseFeed::kAdvanced;
};
using State = FollowedBook::State;

// The venue keeps one book for X-USD and X-USDC: whoever subscribes to the second gets frames of the first.
std::string frame_name(std::string_view product) {
  return std::string(product.substr(0, product.ends_with("-USDC") ? product.size() - 1 : product.size()));
}

struct Connection {
  // A frame that came whole and was not understood: nothing else was lost with it.
  struct Unread {
    std::uint64_t sequence;
    std::vector<std::string> books;  // the products whose books it would have changed
  };

  std::optional<std::uint64_t> sequence;  // of the last frame that was read
  std::vector<Unread> unread;             // since then
  BookRecovery recovery;
  std::vector<Book> books;  // by product
};

class CoinbaseMapper final : public Mapper {
 public:
  CoinbaseMapper(MapperContext context, EventRows rows) : context_(std::move(context)), rows_(std::move(rows)) {}

  Status prepare() {
    for (const auto& stream : context_.wanted) {
      if (stream.symbol.empty()) continue;
      const std::string name(context_.symbols.venue(stream.symbol));
      for (const std::string& in_frames : {name, frame_name(name)}) {
        const auto [other, fresh] = wanted_.emplace(in_frames, name);
        if (fresh || other->second == name) continue;
        return fail(Code::kInvalidArgument, "symbols of connector coinbase: the venue keeps one book for " + name + " and " + other->second +
                                                " and sends it under one name: ask for one of the two");
      }
    }
    return {};
  }

  void on_frame(const Frame& frame, MapperOutput& output) override {
    switch (frame.kind) {
      case FrameKind::kWs: return on_message(frame, output);
      case FrameKind::kOpen:
      case FrameKind::kClose:
        connections_.erase(frame.connection);
        last_connection_ = nullptr;
        return;
      case FrameKind::kSent:
      case FrameKind::kHttp: return;
    }
  }

 private:
  void on_message(const Frame& frame, MapperOutput& output) {
    Connection& connection = connection_of(frame.connection);
    if (!reader_.read(frame.bytes, parsed_, error_)) return unreadable(frame, connection, output);
    if (parsed_.feed == CoinbaseFeed::kAdvanced && !in_order(frame, connection, output)) return;
    switch (parsed_.kind) {
      case CoinbaseKind::kBook: return books(frame, connection, output);
      case CoinbaseKind::kTrades: return trades(frame, output);
      case CoinbaseKind::kTickers: return tickers(frame, output);
      case CoinbaseKind::kLastMatch: return last_match(frame, output);
      case CoinbaseKind::kHeartbeat: return output.alive(frame.connection, "heartbeats", "");
      case CoinbaseKind::kError: return venue_error(frame, connection, output);
      case CoinbaseKind::kIgnored: return;
    }
  }

  // The venue does not say what its error is about: it may be the subscription of a book that waits for its snapshot.
  void venue_error(const Frame& frame, Connection& connection, MapperOutput& output) {
    const std::string_view reason = parsed_.error.empty() ? std::string_view("the venue reports an error") : parsed_.error;
    output.reject("venue_error", "/message", reason);
    output.refused(frame.connection, reason);
    if (std::ranges::any_of(connection.books, [](const Book& book) { return book.state == State::kAwaited; })) {
      connection.recovery.reconnect(frame.connection, "an error while a book waits for its snapshot: " + std::string(reason), output);
    }
  }

  // A frame that is not understood is one that its book misses.
  void unreadable(const Frame& frame, Connection& connection, MapperOutput& output) {
    output.reject(error_.code, error_.path, error_.message);
    std::vector<std::string> books;
    for (const CoinbaseBook& read : parsed_.books) books.emplace_back(read.product);
    if (error_.code == "json" && books.empty()) {
      // Whose frame it was cannot be told. Advanced connections notice by their counter; the Exchange feed has none.
      for (std::size_t i = 0; i < connection.books.size(); ++i) {
        const Book& book = connection.books[i];
        if (book.state == State::kLive && book.feed == CoinbaseFeed::kExchange) books.push_back(products_[i]->name);
      }
      void_books(frame.connection, connection, books, output);
    } else if (parsed_.feed == CoinbaseFeed::kExchange) {
      void_books(frame.connection, connection, books, output);
    } else if (parsed_.sequence_num && error_.code != "json" && connection.unread.size() < kUnreadMax) {
      connection.unread.push_back({*parsed_.sequence_num, std::move(books)});
    }
  }

  void void_books(std::uint32_t number, Connection& connection, const std::vector<std::string>& names, MapperOutput& output) {
    for (const std::string& name : names) {
      Product* const product = find_product(name);
      if (product) give_up(number, connection, *product, "a frame of this book could not be read", output);
    }
  }

  // False when the frame is to be left out.
  bool in_order(const Frame& frame, Connection& connection, MapperOutput& output) {
    const std::uint64_t number = *parsed_.sequence_num;
    const auto last = std::exchange(connection.sequence, number);
    if (!last || number == *last + 1) {
      connection.unread.clear();
      return true;
    }
    if (number <= *last && number != 0) {
      connection.sequence = last;
      output.reject("sequence", "/sequence_num",
                    "sequence_num " + std::to_string(number) + " came after " + std::to_string(*last) + ": repeated or out of order");
      return false;
    }
    const auto unread = std::exchange(connection.unread, {});
    std::uint64_t expected = *last + 1;
    for (const auto& skipped : unread) {
      if (skipped.sequence != expected) continue;
      void_books(frame.connection, connection, skipped.books, output);
      ++expected;
    }
    if (number == expected) return true;
    const std::string reason = number == 0 ? "sequence_num started anew without a new connection"
                                           : "sequence_num jumped from " + std::to_string(*last) + " to " + std::to_string(number);
    output.gap("", "", reason, number == 0 ? 0 : number - *last - 1);
    for (std::size_t i = 0; i < connection.books.size(); ++i) {
      Book& book = connection.books[i];
      if (book.state != State::kLive) continue;
      book.state = State::kAwaited;
      output.gap("orderbook/v1", products_[i]->symbol, reason, 0);
    }
    connection.recovery.reconnect(frame.connection, reason, output);
    return true;
  }

  // ---- products and connections ----

  Connection& connection_of(std::uint32_t number) {
    if (last_connection_ && last_number_ == number) return *last_connection_;
    if (connections_.size() >= kConnectionsMax && !connections_.contains(number)) connections_.erase(connections_.begin());
    last_number_ = number;
    last_connection_ = &connections_[number];
    return *last_connection_;
  }

  // A small cache in front of the table, by the length and the ends of the name: up to 8 bytes, that is all of it.
  struct Recent {
    std::uint64_t ends = 0;
    std::size_t size = 0;
    Product* product = nullptr;
  };

  Product* find_product(std::string_view name) {
    if (name.size() < 4) return find_in_table(name);
    std::uint32_t begin, end;
    std::memcpy(&begin, name.data(), 4);
    std::memcpy(&end, name.data() + name.size() - 4, 4);
    const std::uint64_t ends = std::uint64_t{end} << 32 | begin;
    Recent& recent = recent_[(ends + name.size()) * 0x9E3779B97F4A7C15u >> (64 - kRecentBits)];
    if (recent.ends == ends && recent.size == name.size() && (name.size() <= 8 || recent.product->name == name)) return recent.product;
    Product* const found = find_in_table(name);
    if (found) recent = {ends, name.size(), found};
    return found;
  }
  Product* find_in_table(std::string_view name) {
    const auto known = product_index_.find(name);
    return known == product_index_.end() ? nullptr : products_[known->second].get();
  }

  // Null after a reject at `list`/`index` of an Advanced frame, or at the product of an Exchange one.
  Product* product(std::string_view name, std::string_view list, std::size_t index, MapperOutput& output) {
    Product* const known = find_product(name);
    return known ? known : new_product(name, list, index, output);
  }

  [[gnu::noinline]] Product* new_product(std::string_view name, std::string_view list, std::size_t index, MapperOutput& output) {
    const std::string shown = "\"" + std::string(name.substr(0, 64)) + "\"";
    const auto refuse = [&](std::string_view code, const std::string& message) -> Product* {
      const bool advanced = parsed_.feed == CoinbaseFeed::kAdvanced;
      output.reject(code, advanced ? std::string(list) + std::to_string(index) + "/product_id" : "/product_id", message);
      return nullptr;
    };
    const bool plausible = !name.empty() && name.size() <= 64 &&
                           name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == name.npos;
    if (!plausible) return refuse("unknown_product", shown + " is no product id");
    const auto wanted = wanted_.find(name);
    if (!wanted_.empty() && wanted == wanted_.end()) return refuse("unknown_product", "product " + shown + " was not asked for");
    if (products_.size() >= kProductsMax) return refuse("limit", "more than " + std::to_string(kProductsMax) + " products");
    auto added = std::make_unique<Product>();
    added->name = name;
    added->index = products_.size();
    added->subscribed = wanted == wanted_.end() ? added->name : wanted->second;
    added->symbol = context_.symbols.canonical(added->subscribed);
    product_index_.emplace(added->name, products_.size());
    products_.push_back(std::move(added));
    return products_.back().get();
  }

  Book& book_of(Connection& connection, const Product& product) {
    if (product.index >= connection.books.size()) connection.books.resize(products_.size());
    return connection.books[product.index];
  }

  // ---- events ----

  void books(const Frame& frame, Connection& connection, MapperOutput& output) {
    for (std::size_t i = 0; i < parsed_.books.size(); ++i) {
      const CoinbaseBook& read = parsed_.books[i];
      Product* const product = this->product(read.product, "/events/", i, output);
      if (product) book(frame, connection, read, *product, output);
    }
  }

  void book(const Frame& frame, Connection& connection, const CoinbaseBook& read, Product& product, MapperOutput& output) {
    if (!rows_.books()) return output.alive(frame.connection, "level2", product.symbol);
    Book& book = book_of(connection, product);
    book.feed = parsed_.feed;
    EventHeader header;
    header.symbol = product.symbol;
    set_event_time(header, read.time ? read.time : parsed_.timestamp, frame);
    if (read.snapshot) {
      header.quality = Quality::kSnapshot;
      // The frame's own time and number: the same frame gives the same name, and no two snapshots share it.
      book.begin(parsed_.timestamp.value_or(read.time.value_or(frame.receive_time)), parsed_.sequence_num.value_or(frame.connection));
    } else if (book.state != State::kLive) {
      if (book.state == State::kNone) give_up(frame.connection, connection, product, "a change came before its snapshot", output);
      return;
    }
    output.alive(frame.connection, "level2", product.symbol);  // changes that wait for a snapshot are no sign of life
    const std::span<const CoinbaseLevel> levels(parsed_.levels.data() + read.first, read.count);
    const bool sent = rows_.emit_book(
        output, header, {read.snapshot, book.id, book.next, 0, kVenue}, levels.size(),
        [&](std::size_t i) -> BookLevelView { return {levels[i].price, levels[i].size, levels[i].text_bytes, levels[i].bid}; });
    if (!sent) return give_up(frame.connection, connection, product, "an event of this book was refused", output);
    book.advance();
  }

  void give_up(std::uint32_t number, Connection& connection, const Product& product, std::string_view reason, MapperOutput& output) {
    Book& book = book_of(connection, product);
    if (book.state == State::kAwaited) return;
    connection.recovery.give_up(book, number, product.symbol, reason,
                                {request("unsubscribe", product, book.feed), request("subscribe", product, book.feed)}, output);
  }

  static std::string request(const char* type, const Product& product, CoinbaseFeed feed) {
    std::string text;
    JsonWriter json(text);
    json.begin_object().field("type", type).key("product_ids").begin_array().value(product.subscribed).end_array();
    if (feed == CoinbaseFeed::kAdvanced) json.field("channel", "level2");
    else json.key("channels").begin_array().value("level2").end_array();
    json.end_object();
    return text;
  }

  void trades(const Frame& frame, MapperOutput& output) {
    // The venue lists the newest first; events go out in the order in which they happened.
    const bool newest_first = parsed_.trades.size() > 1 && coinbase_integer(parsed_.trades.front().trade_id) >
                                                               coinbase_integer(parsed_.trades.back().trade_id);
    for (std::size_t n = 0; n < parsed_.trades.size(); ++n) {
      const std::size_t i = newest_first ? parsed_.trades.size() - 1 - n : n;
      const CoinbaseTrade& trade = parsed_.trades[i];
      const bool advanced = parsed_.feed == CoinbaseFeed::kAdvanced;
      Product* const product = this->product(trade.product, "/events/0/trades/", i, output);
      if (!product) continue;
      output.alive(frame.connection, "market_trades", product->symbol);
      const auto id = coinbase_integer(trade.trade_id);
      if (!advanced && id) product->trades.note(*id, product->symbol, false, output);
      if (!rows_.trades()) continue;
      EventHeader header;
      header.symbol = product->symbol;
      set_event_time(header, trade.time, frame);
      header.sequence = id;
      if (trade.snapshot) header.quality = Quality::kSnapshot;
      rows_.emit_trade(output, header, {trade.price, trade.size, trade.maker_buys ? "sell" : "buy", trade.trade_id, kVenue});
    }
  }

  void last_match(const Frame& frame, MapperOutput& output) {
    const CoinbaseTrade& trade = parsed_.trades.front();
    Product* const product = this->product(trade.product, "", 0, output);
    if (!product) return;
    output.alive(frame.connection, "market_trades", product->symbol);
    const auto id = coinbase_integer(trade.trade_id);
    if (!id) return;
    // It goes out with no event of its own, so it counts among the missing when it is newer than the last one seen.
    auto& newest = product->trades.newest;
    if (newest && *id > *newest) {
      output.gap("trades/v2", product->symbol,
                 "trades up to " + std::to_string(*id) + " happened while the feed was down, the last one seen is " + std::to_string(*newest),
                 *id - *newest);
    }
    newest = std::max(newest, id);
  }

  void tickers(const Frame& frame, MapperOutput& output) {
    for (std::size_t i = 0; i < parsed_.tickers.size(); ++i) {
      const CoinbaseTicker& ticker = parsed_.tickers[i];
      Product* const product = this->product(ticker.product, "/events/0/tickers/", i, output);
      if (!product) continue;
      output.alive(frame.connection, "ticker", product->symbol);
      if (!rows_.quotes() || !ticker.quoted) continue;
      EventHeader header;
      header.symbol = product->symbol;
      set_event_time(header, ticker.time ? ticker.time : parsed_.timestamp, frame);
      if (ticker.snapshot) header.quality = Quality::kSnapshot;
      rows_.emit_quote(output, header, {ticker.bid, ticker.ask, ticker.bid_size, ticker.ask_size, kVenue, "ticker"});
    }
  }

  MapperContext context_;
  EventRows rows_;
  CoinbaseReader reader_;
  CoinbaseFrame parsed_;
  FrameError error_;
  TextMap<std::string> wanted_;  // products by their name in frames, with the name to subscribe by; empty = all
  TextMap<std::size_t> product_index_;
  std::vector<std::unique_ptr<Product>> products_;
  static constexpr unsigned kRecentBits = 9;
  std::array<Recent, std::size_t{1} << kRecentBits> recent_;
  std::map<std::uint32_t, Connection> connections_;
  Connection* last_connection_ = nullptr;
  std::uint32_t last_number_ = 0;
};

}  // namespace

Result<std::unique_ptr<Mapper>> make_coinbase_mapper(MapperContext context) {
  UTP_TRY(auto rows, EventRows::make(context));
  auto mapper = std::make_unique<CoinbaseMapper>(std::move(context), std::move(rows));
  UTP_CHECK(mapper->prepare());
  return mapper;
}

}  // namespace utp
