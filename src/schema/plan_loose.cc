// The fast way for keys in any order and white space anywhere.
#include "schema/plan_rules.h"

namespace utp {
namespace {

using scan::QuotedText;

// One pass over one payload. Every function returns the position behind what it read, null when the general way must decide.
class LooseScanner {
 public:
  LooseScanner(QuotedText& text, std::size_t mark, Row& row, scan::DateCache& dates)
      : text_(text), mark_(mark), row_(row), values_(row.values().data()), dates_(dates) {}

  std::size_t mark() const { return mark_; }

  const char* object(const PlanRules& plan, const char* p) {
    if (*p != '{') return nullptr;
    p = text_.skip_space(p + 1);
    if (*p != '}') {
      std::size_t next = 0;  // the column that is expected
      for (;;) {
        const std::size_t column = key(plan, p, next);
        if (column == TextMap::kNone || values_[column].kind != Kind::kAbsent) return nullptr;
        p = text_.skip_space(p);
        if (*p != ':') return nullptr;
        p = value(plan.steps[column], text_.skip_space(p + 1), column);
        if (p == nullptr) return nullptr;
        next = column + 1;
        p = text_.skip_space(p);
        if (*p != ',') break;
        p = text_.skip_space(p + 1);
      }
      if (*p != '}') return nullptr;
    }
    for (const std::uint32_t i : plan.required) {
      if (values_[i].kind == Kind::kAbsent) return nullptr;
    }
    return p + 1;
  }

 private:
  // The column of the key at `p`, which moves behind the key.
  std::size_t key(const PlanRules& plan, const char*& p, std::size_t next) {
    const char* const open = text_.quote(mark_);
    const char* const close = text_.quote(mark_ + 1);
    if (p != open || *p != '"') return TextMap::kNone;
    mark_ += 2;
    p = close + 1;
    const auto size = static_cast<std::size_t>(close - open) - 1;
    if (next < plan.steps.size() && plan.steps[next].key_size == size + 4 && plan.steps[next].matches_quote(open)) return next;
    return plan.keys.find_readable(open + 1, size);
  }

  const char* string(const char* p, Value& out) {
    if (*p != '"' || p != text_.quote(mark_)) return nullptr;
    const char* const close = text_.quote(mark_ + 1);
    mark_ += 2;
    out.text = text_.original(p + 1);
    out.size = static_cast<std::uint32_t>(close - p - 1);
    out.kind = Kind::kText;
    return close + 1;
  }

  const char* scalar(const ScalarRule& rule, const char* p, Value& out) {
    const char* end = nullptr;
    switch (rule.type) {
      case ColumnType::kDecimal:
        end = scan::scan_decimal(p, out.integer, out.exponent);
        out.kind = Kind::kDecimal;
        break;
      case ColumnType::kInteger:
        end = scan::scan_integer(p, out.integer);
        out.kind = Kind::kInteger;
        break;
      case ColumnType::kText: end = string(p, out); break;
      case ColumnType::kTime: {
        Value quoted;
        end = string(p, quoted);
        if (end == nullptr) break;
        if (quoted.size != Timestamp::kTextSize || !scan::scan_time(p + 1, dates_, out.integer)) return nullptr;
        out.kind = Kind::kTime;
        break;
      }
      case ColumnType::kBool:
        if (scan::literal(p, "true")) {
          out = Value::of(true);
          end = p + 4;
        } else if (scan::literal(p, "false")) {
          out = Value::of(false);
          end = p + 5;
        }
        break;
      case ColumnType::kArray: return nullptr;
    }
    if (end == nullptr) {
      if (!rule.nullable || !scan::literal(p, "null")) return nullptr;
      out = Value::null();
      end = p + 4;
    }
    return rule.broken(out, text_.ascii()) == nullptr ? end : nullptr;
  }

  const char* value(const Step& step, const char* p, std::size_t column) {
    Value& out = values_[column];
    switch (step.op) {
      case Step::Op::kDecimal: {
        const char* const end = scan::scan_decimal(p, out.integer, out.exponent);
        if (end == nullptr || out.integer < step.low || step.deep) break;
        out.kind = Kind::kDecimal;
        return end;
      }
      case Step::Op::kChoice: {
        if (*p != '"' || !text_.ascii()) break;
        const char* const end = string(p, out);
        if (end == nullptr || out.size < step.low || out.size > step.high) return nullptr;
        return step.rule->scalar.texts.find_readable(p + 1, out.size) != TextMap::kNone ? end : nullptr;
      }
      case Step::Op::kText: {
        if (*p != '"' || step.deep || !text_.ascii()) break;
        const char* const end = string(p, out);
        return end != nullptr && out.size >= step.low && out.size <= step.high ? end : nullptr;
      }
      default: break;
    }
    return step.rule->type == ColumnType::kArray ? array(*step.rule, p, column) : scalar(step.rule->scalar, p, out);
  }

  const char* array(const ColumnRule& rule, const char* p, std::size_t column) {
    Value& out = values_[column];
    if (*p != '[') return rule.nullable && scan::literal(p, "null") ? (out = Value::null(), p + 4) : nullptr;
    std::vector<Value>& elements = row_.element_buffer();
    const std::size_t first = elements.size();
    std::uint64_t count = 0;
    p = text_.skip_space(p + 1);
    if (*p != ']') {
      for (;;) {
        p = rule.tuples ? tuple(rule, p) : scalar(rule.scalar, p, elements.emplace_back());
        if (p == nullptr) return nullptr;
        ++count;
        p = text_.skip_space(p);
        if (*p != ',') break;
        p = text_.skip_space(p + 1);
      }
      if (*p != ']') return nullptr;
    }
    if (count < rule.min_items || count > rule.max_items || count > UINT32_MAX) return nullptr;
    out.first = first;
    out.size = static_cast<std::uint32_t>(count);
    out.kind = Kind::kArray;
    return p + 1;
  }

  const char* tuple(const ColumnRule& rule, const char* p) {
    if (*p != '[') return nullptr;
    for (std::uint32_t i = 0;;) {
      p = scalar(rule.scalar, text_.skip_space(p + 1), row_.element_buffer().emplace_back());
      if (p == nullptr) return nullptr;
      p = text_.skip_space(p);
      if (++i == rule.arity) break;
      if (*p != ',') return nullptr;
    }
    return *p == ']' ? p + 1 : nullptr;
  }

  QuotedText& text_;
  std::size_t mark_;
  Row& row_;
  Value* values_;
  scan::DateCache& dates_;
};

}  // namespace

const char* PlanAccess::scan_loose(const PlanRules& plan, QuotedText& text, const char* p, std::size_t& mark, Row& row,
                                   scan::DateCache& dates) {
  LooseScanner scanner(text, mark, row, dates);
  p = scanner.object(plan, p);
  mark = scanner.mark();
  return p;
}

}  // namespace utp
