#include <charconv>

#include "connector/json_frame.h"
#include "connectors/kraken/kraken_book.h"
#include "connectors/kraken/kraken_frame.h"

namespace utp {
namespace {

namespace jf = json_frame;
namespace ondemand = simdjson::ondemand;

using Key = ondemand::raw_json_string;
using Value = ondemand::value;

constexpr std::uint32_t kDepthMax = 1'000'000;

bool one_of(std::string_view text, std::initializer_list<std::string_view> names) {
  for (const std::string_view name : names) {
    if (text == name) return true;
  }
  return false;
}

std::string quoted(std::string_view text) { return "\"" + std::string(text.substr(0, 64)) + "\""; }

class Reading {
 public:
  Reading(jf::TimeReader& times, KrakenFrame& frame, FrameError& error) : times_(times), frame_(frame), error_(error) {}

  bool read(ondemand::document& document) {
    ondemand::json_type type;
    if (const auto code = document.type().get(type)) return jf::fail(error_, code, "an object or array");
    bool good = false;
    if (type == ondemand::json_type::array) {
      ondemand::array root;
      if (const auto code = document.get_array().get(root)) return jf::fail(error_, code, "an array");
      frame_.version = KrakenVersion::kV1;
      good = v1_data(root);
    } else {
      ondemand::object root;
      if (const auto code = document.get_object().get(root)) return jf::fail(error_, code, "an object or array");
      good = object(root);
    }
    if (!good) return false;
    return document.current_location().error() == simdjson::OUT_OF_BOUNDS ||
           jf::fail(error_, "json", "expected the end of the frame");
  }

 private:
  // What kind of object this is, by the first of the three names that it has.
  bool object(ondemand::object& root) {
    static constexpr const char* kNames[] = {"channel", "method", "event"};
    for (const char* const name : kNames) {
      std::string_view value;
      const auto code = root.find_field_unordered(name).get_string().get(value);
      if (code == simdjson::NO_SUCH_FIELD) continue;
      if (code) {
        jf::fail(error_, code, "a name");
        return jf::at(error_, std::string_view(name));
      }
      bool reset = false;
      if (const auto failed = root.reset().get(reset)) return jf::fail(error_, failed, "an object");
      if (name == kNames[0]) return v2_channel(root, value);
      if (name == kNames[1]) return v2_method(root, value);
      frame_.version = KrakenVersion::kV1;
      return v1_event(root, value);
    }
    return jf::fail(error_, "missing", "neither channel, method nor event is there");
  }

  bool skip(ondemand::object& root) {
    return jf::fields(root, error_, [](Key, Value) { return true; });
  }

  // ---- v2 ----

  bool v2_channel(ondemand::object& root, std::string_view channel) {
    if (channel == "book") frame_.kind = KrakenKind::kBook;
    else if (channel == "trade") frame_.kind = KrakenKind::kTrades;
    else if (channel == "ticker") frame_.kind = KrakenKind::kTickers;
    else if (one_of(channel, {"heartbeat", "status", "instrument", "ohlc", "level3", "executions", "balances"})) return skip(root);
    else return jf::fail(error_, "channel", "unknown channel " + quoted(channel), "/channel");
    std::string_view type;
    bool data_seen = false;
    const bool complete = jf::fields(root, error_, [&](Key key, Value value) {
      if (key == "type") return jf::text(value, type, error_) || jf::at(error_, "type");
      if (key != "data") return true;
      data_seen = true;
      return jf::elements(value, error_, [&](std::size_t, Value element) {
               switch (frame_.kind) {
                 case KrakenKind::kBook: return v2_book(element);
                 case KrakenKind::kTrades: return v2_trade(element);
                 default: return v2_ticker(element);
               }
             }) || jf::at(error_, "data");
    });
    if (!complete) return false;
    if (!data_seen) return jf::fail(error_, "missing", "data is missing", "/data");
    if (type != "snapshot" && type != "update") {
      return jf::fail(error_, type.empty() ? "missing" : "value", "expected \"snapshot\" or \"update\"", "/type");
    }
    const bool snapshot = type == "snapshot";
    for (auto& trade : frame_.trades) trade.snapshot = snapshot;
    for (auto& ticker : frame_.tickers) ticker.snapshot = snapshot;
    for (std::size_t i = 0; i < frame_.books.size(); ++i) {
      frame_.books[i].snapshot = snapshot;
      if (!frame_.books[i].checksum) {
        return jf::fail(error_, "missing", "checksum is missing", "/data/" + std::to_string(i) + "/checksum");
      }
    }
    return true;
  }

