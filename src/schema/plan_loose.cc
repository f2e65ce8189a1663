// The fast way for keys in any order and white space anywhere.
#include "schema/plan_rules.h"

namespace utp {
namespace {

using scan::QuotedText;

// Reads one payload: first every value is found, then they are read in the order of the plan, which a processor can foresee
// whatever order the keys have. Null and false: the general way must decide.
class LooseScanner {
 public:
  static constexpr std::size_t kColumnsMax = 64;

  LooseScanner(const PlanRules& plan, QuotedText& text, int depth, Row& row, scan::DateCache& dates)
      : plan_(plan), text_(text), depth_(depth), row_(row), values_(row.values().data()), dates_(dates) {}

  // The object between two braces that follow each other.
  bool object(const QuotedText::Brace& open, const QuotedText::Brace& close) {
    if (plan_.steps.size() > kColumnsMax || *open.at != '{' || *close.at != '}') return false;
    const char* const first = text_.skip_space(open.at + 1);
    if (open.mark == close.mark) return first == close.at && plan_.required.empty();
    close_ = close.at;
    return first == text_.quote(open.mark) && find(open.mark, close.mark) &&
           (seen_ & plan_.required_columns) == plan_.required_columns && read();
  }

 private:
  // A value that a string's quotes enclose, or which has no quotes; its end is known only when it is read.
  struct Found {
    const char* begin;
    const char* close;  // the closing quote, if it is a string
    const char* next;   // the next member's key
  };

  // The members whose quotes begin at `mark`; arrays, which may have any number of quotes, are read at once.
  bool find(std::size_t mark, std::size_t end) {
    do {
      const char* const open = text_.quote(mark);
      const char* const close = text_.quote(mark + 1);
      const std::size_t column = plan_.keys.find_readable(open + 1, static_cast<std::size_t>(close - open) - 1);
      if (column == TextMap::kNone || (seen_ >> column & 1) != 0) return false;
      seen_ |= std::uint64_t{1} << column;
      const char* p = text_.skip_space(close + 1);
      if (*p != ':') return false;
      p = text_.skip_space(p + 1);
      if (plan_.steps[column].op == Step::Op::kArray) [[unlikely]] {
        mark_ = mark + 2;
        p = array(*plan_.steps[column].rule, p, values_[column]);
        mark = mark_;
        if (p == nullptr || !behind(p, text_.quote(mark))) return false;
        continue;
      }
      scalars_ |= std::uint64_t{1} << column;
      const std::size_t next = mark + 2 + (*p == '"' ? 2 : 0);
      found_[column] = {p, text_.quote(mark + 3), text_.quote(next)};
      mark = next;
    } while (mark < end);
    return true;
  }

  bool read() {
    for (std::uint64_t left = scalars_; left != 0; left &= left - 1) {
      const auto column = static_cast<std::size_t>(std::countr_zero(left));
      const Found& found = found_[column];
      const char* const end = value(plan_.steps[column], found.begin, found.close, values_[column]);
      if (end == nullptr || !behind(end, found.next)) return false;
    }
    return true;
  }

  bool behind(const char* p, const char* next) const { return text_.behind(p, next, close_, depth_); }

  const char* string(const char* p, const char* close, Value& out) const {
    if (*p != '"') return nullptr;
    out.text = text_.original(p + 1);
    out.size = static_cast<std::uint32_t>(close - p - 1);
    out.kind = Kind::kText;
    return close + 1;
  }

  const char* scalar(const ScalarRule& rule, const char* p, const char* close, Value& out) {
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
      case ColumnType::kText: end = string(p, close, out); break;
      case ColumnType::kTime: {
        Value quoted;
        end = string(p, close, quoted);
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

  const char* value(const Step& step, const char* p, const char* close, Value& out) {
    switch (step.op) {
      case Step::Op::kDecimal: {
        const char* const end = scan::scan_decimal(p, out.integer, out.exponent);
        if (end == nullptr || out.integer < step.low || step.deep) break;
        out.kind = Kind::kDecimal;
        return end;
      }
      case Step::Op::kInteger: {
        const char* const end = scan::scan_integer(p, out.integer);
        if (end == nullptr || out.integer < step.low || out.integer > step.high || step.deep) break;
        out.kind = Kind::kInteger;
        return end;
      }
      case Step::Op::kChoice: {
        if (*p != '"' || !text_.ascii()) break;
        const char* const end = string(p, close, out);
        if (out.size < step.low || out.size > step.high) return nullptr;
        return step.rule->scalar.texts.find_readable(p + 1, out.size) != TextMap::kNone ? end : nullptr;
      }
      case Step::Op::kText: {
        if (*p != '"' || step.deep || !text_.ascii()) break;
        const char* const end = string(p, close, out);
        return out.size >= step.low && out.size <= step.high ? end : nullptr;
      }
      default: break;
    }
    return scalar(step.rule->scalar, p, close, out);
  }

  const char* array(const ColumnRule& rule, const char* p, Value& out) {
    if (*p != '[') return rule.nullable && scan::literal(p, "null") ? (out = Value::null(), p + 4) : nullptr;
    const std::size_t first = row_.element_buffer().size();
    std::uint64_t count = 0;
    p = text_.skip_space(p + 1);
    if (*p != ']') {
      for (;;) {
        p = rule.tuples ? tuple(rule, p) : element(rule.scalar, p);
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
      p = element(rule.scalar, text_.skip_space(p + 1));
      if (p == nullptr) return nullptr;
      p = text_.skip_space(p);
      if (++i == rule.arity) break;
      if (*p != ',') return nullptr;
    }
    return *p == ']' ? p + 1 : nullptr;
  }

  const char* element(const ScalarRule& rule, const char* p) {
    const char* const close = text_.quote(mark_ + 1);
    mark_ += *p == '"' ? 2 : 0;
    return scalar(rule, p, close, row_.element_buffer().emplace_back());
  }

  const PlanRules& plan_;
  QuotedText& text_;
  int depth_;
  Row& row_;
  Value* values_;
  scan::DateCache& dates_;
  const char* close_ = nullptr;  // the object's closing brace
  std::size_t mark_ = 0;         // within an array: the next quote
  std::uint64_t seen_ = 0;       // columns
  std::uint64_t scalars_ = 0;    // those of them that were found and not yet read
  Found found_[kColumnsMax];     // of them
};

}  // namespace

bool PlanAccess::scan_loose(const PlanRules& plan, QuotedText& text, int depth, const QuotedText::Brace& open,
                            const QuotedText::Brace& close, Row& row, scan::DateCache& dates) {
  return LooseScanner(plan, text, depth, row, dates).object(open, close);
}

}  // namespace utp
