// What a replacement needs of the tables, from the store's own catalogue. Internal to this driver.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "drivers/store/postgres/postgres_connection.h"
#include "store/store.h"

namespace utp::postgres {

Result<StoreContents> contents(Connection& connection);
Result<std::vector<std::string>> sources(Connection& connection, const std::string& event_type);
// Locks these tables and the range's against other writers, in the order in which every writer takes them, and deletes the
// range's rows, within the transaction that the caller holds. Their number by event type.
Result<std::map<std::string, std::uint64_t>> remove_range(Connection& connection, const ReplaceRange& range,
                                                          std::set<std::string> tables);

}  // namespace utp::postgres
