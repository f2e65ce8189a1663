// The fast way in: keys are predicted in column order and compared whole.
#include "schema/plan_rules.h"

namespace utp {
namespace {

using scan::Cursor;

// All of these return the position behind the value, null when the general way must decide. The caller made `p` ready.

const char* scan_null(const ScalarRule& rule, const char* p, Value& out) {
  if (!rule.nullable || !scan::literal(p, "null")) return nullptr;
  out = Value::null();
  return p + 4;
}

[[gnu::always_inline]] inline const char* scan_decimal(const ScalarRule& rule, const char* p, Value& out) {
  const char* const end = scan::scan_decimal(p, out.integer, out.exponent);
  if (end == nullptr) [[unlikely]] return scan_null(rule, p, out);
  out.kind = Kind::kDecimal;
  return end;
}

[[gnu::always_inline]] inline const char* scan_integer(const ScalarRule& rule, const char* p, Value& out) {
  const char* const end = scan::scan_integer(p, out.integer);
  if (end == nullptr) [[unlikely]] return scan_null(rule, p, out);
  out.kind = Kind::kInteger;
  return end;
}

[[gnu::always_inline]] inline const char* scan_text(const ScalarRule& rule, Cursor& cursor, const char* p, Value& out, bool& ascii) {
  if (*p != '"') [[unlikely]] return scan_null(rule, p, out);
  scan::Text text;
  p = scan::scan_text(cursor, p + 1, text);
  out.text = text.bytes;
  out.size = text.size;
  out.kind = Kind::kText;
  ascii = text.ascii;
  return p;
}

const char* scan_time(const ScalarRule& rule, Cursor& cursor, const char* p, Value& out, scan::DateCache& dates) {
  if (*p != '"') return scan_null(rule, p, out);
  if (cursor.left(p) < Timestamp::kTextSize + 2 || !scan::scan_time(p + 1, dates, out.integer) ||
      p[Timestamp::kTextSize + 1] != '"') {
    return nullptr;
  }
  out.kind = Kind::kTime;
  return p + Timestamp::kTextSize + 2;
}

const char* scan_bool(const ScalarRule& rule, const char* p, Value& out) {
  if (scan::literal(p, "true")) {
    out = Value::of(true);
    return p + 4;
  }
  if (scan::literal(p, "false")) {
    out = Value::of(false);
    return p + 5;
  }
  return scan_null(rule, p, out);
}

const char* scan_scalar(const ScalarRule& rule, Cursor& cursor, const char* p, Value& out, scan::DateCache& dates) {
  bool ascii = true;
  switch (rule.type) {
    case ColumnType::kDecimal: p = scan_decimal(rule, p, out); break;
    case ColumnType::kInteger: p = scan_integer(rule, p, out); break;
    case ColumnType::kText: p = scan_text(rule, cursor, p, out, ascii); break;
    case ColumnType::kTime: p = scan_time(rule, cursor, p, out, dates); break;
    case ColumnType::kBool: p = scan_bool(rule, p, out); break;
    case ColumnType::kArray: return nullptr;
  }
  return p == nullptr || rule.broken(out, ascii) != nullptr ? nullptr : p;
}

[[gnu::always_inline]] inline const char* scan_element(const ScalarRule& rule, Cursor& cursor, const char* p, Value& out,
                                                      scan::DateCache& dates) {
  if (rule.type != ColumnType::kDecimal) return scan_scalar(rule, cursor, p, out, dates);
  p = scan_decimal(rule, p, out);
  return p == nullptr || rule.broken(out, true) != nullptr ? nullptr : p;
}

const char* scan_array(const ColumnRule& rule, Cursor& cursor, const char* p, std::size_t column, Row& row, scan::DateCache& dates) {
  Value& out = row.values()[column];
  if (*p != '[') return rule.nullable && scan::literal(p, "null") ? (out = Value::null(), p + 4) : nullptr;
  p = p + 1;
  std::vector<Value>& elements = row.element_buffer();
  const std::size_t first = elements.size();
  std::uint64_t count = 0;
  if (*p == ']') {
    ++p;
  } else {
    for (;;) {
      p = cursor.ready(p);
      if (rule.tuples) {
        if (*p != '[') return nullptr;
        p = p + 1;
      }
      for (std::uint32_t i = 0;;) {
        Value& value = elements.emplace_back();
        p = scan_element(rule.scalar, cursor, p, value, dates);
        if (p == nullptr) return nullptr;
        if (++i == rule.arity) break;
        if (*p != ',') return nullptr;
        p = cursor.ready(p + 1);
      }
      if (rule.tuples) {
        if (*p != ']') return nullptr;
        p = p + 1;
      }
      ++count;
      const char next = *p;
      ++p;
      if (next == ']') break;
      if (next != ',') return nullptr;
    }
  }
  if (count < rule.min_items || count > rule.max_items || count > UINT32_MAX) return nullptr;
  out.first = first;
  out.size = static_cast<std::uint32_t>(count);
  out.kind = Kind::kArray;
  return p;
}

// The value of one column, checked.
[[gnu::always_inline]] inline const char* scan_column(const Step& step, Cursor& cursor, const char* p, std::size_t column, Row& row,
                                                      Value& out, scan::DateCache& dates) {
  bool ascii = true;
  switch (step.op) {
    case Step::Op::kDecimal:
      p = scan_decimal(step.rule->scalar, p, out);
      if (p == nullptr || (out.integer < step.low && out.kind == Kind::kDecimal)) return nullptr;
      break;
    case Step::Op::kInteger:
      p = scan_integer(step.rule->scalar, p, out);
      if (p == nullptr || ((out.integer < step.low || out.integer > step.high) && out.kind == Kind::kInteger)) return nullptr;
      break;
    case Step::Op::kText: {
      p = scan_text(step.rule->scalar, cursor, p, out, ascii);
      if (p == nullptr) return nullptr;
      const std::int64_t size = out.size;
      if ((size < step.low || size > step.high || !ascii) && step.rule->scalar.broken(out, ascii) != nullptr) return nullptr;
      break;
    }
    case Step::Op::kChoice: {
      const char* const start = p + 1;
      if (*p != '"') return scan_null(step.rule->scalar, p, out);
      p = scan_text(step.rule->scalar, cursor, p, out, ascii);
      if (p == nullptr) return nullptr;
      const std::int64_t size = out.size;
      // A long text may have moved into the cursor's copy of the message's end, away from `start`.
      if (size > 16 || size < step.low || size > step.high || !ascii) return step.rule->scalar.broken(out, ascii) == nullptr ? p : nullptr;
      return step.rule->scalar.texts.find_readable(start, out.size) != TextMap::kNone ? p : nullptr;
    }
    default:
      return step.rule->type == ColumnType::kArray ? scan_array(*step.rule, cursor, p, column, row, dates)
                                                   : scan_scalar(step.rule->scalar, cursor, p, out, dates);
  }
  if (step.deep && step.rule->scalar.broken(out, ascii) != nullptr) return nullptr;
  return p;
}

}  // namespace

bool Step::matches_long(const char* p) const {
  return std::memcmp(p + kKeyBytes, rule->written_key.data() + kKeyBytes, key_size - kKeyBytes) == 0;
}

const char* PlanAccess::scan(const PlanRules& plan, Cursor& cursor, const char* p, Row& row, scan::DateCache& dates) {
  const Step* const steps = plan.steps.data();
  const Step* const end = steps + plan.steps.size();
  const Step* step = steps;
  Value* const values = row.values().data();
  p = cursor.ready(p);
  if (p[0] != '{') return nullptr;
  if (p[1] == '}') return plan.required.empty() ? p + 2 : nullptr;
  do {
    p = cursor.ready(p);
    // The brace or comma has been seen; the rest of the key is compared.
    for (;; ++step) {
      if (step == end) return nullptr;
      if (step->matches(p)) break;
    }
    const auto column = static_cast<std::size_t>(step - steps);
    p = scan_column(*step, cursor, p + step->key_size, column, row, values[column], dates);
    if (p == nullptr) return nullptr;
    ++step;
  } while (*p == ',');
  if (*p != '}') return nullptr;
  for (const std::uint32_t i : plan.required) {
    if (values[i].kind == Kind::kAbsent) return nullptr;
  }
  return p + 1;
}

bool Plan::read_fast(std::string_view json, Row& row) const {
  thread_local scan::DateCache dates;
  row.reset(*this);
  Cursor cursor(json);
  const char* end = PlanAccess::scan(*impl_, cursor, cursor.begin(), row, dates);
  if (end != nullptr && cursor.at_end(end)) return true;
  thread_local scan::QuotedText text;
  if (!text.load(json)) return false;
  row.reset(*this);
  const auto open = text.next_brace(text.begin());
  const auto close = text.next_brace(open.at + 1);
  return close.at < text.end() && close.at == text.last() && text.skip_space(text.begin()) == open.at &&
         PlanAccess::scan_loose(*impl_, text, 0, open, close, row, dates);
}

}  // namespace utp
