#include "drivers/store/postgres/postgres_roles.h"

#include <algorithm>
#include <set>
#include <vector>

#include "drivers/store/postgres/postgres_migration.h"
#include "store/ddl.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kRoles = "set up roles";
constexpr std::string_view kQuote = "$utp$";  // around the code of a DO
constexpr std::size_t kNameMax = 63;

enum class Duty : std::uint8_t { kWriter, kReplacer, kReader };

struct Member {
  std::string name;  // quoted
  Duty duty;
};

struct Table {
  std::string name;  // quoted, as all below
  bool exploded = false, hypertable = false;
  std::vector<std::string> aggregates;
};

using Statements = std::vector<std::string>;

// All read what says which tables there are. A writer notes symbols, touched times and, once, the realm. LOCK TABLE asks who
// replaces for a right to change what it locks.
void grant_catalogue(const Member& member, Statements& out) {
  const std::string to = " TO " + member.name;
  out.push_back("GRANT SELECT ON utp_migrations, utp_meta, utp_tables, utp_columns" + to);
  if (member.duty == Duty::kReader) {
    out.push_back("GRANT SELECT ON utp_symbols, utp_partitions, utp_aggregates, utp_touched" + to);
    return;
  }
  out.push_back("GRANT INSERT ON utp_meta, utp_symbols, utp_touched" + to);
  if (member.duty == Duty::kReplacer) out.push_back("GRANT UPDATE ON utp_meta, utp_symbols" + to);
  out.push_back("GRANT EXECUTE ON FUNCTION utp_make_partition(text, timestamptz)" + to);
}

// ON CONFLICT and RETURNING read the key; who replaces finds a source's range, too. TimescaleDB passes a grant on to its
// compressed tables, which have other columns: there it is all columns or none.
void grant_table(const Member& member, const Table& table, Statements& out) {
  const std::string to = " TO " + member.name;
  const auto select = [&](const char* more) {
    return table.hypertable ? std::string("SELECT")
                            : std::string("SELECT (event_time, key") + (table.exploded ? ", row_no" : "") + more + ")";
  };
  switch (member.duty) {
    case Duty::kReader:
      out.push_back("GRANT SELECT ON " + table.name + to);
      for (const std::string& aggregate : table.aggregates) out.push_back("GRANT SELECT ON " + aggregate + to);
      return;
    case Duty::kWriter: out.push_back("GRANT INSERT, " + select("") + " ON " + table.name + to); return;
    case Duty::kReplacer:
      out.push_back("GRANT INSERT, DELETE, " + select(", event_time_ns, source_id") + " ON " + table.name + to);
      return;
  }
}

// Of one table, or of all.
Result<std::vector<Table>> read_tables(Connection& connection, std::string_view only = "") {
  UTP_TRY(const Rows rows, connection.run("SELECT t.table_name, t.exploded, a.name, t.layout = 'hypertable' FROM utp_tables t "
                                          "LEFT JOIN utp_aggregates a USING (table_name) "
                                          "WHERE $1 IN ('', t.table_name) ORDER BY t.table_name, a.level",
                                          kRoles, {text_parameter(only)}));
  std::vector<Table> tables;
  for (int i = 0; i < rows.count(); ++i) {
    const std::string name = quote_identifier(rows.text(i, 0));
    if (tables.empty() || tables.back().name != name) {
      tables.push_back({name, rows.integer(i, 1) != 0, rows.integer(i, 3) != 0, {}});
    }
    if (!rows.null(i, 2)) tables.back().aggregates.push_back(quote_identifier(rows.text(i, 2)));
  }
  return tables;
}

struct Surroundings {
  std::string owner, user, schema, database;
  bool is_owner = false;  // this user has the owner's rights
  bool has_schema = false, has_database = false;
};

