// The fast way: envelopes as the normalizer writes them, stretches that repeat compared whole.
#include "normalize/event_reader_impl.h"

#include "core/hash.h"
#include "model/envelope_rules.h"

namespace utp {
namespace {

using scan::Cursor;

// Each of these returns the position behind what it read, null when the general way must decide.

template <std::size_t N>
const char* take(const char* p, const char (&text)[N]) {
  return scan::literal(p, text) ? p + N - 1 : nullptr;
}

const char* take_time(Cursor& cursor, const char* p, scan::DateCache& dates, Timestamp& time) {
  return cursor.left(p) >= Timestamp::kTextSize && scan::scan_time(p, dates, time.ns) ? p + Timestamp::kTextSize : nullptr;
}

// The text before a time, the time, and the text behind it: at once where the date is the one seen last.
template <std::size_t N, std::size_t M>
[[gnu::always_inline]] inline const char* take_time_between(Cursor& cursor, const char* p, const char (&before)[N],
                                                            const char (&behind)[M], Stencil& stencil, scan::DateCache& dates,
                                                            Timestamp& time) {
  constexpr std::size_t kTime = N - 1;
  constexpr std::size_t kSize = kTime + Timestamp::kTextSize + M - 1;
  static_assert(kSize >= 32 && kSize <= Stencil::kBytes && kSize + 2 <= Cursor::kSlack);
  p = cursor.ready(p);
#if defined(__AVX2__)
  std::int64_t clock = 0;
  if (stencil.matches<kSize>(p) && scan::scan_clock(p + kTime + 11, clock)) [[likely]] {
    time.ns = stencil.day_ns + clock;
    return p + kSize;
  }
#endif
  const char* q = take(p, before);
  if (q == nullptr || (q = take_time(cursor, q, dates, time)) == nullptr || (q = take(q, behind)) == nullptr) return nullptr;
  stencil.learn(p, kSize, kTime, dates);
  return q;
}

const char* take_quality(Cursor& cursor, const char* p, Quality& quality) {
  for (int count = 0; count < 16; ++count) {
    p = cursor.ready(p);
    if (*p != '"') return nullptr;
    scan::Text name;
    p = scan::scan_text(cursor, p + 1, name);
    if (p == nullptr) return nullptr;
    const auto flag = parse_quality(name.view());
    if (!flag) return nullptr;
    quality = quality | *flag;
    const char next = *p++;
    if (next == ']') return p;
    if (next != ',') return nullptr;
  }
  return nullptr;
}

// From behind the opening quote to the closing one; null when the symbol has other characters or is too long.
const char* take_symbol(Cursor& cursor, const char* p, std::string_view& symbol) {
  const char* const start = cursor.original(p);
#if defined(__AVX2__)
  const std::uint32_t stops = kSymbolChars.others(p);
  if (stops != 0) [[likely]] {
    const auto n = static_cast<unsigned>(std::countr_zero(stops));
    symbol = {start, n};
    return p[n] == '"' ? p + n : nullptr;
  }
#endif
  scan::Text text;
  p = scan::scan_text(cursor, p, text);
  symbol = text.view();
  return p != nullptr && is_symbol(symbol) ? p - 1 : nullptr;
}

}  // namespace

void EventReader::Impl::learn(std::string_view bytes, const Event& event) {
  if (bytes.size() < 2 * Cursor::kSlack || !bytes.starts_with("{\"v\":1,\"event_type\":\"")) return;
  if (const Repeats::Entry* const known = types.find(bytes.data()); known != nullptr && sources.find(bytes.data() + known->size) != nullptr) {
    return;
  }
  const Envelope& e = event.envelope;
  struct Part {
    std::string_view before;
    std::string_view value;
  };
  const auto build = [](std::initializer_list<Part> parts, std::string_view end) -> std::unique_ptr<Repeats::Entry> {
    std::string text;
    auto entry = std::make_unique<Repeats::Entry>();
    std::size_t i = 0;
    for (const Part& part : parts) {
      text += part.before;
      entry->fields[i++] = {static_cast<std::uint16_t>(text.size()), static_cast<std::uint16_t>(part.value.size())};
      text += part.value;
    }
    text += end;
    if (text.size() > Repeats::kBytesMax) return nullptr;
    std::memset(entry->text, 0, sizeof entry->text);
    std::memset(entry->mask, 0, sizeof entry->mask);
    std::memset(entry->mask, -1, text.size());
    std::memcpy(entry->text, text.data(), text.size());
    entry->size = static_cast<std::uint32_t>(text.size());
    return entry;
  };
  auto type = build({{"{\"v\":1,\"event_type\":\"", e.event_type}, {"\",\"schema_ref\":\"", e.schema_ref}}, "\",\"source_id\":\"");
  if (!type || !bytes.starts_with(std::string_view(type->text, type->size))) return;
  bytes.remove_prefix(type->size);
  auto source = build({{"", e.source_id}, {"\",\"realm\":\"", e.realm}, {"\",\"region\":\"", e.region}}, "\",\"symbol\":\"");
  if (types.find(type->text) == nullptr) {
    type->plan = registry.by_ref(e.schema_ref);
    type->rules = &PlanAccess::impl(*type->plan);
    types.add(std::move(type));
  }
  if (source && bytes.starts_with(std::string_view(source->text, source->size)) &&
      sources.find(source->text) == nullptr) {
    sources.add(std::move(source));
  }
}

bool EventReader::Impl::read_fast(std::string_view bytes, Event& event) {
  if (bytes.size() < 2 * Cursor::kSlack || bytes.size() > kEnvelopeBytesMax) return false;
  const char* const begin = bytes.data();
  static_assert(2 * Repeats::kBytesMax <= 2 * Cursor::kSlack);
  const Repeats::Entry* const type = types.find(begin);
  if (type == nullptr) return false;
  const char* const second = begin + type->size;
  const Repeats::Entry* const source = sources.find(second);
  if (source == nullptr) return false;
  Envelope& e = event.envelope;
  e.event_type = type->field(0);
  e.schema_ref = type->field(1);
  e.source_id = source->field(0);
  e.realm = source->field(1);
  e.region = source->field(2);

  Cursor cursor(bytes);
  const char* p = cursor.ready(cursor.begin() + type->size + source->size);
  p = take_symbol(cursor, p, e.symbol);
  if (p == nullptr) return false;
  p = take_time_between(cursor, p, "\",\"event_time\":\"", "\",\"event_time_source\":\"", event_stencil, dates, e.event_time);
  if (p == nullptr) return false;
  p = take_source(cursor.ready(p), e.event_time_source);
  if (p == nullptr) return false;
  p = take_time_between(cursor, p, "\",\"ingest_time\":\"", "\",\"sequence\":", ingest_stencil, dates, e.ingest_time);
  if (p == nullptr) return false;
  std::int64_t sequence = 0;
  p = scan::scan_integer(cursor.ready(p), sequence);
  if (p == nullptr || sequence < 0 || sequence > static_cast<std::int64_t>(kSequenceMax)) return false;
  e.sequence = static_cast<std::uint64_t>(sequence);
  p = take_time_between(cursor, p, ",\"watermark\":\"", "\",\"checksum\":\"", watermark_stencil, dates, e.watermark);
  if (p == nullptr) return false;
  p = cursor.ready(p);
  if (!parse_hex64({p, 16}, e.checksum)) return false;
  p += 16;
  e.quality = Quality::kNone;
  if (const char* const behind = take(p, "\",\"payload\":")) {
    p = behind;
  } else {
    p = take(p, "\",\"quality\":[");
    if (p == nullptr || (p = take_quality(cursor, p, e.quality)) == nullptr) return false;
    p = take(cursor.ready(p), ",\"payload\":");
    if (p == nullptr) return false;
  }
  const char* const payload = cursor.original(p);
  event.row.reset(*type->plan);
  p = PlanAccess::scan(*type->rules, cursor, p, event.row, dates);
  if (p == nullptr || *p != '}' || !cursor.at_end(p + 1)) return false;
  e.payload = {payload, static_cast<std::size_t>(cursor.original(p) - payload)};
  return hash64(e.payload) == e.checksum;
}

EventReader::Impl::Impl(const Registry& r) : registry(r), plans(r) {}

EventReader::EventReader(const Registry& registry) : impl_(std::make_unique<Impl>(registry)) {}
EventReader::~EventReader() = default;

bool EventReader::read(std::string_view bytes, Event& event, Violation& violation) {
  if (impl_->read_fast(bytes, event) || impl_->read_loose(bytes, event)) return true;
  return impl_->read_general(bytes, event, violation);
}

bool EventReader::read_general(std::string_view bytes, Event& event, Violation& violation) {
  return impl_->read_general(bytes, event, violation);
}

}  // namespace utp
