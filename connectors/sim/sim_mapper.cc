#include "connectors/sim/sim_mapper.h"

#include <algorithm>
#include <charconv>
#include <map>

#include <fmt/format.h>

#include "connector/event_rows.h"
#include "connectors/sim/sim_market.h"
#include "connectors/sim/sim_message.h"
#include "connectors/sim/sim_settings.h"
#include "core/hash.h"
#include "core/json_writer.h"

namespace utp::sim {
namespace {

constexpr std::string_view kVenue = "sim";
constexpr std::size_t kMissingMax = 1024;    // numbers remembered per connection, so that what comes late is told from a duplicate
constexpr std::size_t kConnectionsMax = 256;
constexpr std::size_t kBooksMax = 10'000;    // of one connection
constexpr std::size_t kLevelsMax = 20'000;   // a side of a book
constexpr std::uint64_t kAskAgainAfter = 64;  // changes of an awaited book: the request or its answer was lost

// In units of the last of `digits` decimals.
std::optional<std::int64_t> scaled(const Decimal& number, std::int64_t digits) {
  std::int64_t value = number.mantissa();
  std::int64_t shift = number.exponent() + digits;
  if (shift < 0) return std::nullopt;
  for (; shift > 0; --shift) {
    if (__builtin_mul_overflow(value, 10, &value)) return std::nullopt;
  }
  return value;
}

struct KeptBook {
  enum class State : std::uint8_t { kNone, kLive, kAwaited };
  State state = State::kNone;
  std::vector<Level> bids, asks;
  std::int64_t price_digits = 0, size_digits = 0;
  std::uint64_t rev = 0;
  std::uint64_t next_seq = 0;
  std::uint64_t held_back = 0;  // changes since the snapshot was asked for
  std::string id;
};

struct Connection {
  std::optional<std::uint64_t> last;    // highest number read
  std::uint64_t unread = 0;             // messages since then that could not be read
  std::vector<std::uint64_t> missing;   // numbers below it that were not read, oldest first
  std::map<std::string, KeptBook, std::less<>> books;
};

class SimMapper final : public Mapper {
 public:
  SimMapper(MapperContext context, EventRows rows) : context_(std::move(context)), rows_(std::move(rows)) {}

