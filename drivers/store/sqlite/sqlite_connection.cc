#include "drivers/store/sqlite/sqlite_connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <utility>

namespace utp::sqlite {
namespace {

constexpr int kPageBytes = 8192;
constexpr int kApplicationId = 0x55545031;  // "UTP1"; file(1) and other programs see it in the header
constexpr int kFormatVersion = 1;           // PRAGMA user_version

bool disk_is_full(int system_errno) { return system_errno == ENOSPC || system_errno == EDQUOT || system_errno == EFBIG; }

}  // namespace

bool is_row_error(int code) {
  switch (code & 0xFF) {
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG: return true;
    default: return false;
  }
}

Error Connection::error(int code, std::string_view doing) const {
  const int last_errno = errno;  // SQLite keeps it for failed opens only
  const std::string what = "store " + options_.path + ": " + std::string(doing) + ": ";
  const std::string reason = database_ ? sqlite3_errmsg(database_.get()) : sqlite3_errstr(code);
  int system_errno = database_ ? sqlite3_system_errno(database_.get()) : 0;
  if (system_errno == 0 && (code & 0xFF) == SQLITE_IOERR) system_errno = last_errno;
  switch (code & 0xFF) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {Code::kUnavailable,
              what + "locked by another program for more than " + std::to_string(options_.busy_timeout_ms) +
                  " ms. Close the program that holds it (an sqlite3 shell with an open transaction, a backup), or raise "
                  "busy_timeout_ms; it is tried again until then",
              true};
    case SQLITE_FULL:
      return {Code::kFull,
              what + (options_.size_bytes_max > 0
                          ? "the disk or the limit of " + std::to_string(options_.size_bytes_max) +
                                " bytes (size_bytes_max) is full. Free space or raise the limit"
                          : std::string("the disk is full. Free space on its file system")) +
                  "; nothing of this batch was stored, nothing is lost",
              true};
    case SQLITE_NOTADB:
      return {Code::kCorrupt, what + "the file is no SQLite database. Name another file, or move this one away", false};
    case SQLITE_CORRUPT:
      return {Code::kCorrupt,
              what + "the database is damaged (" + reason + "). Stop all writers, keep a copy, and run: sqlite3 '" + options_.path +
                  "' .recover | sqlite3 recovered.db",
              false};
    case SQLITE_CANTOPEN:
      return {Code::kPermission,
              what + "cannot be opened or made (" + (system_errno != 0 ? std::strerror(system_errno) : reason.c_str()) +
                  "). Check that the folder exists and that this user may write in it",
              false};
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {Code::kPermission,
              what + (options_.read_only ? "it was opened for reading only"
                                         : "the file or its folder is read-only for this user. SQLite writes <file>-wal beside "
                                           "it: give the user write permission on both"),
              false};
    case SQLITE_IOERR:
      if (disk_is_full(system_errno)) {
        return {Code::kFull,
                what + "no space (" + std::strerror(system_errno) + "). Free space on its file system or raise the quota or file "
                                                                   "size limit; nothing of this batch was stored, nothing is lost",
                true};
      }
      return {Code::kIo,
              what + "reading or writing failed (" + reason + (system_errno != 0 ? std::string(", ") + std::strerror(system_errno) : "") +
                  "). Check the disk",
              true};
    case SQLITE_NOMEM: return {Code::kIo, what + "out of memory", true};
    case SQLITE_INTERRUPT: return {Code::kCancelled, what + "interrupted", true};
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
    case SQLITE_TOOBIG: return {Code::kInvalidArgument, what + reason, false};
    default: return {Code::kInternal, what + reason + " (SQLite code " + std::to_string(code) + ")", false};
  }
}

