#include "drivers/store/postgres/postgres_replace.h"

#include "drivers/store/postgres/postgres_aggregates.h"
#include "drivers/store/postgres/postgres_migration.h"
#include "store/ddl.h"

namespace utp::postgres {
namespace {

std::vector<std::string> texts(const Rows& rows) {
  std::vector<std::string> out;
  for (int i = 0; i < rows.count(); ++i) out.push_back(rows.text(i, 0));
  return out;
}

// Empty when the type has none.
Result<std::string> table_of(Connection& connection, const std::string& event_type) {
  UTP_TRY(const Rows rows, connection.run("SELECT table_name FROM utp_tables WHERE event_type = $1", "read the catalogue",
                                          {text_parameter(event_type)}));
  return rows.count() == 0 ? std::string() : rows.text(0, 0);
}

}  // namespace

Result<StoreContents> contents(Connection& connection) {
  StoreContents out;
  UTP_TRY(out.realm, stored_realm(connection));
  UTP_TRY(const Rows rows,
          connection.run("SELECT event_type FROM utp_tables ORDER BY event_type COLLATE \"C\"", "read the catalogue"));
  out.event_types = texts(rows);
  return out;
}

Result<std::vector<std::string>> sources(Connection& connection, const std::string& event_type) {
  UTP_TRY(const std::string table, table_of(connection, event_type));
  if (table.empty()) return std::vector<std::string>();
  UTP_TRY(const Rows rows,
          connection.run("SELECT DISTINCT source_id COLLATE \"C\" FROM " + quote_identifier(table) + " ORDER BY 1",
                         "read the sources"));
  return texts(rows);
}

Result<std::map<std::string, std::uint64_t>> remove_range(Connection& connection, const ReplaceRange& range,
                                                          std::set<std::string> tables) {
  std::map<std::string, std::string> of_types;
  for (const std::string& event_type : range.event_types) {
    UTP_TRY(const std::string table, table_of(connection, event_type));
    if (table.empty()) continue;
    of_types[event_type] = table;
    tables.insert(table);
  }
  // Before anything is changed: a writer that has one of our keys and waits for another of ours would end in a deadlock. So would
  // one that makes a partition and waits for its table, when we need a partition too.
  UTP_CHECK(lock_partitions(connection));
  // What every writer writes before its rows comes first here, too.
  UTP_TRY(const Rows lists, connection.run("LOCK TABLE utp_meta, utp_symbols IN SHARE ROW EXCLUSIVE MODE", "lock the lists of a store"));
  for (const std::string& table : tables) {
    UTP_TRY(const Rows locked,
            connection.run("LOCK TABLE " + quote_identifier(table) + " IN SHARE ROW EXCLUSIVE MODE", "lock " + table));
  }
  std::map<std::string, std::uint64_t> removed;
  for (const auto& [event_type, table] : of_types) {
    // The first condition is for the index, the second for the nanoseconds.
    UTP_TRY(const Rows deleted,
            connection.run("WITH gone AS (DELETE FROM " + quote_identifier(table) +
                               " WHERE event_time >= $1 AND (event_time, event_time_ns) >= ($1, $2) AND event_time <= $3 AND "
                               "(event_time, event_time_ns) < "
                               "($3, $4) AND source_id = $5 RETURNING event_time) SELECT count(*), min(event_time), max(event_time) FROM gone",
                           "delete from " + table,
                           {time_parameter(whole_microseconds(range.from.ns)),
                            integer_parameter(below_microsecond(range.from.ns)), time_parameter(whole_microseconds(range.to.ns)),
                            integer_parameter(below_microsecond(range.to.ns)), text_parameter(range.source_id)}));
    if (deleted.integer(0, 0) == 0) continue;
    removed[event_type] = static_cast<std::uint64_t>(deleted.integer(0, 0));
    const TimeRange gone{since_1970(deleted.integer(0, 1)), since_1970(deleted.integer(0, 2))};
    if (has_aggregates(event_type)) UTP_CHECK(connection.execute(touch_sql(table, {&gone, 1}), "note what is to be aggregated"));
  }
  return removed;
}

}  // namespace utp::postgres
