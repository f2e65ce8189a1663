#include "drivers/store/postgres/postgres_migration.h"

#include <charconv>

#include "core/log.h"
#include "drivers/store/postgres/postgres_aggregates.h"
#include "drivers/store/postgres/postgres_roles.h"
#include "store/catalogue.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kRead = "read the catalogue";
constexpr std::string_view kMigrate = "migrate";
// One migration at a time in a database. A number that no other program is likely to have chosen ("UTP migr").
constexpr std::int64_t kMigrationLock = 0x5554'5020'6D69'6772;
constexpr std::size_t kTableNameMax = 63 - 16;  // "_p20261122_0000" stands behind it
constexpr std::int64_t kCompressAfterS = 7 * 86'400;
// Held by who makes or drops partitions ("UTP part"); the functions below have it, too.
constexpr std::int64_t kPartitionLock = 0x5554'5020'7061'7274;
constexpr std::string_view kPartitions = "partitions", kHypertable = "hypertable";

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

// ---- the catalogue, version by version: what was released stays as it is, changes come behind it ----

struct Step {
  std::string_view name;
  std::vector<std::string_view> statements;
};

// Its rights are its owner's, so that a writer needs none to make tables; SET search_path so that nobody puts tables of his own
// before ours. A partition is made beside the table and attached: that waits for no reader.
constexpr std::string_view kMakePartition = R"sql(
CREATE FUNCTION utp_make_partition(of_table text, moment timestamptz, OUT made_first timestamptz, OUT made_behind timestamptz)
LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
  seconds double precision;
  name text;
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(6148627491522179700);
  SELECT p.first, p.behind INTO made_first, made_behind FROM utp_partitions p
    WHERE p.table_name = of_table AND p.first <= moment AND moment < p.behind;
  IF FOUND THEN RETURN; END IF;
  SELECT t.chunk_s INTO STRICT seconds FROM utp_tables t WHERE t.table_name = of_table AND t.layout = 'partitions';
  made_first := to_timestamp(floor(extract(epoch FROM moment) / seconds) * seconds);
  made_behind := made_first + make_interval(secs => seconds);
  -- The width may have been another one before.
  SELECT greatest(made_first, max(p.behind)) INTO made_first FROM utp_partitions p WHERE p.table_name = of_table AND p.behind <= moment;
  SELECT least(made_behind, min(p.first)) INTO made_behind FROM utp_partitions p WHERE p.table_name = of_table AND p.first > moment;
  name := of_table || to_char(made_first AT TIME ZONE 'UTC', '"_p"YYYYMMDD"_"HH24MI');
  EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', name, of_table);
  EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)', of_table, name, made_first, made_behind);
  INSERT INTO utp_partitions (table_name, name, first, behind) VALUES (of_table, name, made_first, made_behind);
END $$)sql";

// Partitions that end at or before `until`. It gives up after two seconds of waiting for readers: the next round tries again.
constexpr std::string_view kDropPartitions = R"sql(
CREATE FUNCTION utp_drop_partitions(of_table text, until timestamptz) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET lock_timeout = '2s' AS $$
DECLARE
  old record;
  dropped bigint := 0;
BEGIN
  PERFORM pg_catalog.pg_advisory_xact_lock(6148627491522179700);
  FOR old IN SELECT p.name FROM utp_partitions p WHERE p.table_name = of_table AND p.behind <= until AND p.first > '-infinity' LOOP
    EXECUTE format('DROP TABLE %I', old.name);
    DELETE FROM utp_partitions p WHERE p.table_name = of_table AND p.name = old.name;
    dropped := dropped + 1;
  END LOOP;
  EXECUTE format('DELETE FROM %I WHERE event_time < %L AND event_time < %L', of_table, until, '2000-01-01 00:00:00+00');
  RETURN dropped;
END $$)sql";

