// StreamWatch: what is known of an instance's connections and wanted streams, and what must be done about silence. Pure
// state: times come in, actions go out.
//
// - A wanted stream without data for its stale_after is stale, and its connection is made again; so is one where streams that
//   had data have none soon after a reconnect, or where the venue refused a subscription. The patience doubles each time, up
//   to an hour: a market may simply be quiet.
// - A connection is alive when the venue speaks. What we send ourselves says nothing.
// - An idle stream promises what time it has passed while its connection has brought something in the last second.
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

// A wanted stream, and what the manifest says of its channel.
struct WatchedStream : WantedStream {
  std::vector<std::string> event_types;  // what its messages become; none: a sign of life that is no data, such as heartbeats
  std::int64_t stale_after_ns = 0;       // 0 = never
};
// Streams of Manifest::wanted.
std::vector<WatchedStream> watched_streams(const Manifest& manifest, const std::vector<WantedStream>& wanted);

// What the watch asks for; the host turns these into events and commands.
class WatchActions {
 public:
  virtual void reconnected(std::uint32_t connection, std::string_view reason, std::uint32_t attempt, std::int64_t down_ns,
                           std::uint32_t wanted) = 0;
  virtual void stale(const WatchedStream& stream, bool stale, std::int64_t age_ns) = 0;
  virtual void missing(const WatchedStream& stream, std::string_view reason, Timestamp from, Timestamp to) = 0;
  virtual void watermark(const WatchedStream& stream, Timestamp promise) = 0;
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
  // `learned`: where nobody says what is wanted (a replay), streams of these channels are taken up as their data comes.
  StreamWatch(std::vector<WatchedStream> wanted, Limits limits, std::vector<Manifest::Channel> learned = {});

  void on_frame(const Frame& frame, WatchActions& actions);  // before the mapper sees it
  // Data of a wanted stream came with a frame of this time. Unknown streams are ignored.
  void alive(std::uint32_t connection, std::string_view channel, std::string_view symbol, Timestamp time, WatchActions& actions);
  // The venue refused a subscription of this connection.
  void refused(std::uint32_t connection, std::string_view reason, Timestamp time);
  // The streams of `channel` come at another pace from now on: their silence is measured anew. Returns how many they are.
  std::uint32_t set_pace(std::string_view channel, std::int64_t stale_after_ns, Timestamp now);
  // Looks for what is overdue. `now`: the clock when every frame was seen, else the time of the last one seen. A replay does
  // without: its silence is the recording's.
  void check(Timestamp now, WatchActions& actions);
  void start(Timestamp now);

  std::uint32_t wanted() const { return static_cast<std::uint32_t>(streams_.size()); }
  std::uint32_t data_streams() const { return data_streams_; }  // of those, the ones that bring events
  std::uint32_t confirmed() const { return confirmed_; }
  std::uint32_t stale() const { return stale_; }
  std::uint32_t open_connections() const;
  std::uint32_t connections() const { return static_cast<std::uint32_t>(connections_.size()); }  // with those not tried yet
  std::uint64_t reconnects() const { return reconnects_; }
  Timestamp last_data() const { return last_data_; }  // of streams that bring events

 private:
  struct Stream {
    WatchedStream what;
    std::uint32_t connection = 0;
    Timestamp last;                // data, or the start of the wait for it
    Timestamp last_watermark;
    std::int64_t patience_ns = 0;  // until a reconnect for want of data; grows
    bool had_data = false;         // ever
    bool confirmed = false;        // since its connection opened
    bool stale = false;
  };
  struct Connection {
    bool open = false;
    bool was_open = false;     // ever
    Timestamp opened, lost;
    Timestamp heard;           // its opening, or the venue's last message
    std::uint32_t attempts = 0;
    std::string reason;
    std::int64_t patience_ns = 0;  // until the next reconnect for want of confirmation; grows
    Timestamp confirm_from;        // it began to wait for confirmation
    std::string refusal;           // the venue's words, "" = none
    std::uint32_t overdue = 0;     // stale streams whose patience is over
    bool waits_for_confirmation = false;
    bool reconnect_asked = false;
  };

  Connection& connection(std::uint32_t number);
  void add(WatchedStream what, std::uint32_t connection, Timestamp now);
  void opened(std::uint32_t number, Timestamp time, WatchActions& actions);
  void closed(std::uint32_t number, const Frame& frame);
  std::uint32_t find(std::string_view channel, std::string_view symbol);
  std::uint32_t learn(std::uint32_t connection, std::string_view channel, std::string_view symbol, Timestamp time);
  void check_stream(Stream& stream, Timestamp now, WatchActions& actions);
  void check_connection(std::uint32_t number, Timestamp now, WatchActions& actions);
  void ask_reconnect(std::uint32_t number, std::string reason, WatchActions& actions);

  std::vector<Stream> streams_;
  std::vector<Connection> connections_;
  const Limits limits_;
  const std::vector<Manifest::Channel> learned_;
  std::unordered_map<std::string, std::uint32_t> index_;
  std::string key_;
  std::uint32_t last_found_ = UINT32_MAX;
  std::uint32_t data_streams_ = 0, confirmed_ = 0, stale_ = 0;
  std::uint64_t reconnects_ = 0;
  Timestamp last_data_;
};

}  // namespace utp
