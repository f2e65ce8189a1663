// The store on a PostgreSQL server (15 or later): a table per event type in the connection's current schema, shared by any
// number of writers and readers.
// See README.md beside this file for the mapping, the settings, what the operator provides and the limits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "core/result.h"
#include "store/store.h"

namespace utp {

struct PostgresStoreOptions {
  std::string url;       // as the client library takes it; never in an error or a log
  std::string place;     // what errors show: host:port/database
  std::string password;  // where the URL has none; "" = the client library's own (PGPASSWORD, the password file)
  bool url_has_password = false;
  std::string realm;     // whose events are to be written; a store that holds another is refused at once. "" = any
  bool read_only = false;
  bool may_be_away = false;  // a server that is away does not stop the opening: every call tries again

  std::int64_t connect_timeout_ms = 10'000;
  std::int64_t statement_timeout_ms = 20'000;  // of a writer's statement, waits for locks included: the server ends it then
  std::int64_t query_timeout_ms = 300'000;     // of a reader's: a count of a big table takes minutes
  // A server that says nothing for this much longer than a statement may take is taken for gone.
  std::int64_t answer_timeout_ms = 5'000;
  // A writer that stands still in a transaction longer than this loses it, and with it the locks that others wait for.
  std::int64_t idle_in_transaction_timeout_ms = 60'000;
  std::int64_t keepalive_idle_s = 10;  // a connection that is silent for so long is probed each keepalive_interval_s
  std::int64_t keepalive_interval_s = 5;
  std::int64_t keepalive_probes = 3;
  std::int64_t tcp_user_timeout_ms = 20'000;  // how long sent bytes may stay unacknowledged by the other machine
};

// postgres://[user[:password]@]host[:port]/database[?option=value...], also postgresql://; user and password percent-encoded,
// options as the client library has them (sslmode, sslrootcert, options, ...; connect_timeout in seconds). A password that the
// URL does not have is taken from the environment variable UTP_POSTGRES_PASSWORD. Errors do not show the URL.
[[nodiscard]] Result<PostgresStoreOptions> parse_postgres_url(std::string_view url);

// Makes the catalogue when it is not there. kUnavailable (retryable) when the server cannot be reached, kPermission when it
// refuses the user or a right is missing, kNotFound without that database or schema or, read only, where nothing was stored
// yet, kUnsupported for an older server or the catalogue of a newer version, kInvalidArgument for another realm's store.
// After a lost connection the next call connects again; a refusal is retryable then, as we were let in before. A cursor has a connection of its own and may outlive the store.
[[nodiscard]] Result<std::unique_ptr<Store>> open_postgres_store(const PostgresStoreOptions& options);

// What the server says of itself and of this user's rights, without opening the store and also where nothing was stored yet:
// a status without tables, aggregates and jobs; its engine is the one that would be taken.
[[nodiscard]] Result<StoreStatus> look_at_postgres(const PostgresStoreOptions& options);

}  // namespace utp
