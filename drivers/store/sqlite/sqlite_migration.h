// Tables that follow the plans. Internal to this driver.
#pragma once

#include "drivers/store/sqlite/sqlite_connection.h"
#include "schema/plan.h"
#include "store/ddl.h"

namespace utp::sqlite {

// Makes the plan's table, or adds the columns that it lacks. Never drops or retypes one: a column of another type, a table
// that belongs to another event type, or one that utp did not make is refused.
Status migrate(Connection& connection, const Plan& plan);

}  // namespace utp::sqlite
