#include "drivers/store/postgres/postgres_query.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "core/hash.h"
#include "drivers/store/postgres/postgres_table.h"
#include "store/catalogue.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kDoing = "query";

constexpr std::string_view kCursor = "utp_rows";
constexpr std::int64_t kFirstRows = 200, kRowsMax = 10'000;
constexpr std::int64_t kLongRowsMax = 200;     // of rows with arrays, of which any may be a thousand times as long as the one before
constexpr std::int64_t kFetchBytes = 1 << 20;  // of rows in memory; as much again is on its way

// The rows of a server's cursor, some at a time, within a transaction of its own: a reader sees one moment of the table. The next
// ones are asked for before those in hand are given out.
class PostgresCursor final : public Cursor {
 public:
  PostgresCursor(std::unique_ptr<Connection> connection, std::shared_ptr<SpareReader> spare, std::vector<QueryColumn> columns,
                 std::vector<StoredKind> kinds)
      : connection_(std::move(connection)), spare_(std::move(spare)), columns_(std::move(columns)), kinds_(std::move(kinds)) {}

  std::span<const QueryColumn> columns() const override { return columns_; }

  Status ask() {
    return connection_->send("FETCH FORWARD " + std::to_string(asked_) + " FROM " + std::string(kCursor), kDoing);
  }

  Result<bool> next(std::vector<Value>& values) override {
    values.resize(columns_.size());
    if (row_ == count_) {
      if (!connection_) return false;
      UTP_CHECK(fetch());
      if (count_ == 0) return false;
    }
    int field = 0;
    for (std::size_t i = 0; i < kinds_.size(); ++i) values[i] = value(kinds_[i], field);
    ++row_;
    return true;
  }

 private:
  Status fetch() {
    auto fetched = connection_->receive(kDoing);
    row_ = count_ = 0;
    if (!fetched) {
      connection_.reset();
      return fail(std::move(fetched.error()));
    }
    rows_ = std::move(*fetched);
    count_ = rows_.count();
    if (count_ < asked_) {
      // A cursor kept at its end must not hold back the server's cleaning.
      if (connection_->commit(kDoing)) spare_->give(std::move(connection_));
      connection_.reset();
      return {};
    }
    std::int64_t bytes = 1;
    const std::int64_t looked_at = std::min<std::int64_t>(count_, kFirstRows);
    for (int row = 0; row < looked_at; ++row) {
      for (int field = 0; field < PQnfields(rows_.get()); ++field) bytes += static_cast<std::int64_t>(rows_.bytes(row, field).size());
    }
    const bool may_be_long = std::find(kinds_.begin(), kinds_.end(), StoredKind::kArray) != kinds_.end();
    asked_ = std::clamp<std::int64_t>(kFetchBytes * looked_at / bytes, 1, may_be_long ? kLongRowsMax : kRowsMax);
    return ask();
  }

  // Empty for null.
  std::optional<std::string_view> take_field(int& field) {
    const int at = field++;
    if (rows_.null(row_, at)) return std::nullopt;
    return rows_.bytes(row_, at);
  }

  Value value(StoredKind kind, int& at) {
    const auto field = take_field(at);
    if (kind == StoredKind::kTime) {
      const auto below = take_field(at);
      if (!field || !below) return Value::null();
      return Value::of(Timestamp{nanoseconds(since_1970(read_integer(*field)), read_integer(*below))});
    }
    if (!field) return Value::null();
    switch (kind) {
      case StoredKind::kBool: return Value::of(read_integer(*field) != 0);
      case StoredKind::kInteger:
      case StoredKind::kRowNumber: return Value::of(read_integer(*field));
      case StoredKind::kDecimal: {
        const auto number = Decimal::from_double(std::bit_cast<double>(read_integer(*field)));
        return number ? Value::of(*number) : Value::null();
      }
      case StoredKind::kText:
      case StoredKind::kArray: return Value::of(*field);
      case StoredKind::kKey: {
        const Hash128 key = read_key(*field);
        write_hex64(write_hex64(key_, key.high), key.low);
        return Value::of(std::string_view(key_, sizeof key_));
      }
      case StoredKind::kChecksum:
        write_hex64(checksum_, static_cast<std::uint64_t>(read_integer(*field)));
        return Value::of(std::string_view(checksum_, sizeof checksum_));
      case StoredKind::kTime: break;
    }
    return Value::null();
  }

  std::unique_ptr<Connection> connection_;  // null when nothing more is to come
  std::shared_ptr<SpareReader> spare_;
  std::vector<QueryColumn> columns_;
  std::vector<StoredKind> kinds_;
  Rows rows_;
  int row_ = 0, count_ = 0;
  std::int64_t asked_ = kFirstRows;
  char key_[32];
  char checksum_[16];
};

