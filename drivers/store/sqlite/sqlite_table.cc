#include "drivers/store/sqlite/sqlite_table.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

#include "store/row_text.h"

namespace utp::sqlite {
namespace {

void write_key(const Hash128& key, char* out) {
  const std::uint64_t high = __builtin_bswap64(key.high);
  const std::uint64_t low = __builtin_bswap64(key.low);
  std::memcpy(out, &high, 8);
  std::memcpy(out + 8, &low, 8);
}

}  // namespace

Result<std::unique_ptr<TableWriter>> TableWriter::create(Connection& connection, std::shared_ptr<const Plan> plan) {
  std::unique_ptr<TableWriter> table(new TableWriter(connection, std::move(plan)));
  UTP_CHECK(table->prepare());
  return table;
}

Status TableWriter::prepare() {
  UTP_TRY(const std::string sql, insert_sql(*plan_));
  UTP_TRY(insert_, connection_.prepare(sql));
  UTP_TRY(counter_, connection_.prepare("UPDATE utp_tables SET row_count = row_count + ?2 WHERE event_type = ?1"));
  first_payload_ = kHeaderColumnCount + 1 + (plan_->explode() ? 1 : 0);
  key_.resize(16);
  sqlite3_bind_blob(insert_.get(), 1 + kColumnKey, key_.data(), 16, SQLITE_STATIC);
  bound_.resize(static_cast<std::size_t>(sqlite3_bind_parameter_count(insert_.get())) + 1);
  array_texts_.resize(plan_->columns().size());
  return {};
}

Result<TableWriter::Outcome> TableWriter::insert(const Event& event, const Hash128& key) {
  bind_header(event, key, bind_payload(event));
  return plan_->explode() ? insert_exploded(event) : insert_single();
}

void TableWriter::bind_text(int parameter, std::string_view text) {
  constexpr std::size_t kKeptBytesMax = 64;  // longer texts are copied once less, and seldom repeat
  Bound& bound = bound_[static_cast<std::size_t>(parameter)];
  if (bound.state == Bound::State::kText && bound.text == text) return;
  if (text.size() > kKeptBytesMax) {
    bound.state = Bound::State::kOther;
    sqlite::bind_text(insert_.get(), parameter, text);
    return;
  }
  bound.state = Bound::State::kText;
  bound.text.assign(text);
  sqlite::bind_text(insert_.get(), parameter, bound.text);
}

void TableWriter::bind_null(int parameter) {
  Bound& bound = bound_[static_cast<std::size_t>(parameter)];
  if (bound.state == Bound::State::kNull) return;
  bound.state = Bound::State::kNull;
  sqlite3_bind_null(insert_.get(), parameter);
}

void TableWriter::bind_header(const Event& event, const Hash128& key, bool rounded) {
  const Envelope& envelope = event.envelope;
  sqlite3_stmt* s = insert_.get();
  write_key(key, key_.data());
  sqlite3_bind_int64(s, 1 + kColumnEventTime, envelope.event_time.ns);
  bind_text(1 + kColumnSymbol, envelope.symbol);
  bind_text(1 + kColumnSourceId, envelope.source_id);
  bind_text(1 + kColumnSchemaRef, plan_->schema_ref());
  bind_text(1 + kColumnEventTimeSource, to_string(envelope.event_time_source));
  sqlite3_bind_int64(s, 1 + kColumnIngestTime, envelope.ingest_time.ns);
  sqlite3_bind_int64(s, 1 + kColumnSequence, static_cast<std::int64_t>(envelope.sequence));
  sqlite3_bind_int64(s, 1 + kColumnChecksum, std::bit_cast<std::int64_t>(envelope.checksum));
  const Quality quality = rounded ? envelope.quality | Quality::kRounded : envelope.quality;
  if (quality == Quality::kNone) {
    bind_null(1 + kColumnQuality);
  } else {
    quality_ = to_string(quality);
    bind_text(1 + kColumnQuality, quality_);
  }
}

// True when a digit was lost.
bool TableWriter::bind_value(int parameter, const Value& value) {
  sqlite3_stmt* s = insert_.get();
  switch (value.kind) {
    case Kind::kAbsent:
    case Kind::kNull: bind_null(parameter); return false;
    case Kind::kBool:
    case Kind::kInteger:
    case Kind::kTime:
      bind_other(parameter);
      sqlite3_bind_int64(s, parameter, value.integer);
      return false;
    case Kind::kDecimal: {
      const Decimal number = value.as_decimal();
      bind_other(parameter);
      sqlite3_bind_double(s, parameter, number.to_double());
      return !fits_double(number);
    }
    case Kind::kText: bind_text(parameter, value.as_text()); return false;
    case Kind::kArray: return false;  // as its JSON, by bind_payload
  }
  return false;
}

// True when a digit of the payload was lost. The exploded column is bound row by row.
bool TableWriter::bind_payload(const Event& event) {
  const std::span<const Value> values = event.row.values();
  bool rounded = false;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const int parameter = first_payload_ + static_cast<int>(i);
    if (values[i].kind != Kind::kArray) {
      rounded |= bind_value(parameter, values[i]);
    } else if (plan_->explode() == i) {
      for (const Value& element : event.row.elements(i, plan_->columns()[i].arity)) {
        rounded |= element.kind == Kind::kDecimal && !fits_double(element.as_decimal());
      }
    } else {
      array_texts_[i].clear();
      append_array_json(event.row, i, array_texts_[i]);
      bind_text(parameter, array_texts_[i]);
    }
  }
  return rounded;
}

