// Looking after a database file. Internal to this driver.
#pragma once

#include "drivers/store/sqlite/sqlite_connection.h"
#include "store/store.h"

namespace utp::sqlite {

Result<StoreStatus> store_status(Connection& connection);
Result<std::vector<Finding>> verify(Connection& connection);

}  // namespace utp::sqlite
