// StreamWatch: what is known of an instance's connections and wanted streams, and what must be done about silence. Pure
// state: times come in, actions go out.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "connector/frame.h"
#include "connector/manifest.h"
#include "connector/mapper.h"

namespace utp {

// What the watch asks for; the host turns these into events and commands.
class WatchActions {
 public:
  virtual void reconnected(std::uint32_t connection, std::string_view reason, std::uint32_t attempt, std::int64_t down_ns,
                           std::uint32_t wanted, std::uint32_t confirmed) = 0;
  virtual void stale(const WantedStream& stream, bool stale, std::int64_t age_ns, std::int64_t limit_ns) = 0;
  virtual void missing(const WantedStream& stream, std::string_view reason, Timestamp from, Timestamp to) = 0;
  virtual void watermark(const WantedStream& stream, Timestamp promise) = 0;
  virtual void reconnect(std::uint32_t connection, std::string reason) = 0;

 protected:
  ~WatchActions() = default;
};

class StreamWatch {
 public:
  struct Limits {
    std::uint32_t subscriptions_per_connection = 0;
    std::int64_t confirm_within_ns = 0;
    std::int64_t silent_connection_ns = 0;
    std::int64_t lateness_ns = 0;
    std::int64_t watermark_every_ns = 10'000'000'000;  // of an idle stream
  };
  // `stale_after_ns` of stream i; 0 = never.
  StreamWatch(std::vector<WantedStream> wanted, std::vector<std::int64_t> stale_after_ns, Limits limits);

  void on_frame(const Frame& frame, WatchActions& actions);  // before the mapper sees it
  // Data of a wanted stream came with a frame of this time. Unknown streams are ignored.
  void alive(std::uint32_t connection, std::string_view channel, std::string_view symbol, Timestamp time, WatchActions& actions);
  // Looks for what is overdue. `now`: the clock when every frame was seen, else the time of the last one seen.
  void check(Timestamp now, WatchActions& actions);
  void start(Timestamp now);

  std::uint32_t wanted() const { return static_cast<std::uint32_t>(streams_.size()); }
  std::uint32_t confirmed() const { return confirmed_; }
  std::uint32_t stale() const { return stale_; }
  std::uint32_t open_connections() const;
  std::uint32_t connections() const { return static_cast<std::uint32_t>(connections_.size()); }
  std::uint64_t reconnects() const { return reconnects_; }
  Timestamp last_data() const { return last_data_; }
  const std::vector<WantedStream>& streams() const { return wanted_; }

 private:
  struct Stream {
    std::uint32_t connection = 0;
    std::int64_t stale_after_ns = 0;
    Timestamp last;            // data, or the start of the wait for it
    Timestamp last_watermark;
    bool had_data = false;     // ever
    bool confirmed = false;    // since its connection opened
    bool stale = false;
  };
  struct Connection {
    bool open = false;
    bool was_open = false;     // ever
    Timestamp opened, lost, last_frame;
    std::uint32_t attempts = 0;
    std::string reason;
    std::int64_t patience_ns = 0;  // until the next reconnect for want of confirmation; grows
    bool waits_for_confirmation = false;
    bool reconnect_asked = false;
  };

  Connection& connection(std::uint32_t number);
  void opened(std::uint32_t number, Timestamp time, WatchActions& actions);
  std::uint32_t find(std::string_view channel, std::string_view symbol);

  std::vector<WantedStream> wanted_;
  std::vector<Stream> streams_;
  std::vector<Connection> connections_;
  Limits limits_;
  std::unordered_map<std::string, std::uint32_t> index_;
  std::string key_;
  std::uint32_t last_found_ = UINT32_MAX;
  std::uint32_t confirmed_ = 0, stale_ = 0;
  std::uint64_t reconnects_ = 0;
  Timestamp last_data_;
};

}  // namespace utp
