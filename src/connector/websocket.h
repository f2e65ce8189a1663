// WebSocketCollector: a Collector for venues that speak WebSocket (RFC 6455), with TLS, and HTTP GET for snapshots. A
// connector says where to connect and what to send when a connection is open; everything else is done here.
//
// - The wanted streams are cut into connections of at most RateLimits::subscriptions_per_connection, in order; connection n
//   carries the n-th slice, for as long as the collector lives.
// - Frames: kOpen (address), then kSent for each message of ours, kWs for each message of the venue; kClose (reason) when a
//   connection is gone, and also for an attempt that never opened. kHttp for the answer to a kRequest.
// - A connection that ends for any reason is made again after a random wait that grows (LinkLimits), and subscribed anew.
// - A connection without a byte is asked with a ping; without an answer it is dropped and made again.
// - thin() ends the subscriptions of the channels that have a thinner form and subscribes them as WantedStream::variant, on open
//   connections at once (within the message limit), else when they open; and back in the same way.
// - Commands that answer to an earlier opening of their connection (Command::opens) are dropped. kSend waits for the message limit. kRequest is tried up to request_attempts times; if it fails for good, the
//   command's connection is made again, so that the mapper starts from a clean state. kReconnect closes at once.
// - TLS: at least 1.2, peer verified against the system's roots plus CollectorContext::ca_file, host name checked, SNI sent.
//
// Threads: run() does all the work on its own thread, and blocks in FrameSink::push when the host's queue is full, which
// holds the venue back over TCP. stop() and carry_out() may be called from any thread.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "connector/collector.h"

namespace utp {

struct WebSocketOptions {
  std::string name;  // of the connector, for the log
  // "wss://host[:port]/path"; CollectorContext::endpoint takes its place when it is set. Requests go to the same host (ws
  // becomes http, wss https).
  std::string url;
  // The messages that subscribe `streams` (this connection's slice, or those that change over to their variant); sent in order
  // each time the connection opens.
  std::function<std::vector<std::string>(std::uint32_t connection, std::span<const WantedStream> streams)> subscribe;
  // The messages that end the subscriptions of `streams`. Needed where the manifest has thinner subscriptions.
  std::function<std::vector<std::string>(std::span<const WantedStream> streams)> unsubscribe;
  // Sent on each connection every keep_alive_ns, for venues that want to hear from us in their own words.
  std::string keep_alive;
  std::int64_t keep_alive_ns = 0;
  bool deflate = false;  // offer permessage-deflate
  std::uint32_t request_attempts = 4;
  std::size_t outbox_messages_max = 1024;  // waiting to be sent per connection, and requests; past it the connection is reset
};

// Where a URL points; ws, wss, http and https.
struct Url {
  std::string scheme, host, port, target;  // port is filled in from the scheme; target begins with '/'
  bool tls = false;
  static Result<Url> parse(std::string_view text);
  std::string authority() const;  // host[:port] for a Host header; the default port is left out
};

// `context.wanted` may be empty: one connection without streams then.
Result<std::unique_ptr<Collector>> make_websocket_collector(WebSocketOptions options, CollectorContext context);

// The slices of `wanted`, in order. per_connection 0 = one slice.
std::vector<std::vector<WantedStream>> shard_streams(std::span<const WantedStream> wanted, std::uint32_t per_connection);

}  // namespace utp