Result<Surroundings> look_around(Connection& connection) {
  UTP_TRY(const Rows rows,
          connection.run(
              "SELECT pg_get_userbyid(c.relowner)::text, current_user::text, n.nspname::text, d.datname::text, "
              "pg_has_role(c.relowner, 'USAGE'), pg_has_role(n.nspowner, 'USAGE'), pg_has_role(d.datdba, 'USAGE') FROM pg_class "
              "c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_database d ON d.datname = current_database() WHERE "
              "n.nspname = "
              "current_schema() AND c.relname = 'utp_tables'",
              kRoles));
  if (rows.count() == 0) {
    return fail(Code::kNotFound, "store " + connection.place() +
                                     ": nothing was stored in it yet; make its tables first, as their owner: utp store migrate");
  }
  return Surroundings{rows.text(0, 0),         rows.text(0, 1),         rows.text(0, 2),        rows.text(0, 3),
                      rows.integer(0, 4) != 0, rows.integer(0, 5) != 0, rows.integer(0, 6) != 0};
}

Result<Surroundings> require(Connection& connection, std::string_view what, std::string_view cure) {
  UTP_TRY(Surroundings around, look_around(connection));
  if (around.is_owner) return around;
  return fail(Code::kPermission, "store " + connection.place() + ": user \"" + around.user + "\" may not " + std::string(what) +
                                     ": role \"" + around.owner + "\" may, its owner. Run " + std::string(cure) +
                                     " with that user in the URL of --store");
}

Status check_name(const std::string& name) {
  const bool good = !name.empty() && name.size() <= kNameMax && name != "public" && name != "none" && !name.starts_with("pg_") &&
                    name.find('\0') == std::string::npos && name.find(kQuote) == std::string::npos;
  if (good) return {};
  return fail(Code::kInvalidArgument, "\"" + name + "\" is no name for a role: 1 to " + std::to_string(kNameMax) +
                                          " bytes, not public, none or one of the server's own (pg_…)");
}

class Script {
 public:
  void comment(std::string_view text) {
    text_ += "\n-- ";
    for (const char c : text) text_ += c == '\n' || c == '\r' ? ' ' : c;  // of a role's name
    text_ += '\n';
  }
  void add(const std::string& statement) {
    text_ += statement + ";\n";
    statements_.push_back(statement);
  }
  void add(const Statements& statements) {
    for (const std::string& statement : statements) add(statement);
  }
  std::string text() const { return "BEGIN;\n" + text_ + "\nCOMMIT;\n"; }
  const Statements& statements() const { return statements_; }

 private:
  std::string text_;
  Statements statements_;
};

void add_surroundings(const Surroundings& around, const std::vector<Member>& members, bool dedicated, Script& script) {
  const std::string on_database = " ON DATABASE " + quote_identifier(around.database);
  const std::string closed = "REVOKE CREATE ON SCHEMA " + quote_identifier(around.schema) + " FROM PUBLIC";
  script.comment(around.has_schema ? "Nobody but its owner makes tables in the schema."
                                   : "The schema is not this user's; its owner may have to run this:");
  if (around.has_schema) {
    script.add(closed);
  } else {
    script.comment(closed);
  }
  if (!around.has_database) {
    script.comment("The database is not this user's: who may connect to it and make temporary tables stays as it is.");
    return;
  }
  if (dedicated) {
    script.comment("The database is the store's alone: nobody else comes in.");
    script.add("REVOKE ALL" + on_database + " FROM PUBLIC");
    script.add("GRANT CONNECT, TEMPORARY" + on_database + " TO " + quote_identifier(around.owner));
  }
  script.comment("Into the database; writers stage duplicates in temporary tables.");
  for (const Member& member : members) {
    script.add(std::string("GRANT CONNECT") + (member.duty == Duty::kReader ? "" : ", TEMPORARY") + on_database + " TO " +
               member.name);
  }
}

}  // namespace

Status require_owner(Connection& connection, std::string_view what, std::string_view cure) {
  UTP_TRY(const Surroundings around, require(connection, what, cure));
  return {};
}

Status act_as_owner(Connection& connection, std::string_view what, std::string_view cure) {
  UTP_TRY(const Surroundings around, require(connection, what, cure));
  if (around.user == around.owner) return {};
  UTP_TRY(const Rows set, connection.run("SET LOCAL ROLE " + quote_identifier(around.owner), what));
  return {};
}

