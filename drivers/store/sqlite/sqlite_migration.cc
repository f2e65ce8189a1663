#include "drivers/store/sqlite/sqlite_migration.h"

#include <string>
#include <vector>

#include "store/catalogue.h"

namespace utp::sqlite {
namespace {

Result<std::vector<std::vector<std::string>>> rows(Connection& connection, std::string_view sql,
                                                   std::initializer_list<std::string_view> parameters) {
  UTP_TRY(const Statement statement, connection.prepare(sql));
  int parameter = 0;
  for (std::string_view text : parameters) bind_text(statement.get(), ++parameter, text);
  std::vector<std::vector<std::string>> out;
  for (;;) {
    const int code = sqlite3_step(statement.get());
    if (code == SQLITE_DONE) return out;
    if (code != SQLITE_ROW) return fail(connection.error(code, "read the catalogue"));
    auto& row = out.emplace_back();
    for (int i = 0; i < sqlite3_column_count(statement.get()); ++i) row.emplace_back(column_text(statement.get(), i));
  }
}

Result<KnownTable> known_table(Connection& connection, const Plan& plan) {
  KnownTable known;
  UTP_TRY(const auto owner, rows(connection, "SELECT event_type, schema_ref, exploded FROM utp_tables WHERE table_name = ?1 COLLATE NOCASE",
                                 {plan.table()}));
  if (owner.empty()) {
    UTP_TRY(const auto foreign, rows(connection, "SELECT type FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE", {plan.table()}));
    if (!foreign.empty() || plan.table().starts_with("utp_")) {
      return fail(foreign_table_error(connection.path(), plan));
    }
    return known;
  }
  known.exists = true;
  known.event_type = owner[0][0];
  known.schema_ref = owner[0][1];
  known.exploded = owner[0][2] == "1";
  UTP_TRY(const auto columns, rows(connection, "SELECT name, kind FROM utp_columns WHERE table_name = ?1 COLLATE NOCASE", {plan.table()}));
  for (const auto& column : columns) known.kinds.emplace(column[0], column[1]);
  return known;
}

Status add_to_catalogue(Connection& connection, const Plan& plan, const StoredColumn& column) {
  UTP_TRY(const Statement statement,
          connection.prepare("INSERT INTO utp_columns (table_name, position, name, kind) VALUES (?1, (SELECT count(*) FROM "
                             "utp_columns WHERE table_name = ?1), ?2, ?3)"));
  bind_text(statement.get(), 1, plan.table());
  bind_text(statement.get(), 2, column.name);
  bind_text(statement.get(), 3, to_string(column.kind));
  const int code = sqlite3_step(statement.get());
  if (code != SQLITE_DONE) return fail(connection.error(code, "write the catalogue"));
  return {};
}

}  // namespace

Status migrate(Connection& connection, const Plan& plan) {
  UTP_TRY(const std::vector<StoredColumn> columns, stored_columns(plan));
  {
    // Nearly always nothing is to do: look without taking the write lock.
    UTP_TRY(const KnownTable known, known_table(connection, plan));
    if (known.exists) {
      UTP_CHECK(check_known(connection.path(), known, plan, columns));
      if (!needs_migration(known, plan, columns)) return {};
    }
  }
  if (connection.options().read_only) return fail(read_only_migration_error(connection.path(), plan));
  UTP_TRY(Transaction transaction, Transaction::begin(connection));
  UTP_TRY(const KnownTable known, known_table(connection, plan));
  if (known.exists) {
    UTP_CHECK(check_known(connection.path(), known, plan, columns));
  } else {
    UTP_TRY(const std::string sql, create_table_sql(plan, SqlDialect::kSqlite));
    UTP_CHECK(connection.execute(sql));
  }
  for (const StoredColumn& column : columns) {
    if (known.kinds.contains(column.name)) continue;
    if (known.exists) UTP_CHECK(connection.execute(add_column_sql(plan.table(), column, SqlDialect::kSqlite)));
    UTP_CHECK(add_to_catalogue(connection, plan, column));
  }
  if (!known.exists || newer_ref(plan.schema_ref(), known.schema_ref)) {
    UTP_TRY(const Statement statement,
            connection.prepare("INSERT INTO utp_tables (event_type, table_name, schema_ref, exploded, row_count) VALUES (?1, ?2, ?3, "
                               "?4, 0) ON CONFLICT (event_type) DO UPDATE SET schema_ref = excluded.schema_ref"));
    bind_text(statement.get(), 1, plan.event_type());
    bind_text(statement.get(), 2, plan.table());
    bind_text(statement.get(), 3, plan.schema_ref());
    sqlite3_bind_int(statement.get(), 4, plan.explode() ? 1 : 0);
    const int code = sqlite3_step(statement.get());
    if (code != SQLITE_DONE) return fail(connection.error(code, "write the catalogue"));
  }
  return transaction.commit();
}

}  // namespace utp::sqlite
