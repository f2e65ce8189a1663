// What a replacement needs of the tables, from the store's own catalogue. Internal to this driver.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "drivers/store/sqlite/sqlite_connection.h"
#include "store/store.h"

namespace utp::sqlite {

// Empty when nothing was written yet.
Result<std::string> stored_realm(Connection& connection);
Result<StoreContents> contents(Connection& connection);
Result<std::vector<std::string>> sources(Connection& connection, const std::string& event_type);
// Deletes the range's rows, within the transaction that the caller holds. Their number by event type.
Result<std::map<std::string, std::uint64_t>> remove_range(Connection& connection, const ReplaceRange& range);

}  // namespace utp::sqlite
