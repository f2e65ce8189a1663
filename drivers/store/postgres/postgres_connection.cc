#include "drivers/store/postgres/postgres_connection.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

namespace utp::postgres {
namespace {

constexpr Oid kInt8 = 20, kText = 25, kTextArray = 1009, kTimestamptz = 1184;
constexpr int kServerVersionMin = 150000;

std::string big_endian(std::int64_t number) {
  const std::uint64_t swapped = __builtin_bswap64(static_cast<std::uint64_t>(number));
  return {reinterpret_cast<const char*>(&swapped), sizeof swapped};
}

std::string first_line(std::string_view message) {
  message = message.substr(0, message.find_last_not_of(" \n") + 1);
  std::string out(message);
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

// Of a failed connection the library has only its text, in which "<severity>:  <SQLSTATE>: <message>" is the server's answer.
std::string connect_state(std::string_view message) {
  for (std::size_t at = message.find(":  "); at != std::string_view::npos; at = message.find(":  ", at + 1)) {
    const std::string_view state = message.substr(at + 3, 5);
    if (state.size() == 5 && message.substr(at + 8, 2) == ": " &&
        state.find_first_not_of("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ") == std::string_view::npos) {
      return std::string(state);
    }
  }
  return {};
}

}  // namespace

std::int64_t read_integer(std::string_view bytes) {
  std::uint64_t value = !bytes.empty() && (bytes[0] & 0x80) != 0 ? ~std::uint64_t{0} : 0;
  if (bytes.size() == sizeof value) {
    std::memcpy(&value, bytes.data(), sizeof value);
    return static_cast<std::int64_t>(__builtin_bswap64(value));
  }
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return static_cast<std::int64_t>(value);
}

Parameter text_parameter(std::string_view text) { return {kText, std::string(text), 1}; }
Parameter integer_parameter(std::int64_t number) { return {kInt8, big_endian(number), 1}; }
Parameter time_parameter(std::int64_t us) { return {kTimestamptz, big_endian(us - kEpochShiftUs), 1}; }
namespace {

std::string text_list(const std::vector<std::string>& texts) {
  std::string out = "{";
  for (const std::string& text : texts) {
    if (out.size() > 1) out += ',';
    out += '"';
    for (const char c : text) {
      if (c == '"' || c == '\\') out += '\\';
      out += c;
    }
    out += '"';
  }
  return out + "}";
}

}  // namespace

Parameter text_list_parameter(const std::vector<std::string>& texts) { return {kTextArray, text_list(texts), 0}; }

// A statement is checked to be UTF-8 before it is read, so a quote is never a part of another character.
std::string string_literal(std::string_view text) {
  std::string out = "E'";
  for (const char c : text) {
    if (c == '\0') {
      out += "\\x00";  // which the server refuses, as it does in a parameter
      continue;
    }
    if (c == '\'' || c == '\\') out += c;
    out += c;
  }
  return out + "'";
}

std::string text_literal(std::string_view text) { return string_literal(text) + "::text"; }

std::string time_literal(std::int64_t us) {
  const std::chrono::sys_time<std::chrono::microseconds> time{std::chrono::microseconds(us)};
  const auto day = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(day);
  const std::chrono::hh_mm_ss clock(time - day);
  char out[80];
  std::snprintf(out, sizeof out, "timestamptz '%04d-%02u-%02u %02d:%02d:%02d.%06d+00'", static_cast<int>(date.year()), static_cast<unsigned>(date.month()),
                static_cast<unsigned>(date.day()), static_cast<int>(clock.hours().count()), static_cast<int>(clock.minutes().count()),
                static_cast<int>(clock.seconds().count()), static_cast<int>(clock.subseconds().count()));
  return out;
}

Result<std::unique_ptr<Connection>> Connection::open(const PostgresStoreOptions& options, Use use) {
  std::unique_ptr<Connection> connection(new Connection(options));
  UTP_CHECK(connection->connect(use));
  return connection;
}

Status Connection::connect(Use use) {
  constexpr std::string_view kDoing = "connect";
  const auto number = [](std::int64_t n) { return std::to_string(n); };
  // What stands before the URL gives way to it, what stands behind it does not.
  const std::pair<const char*, std::string> settings[] = {
      {"password", options_.password},
      {"fallback_application_name", "utp"},
      {"keepalives_idle", number(options_.keepalive_idle_s)},
      {"keepalives_interval", number(options_.keepalive_interval_s)},
      {"keepalives_count", number(options_.keepalive_probes)},
      {"tcp_user_timeout", number(options_.tcp_user_timeout_ms)},
      {"target_session_attrs", use == Use::kRead ? "any" : "read-write"},
      {"dbname", options_.url},
      {"client_encoding", "UTF8"},
  };
  std::vector<const char*> names, values;
  for (const auto& [name, value] : settings) {
    if (value.empty()) continue;
    names.push_back(name);
    values.push_back(value.c_str());
  }
  names.push_back(nullptr);
  values.push_back(nullptr);
  silence_ms_ = options_.connect_timeout_ms;
  handle_.reset(PQconnectStartParams(names.data(), values.data(), 1));
  if (!handle_) return fail(Code::kIo, "store " + place() + ": connect: out of memory", true);
  PQsetNoticeProcessor(handle_.get(), [](void*, const char*) {}, nullptr);  // it would write to standard error
  PQsetErrorVerbosity(handle_.get(), PQERRORS_VERBOSE);  // the only way to the SQLSTATE of a refusal
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(options_.connect_timeout_ms);
  PostgresPollingStatusType state = PQstatus(handle_.get()) == CONNECTION_BAD ? PGRES_POLLING_FAILED : PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    if (state == PGRES_POLLING_FAILED) {
      last_state_ = connect_state(PQerrorMessage(handle_.get()));
      return fail(connect_error(handle_.get(), last_state_, options_));
    }
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    UTP_CHECK(wait(state == PGRES_POLLING_READING ? POLLIN : POLLOUT, std::max<std::int64_t>(left, 0), kDoing));
    state = PQconnectPoll(handle_.get());
  }
  PQsetErrorVerbosity(handle_.get(), PQERRORS_DEFAULT);
  if (PQserverVersion(handle_.get()) < kServerVersionMin) {
    return fail(Code::kUnsupported, "store " + place() + ": PostgreSQL 15 or later is needed, the server is " +
                                        std::to_string(PQserverVersion(handle_.get()) / 10000));
  }
  PQsetnonblocking(handle_.get(), 1);
  const std::int64_t limit_ms = use == Use::kWrite ? options_.statement_timeout_ms : options_.query_timeout_ms;
  // Compiling a plan takes longer than it saves here: a look at 30 partitions is over before.
  UTP_TRY(const Rows set, run("SELECT set_config('statement_timeout', $1, false), set_config('idle_in_transaction_session_timeout', $2, false), "
                              "set_config('jit', 'off', false)", kDoing,
                              {text_parameter(number(limit_ms)),
                               text_parameter(number(use == Use::kWrite ? options_.idle_in_transaction_timeout_ms : 0))}));
  silence_ms_ = limit_ms + options_.answer_timeout_ms;
  cancel_.reset(PQgetCancel(handle_.get()));
  if (use == Use::kRead) {
    // A reader that leaves in the middle just closes; the server then ends the query within a second, also while it has nothing
    // to send yet. A server on a system that cannot look refuses: there such a query ends with its first row.
    const auto looks = run("SET client_connection_check_interval = '1s'", kDoing);
    if (!looks && broken()) return fail(looks.error());
    last_state_.clear();
  }
  return {};
}

void Connection::cancel() {
  cancelled_ = true;
  char message[256];
  if (cancel_) (void)PQcancel(cancel_.get(), message, sizeof message);
}

Error Connection::lost(std::string_view doing) {
  last_state_.clear();
  const std::string said = handle_ ? first_line(PQerrorMessage(handle_.get())) : "the connection is closed";
  handle_.reset();
  return {Code::kUnavailable,
          "store " + place() + ": " + std::string(doing) + ": the connection was lost: " + said +
              ". The next call connects again; what was not acknowledged is to be repeated",
          true};
}

Error Connection::failure(const PGresult* result, std::string_view doing) {
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  if (state == nullptr) return lost(doing);
  last_state_ = state;
  // Not the detail: it may show values of rows.
  const char* primary = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
  const char* column = PQresultErrorField(result, PG_DIAG_COLUMN_NAME);
  std::string message = primary != nullptr ? primary : "no message";
  if (column != nullptr && message.find(column) == std::string::npos) message += ", column \"" + std::string(column) + "\"";
  return error_of_state(last_state_, place(), doing, message, options_);
}

// Until the socket is ready. Each wait has its own limit: a server that goes on sending or taking is alive.
Status Connection::wait(short events, std::int64_t timeout_ms, std::string_view doing) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now()).count();
    pollfd entry{PQsocket(handle_.get()), events, 0};
    const int ready = entry.fd < 0 ? -1 : ::poll(&entry, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000)));
    if (ready > 0) return {};
    if (ready < 0 && entry.fd >= 0 && errno == EINTR) continue;
    if (ready < 0) return fail(lost(doing));
    handle_.reset();
    last_state_.clear();
    return fail(Code::kUnavailable,
                "store " + place() + ": " + std::string(doing) + ": the server said nothing for " + std::to_string(silence_ms_) +
                    " ms. It hangs, its machine is gone, or the query needs longer; the next call connects again",
                true);
  }
}