struct Table {
  std::string name;
  bool exploded = false;
  bool is_aggregate = false;  // its time is `bucket`, of whole microseconds
  std::vector<QueryColumn> columns;
  std::vector<StoredKind> kinds;
};

Result<Table> find_table(Connection& connection, const std::string& event_type) {
  Table table;
  UTP_TRY(const Rows owner, connection.run("SELECT table_name, exploded FROM utp_tables WHERE event_type = $1", kDoing, {text_parameter(event_type)}));
  if (owner.count() == 0) {
    UTP_TRY(const Rows aggregate, connection.run("SELECT 1 FROM utp_aggregates WHERE name = $1", kDoing, {text_parameter(event_type)}));
    table.is_aggregate = aggregate.count() == 1;
  }
  if (owner.count() == 0 && !table.is_aggregate) {
    UTP_TRY(const Rows all, connection.run("SELECT event_type FROM utp_tables UNION ALL SELECT name FROM utp_aggregates ORDER BY 1", kDoing));
    std::vector<std::string> known;
    for (int i = 0; i < all.count(); ++i) known.push_back(all.text(i, 0));
    return fail(no_event_type_error(connection.place(), event_type, known));
  }
  table.name = table.is_aggregate ? event_type : owner.text(0, 0);
  table.exploded = !table.is_aggregate && owner.integer(0, 1) != 0;
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

// The first condition is for the index, the second for the nanoseconds. A whole microsecond that bounds nothing below it needs no second.
std::string time_condition(Timestamp time, const char* outer, const char* inner) {
  const std::string us = time_literal(whole_microseconds(time.ns));
  if (below_microsecond(time.ns) == 0 && inner != std::string_view("<=")) return " AND event_time " + std::string(inner) + " " + us;
  return " AND event_time " + std::string(outer) + " " + us + " AND (event_time, event_time_ns) " + inner + " (" + us + ", " +
         std::to_string(below_microsecond(time.ns)) + ")";
}

// A statement and what it is given.
struct Select {
  std::string sql;
  std::vector<Parameter> parameters;

  std::string add(Parameter parameter) {
    parameters.push_back(std::move(parameter));
    return "$" + std::to_string(parameters.size());
  }
  std::string list_condition(const char* column, const std::vector<std::string>& texts) {
    if (texts.empty()) return {};
    const std::string is = " AND " + std::string(column) + " = ";
    return texts.size() == 1 ? is + add(text_parameter(texts[0])) : is + "ANY (" + add(text_list_parameter(texts)) + ")";
  }
};

std::string select_columns(const Table& table, const char* prefix = "") {
  std::string sql;
  for (std::size_t i = 0; i < table.columns.size(); ++i) {
    const std::string& name = table.columns[i].name;
    sql += (i > 0 ? ", " : "") + (prefix + quote_identifier(name));
    if (table.is_aggregate && table.kinds[i] == StoredKind::kTime) {
      sql += ", 0::smallint";
      continue;
    }
    if (table.kinds[i] == StoredKind::kTime) sql += ", " + (prefix + quote_identifier(name + std::string(kNanosecondsSuffix)));
  }
  return sql;
}

std::string limit_of(const Query& query) { return query.limit > 0 ? " LIMIT " + std::to_string(std::min<std::uint64_t>(query.limit, INT64_MAX)) : ""; }

// Texts by their bytes, as every store orders them, whatever the database's collation is. As an operator, not as a collation, since a
// foreign table hands only that to its server, and would sort everything here otherwise.
const char* bytes_order(const Query& query) { return query.newest_first ? " USING ~>~" : " USING ~<~"; }

// A bucket counts where it begins within the time that is asked for.
Select select_buckets(const Table& table, const Query& query) {
  Select out;
  std::string& sql = out.sql;
  sql = "SELECT " + select_columns(table) + " FROM " + quote_identifier(table.name) + " WHERE true";
  const auto bound = [&](const std::optional<Timestamp>& time, const char* condition) {
    if (!time) return;
    const bool whole = below_microsecond(time->ns) == 0;  // the next whole microsecond is the first that counts
    sql += std::string(" AND bucket ") + condition + " " + time_literal(whole_microseconds(time->ns) + (whole ? 0 : 1));
  };
  bound(query.from, ">=");
  bound(query.to, "<");
  sql += out.list_condition("symbol", query.symbols) + out.list_condition("source_id", query.sources);
  const std::string direction = query.newest_first ? " DESC" : "", by_bytes = bytes_order(query);
  sql += " ORDER BY bucket" + direction + ", symbol" + by_bytes + ", source_id" + by_bytes + limit_of(query);
  return out;
}

Select select_rows(const Table& table, const Query& query) {
  if (table.is_aggregate) return select_buckets(table, query);
  Select out;
  std::string& sql = out.sql;
  sql = "SELECT " + select_columns(table) + " FROM " + quote_identifier(table.name) + " WHERE true";
  if (query.from) sql += time_condition(*query.from, ">=", ">=");
  if (query.to) sql += time_condition(*query.to, "<=", "<");
  sql += out.list_condition("symbol", query.symbols) + out.list_condition("source_id", query.sources);
  const std::string direction = query.newest_first ? " DESC" : "";
  sql += " ORDER BY event_time" + direction + ", event_time_ns" + direction + ", symbol" + bytes_order(query) + ", sequence" + direction + ", key" + direction;
  if (table.exploded) sql += ", row_no";  // the rows of one event stay in their order
  sql += limit_of(query);
  return out;
}

// A look at the end of each symbol's part of the index (symbol, event_time), instead of a read of all that lies between.
Select select_last(const Table& table, const Query& query) {
  Select out;
  const std::string name = quote_identifier(table.name);
  const std::string symbols = query.symbols.empty() ? "SELECT symbol FROM utp_symbols WHERE table_name = " + out.add(text_parameter(table.name))
                                                    : "SELECT DISTINCT unnest(" + out.add(text_list_parameter(query.symbols)) + ")";
  // The index ends at the newest microsecond; the order among its events is made of those alone, since a sort that goes on
  // where the index ends is not made of compressed chunks: they would be read to their begin.
  std::string last = " FROM (SELECT * FROM " + name + " WHERE symbol = utp_asked.symbol" + time_condition(*query.as_of, "<=", "<=");
  if (query.from) last += time_condition(*query.from, ">=", ">=");
  last += out.list_condition("source_id", query.sources) + " ORDER BY event_time DESC FETCH FIRST 1 ROW WITH TIES) AS utp_newest ORDER BY event_time_ns DESC, sequence DESC, key DESC LIMIT 1";
  std::string& sql = out.sql;
  sql = "SELECT " + select_columns(table, "utp_row.") + " FROM (" + symbols + ") AS utp_asked (symbol) CROSS JOIN LATERAL (";
  if (table.exploded) {
    sql += "SELECT event_time, key" + last + ") AS utp_last JOIN " + name + " AS utp_row ON utp_row.event_time = utp_last.event_time AND utp_row.key = utp_last.key";
  } else {
    sql += "SELECT *" + last + ") AS utp_row";
  }
  sql += " ORDER BY utp_row.symbol COLLATE \"C\"" + std::string(table.exploded ? ", utp_row.row_no" : "") + limit_of(query);
  return out;
}

// How the server is to go about it. The reader takes the time that it needs (Connection limits the silence instead).
std::string settings_of(const Query& query) {
  std::string sql = "SET LOCAL statement_timeout = 0";
  // By the index, even where few symbols are known and the primary key looks as good: it is read to its begin for a symbol that
  // has not been seen for long.
  if (query.as_of) sql += "; SET LOCAL random_page_cost = 0.01; SET LOCAL seq_page_cost = 0.01";
  // Along the primary key, with the first row at once, instead of a sort of everything on the server's disk.
  if (!query.as_of && query.symbols.empty() && query.event_type.find('/') != std::string::npos) sql += "; SET LOCAL enable_sort = off";
  return sql;
}

}  // namespace

