// Rules: the part of a plan that is run for every value, flat and without pointers to follow where that can be avoided.
// Internal to src/schema.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/packed_text.h"
#include "core/timestamp_writer.h"
#include "schema/json.h"
#include "schema/node.h"
#include "schema/plan.h"
#include "schema/quoted.h"
#include "schema/scanner.h"

namespace utp {

// A small map from texts to their place in the order of addition, behind a hash without collisions: one comparison decides.
// Texts of more than 16 bytes stand in a plain list.
class TextMap {
 public:
  static constexpr std::uint32_t kNone = UINT32_MAX;

  void add(std::string_view text);  // twice: the first place stays
  std::uint32_t find(std::string_view text) const {
    return text.size() > 16 ? find_long(text) : find(PackedText(text.data(), text.size()), text.size());
  }
  // The same without a branch on the size; sixteen bytes at `p` can be read, whatever `size` is.
  std::uint32_t find_readable(const char* p, std::size_t size) const {
#if defined(__SSE4_1__)
    if (size <= 16) [[likely]] {
      const __m128i text = _mm_and_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)),
                                         _mm_loadu_si128(reinterpret_cast<const __m128i*>(kMask + 16 - size)));
      PackedText packed;
      packed.low = static_cast<std::uint64_t>(_mm_cvtsi128_si64(text));
      packed.high = static_cast<std::uint64_t>(_mm_extract_epi64(text, 1));
      return find(packed, size);
    }
#endif
    return find({p, size});
  }
  bool contains(std::string_view text) const { return find(text) != kNone; }

 private:
  struct Entry {
    PackedText packed;
    std::uint32_t size = UINT32_MAX;
    std::uint32_t place = kNone;
  };
  static constexpr char kMask[32] = {-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

  std::size_t slot(const PackedText& packed) const {
    return static_cast<std::size_t>((packed.low ^ std::rotl(packed.high, 23)) * multiplier_ >> shift_);
  }
  std::uint32_t find(const PackedText& packed, std::size_t size) const {
    if (slots_.empty()) return kNone;
    const Entry& entry = slots_[slot(packed)];
    return entry.packed == packed && entry.size == size ? entry.place : kNone;
  }
  std::uint32_t find_long(std::string_view text) const;
  bool place(const std::vector<Entry>& entries);

  std::vector<Entry> slots_;  // a power of two
  std::uint64_t multiplier_ = 0;
  int shift_ = 0;
  std::uint32_t size_ = 0;
  std::vector<std::pair<std::string, std::uint32_t>> long_;
};

// What one scalar must be: a column, or the elements of an array column.
struct ScalarRule {
  ColumnType type = ColumnType::kText;
  bool nullable = false;
  bool plain = true;         // nothing is asked beyond the type
  bool non_negative = false;  // numbers: the one bound that is common
  bool deep = false;         // choices, format, pattern, other bounds: check_deep()
  bool has_choices = false;
  bool allows_true = true;
  bool allows_false = true;
  std::uint64_t min_length = 0;
  std::uint64_t max_length = UINT64_MAX;
  std::int64_t integer_min = INT64_MIN;  // all bounds of an integer column, folded
  std::int64_t integer_max = INT64_MAX;
  TextMap texts;  // choices
  std::vector<Decimal> numbers;  // choices
  std::shared_ptr<const Node> node;
  std::uint32_t id = 0;  // no other rule of the process has it

  // The keyword that `value` breaks, null when none. Its kind is known to fit `type` (or is kNull). `ascii`: a text is
  // known to be ASCII.
  const char* broken(const Value& value, bool ascii) const {
    if (plain) return nullptr;
    switch (type) {
      case ColumnType::kDecimal:
        if (non_negative && value.integer < 0) return value.kind == Kind::kNull ? nullptr : "minimum";
        break;
      case ColumnType::kInteger:
        if (value.kind == Kind::kInteger && (value.integer < integer_min || value.integer > integer_max)) {
          return integer_keyword(value.integer);
        }
        break;
      case ColumnType::kText:
        if (value.kind != Kind::kText) break;
        if (value.size > max_length && (ascii || scan::code_points(value.as_text()) > max_length)) return "maxLength";
        if (value.size < min_length || (!ascii && min_length > 0 && scan::code_points(value.as_text()) < min_length)) {
          return "minLength";
        }
        break;
      default: break;
    }
    return deep ? broken_deep(value) : nullptr;
  }

 private:
  const char* integer_keyword(std::int64_t value) const;
  const char* broken_deep(const Value& value) const;
};