  bool v2_book(Value element) {
    KrakenBookRead book;
    book.first = frame_.levels.size();
    const bool complete = jf::field_objects(element, error_, [&](Key key, Value value) {
      if (key == "symbol") return jf::text(value, book.symbol, error_) || jf::at(error_, "symbol");
      if (key == "bids") return v2_levels(value, true) || jf::at(error_, "bids");
      if (key == "asks") return v2_levels(value, false) || jf::at(error_, "asks");
      if (key == "checksum") return checksum(value, book.checksum) || jf::at(error_, "checksum");
      if (key == "timestamp") return time(value, book.time) || jf::at(error_, "timestamp");
      return true;
    });
    book.count = frame_.levels.size() - book.first;
    frame_.books.push_back(book);
    return complete && (!book.symbol.empty() || jf::fail(error_, "missing", "symbol is missing", "/symbol"));
  }

  bool v2_levels(Value list, bool bid) {
    return jf::elements(list, error_, [&](std::size_t, Value element) {
      KrakenLevelRead level;
      level.bid = bid;
      const bool complete = jf::field_objects(element, error_, [&](Key key, Value value) {
        if (key == "price") return number(value, level.price_text, level.price) || jf::at(error_, "price");
        if (key == "qty") return size(value, level.size_text, level.size) || jf::at(error_, "qty");
        return true;
      });
      return complete && add_level(level);
    });
  }

  bool add_level(const KrakenLevelRead& level) {
    if (level.price_text.empty() || level.size_text.empty()) return jf::fail(error_, "missing", "a level needs price and size");
    if (level.price_text.size() + level.size_text.size() > KrakenBook::kDigitsMax) {
      return jf::fail(error_, "value", "numbers of more than " + std::to_string(KrakenBook::kDigitsMax) + " characters");
    }
    frame_.levels.push_back(level);
    return true;
  }

  bool v2_trade(Value element) {
    KrakenTradeRead trade;
    unsigned seen = 0;
    const bool complete = jf::field_objects(element, error_, [&](Key key, Value value) {
      std::string_view text;
      if (key == "symbol") return seen |= 1, jf::text(value, trade.symbol, error_) || jf::at(error_, "symbol");
      if (key == "price") return seen |= 2, number(value, text, trade.price) || jf::at(error_, "price");
      if (key == "qty") return seen |= 4, size(value, text, trade.size) || jf::at(error_, "qty");
      if (key == "side") return seen |= 8, (jf::text(value, text, error_) && side(text, "buy", "sell", trade.buy)) || jf::at(error_, "side");
      if (key == "trade_id") return seen |= 16, jf::number_text(value, trade.trade_id, error_) || jf::at(error_, "trade_id");
      if (key == "timestamp") {
        std::optional<Timestamp> at;
        if (!time(value, at)) return jf::at(error_, "timestamp");
        trade.time = *at;
        seen |= 32;
      }
      return true;
    });
    if (!complete) return false;
    if (seen != 63) return jf::fail(error_, "missing", "a trade needs symbol, price, qty, side, trade_id and timestamp");
    frame_.trades.push_back(trade);
    return true;
  }

  bool v2_ticker(Value element) {
    KrakenTickerRead ticker;
    const bool complete = jf::field_objects(element, error_, [&](Key key, Value value) {
      if (key == "symbol") return jf::text(value, ticker.symbol, error_) || jf::at(error_, "symbol");
      if (key == "bid") return optional_number(value, ticker.bid) || jf::at(error_, "bid");
      if (key == "ask") return optional_number(value, ticker.ask) || jf::at(error_, "ask");
      if (key == "bid_qty") return optional_number(value, ticker.bid_size) || jf::at(error_, "bid_qty");
      if (key == "ask_qty") return optional_number(value, ticker.ask_size) || jf::at(error_, "ask_qty");
      if (key == "timestamp") return time(value, ticker.time) || jf::at(error_, "timestamp");
      return true;
    });
    return complete && add_ticker(ticker);
  }

