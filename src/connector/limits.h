// Limits of a connector instance towards its venue, from its manifest and configuration. 0 = no limit.
#pragma once

#include <cstdint>

namespace utp {

struct RateLimits {
  double connections_per_minute = 60;
  double messages_per_second = 10;                   // sent by us, over all connections
  std::uint32_t subscriptions_per_connection = 100;  // wanted streams that share a connection; decides the sharding
  double events_per_second = 0;                      // out of the mapper; above it the collector is held back
};

// How a connection is made and given up.
struct LinkLimits {
  std::int64_t connect_timeout_ns = 10'000'000'000;  // name, TCP, TLS and handshake together
  std::int64_t silence_ns = 15'000'000'000;          // no bytes for so long: ask with a ping
  std::int64_t ping_timeout_ns = 5'000'000'000;      // no answer for so long: the socket is dead, reconnect
  std::int64_t backoff_min_ns = 250'000'000;         // the n-th wait is random in [0, min(max, min * 2^n)]
  std::int64_t backoff_max_ns = 30'000'000'000;
  std::int64_t stable_ns = 10'000'000'000;           // open for so long: the backoff starts anew
  std::uint64_t message_bytes_max = 32ull << 20;     // a longer message closes the connection
};

}  // namespace utp
