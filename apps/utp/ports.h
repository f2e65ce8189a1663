// The one place that knows which buses, stores and connectors are linked in: plain tables, chosen by URL or id.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "bus/bus.h"
#include "bus/spooled_bus.h"
#include "connector/collector.h"
#include "core/clock.h"
#include "core/result.h"
#include "drivers/store/postgres/postgres_federation.h"
#include "store/store.h"

namespace utp::app {

inline constexpr std::string_view kDefaultBus = "embedded:bus";
inline constexpr std::string_view kDefaultStore = "sqlite:store.db";

// Checks the scheme (the error names those there are) and takes a relative path from `base`.
Result<std::string> resolve_bus_url(std::string_view url, const std::string& base);
Result<std::string> resolve_store_url(std::string_view url, const std::string& base);

// Resolved URLs. What is not there yet is created when `create` says so; else its absence is kNotFound, and a store is
// opened for reading only.
// `clock`, `create` and `keep_unread` are for local buses: a server has its own.
// `keep_unread`: a bus that refuses messages rather than trim what its group has not read, where the driver can. It stays one.
// `realm`: whose events are to be written; a store of another is kInvalidArgument. "" = any.
Result<std::unique_ptr<Bus>> open_bus(const std::string& url, const Clock& clock, bool create, bool keep_unread = false);
// The disk spool in front of a bus on a server.
Result<std::unique_ptr<SpooledBus>> open_spooled_bus(std::shared_ptr<Bus> remote, const std::string& directory, std::uint64_t topic_bytes_max,
                                                     SpoolOptions spool_options, const Clock& clock);
// `may_be_away`: a server that is away does not stop the opening; every call tries again.
Result<std::unique_ptr<Store>> open_store(const std::string& url, bool create, const std::string& realm = {}, bool may_be_away = false);
// What the server of a store says of itself and of this user, where nothing was stored yet too; for a URL without a local path.
Result<StoreStatus> look_at_store(const std::string& url);
// See postgres_federation.h; `options` without the store, which `url` names. kUnsupported where that store has no such thing.
Result<Federation> federate_store(const std::string& url, FederationOptions options);
Status drop_federation_of(const std::string& url, const std::string& schema);
// For people and logs: without the password.
std::string shown_url(std::string_view url);
// The local path behind a URL, "" where there is none.
std::string local_path(std::string_view url);

std::span<const BuiltinConnector> builtin_connectors();
const BuiltinConnector* find_builtin_connector(std::string_view id);  // null when there is none

}  // namespace utp::app
