#include "drivers/store/postgres/postgres_migration.h"

#include <charconv>

#include "drivers/store/postgres/postgres_symbols.h"
#include "store/catalogue.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kRead = "read the catalogue";
constexpr std::string_view kMigrate = "migrate";
constexpr int kLayoutVersion = 1;
// One migration at a time in a database. A number that no other program is likely to have chosen ("UTP migr").
constexpr std::int64_t kMigrationLock = 0x5554'5020'6D69'6772;

// All names stand in the schema that new tables go to, whatever else the search path has.
Result<bool> relation_exists(Connection& connection, std::string_view name) {
  UTP_TRY(const Rows found, connection.run("SELECT current_schema() IS NULL, EXISTS (SELECT FROM pg_catalog.pg_class c JOIN "
                                           "pg_catalog.pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = current_schema() "
                                           "AND c.relname = $1)",
                                           kRead, {text_parameter(name)}));
  if (found.integer(0, 0) != 0) {
    return fail(Code::kNotFound, "store " + connection.place() + ": the search path names no schema that is there. Make one (CREATE SCHEMA), "
                                                                 "or name another with ?options=-csearch_path%3DNAME in the URL");
  }
  return found.integer(0, 1) != 0;
}

Status lock(Connection& connection) {
  UTP_CHECK(connection.begin(kMigrate));
  UTP_TRY(const Rows locked, connection.run("SELECT pg_advisory_xact_lock($1)", kMigrate, {integer_parameter(kMigrationLock)}));
  return {};
}

Status execute(Connection& connection, const std::string& sql, std::initializer_list<Parameter> parameters = {}) {
  UTP_TRY(const Rows done, connection.run(sql, kMigrate, parameters));
  return {};
}

Status make_catalogue(Connection& connection) {
  UTP_CHECK(lock(connection));
  UTP_CHECK(execute(connection, "CREATE TABLE IF NOT EXISTS utp_meta (name text PRIMARY KEY, value text NOT NULL)"));
  UTP_CHECK(execute(connection, "CREATE TABLE IF NOT EXISTS utp_tables (event_type text PRIMARY KEY, table_name text NOT NULL UNIQUE, "
                                "schema_ref text NOT NULL, exploded boolean NOT NULL)"));
  UTP_CHECK(execute(connection, "CREATE TABLE IF NOT EXISTS utp_columns (table_name text NOT NULL, position integer NOT NULL, name text "
                                "NOT NULL, kind text NOT NULL, PRIMARY KEY (table_name, position))"));
  UTP_CHECK(make_symbol_list(connection));
  UTP_CHECK(execute(connection, "INSERT INTO utp_meta (name, value) VALUES ('layout', $1) ON CONFLICT DO NOTHING",
                    {text_parameter(std::to_string(kLayoutVersion))}));
  return connection.commit(kMigrate);
}

Result<KnownTable> known_table(Connection& connection, const Plan& plan) {
  KnownTable known;
  UTP_TRY(const Rows owner, connection.run("SELECT event_type, schema_ref, exploded FROM utp_tables WHERE table_name = $1", kRead,
                                           {text_parameter(plan.table())}));
  if (owner.count() == 0) {
    UTP_TRY(const bool foreign, relation_exists(connection, plan.table()));
    if (foreign || plan.table().starts_with("utp_")) return fail(foreign_table_error(connection.place(), plan));
    return known;
  }
  known.exists = true;
  known.event_type = owner.text(0, 0);
  known.schema_ref = owner.text(0, 1);
  known.exploded = owner.integer(0, 2) != 0;
  UTP_TRY(const Rows columns, connection.run("SELECT name, kind FROM utp_columns WHERE table_name = $1", kRead, {text_parameter(plan.table())}));
  for (int i = 0; i < columns.count(); ++i) known.kinds.emplace(columns.text(i, 0), columns.text(i, 1));
  return known;
}

