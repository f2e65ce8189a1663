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

// The rows of a COPY in the binary form, as they come, within a transaction of its own: a reader sees one moment of the table.
class PostgresCursor final : public Cursor {
 public:
  PostgresCursor(std::unique_ptr<Connection> connection, std::vector<QueryColumn> columns, std::vector<StoredKind> kinds)
      : connection_(std::move(connection)), columns_(std::move(columns)), kinds_(std::move(kinds)) {}

  std::span<const QueryColumn> columns() const override { return columns_; }

  Result<bool> next(std::vector<Value>& values) override {
    values.resize(columns_.size());
    if (!connection_) return false;
    UTP_TRY(const auto message, connection_->copy_row(kDoing));
    if (!message) return end();
    rest_ = *message;
    if (!started_) {
      rest_.remove_prefix(std::min<std::size_t>(kHeadBytes, rest_.size()));
      started_ = true;
    }
    const std::int64_t fields = take_integer(2);
    if (fields < 0) return drain();
    for (std::size_t i = 0; i < kinds_.size(); ++i) values[i] = value(kinds_[i]);
    if (damaged_) return fail(Code::kCorrupt, "store " + connection_->place() + ": query: the server sent half a row");
    return true;
  }

 private:
  static constexpr std::size_t kHeadBytes = 19;  // signature, flags, length of an extension that nobody has

  // The end of the data came; the server's word that all went well is still to come.
  Result<bool> drain() {
    for (;;) {
      UTP_TRY(const auto message, connection_->copy_row(kDoing));
      if (!message) return end();
    }
  }
  bool end() {
    connection_.reset();  // a cursor kept at its end must not hold back the server's cleaning
    return false;
  }

  std::string_view take(std::size_t size) {
    if (rest_.size() < size) {
      damaged_ = true;
      return {};
    }
    const std::string_view out = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return out;
  }
  std::int64_t take_integer(std::size_t size) { return read_integer(take(size)); }
  // Empty for null.
  std::optional<std::string_view> take_field() {
    std::uint32_t size = 0;
    const std::string_view bytes = take(sizeof size);
    if (damaged_) return std::nullopt;
    std::memcpy(&size, bytes.data(), sizeof size);
    size = __builtin_bswap32(size);
    if (size == ~std::uint32_t{0}) return std::nullopt;
    return take(size);
  }

