#include "store/row_text.h"

#include "core/json_writer.h"

namespace utp {
namespace {

void append_scalar(const Value& value, std::string& out) {
  switch (value.kind) {
    case Kind::kAbsent:
    case Kind::kNull: out += "null"; return;
    case Kind::kBool: out += value.as_bool() ? "true" : "false"; return;
    case Kind::kInteger: out += std::to_string(value.as_integer()); return;
    case Kind::kDecimal: {
      char text[Decimal::kTextMax];
      out.append(text, value.as_decimal().write(text));
      return;
    }
    case Kind::kText: append_json_string(out, value.as_text()); return;
    case Kind::kTime: append_json_string(out, value.as_time().to_string()); return;
    case Kind::kArray: return;  // arrays hold scalars only
  }
}

void append_tuple(std::span<const Value> tuple, bool brackets, std::string& out) {
  if (brackets) out += '[';
  for (std::size_t i = 0; i < tuple.size(); ++i) {
    if (i > 0) out += ',';
    append_scalar(tuple[i], out);
  }
  if (brackets) out += ']';
}

}  // namespace

void append_array_json(const Row& row, std::size_t column, std::string& out) {
  const Column& spec = row.plan().columns()[column];
  const std::span<const Value> elements = row.elements(column, spec.arity);
  out += '[';
  for (std::size_t i = 0; i < elements.size(); i += spec.arity) {
    if (i > 0) out += ',';
    append_tuple(elements.subspan(i, spec.arity), spec.tuples, out);
  }
  out += ']';
}

void append_element_json(const Row& row, std::size_t column, std::size_t index, std::string& out) {
  const Column& spec = row.plan().columns()[column];
  append_tuple(row.elements(column, spec.arity).subspan(index * spec.arity, spec.arity), spec.tuples, out);
}

bool fits_double(const Decimal& number) {
  constexpr std::int64_t kExactMax = 999'999'999'999'999;  // 15 digits always come back
  if (number.mantissa() <= kExactMax && number.mantissa() >= -kExactMax) return true;
  return Decimal::from_double(number.to_double()) == number;
}

}  // namespace utp
