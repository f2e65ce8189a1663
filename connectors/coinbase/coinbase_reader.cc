#include "connector/json_frame.h"
#include "connectors/coinbase/coinbase_fast.h"
#include "connectors/coinbase/coinbase_frame.h"

namespace utp {
namespace {

namespace jf = json_frame;
namespace ondemand = simdjson::ondemand;

// The venue writes a zero time ("0001-01-01", "1970-01-01") where it has none.
bool optional_time(jf::TimeReader& times, std::string_view text, std::optional<Timestamp>& out, FrameError& error) {
  return coinbase_time(times, text, out) ||
         jf::fail(error, "value", "expected an RFC 3339 time, found \"" + std::string(text.substr(0, 64)) + "\"");
}

bool parse_size(std::string_view text, Decimal& out, FrameError& error) {
  if (!jf::parse_decimal(text, out, error)) return false;
  return out.mantissa() >= 0 || jf::fail(error, "value", "expected a size of 0 or more, found " + std::string(text));
}

bool parse_sequence(std::string_view text, std::optional<std::uint64_t>& out, FrameError& error) {
  out = coinbase_integer(text);
  return out.has_value() || jf::fail(error, "value", "expected an integer below 2^53, found " + std::string(text.substr(0, 64)));
}

class General {
 public:
  General(jf::TimeReader& times, CoinbaseFrame& frame, FrameError& error) : times_(times), frame_(frame), error_(error) {}

  bool read(ondemand::document& document) {
    ondemand::object root;
    if (const auto code = document.get_object().get(root)) return jf::fail(error_, code, "an object");
    if (!identify(root)) return false;
    bool reset = false;
    if (const auto code = root.reset().get(reset)) return jf::fail(error_, code, "an object");
    if (!(frame_.feed == CoinbaseFeed::kAdvanced ? advanced(root) : exchange(root))) return false;
    return document.current_location().error() == simdjson::OUT_OF_BOUNDS ||
           jf::fail(error_, "json", "expected the end of the frame after the object");
  }

 private:
  using Key = ondemand::raw_json_string;
  using Value = ondemand::value;

  bool identify(ondemand::object& root) {
    auto code = root.find_field_unordered("channel").get_string().get(name_);
    if (code == simdjson::SUCCESS) {
      frame_.feed = CoinbaseFeed::kAdvanced;
      if (name_ == "l2_data") frame_.kind = CoinbaseKind::kBook;
      else if (name_ == "market_trades") frame_.kind = CoinbaseKind::kTrades;
      else if (name_ == "ticker" || name_ == "ticker_batch") frame_.kind = CoinbaseKind::kTickers;
      else if (name_ == "heartbeats") frame_.kind = CoinbaseKind::kHeartbeat;
      else if (name_ == "subscriptions" || name_ == "candles" || name_ == "status" || name_ == "user" ||
               name_ == "futures_balance_summary") frame_.kind = CoinbaseKind::kIgnored;
      else return jf::fail(error_, "channel", "unknown channel \"" + std::string(name_.substr(0, 64)) + "\"", "/channel");
      return true;
    }
    if (code != simdjson::NO_SUCH_FIELD) {
      jf::fail(error_, code, "the channel's name");
      return jf::at(error_, "channel");
    }
    code = root.find_field_unordered("type").get_string().get(name_);
    if (code != simdjson::SUCCESS) {
      jf::fail(error_, code, "a channel or type");
      return code == simdjson::NO_SUCH_FIELD ? false : jf::at(error_, "type");
    }
    frame_.feed = CoinbaseFeed::kExchange;
    if (name_ == "l2update" || name_ == "snapshot") frame_.kind = CoinbaseKind::kBook;
    else if (name_ == "match") frame_.kind = CoinbaseKind::kTrades;
    else if (name_ == "last_match") frame_.kind = CoinbaseKind::kLastMatch;
    else if (name_ == "ticker") frame_.kind = CoinbaseKind::kTickers;
    else if (name_ == "heartbeat") frame_.kind = CoinbaseKind::kHeartbeat;
    else if (name_ == "error") frame_.kind = CoinbaseKind::kError;
    else if (name_ == "subscriptions" || name_ == "status" || name_ == "received" || name_ == "open" || name_ == "done" ||
             name_ == "change" || name_ == "activate" || name_ == "auction" || name_ == "rfq_match" || name_ == "level3") {
      frame_.kind = CoinbaseKind::kIgnored;
    } else {
      return jf::fail(error_, "channel", "unknown message type \"" + std::string(name_.substr(0, 64)) + "\"", "/type");
    }
    return true;
  }

