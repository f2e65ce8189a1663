// What the Kraken collector says to the venue (websocket v2); the link itself is the host's WebSocket client.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "connector/collector.h"

namespace utp {

struct KrakenSettings {
  std::uint32_t book_depth = 25;      // 10, 25, 100, 500 or 1000 levels a side
  std::string ticker_trigger = "bbo"; // "bbo": a ticker for each change of the best bid or offer; "trades": for each trade
};
Result<KrakenSettings> parse_kraken_settings(std::string_view json);

// One message per channel. A ticker's WantedStream::variant is the event that triggers it.
enum class KrakenRequest : std::uint8_t { kSubscribe, kUnsubscribe };
std::vector<std::string> kraken_requests(KrakenRequest request, std::span<const WantedStream> streams, SymbolMap& symbols,
                                         const KrakenSettings& settings);

Result<std::unique_ptr<Collector>> make_kraken_collector(CollectorContext context);

}  // namespace utp