Status Connection::flush(std::string_view doing) {
  for (;;) {
    const int left = PQflush(handle_.get());
    if (left == 0) return {};
    if (left < 0) return fail(lost(doing));
    UTP_CHECK(wait(POLLIN | POLLOUT, silence_ms_, doing));
    // A server that has something to say may not take more before it was heard.
    if (PQconsumeInput(handle_.get()) == 0) return fail(lost(doing));
  }
}

Result<Rows> Connection::take_result(std::string_view doing) {
  while (PQisBusy(handle_.get()) != 0) {
    UTP_CHECK(wait(POLLIN, silence_ms_, doing));
    if (PQconsumeInput(handle_.get()) == 0) return fail(lost(doing));
  }
  return Rows(PQgetResult(handle_.get()));
}

Result<Rows> Connection::take_all(std::string_view doing) {
  Rows last;
  std::optional<Error> error;
  for (;;) {
    UTP_TRY(Rows rows, take_result(doing));
    if (rows.get() == nullptr) break;
    const ExecStatusType status = PQresultStatus(rows.get());
    if (status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK && !error) {
      error = failure(rows.get(), doing);
      if (!handle_) break;
    }
    last = std::move(rows);
  }
  if (error) return fail(std::move(*error));
  return last;
}

Result<Rows> Connection::run(const std::string& sql, std::string_view doing, std::span<const Parameter> parameters) {
  UTP_CHECK(send(sql, doing, parameters));
  return receive(doing);
}

