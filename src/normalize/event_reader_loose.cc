// The fast way for envelopes that others wrote: keys in any order, white space, no escapes.
#include <algorithm>
#include <bit>
#include <cstring>
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
constexpr std::string_view kNames[kFields] = {"v", "event_type", "schema_ref", "source_id", "realm", "region", "symbol",
                                              "event_time", "event_time_source", "ingest_time", "sequence", "watermark",
                                              "checksum", "payload", "quality"};

// The keys behind a hash of their last two bytes and their size that is without collisions: one comparison decides.
class EnvelopeKeys {
 public:
  constexpr EnvelopeKeys() {
    for (std::uint32_t i = 0; i < kFields; ++i) {
      std::copy_n(kNames[i].begin(), kNames[i].size(), rows_[i].text);
      rows_[i].text[kNames[i].size()] = '"';
      rows_[i].mask = (1u << (kNames[i].size() + 1)) - 1;
    }
    rows_[kFields].mask = 1;  // a text that no key has
    while (!place()) multiplier_ += 2;
  }
  // The field, kFields when there is none, of the key between two quotes; 32 bytes can be read behind the first.
  std::uint32_t find(const char* open, const char* close) const {
    const std::uint32_t field = places_[slot(close[-2], close[-1], static_cast<std::size_t>(close - open))];
    const Row& row = rows_[field];
#if defined(__AVX2__)
    const __m256i equal = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(open + 1)),
                                            _mm256_load_si256(reinterpret_cast<const __m256i*>(row.text)));
    return (~static_cast<std::uint32_t>(_mm256_movemask_epi8(equal)) & row.mask) == 0 ? field : kFields;
#else
    return std::memcmp(open + 1, row.text, static_cast<std::size_t>(std::popcount(row.mask))) == 0 ? field : kFields;
#endif
  }

 private:
  struct alignas(64) Row {
    char text[32] = {};  // with the closing quote
    std::uint32_t mask = 0;
  };

  constexpr std::uint32_t slot(char before_last, char last, std::size_t size) const {
    const auto low = static_cast<unsigned char>(before_last);
    const auto high = static_cast<unsigned char>(last) + size;
    return (low + static_cast<std::uint32_t>(high << 8)) * multiplier_ >> 25;
  }
  constexpr bool place() {
    for (std::uint8_t& place : places_) place = kFields;
    for (std::uint32_t i = 0; i < kFields; ++i) {
      const auto size = kNames[i].size();
      std::uint8_t& place = places_[slot(size > 1 ? kNames[i][size - 2] : '"', kNames[i].back(), size + 1)];
      if (place != kFields) return false;
      place = static_cast<std::uint8_t>(i);
    }
    return true;
  }

  Row rows_[kFields + 1];
  std::uint8_t places_[128] = {};
  std::uint32_t multiplier_ = 0x9E3779B1;
};
constexpr EnvelopeKeys kKeys;

// Finds every value first and reads them afterwards: reading goes in a fixed order, which a processor can foresee, and the
// order of the message cannot disturb it.
class LooseReader {
 public:
  LooseReader(PlanCache& plans, scan::DateCache& dates, scan::QuotedText& text, Event& event)
      : plans_(plans), dates_(dates), text_(text), event_(event), e_(event.envelope) {}

  bool read() {
    if (!find()) return false;
    return number(kVersion, 1, version_) && text(kEventType, e_.event_type) && text(kSchemaRef, e_.schema_ref) &&
           name(kSourceId, kSourceChars, is_source_id, e_.source_id) && name(kRealm, kNameChars, is_realm, e_.realm) &&
           name(kRegion, kNameChars, is_realm, e_.region) && symbol() &&
           time(kEventTime, e_.event_time) && source() && time(kIngestTime, e_.ingest_time) &&
           number(kSequence, kSequenceMax, e_.sequence) && time(kWatermark, e_.watermark) && checksum() && payload() &&
           version_ == 1;
  }

 private:
  // A value that a string's quotes enclose, or which has no quotes; its end is known only when it is read.
  struct Found {
    const char* begin;
    const char* close;  // the closing quote, if it is a string
    const char* next;   // the next member's key, or the text's end
  };

  // Every member up to its value.
  bool find() {
    end_ = text_.last();
    if (*end_ != '}' || end_ == text_.end()) return false;
    const char* const begin = text_.skip_space(text_.begin());
    if (*begin != '{' || text_.skip_space(begin + 1) != text_.quote(0)) return false;
    const std::size_t marks = text_.quotes();
    e_.quality = Quality::kNone;
    std::uint32_t seen = 0;
    std::size_t mark = 0;
    do {
      const char* const open = text_.quote(mark);
      const char* const close = text_.quote(mark + 1);
      const std::uint32_t field = kKeys.find(open, close);
      if (field == kFields || (seen >> field & 1) != 0) return false;
      seen |= 1u << field;
      const char* p = text_.skip_space(close + 1);
      if (*p != ':') return false;
      p = text_.skip_space(p + 1);
      if (field == kQuality) [[unlikely]] {
        mark += 2;
        p = quality(p, mark);
        if (p == nullptr || !behind(p, text_.quote(mark))) return false;
        continue;
      }
      std::size_t next = mark + 4;
      if (*p != '"') [[unlikely]] {
        next = mark + 2;
        if (*p == '{') {
          payload_open_ = {p, next};
          payload_close_ = text_.next_brace(p + 1);
          next = payload_close_.mark;
        }
      }
      found_[field] = {p, text_.quote(mark + 3), text_.quote(next)};
      mark = next;
    } while (mark < marks);
    return (seen & kRequired) == kRequired;
  }

