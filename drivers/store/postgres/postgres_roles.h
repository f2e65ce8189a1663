// Who may do what: rights for roles that write, replace or read, and nothing more. Internal to this driver.
#pragma once

#include <string>

#include "drivers/store/postgres/postgres_connection.h"
#include "store/store.h"

namespace utp::postgres {

// The script that sets the roles up; with `apply` it was run, in one transaction.
Result<std::string> set_up_roles(Connection& connection, const StoreRoles& roles, bool apply);
// Within the caller's transaction: a table that was just made, and its aggregates, get the rights that roles have on the others.
Status grant_as_on_others(Connection& connection, const std::string& table);

// kPermission unless the user is the store's owner, a member of it or a superuser. For the error: `what` ("look after it") the
// owner does with the command `cure`.
Status require_owner(Connection& connection, std::string_view what, std::string_view cure);
// Until the end of the caller's transaction, what is made is the owner's, whoever of them makes it.
Status act_as_owner(Connection& connection, std::string_view what, std::string_view cure);

}  // namespace utp::postgres
