// What the regions of a federation have, and the views over it. Internal to this driver.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "drivers/store/postgres/postgres_connection.h"
#include "drivers/store/postgres/postgres_federation.h"
#include "store/ddl.h"

namespace utp::postgres {

// A table of events, or an aggregate, as a catalogue has it.
struct FederatedTable {
  std::string name, event_type;  // event_type "" of an aggregate
  std::string schema_ref;
  bool exploded = false;
  std::string aggregate_of;  // a table's name
  std::int64_t level = 0, bucket_s = 0;
  std::vector<std::pair<std::string, StoredKind>> columns;
};
struct RegionContents {
  std::string name;
  std::string schema;                            // of its foreign tables, here
  std::string realm;                             // "" while nothing was written
  std::map<std::string, FederatedTable> tables;  // by event type, or an aggregate's name
};

// Through the foreign tables of its catalogue.
Result<RegionContents> read_region(Connection& connection, const std::string& name, const std::string& schema);
// `remote_schema`: where the region has them.
Status make_foreign_tables(Connection& connection, const RegionContents& region, const std::string& server,
                           const std::string& remote_schema);
// The views and their catalogue, in the current schema, where make_federation_catalogue() was called.
Result<Federation> make_views(Connection& connection, const std::vector<RegionContents>& regions);

}  // namespace utp::postgres
