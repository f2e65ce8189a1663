// Typed rows: validation and the canonical serialization.
#include "core/digits.h"
#include "schema/plan_rules.h"

namespace utp {
namespace {

constexpr std::size_t kNumberBytesMax = 24;  // of a decimal whose exponent is within -18 to 0, and a comma

// "type" when the kind does not fit, the broken keyword otherwise, null when all is well.
const char* broken_scalar(const ScalarRule& rule, const Value& value) {
  bool ascii = true;
  switch (rule.type) {
    case ColumnType::kDecimal:
      if (value.kind != Kind::kDecimal) {
        if (value.kind != Kind::kInteger) return value.kind == Kind::kNull && rule.nullable ? nullptr : "type";
      } else if (value.exponent < Decimal::kExponentMin || value.exponent > Decimal::kExponentMax) {
        return "precision";
      }
      break;
    case ColumnType::kInteger:
      if (value.kind != Kind::kInteger) return value.kind == Kind::kNull && rule.nullable ? nullptr : "type";
      break;
    case ColumnType::kText:
      if (value.kind != Kind::kText) return value.kind == Kind::kNull && rule.nullable ? nullptr : "type";
      ascii = scan::is_plain_ascii(value.as_text());
      if (!ascii && !scan::valid_utf8(value.as_text())) return "utf8";
      break;
    case ColumnType::kTime:
      if (value.kind != Kind::kTime) return value.kind == Kind::kNull && rule.nullable ? nullptr : "type";
      return nullptr;
    case ColumnType::kBool:
      if (value.kind != Kind::kBool) return value.kind == Kind::kNull && rule.nullable ? nullptr : "type";
      break;
    case ColumnType::kArray: return "type";
  }
  return rule.broken(value, ascii);
}

bool refuse(Violation& violation, const ColumnRule& rule, const ScalarRule& scalar, const char* keyword, std::string path,
            const Value& value) {
  const std::string_view code = keyword;
  path = "/" + rule.name + path;
  if (code == "precision") {
    violation = {"precision", std::move(path), "found an exponent of " + std::to_string(value.exponent) + ", expected -36 to 18"};
    return false;
  }
  if (code == "utf8") {
    violation = {"utf8", std::move(path), "found bytes that are no UTF-8"};
    return false;
  }
  return refuse_value(violation, scalar, keyword, std::move(path), value);
}

bool check_array(const ColumnRule& rule, const Row& row, std::size_t column, Violation& violation) {
  const Value& value = row[column];
  if (value.kind != Kind::kArray) {
    if (value.kind == Kind::kNull && rule.nullable) return true;
    violation = {"type", "/" + rule.name, "found " + describe_value(value) + ", expected an array"};
    return false;
  }
  if (value.size < rule.min_items || value.size > rule.max_items) {
    const bool few = value.size < rule.min_items;
    violation = {few ? "minItems" : "maxItems", "/" + rule.name,
                 "found " + std::to_string(value.size) + " items, expected at " + (few ? "least " : "most ") +
                     std::to_string(few ? rule.min_items : rule.max_items)};
    return false;
  }
  const auto elements = row.elements(column, rule.arity);
  for (std::size_t i = 0; i < elements.size(); ++i) {
    const char* const keyword = broken_scalar(rule.scalar, elements[i]);
    if (keyword != nullptr) {
      std::string path = "/" + std::to_string(i / rule.arity);
      if (rule.tuples) path += "/" + std::to_string(i % rule.arity);
      return refuse(violation, rule, rule.scalar, keyword, std::move(path), elements[i]);
    }
  }
  return true;
}

char* write_text_escaped(char* out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte >= 0x20 && c != '"' && c != '\\') {
      *out++ = c;
      continue;
    }
    *out++ = '\\';
    switch (c) {
      case '"': *out++ = '"'; break;
      case '\\': *out++ = '\\'; break;
      case '\b': *out++ = 'b'; break;
      case '\f': *out++ = 'f'; break;
      case '\n': *out++ = 'n'; break;
      case '\r': *out++ = 'r'; break;
      case '\t': *out++ = 't'; break;
      default:
        std::memcpy(out, "u00", 3);
        out[3] = kHex[byte >> 4];
        out[4] = kHex[byte & 15];
        out += 5;
    }
  }
  return out;
}

// Copies from both ends, without a call for what is short.
[[gnu::always_inline]] inline char* copy_short(char* out, const char* p, std::size_t size) {
  const auto copy = [&]<std::size_t kBytes>(std::integral_constant<std::size_t, kBytes>) {
    char head[kBytes];
    char rest[kBytes];
    std::memcpy(head, p, kBytes);
    std::memcpy(rest, p + size - kBytes, kBytes);
    std::memcpy(out, head, kBytes);
    std::memcpy(out + size - kBytes, rest, kBytes);
  };
  if (size > 64) {
    std::memcpy(out, p, size);
  } else if (size >= 32) {
    copy(std::integral_constant<std::size_t, 32>());
  } else if (size >= 16) {
    copy(std::integral_constant<std::size_t, 16>());
  } else if (size >= 8) {
    copy(std::integral_constant<std::size_t, 8>());
  } else if (size >= 4) {
    copy(std::integral_constant<std::size_t, 4>());
  } else {
    for (std::size_t i = 0; i < size; ++i) out[i] = p[i];
  }
  return out + size;
}

