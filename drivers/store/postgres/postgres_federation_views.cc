#include "drivers/store/postgres/postgres_federation_views.h"

#include <algorithm>
#include <set>

#include "core/log.h"
#include "drivers/store/postgres/postgres_migration.h"
#include "store/catalogue.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kRead = "read the region's catalogue";
constexpr std::string_view kMake = "make the views";
constexpr std::string_view kRegionColumn = "region";

Status execute(Connection& connection, const std::string& sql, std::initializer_list<Parameter> parameters = {}) {
  UTP_TRY(const Rows done, connection.run(sql, kMake, parameters));
  return {};
}

std::string in_schema(const std::string& schema, std::string_view name) {
  return quote_identifier(schema) + "." + quote_identifier(name);
}

// The columns in the database: a time of an event has its nanoseconds beside it.
std::vector<std::pair<std::string, std::string_view>> sql_columns_of(const FederatedTable& table) {
  std::vector<std::pair<std::string, std::string_view>> out;
  for (const auto& [name, kind] : table.columns) {
    out.emplace_back(name, sql_type(kind, SqlDialect::kPostgres));
    if (kind == StoredKind::kTime && !table.event_type.empty()) {
      out.emplace_back(name + std::string(kNanosecondsSuffix), "smallint");
    }
  }
  return out;
}

// What all regions together have of one table: the columns of the newest version, then what only others have.
struct View {
  FederatedTable table;
  std::vector<const RegionContents*> regions;
};

Status refuse_difference(const View& view, const RegionContents& region, const std::string& what) {
  return fail(Code::kInvalidArgument, "region " + region.name + ": " +
                                          (view.table.event_type.empty() ? view.table.name : view.table.event_type) + " " + what +
                                          " than in region " + view.regions.front()->name +
                                          ": their stores were made from schemas that do not fit together; leave one out");
}

Status add_to_view(const std::string& key, const RegionContents& region, View& view) {
  const FederatedTable& theirs = region.tables.at(key);
  FederatedTable& all = view.table;
  if (view.regions.empty()) {
    all = theirs;
    view.regions.push_back(&region);
    return {};
  }
  if (all.name != theirs.name) return refuse_difference(view, region, "has another table, \"" + theirs.name + "\",");
  if (all.exploded != theirs.exploded) return refuse_difference(view, region, "has another number of rows an event");
  std::vector<std::pair<std::string, StoredKind>> columns = all.columns, more = theirs.columns;
  if (newer_ref(theirs.schema_ref, all.schema_ref)) {
    std::swap(columns, more);
    all.schema_ref = theirs.schema_ref;
  }
  for (const auto& column : more) {
    const auto same = std::find_if(columns.begin(), columns.end(), [&](const auto& c) { return c.first == column.first; });
    if (same == columns.end()) {
      columns.push_back(column);
    } else if (same->second != column.second) {
      return refuse_difference(view, region, "has another type of column \"" + column.first + "\"");
    }
  }
  all.columns = std::move(columns);
  view.regions.push_back(&region);
  return {};
}

std::string view_sql(const std::string& key, const View& view) {
  const auto columns = sql_columns_of(view.table);
  std::string sql;
  for (const RegionContents* region : view.regions) {
    std::set<std::string> theirs;
    for (const auto& [name, type] : sql_columns_of(region->tables.at(key))) theirs.insert(name);
    sql += (sql.empty() ? "SELECT " : " UNION ALL SELECT ") + text_literal(region->name) + " AS " + std::string(kRegionColumn);
    for (const auto& [name, type] : columns) {
      sql += ", " +
             (theirs.contains(name) ? quote_identifier(name) : "NULL::" + std::string(type) + " AS " + quote_identifier(name));
    }
    sql += " FROM " + in_schema(region->schema, view.table.name);
  }
  return "CREATE VIEW " + quote_identifier(view.table.name) + " AS " + sql;
}

Status note_view(Connection& connection, const FederatedTable& table) {
  if (table.event_type.empty()) {
    UTP_CHECK(
        execute(connection,
                "INSERT INTO utp_aggregates (name, table_name, level, bucket_s, watermark) VALUES ($1, $2, $3, $4, '-infinity')",
                {text_parameter(table.name), text_parameter(table.aggregate_of), integer_parameter(table.level),
                 integer_parameter(table.bucket_s)}));
  } else {
    UTP_CHECK(execute(connection,
                      "INSERT INTO utp_tables (event_type, table_name, schema_ref, exploded, layout, chunk_s) VALUES ($1, $2, "
                      "$3, $4 = 1, 'view', 0)",
                      {text_parameter(table.event_type), text_parameter(table.name), text_parameter(table.schema_ref),
                       integer_parameter(table.exploded ? 1 : 0)}));
  }
  std::vector<std::string> names{std::string(kRegionColumn)}, kinds{std::string(to_string(StoredKind::kText))};
  for (const auto& [name, kind] : table.columns) {
    names.push_back(name);
    kinds.emplace_back(to_string(kind));
  }
  return execute(connection,
                 "INSERT INTO utp_columns (table_name, position, name, kind) SELECT $1, c.place - 1, c.name, c.kind FROM "
                 "unnest($2, $3) WITH ORDINALITY AS c (name, kind, place)",
                 {text_parameter(table.name), text_list_parameter(names), text_list_parameter(kinds)});
}

Result<std::string> common_realm(const std::vector<RegionContents>& regions) {
  const RegionContents* first = nullptr;
  for (const RegionContents& region : regions) {
    if (region.realm.empty()) continue;
    if (first == nullptr) first = &region;
    if (region.realm == first->realm) continue;
    return fail(Code::kInvalidArgument,
                "region " + region.name + " holds realm \"" + region.realm + "\", region " + first->name + " realm \"" +
                    first->realm +
                    "\": a federation holds one realm, as a store does; leave one out, or give it another --schema");
  }
  return first == nullptr ? std::string() : first->realm;
}

}  // namespace

