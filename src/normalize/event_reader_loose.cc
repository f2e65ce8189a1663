// The fast way for envelopes that others wrote: keys in any order, white space, no escapes.
#include <optional>

#include "model/envelope_rules.h"
#include "normalize/event_reader_impl.h"

namespace utp {
namespace {

using scan::Cursor;

enum EnvelopeKey : std::uint32_t {
  kVersion, kEventType, kSchemaRef, kSourceId, kRealm, kRegion, kSymbol, kEventTime, kEventTimeSource, kIngestTime,
  kSequence, kWatermark, kChecksum, kPayload, kQuality,
};
constexpr std::uint32_t kRequired = (1u << kQuality) - 1;  // all before it

constexpr std::uint32_t kFields = kQuality + 1;
constexpr const char* kNames[kFields] = {"v", "event_type", "schema_ref", "source_id", "realm", "region", "symbol",
                                         "event_time", "event_time_source", "ingest_time", "sequence", "watermark",
                                         "checksum", "payload", "quality"};

// Where a value was found. Reading it is left until all are found: then it goes in a fixed order, which a processor can
// foresee, and the order of the message cannot disturb it.
struct Found {
  const char* readable = nullptr;  // the value's first byte (a text's first character); 64 bytes can be read from there
  const char* bytes = nullptr;     // the same in the message
  std::uint32_t size = 0;
  bool text = false;
  std::string_view view() const { return {bytes, size}; }
};

class LooseReader {
 public:
  LooseReader(const TextMap& keys, PlanCache& plans, scan::DateCache& dates, scan::IndentCache& indent, Event& event)
      : keys_(keys), plans_(plans), dates_(dates), indent_(indent), event_(event), e_(event.envelope) {}

  // From the message's brace to behind its end.
  const char* find(Cursor& cursor, const char* p) {
    if (*p != '{') return nullptr;
    std::uint32_t seen = 0;
    do {
      p = cursor.ready(scan::skip_space(cursor, p + 1, indent_));
      if (*p != '"') return nullptr;
      const char* const name = p + 1;
      scan::Text key;
      p = scan::scan_text(cursor, name, key);
      if (p == nullptr || key.size > 32) return nullptr;  // longer names may have left `name` behind
      const std::uint32_t field = keys_.find_readable(name, key.size);
      if (field == TextMap::kNone || (seen >> field & 1) != 0) return nullptr;
      seen |= 1u << field;
      p = scan::skip_space(cursor, p, indent_);
      if (*p != ':') return nullptr;
      p = find_value(cursor, cursor.ready(scan::skip_space(cursor, p + 1, indent_)), found_[field]);
      if (p == nullptr) return nullptr;
      p = scan::skip_space(cursor, p, indent_);
    } while (*p == ',');
    return *p == '}' && (seen & kRequired) == kRequired ? p + 1 : nullptr;
  }

  bool read() {
    for (const EnvelopeKey key : {kEventType, kSchemaRef, kSourceId, kRealm, kRegion, kSymbol, kEventTimeSource}) {
      if (!found_[key].text) return false;
    }
    e_.event_type = found_[kEventType].view();
    e_.schema_ref = found_[kSchemaRef].view();
    e_.source_id = found_[kSourceId].view();
    e_.realm = found_[kRealm].view();
    e_.region = found_[kRegion].view();
    e_.symbol = found_[kSymbol].view();
    e_.payload = found_[kPayload].view();
    const auto source = parse_event_time_source(found_[kEventTimeSource].view());
    if (!source || found_[kVersion].text || found_[kVersion].view() != "1") return false;
    e_.event_time_source = *source;
    if (!time(kEventTime, e_.event_time) || !time(kIngestTime, e_.ingest_time) || !time(kWatermark, e_.watermark)) return false;
    return sequence() && found_[kChecksum].text && parse_hex64(found_[kChecksum].view(), e_.checksum) && quality() && payload();
  }

