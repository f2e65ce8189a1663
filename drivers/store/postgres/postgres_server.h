// What a server and this user's rights on it are like, without the tables. Internal to this driver.
#pragma once

#include "drivers/store/postgres/postgres_connection.h"
#include "store/store.h"

namespace utp::postgres {

// All of a StoreStatus but tables, aggregates, jobs and ranges. Needs no right but to connect, and no catalogue.
Result<StoreStatus> look_at_server(Connection& connection);

}  // namespace utp::postgres
