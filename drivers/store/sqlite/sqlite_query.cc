#include "drivers/store/sqlite/sqlite_query.h"

#include <algorithm>
#include <bit>
#include <map>
#include <set>

#include "core/json_writer.h"
#include "store/catalogue.h"

namespace utp::sqlite {
namespace {

class SqliteCursor final : public Cursor {
 public:
  SqliteCursor(Connection& connection, Statement statement, std::vector<QueryColumn> columns, std::vector<StoredKind> kinds)
      : connection_(connection), statement_(std::move(statement)), columns_(std::move(columns)), kinds_(std::move(kinds)) {}

  std::span<const QueryColumn> columns() const override { return columns_; }

  Result<bool> next(std::vector<Value>& values) override {
    values.resize(columns_.size());
    if (done_) return false;
    const int code = sqlite3_step(statement_.get());
    if (code == SQLITE_DONE) {
      done_ = true;
      sqlite3_reset(statement_.get());  // ends the read: a cursor kept at its end must not hold back checkpoints
      return false;
    }
    if (code != SQLITE_ROW) return fail(connection_.error(code, "query"));
    for (std::size_t i = 0; i < kinds_.size(); ++i) values[i] = value(static_cast<int>(i), kinds_[i]);
    return true;
  }

 private:
  Value value(int column, StoredKind kind) {
    sqlite3_stmt* s = statement_.get();
    if (sqlite3_column_type(s, column) == SQLITE_NULL) return Value::null();
    switch (kind) {
      case StoredKind::kBool: return Value::of(sqlite3_column_int64(s, column) != 0);
      case StoredKind::kInteger:
      case StoredKind::kRowNumber: return Value::of(std::int64_t{sqlite3_column_int64(s, column)});
      case StoredKind::kTime: return Value::of(Timestamp{sqlite3_column_int64(s, column)});
      case StoredKind::kDecimal: {
        const auto number = Decimal::from_double(sqlite3_column_double(s, column));
        return number ? Value::of(*number) : Value::null();
      }
      case StoredKind::kText:
      case StoredKind::kArray: return Value::of(column_text(s, column));
      case StoredKind::kKey: {
        static constexpr char kDigits[] = "0123456789abcdef";
        const auto* bytes = static_cast<const unsigned char*>(sqlite3_column_blob(s, column));
        const int size = std::min(sqlite3_column_bytes(s, column), 16);
        for (int i = 0; i < size; ++i) {
          key_[2 * i] = kDigits[bytes[i] >> 4];
          key_[2 * i + 1] = kDigits[bytes[i] & 15];
        }
        return Value::of(std::string_view(key_, static_cast<std::size_t>(2 * size)));
      }
      case StoredKind::kChecksum:
        write_hex64(checksum_, std::bit_cast<std::uint64_t>(std::int64_t{sqlite3_column_int64(s, column)}));
        return Value::of(std::string_view(checksum_, 16));
    }
    return Value::null();
  }

  Connection& connection_;
  Statement statement_;
  std::vector<QueryColumn> columns_;
  std::vector<StoredKind> kinds_;
  bool done_ = false;
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
  UTP_TRY(const Statement owner, connection.prepare("SELECT table_name, exploded FROM utp_tables WHERE event_type = ?1"));
  bind_text(owner.get(), 1, event_type);
  int code = sqlite3_step(owner.get());
  if (code == SQLITE_DONE) {
    std::vector<std::string> known;
    UTP_TRY(const auto stats, table_stats(connection));
    for (const TableStats& entry : stats) known.push_back(entry.event_type);
    return fail(no_event_type_error(connection.path(), event_type, known));
  }
  if (code != SQLITE_ROW) return fail(connection.error(code, "query"));
  table.name = column_text(owner.get(), 0);
  table.exploded = sqlite3_column_int(owner.get(), 1) != 0;

