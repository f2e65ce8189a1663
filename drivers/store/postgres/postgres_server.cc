#include "drivers/store/postgres/postgres_server.h"

#include "drivers/store/postgres/postgres_migration.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kLook = "look at the server";

struct Timescale {
  bool made = false, available = false;
  std::string licence;  // "" = it is not loaded
  bool loaded = false;  // by the server at its start, without which the extension cannot be made
};

// Why rows are not kept by TimescaleDB; `decided`: when the catalogue was made.
std::string why_plain(const Timescale& timescale, bool decided) {
  if (timescale.made && timescale.licence != "timescale") {
    return "TimescaleDB is there with its Apache licence, without compression, continuous aggregates and policies";
  }
  if (timescale.made) {
    return "TimescaleDB was not there, or had another licence, when the store was made; a store in a new schema would use it";
  }
  if (!timescale.available) return "TimescaleDB is not installed on the server";
  if (!decided && !timescale.loaded) {
    return "TimescaleDB is installed, but the server does not load it: add timescaledb to shared_preload_libraries in "
           "postgresql.conf and restart the server, before the store is made";
  }
  if (!decided) {
    return "TimescaleDB is installed, but not made in this database: CREATE EXTENSION timescaledb, as a superuser, before the "
           "store is made";
  }
  return "TimescaleDB is installed, but was not made in this database when the store was; a store in a new schema could use it";
}

void note_transport(const Connection& connection, StoreStatus& status) {
  const Transport transport = connection.transport();
  status.transport = transport.text;
  if (transport.local || (transport.encrypted && transport.verified)) return;
  status.dangers.push_back(
      {"connection",
       transport.encrypted ? "encrypted, but nobody checks that the server is the right one"
                           : "not encrypted, and leads to another machine: what is stored can be read and changed on the way",
       "write ?sslmode=verify-full&sslrootcert=FILE in the URL" +
           std::string(transport.encrypted ? "" : ", with ssl = on at the server")});
}

// What a crash, or the death of a disk's cache, would cost.
void note_settings(const Rows& rows, StoreStatus& status) {
  struct Setting {
    const char* name;
    const char* means;
    const char* cure;
  };
  constexpr Setting kSettings[] = {
      {"fsync", "off: a crash of the server's machine can leave a damaged database", "fsync = on in postgresql.conf, and reload"},
      {"full_page_writes", "off: a crash of the server's machine can leave damaged pages",
       "full_page_writes = on in postgresql.conf, and reload"},
      {"synchronous_commit", "off: a crash of the server loses events that were acknowledged as stored",
       "synchronous_commit = on in postgresql.conf, or ALTER ROLE … SET synchronous_commit = on"},
  };
  for (int i = 0; i < 3; ++i) {
    if (rows.bytes(0, i) == "off") status.dangers.push_back({kSettings[i].name, kSettings[i].means, kSettings[i].cure});
  }
}

Status note_engine(Connection& connection, StoreStatus& status) {
  UTP_TRY(
      const Rows rows,
      connection.run("SELECT (SELECT extversion FROM pg_catalog.pg_extension WHERE extname = 'timescaledb'), EXISTS (SELECT FROM "
                     "pg_catalog.pg_available_extensions WHERE name = 'timescaledb'), "
                     "coalesce(current_setting('timescaledb.license', true), ''), "
                     "current_setting('server_version'), " + std::string(kTimescaleLoaded),
                     kLook));
  const Timescale timescale{!rows.null(0, 0), rows.integer(0, 1) != 0, rows.text(0, 2), rows.integer(0, 4) != 0};
  status.server_version = "PostgreSQL " + rows.text(0, 3);
  if (timescale.made) {
    const std::string licence = timescale.licence == "timescale" ? "Community"
                                : timescale.licence == "apache"  ? "Apache"
                                                                 : "unknown";
    status.server_version += ", TimescaleDB " + rows.text(0, 0) + " (" + licence + " licence)";
  }
  const bool usable = timescale.made && timescale.licence == "timescale";
  if (status.catalogue_version == 0) {
    status.engine = usable ? kTimescaleEngine : kPlainEngine;
  } else {
    UTP_TRY(status.engine, stored_engine(connection));
  }
  if (status.engine == kPlainEngine) status.engine_reason = why_plain(timescale, status.catalogue_version > 0);
  if (status.engine == kTimescaleEngine && !usable) {
    status.dangers.push_back(
        {"engine",
         "the store was made with TimescaleDB, which " + std::string(timescale.made ? "has another licence now" : "is gone"),
         "bring it back (shared_preload_libraries, timescaledb.license = timescale), and restart the server"});
  }
  return {};
}

// Without a catalogue: whether one can be made.
Status note_rights(Connection& connection, StoreStatus& status) {
  if (status.catalogue_version == 0) {
    UTP_TRY(
        const Rows rows,
        connection.run(
            "SELECT has_schema_privilege(current_schema(), 'CREATE') AND has_database_privilege(current_database(), 'TEMPORARY')",
            kLook));
    status.may_write = status.may_maintain = rows.integer(0, 0) != 0;
    return {};
  }
  // Every table of the catalogue, for somebody who may not read it: those with a writer's list of symbols.
  UTP_TRY(const Rows rows, connection.run("SELECT pg_has_role(c.relowner, 'USAGE'), has_table_privilege(c.oid, 'INSERT') AND "
                                          "has_database_privilege(current_database(), 'TEMPORARY') FROM pg_class c JOIN "
                                          "pg_namespace n ON n.oid = c.relnamespace WHERE "
                                          "n.nspname = current_schema() AND c.relname = 'utp_symbols'",
                                          kLook));
  status.may_maintain = rows.count() == 1 && rows.integer(0, 0) != 0;
  status.may_write = rows.count() == 1 && rows.integer(0, 1) != 0;
  return {};
}

}  // namespace

Result<StoreStatus> look_at_server(Connection& connection) {
  StoreStatus status;
  UTP_TRY(const Rows settings,
          connection.run(
              "SELECT current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'), "
              "current_user::text, pg_is_in_recovery()",
              kLook));
  status.user = settings.text(0, 3);
  note_transport(connection, status);
  note_settings(settings, status);
  UTP_TRY(status.catalogue_version, catalogue_version(connection));
  status.newest_catalogue = newest_catalogue();
  UTP_CHECK(note_engine(connection, status));
  UTP_CHECK(note_rights(connection, status));
  if (settings.integer(0, 4) != 0) {
    status.may_write = status.may_maintain = false;
    status.dangers.push_back({"server", "a standby: it can be read, not written",
                              "for a chamber name the primary, or all hosts of the cluster, in the URL"});
  }
  if (status.catalogue_version > 0) {
    UTP_TRY(status.realm, stored_realm(connection));
    if (status.catalogue_version < status.newest_catalogue) {
      status.dangers.push_back({"catalogue",
                                "version " + std::to_string(status.catalogue_version) + ", this program's is " +
                                    std::to_string(status.newest_catalogue),
                                "utp store migrate, as the store's owner"});
    }
  }
  return status;
}

}  // namespace utp::postgres
