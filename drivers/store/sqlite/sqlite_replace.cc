#include "drivers/store/sqlite/sqlite_replace.h"

#include "store/ddl.h"

namespace utp::sqlite {
namespace {

// The first column of all rows. `parameter`: bound to ?1 when it is not empty.
Result<std::vector<std::string>> texts(Connection& connection, const std::string& sql, std::string_view parameter,
                                       std::string_view doing) {
  UTP_TRY(const Statement statement, connection.prepare(sql));
  if (!parameter.empty()) bind_text(statement.get(), 1, parameter);
  std::vector<std::string> out;
  int code = SQLITE_OK;
  while ((code = sqlite3_step(statement.get())) == SQLITE_ROW) out.emplace_back(column_text(statement.get(), 0));
  if (code != SQLITE_DONE) return fail(connection.error(code, doing));
  return out;
}

// Empty when the type has none.
Result<std::string> table_of(Connection& connection, const std::string& event_type) {
  UTP_TRY(const auto found,
          texts(connection, "SELECT table_name FROM utp_tables WHERE event_type = ?1", event_type, "read the catalogue"));
  return found.empty() ? std::string() : found.front();
}

}  // namespace

Result<std::string> stored_realm(Connection& connection) {
  UTP_TRY(const auto found, texts(connection, "SELECT value FROM utp_meta WHERE name = 'realm'", "", "read the realm"));
  return found.empty() ? std::string() : found.front();
}

Result<StoreContents> contents(Connection& connection) {
  StoreContents out;
  UTP_TRY(out.realm, stored_realm(connection));
  UTP_TRY(out.event_types, texts(connection, "SELECT event_type FROM utp_tables ORDER BY event_type", "", "read the catalogue"));
  return out;
}

Result<std::vector<std::string>> sources(Connection& connection, const std::string& event_type) {
  UTP_TRY(const std::string table, table_of(connection, event_type));
  if (table.empty()) return std::vector<std::string>();
  return texts(connection, "SELECT DISTINCT source_id FROM " + quote_identifier(table) + " ORDER BY source_id", "",
               "read the sources");
}

Result<std::map<std::string, std::uint64_t>> remove_range(Connection& connection, const ReplaceRange& range) {
  std::map<std::string, std::uint64_t> removed;
  for (const std::string& event_type : range.event_types) {
    UTP_TRY(const std::string table, table_of(connection, event_type));
    if (table.empty() || removed.contains(event_type)) continue;
    const auto step = [&](Statement& statement) -> Status {
      const int code = sqlite3_step(statement.get());
      if (code != SQLITE_DONE) return fail(connection.error(code, "delete from " + table));
      return {};
    };
    UTP_TRY(Statement rows, connection.prepare("DELETE FROM " + quote_identifier(table) +
                                               " WHERE event_time >= ?1 AND event_time < ?2 AND source_id = ?3"));
    sqlite3_bind_int64(rows.get(), 1, range.from.ns);
    sqlite3_bind_int64(rows.get(), 2, range.to.ns);
    bind_text(rows.get(), 3, range.source_id);
    UTP_CHECK(step(rows));
    const std::int64_t count = sqlite3_changes64(connection.handle());
    if (count == 0) continue;
    removed[event_type] = static_cast<std::uint64_t>(count);
    UTP_TRY(Statement counter, connection.prepare("UPDATE utp_tables SET row_count = row_count - ?2 WHERE event_type = ?1"));
    bind_text(counter.get(), 1, event_type);
    sqlite3_bind_int64(counter.get(), 2, count);
    UTP_CHECK(step(counter));
  }
  return removed;
}

}  // namespace utp::sqlite