Result<RegionContents> read_region(Connection& connection, const std::string& name, const std::string& schema) {
  RegionContents region;
  region.name = name;
  region.schema = schema;
  const auto from = [&](std::string_view table) { return " FROM " + in_schema(schema, table); };
  UTP_TRY(const Rows version, connection.run("SELECT coalesce(max(version), 0)" + from("utp_migrations"), kRead));
  if (version.integer(0, 0) != newest_catalogue()) {
    const bool newer = version.integer(0, 0) > newest_catalogue();
    return fail(Code::kUnsupported, "its catalogue has version " + std::to_string(version.integer(0, 0)) + ", this utp knows " +
                                        std::to_string(newest_catalogue()) +
                                        (newer ? ". Use the utp that wrote it" : ". Bring it up first: utp store migrate"));
  }
  UTP_TRY(const Rows meta, connection.run("SELECT name, value" + from("utp_meta"), kRead));
  for (int i = 0; i < meta.count(); ++i) {
    if (meta.bytes(i, 0) == "realm") region.realm = meta.text(i, 1);
    if (meta.bytes(i, 0) == "engine" && meta.bytes(i, 1) == kFederationEngine) {
      return fail(Code::kInvalidArgument, "it is a federation itself: name the stores that it is made of");
    }
  }
  std::map<std::string, std::string> keys;  // by the name of the table
  UTP_TRY(const Rows tables, connection.run("SELECT event_type, table_name, schema_ref, exploded" + from("utp_tables"), kRead));
  for (int i = 0; i < tables.count(); ++i) {
    FederatedTable& table = region.tables[tables.text(i, 0)];
    table.event_type = tables.text(i, 0);
    table.name = tables.text(i, 1);
    table.schema_ref = tables.text(i, 2);
    table.exploded = tables.integer(i, 3) != 0;
    keys[table.name] = table.event_type;
  }
  UTP_TRY(const Rows aggregates, connection.run("SELECT name, table_name, level, bucket_s" + from("utp_aggregates"), kRead));
  for (int i = 0; i < aggregates.count(); ++i) {
    FederatedTable& table = region.tables[aggregates.text(i, 0)];
    table.name = aggregates.text(i, 0);
    table.aggregate_of = aggregates.text(i, 1);
    table.level = aggregates.integer(i, 2);
    table.bucket_s = aggregates.integer(i, 3);
    keys[table.name] = table.name;
  }
  UTP_TRY(const Rows columns,
          connection.run("SELECT table_name, name, kind" + from("utp_columns") + " ORDER BY table_name, position", kRead));
  for (int i = 0; i < columns.count(); ++i) {
    const auto key = keys.find(columns.text(i, 0));
    if (key == keys.end()) continue;
    const auto kind = parse_stored_kind(columns.bytes(i, 2));
    if (!kind) {
      return fail(Code::kCorrupt,
                  "utp_columns: unknown kind \"" + columns.text(i, 2) + "\" of " + columns.text(i, 0) + "." + columns.text(i, 1));
    }
    region.tables[key->second].columns.emplace_back(columns.text(i, 1), *kind);
  }
  std::erase_if(region.tables, [&](const auto& entry) {
    const auto& of_table = entry.second.columns;
    const bool taken =
        std::any_of(of_table.begin(), of_table.end(), [](const auto& column) { return column.first == kRegionColumn; });
    if (taken) {
      log::warn("a table that has a column \"region\" of its own is left out of the federation",
                {{"region", name}, {"table", entry.second.name}});
    }
    return taken;
  });
  return region;
}

Status make_foreign_tables(Connection& connection, const RegionContents& region, const std::string& server,
                           const std::string& remote_schema) {
  for (const auto& [key, table] : region.tables) {
    std::string columns;
    for (const auto& [name, type] : sql_columns_of(table)) {
      columns += (columns.empty() ? "" : ", ") + quote_identifier(name) + " " + std::string(type);
    }
    UTP_CHECK(execute(connection, "CREATE FOREIGN TABLE " + in_schema(region.schema, table.name) + " (" + columns + ") SERVER " +
                                      quote_identifier(server) + " OPTIONS (schema_name " + string_literal(remote_schema) +
                                      ", table_name " + string_literal(table.name) + ")"));
  }
  return {};
}

Result<Federation> make_views(Connection& connection, const std::vector<RegionContents>& regions) {
  Federation federation;
  UTP_TRY(federation.realm, common_realm(regions));
  std::map<std::string, View> views;
  std::string symbols;
  for (const RegionContents& region : regions) {
    for (const auto& [key, table] : region.tables) UTP_CHECK(add_to_view(key, region, views[key]));
    symbols += (symbols.empty() ? "" : " UNION ") + ("SELECT table_name, symbol FROM " + in_schema(region.schema, "utp_symbols"));
  }
  UTP_CHECK(execute(connection, "CREATE VIEW utp_symbols AS " + symbols));
  for (const auto& [key, view] : views) {
    UTP_CHECK(execute(connection, view_sql(key, view)));
    UTP_CHECK(note_view(connection, view.table));
    FederationView& made = federation.views.emplace_back();
    made.name = view.table.name;
    made.event_type = view.table.event_type;
    for (const RegionContents* region : view.regions) made.regions.push_back(region->name);
  }
  if (federation.realm.empty()) return federation;
  UTP_CHECK(execute(connection, "INSERT INTO utp_meta (name, value) VALUES ('realm', $1)", {text_parameter(federation.realm)}));
  return federation;
}

}  // namespace utp::postgres
