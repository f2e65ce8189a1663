// A bridge of a chamber: another region's bus into this chamber's, on a thread of its own. Whatever goes wrong is waited out: the
// events stay on the region's bus meanwhile, as lag.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "apps/utp/chamber.h"
#include "bus/bridge.h"
#include "core/clock.h"

namespace utp::app {

// How a bridge is, for people and the health file.
struct BridgeStatus {
  std::string region, from;  // its URL, for people
  BridgeStats stats;         // last_error "" while it gets on
  std::uint64_t lag = 0;     // messages that wait on the region's bus, as far as that was known the last time
};

class ChamberBridge {
 public:
  // `to` and the clock outlive it.
  ChamberBridge(const Chamber& chamber, BridgeConfig config, Bus& to, const Clock& clock);
  ~ChamberBridge() { stop(); }
  void start();
  void stop();                  // after the batch in hand
  BridgeStatus status() const;  // any thread

 private:
  void run();
  Status open();
  Status turn();

  const BridgeConfig config_;
  BridgeOptions options_;
  Bus& to_;
  const Clock& clock_;
  std::unique_ptr<Bus> from_;       // the thread's, as all up to the mutex
  std::unique_ptr<Bridge> bridge_;  // after it: made on it
  std::int64_t next_look_ns_ = 0;
  std::thread thread_;
  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool stopping_ = false;
  BridgeStatus status_;
};

}  // namespace utp::app