Status migrate_locked(Connection& connection, const Plan& plan, const std::vector<StoredColumn>& columns) {
  UTP_CHECK(lock(connection));
  UTP_TRY(const KnownTable known, known_table(connection, plan));
  if (known.exists) {
    UTP_CHECK(check_known(connection.place(), known, plan, columns));
  } else {
    UTP_TRY(const std::string sql, create_table_sql(plan, SqlDialect::kPostgres));
    UTP_CHECK(execute(connection, sql));
    // For one symbol's history and its last value: the primary key knows only times (docs/adr/0009-postgres-layout.md).
    UTP_CHECK(execute(connection, "CREATE INDEX ON " + quote_identifier(plan.table()) + " (symbol, event_time)"));
  }
  for (const StoredColumn& column : columns) {
    if (known.kinds.contains(column.name)) continue;
    if (known.exists) UTP_CHECK(execute(connection, add_column_sql(plan.table(), column, SqlDialect::kPostgres)));
    UTP_CHECK(execute(connection, "INSERT INTO utp_columns (table_name, position, name, kind) SELECT $1, count(*), $2, $3 FROM utp_columns "
                                  "WHERE table_name = $1",
                      {text_parameter(plan.table()), text_parameter(column.name), text_parameter(to_string(column.kind))}));
  }
  if (!known.exists || newer_ref(plan.schema_ref(), known.schema_ref)) {
    UTP_CHECK(execute(connection, "INSERT INTO utp_tables (event_type, table_name, schema_ref, exploded) VALUES ($1, $2, $3, $4 = 1) "
                                  "ON CONFLICT (event_type) DO UPDATE SET schema_ref = excluded.schema_ref",
                      {text_parameter(plan.event_type()), text_parameter(plan.table()), text_parameter(plan.schema_ref()),
                       integer_parameter(plan.explode() ? 1 : 0)}));
  }
  return connection.commit(kMigrate);
}

}  // namespace

Status open_catalogue(Connection& connection, bool read_only) {
  UTP_TRY(const bool there, relation_exists(connection, "utp_meta"));
  if (!there) {
    if (read_only) return fail(Code::kNotFound, "store " + connection.place() + ": nothing was stored in it yet");
    auto made = make_catalogue(connection);
    if (!made) connection.roll_back();
    UTP_CHECK(made);
  }
  UTP_TRY(const Rows layout, connection.run("SELECT value FROM utp_meta WHERE name = 'layout'", kRead));
  const std::string version = layout.count() == 1 ? layout.text(0, 0) : "";
  int number = 0;
  std::from_chars(version.data(), version.data() + version.size(), number);
  if (number < 1) return fail(Code::kCorrupt, "store " + connection.place() + ": utp_meta was not made by utp: name another schema or database");
  if (number > kLayoutVersion) {
    return fail(Code::kUnsupported, "store " + connection.place() + ": made by a newer version of utp (layout " + version +
                                        ", this one knows " + std::to_string(kLayoutVersion) + "). Upgrade utp, or name another store");
  }
  return {};
}

Result<std::string> stored_realm(Connection& connection) {
  UTP_TRY(const Rows realm, connection.run("SELECT value FROM utp_meta WHERE name = 'realm'", kRead));
  return realm.count() == 0 ? std::string() : realm.text(0, 0);
}

Status migrate(Connection& connection, const Plan& plan, bool read_only) {
  UTP_TRY(const std::vector<StoredColumn> columns, stored_columns(plan));
  // Nearly always nothing is to do: look without a lock.
  const auto known = known_table(connection, plan);
  // A table that is not in the catalogue may be one that another program is just making: the look under the lock decides.
  if (!known && (known.error().code != Code::kAlreadyExists || read_only)) return fail(known.error());
  if (known && known->exists) {
    UTP_CHECK(check_known(connection.place(), *known, plan, columns));
    if (!needs_migration(*known, plan, columns)) return {};
  }
  if (read_only) return fail(read_only_migration_error(connection.place(), plan));
  auto status = migrate_locked(connection, plan, columns);
  if (!status) connection.roll_back();
  return status;
}

}  // namespace utp::postgres
