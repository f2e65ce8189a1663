// Queries and statistics from the store's own catalogue: no plan is needed to read. Internal to this driver.
#pragma once

#include "drivers/store/postgres/postgres_connection.h"
#include "store/store.h"

namespace utp::postgres {

// The cursor owns the connection.
Result<std::unique_ptr<Cursor>> run_query(std::unique_ptr<Connection> connection, const Query& query);
Result<std::vector<TableStats>> table_stats(Connection& connection);

}  // namespace utp::postgres
