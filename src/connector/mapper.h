// Mapper: a pure state machine from frames to canonical payloads and commands. It has no clock and does no I/O, so that the
// same frames always give the same events: live, from a capture, or once more after a fix.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "connector/frame.h"
#include "core/result.h"
#include "normalize/normalizer.h"
#include "schema/registry.h"

namespace utp {

// What a mapper asks its collector to do. In a replay commands are counted and dropped: their answers are in the capture.
struct Command {
  enum class Kind : std::uint8_t {
    kSend,       // `text` on `connection`
    kRequest,    // HTTP GET of `text` (a path below the endpoint); the answer comes as kHttp with `tag`
    kReconnect,  // close `connection` and open it again; `text` is the reason
  };
  Kind kind = Kind::kSend;
  std::uint32_t connection = 0;
  std::string tag;
  std::string text;
  // Set by the host: how often the connection had been opened when the mapper spoke. A command for a connection that was made
  // again since is dropped. 0 = not said: carried out on whatever connection there is.
  std::uint64_t opens = 0;
};

// Where a mapper's results go. Implemented by the host. All calls are made from within Mapper::on_frame.
class MapperOutput {
 public:
  virtual ~MapperOutput() = default;

  // One event of the route (index into MapperContext::plans). The row is reset and filled by the mapper; it is read at once
  // and may be reused when the call returns. False when validation refused it: the host has dead-lettered the frame with
  // the violation by then, and the mapper goes on.
  virtual bool emit(std::uint32_t route, const EventHeader& header, const Row& row) = 0;

  virtual void command(Command command) = 0;

  // This frame (or a part of it) cannot be understood: to the DLQ with its bytes. `path` is a JSON Pointer into the frame.
  virtual void reject(std::string_view code, std::string_view path, std::string_view message) = 0;

  // The same where the event type is known: to that topic's dead letters.
  virtual void reject_event(std::uint32_t route, std::string_view code, std::string_view path, std::string_view message) {
    (void)route;
    reject(code, path, message);
  }

  // Data is missing on this stream (a jump in a counter, a checksum that failed): becomes system/gap/v1.
  virtual void gap(std::string_view event_type, std::string_view symbol, std::string_view reason, std::uint64_t missed) = 0;

  // Data of a wanted subscription arrived: it is alive (the watchdog's receive age starts again) and, after a reconnect,
  // confirmed. `channel` and `symbol` as in WantedStream below.
  virtual void alive(std::uint32_t connection, std::string_view channel, std::string_view symbol) = 0;

  // The venue refused a subscription on this connection, or may have: data that is wanted would never come. The host makes
  // the connection again after a while, which grows from one refusal to the next.
  virtual void refused(std::uint32_t connection, std::string_view reason) {
    (void)connection;
    (void)reason;
  }
};

// A stream that the configuration wants: a channel of the venue for a symbol.
struct WantedStream {
  std::string channel;  // the venue's name: "level2", "ticker", "market_trades"
  std::string symbol;   // canonical, "BTC-USD"; "" for a channel without symbols
  // Of a collector's streams while they are thin (Collector::thin): what to subscribe in the channel's place. The mapper calls
  // such a stream by its channel all the same.
  std::string variant{};
};

// Names of canonical and venue symbols: the manifest's rules and exceptions, both ways.
class SymbolMap {
 public:
  void add(std::string canonical, std::string venue);
  // The exception if there is one, else the manifest's separator rule applied; the view is valid as long as the map is.
  // Interned: after a symbol was seen once, no allocation. Past kNamesMax names (a venue that invents them) nothing more is
  // remembered, and the view is valid until the next call.
  static constexpr std::size_t kNamesMax = 100'000;
  std::string_view canonical(std::string_view venue);
  std::string_view venue(std::string_view canonical);
  // Rules of the manifest: the venue's separator ("/") that becomes "-", asset names that differ ("XBT" is "BTC").
  void set_separator(std::string venue_separator) { separator_ = std::move(venue_separator); }
  void add_asset(std::string venue_asset, std::string canonical_asset);
  SymbolMap();
  ~SymbolMap();
  SymbolMap(SymbolMap&&) noexcept;
  SymbolMap& operator=(SymbolMap&&) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
  std::string separator_;
};

// What a mapper gets when it is made. Plans in the order of the manifest's event_types.
struct MapperContext {
  std::vector<std::shared_ptr<const Plan>> plans;
  std::vector<WantedStream> wanted;
  SymbolMap symbols;
  std::string settings_json;  // the connector's own settings from the configuration, an object

  // Route of an event type ("quotes/v2"); empty when the manifest does not name it.
  std::optional<std::uint32_t> route(std::string_view event_type) const;
};

class Mapper {
 public:
  virtual ~Mapper() = default;
  virtual void on_frame(const Frame& frame, MapperOutput& output) = 0;
};

using MapperFactory = std::function<Result<std::unique_ptr<Mapper>>(MapperContext context)>;

}  // namespace utp