Status grant_as_on_others(Connection& connection, const std::string& table) {
  UTP_TRY(const auto tables, read_tables(connection, table));
  // Of each duty one right that only it has.
  UTP_TRY(
      const Rows rows,
      connection.run("SELECT DISTINCT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(a.grantee)) END, "
                     "c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN "
                     "aclexplode(c.relacl) a WHERE n.nspname = "
                     "current_schema() AND a.grantee <> c.relowner AND (c.relname, a.privilege_type) IN (('utp_touched', "
                     "'INSERT'), ('utp_symbols', 'UPDATE'), "
                     "('utp_aggregates', 'SELECT')) ORDER BY 1, 2",
                     kRoles));
  Statements statements;
  for (int i = 0; i < rows.count(); ++i) {
    const std::string_view right = rows.bytes(i, 1);
    const Duty duty = right == "utp_touched" ? Duty::kWriter : right == "utp_symbols" ? Duty::kReplacer : Duty::kReader;
    for (const Table& each : tables) grant_table({rows.text(i, 0), duty}, each, statements);
  }
  for (const std::string& statement : statements) {
    UTP_TRY(const Rows done, connection.run(statement, kRoles));
  }
  return {};
}

Result<std::string> set_up_roles(Connection& connection, const StoreRoles& roles, bool apply) {
  UTP_TRY(const Surroundings around, require(connection, "set up its roles", "utp store roles"));
  std::vector<Member> members;
  std::set<std::string> names;
  for (const auto& [list, duty] : {std::pair(&roles.writers, Duty::kWriter), std::pair(&roles.replacers, Duty::kReplacer),
                                   std::pair(&roles.readers, Duty::kReader)}) {
    for (const std::string& name : *list) {
      UTP_CHECK(check_name(name));
      if (name == around.owner) {
        return fail(Code::kInvalidArgument,
                    "store " + connection.place() + ": role \"" + name + "\" owns it and may do everything; name another role");
      }
      names.insert(name);
      members.push_back({quote_identifier(name), duty});
    }
  }
  if (members.empty()) return fail(Code::kInvalidArgument, "no role is named: --writer, --replacer or --reader NAME");

  Script script;
  const std::string schema = quote_identifier(around.schema);
  script.add("SET LOCAL search_path = " + schema);
  script.comment("A role that is there stays as it is. A new one has no password: give it one in psql with \\password NAME.");
  for (const std::string& name : names) {
    script.add("DO " + std::string(kQuote) +
               " BEGIN IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = " + text_literal(name) +
               ") THEN CREATE ROLE " + quote_identifier(name) + " LOGIN; END IF; END " + std::string(kQuote));
  }
  add_surroundings(around, members, roles.dedicated, script);
  UTP_TRY(const auto tables, read_tables(connection));
  std::string all = "utp_migrations, utp_meta, utp_tables, utp_columns, utp_symbols, utp_partitions, utp_aggregates, utp_touched";
  for (const Table& table : tables) {
    all += ", " + table.name;
    for (const std::string& aggregate : table.aggregates) all += ", " + aggregate;
  }
  script.comment("What they had before goes.");
  for (const std::string& name : names) {
    const std::string from = " FROM " + quote_identifier(name);
    script.add("REVOKE ALL ON " + all + from);
    script.add("REVOKE ALL ON FUNCTION utp_make_partition(text, timestamptz), utp_drop_partitions(text, timestamptz)" + from);
    script.add("REVOKE CREATE ON SCHEMA " + schema + from);
  }
  for (const Member& member : members) {
    constexpr std::string_view kWhat[] = {"writes events", "writes events and takes a source's range out (utp replay --replace)",
                                          "reads"};
    script.comment(member.name + " " + std::string(kWhat[static_cast<std::size_t>(member.duty)]));
    script.add("GRANT USAGE ON SCHEMA " + schema + " TO " + member.name);
    Statements grants;
    grant_catalogue(member, grants);
    for (const Table& table : tables) grant_table(member, table, grants);
    script.add(grants);
  }
  if (!apply) return script.text();

  UTP_CHECK(connection.begin(kRoles));
  const auto run = [&]() -> Status {
    for (const std::string& statement : script.statements()) {
      UTP_TRY(const Rows done, connection.run(statement, kRoles));
    }
    return connection.commit(kRoles);
  };
  auto status = run();
  if (!status) {
    connection.roll_back();
    return fail(std::move(status.error()));
  }
  return script.text();
}

}  // namespace utp::postgres
