#include "drivers/store/postgres/postgres_federation.h"

#include <algorithm>
#include <map>
#include <memory>

#include <libpq-fe.h>

#include "drivers/store/postgres/postgres_connection.h"
#include "drivers/store/postgres/postgres_federation_views.h"
#include "drivers/store/postgres/postgres_migration.h"

namespace utp {
namespace postgres {
namespace {

constexpr std::string_view kDoing = "federate";
constexpr std::int64_t kFederationLock = 0x5554'5020'6665'6465;  // "UTP fede"
constexpr std::size_t kNameMax = 63;                             // of anything in the database

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

// How the region's server is asked, in the place of what its own operator set. Along its indexes, which have the order that is
// asked for: a plan that looks cheaper because it sorts at the end would send everything here instead.
constexpr const char* kSession = "-c enable_bitmapscan=off -c random_page_cost=0.01 -c seq_page_cost=0.01 -c jit=off";
constexpr std::pair<const char*, const char*> kServerOptions[] = {
    // The region's own figures: conditions on a single symbol or key are then sent there, as joins need it.
    {"use_remote_estimate", "true"},
    // Rows a round trip. A look for a last value gets as many for each symbol; a long range over a far network wants more.
    {"fetch_size", "1000"},
    {"async_capable", "true"},  // all regions at once where no order is asked for
    {"updatable", "false"},
    {"truncatable", "false"},
    {"connect_timeout", "10"},
    {"keepalives_idle", "10"},
    {"keepalives_interval", "5"},
    {"keepalives_count", "3"},
    {"tcp_user_timeout", "20000"},
};

// The parts of a region's catalogue that are read through foreign tables.
constexpr std::pair<const char*, const char*> kCatalogue[] = {
    {"utp_migrations", "version integer"},
    {"utp_meta", "name text, value text"},
    {"utp_tables", "event_type text, table_name text, schema_ref text, exploded boolean"},
    {"utp_columns", "table_name text, position integer, name text, kind text"},
    {"utp_aggregates", "name text, table_name text, level integer, bucket_s bigint"},
    {"utp_symbols", "table_name text, symbol text"},
};

// A password stands in no statement: those that make servers are put together by the server, of rows that came by COPY, which no
// log shows. An error is raised anew, since its context would have the statement.
constexpr const char* kMakeServers = R"sql(
DO $$
DECLARE
  made record;
BEGIN
  FOR made IN SELECT server, string_agg(format('%I %L', name, value), ', ') FILTER (WHERE NOT of_user) AS of_server,
              string_agg(format('%I %L', name, value), ', ') FILTER (WHERE of_user) AS of_user FROM pg_temp.utp_server_options GROUP BY server LOOP
    EXECUTE format('CREATE SERVER %I FOREIGN DATA WRAPPER postgres_fdw OPTIONS (%s)', made.server, made.of_server);
    EXECUTE format('CREATE USER MAPPING FOR CURRENT_USER SERVER %I OPTIONS (%s)', made.server, made.of_user);
  END LOOP;
EXCEPTION WHEN OTHERS OR query_canceled THEN
  RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$)sql";

struct Region {
  std::string name, place;
  std::string wanted_schema;  // "" = wherever its store is
};

Status execute(Connection& connection, const std::string& sql, std::initializer_list<Parameter> parameters = {}) {
  UTP_TRY(const Rows done, connection.run(sql, kDoing, parameters));
  return {};
}

// The schema that the URL's options put first.
std::string first_schema(std::string_view options) {
  constexpr std::string_view kKey = "search_path=";
  const std::size_t at = options.rfind(kKey);
  if (at == std::string_view::npos) return {};
  options.remove_prefix(at + kKey.size());
  std::string name(options.substr(0, options.find_first_of(", ")));
  std::erase(name, '"');
  return name;
}

// The server's options from the URL's; `of_user`: those that only its user mapping may have.
struct UrlOptions {
  std::map<std::string, std::string> of_server, of_user;
};
Result<UrlOptions> options_of(const FederatedRegion& region) {
  const auto refused = [&](std::string what) {
    return fail(Code::kInvalidArgument, "region " + region.name + ": " + std::move(what));
  };
  if (const auto good = parse_postgres_url(region.url); !good) return refused(good.error().message);
  UrlOptions out;
  for (const auto& [name, value] : kServerOptions) out.of_server[name] = value;
  const std::unique_ptr<PQconninfoOption, FreeOptions> parsed(PQconninfoParse(region.url.c_str(), nullptr));
  std::string session;
  for (const PQconninfoOption* option = parsed.get(); option != nullptr && option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    const std::string_view name = option->keyword;
    if (name == "options") {
      session = std::string(" ") + option->val;
    } else if (name == "user" || name == "password" || name == "sslpassword") {
      out.of_user[option->keyword] = option->val;
    } else if (name != "application_name" && name != "fallback_application_name" && name != "client_encoding") {
      out.of_server[option->keyword] = option->val;
    }
  }
  if (!out.of_user.contains("user")) return refused("its URL names no user; write postgres://user@host:5432/database");
  out.of_server["options"] = kSession + session;
  return out;
}

// As COPY takes a value.
void append_field(std::string_view text, char end, std::string& out) {
  for (const char c : text) {
    if (c == '\\') {
      out += "\\\\";
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      out += c;
    }
  }
  out += end;
}

class Federating {
 public:
  Federating(Connection& connection, const std::string& schema) : connection_(connection), schema_(schema) {}

