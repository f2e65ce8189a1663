// Tables from plans: which columns an event type has in a store, and the SQL of one dialect that makes and fills them.
//
// Every table has the header columns below, `row_no` when its events are exploded, then the payload's columns. Columns are
// found by name, never by position: a table may have more of them (a newer minor version was here) than a plan.
// In PostgreSQL a time has two columns: a timestamptz, which counts microseconds, and `<name>_ns`, the nanoseconds below one.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "schema/plan.h"

namespace utp {

enum class SqlDialect : std::uint8_t { kSqlite, kPostgres };

// Header columns in table order; the value is the index into stored_columns().
enum HeaderColumn : std::uint8_t {
  kColumnEventTime,        // ns since 1970
  kColumnKey,              // the idempotency key, 16 bytes, high half first
  kColumnSymbol,
  kColumnSourceId,
  kColumnSchemaRef,
  kColumnEventTimeSource,
  kColumnIngestTime,       // ns since 1970
  kColumnSequence,
  kColumnChecksum,         // the 64 bits as a signed integer
  kColumnQuality,          // "late,snapshot"; null when there is nothing to say
  kHeaderColumnCount,
};

enum class StoredKind : std::uint8_t {
  kKey,       // 16 bytes
  kChecksum,  // 64 bits
  kBool,
  kInteger,
  kDecimal,
  kText,
  kTime,
  kArray,     // JSON text
  kRowNumber, // 0-based row of an exploded event
};
std::string_view to_string(StoredKind kind);  // the name kept in a store's catalogue
std::optional<StoredKind> parse_stored_kind(std::string_view name);

struct StoredColumn {
  std::string name;
  StoredKind kind = StoredKind::kText;
  bool not_null = false;
  std::optional<std::size_t> payload;  // index into Plan::columns(); empty for header columns and row_no
};

// Header, row_no when exploded, payload. kUnsupported when the plan has no table, or a payload column has the name of a
// header column.
Result<std::vector<StoredColumn>> stored_columns(const Plan& plan);

// One column of the table itself.
struct SqlColumn {
  std::string name;
  std::string_view type;
  bool not_null = false;
};
// What stored_columns() are in the table. kUnsupported where the dialect cannot have such names.
Result<std::vector<SqlColumn>> sql_columns(const Plan& plan, SqlDialect dialect);

inline constexpr std::string_view kNanosecondsSuffix = "_ns";
std::string_view sql_type(StoredKind kind, SqlDialect dialect);

std::string quote_identifier(std::string_view name);

// One statement each, without a final semicolon.
Result<std::string> create_table_sql(const Plan& plan, SqlDialect dialect);
std::string add_column_sql(std::string_view table, const StoredColumn& column, SqlDialect dialect);
// For SQLite. Parameters in the order of stored_columns(); does nothing when the key is there already.
Result<std::string> insert_sql(const Plan& plan);
// "(event_time, key)", with row_no where the events are exploded.
std::string_view primary_key_sql(const Plan& plan);

}  // namespace utp