[[gnu::always_inline]] inline char* write_text(char* out, std::string_view text, bool plain) {
  *out++ = '"';
  out = plain ? copy_short(out, text.data(), text.size()) : write_text_escaped(out, text);
  *out++ = '"';
  return out;
}

[[gnu::always_inline]] inline char* write_decimal(char* out, const Value& value) {
#if defined(__SSE4_1__)
  if (char* const end = write_short_decimal(out, value.integer, value.exponent)) [[likely]] return end;
#endif
  return value.as_decimal().write(out);
}

char* write_scalar(char* out, const Value& value, TimestampWriter& times) {
  switch (value.kind) {
    case Kind::kDecimal: return write_decimal(out, value);
    case Kind::kInteger: return write_signed(out, value.integer);
    case Kind::kText: return write_text(out, value.as_text(), scan::is_plain_ascii(value.as_text()));
    case Kind::kTime:
      *out = '"';
      out = times.write(value.as_time(), out + 1);
      *out = '"';
      return out + 1;
    case Kind::kBool:
      if (value.as_bool()) {
        std::memcpy(out, "true", 4);
        return out + 4;
      }
      std::memcpy(out, "false", 5);
      return out + 5;
    default: std::memcpy(out, "null", 4); return out + 4;
  }
}

template <bool kCheck>
[[gnu::always_inline]] inline char* write_element(char* out, const ScalarRule& rule, const Value& value, TimestampWriter& times) {
  if (kCheck && broken_scalar(rule, value) != nullptr) return nullptr;
  if (value.kind == Kind::kDecimal) return write_decimal(out, value);
  return write_scalar(out, value, times);
}

// Null when kCheck and an element is not allowed.
template <bool kCheck>
char* write_array(char* out, const ColumnRule& rule, std::span<const Value> elements, std::uint32_t size, TimestampWriter& times) {
  if (kCheck && (size < rule.min_items || size > rule.max_items)) return nullptr;
  *out++ = '[';
  if (rule.tuples) {
    for (std::size_t i = 0; i < elements.size();) {
      *out++ = '[';
      for (std::uint32_t j = 0; j < rule.arity; ++j) {
        out = write_element<kCheck>(out, rule.scalar, elements[i++], times);
        if (kCheck && out == nullptr) return nullptr;
        *out++ = ',';
      }
      out[-1] = ']';
      *out++ = ',';
    }
  } else {
    for (const Value& element : elements) {
      out = write_element<kCheck>(out, rule.scalar, element, times);
      if (kCheck && out == nullptr) return nullptr;
      *out++ = ',';
    }
  }
  if (!elements.empty()) --out;
  *out++ = ']';
  return out;
}

std::size_t bound(const Value& value) {
  switch (value.kind) {
    case Kind::kText: return std::size_t{6} * value.size + 2;
    case Kind::kTime: return Timestamp::kTextSize + 2;
    case Kind::kDecimal: return value.exponent >= -18 && value.exponent <= 0 ? kNumberBytesMax : Decimal::kTextMax + 1;
    default: return kNumberBytesMax;
  }
}

std::size_t array_bound(const ColumnRule& rule, const Row& row, std::size_t column) {
  std::size_t size = 2 + std::size_t{3} * row[column].size;
  for (const Value& element : row.elements(column, rule.arity)) size += bound(element) + 1;
  return size;
}

bool fits_array(const ColumnRule& rule, const Row& row, std::size_t column, std::ptrdiff_t room) {
  constexpr std::size_t kElementBytesMax = Decimal::kTextMax + 2 + 3;  // of what is no text, with comma and brackets
  const std::size_t most = std::size_t{row[column].size} * rule.arity * kElementBytesMax + 2;
  if (rule.scalar.type != ColumnType::kText && static_cast<std::ptrdiff_t>(most) <= room) [[likely]] return true;
  return static_cast<std::ptrdiff_t>(array_bound(rule, row, column)) <= room;
}

