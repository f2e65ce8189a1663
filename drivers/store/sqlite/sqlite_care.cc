#include "drivers/store/sqlite/sqlite_care.h"

#include "drivers/store/sqlite/sqlite_migration.h"
#include "drivers/store/sqlite/sqlite_query.h"

namespace utp::sqlite {

Result<StoreStatus> store_status(Connection& connection) {
  StoreStatus status;
  status.engine = "sqlite";
  status.server_version = sqlite3_libversion();
  UTP_TRY(const auto version, connection.integer("PRAGMA user_version"));
  status.catalogue_version = static_cast<int>(version.value_or(0));
  UTP_TRY(const Statement realm, connection.prepare("SELECT value FROM utp_meta WHERE name = 'realm'"));
  if (sqlite3_step(realm.get()) == SQLITE_ROW) status.realm = reinterpret_cast<const char*>(sqlite3_column_text(realm.get(), 0));
  UTP_TRY(const auto tables, table_stats(connection));
  for (const TableStats& stats : tables) {
    TableStatus& table = status.tables.emplace_back();
    table.event_type = stats.event_type;
    table.table = stats.table;
    table.rows = stats.rows;
  }
  return status;
}

Result<std::vector<Finding>> verify(Connection& connection) {
  std::vector<Finding> findings;
  UTP_TRY(const Statement check, connection.prepare("PRAGMA integrity_check(20)"));
  int code = SQLITE_OK;
  while ((code = sqlite3_step(check.get())) == SQLITE_ROW) {
    const std::string said = reinterpret_cast<const char*>(sqlite3_column_text(check.get(), 0));
    if (said != "ok") findings.push_back({connection.path(), said, "stop all writers and restore a copy, or save what is readable: sqlite3 FILE .recover"});
  }
  if (code != SQLITE_DONE) return fail(connection.error(code, "verify"));
  UTP_TRY(const auto tables, table_stats(connection));
  for (const TableStats& stats : tables) {
    UTP_TRY(const auto rows, connection.integer("SELECT count(*) FROM " + quote_identifier(stats.table)));
    if (static_cast<std::uint64_t>(rows.value_or(0)) == stats.rows) continue;
    findings.push_back({stats.table, "the table has " + std::to_string(rows.value_or(0)) + " rows, its catalogue says " + std::to_string(stats.rows),
                        "another program has changed the table; what it holds is right, the count is not"});
  }
  return findings;
}

}  // namespace utp::sqlite