const std::vector<Step>& steps() {
  static const std::vector<Step> all{
      {"catalogue",
       {"CREATE TABLE utp_meta (name text PRIMARY KEY, value text NOT NULL)",
        // layout: 'plain', 'partitions' or 'hypertable'; a null keeps for ever, or leaves uncompressed.
        "CREATE TABLE utp_tables (event_type text PRIMARY KEY, table_name text NOT NULL UNIQUE, schema_ref text NOT NULL, exploded boolean "
        "NOT NULL, layout text NOT NULL, chunk_s bigint NOT NULL, compress_after_s bigint, retention_s bigint)",
        "CREATE TABLE utp_columns (table_name text NOT NULL, position integer NOT NULL, name text NOT NULL, kind text NOT NULL, PRIMARY KEY "
        "(table_name, position))",
        "CREATE TABLE utp_partitions (table_name text NOT NULL, name text NOT NULL, first timestamptz NOT NULL, behind timestamptz NOT NULL, "
        "PRIMARY KEY (table_name, first))",
        kMakePartition, kDropPartitions}},
      {"aggregates",
       {// A materialized part ends at the watermark; what is newer is computed when it is read.
        "CREATE TABLE utp_aggregates (name text PRIMARY KEY, table_name text NOT NULL, level integer NOT NULL, bucket_s bigint NOT NULL, "
        "watermark timestamptz NOT NULL)",
        // Ranges of event times that writers added rows to since the last refresh.
        "CREATE TABLE utp_touched (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, table_name text NOT NULL, first timestamptz NOT NULL, "
        "last timestamptz NOT NULL)"}},
      {"symbols",
       {// Of each table: who asks for the last values of all would have to read it to find out which there are.
        "CREATE TABLE utp_symbols (table_name text NOT NULL, symbol text NOT NULL, PRIMARY KEY (table_name, symbol))",
        "DO $$ DECLARE t record; BEGIN FOR t IN SELECT table_name FROM utp_tables LOOP EXECUTE format('INSERT INTO utp_symbols SELECT DISTINCT %L, symbol "
        "FROM %I', t.table_name, t.table_name); END LOOP; END $$"}},
  };
  return all;
}

// TimescaleDB where it is, or can be made, and has the licence with which it compresses and aggregates.
Result<std::string> choose_engine(Connection& connection) {
  UTP_TRY(const Rows about, connection.run("SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'), EXISTS (SELECT FROM "
                                           "pg_catalog.pg_available_extensions WHERE name = 'timescaledb'), " +
                                               std::string(kTimescaleLoaded),
                                           kMigrate));
  if (about.integer(0, 0) == 0) {
    if (about.integer(0, 1) == 0) return std::string(kPlainEngine);
    if (about.integer(0, 2) == 0) {
      log::warn("TimescaleDB is installed but the server does not load it (shared_preload_libraries): tables are partitioned by PostgreSQL itself",
                {{"store", connection.place()}});
      return std::string(kPlainEngine);
    }
    UTP_CHECK(execute(connection, "SAVEPOINT extension"));
    if (const auto made = execute(connection, "CREATE EXTENSION timescaledb"); !made) {
      UTP_CHECK(execute(connection, "ROLLBACK TO SAVEPOINT extension"));
      log::warn("TimescaleDB is there but this user cannot make the extension: tables are partitioned by PostgreSQL itself",
                {{"store", connection.place()}, {"error", made.error().message}});
      return std::string(kPlainEngine);
    }
  }
  UTP_TRY(const Rows license, connection.run("SELECT coalesce(current_setting('timescaledb.license', true), '')", kMigrate));
  if (license.bytes(0, 0) == "timescale") return std::string(kTimescaleEngine);
  log::warn("TimescaleDB has the Apache licence, without compression, aggregates and policies: tables are partitioned by PostgreSQL itself",
            {{"store", connection.place()}});
  return std::string(kPlainEngine);
}

// From `version` on, within the caller's transaction.
Status make_steps(Connection& connection, int version) {
  if (version == 0) {
    UTP_TRY(const bool foreign, relation_exists(connection, "utp_meta"));
    if (foreign) return fail(Code::kCorrupt, "store " + connection.place() + ": utp_meta was not made by utp: name another schema or database");
    UTP_CHECK(execute(connection, "CREATE TABLE utp_migrations (version integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL "
                                  "DEFAULT now())"));
  }
  UTP_TRY(const Rows schema, connection.run("SELECT quote_ident(current_schema())", kRead));
  for (std::size_t i = static_cast<std::size_t>(version); i < steps().size(); ++i) {
    for (const std::string_view statement : steps()[i].statements) {
      UTP_CHECK(execute(connection, std::string(statement)));
    }
    UTP_CHECK(execute(connection, "INSERT INTO utp_migrations (version, name) VALUES ($1, $2)",
                      {integer_parameter(static_cast<std::int64_t>(i) + 1), text_parameter(steps()[i].name)}));
  }
  for (const char* function : {"utp_make_partition(text, timestamptz)", "utp_drop_partitions(text, timestamptz)"}) {
    UTP_CHECK(execute(connection, "REVOKE ALL ON FUNCTION " + std::string(function) + " FROM PUBLIC"));
    UTP_CHECK(execute(connection, "ALTER FUNCTION " + std::string(function) + " SET search_path = " + schema.text(0, 0) + ", pg_temp"));
  }
  return {};
}