  // A price of 0 stands for an empty side.
  bool add_ticker(KrakenTickerRead& ticker) {
    if (ticker.symbol.empty()) return jf::fail(error_, "missing", "symbol is missing", "/symbol");
    if (!ticker.bid || ticker.bid->is_zero()) ticker.bid.reset(), ticker.bid_size.reset();
    if (!ticker.ask || ticker.ask->is_zero()) ticker.ask.reset(), ticker.ask_size.reset();
    frame_.tickers.push_back(ticker);
    return true;
  }

  bool v2_method(ondemand::object& root, std::string_view method) {
    if (!one_of(method, {"subscribe", "unsubscribe", "pong", "ping"})) {
      return jf::fail(error_, "channel", "unknown method " + quoted(method), "/method");
    }
    const bool subscribe = method == "subscribe";
    bool success = true;
    std::string_view message, channel, symbol;
    std::uint32_t depth = 0;
    const bool complete = jf::fields(root, error_, [&](Key key, Value value) {
      if (key == "success") return boolean(value, success) || jf::at(error_, "success");
      if (key == "error") return jf::text(value, message, error_) || jf::at(error_, "error");
      if (key != "result") return true;
      return jf::field_objects(value, error_, [&](Key k, Value v) {
               if (k == "channel") return jf::text(v, channel, error_) || jf::at(error_, "channel");
               if (k == "symbol") return jf::text(v, symbol, error_) || jf::at(error_, "symbol");
               if (k == "depth") return depth_number(v, depth) || jf::at(error_, "depth");
               return true;
             }) || jf::at(error_, "result");
    });
    if (!complete) return false;
    if (!success) {
      frame_.kind = KrakenKind::kError;
      frame_.error = message.empty() ? std::string(method) + " failed" : std::string(message);
      frame_.refused = subscribe;
    } else if (channel == "book" && method != "pong") {
      frame_.kind = subscribe ? KrakenKind::kBookSubscribed : KrakenKind::kBookUnsubscribed;
      frame_.symbol = symbol;
      frame_.depth = depth;
    }
    return true;
  }

  // ---- v1 ----

  bool v1_event(ondemand::object& root, std::string_view event) {
    if (!one_of(event, {"heartbeat", "systemStatus", "subscriptionStatus", "pong", "error"})) {
      return jf::fail(error_, "channel", "unknown event " + quoted(event), "/event");
    }
    const bool subscription = event == "subscriptionStatus";
    std::string_view status, channel, pair, message;
    const bool complete = jf::fields(root, error_, [&](Key key, Value value) {
      if (key == "status") return jf::text(value, status, error_) || jf::at(error_, "status");
      if (key == "errorMessage") return jf::text(value, message, error_) || jf::at(error_, "errorMessage");
      if (subscription && key == "channelName") return jf::text(value, channel, error_) || jf::at(error_, "channelName");
      if (subscription && key == "pair") return jf::text(value, pair, error_) || jf::at(error_, "pair");
      return true;
    });
    if (!complete) return false;
    if (event == "error" || (subscription && status == "error")) {
      frame_.kind = KrakenKind::kError;
      frame_.error = message.empty() ? "the venue reports an error" : std::string(message);
      frame_.refused = true;
    } else if (subscription && channel.starts_with("book")) {
      frame_.kind = status == "unsubscribed" ? KrakenKind::kBookUnsubscribed : KrakenKind::kBookSubscribed;
      frame_.symbol = pair;
      frame_.depth = depth_of(channel);
    }
    return true;
  }

  static std::uint32_t depth_of(std::string_view channel) {
    const std::size_t dash = channel.find('-');
    std::uint32_t depth = 0;
    if (dash != channel.npos) std::from_chars(channel.data() + dash + 1, channel.data() + channel.size(), depth);
    return std::min(depth, kDepthMax);
  }

