#include "drivers/store/postgres/postgres_query.h"

#include <algorithm>
#include <bit>

#include "core/hash.h"
#include "drivers/store/postgres/postgres_table.h"
#include "store/catalogue.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kDoing = "query";

// Reads the rows of a server-side cursor in portions, within a transaction of its own: a reader sees one moment of the table.
class PostgresCursor final : public Cursor {
 public:
  PostgresCursor(std::unique_ptr<Connection> connection, std::vector<QueryColumn> columns, std::vector<StoredKind> kinds, std::uint32_t fetch_rows)
      : connection_(std::move(connection)),
        columns_(std::move(columns)),
        kinds_(std::move(kinds)),
        fetch_sql_("FETCH " + std::to_string(fetch_rows) + " FROM utp_cursor"),
        fetch_rows_(static_cast<int>(fetch_rows)) {}

  std::span<const QueryColumn> columns() const override { return columns_; }

  Result<bool> next(std::vector<Value>& values) override {
    values.resize(columns_.size());
    if (row_ == rows_.count()) {
      if (!connection_) return false;
      rows_ = Rows();  // before the next portion is read: one at a time is in memory
      row_ = 0;
      UTP_TRY(rows_, connection_->run(fetch_sql_, kDoing));
      if (rows_.count() < fetch_rows_) connection_.reset();  // a cursor kept at its end must not hold back the server's cleaning
      if (rows_.count() == 0) return false;
    }
    int field = 0;
    for (std::size_t i = 0; i < kinds_.size(); ++i) {
      values[i] = value(field, kinds_[i]);
      field += kinds_[i] == StoredKind::kTime ? 2 : 1;
    }
    ++row_;
    return true;
  }

 private:
  Value value(int field, StoredKind kind) {
    if (rows_.null(row_, field)) return Value::null();
    switch (kind) {
      case StoredKind::kBool: return Value::of(rows_.integer(row_, field) != 0);
      case StoredKind::kInteger:
      case StoredKind::kRowNumber: return Value::of(rows_.integer(row_, field));
      case StoredKind::kTime:
        return Value::of(Timestamp{nanoseconds(rows_.integer(row_, field) + kEpochShiftUs, rows_.integer(row_, field + 1))});
      case StoredKind::kDecimal: {
        const auto number = Decimal::from_double(std::bit_cast<double>(rows_.integer(row_, field)));
        return number ? Value::of(*number) : Value::null();
      }
      case StoredKind::kText:
      case StoredKind::kArray: return Value::of(rows_.bytes(row_, field));
      case StoredKind::kKey: {
        const Hash128 key = read_key(rows_.bytes(row_, field));
        write_hex64(write_hex64(key_, key.high), key.low);
        return Value::of(std::string_view(key_, sizeof key_));
      }
      case StoredKind::kChecksum:
        write_hex64(checksum_, static_cast<std::uint64_t>(rows_.integer(row_, field)));
        return Value::of(std::string_view(checksum_, sizeof checksum_));
    }
    return Value::null();
  }

  std::unique_ptr<Connection> connection_;  // null at the end
  std::vector<QueryColumn> columns_;
  std::vector<StoredKind> kinds_;
  const std::string fetch_sql_;
  const int fetch_rows_;
  Rows rows_;
  int row_ = 0;
  char key_[32];
  char checksum_[16];
};

struct Table {
  std::string name;
  bool exploded = false;
  std::vector<QueryColumn> columns;
  std::vector<StoredKind> kinds;
};

Result<Table> find_table(Connection& connection, const std::string& event_type) {
  Table table;
  UTP_TRY(const Rows owner, connection.run("SELECT table_name, exploded FROM utp_tables WHERE event_type = $1", kDoing, {text_parameter(event_type)}));
  if (owner.count() == 0) {
    UTP_TRY(const Rows all, connection.run("SELECT event_type FROM utp_tables ORDER BY event_type", kDoing));
    std::vector<std::string> known;
    for (int i = 0; i < all.count(); ++i) known.push_back(all.text(i, 0));
    return fail(no_event_type_error(connection.place(), event_type, known));
  }
  table.name = owner.text(0, 0);
  table.exploded = owner.integer(0, 1) != 0;
  UTP_TRY(const Rows columns, connection.run("SELECT name, kind FROM utp_columns WHERE table_name = $1 ORDER BY position", kDoing, {text_parameter(table.name)}));
  for (int i = 0; i < columns.count(); ++i) {
    const auto kind = parse_stored_kind(columns.bytes(i, 1));
    if (!kind) {
      return fail(Code::kCorrupt, "store " + connection.place() + ": utp_columns: unknown kind \"" + columns.text(i, 1) + "\" of " + table.name +
                                      "." + columns.text(i, 0));
    }
    table.columns.push_back({columns.text(i, 0), column_type(*kind)});
    table.kinds.push_back(*kind);
  }
  return table;
}