  // ---- Advanced Trade ----

  bool advanced(ondemand::object& root) {
    const bool complete = jf::fields(root, error_, [&](Key key, Value value) {
      std::string_view text;
      if (key == "timestamp") {
        return (jf::text(value, text, error_) && optional_time(times_, text, frame_.timestamp, error_)) ||
               jf::at(error_, "timestamp");
      }
      if (key == "sequence_num") {
        return (jf::number_text(value, text, error_) && parse_sequence(text, frame_.sequence_num, error_)) ||
               jf::at(error_, "sequence_num");
      }
      if (key == "events" && frame_.kind != CoinbaseKind::kIgnored && frame_.kind != CoinbaseKind::kHeartbeat) {
        events_seen_ = true;
        return jf::elements(value, error_, [&](std::size_t, Value event) { return advanced_event(event); }) ||
               jf::at(error_, "events");
      }
      return true;
    });
    if (!complete) return false;
    if (!frame_.sequence_num) return jf::fail(error_, "missing", "sequence_num is missing", "/sequence_num");
    if (!events_seen_ && frame_.kind != CoinbaseKind::kIgnored && frame_.kind != CoinbaseKind::kHeartbeat) {
      return jf::fail(error_, "missing", "events is missing", "/events");
    }
    return true;
  }

  // The event's type and product stand before its list in everything the venue sends; where they do not, they are put
  // into what was read when they come.
  bool advanced_event(Value event) {
    const std::size_t first_trade = frame_.trades.size();
    const std::size_t first_ticker = frame_.tickers.size();
    const std::size_t first_level = frame_.levels.size();
    std::string_view type;
    std::string_view product;
    std::optional<Timestamp> newest;
    bool list_seen = false;
    const char* const list = frame_.kind == CoinbaseKind::kBook     ? "updates"
                             : frame_.kind == CoinbaseKind::kTrades ? "trades"
                                                                    : "tickers";
    const bool complete = jf::field_objects(event, error_, [&](Key key, Value value) {
      if (key == "type") return jf::text(value, type, error_) || jf::at(error_, "type");
      if (key == "product_id") return jf::text(value, product, error_) || jf::at(error_, "product_id");
      if (key != list) return true;
      list_seen = true;
      return jf::elements(value, error_, [&](std::size_t, Value element) {
               switch (frame_.kind) {
                 case CoinbaseKind::kBook: return update(element, newest);
                 case CoinbaseKind::kTrades: return advanced_trade(element);
                 default: return advanced_ticker(element);
               }
             }) || jf::at(error_, list);
    });
    if (frame_.kind == CoinbaseKind::kBook) {
      frame_.books.push_back({product, type == "snapshot", first_level, frame_.levels.size() - first_level, newest});
    }
    if (!complete) return false;
    if (!list_seen) return jf::fail(error_, "missing", std::string(list) + " is missing", std::string("/") + list);
    if (type != "snapshot" && type != "update") {
      return jf::fail(error_, type.empty() ? "missing" : "value", "expected \"snapshot\" or \"update\"", "/type");
    }
    if (frame_.kind == CoinbaseKind::kBook && product.empty()) {
      return jf::fail(error_, "missing", "product_id is missing", "/product_id");
    }
    const bool snapshot = type == "snapshot";
    for (std::size_t i = first_trade; i < frame_.trades.size(); ++i) frame_.trades[i].snapshot = snapshot;
    for (std::size_t i = first_ticker; i < frame_.tickers.size(); ++i) frame_.tickers[i].snapshot = snapshot;
    return true;
  }

