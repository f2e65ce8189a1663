// Coinbase: the public market data of the Advanced Trade websocket, and of the older Exchange feed.
#pragma once

#include "connector/collector.h"

namespace utp {

BuiltinConnector coinbase_connector();

}  // namespace utp
