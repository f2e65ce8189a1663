#include "normalize/normalizer.h"

#include <algorithm>
#include <cstring>

#include "core/digits.h"
#include "core/timestamp_writer.h"
#include "model/envelope_rules.h"
#include "normalize/ordinals.h"
#include "normalize/symbol_table.h"
#include "schema/plan_rules.h"

namespace utp {
namespace {

constexpr std::size_t kTextRoom = 4'096;  // for a payload's texts and arrays, at first
constexpr std::size_t kHex64Size = 16;
constexpr std::size_t kHeaderBytesMax = 512;  // of an envelope between prefix and payload: symbol, times, every quality

template <std::size_t N>
char* put(char* out, const char (&text)[N]) {
  std::memcpy(out, text, N - 1);
  return out + N - 1;
}

char* put(char* out, std::string_view text) {
  if (!text.empty()) std::memcpy(out, text.data(), text.size());
  return out + text.size();
}

// In whole blocks, the last one from the end.
char* put_prefix(char* out, const std::string& prefix) {
  constexpr std::size_t kBlock = 32;
  const std::size_t size = prefix.size();
  if (size < kBlock) return put(out, prefix);
  std::size_t at = 0;
  for (; at + kBlock <= size; at += kBlock) std::memcpy(out + at, prefix.data() + at, kBlock);
  std::memcpy(out + size - kBlock, prefix.data() + size - kBlock, kBlock);
  return out + size;
}

bool refuse(Violation& violation, std::string code, std::string path, std::string message) {
  violation = {std::move(code), std::move(path), std::move(message)};
  return false;
}

bool in_payload(Violation& violation) {
  violation.path.insert(0, "/payload");
  return false;
}

char* put_symbol(char* out, std::string_view symbol) {
  if (symbol.size() < 4) return put(out, symbol);
  if (symbol.size() > 8) return put(out, symbol);
  // Four to eight bytes, from both ends.
  std::uint32_t head;
  std::uint32_t tail;
  std::memcpy(&head, symbol.data(), 4);
  std::memcpy(&tail, symbol.data() + symbol.size() - 4, 4);
  std::memcpy(out, &head, 4);
  std::memcpy(out + symbol.size() - 4, &tail, 4);
  return out + symbol.size();
}

char* put_source(char* out, EventTimeSource source) {
  if (source == EventTimeSource::kVenue) return put(out, "venue");
  return put(out, to_string(source));
}

char* put_quality(char* out, Quality quality) {
  out = put(out, "\"quality\":[");
  for (unsigned bit = 0; bit < kQualityCount; ++bit) {
    if (!has(quality, static_cast<Quality>(1u << bit))) continue;
    *out++ = '"';
    out = put(out, quality_name(bit));
    *out++ = '"';
    *out++ = ',';
  }
  out[-1] = ']';
  *out++ = ',';
  return out;
}

}  // namespace

struct Normalizer::Impl {
  struct Route {
    std::shared_ptr<const Plan> plan;
    const PlanRules* rules = nullptr;
    std::string topic;
    std::string prefix;  // the envelope up to the symbol's opening quote
    std::size_t fixed_bound = 0;
    SymbolTable symbols;
  };

  explicit Impl(NormalizerOptions o) : options(std::move(o)), ordinals(options.ordinals_max) {
    if (!is_source_id(options.source_id)) {
      flaw = {"pattern", "/source_id", "found \"" + options.source_id + "\", expected a-z, 0-9, _, . and -, at most 64 characters"};
    } else if (!is_realm(options.realm)) {
      flaw = {"pattern", "/realm", "found \"" + options.realm + "\", expected a-z, 0-9, _ and -, at most 64 characters"};
    } else if (!is_realm(options.region)) {
      flaw = {"pattern", "/region", "found \"" + options.region + "\", expected a-z, 0-9, _ and -, at most 64 characters"};
    }
  }

  Timestamp watermark_of(Timestamp highest) const {
    std::int64_t ns = 0;
    return {__builtin_sub_overflow(highest.ns, options.lateness_ns, &ns) ? INT64_MIN : ns};
  }

  // What stands before a payload, with room for the checksum and, where an ordinal goes, for one digit of it.
  struct Places {
    char* sequence;
    char* checksum;
    char* payload;
  };
  Places write_header(const Route& route, const EventHeader& header, Timestamp ingest_time, Timestamp highest, Quality quality,
                      char* out);
  std::uint64_t next_ordinal(const Ordinals::Key& key, SymbolTable::Latest& latest);
  bool check_header(const EventHeader& header, Violation& violation) const;
  bool check_new_symbol(const Route& route, std::string_view symbol, Violation& violation) const;

