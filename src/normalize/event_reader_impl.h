// Internal to src/normalize: the two ways of EventReader.
#pragma once

#include <array>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/hash.h"
#include "normalize/normalizer.h"
#include "schema/json.h"
#include "schema/plan_rules.h"
#include "schema/registry.h"

namespace utp {

// Stretches of an envelope that repeat from message to message, once they have been found valid: found again by their
// first bytes and compared whole.
class Repeats {
 public:
  static constexpr std::size_t kBytesMax = 128;    // longer stretches go the general way
  static constexpr std::size_t kEntriesMax = 4'096;  // more are not remembered and go the general way

  struct Field {
    std::uint16_t offset = 0;
    std::uint16_t size = 0;
  };
  struct Entry {
    alignas(32) char text[kBytesMax];
    alignas(32) char mask[kBytesMax];  // 0xFF where the text is
    std::uint32_t size = 0;
    std::uint32_t next = UINT32_MAX;
    std::array<Field, 3> fields;
    std::shared_ptr<const Plan> plan;
    const PlanRules* rules = nullptr;

    // The entry's own text, not the message's: it stays in the cache.
    std::string_view field(std::size_t i) const { return {text + fields[i].offset, fields[i].size}; }
  };

  // `hash_at`: where the sixteen bytes begin that tell entries apart.
  explicit Repeats(std::size_t hash_at) : hash_at_(hash_at) { heads_.fill(UINT32_MAX); }

  // kBytesMax bytes at `p` can be read; null when no entry is there.
  const Entry* find(const char* p) const {
    for (std::uint32_t i = heads_[bucket(p)]; i != UINT32_MAX; i = entries_[i]->next) {
      if (same(*entries_[i], p)) [[likely]] return entries_[i].get();
    }
    return nullptr;
  }
  void add(std::unique_ptr<Entry> entry) {
    if (entries_.size() >= kEntriesMax) return;
    std::uint32_t& head = heads_[bucket(entry->text)];
    entry->next = head;
    head = static_cast<std::uint32_t>(entries_.size());
    entries_.push_back(std::move(entry));
  }

 private:
  std::size_t bucket(const char* p) const {
    std::uint64_t a;
    std::uint64_t b;
    std::memcpy(&a, p + hash_at_, 8);
    std::memcpy(&b, p + hash_at_ + 8, 8);
    return static_cast<std::size_t>(((a * 0x9E3779B97F4A7C15ull) ^ b) * 0xC2B2AE3D27D4EB4Full >> 56);
  }
  static bool same(const Entry& entry, const char* p) {
#if defined(__AVX2__)
    // All of it at once: no loop whose end must be guessed.
    const auto different = [&](std::size_t at) {
      const auto load = [](const char* q) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)); };
      return _mm256_and_si256(_mm256_xor_si256(load(p + at), load(entry.text + at)), load(entry.mask + at));
    };
    const __m256i any = _mm256_or_si256(_mm256_or_si256(different(0), different(32)), _mm256_or_si256(different(64), different(96)));
    return _mm256_testz_si256(any, any) != 0;
#else
    return std::memcmp(p, entry.text, entry.size) == 0;
#endif
  }

  std::size_t hash_at_;
  std::array<std::uint32_t, 256> heads_;
  std::vector<std::unique_ptr<Entry>> entries_;
};

// A stretch of fixed text around a time, with the date and the separators of the time that was read there last.
struct Stencil {
  static constexpr std::size_t kBytes = 96;
  alignas(32) char text[kBytes] = {};
  alignas(32) char mask[kBytes] = {};  // 0xFF where the text counts
  std::int64_t day_ns = 0;

#if defined(__AVX2__)
  template <std::size_t kSize>
  bool matches(const char* p) const {
    const auto different = [&](std::size_t at) {
      const auto load = [](const char* q) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(q)); };
      return _mm256_and_si256(_mm256_xor_si256(load(p + at), load(text + at)), load(mask + at));
    };
    __m256i any = _mm256_or_si256(different(0), different(kSize - 32));
    if constexpr (kSize > 64) any = _mm256_or_si256(any, different(32));
    return _mm256_testz_si256(any, any) != 0 && mask[0] != 0;
  }
#endif
  // `p`: such a stretch, read as legal; its time begins at `time_at`.
  void learn(const char* p, std::size_t size, std::size_t time_at, const scan::DateCache& dates) {
    if (std::memcmp(dates.text, p + time_at, 11) != 0) return;
    std::memcpy(text, p, size);
    std::memset(mask, -1, size);
    for (const std::size_t at : {11, 12, 14, 15, 17, 18, 20, 21, 22, 23, 24, 25, 26, 27, 28}) mask[time_at + at] = 0;
    day_ns = dates.day_ns;
  }
};

