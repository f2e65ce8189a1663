// What the Coinbase collector says to the venue; the link itself is the host's WebSocket client.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "connector/collector.h"

namespace utp {

// One message per channel, heartbeats always among them: the venue closes a connection that has nothing to say.
std::vector<std::string> coinbase_subscriptions(std::span<const WantedStream> streams, SymbolMap& symbols);

Result<std::unique_ptr<Collector>> make_coinbase_collector(CollectorContext context);

}  // namespace utp