Result<std::unique_ptr<Connection>> Connection::open(const SqliteStoreOptions& options) {
  std::unique_ptr<Connection> connection(new Connection(options));
  const int flags = SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE |
                    (options.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(options.path.c_str(), &raw, flags, nullptr);
  connection->database_.reset(raw);
  if (code != SQLITE_OK) {
    Error error = connection->error(code, "open");
    if (options.read_only && (code & 0xFF) == SQLITE_CANTOPEN && sqlite3_system_errno(raw) == ENOENT) {
      error = {Code::kNotFound, "store " + options.path + ": there is no such file", false};
    }
    return fail(std::move(error));
  }
  UTP_CHECK(connection->configure());
  return connection;
}

Status Connection::configure() {
  sqlite3_busy_timeout(handle(), static_cast<int>(options_.busy_timeout_ms));
  sqlite3_db_config(handle(), SQLITE_DBCONFIG_DQS_DML, 0, nullptr);
  UTP_TRY(const auto version, integer("PRAGMA user_version"));
  if (version.value_or(0) > kFormatVersion) {
    return fail(Code::kUnsupported, "store " + options_.path + ": made by a newer version of utp (format " +
                                        std::to_string(*version) + ", this one knows " + std::to_string(kFormatVersion) +
                                        "). Upgrade utp, or name another file");
  }
  UTP_TRY(const auto tables, integer("SELECT count(*) FROM sqlite_schema"));  // before the id: another process may be making it
  UTP_TRY(const auto application, integer("PRAGMA application_id"));
  const bool ours = application == kApplicationId;
  if (!ours && tables.value_or(0) > 0) {
    return fail(Code::kCorrupt, "store " + options_.path + ": a database of another program (its application_id is " +
                                    std::to_string(application.value_or(0)) + "). Name another file: it was not touched");
  }
  const std::string cache_kib = std::to_string(std::max<std::uint64_t>(1, options_.cache_bytes_max / 1024));
  UTP_CHECK(execute("PRAGMA cache_size=-" + cache_kib + "; PRAGMA temp_store=FILE"));
  if (options_.read_only) {
    if (!ours) return fail(Code::kNotFound, "store " + options_.path + ": an empty database, nothing was stored in it yet");
    return {};
  }
  if (!ours) UTP_CHECK(execute("PRAGMA page_size=" + std::to_string(kPageBytes)));
  UTP_CHECK(execute("PRAGMA journal_mode=WAL"));
  UTP_CHECK(execute(options_.synchronous == SqliteSynchronous::kFull ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL"));
  UTP_TRY(const auto page_size, integer("PRAGMA page_size"));
  const auto page_bytes = static_cast<std::uint64_t>(page_size.value_or(kPageBytes));
  UTP_CHECK(execute("PRAGMA journal_size_limit=" + std::to_string(options_.wal_bytes_max)));
  // A page that is written again before the checkpoint is copied into the file once: SQLite's 1,000 pages cost a tenth.
  UTP_CHECK(execute("PRAGMA wal_autocheckpoint=" + std::to_string(std::max<std::uint64_t>(1, options_.wal_bytes_max / 2 / page_bytes))));
  if (options_.size_bytes_max > 0) {
    const std::uint64_t pages = std::max<std::uint64_t>(1, options_.size_bytes_max / page_bytes);
    UTP_CHECK(execute("PRAGMA max_page_count=" + std::to_string(pages)));
  }
  if (ours) return {};
  UTP_TRY(Transaction transaction, Transaction::begin(*this));
  UTP_CHECK(execute(
      "CREATE TABLE IF NOT EXISTS utp_meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
      "CREATE TABLE IF NOT EXISTS utp_tables (event_type TEXT PRIMARY KEY, table_name TEXT NOT NULL UNIQUE, schema_ref TEXT NOT "
      "NULL, exploded INTEGER NOT NULL, row_count INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
      "CREATE TABLE IF NOT EXISTS utp_columns (table_name TEXT NOT NULL, position INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT "
      "NOT NULL, PRIMARY KEY (table_name, position)) STRICT, WITHOUT ROWID"));
  UTP_CHECK(execute("PRAGMA application_id=" + std::to_string(kApplicationId) + "; PRAGMA user_version=" +
                    std::to_string(kFormatVersion)));
  return transaction.commit();
}

Status Connection::execute(const std::string& sql) {
  const int code = sqlite3_exec(handle(), sql.c_str(), nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(error(code, sql.substr(0, sql.find_first_of("(;=")).substr(0, 60)));
  return {};
}

Result<Statement> Connection::prepare(std::string_view sql) {
  sqlite3_stmt* raw = nullptr;
  const int code =
      sqlite3_prepare_v3(handle(), sql.data(), static_cast<int>(sql.size()), SQLITE_PREPARE_PERSISTENT, &raw, nullptr);
  Statement statement(raw);
  if (code != SQLITE_OK) return fail(error(code, "prepare"));
  return statement;
}

Result<std::optional<std::int64_t>> Connection::integer(std::string_view sql) {
  UTP_TRY(const Statement statement, prepare(sql));
  const int code = sqlite3_step(statement.get());
  if (code == SQLITE_DONE) return std::nullopt;
  if (code != SQLITE_ROW) return fail(error(code, "open"));
  return sqlite3_column_int64(statement.get(), 0);
}

Result<Transaction> Transaction::begin(Connection& connection) {
  const int code = sqlite3_exec(connection.handle(), "BEGIN IMMEDIATE", nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(connection.error(code, "begin a write"));
  return Transaction(connection);
}

Transaction::~Transaction() {
  if (connection_ != nullptr && sqlite3_get_autocommit(connection_->handle()) == 0) {
    sqlite3_exec(connection_->handle(), "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

Status Transaction::commit() {
  const int code = sqlite3_exec(connection_->handle(), "COMMIT", nullptr, nullptr, nullptr);
  if (code != SQLITE_OK) return fail(connection_->error(code, "commit"));
  connection_ = nullptr;
  return {};
}

}  // namespace utp::sqlite
