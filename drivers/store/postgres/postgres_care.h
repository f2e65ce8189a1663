// Looking after the store: retention, compression, refreshes, what stands in it and whether it is as it should be. Internal to
// this driver.
#pragma once

#include <string>
#include <vector>

#include "drivers/store/postgres/postgres_connection.h"
#include "store/store.h"

namespace utp::postgres {

Result<Maintained> maintain(Connection& connection);
Result<StoreStatus> store_status(Connection& connection);
Status set_policy(Connection& connection, const std::string& event_type, const TablePolicy& policy);
Result<std::vector<Finding>> verify(Connection& connection);

}  // namespace utp::postgres