std::unique_ptr<Connection> SpareReader::take() {
  const std::lock_guard lock(mutex_);
  return std::move(connection_);
}

void SpareReader::give(std::unique_ptr<Connection> connection) {
  const std::lock_guard lock(mutex_);
  connection_ = std::move(connection);
}

Result<std::unique_ptr<Cursor>> run_query(std::unique_ptr<Connection> connection, const Query& query, const std::shared_ptr<SpareReader>& spare) {
  UTP_CHECK(check_query(connection->place(), query));
  UTP_CHECK(connection->execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; " + settings_of(query), kDoing));
  UTP_TRY(Table table, find_table(*connection, query.event_type));
  if (table.is_aggregate && query.as_of) {
    return fail(Code::kInvalidArgument, "store " + connection->place() + ": " + table.name + " is an aggregate: ask for a range of its buckets, newest first with a limit");
  }
  const Select select = query.as_of ? select_last(table, query) : select_rows(table, query);
  UTP_TRY(const Rows declared, connection->run("DECLARE " + std::string(kCursor) + " NO SCROLL CURSOR FOR " + select.sql, kDoing, select.parameters));
  auto cursor = std::make_unique<PostgresCursor>(std::move(connection), spare, std::move(table.columns), std::move(table.kinds));
  UTP_CHECK(cursor->ask());
  return cursor;
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
      time = {nanoseconds(since_1970(row.integer(0, 0)), row.integer(0, 1))};
      return {};
    };
    UTP_CHECK(end("", stats.first_time));
    UTP_CHECK(end(" DESC", stats.last_time));
  }
  return out;
}

}  // namespace utp::postgres