Status Connection::send(const std::string& sql, std::string_view doing, std::span<const Parameter> parameters) {
  if (broken()) return fail(lost(doing));
  std::vector<Oid> types;
  std::vector<const char*> values;
  std::vector<int> lengths, formats;
  for (const Parameter& p : parameters) {
    types.push_back(p.type);
    values.push_back(p.bytes.c_str());
    lengths.push_back(static_cast<int>(p.bytes.size()));
    formats.push_back(p.format);
  }
  if (PQsendQueryParams(handle_.get(), sql.c_str(), static_cast<int>(parameters.size()), types.data(), values.data(), lengths.data(),
                        formats.data(), 1) == 0) {
    return fail(lost(doing));
  }
  return flush(doing);
}

Result<Rows> Connection::receive(std::string_view doing) {
  if (broken()) return fail(lost(doing));
  return take_all(doing);
}

Status Connection::execute(const std::string& sql, std::string_view doing) {
  UTP_CHECK(start(sql, doing));
  return finish(doing);
}

Status Connection::begin(std::string_view doing) {
  UTP_TRY(const Rows done, run(std::string(kBegin), doing));
  return {};
}

Status Connection::commit(std::string_view doing) {
  UTP_CHECK(start("COMMIT", doing));
  return finish_commit(doing);
}

Status Connection::finish_commit(std::string_view doing) {
  UTP_TRY(const Rows done, take_all(doing));
  if (std::strcmp(PQcmdStatus(done.get()), "COMMIT") == 0) return {};
  last_state_.clear();
  return fail(Code::kUnavailable, "store " + place() + ": " + std::string(doing) + ": the server rolled the transaction back; it is tried again", true);
}

void Connection::roll_back() {
  if (broken() || PQtransactionStatus(handle_.get()) == PQTRANS_IDLE) return;
  const std::string state = last_state_;
  if (!run("ROLLBACK", "roll back")) handle_.reset();
  last_state_ = state;
}

Status Connection::start(const std::string& script, std::string_view doing) {
  if (broken() || PQsendQuery(handle_.get(), script.c_str()) == 0) return fail(lost(doing));
  return flush(doing);
}

Status Connection::finish(std::string_view doing) {
  UTP_TRY(const Rows done, take_all(doing));
  return {};
}

Status Connection::await_copy(std::string_view doing) {
  for (;;) {
    UTP_TRY(const Rows answer, take_result(doing));
    const ExecStatusType status = PQresultStatus(answer.get());
    if (status == PGRES_COPY_IN) return {};
    if (status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK) continue;
    Error error = failure(answer.get(), doing);
    if (!handle_) return fail(std::move(error));
    const auto rest = take_all(doing);
    return fail(handle_ ? std::move(error) : rest.error());  // a loss goes before what was refused
  }
}

Status Connection::copy(std::span<const char> bytes, std::string_view doing) {
  if (PQputCopyData(handle_.get(), bytes.data(), static_cast<int>(bytes.size())) != 1) return fail(lost(doing));
  return flush(doing);
}

Status Connection::end_copy(std::string_view doing) {
  if (PQputCopyEnd(handle_.get(), nullptr) != 1) return fail(lost(doing));
  return flush(doing);
}

}  // namespace utp::postgres
