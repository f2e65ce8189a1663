// The chamber at a glance, redrawn in place on a terminal. Rendering is a pure function of what is shown and the size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/utp/console.h"

namespace utp::app {

struct ViewState {
  struct EventType {
    std::string name;
    std::uint64_t events = 0, stored = 0;
    double rate = 0;  // a second, lately
  };
  struct Connector {
    std::string name, state;
    std::uint64_t frames = 0, events = 0, dead_letters = 0, reconnects = 0;
    double rate = 0;
    double latency_ms = 0;  // receive to publish, 99th percentile; 0 = not known
  };
  struct Price {
    std::string symbol, bid, ask, last;
    int direction = 0;  // of the last change: -1, 0, 1
  };

  std::string title;
  std::int64_t elapsed_ns = 0;
  std::int64_t remaining_ns = -1;  // -1 = no end
  std::vector<EventType> event_types;
  std::vector<Connector> connectors;
  std::vector<Price> prices;
  std::uint64_t bus_messages = 0, bus_bytes = 0, lag = 0;
  std::int64_t oldest_unread_ns = 0;
  std::uint64_t stored = 0, duplicates = 0, dead_letters = 0;
  double stored_rate = 0;
  std::string message;  // the newest thing that an operator should know; "" = none
};

// At most size.rows lines of at most size.columns characters; the least important goes first when it is too small.
std::vector<std::string> render(const ViewState& state, TerminalSize size, bool color);

// One line for a log or a pipe.
std::string summary_line(const ViewState& state);

// Takes the alternate screen while it lives, or until leave().
class LiveScreen {
 public:
  explicit LiveScreen(int fd);
  ~LiveScreen();
  void draw(const ViewState& state, bool color);
  void leave();

 private:
  int fd_;
  bool active_ = true;
};

}  // namespace utp::app
