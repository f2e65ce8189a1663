#include "drivers/store/postgres/postgres_connection.h"

namespace utp::postgres {

bool is_row_error(std::string_view state) {
  // A value that its type or the encoding refuses, a constraint, a check option, a trigger's refusal, a size limit.
  return state.starts_with("22") || state.starts_with("23") || state.starts_with("44") || state == "P0001" || state.starts_with("54");
}

Error error_of_state(std::string_view state, std::string_view place, std::string_view doing, std::string_view message,
                     const PostgresStoreOptions& options) {
  const std::string what = "store " + std::string(place) + ": " + std::string(doing) + ": ";
  const std::string said = std::string(message) + " (SQLSTATE " + std::string(state) + ")";
  if (state == "53100") {
    return {Code::kFull, what + said + ". Free space on the server's disk; nothing of this batch was stored, nothing is lost", true};
  }
  if (state == "53300") {
    return {Code::kUnavailable, what + said + ". Raise max_connections on the server or close other programs' connections", true};
  }
  if (state.starts_with("53") || state.starts_with("08") || state.starts_with("57P") || state == "25P03") {
    return {Code::kUnavailable, what + said + ". It is tried again; look at the server and its log when it lasts", true};
  }
  if (state == "57014") {
    return {Code::kUnavailable,
            what + said + ". It took longer than a writer's " + std::to_string(options.statement_timeout_ms) + " ms (statement_timeout_ms) or a reader's " +
                std::to_string(options.query_timeout_ms) + " ms (query_timeout_ms): look for long locks (pg_locks) and a slow disk, or raise the limit",
            true};
  }
  if (state == "55P03" || is_conflict(state)) return {Code::kUnavailable, what + said + ". Other writers were in the way; it is tried again", true};
  if (state == "25006") {
    return {Code::kUnavailable, what + said + ". The server is a standby or read-only: name the primary in the URL, or all hosts with ?target_session_attrs=read-write", true};
  }
  if (state == "42501") {
    return {Code::kPermission, what + said + ". The user needs the right: GRANT it, or name a user that has it", false};
  }
  if (state.starts_with("28")) {
    return {Code::kPermission, what + said + ". Check user and password (URL, UTP_POSTGRES_PASSWORD, password file) and the server's pg_hba.conf", false};
  }
  if (state == "2F003") return {Code::kPermission, what + said, false};           // another server wants a password
  if (state.starts_with("HV")) return {Code::kInvalidArgument, what + said, false};  // of a foreign server: its options do not fit
  if (state == "3D000") return {Code::kNotFound, what + said + ". Make it with createdb, or name another in the URL", false};
  if (state == "42P01" || state == "42703") {
    return {Code::kNotFound, what + said + ". Tables and columns that utp made must stay: restore it, or start anew in an empty schema", false};
  }
  if (state == "XX001" || state == "XX002") {
    return {Code::kCorrupt, what + said + ". The server's data are damaged: stop all writers and restore a backup, or see pg_amcheck", false};
  }
  if (state.starts_with("58")) return {Code::kIo, what + said + ". Check the server's disk", true};
  if (is_row_error(state)) return {Code::kInvalidArgument, what + said, false};
  if (state.starts_with("0A") || state.starts_with("42")) return {Code::kUnsupported, what + said, false};
  return {Code::kInternal, what + said, false};
}

}  // namespace utp::postgres
