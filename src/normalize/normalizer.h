// Normalizer: canonical rows in, validated and checksummed envelope bytes out. A library that any program can link.
//
// Per event: validates the row by its plan, serializes the payload, computes checksum, sequence, watermark and `late`, and
// appends one message to a batch. No allocation per event once its tables have grown; one instance per thread.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/byte_buffer.h"
#include "model/event.h"

namespace utp {

struct NormalizerOptions {
  std::string source_id;  // "venue.us1"
  std::string realm = "prod";
  std::string region = "local";
  std::int64_t lateness_ns = 5'000'000'000;     // watermark = highest event time less this
  std::size_t symbols_max = 100'000;            // per event type; past it the event is refused
  std::size_t ordinals_max = 65'536;            // remembered (symbol, time, checksum) for the ordinal rule; oldest go first
};

struct EventHeader {
  std::string_view symbol;
  Timestamp event_time;
  EventTimeSource event_time_source = EventTimeSource::kVenue;
  std::optional<std::uint64_t> sequence;  // a number that the venue keeps for good; else the ordinal rule applies
  Quality quality = Quality::kNone;
};

// Messages ready for Publisher::publish; views into one buffer, valid until clear().
class EventBatch {
 public:
  struct Entry {
    std::uint32_t route = 0;    // index given by Normalizer::add_route
    std::uint32_t key_offset = 0, key_size = 0;
    std::size_t value_offset = 0, value_size = 0;
  };
  void clear() {
    size_ = 0;
    entries_.clear();
  }
  std::size_t size() const { return entries_.size(); }
  std::size_t bytes() const { return size_; }
  std::span<const Entry> entries() const { return entries_; }
  std::string_view key(const Entry& e) const { return value(e).substr(e.key_offset, e.key_size); }
  std::string_view value(const Entry& e) const { return {buffer_.data() + e.value_offset, e.value_size}; }

 private:
  friend class Normalizer;
  // Where the next envelope goes; `bytes` can be written there.
  char* room(std::size_t bytes) {
    if (buffer_.size() - size_ < bytes) [[unlikely]] buffer_.resize(std::max(size_ + bytes, 2 * buffer_.size()));
    return buffer_.data() + size_;
  }

  ByteBuffer buffer_;     // envelopes back to back, and room behind them
  std::size_t size_ = 0;  // of the envelopes
  std::vector<Entry> entries_;
};

class Normalizer {
 public:
  explicit Normalizer(NormalizerOptions options);
  ~Normalizer();
  Normalizer(Normalizer&&) noexcept;
  Normalizer& operator=(Normalizer&&) noexcept;

  // One route per event type that this source publishes. The plan is kept alive.
  std::uint32_t add_route(std::shared_ptr<const Plan> plan);
  const Plan& plan(std::uint32_t route) const;
  const std::string& topic(std::uint32_t route) const;

  // Appends one message to `batch`. False with the violation when the row, symbol, time or size is not allowed; nothing is
  // appended then.
  bool normalize(std::uint32_t route, const EventHeader& header, const Row& row, Timestamp ingest_time, EventBatch& batch,
                 Violation& violation);

  // The ordinal rule counts anew on each connection of the source.
  void connection_opened();
  // Highest event time less lateness of one symbol on a route; empty when none was seen.
  std::optional<Timestamp> watermark(std::uint32_t route, std::string_view symbol) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// EventReader: envelope bytes back to typed events, validating both envelope and payload, and the payload's checksum. One
// instance per thread.
class Registry;
class EventReader {
 public:
  explicit EventReader(const Registry& registry);  // must outlive the reader
  ~EventReader();

  // The event's texts refer to `bytes`, to event.row's arena or to the reader. Violation codes beyond the keywords: "schema_unknown" (no plan
  // for schema_ref), "checksum", "json", "size".
  bool read(std::string_view bytes, Event& event, Violation& violation);
  // The general way only, for whoever must compare the two.
  bool read_general(std::string_view bytes, Event& event, Violation& violation);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace utp
