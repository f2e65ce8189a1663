// A store's own catalogue: what it says of a table, whether a plan may use that table, and the refusals that every store gives
// in the same words. `store` is how messages name the store.
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "model/event.h"
#include "store/ddl.h"
#include "store/store.h"

namespace utp {

struct KnownTable {
  bool exists = false;
  std::string event_type;
  std::string schema_ref;
  bool exploded = false;
  std::map<std::string, std::string, std::less<>> kinds;  // by column name
};

// "utp://quotes/2.10.0" after "utp://quotes/2.9.0".
bool newer_ref(std::string_view a, std::string_view b);
// A table that exists may take the plan's events, perhaps after columns were added. Forward only: never retyped.
Status check_known(std::string_view store, const KnownTable& known, const Plan& plan, const std::vector<StoredColumn>& columns);
// A column is missing, or the catalogue names an older version.
bool needs_migration(const KnownTable& known, const Plan& plan, const std::vector<StoredColumn>& columns);

// What a reader gets.
ColumnType column_type(StoredKind kind);

Error foreign_table_error(std::string_view store, const Plan& plan);
Error read_only_error(std::string_view store);
Error replacement_over_error(std::string_view store);
Error read_only_migration_error(std::string_view store, const Plan& plan);
Error not_prepared_error(std::string_view store, const Event& event);
Error realm_of_event_error(std::string_view store, std::string_view realm, std::string_view of_event);
Error realm_of_store_error(std::string_view store, std::string_view realm, std::string_view wanted);
Status check_query(std::string_view store, const Query& query);
Error no_event_type_error(std::string_view store, std::string_view event_type, const std::vector<std::string>& known);

}  // namespace utp