  // Whether there is one. A schema with anything else in it is refused.
  Result<bool> look();
  Result<Federation> make(const FederationOptions& options);
  Status drop();

 private:
  // A region's server, and the schema of its foreign tables.
  std::string of_region(const std::string& name) const { return schema_ + "_" + name; }
  std::string here(std::string_view name) const { return quote_identifier(schema_) + "." + quote_identifier(name); }
  Error in_region(const Region& region, Error error) const;
  Error in_the_way(const Error& error) const;
  Status check_wrapper();
  Result<std::map<std::string, Region>> known_regions();
  Status clear(const std::map<std::string, Region>& regions);
  Status forget(const std::string& name);
  Status make_servers(const std::vector<FederatedRegion>& regions);
  Result<RegionContents> take_in(const Region& region);
  Result<std::string> find_store(const Region& region);

  Connection& connection_;
  const std::string schema_;
};

Error Federating::in_region(const Region& region, Error error) const {
  error.message = "region " + region.name + " (" + region.place + "): " + error.message;
  if (connection_.last_state() == "08001") {
    error.message +=
        ". The server of the federation has to reach the region's; check the host, port and user of its URL from there";
  }
  if (connection_.last_state() == "2F003") {
    error.message +=
        ". Give the password in the region's URL, as ${NAME} or ${file:PATH}: a server's own password file counts for superusers "
        "only";
  }
  return error;
}

Error Federating::in_the_way(const Error& error) const {
  if (connection_.last_state() != "2BP01") return error;
  return {Code::kAlreadyExists,
          error.message +
              ". Something that utp did not make stands on it: drop that first (psql: DROP ... shows it), and make it again "
              "afterwards",
          false};
}

Result<bool> Federating::look() {
  UTP_TRY(const Rows found, connection_.run("SELECT count(*), count(*) FILTER (WHERE c.relname = 'utp_meta') FROM "
                                            "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = "
                                            "c.relnamespace WHERE n.nspname = $1",
                                            kDoing, {text_parameter(schema_)}));
  if (found.integer(0, 0) == 0) return false;
  bool ours = false;
  if (found.integer(0, 1) != 0) {
    UTP_TRY(const Rows engine, connection_.run("SELECT 1 FROM " + here("utp_meta") + " WHERE name = 'engine' AND value = $1",
                                               kDoing, {text_parameter(kFederationEngine)}));
    ours = engine.count() == 1;
  }
  if (ours) return true;
  return fail(Code::kAlreadyExists,
              "store " + connection_.place() + ": the schema \"" + schema_ + "\" is no federation and has " +
                  (found.integer(0, 1) != 0 ? "a store" : "tables of somebody else") + " in it: name another with --schema");
}

Status Federating::check_wrapper() {
  UTP_TRY(
      const Rows about,
      connection_.run("SELECT EXISTS (SELECT FROM pg_catalog.pg_extension WHERE extname = 'postgres_fdw'), EXISTS (SELECT FROM "
                      "pg_catalog.pg_available_extensions WHERE name = 'postgres_fdw'), quote_ident(current_user)",
                      kDoing));
  const std::string grant = "GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO " + about.text(0, 2);
  if (about.integer(0, 0) == 0) {
    if (about.integer(0, 1) == 0) {
      return fail(Code::kUnsupported,
                  "store " + connection_.place() +
                      ": the server does not have the extension postgres_fdw: install its package (Debian: postgresql-15 has it, "
                      "elsewhere postgresql-contrib)");
    }
    const Status made = execute(connection_, "CREATE EXTENSION IF NOT EXISTS postgres_fdw");
    if (!made && made.error().code == Code::kPermission) {
      return fail(Code::kPermission, "store " + connection_.place() +
                                         ": only a superuser can make the extension postgres_fdw: let one run, in this database, "
                                         "CREATE EXTENSION postgres_fdw; " +
                                         grant);
    }
    if (!made) return made;
  }
  UTP_TRY(const Rows may, connection_.run("SELECT has_foreign_data_wrapper_privilege('postgres_fdw', 'USAGE')", kDoing));
  if (may.integer(0, 0) != 0) return {};
  return fail(Code::kPermission, "store " + connection_.place() +
                                     ": the user may not use postgres_fdw: let a superuser run, in this database, " + grant);
}

Result<std::map<std::string, Region>> Federating::known_regions() {
  std::map<std::string, Region> regions;
  UTP_TRY(const Rows rows, connection_.run("SELECT name, place, wanted_schema FROM " + here("utp_regions"), kDoing));
  for (int i = 0; i < rows.count(); ++i) {
    regions[rows.text(i, 0)] = {rows.text(i, 0), rows.text(i, 1), rows.text(i, 2)};
  }
  return regions;
}

// Views first, and never what somebody else made.
Status Federating::clear(const std::map<std::string, Region>& regions) {
  const auto drop_all = [&](const std::string& schema, const char* what, const std::string& condition) -> Status {
    UTP_TRY(const Rows names, connection_.run("SELECT string_agg(format('%I.%I', n.nspname, c.relname), ', ') FROM "
                                              "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON "
                                              "n.oid = c.relnamespace WHERE n.nspname = $1 AND " +
                                                  condition,
                                              kDoing, {text_parameter(schema)}));
    if (names.null(0, 0)) return {};
    auto dropped = execute(connection_, "DROP " + std::string(what) + " " + names.text(0, 0));
    if (!dropped) return fail(in_the_way(dropped.error()));
    return {};
  };
  UTP_CHECK(drop_all(schema_, "VIEW",
                     "c.relkind = 'v' AND (c.relname = 'utp_symbols' OR c.relname IN (SELECT table_name FROM " +
                         here("utp_tables") + " UNION ALL SELECT name FROM " + here("utp_aggregates") + "))"));
  UTP_CHECK(drop_all(schema_, "TABLE", "c.relkind = 'r' AND c.relname LIKE 'utp\\_%'"));
  for (const auto& [name, region] : regions) UTP_CHECK(drop_all(of_region(name), "FOREIGN TABLE", "c.relkind = 'f'"));
  return {};
}

// A region whose foreign tables are gone.
Status Federating::forget(const std::string& name) {
  const std::string server = quote_identifier(of_region(name));
  for (const std::string& sql :
       {"DROP SCHEMA IF EXISTS " + server, "DROP USER MAPPING IF EXISTS FOR CURRENT_USER SERVER " + server,
        "DROP SERVER IF EXISTS " + server}) {
    auto dropped = execute(connection_, sql);
    if (!dropped) return fail(in_the_way(dropped.error()));
  }
  return {};
}

Status Federating::make_servers(const std::vector<FederatedRegion>& regions) {
  if (regions.empty()) return {};
  UTP_CHECK(
      execute(connection_,
              "CREATE TEMPORARY TABLE utp_server_options (server text, of_user boolean, name text, value text) ON COMMIT DROP"));
  std::string rows;
  for (const FederatedRegion& region : regions) {
    UTP_TRY(const UrlOptions options, options_of(region));
    for (const bool of_user : {false, true}) {
      for (const auto& [name, value] : of_user ? options.of_user : options.of_server) {
        append_field(of_region(region.name), '\t', rows);
        append_field(of_user ? "t" : "f", '\t', rows);
        append_field(name, '\t', rows);
        append_field(value, '\n', rows);
      }
    }
  }
  UTP_CHECK(connection_.start("COPY pg_temp.utp_server_options FROM STDIN", kDoing));
  UTP_CHECK(connection_.await_copy(kDoing));
  UTP_CHECK(connection_.copy(rows, kDoing));
  UTP_CHECK(connection_.end_copy(kDoing));
  UTP_CHECK(connection_.finish(kDoing));
  return connection_.execute(kMakeServers, kDoing);
}

Result<std::string> Federating::find_store(const Region& region) {
  const std::string tables = quote_identifier(of_region(region.name)) + ".utp_remote_tables";
  UTP_CHECK(execute(connection_, "CREATE FOREIGN TABLE " + tables + " (schemaname name, tablename name) SERVER " +
                                     quote_identifier(of_region(region.name)) +
                                     " OPTIONS (schema_name 'pg_catalog', table_name 'pg_tables')"));
  UTP_TRY(const Rows found,
          connection_.run("SELECT schemaname::text FROM " + tables +
                              " WHERE tablename = 'utp_tables' AND ($1 = '' OR schemaname::text = $1) ORDER BY 1",
                          kDoing, {text_parameter(region.wanted_schema)}));
  UTP_CHECK(execute(connection_, "DROP FOREIGN TABLE " + tables));
  if (found.count() == 1) return found.text(0, 0);
  if (found.count() == 0) {
    return fail(Code::kNotFound, (region.wanted_schema.empty() ? "no store is in this database"
                                                               : "no store is in its schema \"" + region.wanted_schema + "\"") +
                                     ": nothing was stored yet, or the URL names another place");
  }
  std::string names;
  for (int i = 0; i < found.count(); ++i) names += (i > 0 ? ", " : "") + found.text(i, 0);
  return fail(Code::kInvalidArgument,
              "stores are in the schemas " + names + ": name one with ?options=-csearch_path%3DNAME in the region's URL");
}

// The foreign tables of a region, by its own catalogue.
Result<RegionContents> Federating::take_in(const Region& region) {
  const std::string schema = of_region(region.name);
  UTP_CHECK(execute(connection_, "CREATE SCHEMA IF NOT EXISTS " + quote_identifier(schema)));
  UTP_TRY(const std::string there, find_store(region));
  for (const auto& [table, columns] : kCatalogue) {
    UTP_CHECK(execute(connection_, "CREATE FOREIGN TABLE " + quote_identifier(schema) + "." + table + " (" + columns +
                                       ") SERVER " + quote_identifier(schema) + " OPTIONS (schema_name " + string_literal(there) +
                                       ")"));
  }
  UTP_TRY(RegionContents contents, read_region(connection_, region.name, schema));
  UTP_CHECK(make_foreign_tables(connection_, contents, schema, there));
  return contents;
}

Result<Federation> Federating::make(const FederationOptions& options) {
  UTP_TRY(const bool exists, look());
  UTP_CHECK(check_wrapper());
  std::map<std::string, Region> regions;
  if (exists) {
    UTP_TRY(regions, known_regions());
    UTP_CHECK(clear(regions));
  }
  std::string names;
  for (const auto& [name, region] : regions) names += (names.empty() ? "" : ", ") + name;
  for (const std::string& name : options.remove) {
    if (regions.erase(name) == 0) {
      return fail(Code::kNotFound,
                  "there is no region \"" + name + "\" in this federation" + (names.empty() ? "" : "; it has " + names));
    }
    UTP_CHECK(forget(name));
  }
  for (const FederatedRegion& given : options.regions) {
    if (of_region(given.name).size() > kNameMax) {
      return fail(Code::kInvalidArgument,
                  "region " + given.name + ": with the schema's its name is longer than " + std::to_string(kNameMax));
    }
    UTP_TRY(const UrlOptions url, options_of(given));
    UTP_TRY(const PostgresStoreOptions parsed, parse_postgres_url(given.url));
    if (regions.contains(given.name)) UTP_CHECK(forget(given.name));
    regions[given.name] = {given.name, parsed.place, first_schema(url.of_server.at("options"))};
  }
  if (regions.empty()) {
    return fail(Code::kInvalidArgument, "no region is named; name each with --region NAME=URL" +
                                            std::string(exists ? ", or take all away with --drop" : ""));
  }
  UTP_CHECK(make_servers(options.regions));
  std::vector<RegionContents> contents;
  for (const auto& [name, region] : regions) {
    auto one = take_in(region);
    if (!one) return fail(in_region(region, one.error()));
    contents.push_back(*std::move(one));
  }
  UTP_CHECK(execute(connection_, "CREATE SCHEMA IF NOT EXISTS " + quote_identifier(schema_)));
  UTP_CHECK(execute(connection_, "SET LOCAL search_path = " + quote_identifier(schema_)));
  UTP_CHECK(make_federation_catalogue(connection_));
  UTP_CHECK(
      execute(connection_, "CREATE TABLE utp_regions (name text PRIMARY KEY, place text NOT NULL, wanted_schema text NOT NULL)"));
  UTP_TRY(Federation made, make_views(connection_, contents));
  for (const auto& [name, region] : regions) {
    UTP_CHECK(execute(connection_, "INSERT INTO utp_regions (name, place, wanted_schema) VALUES ($1, $2, $3)",
                      {text_parameter(name), text_parameter(region.place), text_parameter(region.wanted_schema)}));
    made.regions.push_back({name, region.place});
  }
  return made;
}

Status Federating::drop() {
  UTP_TRY(const bool exists, look());
  if (!exists) {
    return fail(Code::kNotFound, "store " + connection_.place() + ": there is no federation in a schema \"" + schema_ +
                                     "\"; name it with --schema");
  }
  UTP_TRY(const auto regions, known_regions());
  UTP_CHECK(clear(regions));
  for (const auto& [name, region] : regions) UTP_CHECK(forget(name));
  auto dropped = execute(connection_, "DROP SCHEMA " + quote_identifier(schema_));
  if (!dropped) return fail(in_the_way(dropped.error()));
  return {};
}

template <class Result, class Work>
Result in_transaction(const PostgresStoreOptions& store, const std::string& schema, Work work) {
  UTP_TRY(const auto connection, Connection::open(store, Use::kCare));
  UTP_CHECK(connection->begin(kDoing));
  auto done = [&]() -> Result {
    UTP_CHECK(execute(*connection, "SELECT pg_advisory_xact_lock($1)", {integer_parameter(kFederationLock)}));
    Federating federating(*connection, schema);
    auto result = work(federating);
    if (result) UTP_CHECK(connection->commit(kDoing));
    return result;
  }();
  if (!done) connection->roll_back();
  return done;
}

}  // namespace
}  // namespace postgres

Result<Federation> federate(const FederationOptions& options) {
  return postgres::in_transaction<Result<Federation>>(options.store, options.schema,
                                                      [&](postgres::Federating& f) { return f.make(options); });
}

Status drop_federation(const PostgresStoreOptions& store, const std::string& schema) {
  return postgres::in_transaction<Status>(store, schema, [](postgres::Federating& f) { return f.drop(); });
}

}  // namespace utp