struct Select {
  std::string sql;
  std::vector<Parameter> parameters;
  std::string add(Parameter parameter) {
    parameters.push_back(std::move(parameter));
    return "$" + std::to_string(parameters.size());
  }
};

// The first condition is for the index, the second for the nanoseconds.
void add_time(Select& select, Timestamp time, const char* outer, const char* inner) {
  const std::string us = select.add(time_parameter(whole_microseconds(time.ns)));
  const std::string ns = select.add(integer_parameter(below_microsecond(time.ns)));
  select.sql += " AND event_time " + std::string(outer) + " " + us + " AND (event_time, event_time_ns) " + inner + " (" + us + ", " + ns + ")";
}

void add_list(Select& select, const char* column, const std::vector<std::string>& texts) {
  if (texts.size() == 1) select.sql += " AND " + std::string(column) + " = " + select.add(text_parameter(texts[0]));
  if (texts.size() > 1) select.sql += " AND " + std::string(column) + " = ANY(" + select.add(text_list_parameter(texts)) + ")";
}

Select select_of(const Table& table, const Query& query) {
  Select select{"DECLARE utp_cursor NO SCROLL CURSOR FOR SELECT ", {}};
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    if (i > 0) select.sql += ", ";
    select.sql += quote_identifier(table.columns[i].name);
    if (table.kinds[i] == StoredKind::kTime) select.sql += ", " + quote_identifier(table.columns[i].name + std::string(kNanosecondsSuffix));
  }
  select.sql += " FROM " + quote_identifier(table.name) + " WHERE true";
  if (query.from) add_time(select, *query.from, ">=", ">=");
  if (query.to) add_time(select, *query.to, "<=", "<");
  add_list(select, "symbol", query.symbols);
  add_list(select, "source_id", query.sources);
  const char* direction = query.newest_first ? " DESC" : "";
  select.sql += " ORDER BY";
  // Symbols by their bytes, as every store does, whatever the database's collation is.
  for (const char* name : {" event_time", ", event_time_ns", ", symbol COLLATE \"C\"", ", sequence", ", key"}) select.sql += std::string(name) + direction;
  if (table.exploded) select.sql += ", row_no";  // the rows of one event stay in their order
  if (query.limit > 0) select.sql += " LIMIT " + select.add(integer_parameter(static_cast<std::int64_t>(std::min<std::uint64_t>(query.limit, INT64_MAX))));
  return select;
}

}  // namespace

Result<std::unique_ptr<Cursor>> run_query(std::unique_ptr<Connection> connection, const Query& query, std::uint32_t fetch_rows) {
  UTP_TRY(const Rows begun, connection->run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", kDoing));
  UTP_TRY(Table table, find_table(*connection, query.event_type));
  const Select select = select_of(table, query);
  UTP_TRY(const Rows declared, connection->run(select.sql, kDoing, select.parameters));
  return std::unique_ptr<Cursor>(
      new PostgresCursor(std::move(connection), std::move(table.columns), std::move(table.kinds), std::max<std::uint32_t>(1, fetch_rows)));
}

Result<std::vector<TableStats>> table_stats(Connection& connection) {
  constexpr std::string_view kCount = "count rows";
  UTP_TRY(const Rows begun, connection.run("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", kCount));
  UTP_TRY(const Rows tables, connection.run("SELECT event_type, table_name FROM utp_tables ORDER BY event_type", kCount));
  std::vector<TableStats> out;
  for (int i = 0; i < tables.count(); ++i) {
    TableStats& stats = out.emplace_back();
    stats.event_type = tables.text(i, 0);
    stats.table = tables.text(i, 1);
    const std::string from = " FROM " + quote_identifier(stats.table);
    UTP_TRY(const Rows count, connection.run("SELECT count(*)" + from, kCount));
    stats.rows = static_cast<std::uint64_t>(count.integer(0, 0));
    if (stats.rows == 0) continue;
    const auto end = [&](const char* direction, Timestamp& time) -> Status {
      UTP_TRY(const Rows row, connection.run("SELECT event_time, event_time_ns" + from + " ORDER BY event_time" + direction + ", event_time_ns" + direction + " LIMIT 1", kCount));
      time = {nanoseconds(row.integer(0, 0) + kEpochShiftUs, row.integer(0, 1))};
      return {};
    };
    UTP_CHECK(end("", stats.first_time));
    UTP_CHECK(end(" DESC", stats.last_time));
  }
  return out;
}

}  // namespace utp::postgres