// True when a row was added.
Result<bool> TableWriter::step() {
  const int code = sqlite3_step(insert_.get());
  const bool added = code == SQLITE_DONE && sqlite3_changes(connection_.handle()) > 0;
  if (code != SQLITE_DONE) {
    Error error = connection_.error(code, "write into " + plan_->table());
    sqlite3_reset(insert_.get());
    return fail(std::move(error));
  }
  sqlite3_reset(insert_.get());
  row_count_ += added ? 1 : 0;
  return added;
}

Result<TableWriter::Outcome> TableWriter::insert_single() {
  UTP_TRY(const bool added, step());
  return added ? Outcome::kInserted : Outcome::kDuplicate;
}

// A row per element; an event without elements is one row with a null in its place. All or nothing.
Result<TableWriter::Outcome> TableWriter::insert_exploded(const Event& event) {
  const std::size_t column = *plan_->explode();
  const Column& spec = plan_->columns()[column];
  const bool tuples = spec.arity > 1 || spec.tuples;
  const std::span<const Value> elements = event.row.elements(column, spec.arity);
  const std::size_t count = elements.size() / spec.arity;
  const std::uint64_t rows_before = row_count_;
  if (count > 1) UTP_CHECK(connection_.execute("SAVEPOINT utp_event"));
  bool inserted = false;
  for (std::size_t i = 0; i < std::max<std::size_t>(count, 1); ++i) {
    sqlite3_bind_int64(insert_.get(), kHeaderColumnCount + 1, static_cast<std::int64_t>(i));
    const int parameter = first_payload_ + static_cast<int>(column);
    if (count == 0) {
      bind_null(parameter);
    } else if (tuples) {
      arrays_.clear();
      append_element_json(event.row, column, i, arrays_);
      bind_text(parameter, arrays_);
    } else {
      bind_value(parameter, elements[i]);
    }
    auto added = step();
    if (!added) {
      if (count > 1) {
        (void)connection_.execute("ROLLBACK TO utp_event");
        (void)connection_.execute("RELEASE utp_event");
      }
      row_count_ = rows_before;
      return fail(std::move(added.error()));
    }
    inserted |= *added;
  }
  if (count > 1) UTP_CHECK(connection_.execute("RELEASE utp_event"));
  return inserted ? Outcome::kInserted : Outcome::kDuplicate;
}

Status TableWriter::count_rows(std::uint64_t rows) {
  sqlite3_stmt* s = counter_.get();
  sqlite::bind_text(s, 1, plan_->event_type());
  sqlite3_bind_int64(s, 2, static_cast<std::int64_t>(rows));
  const int code = sqlite3_step(s);
  sqlite3_reset(s);
  if (code != SQLITE_DONE) return fail(connection_.error(code, "count rows"));
  return {};
}

}  // namespace utp::sqlite