Status bring_up(Connection& connection) {
  UTP_CHECK(lock(connection));
  UTP_TRY(const int version, catalogue_version(connection));
  if (version > 0) UTP_CHECK(act_as_owner(connection, "bring its catalogue up", "utp store migrate"));
  UTP_CHECK(make_steps(connection, version));
  if (version == 0) {
    UTP_TRY(const std::string engine, choose_engine(connection));
    UTP_CHECK(execute(connection, "INSERT INTO utp_meta (name, value) VALUES ('engine', $1)", {text_parameter(engine)}));
  }
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

constexpr std::int64_t kDay = 86'400;
constexpr std::int64_t kHotRetentionNs = 7 * kDay * 1'000'000'000;  // a stream of which the bus keeps so little is a flood

// The table with its entry in the catalogue, divided by event time: a day each for a flood, a month for the rest.
Status make_table(Connection& connection, const Plan& plan) {
  UTP_TRY(const std::string engine, stored_engine(connection));
  UTP_TRY(std::string sql, create_table_sql(plan, SqlDialect::kPostgres));
  const bool hypertable = engine == kTimescaleEngine;
  const bool hot = plan.retention_ns() > 0 && plan.retention_ns() <= kHotRetentionNs;
  const std::int64_t chunk_s = hot ? kDay : 30 * kDay;
  if (!hypertable && plan.table().size() > kTableNameMax) {
    return fail(Code::kUnsupported, plan.schema_ref() + ": the table's name \"" + plan.table() + "\" is longer than " + std::to_string(kTableNameMax) +
                                        " characters, which leaves no room for its partitions' names: shorten it in the schema");
  }
  UTP_CHECK(execute(connection, sql + (hypertable ? "" : " PARTITION BY RANGE (event_time)")));
  UTP_CHECK(execute(connection, "INSERT INTO utp_tables (event_type, table_name, schema_ref, exploded, layout, chunk_s, compress_after_s) VALUES "
                                "($1, $2, $3, $4 = 1, $5, $6, nullif($7, 0))",
                    {text_parameter(plan.event_type()), text_parameter(plan.table()), text_parameter(plan.schema_ref()),
                     integer_parameter(plan.explode() ? 1 : 0), text_parameter(hypertable ? kHypertable : kPartitions), integer_parameter(chunk_s),
                     integer_parameter(hypertable ? kCompressAfterS : 0)}));
  const std::string name = quote_identifier(plan.table());
  // For one symbol's history and its last value: the primary key knows only times (docs/adr/0009-postgres-layout.md).
  UTP_CHECK(execute(connection, "CREATE INDEX ON " + name + " (symbol, event_time)"));
  if (hypertable) {
    UTP_CHECK(execute(connection, "SELECT create_hypertable($1::text::regclass, by_range('event_time', make_interval(secs => $2::bigint)), "
                                  "create_default_indexes => false)",
                      {text_parameter(name), integer_parameter(chunk_s)}));
    UTP_CHECK(execute(connection, "ALTER TABLE " + name + " SET (timescaledb.enable_columnstore = true, timescaledb.segmentby = 'symbol', "
                                  "timescaledb.orderby = 'event_time, key" + (plan.explode() ? ", row_no" : "") + "')"));
    return execute(connection, "CALL add_columnstore_policy($1::text::regclass, after => make_interval(secs => $2::bigint))",
                   {text_parameter(name), integer_parameter(kCompressAfterS)});
  }
  // Times that nobody means: two partitions for all of them, so that a source's nonsense makes no others.
  const std::pair<const char*, const char*> ends[] = {{"-infinity", "2000-01-01 00:00:00+00"}, {"2100-01-01 00:00:00+00", "infinity"}};
  for (const auto& [first, behind] : ends) {
    const std::string part = plan.table() + (*first == '-' ? "_p_before" : "_p_after");
    UTP_CHECK(execute(connection, "CREATE TABLE " + quote_identifier(part) + " PARTITION OF " + name + " FOR VALUES FROM (" +
                                      (*first == '-' ? "MINVALUE" : "'" + std::string(first) + "'") + ") TO (" +
                                      (*behind == 'i' ? "MAXVALUE" : "'" + std::string(behind) + "'") + ")"));
    UTP_CHECK(execute(connection, "INSERT INTO utp_partitions (table_name, name, first, behind) VALUES ($1, $2, $3::text::timestamptz, $4::text::timestamptz)",
                      {text_parameter(plan.table()), text_parameter(part), text_parameter(first), text_parameter(behind)}));
  }
  return {};
}

Status migrate_locked(Connection& connection, const Plan& plan, const std::vector<StoredColumn>& columns) {
  UTP_CHECK(lock(connection));
  UTP_CHECK(act_as_owner(connection, "make or extend table " + plan.table() + " for " + plan.schema_ref(), "utp store migrate"));
  UTP_TRY(const KnownTable known, known_table(connection, plan));
  if (known.exists) {
    UTP_CHECK(check_known(connection.place(), known, plan, columns));
  } else {
    UTP_CHECK(make_table(connection, plan));
  }
  for (const StoredColumn& column : columns) {
    if (known.kinds.contains(column.name)) continue;
    if (known.exists) UTP_CHECK(execute(connection, add_column_sql(plan.table(), column, SqlDialect::kPostgres)));
    UTP_CHECK(execute(connection, "INSERT INTO utp_columns (table_name, position, name, kind) SELECT $1, count(*), $2, $3 FROM utp_columns "
                                  "WHERE table_name = $1",
                      {text_parameter(plan.table()), text_parameter(column.name), text_parameter(to_string(column.kind))}));
  }
  if (known.exists && newer_ref(plan.schema_ref(), known.schema_ref)) {
    UTP_CHECK(execute(connection, "UPDATE utp_tables SET schema_ref = $2 WHERE event_type = $1",
                      {text_parameter(plan.event_type()), text_parameter(plan.schema_ref())}));
  }
  if (!known.exists) {
    UTP_CHECK(make_aggregates(connection, plan));
    UTP_CHECK(grant_as_on_others(connection, plan.table()));
  }
  return connection.commit(kMigrate);
}

}  // namespace

