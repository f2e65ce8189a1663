#include "store/ddl.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

namespace utp {
namespace {

struct HeaderSpec {
  const char* name;
  StoredKind kind;
  bool not_null;
};

constexpr std::array<HeaderSpec, kHeaderColumnCount> kHeader = {{
    {"event_time", StoredKind::kTime, true},
    {"key", StoredKind::kKey, true},
    {"symbol", StoredKind::kText, true},
    {"source_id", StoredKind::kText, true},
    {"schema_ref", StoredKind::kText, true},
    {"event_time_source", StoredKind::kText, true},
    {"ingest_time", StoredKind::kTime, true},
    {"sequence", StoredKind::kInteger, true},
    {"checksum", StoredKind::kChecksum, true},
    {"quality", StoredKind::kText, false},
}};

constexpr std::array<std::string_view, 9> kKindNames = {"key",  "checksum", "bool",  "integer",   "decimal",
                                                        "text", "time",     "array", "row_number"};

StoredKind stored_kind(ColumnType type) {
  switch (type) {
    case ColumnType::kBool: return StoredKind::kBool;
    case ColumnType::kInteger: return StoredKind::kInteger;
    case ColumnType::kDecimal: return StoredKind::kDecimal;
    case ColumnType::kText: return StoredKind::kText;
    case ColumnType::kTime: return StoredKind::kTime;
    case ColumnType::kArray: return StoredKind::kArray;
  }
  return StoredKind::kText;
}

// SQL compares names without regard to case.
bool same_name(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](unsigned char x, unsigned char y) {
    return std::tolower(x) == std::tolower(y);
  });
}

}  // namespace

std::string_view sql_type(StoredKind kind, SqlDialect dialect) {
  const bool sqlite = dialect == SqlDialect::kSqlite;
  switch (kind) {
    case StoredKind::kKey: return sqlite ? "BLOB" : "uuid";
    case StoredKind::kChecksum:
    case StoredKind::kInteger: return sqlite ? "INTEGER" : "bigint";
    case StoredKind::kTime: return sqlite ? "INTEGER" : "timestamptz";
    case StoredKind::kBool: return sqlite ? "INTEGER" : "boolean";
    case StoredKind::kDecimal: return sqlite ? "REAL" : "double precision";
    case StoredKind::kText: return sqlite ? "TEXT" : "text";
    case StoredKind::kArray: return sqlite ? "TEXT" : "json";  // the text as it is; jsonb refuses a NUL
    case StoredKind::kRowNumber: return sqlite ? "INTEGER" : "integer";
  }
  return "";
}

namespace {

void append_columns(const StoredColumn& column, SqlDialect dialect, std::vector<SqlColumn>& out) {
  out.push_back({column.name, sql_type(column.kind, dialect), column.not_null});
  if (dialect == SqlDialect::kPostgres && column.kind == StoredKind::kTime) {
    out.push_back({column.name + std::string(kNanosecondsSuffix), "smallint", column.not_null});
  }
}

std::string definition(const SqlColumn& column) {
  std::string sql = quote_identifier(column.name) + " ";
  sql += column.type;
  if (column.not_null) sql += " NOT NULL";
  return sql;
}

}  // namespace

std::string_view primary_key_sql(const Plan& plan) { return plan.explode() ? "(event_time, key, row_no)" : "(event_time, key)"; }

std::string_view to_string(StoredKind kind) { return kKindNames[static_cast<std::size_t>(kind)]; }

std::optional<StoredKind> parse_stored_kind(std::string_view name) {
  for (std::size_t i = 0; i < kKindNames.size(); ++i) {
    if (kKindNames[i] == name) return static_cast<StoredKind>(i);
  }
  return std::nullopt;
}

Result<std::vector<StoredColumn>> stored_columns(const Plan& plan) {
  if (plan.table().empty()) {
    return fail(Code::kUnsupported, plan.schema_ref() + " has no table: its events stay on the bus. To store them, name a table "
                                        "in the schema (x-utp.table)");
  }
  std::vector<StoredColumn> columns;
  for (const HeaderSpec& spec : kHeader) columns.push_back({spec.name, spec.kind, spec.not_null, std::nullopt});
  if (plan.explode()) columns.push_back({"row_no", StoredKind::kRowNumber, true, std::nullopt});
  const std::size_t header_count = columns.size();
  for (std::size_t i = 0; i < plan.columns().size(); ++i) {
    const Column& column = plan.columns()[i];
    for (std::size_t j = 0; j < columns.size(); ++j) {
      if (!same_name(columns[j].name, column.name)) continue;
      return fail(Code::kUnsupported, plan.schema_ref() + ": the field \"" + column.name + "\" has the name of " +
                                          (j < header_count ? "a header column of every table" : "another field, but for case") +
                                          ": name it otherwise in the schema");
    }
    StoredKind kind = stored_kind(column.type);
    if (plan.explode() == i && column.arity == 1 && !column.tuples) kind = stored_kind(column.element);
    columns.push_back({column.name, kind, false, i});
  }
  return columns;
}

std::string quote_identifier(std::string_view name) {
  std::string out = "\"";
  for (char c : name) {
    if (c == '"') out += '"';
    out += c;
  }
  return out += '"';
}

Result<std::vector<SqlColumn>> sql_columns(const Plan& plan, SqlDialect dialect) {
  UTP_TRY(const std::vector<StoredColumn> columns, stored_columns(plan));
  std::vector<SqlColumn> out;
  for (const StoredColumn& column : columns) append_columns(column, dialect, out);
  if (dialect == SqlDialect::kSqlite) return out;
  for (std::size_t i = 0; i < out.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      if (!same_name(out[j].name, out[i].name)) continue;
      return fail(Code::kUnsupported, plan.schema_ref() + ": the field \"" + out[i].name +
                                          "\" has the name of the column that keeps a time's nanoseconds: name it otherwise in the schema");
    }
  }
  return out;
}

Result<std::string> create_table_sql(const Plan& plan, SqlDialect dialect) {
  UTP_TRY(const std::vector<SqlColumn> columns, sql_columns(plan, dialect));
  std::string sql = "CREATE TABLE " + quote_identifier(plan.table()) + " (\n";
  for (const SqlColumn& column : columns) sql += "  " + definition(column) + ",\n";
  sql += "  PRIMARY KEY " + std::string(primary_key_sql(plan)) + "\n)";
  if (dialect == SqlDialect::kSqlite) sql += " STRICT, WITHOUT ROWID";
  return sql;
}

std::string add_column_sql(std::string_view table, const StoredColumn& column, SqlDialect dialect) {
  std::vector<SqlColumn> columns;
  append_columns(column, dialect, columns);
  std::string sql = "ALTER TABLE " + quote_identifier(table);
  for (std::size_t i = 0; i < columns.size(); ++i) sql += (i == 0 ? " ADD COLUMN " : ", ADD COLUMN ") + definition(columns[i]);
  return sql;
}

Result<std::string> insert_sql(const Plan& plan) {
  UTP_TRY(const std::vector<StoredColumn> columns, stored_columns(plan));
  std::string names, marks;
  for (std::size_t i = 0; i < columns.size(); ++i) {
    if (i > 0) {
      names += ", ";
      marks += ", ";
    }
    names += quote_identifier(columns[i].name);
    marks += "?" + std::to_string(i + 1);
  }
  return "INSERT INTO " + quote_identifier(plan.table()) + " (" + names + ") VALUES (" + marks + ") ON CONFLICT " +
         std::string(primary_key_sql(plan)) + " DO NOTHING";
}

}  // namespace utp
