// A schema of its own for a test or a benchmark: on the private server, or on the one with TimescaleDB that the environment names.
#pragma once

#include <cstdlib>
#include <string>

#include <unistd.h>

#include "drivers/store/postgres/postgres_test_server.h"

namespace utp::postgres_test {

// A database, by what a person would type into psql and by URL.
struct Database {
  std::string url;  // without a schema; "" = there is none, see `missing`
  std::string missing;
  std::string schema;

  std::string in_schema() const {
    return url + (url.find('?') == std::string::npos ? "?" : "&") + "options=-csearch_path%3D" + schema + "%2Cpublic&application_name=" + schema;
  }
  // The first column of all rows, or the server's refusal.
  std::string sql(const std::string& text) const { return run_sql(in_schema(), text); }
};

inline Database plain_database() {
  if (PostgresServer::missing()) return {"", PostgresServer::kMissing, ""};
  PostgresServer& server = PostgresServer::shared();
  return {"postgres://utp@127.0.0.1:" + std::to_string(server.port()) + "/postgres", "", server.new_schema()};
}

// `variable` names a URL of a database with TimescaleDB under that licence, whose user may make extensions and schemas.
inline Database timescale_of(const std::string& variable, const std::string& licence) {
  const char* dsn = std::getenv(variable.c_str());
  if (dsn == nullptr || *dsn == '\0') {
    return {"", variable + " names no server with TimescaleDB (timescaledb.license = " + licence + "; a URL: postgres://user:password@host:port/database)", ""};
  }
  static int number = 0;
  Database database{dsn, "", "utp_test_" + std::to_string(::getpid()) + "_" + std::to_string(number++)};
  const std::string made = run_sql(dsn, "SET client_min_messages = error; CREATE EXTENSION IF NOT EXISTS timescaledb; CREATE SCHEMA " + database.schema);
  if (!made.empty()) return {"", "the server of " + variable + " cannot be used: " + made, ""};
  const std::string found = database.sql("SHOW timescaledb.license");
  if (found == licence) return database;
  database.sql("DROP SCHEMA " + database.schema);
  return {"", "the server of " + variable + " has timescaledb.license = " + found + ", not " + licence, ""};
}
inline Database timescale_database() { return timescale_of("UTP_TEST_TIMESCALE_DSN", "timescale"); }
// There the store has to do as on plain PostgreSQL.
inline Database apache_database() { return timescale_of("UTP_TEST_TIMESCALE_APACHE_DSN", "apache"); }

}  // namespace utp::postgres_test
