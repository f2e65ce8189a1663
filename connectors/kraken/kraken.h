// Kraken: public spot market data of the websocket v2, and of the older v1 in captures.
#pragma once

#include "connector/collector.h"

namespace utp {

BuiltinConnector kraken_connector();

}  // namespace utp