  Status prepare() {
    UTP_TRY(options_, EventRoute::find(context_, "options/v1",
                                       {"underlying", "expiration", "strike", "right", "style", "multiplier", "bid", "ask", "last", "mark", "volume",
                                        "open_interest", "iv", "delta", "gamma", "theta", "vega", "rho", "spot", "venue"}));
    UTP_TRY(news_, EventRoute::find(context_, "news/v1", {"headline", "source", "tickers", "sentiment", "url"}));
    UTP_TRY(calendar_, EventRoute::find(context_, "calendar/v1",
                                        {"event_name", "country", "actual", "forecast", "previous", "unit", "importance"}));
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
  Connection* connection_of(std::uint32_t number) {
    if (last_connection_ != nullptr && last_number_ == number) return last_connection_;
    auto found = connections_.find(number);
    if (found == connections_.end()) {
      if (connections_.size() == kConnectionsMax) return nullptr;
      found = connections_.try_emplace(number).first;
    }
    last_number_ = number;
    return last_connection_ = &found->second;
  }

  void on_message(const Frame& frame, MapperOutput& output) {
    Connection* const connection = connection_of(frame.connection);
    if (connection == nullptr) return output.reject("connection", "", fmt::format("more than {} connections at a time", kConnectionsMax));
    error_ = {};
    if (!reader_.read(frame.bytes, m_, error_)) return unread(*connection, error_.code, error_.path, error_.message, output);
    if (!m_.n) return unread(*connection, "missing", "/n", "the message has no number", output);
    if (!count(*connection, *m_.n, output)) return;
    dispatch(frame, *connection, output);
  }

  void unread(Connection& connection, std::string_view code, std::string_view path, std::string_view message, MapperOutput& output) {
    ++connection.unread;
    output.reject(code, path, message);
  }

  // False for a message that was read before.
  bool count(Connection& connection, std::uint64_t n, MapperOutput& output) {
    auto& last = connection.last;
    if (last && n <= *last) {
      const auto at = std::lower_bound(connection.missing.begin(), connection.missing.end(), n);
      if (at == connection.missing.end() || *at != n) return false;
      connection.missing.erase(at);
      return true;
    }
    if (last && n > *last + 1) {
      const std::uint64_t missed = n - *last - 1;
      // What came and could not be read is in the dead letters, not missing.
      if (missed > connection.unread) {
        output.gap("", "", fmt::format("n jumped from {} to {}", *last, n), missed - connection.unread);
      }
      for (std::uint64_t i = std::max(*last + 1, n - std::min<std::uint64_t>(missed, kMissingMax)); i < n; ++i) connection.missing.push_back(i);
      if (connection.missing.size() > kMissingMax) {
        connection.missing.erase(connection.missing.begin(), connection.missing.end() - static_cast<std::ptrdiff_t>(kMissingMax));
      }
    }
    connection.unread = 0;
    last = n;
    return true;
  }

  void dispatch(const Frame& frame, Connection& connection, MapperOutput& output) {
    const std::string_view channel = m_.channel;
    if (channel == "quote") return quote(frame, output);
    if (channel == "trade") return trade(frame, output);
    if (channel == "book") return book(frame, connection, output);
    if (channel == "option") return option(frame, output);
    if (channel == "news") return news(frame, output);
    if (channel == "calendar") return calendar(frame, output);
    if (channel == "heartbeat") return output.alive(frame.connection, "heartbeat", "");
    if (channel == "hello") return;
    if (channel == "subscribed") {
      // What the sim does not have stays silent for good: said once, that is its confirmation.
      if (!m_.available) output.alive(frame.connection, m_.wanted_channel, context_.symbols.canonical(m_.symbol));
      return;
    }
    if (channel.empty()) return output.reject("missing", "/ch", "the message has no channel");
    output.reject("channel", "/ch", fmt::format("unknown channel \"{}\"", channel.substr(0, 64)));
  }

  // The fields that a channel's messages must have.
  bool require(bool there, const char* path, MapperOutput& output) {
    if (!there) output.reject("missing", path, fmt::format("a {} has no {}", m_.channel, path + 1));
    return there;
  }

  EventHeader header(std::string_view symbol) const {
    EventHeader made;
    made.symbol = symbol;
    made.event_time = Timestamp{*m_.ts};
    return made;
  }

  void quote(const Frame& frame, MapperOutput& output) {
    if (!require(!m_.symbol.empty(), "/sym", output) || !require(m_.ts.has_value(), "/ts", output)) return;
    const std::string_view symbol = context_.symbols.canonical(m_.symbol);
    output.alive(frame.connection, "quotes", symbol);
    if (!rows_.quotes()) return;
    rows_.emit_quote(output, header(symbol), {m_.bid, m_.ask, m_.bid_size, m_.ask_size, kVenue, m_.bid_size ? "quote" : "index"});
  }

  void trade(const Frame& frame, MapperOutput& output) {
    if (!require(!m_.symbol.empty(), "/sym", output) || !require(m_.ts.has_value(), "/ts", output) || !require(m_.id.has_value(), "/id", output) ||
        !require(m_.price.has_value(), "/price", output) || !require(m_.size.has_value(), "/size", output)) {
      return;
    }
    const std::string_view symbol = context_.symbols.canonical(m_.symbol);
    output.alive(frame.connection, "trades", symbol);
    if (!rows_.trades()) return;
    EventHeader made = header(symbol);
    made.sequence = *m_.id;
    char id[20];
    const auto end = std::to_chars(id, id + sizeof id, *m_.id).ptr;
    rows_.emit_trade(output, made, {*m_.price, *m_.size, m_.side, {id, static_cast<std::size_t>(end - id)}, kVenue});
  }

  void book(const Frame& frame, Connection& connection, MapperOutput& output) {
    if (!require(!m_.symbol.empty(), "/sym", output) || !require(m_.ts.has_value(), "/ts", output) || !require(m_.rev.has_value(), "/rev", output) ||
        !require(m_.has_bids, "/bids", output) || !require(m_.has_asks, "/asks", output)) {
      return;
    }
    std::uint64_t hash = 0;
    if (!parse_hex64(m_.hash, hash)) return output.reject("value", "/hash", "expected 16 lower-case hexadecimal digits");
    const std::string_view symbol = context_.symbols.canonical(m_.symbol);
    auto found = connection.books.find(m_.symbol);
    if (found == connection.books.end()) {
      if (connection.books.size() == kBooksMax) return output.reject("value", "/sym", fmt::format("more than {} books", kBooksMax));
      found = connection.books.try_emplace(std::string(m_.symbol)).first;
    }
    KeptBook& kept = found->second;
    output.alive(frame.connection, "books", symbol);
    if (m_.kind == "snapshot") return snapshot(frame, symbol, kept, hash, output);
    if (m_.kind == "update") return update(frame, symbol, kept, hash, output);
    output.reject("value", "/kind", "expected snapshot or update");
  }

  void snapshot(const Frame& frame, std::string_view symbol, KeptBook& kept, std::uint64_t hash, MapperOutput& output) {
    constexpr std::int64_t kDigitsMax = 18;
    if (!m_.price_digits || *m_.price_digits > kDigitsMax) return output.reject("value", "/price_digits", "expected 0 to 18");
    if (!m_.size_digits || *m_.size_digits > kDigitsMax) return output.reject("value", "/size_digits", "expected 0 to 18");
    kept.price_digits = *m_.price_digits;
    kept.size_digits = *m_.size_digits;
    kept.bids.clear();
    kept.asks.clear();
    kept.rev = *m_.rev;
    if (!apply(kept, output)) {
      kept.state = KeptBook::State::kNone;
      return;
    }
    if (book_hash(kept.bids, kept.asks) != hash) return give_up(frame, symbol, kept, "the hash does not fit the snapshot", output);
    kept.state = KeptBook::State::kLive;
    kept.id = fmt::format("{}.{}", *m_.ts, *m_.rev);
    kept.next_seq = 0;
    emit_book(symbol, kept, true, output);
  }

  void update(const Frame& frame, std::string_view symbol, KeptBook& kept, std::uint64_t hash, MapperOutput& output) {
    if (kept.state == KeptBook::State::kAwaited) {
      if (++kept.held_back % kAskAgainAfter == 0) ask_for_snapshot(frame, output);
      return;
    }
    if (kept.state == KeptBook::State::kNone) return give_up(frame, symbol, kept, "a change came before the snapshot", output);
    if (*m_.rev <= kept.rev) return;
    if (*m_.rev != kept.rev + 1) return give_up(frame, symbol, kept, fmt::format("rev jumped from {} to {}", kept.rev, *m_.rev), output);
    kept.rev = *m_.rev;
    if (!apply(kept, output)) return give_up(frame, symbol, kept, "a change could not be read", output);
    if (book_hash(kept.bids, kept.asks) != hash) return give_up(frame, symbol, kept, fmt::format("the hash does not fit the book at rev {}", kept.rev), output);
    emit_book(symbol, kept, false, output);
  }

  void give_up(const Frame& frame, std::string_view symbol, KeptBook& kept, std::string_view reason, MapperOutput& output) {
    if (kept.state == KeptBook::State::kAwaited) return;
    kept.state = KeptBook::State::kAwaited;
    kept.held_back = 0;
    output.gap("orderbook/v1", symbol, reason, 0);
    ask_for_snapshot(frame, output);
  }

  void ask_for_snapshot(const Frame& frame, MapperOutput& output) {
    std::string text = "{\"op\":\"snapshot\",\"sym\":";
    append_json_string(text, m_.symbol);
    text += '}';
    output.command({Command::Kind::kSend, frame.connection, "", std::move(text)});
  }

  bool apply(KeptBook& kept, MapperOutput& output) {
    return apply_side(m_.bids, kept, kept.bids, true, "/bids/", output) && apply_side(m_.asks, kept, kept.asks, false, "/asks/", output);
  }

  bool apply_side(const std::vector<std::pair<Decimal, Decimal>>& changes, const KeptBook& kept, std::vector<Level>& side, bool bids,
                  const char* path, MapperOutput& output) {
    std::size_t index = 0;
    for (const auto& [price, size] : changes) {
      const auto p = scaled(price, kept.price_digits);
      const auto s = scaled(size, kept.size_digits);
      if (!p || !s || *s < 0) {
        output.reject("value", path + std::to_string(index), "the level does not fit the book's digits");
        return false;
      }
      const auto at = std::lower_bound(side.begin(), side.end(), *p, [bids](const Level& l, std::int64_t v) { return bids ? l.price > v : l.price < v; });
      const bool there = at != side.end() && at->price == *p;
      if (*s == 0) {
        if (there) side.erase(at);
      } else if (there) {
        at->size = *s;
      } else if (side.size() == kLevelsMax) {
        output.reject("value", path + std::to_string(index), fmt::format("more than {} levels", kLevelsMax));
        return false;
      } else {
        side.insert(at, {*p, *s});
      }
      ++index;
    }
    return true;
  }

  void emit_book(std::string_view symbol, KeptBook& kept, bool whole, MapperOutput& output) {
    if (!rows_.books()) return;
    constexpr std::size_t kLevelText = 2 * Decimal::kTextMax + 4;
    BookFields fields{whole, kept.id, kept.next_seq++, 0, kVenue};
    EventHeader made = header(symbol);
    if (whole) made.quality = Quality::kSnapshot;
    rows_.emit_book(output, made, fields, m_.bids.size() + m_.asks.size(), [this](std::size_t i) {
      const bool bid = i < m_.bids.size();
      const auto& [price, size] = bid ? m_.bids[i] : m_.asks[i - m_.bids.size()];
      return BookLevelView{price, size, kLevelText, bid};
    });
  }

  static void put(EventRoute& route, std::size_t i, const std::optional<Decimal>& number) {
    if (number) route.row.set(route.columns[i], *number);
  }
  static void put(EventRoute& route, std::size_t i, std::string_view text) {
    if (!text.empty()) route.row.set(route.columns[i], text);
  }

  void option(const Frame& frame, MapperOutput& output) {
    if (!require(!m_.symbol.empty(), "/sym", output) || !require(m_.ts.has_value(), "/ts", output) ||
        !require(!m_.underlying.empty(), "/und", output) || !require(!m_.expiration.empty(), "/exp", output) ||
        !require(m_.strike.has_value(), "/k", output)) {
      return;
    }
    if (m_.right != "C" && m_.right != "P") return output.reject("value", "/right", "expected C or P");
    output.alive(frame.connection, "options", "");
    if (options_.plan == nullptr) return;
    options_.row.reset(*options_.plan);
    const std::string_view texts[] = {m_.underlying, m_.expiration};
    for (std::size_t i = 0; i < 2; ++i) put(options_, i, texts[i]);
    put(options_, 2, m_.strike);
    put(options_, 3, m_.right == "C" ? std::string_view("call") : std::string_view("put"));
    put(options_, 4, "european");
    const std::optional<Decimal>* const numbers[] = {&m_.multiplier, &m_.bid, &m_.ask, &m_.last, &m_.mark, &m_.volume, &m_.open_interest, &m_.iv,
                                                     &m_.delta, &m_.gamma, &m_.theta, &m_.vega, &m_.rho, &m_.spot};
    for (std::size_t i = 0; i < std::size(numbers); ++i) put(options_, 5 + i, *numbers[i]);
    put(options_, 19, kVenue);
    output.emit(options_.number, header(context_.symbols.canonical(m_.symbol)), options_.row);
  }

  void news(const Frame& frame, MapperOutput& output) {
    if (!require(m_.ts.has_value(), "/ts", output) || !require(!m_.headline.empty(), "/headline", output)) return;
    output.alive(frame.connection, "news", "");
    if (news_.plan == nullptr) return;
    news_.row.reset(*news_.plan);
    put(news_, 0, m_.headline);
    put(news_, 1, m_.source);
    news_.row.begin_array(news_.columns[2]);
    for (const auto ticker : m_.tickers) news_.row.push(Value::of(context_.symbols.canonical(ticker)));
    news_.row.end_array(news_.columns[2], static_cast<std::uint32_t>(m_.tickers.size()));
    put(news_, 3, m_.sentiment);
    put(news_, 4, m_.url);
    output.emit(news_.number, header(""), news_.row);
  }

  // An entry happens when it is released, which may be ahead.
  void calendar(const Frame& frame, MapperOutput& output) {
    if (!require(m_.ts.has_value(), "/ts", output) || !require(m_.at.has_value(), "/at", output) || !require(!m_.event.empty(), "/event", output)) return;
    output.alive(frame.connection, "calendar", "");
    if (calendar_.plan == nullptr) return;
    calendar_.row.reset(*calendar_.plan);
    const std::string_view texts[] = {m_.event, m_.country, m_.actual, m_.forecast, m_.previous, m_.unit, m_.importance};
    for (std::size_t i = 0; i < std::size(texts); ++i) put(calendar_, i, texts[i]);
    EventHeader made = header("");
    made.event_time = Timestamp{*m_.at};
    output.emit(calendar_.number, made, calendar_.row);
  }

  MapperContext context_;
  EventRows rows_;
  EventRoute options_, news_, calendar_;
  MessageReader reader_;
  Message m_;
  FrameError error_;
  std::map<std::uint32_t, Connection> connections_;
  Connection* last_connection_ = nullptr;
  std::uint32_t last_number_ = 0;
};

}  // namespace

Result<std::unique_ptr<Mapper>> make_sim_mapper(MapperContext context) {
  UTP_TRY(auto rows, EventRows::make(context));
  auto mapper = std::make_unique<SimMapper>(std::move(context), std::move(rows));
  UTP_CHECK(mapper->prepare());
  return mapper;
}

}  // namespace utp::sim
