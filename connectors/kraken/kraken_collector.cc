#include "connectors/kraken/kraken_collector.h"

#include <algorithm>

#include <simdjson.h>

#include "connector/websocket.h"
#include "connectors/kraken/kraken.h"
#include "connectors/kraken/kraken_mapper.h"
#include "core/json_writer.h"

namespace utp {

Result<KrakenSettings> parse_kraken_settings(std::string_view json) {
  KrakenSettings settings;
  if (json.empty()) return settings;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (parser.parse(json.data(), json.size()).get(object)) {
    return fail(Code::kInvalidArgument, "settings of connector kraken: expected an object, found " + std::string(json.substr(0, 64)));
  }
  for (const auto field : object) {
    if (field.key == "book_depth") {
      std::uint64_t depth = 0;
      const bool number = field.value.get(depth) == simdjson::SUCCESS;
      if (!number || (depth != 10 && depth != 25 && depth != 100 && depth != 500 && depth != 1000)) {
        return fail(Code::kInvalidArgument, "settings of connector kraken: book_depth is " + simdjson::to_string(field.value) +
                                                ", the venue has 10, 25, 100, 500 and 1000");
      }
      settings.book_depth = static_cast<std::uint32_t>(depth);
    } else if (field.key == "ticker_trigger") {
      std::string_view trigger;
      if (field.value.get(trigger) || (trigger != "bbo" && trigger != "trades")) {
        return fail(Code::kInvalidArgument, "settings of connector kraken: ticker_trigger is " + simdjson::to_string(field.value) +
                                                ", the venue has \"bbo\" and \"trades\"");
      }
      settings.ticker_trigger = trigger;
    } else {
      return fail(Code::kInvalidArgument, "settings of connector kraken: there is no \"" + std::string(field.key) +
                                              "\"; known are book_depth and ticker_trigger");
    }
  }
  return settings;
}

std::vector<std::string> kraken_requests(KrakenRequest request, std::span<const WantedStream> streams, SymbolMap& symbols,
                                         const KrakenSettings& settings) {
  std::vector<std::string> channels;  // in the order in which they are wanted
  std::string trigger = settings.ticker_trigger;
  for (const auto& stream : streams) {
    if (!stream.symbol.empty() && std::find(channels.begin(), channels.end(), stream.channel) == channels.end()) {
      channels.push_back(stream.channel);
    }
    if (stream.channel == "ticker" && !stream.variant.empty()) trigger = stream.variant;
  }
  const bool subscribe = request == KrakenRequest::kSubscribe;
  std::vector<std::string> messages;
  for (const auto& channel : channels) {
    JsonWriter json(messages.emplace_back());
    json.begin_object().field("method", subscribe ? "subscribe" : "unsubscribe").key("params").begin_object().field("channel", channel);
    json.key("symbol").begin_array();
    for (const auto& stream : streams) {
      if (stream.channel == channel && !stream.symbol.empty()) json.value(symbols.venue(stream.symbol));
    }
    json.end_array();
    if (channel == "book") json.field("depth", settings.book_depth);
    if (channel == "ticker") json.field("event_trigger", trigger);
    if (subscribe) json.field("snapshot", true);
    json.end_object().end_object();
  }
  return messages;
}

Result<std::unique_ptr<Collector>> make_kraken_collector(CollectorContext context) {
  UTP_TRY(auto settings, parse_kraken_settings(context.settings_json));
  WebSocketOptions options;
  options.name = "kraken";
  options.url = "wss://ws.kraken.com/v2";
  auto own = std::make_shared<SymbolMap>();
  own->set_separator("/");
  const auto requests = [symbols = context.symbols, own = std::move(own), settings](KrakenRequest request, std::span<const WantedStream> streams) {
    return kraken_requests(request, streams, symbols ? *symbols : *own, settings);
  };
  options.subscribe = [requests](std::uint32_t, std::span<const WantedStream> streams) { return requests(KrakenRequest::kSubscribe, streams); };
  options.unsubscribe = [requests](std::span<const WantedStream> streams) { return requests(KrakenRequest::kUnsubscribe, streams); };
  // Tickers that come with trades only are the thin ones already.
  if (settings.ticker_trigger == "trades") context.thinner.erase("ticker");
  options.keep_alive = R"({"method":"ping"})";
  options.keep_alive_ns = 30'000'000'000;
  options.deflate = true;
  return make_websocket_collector(std::move(options), std::move(context));
}

BuiltinConnector kraken_connector() { return {"kraken", make_kraken_collector, make_kraken_mapper}; }

}  // namespace utp