  NormalizerOptions options;
  Violation flaw;  // of the options; code "" = none
  std::vector<Route> routes;
  Ordinals ordinals;
  TimestampWriter event_times;
  TimestampWriter ingest_times;
  TimestampWriter watermarks;
  TimestampWriter payload_times;
};

// An event that moves its symbol's time on cannot have come before on this connection, so it needs no look-up; that spares
// a stream in order the wait for memory. Its entry is made when the next such event comes.
std::uint64_t Normalizer::Impl::next_ordinal(const Ordinals::Key& key, SymbolTable::Latest& latest) {
  const bool known = latest.epoch == ordinals.epoch();
  if (known && key.event_time <= latest.event_time.ns) {
    if (key.event_time == latest.event_time.ns && key.checksum == latest.checksum) return latest.count++;
    return ordinals.next(key);
  }
  if (known) ordinals.record({key.stream, latest.event_time.ns, latest.checksum}, latest.count);
  latest = {ordinals.epoch(), {key.event_time}, key.checksum, 1};
  return 0;
}

Normalizer::Impl::Places Normalizer::Impl::write_header(const Route& route, const EventHeader& header, Timestamp ingest_time,
                                                        Timestamp highest, Quality quality, char* out) {
  Places places{};
  out = put_prefix(out, route.prefix);
  out = put_symbol(out, header.symbol);
  out = put(out, "\",\"event_time\":\"");
  out = event_times.write(header.event_time, out);
  out = put(out, "\",\"event_time_source\":\"");
  out = put_source(out, header.event_time_source);
  out = put(out, "\",\"ingest_time\":\"");
  out = ingest_times.write(ingest_time, out);
  out = put(out, "\",\"sequence\":");
  places.sequence = out;
  out = header.sequence ? write_unsigned(out, *header.sequence) : out + 1;
  out = put(out, ",\"watermark\":\"");
  out = watermarks.write(watermark_of(highest), out);
  out = put(out, "\",\"checksum\":\"");
  places.checksum = out;
  out = put(out + kHex64Size, "\",");
  if (quality != Quality::kNone) out = put_quality(out, quality);
  places.payload = put(out, "\"payload\":");
  return places;
}

bool Normalizer::Impl::check_header(const EventHeader& header, Violation& violation) const {
  if (!flaw.code.empty()) {
    violation = flaw;
    return false;
  }
  if (header.event_time.ns <= 0) {
    return refuse(violation, "minimum", "/event_time", "found " + header.event_time.to_string() + ", expected a time after 1970");
  }
  if (header.sequence && *header.sequence > kSequenceMax) {
    return refuse(violation, "maximum", "/sequence", "found " + std::to_string(*header.sequence) + ", expected at most 2^53-1");
  }
  return true;
}

bool Normalizer::Impl::check_new_symbol(const Route& route, std::string_view symbol, Violation& violation) const {
  if (symbol.size() > SymbolTable::kSymbolBytesMax) {
    return refuse(violation, "maxLength", "/symbol", "found " + std::to_string(symbol.size()) + " bytes, expected at most 64");
  }
  if (!is_symbol(symbol)) {
    return refuse(violation, "pattern", "/symbol", "found characters beyond letters, digits and \" ._:/+=^#$@&*!~-\"");
  }
  if (route.symbols.size() >= options.symbols_max) {
    return refuse(violation, "symbols_max", "/symbol",
                  "more than " + std::to_string(options.symbols_max) + " symbols of " + route.plan->event_type() +
                      "; raise symbols_max or check the symbol mapping");
  }
  return true;
}

Normalizer::Normalizer(NormalizerOptions options) : impl_(std::make_unique<Impl>(std::move(options))) {}
Normalizer::~Normalizer() = default;
Normalizer::Normalizer(Normalizer&&) noexcept = default;
Normalizer& Normalizer::operator=(Normalizer&&) noexcept = default;

std::uint32_t Normalizer::add_route(std::shared_ptr<const Plan> plan) {
  Impl::Route route;
  const NormalizerOptions& o = impl_->options;
  route.topic = topic_name(o.realm, o.region, plan->event_type());
  route.prefix = "{\"v\":1,\"event_type\":\"" + plan->event_type() + "\",\"schema_ref\":\"" + plan->schema_ref() +
                 "\",\"source_id\":\"" + o.source_id + "\",\"realm\":\"" + o.realm + "\",\"region\":\"" + o.region +
                 "\",\"symbol\":\"";
  route.rules = &PlanAccess::impl(*plan);
  route.fixed_bound = PlanAccess::fixed_bound(*route.rules);
  route.plan = std::move(plan);
  impl_->routes.push_back(std::move(route));
  return static_cast<std::uint32_t>(impl_->routes.size() - 1);
}

const Plan& Normalizer::plan(std::uint32_t route) const { return *impl_->routes[route].plan; }
const std::string& Normalizer::topic(std::uint32_t route) const { return impl_->routes[route].topic; }

bool Normalizer::normalize(std::uint32_t route_index, const EventHeader& header, const Row& row, Timestamp ingest_time,
                           EventBatch& batch, Violation& violation) {
  Impl& impl = *impl_;
  Impl::Route& route = impl.routes[route_index];
  if (!impl.check_header(header, violation)) return false;
  std::uint32_t symbol = route.symbols.find(header.symbol);
  if (symbol == SymbolTable::kNone && !impl.check_new_symbol(route, header.symbol, violation)) return false;
  const PlanRules& rules = *route.rules;
  if (!row.has_plan() || &row.plan() != route.plan.get()) {
    if (!route.plan->validate(row, violation)) return in_payload(violation);
  }

  Timestamp highest = header.event_time;
  Quality quality = header.quality;
  if (symbol != SymbolTable::kNone) {
    const Timestamp before = route.symbols.state(symbol).highest;
    if (header.event_time < impl.watermark_of(before)) quality = quality | Quality::kLate;
    highest = std::max(highest, before);
  }

  const std::size_t fixed = route.prefix.size() + kHeaderBytesMax + route.fixed_bound;
  char* begin = batch.room(fixed + kTextRoom);
  Impl::Places places = impl.write_header(route, header, ingest_time, highest, quality, begin);
  WriteRoom room{places.payload + kTextRoom};
  char* out = PlanAccess::write_checked(rules, row, places.payload, room, impl.payload_times);
  if (out == nullptr && room.full) {
    const std::size_t size = PlanAccess::size_bound(rules, row);
    begin = batch.room(fixed + size);
    places = impl.write_header(route, header, ingest_time, highest, quality, begin);
    room = {places.payload + size};
    out = PlanAccess::write_checked(rules, row, places.payload, room, impl.payload_times);
  }
  if (out == nullptr) {
    route.plan->validate(row, violation);
    return in_payload(violation);
  }
  const std::uint64_t checksum = hash64({places.payload, static_cast<std::size_t>(out - places.payload)});
  write_hex64(places.checksum, checksum);
  *out++ = '}';

  constexpr std::size_t kMoreDigits = 7;  // that an ordinal may need
  if (static_cast<std::size_t>(out - begin) + (header.sequence ? 0 : kMoreDigits) > kEnvelopeBytesMax) {
    const auto size = static_cast<std::size_t>(out - begin);
    return refuse(violation, "size", "", "the envelope would have " + std::to_string(size) + " bytes, expected at most " +
                                             std::to_string(kEnvelopeBytesMax));
  }
  const std::uint64_t index = symbol == SymbolTable::kNone ? route.symbols.size() : symbol;
  const Ordinals::Key key{std::uint64_t{route_index} << 32 | index, header.event_time.ns, checksum};
  SymbolTable::Latest first;
  if (!header.sequence) {
    const std::uint64_t ordinal = impl.next_ordinal(key, symbol == SymbolTable::kNone ? first : route.symbols.state(symbol).latest);
    if (ordinal < 10) [[likely]] {
      *places.sequence = static_cast<char>('0' + ordinal);
    } else {
      const int more = count_digits(ordinal) - 1;
      std::memmove(places.sequence + 1 + more, places.sequence + 1, static_cast<std::size_t>(out - places.sequence - 1));
      write_unsigned(places.sequence, ordinal);
      out += more;
    }
  }
  const auto size = static_cast<std::size_t>(out - begin);
  if (symbol == SymbolTable::kNone) {
    route.symbols.state(route.symbols.add(header.symbol, highest)).latest = first;
  } else {
    route.symbols.state(symbol).highest = highest;
  }
  batch.entries_.push_back({route_index, static_cast<std::uint32_t>(route.prefix.size()),
                            static_cast<std::uint32_t>(header.symbol.size()), batch.size_, size});
  batch.size_ += size;
  return true;
}

void Normalizer::connection_opened() { impl_->ordinals.clear(); }

std::optional<Timestamp> Normalizer::watermark(std::uint32_t route, std::string_view symbol) const {
  const SymbolTable& symbols = impl_->routes[route].symbols;
  const std::uint32_t index = symbols.find(symbol);
  if (index == SymbolTable::kNone) return std::nullopt;
  return impl_->watermark_of(symbols.state(index).highest);
}

}  // namespace utp