  // [channel id, payload..., channel name, pair]
  bool v1_data(ondemand::array& root) {
    std::string_view name, pair;
    std::size_t count = 0;
    for (auto element : root) {
      Value value;
      if (const auto code = std::move(element).get(value)) return jf::fail(error_, code, "an element");
      ondemand::json_type type;
      if (const auto code = value.type().get(type)) return jf::fail(error_, code, "an element");
      name = pair;
      pair = {};
      if (type == ondemand::json_type::string && !jf::text(value, pair, error_)) return jf::at(error_, count);
      ++count;
    }
    if (count < 4 || name.empty() || pair.empty()) {
      return jf::fail(error_, "missing", "expected [channel id, payload, channel name, pair]");
    }
    const std::string_view kind = name.substr(0, name.find('-'));
    if (kind == "book") frame_.kind = KrakenKind::kBook;
    else if (kind == "trade") frame_.kind = KrakenKind::kTrades;
    else if (kind == "ticker") frame_.kind = KrakenKind::kTickers;
    else if (one_of(kind, {"spread", "ohlc"})) return true;
    else return jf::fail(error_, "channel", "unknown channel " + quoted(name), "/" + std::to_string(count - 2));
    bool reset = false;
    if (const auto code = root.reset().get(reset)) return jf::fail(error_, code, "an array");

    KrakenBookRead book;
    book.symbol = pair;
    book.depth = depth_of(name);
    KrakenTickerRead ticker;
    ticker.symbol = pair;
    std::size_t index = 0;
    bool good = true;
    bool seen = false;
    for (auto element : root) {
      Value value;
      if (const auto code = std::move(element).get(value)) return jf::fail(error_, code, "an element");
      if (index > 0 && index + 2 < count) {
        switch (frame_.kind) {
          case KrakenKind::kBook: good = v1_book(value, book, seen); break;
          case KrakenKind::kTrades: good = v1_trades(value, pair); break;
          default: good = v1_ticker(value, ticker); break;
        }
        if (!good) {
          jf::at(error_, index);
          break;
        }
      }
      ++index;
    }
    if (frame_.kind == KrakenKind::kBook) {
      book.count = frame_.levels.size();
      frame_.books.push_back(book);
      if (good && !seen) return jf::fail(error_, "missing", "neither bids nor asks are there", "/1");
      if (good && !book.snapshot && !book.checksum) return jf::fail(error_, "missing", "the checksum \"c\" is missing");
    }
    return good && (frame_.kind != KrakenKind::kTickers || add_ticker(ticker));
  }

  bool v1_book(Value payload, KrakenBookRead& book, bool& seen) {
    return jf::field_objects(payload, error_, [&](Key key, Value value) {
      for (const char* const name : {"a", "b", "as", "bs"}) {
        if (key != name) continue;
        seen = true;
        if (name[1] != '\0') book.snapshot = true;
        return v1_levels(value, name[0] == 'b', book.time) || jf::at(error_, std::string_view(name));
      }
      if (key == "c") return checksum(value, book.checksum) || jf::at(error_, "c");
      return true;
    });
  }

  // [price, size, time] and for republished levels a fourth element
  bool v1_levels(Value list, bool bid, std::optional<Timestamp>& newest) {
    return jf::elements(list, error_, [&](std::size_t, Value element) {
      KrakenLevelRead level;
      level.bid = bid;
      std::size_t count = 0;
      const bool complete = jf::elements(element, error_, [&](std::size_t i, Value value) {
        ++count;
        if (i == 0) return number(value, level.price_text, level.price);
        if (i == 1) return size(value, level.size_text, level.size);
        if (i != 2) return true;
        Timestamp at;
        if (!unix_time(value, at)) return false;
        if (!newest || at > *newest) newest = at;
        return true;
      });
      if (!complete) return false;
      if (count < 3) return jf::fail(error_, "missing", "a level needs price, size and time");
      return add_level(level);
    });
  }

  // [[price, size, time, side, order type, miscellaneous], ...]
  bool v1_trades(Value list, std::string_view pair) {
    return jf::elements(list, error_, [&](std::size_t, Value element) {
      KrakenTradeRead trade;
      trade.symbol = pair;
      std::size_t count = 0;
      const bool complete = jf::elements(element, error_, [&](std::size_t i, Value value) {
        std::string_view text;
        ++count;
        switch (i) {
          case 0: return number(value, text, trade.price);
          case 1: return size(value, text, trade.size);
          case 2: return unix_time(value, trade.time);
          case 3: return jf::text(value, text, error_) && side(text, "b", "s", trade.buy);
          default: return true;
        }
      });
      if (!complete) return false;
      if (count < 4) return jf::fail(error_, "missing", "a trade needs price, size, time and side");
      frame_.trades.push_back(trade);
      return true;
    });
  }

