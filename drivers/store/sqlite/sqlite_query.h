// Queries and statistics from the store's own catalogue: no plan is needed to read. Internal to this driver.
#pragma once

#include "drivers/store/sqlite/sqlite_connection.h"
#include "store/store.h"

namespace utp::sqlite {

Result<std::unique_ptr<Cursor>> run_query(Connection& connection, const Query& query);
Result<std::vector<TableStats>> table_stats(Connection& connection);

}  // namespace utp::sqlite
