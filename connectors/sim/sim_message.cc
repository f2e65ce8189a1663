#include "connectors/sim/sim_message.h"

#include <fmt/format.h>

namespace utp::sim {
namespace {

using json_frame::at;
using json_frame::fail;
using Value = json_frame::ondemand::value;

constexpr std::size_t kLevelsMax = 10'000;   // a side of one message
constexpr std::size_t kTickersMax = 256;

bool decimal(Value value, std::optional<Decimal>& out, FrameError& error) {
  json_frame::ondemand::json_type type;
  if (value.type().get(type)) return fail(error, "json", "broken JSON where a number was expected");
  if (type != json_frame::ondemand::json_type::number) return fail(error, "type", "expected a number");
  std::string_view digits;
  Decimal number;
  if (!json_frame::number_text(value, digits, error) || !json_frame::parse_decimal(digits, number, error)) return false;
  out = number;
  return true;
}

template <class T>
bool integer(Value value, std::optional<T>& out, FrameError& error) {
  std::int64_t number = 0;
  const auto code = value.get_int64().get(number);
  if (code || number < 0) return fail(error, "type", "expected a whole number that is not negative");
  out = static_cast<T>(number);
  return true;
}

bool levels(Value value, std::vector<std::pair<Decimal, Decimal>>& out, FrameError& error) {
  return json_frame::elements(value, error, [&](std::size_t index, Value level) {
    if (index == kLevelsMax) return fail(error, "value", fmt::format("more than {} levels", kLevelsMax));
    std::optional<Decimal> pair[2];
    std::size_t count = 0;
    const bool good = json_frame::elements(level, error, [&](std::size_t i, Value number) {
      count = i + 1;
      return i < 2 ? decimal(number, pair[i], error) : fail(error, "value", "expected [price, size]");
    });
    if (!good) return false;
    if (count != 2) return fail(error, "value", "expected [price, size]");
    out.emplace_back(*pair[0], *pair[1]);
    return true;
  });
}

}  // namespace

bool MessageReader::read(std::string_view bytes, Message& m, FrameError& error) {
  // The vectors keep their memory.
  auto bids = std::move(m.bids), asks = std::move(m.asks);
  auto tickers = std::move(m.tickers);
  bids.clear();
  asks.clear();
  tickers.clear();
  m = Message{};
  m.bids = std::move(bids);
  m.asks = std::move(asks);
  m.tickers = std::move(tickers);

  json_frame::ondemand::document document;
  if (const auto code = input_.open(bytes, document)) return fail(error, code, "an object");
  json_frame::ondemand::object object;
  if (const auto code = document.get_object().get(object)) return fail(error, code, "an object");
  struct Text {
    std::string_view name;
    std::string_view Message::*member;
  };
  struct Number {
    std::string_view name;
    std::optional<Decimal> Message::*member;
  };
  static constexpr Number kNumbers[] = {
      {"bid", &Message::bid},     {"ask", &Message::ask},     {"bid_size", &Message::bid_size}, {"ask_size", &Message::ask_size},
      {"price", &Message::price}, {"size", &Message::size},   {"iv", &Message::iv},             {"delta", &Message::delta},
      {"gamma", &Message::gamma}, {"theta", &Message::theta}, {"vega", &Message::vega},         {"rho", &Message::rho},
      {"spot", &Message::spot},   {"k", &Message::strike},    {"mult", &Message::multiplier},   {"last", &Message::last},
      {"mark", &Message::mark},   {"vol", &Message::volume},  {"oi", &Message::open_interest},  {"sentiment", &Message::sentiment}};
  static constexpr Text kTexts[] = {
      {"kind", &Message::kind},         {"hash", &Message::hash},         {"side", &Message::side},
      {"channel", &Message::wanted_channel}, {"und", &Message::underlying}, {"exp", &Message::expiration},
      {"right", &Message::right},       {"headline", &Message::headline}, {"source", &Message::source},
      {"url", &Message::url},           {"event", &Message::event},       {"country", &Message::country},
      {"actual", &Message::actual},     {"forecast", &Message::forecast}, {"previous", &Message::previous},
      {"unit", &Message::unit},         {"importance", &Message::importance}};
  const bool good = json_frame::fields(object, error, [&](json_frame::ondemand::raw_json_string key, Value value) {
    const auto put = [&](bool fine, std::string_view name) { return fine || at(error, name); };
    if (key == "n") return put(integer(value, m.n, error), "n");
    if (key == "ch") return put(json_frame::text(value, m.channel, error), "ch");
    if (key == "ts") return put(integer(value, m.ts, error), "ts");
    if (key == "sym") return put(json_frame::text(value, m.symbol, error), "sym");
    for (const Number& number : kNumbers) {
      if (key == number.name) return put(decimal(value, m.*number.member, error), number.name);
    }
    if (key == "bids") return m.has_bids = true, put(levels(value, m.bids, error), "bids");
    if (key == "asks") return m.has_asks = true, put(levels(value, m.asks, error), "asks");
    if (key == "id") return put(integer(value, m.id, error), "id");
    if (key == "rev") return put(integer(value, m.rev, error), "rev");
    for (const Text& text : kTexts) {
      if (key == text.name) return put(json_frame::text(value, m.*text.member, error), text.name);
    }
    if (key == "at") return put(integer(value, m.at, error), "at");
    if (key == "price_digits") return put(integer(value, m.price_digits, error), "price_digits");
    if (key == "size_digits") return put(integer(value, m.size_digits, error), "size_digits");
    if (key == "available") {
      return put(!value.get_bool().get(m.available) || fail(error, "type", "expected true or false"), "available");
    }
    if (key == "tickers") {
      return put(json_frame::elements(value, error, [&](std::size_t index, Value ticker) {
                   if (index == kTickersMax) return fail(error, "value", fmt::format("more than {} tickers", kTickersMax));
                   return json_frame::text(ticker, m.tickers.emplace_back(), error);
                 }), "tickers");
    }
    return true;  // a field of a later protocol
  });
  if (!good) return false;
  const char* behind = nullptr;
  if (!document.current_location().get(behind)) return fail(error, "json", "something follows the object");
  return true;
}

}  // namespace utp::sim