  UTP_TRY(const Statement columns, connection.prepare("SELECT name, kind FROM utp_columns WHERE table_name = ?1 ORDER BY position"));
  bind_text(columns.get(), 1, table.name);
  while ((code = sqlite3_step(columns.get())) == SQLITE_ROW) {
    const auto kind = parse_stored_kind(column_text(columns.get(), 1));
    if (!kind) {
      return fail(Code::kCorrupt, "store " + connection.path() + ": utp_columns: unknown kind \"" +
                                      std::string(column_text(columns.get(), 1)) + "\" of " + table.name + "." +
                                      std::string(column_text(columns.get(), 0)));
    }
    table.columns.push_back({std::string(column_text(columns.get(), 0)), column_type(*kind)});
    table.kinds.push_back(*kind);
  }
  if (code != SQLITE_DONE) return fail(connection.error(code, "query"));
  return table;
}

// A list of any length as one parameter.
std::string json_list(const std::vector<std::string>& texts) {
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  for (const std::string& text : texts) json.value(text);
  json.end_array();
  return out;
}

std::string column_list(const Table& table, std::string_view prefix = "") {
  std::string sql;
  for (const QueryColumn& column : table.columns) {
    if (!sql.empty()) sql += ", ";
    sql += prefix;
    sql += quote_identifier(column.name);
  }
  return sql;
}

// From the table's name on, without a limit.
std::string rows_sql(const Table& table, const Query& query, bool descending) {
  std::string sql = " FROM " + quote_identifier(table.name) + " WHERE true";
  if (query.from) sql += " AND event_time >= ?1";
  if (query.to) sql += " AND event_time < ?2";
  if (query.as_of) sql += " AND event_time <= ?2";
  if (query.symbols.size() == 1) sql += " AND symbol = ?3";
  if (query.symbols.size() > 1) sql += " AND symbol IN (SELECT value FROM json_each(?3))";
  if (query.sources.size() == 1) sql += " AND source_id = ?4";
  if (query.sources.size() > 1) sql += " AND source_id IN (SELECT value FROM json_each(?4))";
  const char* direction = descending ? " DESC" : "";
  sql += " ORDER BY";
  for (const char* name : {" event_time", ", symbol", ", sequence", ", key"}) sql += std::string(name) + direction;
  return sql;
}

constexpr const char* kLimit = " LIMIT ?5";

void bind_list(sqlite3_stmt* statement, int parameter, const std::vector<std::string>& texts) {
  if (texts.empty()) return;
  const std::string text = texts.size() == 1 ? texts.front() : json_list(texts);
  sqlite3_bind_text(statement, parameter, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

void bind_rows(sqlite3_stmt* statement, const Query& query) {
  if (query.from) sqlite3_bind_int64(statement, 1, query.from->ns);
  if (query.to) sqlite3_bind_int64(statement, 2, query.to->ns);
  if (query.as_of) sqlite3_bind_int64(statement, 2, query.as_of->ns);
  bind_list(statement, 3, query.symbols);
  bind_list(statement, 4, query.sources);
}

void bind_limit(sqlite3_stmt* statement, const Query& query) {
  if (query.limit > 0) sqlite3_bind_int64(statement, 5, static_cast<std::int64_t>(std::min<std::uint64_t>(query.limit, INT64_MAX)));
}

struct RowKey {
  std::int64_t event_time;
  std::string key;
};

// Of each symbol its last event, by the symbol's bytes. The primary key knows no symbols: this reads backwards along it until
// each symbol of the query was met; where all are asked for, or one is not there, to `from` or the begin of the table. Memory
// grows with the symbols, not with the rows.
Result<std::map<std::string, RowKey, std::less<>>> last_events(Connection& connection, const Table& table, const Query& query) {
  UTP_TRY(const Statement statement, connection.prepare("SELECT symbol, event_time, key" + rows_sql(table, query, true)));
  bind_rows(statement.get(), query);
  const std::size_t wanted = std::set<std::string_view>(query.symbols.begin(), query.symbols.end()).size();
  std::map<std::string, RowKey, std::less<>> last;
  int code = SQLITE_OK;
  while ((wanted == 0 || last.size() < wanted) && (code = sqlite3_step(statement.get())) == SQLITE_ROW) {
    const std::string_view symbol = column_text(statement.get(), 0);
    if (last.contains(symbol)) continue;
    const auto* key = static_cast<const char*>(sqlite3_column_blob(statement.get(), 2));
    last.emplace(symbol, RowKey{sqlite3_column_int64(statement.get(), 1), std::string(key, static_cast<std::size_t>(sqlite3_column_bytes(statement.get(), 2)))});
  }
  if (code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE) return fail(connection.error(code, "query"));
  return last;
}

// The rows of these events. What is stored never changes, so no transaction has to hold the two statements together.
Result<Statement> select_last(Connection& connection, const Table& table, const Query& query) {
  UTP_TRY(const auto last, last_events(connection, table, query));
  std::string times = "[", keys;
  for (const auto& [symbol, row] : last) {
    times += (times.size() > 1 ? "," : "") + std::to_string(row.event_time);
    keys += row.key;
  }
  times += ']';
  std::string sql = "SELECT " + column_list(table, "t.") + " FROM json_each(?1) AS k CROSS JOIN " + quote_identifier(table.name) +
                    " AS t WHERE t.event_time = k.value AND t.key = substr(?2, 16 * k.key + 1, 16) ORDER BY k.key";
  if (table.exploded) sql += ", t.row_no";
  if (query.limit > 0) sql += kLimit;
  UTP_TRY(Statement statement, connection.prepare(sql));
  sqlite3_bind_text(statement.get(), 1, times.data(), static_cast<int>(times.size()), SQLITE_TRANSIENT);
  sqlite3_bind_blob(statement.get(), 2, keys.data(), static_cast<int>(keys.size()), SQLITE_TRANSIENT);
  bind_limit(statement.get(), query);
  return statement;
}

Result<Statement> select_rows(Connection& connection, const Table& table, const Query& query) {
  std::string sql = "SELECT " + column_list(table) + rows_sql(table, query, query.newest_first);
  if (table.exploded) sql += ", row_no";  // the rows of one event stay in their order
  if (query.limit > 0) sql += kLimit;
  UTP_TRY(Statement statement, connection.prepare(sql));
  bind_rows(statement.get(), query);
  bind_limit(statement.get(), query);
  return statement;
}

}  // namespace

Result<std::unique_ptr<Cursor>> run_query(Connection& connection, const Query& query) {
  UTP_CHECK(check_query(connection.path(), query));
  UTP_TRY(Table table, find_table(connection, query.event_type));
  UTP_TRY(Statement statement, query.as_of ? select_last(connection, table, query) : select_rows(connection, table, query));
  return std::unique_ptr<Cursor>(
      new SqliteCursor(connection, std::move(statement), std::move(table.columns), std::move(table.kinds)));
}

Result<std::vector<TableStats>> table_stats(Connection& connection) {
  UTP_TRY(const Statement tables, connection.prepare("SELECT event_type, table_name, row_count FROM utp_tables ORDER BY event_type"));
  std::vector<TableStats> out;
  int code = SQLITE_OK;
  while ((code = sqlite3_step(tables.get())) == SQLITE_ROW) {
    TableStats stats;
    stats.event_type = column_text(tables.get(), 0);
    stats.table = column_text(tables.get(), 1);
    stats.rows = static_cast<std::uint64_t>(sqlite3_column_int64(tables.get(), 2));
    UTP_TRY(const auto first, connection.integer("SELECT event_time FROM " + quote_identifier(stats.table) + " ORDER BY event_time LIMIT 1"));
    UTP_TRY(const auto last, connection.integer("SELECT event_time FROM " + quote_identifier(stats.table) + " ORDER BY event_time DESC LIMIT 1"));
    stats.first_time = {first.value_or(0)};
    stats.last_time = {last.value_or(0)};
    out.push_back(std::move(stats));
  }
  if (code != SQLITE_DONE) return fail(connection.error(code, "read the catalogue"));
  return out;
}

}  // namespace utp::sqlite
