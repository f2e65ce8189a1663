// The sim's venue: turns the market into frames of its wire protocol, one call at a time. Deterministic: the same settings,
// seed, wanted streams, times and commands give the same bytes.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "connector/frame.h"
#include "connector/mapper.h"
#include "connectors/sim/sim_market.h"
#include "connectors/sim/sim_settings.h"
#include "connectors/sim/sim_wire.h"

namespace utp::sim {

class Generator {
 public:
  // Without wanted streams: every channel for the manifest's default symbols.
  static Result<Generator> make(Settings settings, std::uint64_t seed, const std::vector<WantedStream>& wanted);

  // The next frame by virtual time, or at `now` (which must not go back). False when the settings' number of messages is
  // reached. The views are valid until the next call.
  bool next(Frame& frame) { return next(frame, Timestamp{virtual_ns_}, true); }
  bool next(Frame& frame, Timestamp now) { return next(frame, now, false); }

  // True while frames wait that need no pace: what a new connection begins with.
  bool opening() const { return !pending_.empty(); }
  std::int64_t interval_ns() const { return interval_ns_; }  // between messages, at speed 1
  std::int64_t take_stall_ns() { return std::exchange(stall_ns_, 0); }  // silence that a fault asks for
  std::uint64_t messages() const { return messages_; }

  void carry_out(const Command& command);

 private:
  enum class Step : std::uint8_t { kClose, kOpen, kSubscribe, kHello, kAcknowledge, kSnapshot, kOption };
  struct Pending {
    Step step;
    std::size_t index = 0;
    std::string text;
  };

  Generator(Settings settings, std::uint64_t seed, std::vector<std::string> symbols);

  bool next(Frame& frame, Timestamp now, bool virtual_time);
  bool write_next(Frame& frame, Timestamp now);
  void write_pending(Frame& frame, Timestamp now);
  void reopen(std::string reason);
  void open();
  Fault choose_fault();

  std::size_t draw(Channel channel);
  void begin(Channel channel, Timestamp now);
  void write_quote(std::size_t i);
  void write_trade(std::size_t i);
  void write_book(std::size_t i, bool snapshot);
  void write_side(std::string_view name, const std::vector<Level>& levels, std::size_t i);
  void write_option(std::size_t option, Timestamp now);
  void write_news();
  void write_calendar(Timestamp now);
  void mangle();
  void corrupt();

  Settings settings_;
  Market market_;
  Random faults_;
  std::vector<std::size_t> streams_[kChannels];  // per channel: the instruments wanted ({0} for one without symbols)
  std::vector<std::string> quoted_;              // per instrument: "sym":"AAPL"
  std::vector<std::uint64_t> trade_id_;
  std::vector<Pending> acknowledge_;
  double thresholds_[kChannels] = {};            // cumulative shares of the channels
  std::deque<Pending> pending_;
  WireText text_, held_;
  std::string subscribe_;
  std::uint64_t number_ = 0;     // of the next message on the connection
  std::uint64_t messages_ = 0;
  std::size_t planned_ = 0;
  std::size_t option_ = 0;       // next of the chain
  std::size_t release_ = 0;
  std::int64_t release_at_ns_ = 0;
  std::int64_t virtual_ns_ = 0, interval_ns_ = 0, stall_ns_ = 0;
  std::int64_t receive_ns_ = 0;
  std::uint32_t swallow_ = 0;
  bool repeat_ = false, holding_ = false, corrupt_ = false;
};

}  // namespace utp::sim
