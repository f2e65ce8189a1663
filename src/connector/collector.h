// Collector: the only code that talks to a venue. It delivers frames and carries out commands; it never publishes.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "connector/frame.h"
#include "connector/limits.h"
#include "connector/mapper.h"
#include "core/clock.h"
#include "core/result.h"

namespace utp {

// Where a collector puts its frames: the host's queue. Thread-safe.
class FrameSink {
 public:
  virtual ~FrameSink() = default;
  // Blocks while the queue is full (backpressure); false when the host is stopping.
  virtual bool push(const Frame& frame) = 0;
};

struct CollectorContext {
  std::vector<WantedStream> wanted;
  std::string endpoint;         // overrides the connector's default; "" = default
  std::string settings_json;    // the connector's own settings
  std::string ca_file;          // extra trust root for TLS, "" = the system's
  const Clock* clock = nullptr; // outlives the collector
  std::uint64_t seed = 0;       // for jitter, and for generators
  SymbolMap* symbols = nullptr; // this collector's own, outlives it; may be null
  std::map<std::string, std::string> thinner;  // channel: what to subscribe in its place when thin() asks for it; the manifest's
  RateLimits rates;             // the manifest's; a collector that connects keeps them
  LinkLimits link;
  std::map<std::string, std::string> secrets;  // by the manifest's name; never logged, never put into a frame
};

class Collector {
 public:
  virtual ~Collector() = default;
  // Runs until stop() or until there is nothing more to come (a file's end: ok). Reconnects by itself. An error means that
  // it cannot go on without a person.
  virtual Status run(FrameSink& sink) = 0;
  virtual void stop() = 0;                  // any thread
  virtual void carry_out(Command command) = 0;  // any thread
  // True when its frames come at the pace at which they are taken (a file, a generator without a clock): under pressure it
  // waits, and nothing of it is conflated.
  virtual bool can_wait() const { return false; }
  // Any thread. True: the bus is behind for longer; what the venue offers in a thinner form (CollectorContext::thinner) is
  // subscribed that way from now on, also after a reconnect. False: everything in full again. Returns the channels that this
  // changes; none for a source that has no such thing. May be called before run().
  virtual std::vector<std::string> thin(bool thin) {
    (void)thin;
    return {};
  }
};

using CollectorFactory = std::function<Result<std::unique_ptr<Collector>>(CollectorContext context)>;

// A connector that is linked in. The manifest is found by id.
struct BuiltinConnector {
  std::string id;  // the folder's name and the manifest's id
  CollectorFactory collector;
  MapperFactory mapper;
};

}  // namespace utp