Result<int> catalogue_version(Connection& connection) {
  UTP_TRY(const bool there, relation_exists(connection, "utp_migrations"));
  if (!there) return 0;
  UTP_TRY(const Rows version, connection.run("SELECT coalesce(max(version), 0) FROM utp_migrations", kRead));
  return static_cast<int>(version.integer(0, 0));
}

int newest_catalogue() { return static_cast<int>(steps().size()); }

Status open_catalogue(Connection& connection, bool read_only) {
  UTP_TRY(const int version, catalogue_version(connection));
  const int newest = newest_catalogue();
  if (version > newest) {
    return fail(Code::kUnsupported, "store " + connection.place() + ": made by a newer version of utp (catalogue " + std::to_string(version) +
                                        ", this one knows " + std::to_string(newest) + "). Upgrade utp, or name another store");
  }
  if (version > 0 && !read_only) {
    UTP_TRY(const std::string engine, stored_engine(connection));
    if (engine == kFederationEngine) return fail(federation_error(connection));
  }
  if (version == newest) return {};
  if (read_only && version == 0) return fail(Code::kNotFound, "store " + connection.place() + ": nothing was stored in it yet; its first writer makes the tables, or utp store migrate");
  if (read_only) {
    return fail(Code::kUnsupported, "store " + connection.place() + ": its catalogue has version " + std::to_string(version) + ", this utp reads " +
                                        std::to_string(newest) + ". Bring it up first: utp store migrate");
  }
  auto status = bring_up(connection);
  if (!status) connection.roll_back();
  return status;
}

Status make_federation_catalogue(Connection& connection) {
  UTP_CHECK(make_steps(connection, 0));
  for (const char* unused : {"FUNCTION utp_make_partition(text, timestamptz)", "FUNCTION utp_drop_partitions(text, timestamptz)", "TABLE utp_symbols"}) {
    UTP_CHECK(execute(connection, "DROP " + std::string(unused)));
  }
  return execute(connection, "INSERT INTO utp_meta (name, value) VALUES ('engine', $1)", {text_parameter(kFederationEngine)});
}

Error federation_error(Connection& connection) {
  return {Code::kUnsupported,
          "store " + connection.place() + ": this schema holds views over the stores of several regions (utp store federate), which can be read only: name the store of a "
                                          "region, or a schema of its own",
          false};
}

Result<std::string> stored_engine(Connection& connection) {
  UTP_TRY(const Rows engine, connection.run("SELECT value FROM utp_meta WHERE name = 'engine'", kRead));
  return engine.count() == 0 ? std::string(kPlainEngine) : engine.text(0, 0);
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

Result<bool> has_partitions(Connection& connection, const Plan& plan) {
  UTP_TRY(const Rows layout, connection.run("SELECT layout FROM utp_tables WHERE table_name = $1", kRead, {text_parameter(plan.table())}));
  return layout.count() == 1 && layout.bytes(0, 0) == kPartitions;
}

Status lock_partitions(Connection& connection) {
  UTP_TRY(const Rows locked, connection.run("SELECT pg_advisory_xact_lock($1)", "lock the partitions", {integer_parameter(kPartitionLock)}));
  return {};
}

}  // namespace utp::postgres