  bool update(Value element, std::optional<Timestamp>& newest) {
    CoinbaseLevel level;
    unsigned seen = 0;
    std::size_t bytes = 0;
    const bool complete = jf::field_objects(element, error_, [&](Key key, Value value) {
      std::string_view text;
      if (key == "side") {
        seen |= 1;
        return (jf::text(value, text, error_) && side(text, "bid", "offer", level.bid)) || jf::at(error_, "side");
      }
      if (key == "event_time") {
        std::optional<Timestamp> time;
        if (!jf::text(value, text, error_) || !optional_time(times_, text, time, error_)) return jf::at(error_, "event_time");
        if (time && (!newest || *time > *newest)) newest = time;
        return true;
      }
      if (key == "price_level") {
        seen |= 2;
        if (!jf::text(value, text, error_) || !jf::parse_decimal(text, level.price, error_)) return jf::at(error_, "price_level");
        bytes += coinbase_text_bytes(text);
        return true;
      }
      if (key == "new_quantity") {
        seen |= 4;
        if (!jf::text(value, text, error_) || !parse_size(text, level.size, error_)) return jf::at(error_, "new_quantity");
        bytes += coinbase_text_bytes(text);
        return true;
      }
      return true;
    });
    if (!complete) return false;
    if (seen != 7) return jf::fail(error_, "missing", "a level needs side, price_level and new_quantity");
    return add_level(level, bytes);
  }

  bool add_level(CoinbaseLevel& level, std::size_t text_bytes) {
    level.text_bytes = coinbase_level_bytes(text_bytes);
    frame_.levels.push_back(level);
    return true;
  }

  bool side(std::string_view text, std::string_view yes, std::string_view no, bool& out) {
    out = text == yes;
    return out || text == no ||
           jf::fail(error_, "value", "expected \"" + std::string(yes) + "\" or \"" + std::string(no) + "\", found \"" +
                                         std::string(text.substr(0, 64)) + "\"");
  }

  bool advanced_trade(Value element) {
    TradeFields fields;
    return jf::field_objects(element, error_, [&](Key key, Value value) { return trade_field(fields, key, value, "BUY", "SELL"); }) &&
           add_trade(fields);
  }

  struct TradeFields {
    CoinbaseTrade trade;
    unsigned seen = 0;
  };

  bool trade_field(TradeFields& f, Key key, Value value, std::string_view buy, std::string_view sell) {
    std::string_view text;
    if (key == "product_id") return f.seen |= 1, jf::text(value, f.trade.product, error_) || jf::at(error_, "product_id");
    if (key == "trade_id") return f.seen |= 2, jf::number_text(value, f.trade.trade_id, error_) || jf::at(error_, "trade_id");
    if (key == "price") {
      return f.seen |= 4, (jf::text(value, text, error_) && jf::parse_decimal(text, f.trade.price, error_)) || jf::at(error_, "price");
    }
    if (key == "size") {
      return f.seen |= 8, (jf::text(value, text, error_) && parse_size(text, f.trade.size, error_)) || jf::at(error_, "size");
    }
    if (key == "time") {
      return f.seen |= 16, (jf::text(value, text, error_) && optional_time(times_, text, f.trade.time, error_)) || jf::at(error_, "time");
    }
    if (key == "side") {
      return f.seen |= 32, (jf::text(value, text, error_) && side(text, buy, sell, f.trade.maker_buys)) || jf::at(error_, "side");
    }
    return true;
  }

  bool add_trade(const TradeFields& f) {
    if (f.seen != 63) return jf::fail(error_, "missing", "a trade needs product_id, trade_id, price, size, time and side");
    frame_.trades.push_back(f.trade);
    return true;
  }

