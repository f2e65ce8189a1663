// Ownership and error translation around the C interface of SQLite. Internal to this driver.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include <sqlite3.h>

#include "core/result.h"
#include "drivers/store/sqlite/sqlite_store.h"

namespace utp::sqlite {

struct CloseDatabase {
  void operator()(sqlite3* database) const { sqlite3_close_v2(database); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// Not thread-safe.
class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const SqliteStoreOptions& options);

  sqlite3* handle() const { return database_.get(); }
  const std::string& path() const { return options_.path; }
  const SqliteStoreOptions& options() const { return options_; }

  Status execute(const std::string& sql);
  Result<Statement> prepare(std::string_view sql);
  // One integer or text; empty when there is no row.
  Result<std::optional<std::int64_t>> integer(std::string_view sql);
  // The last failure of this connection, as the Error a user can act on.
  Error error(int code, std::string_view doing) const;

 private:
  explicit Connection(SqliteStoreOptions options) : options_(std::move(options)) {}
  Status configure();

  SqliteStoreOptions options_;
  Database database_;
};

// BEGIN IMMEDIATE; rolls back unless commit() succeeded.
class Transaction {
 public:
  static Result<Transaction> begin(Connection& connection);
  Transaction(Transaction&& other) noexcept : connection_(std::exchange(other.connection_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  Status commit();

 private:
  explicit Transaction(Connection& connection) : connection_(&connection) {}
  Connection* connection_;
};

// True when the failure concerns one row, not the database.
bool is_row_error(int code);

// Valid until the statement is stepped or reset; "" for NULL.
inline std::string_view column_text(sqlite3_stmt* statement, int column) {
  const auto* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  return {text == nullptr ? "" : text, static_cast<std::size_t>(sqlite3_column_bytes(statement, column))};
}

// The text must live until the statement was stepped.
inline void bind_text(sqlite3_stmt* statement, int parameter, std::string_view text) {
  sqlite3_bind_text(statement, parameter, text.data() == nullptr ? "" : text.data(), static_cast<int>(text.size()), SQLITE_STATIC);
}

}  // namespace utp::sqlite