// One column's value; null when kCheck and it is not allowed or `room` is full.
template <bool kCheck>
[[gnu::always_inline]] inline char* write_column(char* out, const Step& step, const Row& row, std::size_t column, const Value& value,
                                                  WriteRoom& room, TimestampWriter& times) {
  switch (value.kind) {
    case Kind::kDecimal:
      if (kCheck && (step.op != Step::Op::kDecimal || value.integer < step.low || value.exponent < Decimal::kExponentMin ||
                     value.exponent > Decimal::kExponentMax || (step.deep && step.rule->scalar.broken(value, true) != nullptr))) {
        return nullptr;
      }
      return write_decimal(out, value);
    case Kind::kText: {
      const std::string_view text = value.as_text();
      const bool plain = scan::is_plain_ascii(text);
      if (kCheck) {
        if (room.limit - out < static_cast<std::ptrdiff_t>(6 * text.size())) [[unlikely]] return room.full = true, nullptr;
        if (step.op == Step::Op::kChoice) {
          if (!step.rule->scalar.texts.contains(text) || !plain) {
            if (broken_scalar(step.rule->scalar, value) != nullptr) return nullptr;
          }
        } else if (step.op != Step::Op::kText) {
          return nullptr;
        } else {
          const std::int64_t size = value.size;
          if ((!plain && !scan::valid_utf8(text)) || ((size < step.low || size > step.high || step.deep || !plain) &&
                                                      step.rule->scalar.broken(value, plain) != nullptr)) {
            return nullptr;
          }
        }
      }
      return write_text(out, text, plain);
    }
    case Kind::kInteger:
      if (kCheck && (step.op != Step::Op::kInteger || value.integer < step.low || value.integer > step.high || step.deep) &&
          (step.rule->type == ColumnType::kArray || broken_scalar(step.rule->scalar, value) != nullptr)) {
        return nullptr;
      }
      return write_signed(out, value.integer);
    case Kind::kArray:
      if (kCheck && step.rule->type != ColumnType::kArray) return nullptr;
      if (kCheck && !fits_array(*step.rule, row, column, room.limit - out)) [[unlikely]] return room.full = true, nullptr;
      return write_array<kCheck>(out, *step.rule, row.elements(column, step.rule->arity), value.size, times);
    default:
      if (kCheck) {
        if (step.rule->type == ColumnType::kArray) {
          if (value.kind != Kind::kNull || !step.rule->nullable) return nullptr;
        } else if (broken_scalar(step.rule->scalar, value) != nullptr) {
          return nullptr;
        }
      }
      return write_scalar(out, value, times);
  }
}

template <bool kCheck>
char* write_columns(const PlanRules& plan, const Row& row, char* out, WriteRoom& room, TimestampWriter& times) {
  const Value* const values = row.values().data();
  char* const begin = out;
  std::size_t column = 0;
  for (const Step& step : plan.steps) {
    const Value& value = values[column];
    if (value.kind == Kind::kAbsent) {
      if (kCheck && step.rule->required) return nullptr;
    } else {
      std::memcpy(out, step.key, Step::kKeyBytes);
      if (step.long_key) [[unlikely]] std::memcpy(out, step.rule->written_key.data(), step.key_size);
      out = write_column<kCheck>(out + step.key_size, step, row, column, value, room, times);
      if (kCheck && out == nullptr) return nullptr;
    }
    ++column;
  }
  if (out == begin) ++out;
  *begin = '{';  // over the first comma
  *out++ = '}';
  return out;
}

}  // namespace

// Every scalar at its longest, and room for whole vectors stored at the end.
std::size_t PlanAccess::fixed_bound(const PlanRules& plan) {
  return plan.keys_bytes + plan.steps.size() * (Decimal::kTextMax + 2) + 64;
}

std::size_t PlanAccess::size_bound(const PlanRules& plan, const Row& row) {
  const auto values = row.values();
  std::size_t size = fixed_bound(plan);
  for (const std::uint32_t i : plan.variable) {
    if (values[i].kind == Kind::kText) size += std::size_t{6} * values[i].size;
    if (values[i].kind == Kind::kArray) size += array_bound(plan.rules[i], row, i);
  }
  return size;
}

char* PlanAccess::write(const PlanRules& plan, const Row& row, char* out) {
  TimestampWriter times;
  WriteRoom room;
  return write_columns<false>(plan, row, out, room, times);
}

char* PlanAccess::write_checked(const PlanRules& plan, const Row& row, char* out, WriteRoom& room, TimestampWriter& times) {
  return write_columns<true>(plan, row, out, room, times);
}

bool Plan::validate(const Row& row, Violation& violation) const {
  const auto values = row.values();
  if (!row.has_plan() || (&row.plan() != this && row.plan().schema_ref() != impl_->schema_ref)) {
    violation = {"type", "", "the row was not made for " + impl_->schema_ref};
    return false;
  }
  for (std::size_t i = 0; i < values.size(); ++i) {
    const Value& value = values[i];
    const ColumnRule& rule = impl_->rules[i];
    if (value.kind == Kind::kAbsent) {
      if (!rule.required) continue;
      violation = {"required", "/" + rule.name, "absent, but required by " + impl_->schema_ref};
      return false;
    }
    if (rule.type == ColumnType::kArray) {
      if (!check_array(rule, row, i, violation)) return false;
      continue;
    }
    const char* const keyword = broken_scalar(rule.scalar, value);
    if (keyword != nullptr) return refuse(violation, rule, rule.scalar, keyword, "", value);
  }
  return true;
}

void Plan::write(const Row& row, std::string& out) const {
  const std::size_t size = out.size();
  out.resize(size + PlanAccess::size_bound(*impl_, row));
  char* const begin = out.data() + size;
  out.resize(size + static_cast<std::size_t>(PlanAccess::write(*impl_, row, begin) - begin));
}

}  // namespace utp
