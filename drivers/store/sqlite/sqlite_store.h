// The embedded store: one SQLite file (WAL). Several processes may open it; one writes at a time, readers never wait.
//
// Layout (docs/adr/0003-sqlite-layout.md): a table per event type with plain column names, WITHOUT ROWID, ordered by event
// time; times are integers in nanoseconds. `utp_tables`, `utp_columns` and `utp_meta` say what is in the file.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "core/result.h"
#include "store/store.h"

namespace utp {

enum class SqliteSynchronous : std::uint8_t {
  kNormal,  // survives the death of any process; power loss may take the newest commits
  kFull,    // a commit survives power loss
};

struct SqliteStoreOptions {
  std::string path;
  std::string realm;        // whose events are to be written; a store that holds another is refused at once. "" = any
  bool read_only = false;
  std::int64_t busy_timeout_ms = 5'000;      // how long a write waits for another program's before kUnavailable
  SqliteSynchronous synchronous = SqliteSynchronous::kFull;
  std::uint64_t cache_bytes_max = 32u << 20; // pages kept in memory; the hot end of the tables fits many times over
  std::uint64_t size_bytes_max = 0;          // of the database file; past it writes are kFull. 0 = the disk's limit
  std::uint64_t wal_bytes_max = 64u << 20;   // what the write-ahead log is cut back to; a checkpoint is due at half of it
};

// Makes the file when it is not there. Errors name the path and the cure: kPermission (file or folder), kCorrupt (not a
// database, damaged, or another program's), kUnsupported (made by a newer version), kUnavailable (locked, retryable),
// kInvalidArgument (another realm's).
// Cursors must not outlive the store.
Result<std::unique_ptr<Store>> open_sqlite_store(const SqliteStoreOptions& options);

}  // namespace utp
