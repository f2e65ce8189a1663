// The fast way for envelopes that others wrote: keys in any order, white space, no escapes.
#include <optional>

#include "model/envelope_rules.h"
#include "normalize/event_reader_impl.h"

namespace utp {
namespace {

enum EnvelopeKey : std::uint32_t {
  kVersion, kEventType, kSchemaRef, kSourceId, kRealm, kRegion, kSymbol, kEventTime, kEventTimeSource, kIngestTime,
  kSequence, kWatermark, kChecksum, kPayload, kQuality,
};
constexpr std::uint32_t kRequired = (1u << kQuality) - 1;  // all before it

constexpr std::uint32_t kFields = kQuality + 1;
constexpr const char* kNames[kFields] = {"v", "event_type", "schema_ref", "source_id", "realm", "region", "symbol",
                                         "event_time", "event_time_source", "ingest_time", "sequence", "watermark",
                                         "checksum", "payload", "quality"};

// Finds every value first and reads them afterwards: reading goes in a fixed order, which a processor can foresee, and the
// order of the message cannot disturb it.
class LooseReader {
 public:
  LooseReader(const TextMap& keys, PlanCache& plans, scan::DateCache& dates, scan::QuotedText& text, Event& event)
      : keys_(keys), plans_(plans), dates_(dates), text_(text), event_(event), e_(event.envelope) {}

  bool read() {
    const char* const end = find(text_.skip_space(text_.begin()));
    if (end == nullptr || text_.skip_space(end) != text_.end()) return false;
    const auto source = parse_event_time_source(view(kEventTimeSource));
    if (!source || view(kVersion) != "1") return false;
    e_.event_time_source = *source;
    e_.event_type = original(kEventType);
    e_.schema_ref = original(kSchemaRef);
    e_.source_id = original(kSourceId);
    e_.realm = original(kRealm);
    e_.region = original(kRegion);
    e_.symbol = original(kSymbol);
    return time(kEventTime, e_.event_time) && time(kIngestTime, e_.ingest_time) && time(kWatermark, e_.watermark) &&
           sequence() && parse_hex64(view(kChecksum), e_.checksum) && e_.event_type == plan_->event_type() &&
           is_source_id(e_.source_id) && is_realm(e_.realm) && is_realm(e_.region) && is_symbol(e_.symbol) &&
           hash64(e_.payload) == e_.checksum;
  }

 private:
  static constexpr std::uint32_t kNotText = 1u << kVersion | 1u << kSequence | 1u << kPayload | 1u << kQuality;

  // From the message's brace to behind its end; null when the general way must decide.
  const char* find(const char* p) {
    if (*p != '{' || !find_plan()) return nullptr;
    e_.quality = Quality::kNone;
    std::uint32_t seen = 0;
    do {
      p = text_.skip_space(p + 1);
      const char* const open = text_.quote(mark_);
      const char* const close = text_.quote(mark_ + 1);
      if (p != open || *p != '"') return nullptr;
      mark_ += 2;
      const std::uint32_t field = keys_.find_readable(open + 1, static_cast<std::size_t>(close - open) - 1);
      if (field == TextMap::kNone || (seen >> field & 1) != 0) return nullptr;
      seen |= 1u << field;
      p = text_.skip_space(close + 1);
      if (*p != ':') return nullptr;
      p = text_.skip_space(p + 1);
      if ((kNotText >> field & 1) == 0) [[likely]] {
        if (*p != '"' || p != text_.quote(mark_)) return nullptr;
        const char* const behind = text_.quote(mark_ + 1);
        found_[field] = {p + 1, static_cast<std::size_t>(behind - p) - 1};
        mark_ += 2;
        p = behind + 1;
      } else {
        p = other_value(field, p);
        if (p == nullptr) return nullptr;
      }
      p = text_.skip_space(p);
    } while (*p == ',');
    return *p == '}' && (seen & kRequired) == kRequired ? p + 1 : nullptr;
  }

  // The schema decides how the payload is read, so it is looked for ahead.
  bool find_plan() {
    for (std::size_t i = 0; i + 3 < text_.quotes(); i += 2) {
      const char* const open = text_.quote(i);
      if (text_.quote(i + 1) - open == 11 && scan::literal(open, "\"schema_ref\"")) {
        const char* const value = text_.quote(i + 2) + 1;
        plan_ = plans_.find({value, static_cast<std::size_t>(text_.quote(i + 3) - value)});
        return plan_ != nullptr;
      }
    }
    return false;
  }

  const char* other_value(std::uint32_t field, const char* p) {
    if (field == kPayload) {
      event_.row.reset(*plan_);
      const char* const end = PlanAccess::scan_loose(PlanAccess::impl(*plan_), text_, p, mark_, event_.row, dates_);
      if (end != nullptr) e_.payload = {text_.original(p), static_cast<std::size_t>(end - p)};
      return end;
    }
    if (field == kQuality) return quality(p);
    const char* const begin = p;
    while (*p >= '0' && *p <= '9') ++p;
    found_[field] = {begin, static_cast<std::size_t>(p - begin)};
    return p;
  }

  const char* quality(const char* p) {
    if (*p != '[') return nullptr;
    for (int count = 0; count < 16; ++count) {
      p = text_.skip_space(p + 1);
      if (*p != '"' || p != text_.quote(mark_)) return nullptr;
      const char* const close = text_.quote(mark_ + 1);
      const auto flag = parse_quality({p + 1, static_cast<std::size_t>(close - p) - 1});
      if (!flag) return nullptr;
      e_.quality = e_.quality | *flag;
      mark_ += 2;
      p = text_.skip_space(close + 1);
      if (*p == ']') return p + 1;
      if (*p != ',') return nullptr;
    }
    return nullptr;
  }

  std::string_view view(EnvelopeKey key) const { return {found_[key].bytes, found_[key].size}; }
  std::string_view original(EnvelopeKey key) const { return {text_.original(found_[key].bytes), found_[key].size}; }
  bool time(EnvelopeKey key, Timestamp& out) {
    return found_[key].size == Timestamp::kTextSize && scan::scan_time(found_[key].bytes, dates_, out.ns);
  }
  bool sequence() {
    std::int64_t value = 0;
    const std::string_view digits = view(kSequence);
    if (scan::scan_integer(digits.data(), value) != digits.data() + digits.size()) return false;
    e_.sequence = static_cast<std::uint64_t>(value);
    return value <= static_cast<std::int64_t>(kSequenceMax);
  }

  const TextMap& keys_;
  PlanCache& plans_;
  scan::DateCache& dates_;
  scan::QuotedText& text_;
  Event& event_;
  Envelope& e_;
  const Plan* plan_ = nullptr;
  std::size_t mark_ = 0;
  struct Found {
    const char* bytes;
    std::size_t size;
  };
  Found found_[kFields];  // those of `seen`: cleared nowhere, which would cost more than it helps
};

}  // namespace

void add_envelope_keys(TextMap& keys) {
  for (const char* const name : kNames) keys.add(name);
}

bool EventReader::Impl::read_loose(std::string_view bytes, Event& event) {
  if (bytes.size() > kEnvelopeBytesMax || !quoted.load(bytes)) return false;
  if (!LooseReader(keys, plans, dates, quoted, event).read()) return false;
  learn(bytes, event);
  return true;
}

}  // namespace utp