  // ---- tickers, both feeds ----

  bool advanced_ticker(Value element) {
    CoinbaseTicker ticker;
    ticker.quoted = false;
    const bool complete = jf::field_objects(element, error_, [&](Key key, Value value) {
      if (key == "product_id") return jf::text(value, ticker.product, error_) || jf::at(error_, "product_id");
      if (key == "best_bid") return ticker.quoted = true, quote_number(value, ticker.bid) || jf::at(error_, "best_bid");
      if (key == "best_ask") return ticker.quoted = true, quote_number(value, ticker.ask) || jf::at(error_, "best_ask");
      if (key == "best_bid_quantity") return quote_number(value, ticker.bid_size) || jf::at(error_, "best_bid_quantity");
      if (key == "best_ask_quantity") return quote_number(value, ticker.ask_size) || jf::at(error_, "best_ask_quantity");
      return true;
    });
    return complete && add_ticker(ticker);
  }

  // Null and "" stand for no number.
  bool quote_number(Value value, std::optional<Decimal>& out) {
    bool null = false;
    if (const auto code = value.is_null().get(null)) return jf::fail(error_, code, "a string");
    if (null) return true;
    std::string_view text;
    Decimal number;
    if (!jf::text(value, text, error_)) return false;
    if (text.empty()) return true;
    if (!parse_size(text, number, error_)) return false;
    out = number;
    return true;
  }

  bool add_ticker(CoinbaseTicker& ticker) {
    if (ticker.product.empty()) return jf::fail(error_, "missing", "product_id is missing", "/product_id");
    coinbase_drop_empty_sides(ticker);
    frame_.tickers.push_back(ticker);
    return true;
  }

  // ---- Exchange ----

  bool exchange(ondemand::object& root) {
    switch (frame_.kind) {
      case CoinbaseKind::kBook: return exchange_book(root);
      case CoinbaseKind::kTrades:
      case CoinbaseKind::kLastMatch: {
        TradeFields f;
        return jf::fields(root, error_, [&](Key key, Value value) { return trade_field(f, key, value, "buy", "sell"); }) &&
               add_trade(f);
      }
      case CoinbaseKind::kTickers: {
        CoinbaseTicker ticker;
        return jf::fields(root, error_, [&](Key key, Value value) { return exchange_ticker_field(ticker, key, value); }) &&
               add_ticker(ticker);
      }
      case CoinbaseKind::kError: return exchange_error(root);
      default: return jf::fields(root, error_, [](Key, Value) { return true; });
    }
  }

  bool exchange_ticker_field(CoinbaseTicker& ticker, Key key, Value value) {
    if (key == "product_id") return jf::text(value, ticker.product, error_) || jf::at(error_, "product_id");
    if (key == "best_bid") return quote_number(value, ticker.bid) || jf::at(error_, "best_bid");
    if (key == "best_ask") return quote_number(value, ticker.ask) || jf::at(error_, "best_ask");
    if (key == "best_bid_size") return quote_number(value, ticker.bid_size) || jf::at(error_, "best_bid_size");
    if (key == "best_ask_size") return quote_number(value, ticker.ask_size) || jf::at(error_, "best_ask_size");
    if (key == "time") {
      std::string_view text;
      return (jf::text(value, text, error_) && optional_time(times_, text, ticker.time, error_)) || jf::at(error_, "time");
    }
    return true;
  }

