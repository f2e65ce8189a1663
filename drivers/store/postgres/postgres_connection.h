// One connection, with a time limit on every wait, and the translation of failures. Internal to this driver.
#pragma once

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <libpq-fe.h>

#include "core/result.h"
#include "core/timestamp.h"
#include "drivers/store/postgres/postgres_store.h"

namespace utp::postgres {

struct ClearResult {
  void operator()(PGresult* result) const { PQclear(result); }
};
struct FreeCancel {
  void operator()(PGcancel* cancel) const { PQfreeCancel(cancel); }
};
struct FinishConnection {
  void operator()(PGconn* connection) const { PQfinish(connection); }
};

std::int64_t read_integer(std::string_view bytes);  // of 1, 2, 4 or 8 bytes, as the wire's binary form has it

// The rows of a statement, in the wire's binary form.
class Rows {
 public:
  explicit Rows(PGresult* result = nullptr) : result_(result) {}
  int count() const { return PQntuples(result_.get()); }
  bool null(int row, int column) const { return PQgetisnull(result_.get(), row, column) != 0; }
  std::string_view bytes(int row, int column) const {
    return {PQgetvalue(result_.get(), row, column), static_cast<std::size_t>(PQgetlength(result_.get(), row, column))};
  }
  std::string text(int row, int column) const { return std::string(bytes(row, column)); }
  std::int64_t integer(int row, int column) const { return read_integer(bytes(row, column)); }
  std::size_t affected() const { return std::strtoull(PQcmdTuples(result_.get()), nullptr, 10); }  // by INSERT, UPDATE, DELETE
  PGresult* get() const { return result_.get(); }

 private:
  std::unique_ptr<PGresult, ClearResult> result_;
};

// A statement's parameter with its type; owns its bytes.
struct Parameter {
  Oid type;
  std::string bytes;
  int format;  // 1 = binary
};
Parameter text_parameter(std::string_view text);
Parameter integer_parameter(std::int64_t number);
Parameter time_parameter(std::int64_t microseconds_since_1970);
Parameter text_list_parameter(const std::vector<std::string>& texts);
// For statements that take no parameters.
std::string text_literal(std::string_view text);
std::string string_literal(std::string_view text);  // without a type, as options take it
std::string time_literal(std::int64_t microseconds_since_1970);

// timestamptz counts from 2000-01-01.
inline constexpr std::int64_t kEpochShiftUs = 946'684'800'000'000;
// The server's microseconds as those since 1970. Its 'infinity', the greatest number, stays that.
constexpr std::int64_t since_1970(std::int64_t us) { return us > INT64_MAX - kEpochShiftUs ? INT64_MAX : us + kEpochShiftUs; }
// Floor division, so that times before 1970 have a remainder from 0 to 999 too.
constexpr std::int64_t whole_microseconds(std::int64_t ns) { return ns / 1000 - (ns % 1000 < 0 ? 1 : 0); }
constexpr std::int16_t below_microsecond(std::int64_t ns) { return static_cast<std::int16_t>(ns % 1000 + (ns % 1000 < 0 ? 1000 : 0)); }
// The two together again. Unsigned: the microseconds of the earliest time are before the first nanosecond that there is.
constexpr std::int64_t nanoseconds(std::int64_t us, std::int64_t below) {
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(us) * 1000 + static_cast<std::uint64_t>(below));
}

// kCare: writes, with a reader's time limits.
enum class Use : std::uint8_t { kWrite, kRead, kCare };

// How the bytes travel.
struct Transport {
  std::string text;  // "TLSv1.3 TLS_AES_256_GCM_SHA384, the server's certificate is checked"
  bool encrypted = false;
  bool verified = false;  // that it is the right server
  bool local = false;     // they do not leave the machine
};

// Not thread-safe. After a failure with broken() nothing more can be done with it.
class Connection {
 public:
  static Result<std::unique_ptr<Connection>> open(const PostgresStoreOptions& options, Use use);
  ~Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // One statement. `doing` is for errors: "write into quotes".
  Result<Rows> run(const std::string& sql, std::string_view doing, std::span<const Parameter> parameters = {});
  Result<Rows> run(const std::string& sql, std::string_view doing, std::initializer_list<Parameter> parameters) {
    return run(sql, doing, std::span<const Parameter>(parameters.begin(), parameters.size()));
  }
  // The same in two steps: the server works while the caller does something else.
  Status send(const std::string& sql, std::string_view doing, std::span<const Parameter> parameters = {});
  Result<Rows> receive(std::string_view doing);
  // Statements without parameters and rows.
  Status execute(const std::string& sql, std::string_view doing);
  static constexpr std::string_view kBegin = "BEGIN ISOLATION LEVEL READ COMMITTED";
  Status begin(std::string_view doing);
  Status commit(std::string_view doing);  // fails, retryable, when the server rolled back instead
  void roll_back();                       // after a failure; the connection is broken() when that fails too

  // A script with COPY ... FROM STDIN among its statements: start, for each COPY await_copy, any number of copy and end_copy,
  // then finish (or, where COMMIT is its last statement, finish_commit). The server takes one statement after the other and
  // ends with the first that fails.
  Status start(const std::string& script, std::string_view doing);
  Status await_copy(std::string_view doing);
  Status copy(std::span<const char> bytes, std::string_view doing);
  Status end_copy(std::string_view doing);
  Status finish(std::string_view doing);
  Status finish_commit(std::string_view doing);  // fails as commit does

  // Any thread, while the object lives: asks the server to end the statement that is under way. The connection is over then.
  void cancel();

  bool broken() const { return !handle_ || PQstatus(handle_.get()) != CONNECTION_OK; }
  bool over() const { return broken() || cancelled_; }  // nothing more is to be begun
  // SQLSTATE of the last failure; "" when the server said none (the connection was lost, or hung).
  const std::string& last_state() const { return last_state_; }
  const std::string& place() const { return options_.place; }
  Transport transport() const;

 private:
  explicit Connection(const PostgresStoreOptions& options) : options_(options) {}
  Status connect(Use use);
  Status wait(short events, std::int64_t timeout_ms, std::string_view doing);
  Status flush(std::string_view doing);
  Result<Rows> take_result(std::string_view doing);  // null at the end
  Result<Rows> take_all(std::string_view doing);     // the last one; or the first failure
  Error lost(std::string_view doing);
  Error failure(const PGresult* result, std::string_view doing);

  const PostgresStoreOptions options_;
  std::int64_t silence_ms_ = 0;  // how long the server may say nothing
  std::unique_ptr<PGconn, FinishConnection> handle_;
  std::unique_ptr<PGcancel, FreeCancel> cancel_;
  std::string last_state_;
  std::atomic<bool> cancelled_{false};
};

// What a failure with this SQLSTATE means for a caller. `message`: the server's; `place`: the connection's.
Error error_of_state(std::string_view state, std::string_view place, std::string_view doing, std::string_view message,
                     const PostgresStoreOptions& options);
// Why a connection was not made; `state`: the server's SQLSTATE, "" where it said none.
Error connect_error(PGconn* handle, std::string_view state, const PostgresStoreOptions& options);
bool is_row_error(std::string_view state);      // one row's fault, not the database's
inline bool is_duplicate(std::string_view state) { return state == "23505"; }
inline bool is_check(std::string_view state) { return state == "23514"; }  // of a constraint, or no partition is there for the row
inline bool is_conflict(std::string_view state) { return state == "40P01" || state == "40001"; }

}  // namespace utp::postgres