 private:
  // Texts are scanned to their end, other values only up to what ends them: they are read later.
  static const char* find_value(Cursor& cursor, const char* p, Found& found) {
    if (*p == '"') [[likely]] {
      found.readable = p + 1;
      scan::Text text;
      p = scan::scan_text(cursor, p + 1, text);
      found.bytes = text.bytes;
      found.size = text.size;
      found.text = true;
      return p;
    }
    found.readable = p;
    found.bytes = cursor.original(p);
    if (*p == '{' || *p == '[') {
      p = scan::skip_object(cursor, p);
    } else {
      const char* const end = p + 32;  // longer ones go the general way
      while (p != end && ((*p >= '0' && *p <= '9') || *p == '-')) ++p;
      if (p == end) return nullptr;
    }
    if (p != nullptr) found.size = static_cast<std::uint32_t>(cursor.original(p) - found.bytes);
    return p;
  }

  bool time(EnvelopeKey key, Timestamp& out) {
    return found_[key].text && found_[key].size == Timestamp::kTextSize && scan::scan_time(found_[key].readable, dates_, out.ns);
  }

  bool sequence() {
    const Found& found = found_[kSequence];
    std::int64_t value = 0;
    if (found.text || scan::scan_integer(found.readable, value) != found.readable + found.size) return false;
    e_.sequence = static_cast<std::uint64_t>(value);
    return value >= 0 && value <= static_cast<std::int64_t>(kSequenceMax);
  }

  bool quality() {
    e_.quality = Quality::kNone;
    const std::string_view list = found_[kQuality].view();
    if (found_[kQuality].bytes == nullptr) return true;
    if (found_[kQuality].text || list.empty() || list[0] != '[') return false;
    Cursor cursor(list);
    const char* p = cursor.begin();
    for (int count = 0; count < 16; ++count) {
      p = cursor.ready(scan::skip_space(cursor, p + 1, indent_));
      if (*p != '"') return false;
      scan::Text name;
      p = scan::scan_text(cursor, p + 1, name);
      const auto flag = p == nullptr ? std::nullopt : parse_quality(name.view());
      if (!flag) return false;
      e_.quality = e_.quality | *flag;
      p = scan::skip_space(cursor, p, indent_);
      if (*p == ']') return cursor.at_end(p + 1);
      if (*p != ',') return false;
    }
    return false;
  }

  bool payload() {
    const Plan* const plan = plans_.find(e_.schema_ref);
    if (plan == nullptr || found_[kPayload].text || e_.event_type != plan->event_type() || !is_source_id(e_.source_id) ||
        !is_realm(e_.realm) || !is_realm(e_.region) || !is_symbol(e_.symbol)) {
      return false;
    }
    event_.row.reset(*plan);
    Cursor cursor(e_.payload);
    const char* const end = PlanAccess::scan_loose(PlanAccess::impl(*plan), cursor, cursor.begin(), event_.row, dates_, indent_);
    if (end == nullptr || !cursor.at_end(end) || hash64(e_.payload) != e_.checksum) return false;
    event_.key = idempotency_key(e_);
    return true;
  }

  const TextMap& keys_;
  PlanCache& plans_;
  scan::DateCache& dates_;
  scan::IndentCache& indent_;
  Event& event_;
  Envelope& e_;
  Found found_[kFields];
};

}  // namespace

void add_envelope_keys(TextMap& keys) {
  for (const char* const name : kNames) keys.add(name);
}

bool EventReader::Impl::read_loose(std::string_view bytes, Event& event) {
  if (bytes.size() > kEnvelopeBytesMax) return false;
  LooseReader reader(keys, plans, dates, indent, event);
  Cursor cursor(bytes);
  const char* const p = reader.find(cursor, scan::skip_space(cursor, cursor.begin(), indent));
  if (p == nullptr || !cursor.at_end(scan::skip_space(cursor, p, indent)) || !reader.read()) return false;
  learn(bytes, event);
  return true;
}

}  // namespace utp
