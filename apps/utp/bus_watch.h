// Looks at a bus again and again on a thread of its own: a server that is away or hangs holds up nobody who asks.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"

namespace utp::app {

class BusWatch {
 public:
  struct View {
    bool reachable = false;           // the last look succeeded
    std::string error;                // of the last look
    std::vector<TopicStats> topics;   // of the realm, dead letters included; of the last look that succeeded
    // Of what the bus keeps of a topic, the share that `group` has not read, for the topic where it is largest.
    double backlog = 0;
    std::string backlog_topic;
    std::uint64_t backlog_bytes = 0, backlog_limit = 0;
  };

  BusWatch(std::shared_ptr<Bus> bus, std::string realm, std::string group);
  ~BusWatch();  // waits for a look that is under way

  View view() const;  // any thread
  void refresh();     // looks now, on the caller's thread

 private:
  void run();
  void look();
  bool pause();

  const std::shared_ptr<Bus> bus_;
  const std::string realm_, group_;
  mutable std::mutex mutex_;  // guards view_, ending_
  std::condition_variable changed_;
  bool ending_ = false;
  View view_;
  std::thread thread_;
};

}  // namespace utp::app