  const char* quality(const char* p, std::size_t& mark) {
    if (*p != '[') return nullptr;
    for (int count = 0; count < 16; ++count) {
      p = text_.skip_space(p + 1);
      if (*p != '"') return nullptr;
      const char* const close = text_.quote(mark + 1);
      const auto flag = parse_quality({p + 1, static_cast<std::size_t>(close - p) - 1});
      if (!flag) return nullptr;
      e_.quality = e_.quality | *flag;
      mark += 2;
      p = text_.skip_space(close + 1);
      if (*p == ']') return p + 1;
      if (*p != ',') return nullptr;
    }
    return nullptr;
  }

  bool behind(const char* p, const char* next) const { return text_.behind(p, next, end_, 0); }

  // A string without its quotes; null when the field has none.
  std::optional<std::string_view> string(EnvelopeKey key) const {
    const auto& [begin, close, next] = found_[key];
    if (*begin != '"' || !behind(close + 1, next)) return std::nullopt;
    return inside(key);
  }
  std::string_view inside(EnvelopeKey key) const {
    return {found_[key].begin + 1, static_cast<std::size_t>(found_[key].close - found_[key].begin) - 1};
  }
  bool text(EnvelopeKey key, std::string_view& out) const {
    const auto found = string(key);
    if (!found) return false;
    out = {text_.original(found->data()), found->size()};
    return true;
  }
  // A text of at most 32 of these characters, or what `rule` allows.
  static bool all_of([[maybe_unused]] const CharSet& chars, [[maybe_unused]] std::string_view text) {
#if defined(__AVX2__)
    return text.size() <= 32 && (chars.others(text.data()) & ((std::uint64_t{1} << text.size()) - 1)) == 0;
#else
    return false;
#endif
  }
  bool name(EnvelopeKey key, const CharSet& chars, bool (*rule)(std::string_view), std::string_view& out) const {
    const auto found = string(key);
    if (!found) return false;
    out = {text_.original(found->data()), found->size()};
    const char first = found->data()[0];
    const bool fits = all_of(chars, *found) && !found->empty() && first != '_' && first != '-' && first != '.';
    return fits || rule(out);
  }
  bool symbol() const {
    const auto found = string(kSymbol);
    if (!found) return false;
    e_.symbol = {text_.original(found->data()), found->size()};
    return all_of(kSymbolChars, *found) || is_symbol(e_.symbol);
  }
  bool time(EnvelopeKey key, Timestamp& out) {
    const auto found = string(key);
    return found && found->size() == Timestamp::kTextSize && scan::scan_time(found->data(), dates_, out.ns);
  }
  bool number(EnvelopeKey key, std::uint64_t max, std::uint64_t& out) const {
    std::int64_t value = 0;
    const char* const end = scan::scan_integer(found_[key].begin, value);
    out = static_cast<std::uint64_t>(value);  // beyond `max` if it is negative
    return end != nullptr && out <= max && behind(end, found_[key].next);
  }
  bool source() {
    const auto found = string(kEventTimeSource);
    return found && take_source(found->data(), e_.event_time_source) == found->data() + found->size();
  }
  bool checksum() {
    const auto found = string(kChecksum);
    return found && parse_hex64(*found, e_.checksum);
  }
  bool payload() {
    const auto& [begin, close, next] = found_[kPayload];
    if (begin != payload_open_.at || payload_close_.at == end_) return false;
    const char* const end = payload_close_.at + 1;
    const Plan* const plan = plans_.find(inside(kSchemaRef), inside(kEventType));
    if (plan == nullptr || !behind(end, next)) return false;
    event_.row.reset(*plan);
    const PlanRules& rules = PlanAccess::impl(*plan);
    if (!PlanAccess::scan_loose(rules, text_, 1, payload_open_, payload_close_, event_.row, dates_)) return false;
    e_.payload = {text_.original(begin), static_cast<std::size_t>(end - begin)};
    return hash64(e_.payload) == e_.checksum;
  }

  PlanCache& plans_;
  scan::DateCache& dates_;
  scan::QuotedText& text_;
  Event& event_;
  Envelope& e_;
  std::uint64_t version_ = 0;
  const char* end_ = nullptr;  // the closing brace
  scan::QuotedText::Brace payload_open_;
  scan::QuotedText::Brace payload_close_;
  Found found_[kFields];       // those of `seen`: cleared nowhere, which would cost more than it helps
};

}  // namespace

bool EventReader::Impl::read_loose(std::string_view bytes, Event& event) {
  if (bytes.size() > kEnvelopeBytesMax || !quoted.load(bytes)) return false;
  if (!LooseReader(plans, dates, quoted, event).read()) return false;
  learn(bytes, event);
  return true;
}

}  // namespace utp