  // {"a": [price, whole lots, size], "b": ..., ...}
  bool v1_ticker(Value payload, KrakenTickerRead& ticker) {
    return jf::field_objects(payload, error_, [&](Key key, Value value) {
      const bool bid = key == "b";
      if (!bid && key != "a") return true;
      return jf::elements(value, error_, [&](std::size_t i, Value number_value) {
               if (i == 0) return optional_number(number_value, bid ? ticker.bid : ticker.ask);
               if (i == 2) return optional_number(number_value, bid ? ticker.bid_size : ticker.ask_size);
               return true;
             }) || jf::at(error_, bid ? "b" : "a");
    });
  }

  // ---- values ----

  bool number(Value value, std::string_view& text, Decimal& out) {
    return jf::number_text(value, text, error_) && jf::parse_decimal(text, out, error_);
  }
  bool size(Value value, std::string_view& text, Decimal& out) {
    return number(value, text, out) &&
           (out.mantissa() >= 0 || jf::fail(error_, "value", "expected a size of 0 or more, found " + std::string(text)));
  }
  bool optional_number(Value value, std::optional<Decimal>& out) {
    bool null = false;
    if (const auto code = value.is_null().get(null)) return jf::fail(error_, code, "a number");
    if (null) return true;
    std::string_view text;
    Decimal number_read;
    if (!size(value, text, number_read)) return false;
    out = number_read;
    return true;
  }
  bool boolean(Value value, bool& out) {
    const auto code = value.get_bool().get(out);
    return code == simdjson::SUCCESS || jf::fail(error_, code, "true or false");
  }
  bool checksum(Value value, std::optional<std::uint32_t>& out) {
    std::string_view text;
    if (!jf::number_text(value, text, error_)) return false;
    std::uint32_t parsed = 0;
    const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), parsed);
    if (text.empty() || failed != std::errc{} || end != text.data() + text.size()) {
      return jf::fail(error_, "value", "expected a 32-bit checksum, found " + quoted(text));
    }
    out = parsed;
    return true;
  }
  bool depth_number(Value value, std::uint32_t& out) {
    std::uint64_t parsed = 0;
    if (const auto code = value.get_uint64().get(parsed)) return jf::fail(error_, code, "a depth");
    out = static_cast<std::uint32_t>(std::min<std::uint64_t>(parsed, kDepthMax));
    return true;
  }
  bool time(Value value, std::optional<Timestamp>& out) {
    std::string_view text;
    if (!jf::text(value, text, error_)) return false;
    out = times_.parse(text);
    return out.has_value() || jf::fail(error_, "value", "expected an RFC 3339 time, found " + quoted(text));
  }
  bool unix_time(Value value, Timestamp& out) {
    std::string_view text;
    if (!jf::number_text(value, text, error_)) return false;
    const auto parsed = Timestamp::parse_unix_seconds(text);
    if (!parsed) return jf::fail(error_, "value", "expected seconds since 1970, found " + quoted(text));
    out = *parsed;
    return true;
  }
  bool side(std::string_view text, std::string_view yes, std::string_view no, bool& out) {
    out = text == yes;
    return out || text == no ||
           jf::fail(error_, "value", "expected \"" + std::string(yes) + "\" or \"" + std::string(no) + "\", found " + quoted(text));
  }

  jf::TimeReader& times_;
  KrakenFrame& frame_;
  FrameError& error_;
};

}  // namespace

struct KrakenReader::Impl {
  jf::Input input;
  jf::TimeReader times;
};

KrakenReader::KrakenReader() : impl_(std::make_unique<Impl>()) {}
KrakenReader::~KrakenReader() = default;

bool KrakenReader::read(std::string_view bytes, KrakenFrame& frame, FrameError& error) {
  frame.clear();
  error = {};
  ondemand::document document;
  if (const auto code = impl_->input.open(bytes, document)) return jf::fail(error, code, "a JSON object or array");
  return Reading(impl_->times, frame, error).read(document);
}

}  // namespace utp
