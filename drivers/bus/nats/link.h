// One connection to the server, shared by everything of a bus. It does not come back by itself: when it is gone every call on it
// fails at once, and Server::link() makes a new one. Threads: all calls may come from any.
#pragma once

#include <nats/nats.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "drivers/bus/nats/nats_bus.h"

namespace utp::nats_bus {

struct Free {
  void operator()(natsMsg* p) const { natsMsg_Destroy(p); }
  void operator()(natsOptions* p) const { natsOptions_Destroy(p); }
  void operator()(jsStreamInfo* p) const { jsStreamInfo_Destroy(p); }
  void operator()(jsConsumerInfo* p) const { jsConsumerInfo_Destroy(p); }
  void operator()(jsPubAck* p) const { jsPubAck_Destroy(p); }
};
using Message = std::unique_ptr<natsMsg, Free>;

// Ends the description of a stream, with a number of its own behind it.
inline constexpr std::string_view kMadeMark = " made=";

// A stream as the server tells of it.
struct StreamFacts {
  std::string name, description;
  std::string made;  // tells a stream from a later one of its name
  std::uint64_t messages = 0, bytes = 0, first = 0, last = 0;
  Timestamp first_time, last_time;
  bool is_clustered = false;
  std::int64_t replicas = 1;
  std::uint64_t bytes_max = 0;

  // The newest sequence that is gone.
  std::uint64_t floor() const { return first == 0 ? last : first - 1; }
};
StreamFacts facts_of(const jsStreamInfo& info);

class Link;

// One subject (with wildcards) of a connection. One thread at a time.
class Listener {
 public:
  static Result<std::unique_ptr<Listener>> open(std::shared_ptr<Link> link, const std::string& subject);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;
  // NATS_TIMEOUT when nothing came; NATS_NO_RESPONDERS: a request found nobody, and the library does not say which.
  natsStatus next(Message& message, std::int64_t timeout_ms);

 private:
  Listener(std::shared_ptr<Link> link, natsSubscription* subscription) : link_(std::move(link)), subscription_(subscription) {}
  std::shared_ptr<Link> link_;
  natsSubscription* subscription_;
};

class Link {
 public:
  static Result<std::shared_ptr<Link>> connect(const NatsBusOptions& options);
  ~Link();
  Link(const Link&) = delete;
  Link& operator=(const Link&) = delete;

  bool is_alive() const;
  // Sends what is buffered and waits until the server has read it.
  Status flush();
  // Nothing where there is no such stream.
  Result<std::optional<StreamFacts>> stream(const std::string& name);
  // The first message of the stream at or behind this sequence; nothing where there is none. `subject` is the stream's.
  Result<std::optional<Timestamp>> time_at(const std::string& stream, const std::string& subject, std::uint64_t sequence);

  // Everything up to and with this sequence.
  Status purge(const std::string& stream, std::uint64_t sequence);

  // Ends a subscription. The library's reading thread may be using it without a reference of its own: it is freed when a later
  // flush() has shown that it is not any more, or with the connection.
  void retire(natsSubscription* subscription);

  natsConnection* connection() const { return connection_; }
  jsCtx* js() const { return js_; }
  // Of the server process that is connected, new with each of its starts.
  const std::string& run() const { return run_; }
  const std::string& place() const { return place_; }  // for messages: "nats host:port"
  std::int64_t answer_timeout_ms() const { return answer_timeout_ms_; }
  jsOptions js_options() const;
  // What a call of the library that failed means here.
  Error error(std::string_view doing, natsStatus status, int code = 0) const;

 private:
  explicit Link(const NatsBusOptions& options);
  static void on_error(natsConnection* connection, natsSubscription* subscription, natsStatus status, void* self);

  std::string place_, run_;
  std::int64_t answer_timeout_ms_;
  natsConnection* connection_ = nullptr;
  jsCtx* js_ = nullptr;
  mutable std::mutex mutex_;
  std::vector<natsSubscription*> retired_;
  mutable std::string refused_;  // what the server said of our rights, until an error tells it
};

}  // namespace utp::nats_bus