struct ColumnRule {
  ColumnType type = ColumnType::kText;
  bool nullable = false;
  bool required = false;
  bool tuples = false;
  std::uint32_t arity = 1;
  std::uint64_t min_items = 0;
  std::uint64_t max_items = UINT64_MAX;
  ScalarRule scalar;        // of the column, or of an array's elements
  std::string name;
  std::string written_key;  // ,"name":
};

// The scanner's view of a column, one cache line.
struct alignas(64) Step {
  enum class Op : std::uint8_t { kDecimal, kInteger, kText, kChoice, kArray, kOther };
  static constexpr std::size_t kKeyBytes = 32;

  char key[kKeyBytes];      // ,"name": (the first bytes of it)
  std::uint32_t mask = 0;   // of the bytes to compare; the first is not
  std::uint8_t key_size = 0;
  Op op = Op::kOther;
  bool deep = false;        // ask the rule, too
  bool long_key = false;    // compare the rest, too
  std::int64_t low = 0;     // kDecimal: smallest mantissa; kInteger: smallest value; kText: fewest bytes
  std::int64_t high = 0;    // kInteger: largest value; kText: most bytes
  const ColumnRule* rule = nullptr;

  bool matches(const char* p) const {  // from the comma or brace before the key
#if defined(__AVX2__)
    const __m256i equal = _mm256_cmpeq_epi8(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)),
                                            _mm256_load_si256(reinterpret_cast<const __m256i*>(key)));
    if ((~static_cast<std::uint32_t>(_mm256_movemask_epi8(equal)) & mask) != 0) return false;
    return !long_key || matches_long(p);
#else
    return std::memcmp(p + 1, rule->written_key.data() + 1, key_size - 1u) == 0;
#endif
  }
  bool matches_long(const char* p) const;
};
static_assert(sizeof(Step) == 64);

struct PlanRules {
  Schema schema;
  std::string event_type;
  std::string schema_ref;
  std::string name;
  SemanticVersion version;
  std::string table;
  std::optional<std::size_t> explode;
  Delivery delivery = Delivery::kLossless;
  std::int64_t retention_ns = 0;
  std::vector<Column> columns;
  std::vector<ColumnRule> rules;
  std::vector<Step> steps;  // of the rules, which stay where they are
  TextMap keys;             // a column's place by its name
  std::vector<std::uint32_t> required;
  std::uint64_t required_columns = 0;  // the same as bits, of the first 64
  std::size_t keys_bytes = 2;  // braces, keys and commas
  std::vector<std::uint32_t> variable;  // columns whose size has no bound: texts and arrays
};

struct Plan::Impl : PlanRules {};

struct WriteRoom {
  char* limit = nullptr;
  bool full = false;  // it was too small
};

// What the normalizer and the event reader use of a plan, beside its public face.
struct PlanAccess {
  static const PlanRules& impl(const Plan& plan) { return *plan.impl_; }
  // From '{' to behind '}'. The row must have been reset. Null: the general way must decide.
  static const char* scan(const PlanRules& plan, scan::Cursor& cursor, const char* p, Row& row, scan::DateCache& dates);
  // The same for keys in any order and white space anywhere, between two braces that follow each other. `depth`: 1 for the
  // payload of an envelope.
  static bool scan_loose(const PlanRules& plan, scan::QuotedText& text, int depth, const scan::QuotedText::Brace& open,
                         const scan::QuotedText::Brace& close, Row& row, scan::DateCache& dates);
  // The general way from an object of a tree. The row must have been reset.
  static bool read_tree(const PlanRules& plan, const JsonTree& tree, const JsonValue& payload, Row& row, Violation& violation);
  // Bytes that write() cannot exceed.
  static std::size_t size_bound(const PlanRules& plan, const Row& row);
  static char* write(const PlanRules& plan, const Row& row, char* out);
  // The same for a row of this plan that has not been validated; null when validate() would refuse it, or when the texts
  // and arrays do not fit before `room.limit`. fixed_bound() bytes must follow that.
  static char* write_checked(const PlanRules& plan, const Row& row, char* out, WriteRoom& room, TimestampWriter& times);
  static std::size_t fixed_bound(const PlanRules& plan);
};

// Violation with a message for a value that broke `keyword`.
bool refuse_value(Violation& violation, const ScalarRule& rule, const char* keyword, std::string path, const Value& value);
std::string_view to_string(ColumnType type);
std::string describe_value(const Value& value);

}  // namespace utp