  Value value(StoredKind kind) {
    const auto field = take_field();
    if (kind == StoredKind::kTime) {
      const auto below = take_field();
      if (!field || !below) return Value::null();
      return Value::of(Timestamp{nanoseconds(read_integer(*field) + kEpochShiftUs, read_integer(*below))});
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

  std::unique_ptr<Connection> connection_;  // null at the end
  std::vector<QueryColumn> columns_;
  std::vector<StoredKind> kinds_;
  std::string_view rest_;  // of the row in hand
  bool started_ = false, damaged_ = false;
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

// The first condition is for the index, the second for the nanoseconds.
std::string time_condition(Timestamp time, const char* outer, const char* inner) {
  const std::string us = time_literal(whole_microseconds(time.ns));
  return " AND event_time " + std::string(outer) + " " + us + " AND (event_time, event_time_ns) " + inner + " (" + us + ", " +
         std::to_string(below_microsecond(time.ns)) + ")";
}

std::string list_condition(const char* column, const std::vector<std::string>& texts) {
  if (texts.empty()) return {};
  return " AND " + std::string(column) + (texts.size() == 1 ? " = " + text_literal(texts[0]) : " = ANY(" + text_list_literal(texts) + ")");
}

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

// A bucket counts where it begins within the time that is asked for.
std::string select_buckets(const Table& table, const Query& query) {
  std::string sql = "SELECT " + select_columns(table) + " FROM " + quote_identifier(table.name) + " WHERE true";
  const auto bound = [&](const std::optional<Timestamp>& time, const char* condition) {
    if (!time) return;
    const bool whole = below_microsecond(time->ns) == 0;  // the next whole microsecond is the first that counts
    sql += std::string(" AND bucket ") + condition + " " + time_literal(whole_microseconds(time->ns) + (whole ? 0 : 1));
  };
  bound(query.from, ">=");
  bound(query.to, "<");
  sql += list_condition("symbol", query.symbols) + list_condition("source_id", query.sources);
  const std::string direction = query.newest_first ? " DESC" : "";
  return sql + " ORDER BY bucket" + direction + ", symbol COLLATE \"C\"" + direction + ", source_id COLLATE \"C\"" + direction + limit_of(query);
}

std::string select_rows(const Table& table, const Query& query) {
  if (table.is_aggregate) return select_buckets(table, query);
  std::string sql = "SELECT " + select_columns(table) + " FROM " + quote_identifier(table.name) + " WHERE true";
  if (query.from) sql += time_condition(*query.from, ">=", ">=");
  if (query.to) sql += time_condition(*query.to, "<=", "<");
  sql += list_condition("symbol", query.symbols) + list_condition("source_id", query.sources);
  const char* direction = query.newest_first ? " DESC" : "";
  sql += " ORDER BY";
  // Symbols by their bytes, as every store does, whatever the database's collation is.
  for (const char* name : {" event_time", ", event_time_ns", ", symbol COLLATE \"C\"", ", sequence", ", key"}) sql += std::string(name) + direction;
  if (table.exploded) sql += ", row_no";  // the rows of one event stay in their order
  return sql + limit_of(query);
}

// A look at the end of each symbol's part of the index (symbol, event_time), instead of a read of all that lies between.
std::string select_last(const Table& table, const Query& query) {
  const std::string name = quote_identifier(table.name);
  std::string symbols = "SELECT symbol FROM utp_symbols WHERE table_name = " + text_literal(table.name);
  if (!query.symbols.empty()) symbols = "SELECT DISTINCT unnest(" + text_list_literal(query.symbols) + ")";
  // The index ends at the newest microsecond; the order among its events is made of those alone, since a sort that goes on
  // where the index ends is not made of compressed chunks: they would be read to their begin.
  std::string last = " FROM (SELECT * FROM " + name + " WHERE symbol = utp_asked.symbol" + time_condition(*query.as_of, "<=", "<=");
  if (query.from) last += time_condition(*query.from, ">=", ">=");
  last += list_condition("source_id", query.sources) + " ORDER BY event_time DESC FETCH FIRST 1 ROW WITH TIES) AS utp_newest ORDER BY event_time_ns DESC, sequence DESC, key DESC LIMIT 1";
  std::string sql = "SELECT " + select_columns(table, "utp_row.") + " FROM (" + symbols + ") AS utp_asked (symbol) CROSS JOIN LATERAL (";
  if (table.exploded) {
    sql += "SELECT event_time, key" + last + ") AS utp_last JOIN " + name + " AS utp_row ON utp_row.event_time = utp_last.event_time AND utp_row.key = utp_last.key";
  } else {
    sql += "SELECT *" + last + ") AS utp_row";
  }
  return sql + " ORDER BY utp_row.symbol COLLATE \"C\"" + (table.exploded ? ", utp_row.row_no" : "") + limit_of(query);
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

Result<std::unique_ptr<Cursor>> run_query(std::unique_ptr<Connection> connection, const Query& query) {
  UTP_CHECK(check_query(connection->place(), query));
  UTP_CHECK(connection->execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY; " + settings_of(query), kDoing));
  UTP_TRY(Table table, find_table(*connection, query.event_type));
  if (table.is_aggregate && query.as_of) {
    return fail(Code::kInvalidArgument, "store " + connection->place() + ": " + table.name + " is an aggregate: ask for a range of its buckets, newest first with a limit");
  }
  UTP_CHECK(connection->begin_copy_out("COPY (" + (query.as_of ? select_last(table, query) : select_rows(table, query)) + ") TO STDOUT (FORMAT binary)", kDoing));
  return std::unique_ptr<Cursor>(new PostgresCursor(std::move(connection), std::move(table.columns), std::move(table.kinds)));
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
