// PostgreSQL by its client library alone, as the floor of our store. A failure ends the program.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include <libpq-fe.h>

#include "bench_tools.h"

namespace utp::bench {

class Bare {
 public:
  explicit Bare(const std::string& url) : connection_(PQconnectdb(url.c_str())) {
    PQsetNoticeProcessor(connection_, [](void*, const char*) {}, nullptr);
  }
  ~Bare() { PQfinish(connection_); }
  Bare(const Bare&) = delete;
  Bare& operator=(const Bare&) = delete;

  void run(const std::string& sql) { check(PQexec(connection_, sql.c_str()), sql); }
  // The first field of the first row.
  std::string value(const std::string& sql) {
    PGresult* result = PQexec(connection_, sql.c_str());
    const std::string out = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
    check(result, sql);
    return out;
  }
  // The messages of a COPY TO.
  std::vector<std::string> copy_out(const std::string& sql, bool keep) {
    check(PQexec(connection_, sql.c_str()), sql);
    std::vector<std::string> out;
    char* bytes = nullptr;
    for (int size = 0; (size = PQgetCopyData(connection_, &bytes, 0)) > 0; PQfreemem(bytes)) {
      if (keep) out.emplace_back(bytes, static_cast<std::size_t>(size));
    }
    finish(sql);
    return out;
  }
  void copy_in(const std::string& sql, const std::vector<std::string>& messages) {
    check(PQexec(connection_, sql.c_str()), sql);
    for (const std::string& message : messages) PQputCopyData(connection_, message.data(), static_cast<int>(message.size()));
    PQputCopyEnd(connection_, nullptr);
    finish(sql);
  }
  int server_process() const { return PQbackendPID(connection_); }

 private:
  void check(PGresult* result, const std::string& sql) {
    if (PQresultStatus(result) == PGRES_FATAL_ERROR) stop(sql + ": " + PQerrorMessage(connection_));
    PQclear(result);
  }
  void finish(const std::string& sql) {
    while (PGresult* result = PQgetResult(connection_)) check(result, sql);
  }
  PGconn* connection_;
};

}  // namespace utp::bench