// A set of printable ASCII characters, looked up 32 at a time: a character is allowed when the bit of its high half is set
// in the row of its low half.
class CharSet {
 public:
  explicit constexpr CharSet(std::string_view chars) {
    for (const char c : chars) rows_[c & 15] = static_cast<char>(rows_[c & 15] | 1 << ((c >> 4) - 2));
  }
#if defined(__AVX2__)
  // A bit for each of the 32 characters at `p` that is not allowed.
  std::uint32_t others(const char* p) const {
    const auto rows = _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(rows_)));
    const __m256i bits = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 1, 2, 4, 8, 16, 32, 0, 0, 0, 0, 0, 0, 0, 0));
    const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    const __m256i low_half = _mm256_set1_epi8(0x0F);
    const __m256i allowed = _mm256_and_si256(_mm256_shuffle_epi8(rows, _mm256_and_si256(v, low_half)),
                                             _mm256_shuffle_epi8(bits, _mm256_and_si256(_mm256_srli_epi16(v, 4), low_half)));
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(allowed, _mm256_setzero_si256())));
  }
#endif

 private:
  alignas(16) char rows_[16] = {};
};
inline constexpr CharSet kNameChars("abcdefghijklmnopqrstuvwxyz0123456789_-");
inline constexpr CharSet kSourceChars("abcdefghijklmnopqrstuvwxyz0123456789_-.");
inline constexpr CharSet kSymbolChars("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._:/+=^#$@&*!~-");

#if defined(__AVX2__)
// `text`, of at most 32 bytes, is `value`; 32 bytes can be read there, and zeros stand behind the value.
inline bool same_text(const char* text, std::size_t size, const char (&value)[32], std::size_t value_size) {
  const __m256i equal = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(text)),
                                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(value)));
  const auto others = ~static_cast<std::uint32_t>(_mm256_movemask_epi8(equal));
  return size == value_size && (others & ((std::uint64_t{1} << size) - 1)) == 0;
}
#endif

// Plans by schema_ref without a tree search; a slot for each hash.
class PlanCache {
 public:
  explicit PlanCache(const Registry& registry) : registry_(registry) {}

  // Null when there is none of these two names. A message has them: its bytes before their ends can
  // be read, and 32 behind their begins.
  const Plan* find(std::string_view schema_ref, std::string_view event_type) {
    if (schema_ref.empty()) return nullptr;
    std::uint64_t words[2];
    std::memcpy(words, schema_ref.data() + schema_ref.size() - sizeof words, sizeof words);
    Slot& slot = slots_[((words[0] * 0x9E3779B97F4A7C15ull) ^ words[1]) * 0xC2B2AE3D27D4EB4Full >> 56];
#if defined(__AVX2__)
    if (same_text(schema_ref.data(), schema_ref.size(), slot.schema_ref, slot.schema_ref_size) &&
        same_text(event_type.data(), event_type.size(), slot.event_type, slot.event_type_size)) [[likely]] {
      return slot.plan.get();
    }
#endif
    if (!slot.plan || slot.plan->schema_ref() != schema_ref) {
      auto plan = registry_.by_ref(schema_ref);
      if (!plan) return nullptr;
      slot = Slot(std::move(plan));
    }
    return slot.plan->event_type() == event_type ? slot.plan.get() : nullptr;
  }

 private:
  struct Slot {
    char schema_ref[32] = {};
    char event_type[32] = {};
    std::size_t schema_ref_size = SIZE_MAX;  // SIZE_MAX: does not fit
    std::size_t event_type_size = SIZE_MAX;
    std::shared_ptr<const Plan> plan;

    Slot() = default;
    explicit Slot(std::shared_ptr<const Plan> p) : plan(std::move(p)) {
      if (plan->schema_ref().size() > sizeof schema_ref || plan->event_type().size() > sizeof event_type) return;
      schema_ref_size = plan->schema_ref().copy(schema_ref, sizeof schema_ref);
      event_type_size = plan->event_type().copy(event_type, sizeof event_type);
    }
  };

  const Registry& registry_;
  std::array<Slot, 256> slots_;
};

// From behind the opening quote to the closing one; null when it is no source of an event's time.
inline const char* take_source(const char* p, EventTimeSource& source) {
  const auto take = [&]<std::size_t N>(const char (&text)[N], EventTimeSource which) {
    source = which;
    return scan::literal(p, text) ? p + N - 1 : nullptr;
  };
  switch (*p) {
    case 'v': return take("venue", EventTimeSource::kVenue);
    case 'r': return take("receipt", EventTimeSource::kReceipt);
    default: return take("gateway", EventTimeSource::kGateway);
  }
}

struct EventReader::Impl {
  explicit Impl(const Registry& r);

  bool read_fast(std::string_view bytes, Event& event);
  // Keys in any order, white space anywhere; what is unusual beyond that goes the general way.
  bool read_loose(std::string_view bytes, Event& event);
  bool read_general(std::string_view bytes, Event& event, Violation& violation);
  void learn(std::string_view bytes, const Event& event);

  const Registry& registry;
  Repeats types{kTypeOffset};  // {"v":1,"event_type":...,"schema_ref":...,"source_id":"
  Repeats sources{0};          // sim.us1","realm":...,"region":...,"symbol":"
  PlanCache plans;
  Stencil event_stencil;
  Stencil ingest_stencil;
  Stencil watermark_stencil;
  scan::DateCache dates;
  scan::QuotedText quoted;  // of the loose way
  JsonTree tree;
  std::string padded;  // of the general way

  static constexpr std::size_t kTypeOffset = 21;  // behind {"v":1,"event_type":"
};

}  // namespace utp