  bool exchange_book(ondemand::object& root) {
    CoinbaseBook book;
    book.snapshot = name_ == "snapshot";
    unsigned lists = 0;
    const bool complete = jf::fields(root, error_, [&](Key key, Value value) {
      if (key == "product_id") return jf::text(value, book.product, error_) || jf::at(error_, "product_id");
      if (key == "time") {
        std::string_view text;
        return (jf::text(value, text, error_) && optional_time(times_, text, book.time, error_)) || jf::at(error_, "time");
      }
      if (book.snapshot && (key == "bids" || key == "asks")) {
        const bool bid = key == "bids";
        lists |= bid ? 1 : 2;
        return jf::elements(value, error_, [&](std::size_t, Value level) { return snapshot_level(level, bid); }) ||
               jf::at(error_, bid ? "bids" : "asks");
      }
      if (!book.snapshot && key == "changes") {
        lists |= 3;
        return jf::elements(value, error_, [&](std::size_t, Value level) { return change(level); }) || jf::at(error_, "changes");
      }
      return true;
    });
    book.count = frame_.levels.size();
    frame_.books.push_back(book);
    if (!complete) return false;
    if (book.product.empty()) return jf::fail(error_, "missing", "product_id is missing", "/product_id");
    if (lists != 3) return jf::fail(error_, "missing", book.snapshot ? "bids or asks are missing" : "changes are missing");
    return true;
  }

  bool snapshot_level(Value element, bool bid) {
    CoinbaseLevel level;
    level.bid = bid;
    std::size_t bytes = 0;
    return tuple(element, 2, 2, [&](std::size_t i, std::string_view text) { return number(level, i, text, bytes); }) &&
           add_level(level, bytes);
  }

  bool change(Value element) {
    CoinbaseLevel level;
    std::size_t bytes = 0;
    return tuple(element, 3, 3, [&](std::size_t i, std::string_view text) {
             return i == 0 ? side(text, "buy", "sell", level.bid) : number(level, i - 1, text, bytes);
           }) && add_level(level, bytes);
  }

  bool number(CoinbaseLevel& level, std::size_t index, std::string_view text, std::size_t& bytes) {
    bytes += coinbase_text_bytes(text);
    return index == 0 ? jf::parse_decimal(text, level.price, error_) : parse_size(text, level.size, error_);
  }

  template <class Each>
  bool tuple(Value element, std::size_t least, std::size_t most, Each&& each) {
    std::size_t count = 0;
    const bool complete = jf::elements(element, error_, [&](std::size_t i, Value value) {
      std::string_view text;
      ++count;
      return i >= most || (jf::text(value, text, error_) && each(i, text));
    });
    if (!complete) return false;
    return (count >= least && count <= most) ||
           jf::fail(error_, "value", "expected " + std::to_string(least) + " elements, found " + std::to_string(count));
  }

  bool exchange_error(ondemand::object& root) {
    return jf::fields(root, error_, [&](Key key, Value value) {
      if (key != "message" && key != "reason") return true;
      std::string_view text;
      if (!jf::text(value, text, error_)) return jf::at(error_, jf::key_text(key));
      if (!frame_.error.empty()) frame_.error += ": ";
      frame_.error += text;
      return true;
    });
  }

  jf::TimeReader& times_;
  CoinbaseFrame& frame_;
  FrameError& error_;
  std::string_view name_;
  bool events_seen_ = false;
};

}  // namespace

struct CoinbaseReader::Impl {
  jf::Input input;
  jf::TimeReader times;
};

CoinbaseReader::CoinbaseReader() : impl_(std::make_unique<Impl>()) {}
CoinbaseReader::~CoinbaseReader() = default;

bool CoinbaseReader::read(std::string_view bytes, CoinbaseFrame& frame, FrameError& error) {
  return read_fast(bytes, frame) || read_general(bytes, frame, error);
}

bool CoinbaseReader::read_fast(std::string_view bytes, CoinbaseFrame& frame) {
  frame.clear();
  return coinbase_read_fast(bytes, impl_->times, frame);
}

bool CoinbaseReader::read_general(std::string_view bytes, CoinbaseFrame& frame, FrameError& error) {
  frame.clear();
  error = {};
  ondemand::document document;
  if (const auto code = impl_->input.open(bytes, document)) return jf::fail(error, code, "a JSON object");
  return General(impl_->times, frame, error).read(document);
}

}  // namespace utp
