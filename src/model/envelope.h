// Envelope: what every message on the bus carries around its payload (schemas/envelope/1.0.0.json).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/hash.h"
#include "core/timestamp.h"
#include "schema/schema.h"

namespace utp {

// Limit of one message, in bytes: what the strictest bus takes by default with room for its own framing.
inline constexpr std::size_t kEnvelopeBytesMax = 512 * 1024;
inline constexpr std::uint64_t kSequenceMax = (std::uint64_t{1} << 53) - 1;

enum class EventTimeSource : std::uint8_t { kVenue, kGateway, kReceipt };
std::string_view to_string(EventTimeSource source);
std::optional<EventTimeSource> parse_event_time_source(std::string_view text);

// What a careful reader must know of an event; a set.
enum class Quality : std::uint16_t {
  kNone = 0,
  kDelayed = 1 << 0,
  kStale = 1 << 1,
  kSnapshot = 1 << 2,
  kGap = 1 << 3,
  kLate = 1 << 4,
  kConflated = 1 << 5,
  kIndicative = 1 << 6,
  kRounded = 1 << 7,
  kRepaired = 1 << 8,
};
constexpr Quality operator|(Quality a, Quality b) {
  return static_cast<Quality>(static_cast<std::uint16_t>(a) | static_cast<std::uint16_t>(b));
}
constexpr bool has(Quality set, Quality flag) {
  return (static_cast<std::uint16_t>(set) & static_cast<std::uint16_t>(flag)) != 0;
}
// The names in bit order, "delayed", "stale", ...; index = bit.
std::string_view quality_name(unsigned bit);
inline constexpr unsigned kQualityCount = 9;
std::optional<Quality> parse_quality(std::string_view name);
std::string to_string(Quality set);  // "late,snapshot"; "" when empty

// Views into the message it was read from (or into an arena, where the message had escapes).
struct Envelope {
  std::string_view event_type;
  std::string_view schema_ref;
  std::string_view source_id;
  std::string_view realm;
  std::string_view region;
  std::string_view symbol;
  Timestamp event_time;
  EventTimeSource event_time_source = EventTimeSource::kVenue;
  Timestamp ingest_time;
  std::uint64_t sequence = 0;
  Timestamp watermark;
  std::uint64_t checksum = 0;  // XXH3-64 of the payload's bytes as they were published first
  Quality quality = Quality::kNone;
  std::string_view payload;    // the object's bytes
};

// XXH3-128 over the six identifying fields; texts are length-prefixed (u32 LE), numbers 8 bytes LE, in this order:
// event_type, source_id, symbol, event_time (ns), sequence, checksum.
Hash128 idempotency_key(const Envelope& envelope);

// Topic names. `event_type` "gex/levels/v1" in realm prod, region chamber_us: "utp.prod.chamber_us.gex.levels.v1".
std::string topic_name(std::string_view realm, std::string_view region, std::string_view event_type);
std::string dead_letter_topic(std::string_view topic);  // topic + ".dlq"
bool is_dead_letter_topic(std::string_view topic);
// "*" stands for one segment, ">" at the end for one or more. Wildcards pass ".dlq" topics by: those match only a
// pattern that ends in ".dlq" itself.
bool topic_matches(std::string_view pattern, std::string_view topic);
Status check_topic(std::string_view topic);            // what every bus can carry: [a-z0-9_-] segments, at most 200 bytes
Status check_topic_pattern(std::string_view pattern);

}  // namespace utp
