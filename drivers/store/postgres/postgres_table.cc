#include "drivers/store/postgres/postgres_table.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "drivers/store/postgres/postgres_connection.h"
#include "schema/scanner.h"
#include "store/row_text.h"

namespace utp::postgres {
namespace {

template <class T>
char* put(char* at, T number) {
  if constexpr (sizeof number == 8) {
    const auto swapped = __builtin_bswap64(std::bit_cast<std::uint64_t>(number));
    std::memcpy(at, &swapped, 8);
  } else if constexpr (sizeof number == 4) {
    const auto swapped = __builtin_bswap32(std::bit_cast<std::uint32_t>(number));
    std::memcpy(at, &swapped, 4);
  } else {
    static_assert(sizeof number == 2);
    const auto swapped = __builtin_bswap16(std::bit_cast<std::uint16_t>(number));
    std::memcpy(at, &swapped, 2);
  }
  return at + sizeof number;
}

template <class T>
void append_number(T number, CopyBuffer& out) {
  char* at = put(out.room(4 + sizeof number), static_cast<std::int32_t>(sizeof number));
  put(at, number);
  out.take(4 + sizeof number);
}

void append_bytes(std::string_view bytes, CopyBuffer& out) {
  char* at = put(out.room(4 + bytes.size()), static_cast<std::int32_t>(bytes.size()));
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  out.take(4 + bytes.size());
}

void append_null(CopyBuffer& out) {
  put(out.room(4), std::int32_t{-1});
  out.take(4);
}

void append_time(Timestamp time, CopyBuffer& out) {
  append_number(whole_microseconds(time.ns) - kEpochShiftUs, out);
  append_number(below_microsecond(time.ns), out);
}

std::string_view name_of(Kind kind) {
  constexpr std::string_view kNames[] = {"absent", "null", "bool", "integer", "decimal", "text", "time", "array"};
  return kNames[static_cast<std::size_t>(kind)];
}

}  // namespace

void append_copy_head(CopyBuffer& out) {
  constexpr std::string_view kHead("PGCOPY\n\377\r\n\0" "\0\0\0\0" "\0\0\0\0", 19);  // signature, flags, length of extensions
  std::memcpy(out.room(kHead.size()), kHead.data(), kHead.size());
  out.take(kHead.size());
}

void append_copy_end(CopyBuffer& out) {
  put(out.room(2), std::int16_t{-1});
  out.take(2);
}

void write_key(const Hash128& key, char* out) { put(put(out, key.high), key.low); }

Hash128 read_key(std::string_view bytes) {
  Hash128 key;
  if (bytes.size() != 16) return key;
  std::memcpy(&key.high, bytes.data(), 8);
  std::memcpy(&key.low, bytes.data() + 8, 8);
  return {__builtin_bswap64(key.high), __builtin_bswap64(key.low)};
}

Result<std::unique_ptr<TableWriter>> TableWriter::create(std::shared_ptr<const Plan> plan) {
  std::unique_ptr<TableWriter> table(new TableWriter(std::move(plan)));
  UTP_TRY(table->columns_, stored_columns(*table->plan_));
  UTP_TRY(const std::vector<SqlColumn> columns, sql_columns(*table->plan_, SqlDialect::kPostgres));
  for (const SqlColumn& column : columns) {
    const std::string name = (table->column_list_.empty() ? "" : ", ") + quote_identifier(column.name);
    table->column_list_ += name;
    table->column_definitions_ += name + " " + std::string(column.type);
  }
  table->field_count_ = static_cast<std::int16_t>(columns.size());
  table->first_payload_ = kHeaderColumnCount + (table->plan_->explode() ? 1 : 0);
  return table;
}

Status TableWriter::append_text(std::string_view column, std::string_view text, CopyBuffer& out) const {
  if (!text.empty() && std::memchr(text.data(), 0, text.size()) != nullptr) {
    return fail(Code::kInvalidArgument, plan_->schema_ref() + ": column \"" + std::string(column) +
                                            "\": the text has a NUL character, which PostgreSQL cannot store. Let the mapper drop it, or refuse it "
                                            "with a `pattern` in the schema");
  }
  if (!scan::valid_utf8(text)) {
    return fail(Code::kInvalidArgument, plan_->schema_ref() + ": column \"" + std::string(column) + "\": the text is no UTF-8. Let the mapper decode it");
  }
  append_bytes(text, out);
  return {};
}

Status TableWriter::append_value(const StoredColumn& column, const Value& value, CopyBuffer& out) const {
  if (!value.present()) {
    append_null(out);
    if (column.kind == StoredKind::kTime) append_null(out);
    return {};
  }
  switch (column.kind) {
    case StoredKind::kBool:
      if (value.kind != Kind::kBool) break;
      append_bytes(value.as_bool() ? std::string_view("\1", 1) : std::string_view("\0", 1), out);
      return {};
    case StoredKind::kInteger: {
      const auto whole = value.kind == Kind::kDecimal ? value.as_decimal().to_int64() : std::optional(value.integer);
      if ((value.kind != Kind::kInteger && value.kind != Kind::kDecimal) || !whole) break;
      append_number(*whole, out);
      return {};
    }
    case StoredKind::kDecimal:
      if (value.kind != Kind::kDecimal && value.kind != Kind::kInteger) break;
      append_number(value.as_decimal().to_double(), out);  // an integer has exponent 0
      return {};
    case StoredKind::kText:
      if (value.kind != Kind::kText) break;
      return append_text(column.name, value.as_text(), out);
    case StoredKind::kTime:
      if (value.kind != Kind::kTime) break;
      append_time(value.as_time(), out);
      return {};
    default: break;  // arrays have their own way, keys and checksums are no payload
  }
  return fail(Code::kInvalidArgument, plan_->schema_ref() + ": column \"" + column.name + "\" is " + std::string(to_string(column.kind)) + ", the value is " +
                                          std::string(name_of(value.kind)) + ": let the mapper set the type that the schema has");
}

Status TableWriter::append_row(const Event& event, const Hash128& key, std::string_view quality, std::size_t row, CopyBuffer& out) const {
  const Envelope& envelope = event.envelope;
  put(out.room(2), field_count_);
  out.take(2);
  append_time(envelope.event_time, out);
  char bytes[16];
  write_key(key, bytes);
  append_bytes({bytes, sizeof bytes}, out);
  UTP_CHECK(append_text("symbol", envelope.symbol, out));
  UTP_CHECK(append_text("source_id", envelope.source_id, out));
  append_bytes(plan_->schema_ref(), out);
  append_bytes(to_string(envelope.event_time_source), out);
  append_time(envelope.ingest_time, out);
  append_number(static_cast<std::int64_t>(envelope.sequence), out);
  append_number(envelope.checksum, out);
  quality.empty() ? append_null(out) : append_bytes(quality, out);
  if (plan_->explode()) append_number(static_cast<std::int32_t>(row), out);
  const std::span<const Value> values = event.row.values();
  for (std::size_t i = 0; i < values.size(); ++i) {
    const StoredColumn& column = columns_[first_payload_ + i];
    if (values[i].kind != Kind::kArray) {
      UTP_CHECK(append_value(column, values[i], out));
      continue;
    }
    if (plan_->explode() != i) {
      std::string& text = out.scratch();
      text.clear();
      append_array_json(event.row, i, text);
      append_bytes(text, out);
      continue;
    }
    const std::size_t arity = plan_->columns()[i].arity;
    const std::span<const Value> elements = event.row.elements(i, arity);
    if (row * arity >= elements.size()) {
      UTP_CHECK(append_value(column, Value::null(), out));
    } else if (column.kind == StoredKind::kArray) {
      std::string& text = out.scratch();
      text.clear();
      append_element_json(event.row, i, row, text);
      append_bytes(text, out);
    } else {
      UTP_CHECK(append_value(column, elements[row], out));
    }
  }
  return {};
}

// True when a digit of the payload is lost. Arrays that stay arrays keep theirs.
bool TableWriter::rounds(const Event& event) const {
  const auto loses = [](const Value& value) { return value.kind == Kind::kDecimal && !fits_double(value.as_decimal()); };
  const std::span<const Value> values = event.row.values();
  if (std::any_of(values.begin(), values.end(), loses)) return true;
  if (!plan_->explode()) return false;
  const std::span<const Value> elements = event.row.elements(*plan_->explode(), plan_->columns()[*plan_->explode()].arity);
  return std::any_of(elements.begin(), elements.end(), loses);
}

Result<std::size_t> TableWriter::append(const Event& event, const Hash128& key, CopyBuffer& out) const {
  const Quality quality = rounds(event) ? event.envelope.quality | Quality::kRounded : event.envelope.quality;
  const std::string names = quality == Quality::kNone ? std::string() : to_string(quality);
  std::size_t rows = 1;
  if (plan_->explode()) {
    const std::size_t arity = plan_->columns()[*plan_->explode()].arity;
    rows = std::max<std::size_t>(1, event.row.elements(*plan_->explode(), arity).size() / arity);
  }
  const std::size_t before = out.size();
  for (std::size_t row = 0; row < rows; ++row) {
    auto status = append_row(event, key, names, row, out);
    if (status) continue;
    out.cut(before);
    return fail(std::move(status.error()));
  }
  return rows;
}

}  // namespace utp::postgres
