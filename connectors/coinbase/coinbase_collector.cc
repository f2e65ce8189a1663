#include "connectors/coinbase/coinbase_collector.h"

#include <algorithm>

#include "connector/websocket.h"
#include "connectors/coinbase/coinbase.h"
#include "connectors/coinbase/coinbase_mapper.h"
#include "core/json_writer.h"

namespace utp {

std::vector<std::string> coinbase_subscriptions(std::span<const WantedStream> streams, SymbolMap& symbols) {
  std::vector<std::string> channels;  // in the order in which they are wanted
  for (const auto& stream : streams) {
    if (!stream.symbol.empty() && std::find(channels.begin(), channels.end(), stream.channel) == channels.end()) {
      channels.push_back(stream.channel);
    }
  }
  std::vector<std::string> messages{R"({"type":"subscribe","channel":"heartbeats"})"};
  for (const auto& channel : channels) {
    JsonWriter json(messages.emplace_back());
    json.begin_object().field("type", "subscribe").key("product_ids").begin_array();
    for (const auto& stream : streams) {
      if (stream.channel == channel && !stream.symbol.empty()) json.value(symbols.venue(stream.symbol));
    }
    json.end_array().field("channel", channel).end_object();
  }
  return messages;
}

Result<std::unique_ptr<Collector>> make_coinbase_collector(CollectorContext context) {
  WebSocketOptions options;
  options.name = "coinbase";
  options.url = "wss://advanced-trade-ws.coinbase.com";
  options.subscribe = [symbols = context.symbols, own = std::make_shared<SymbolMap>()](std::uint32_t, std::span<const WantedStream> streams) {
    return coinbase_subscriptions(streams, symbols ? *symbols : *own);
  };
  options.deflate = true;
  return make_websocket_collector(std::move(options), std::move(context));
}

BuiltinConnector coinbase_connector() { return {"coinbase", make_coinbase_collector, make_coinbase_mapper}; }

}  // namespace utp
