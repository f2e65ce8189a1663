#include <charconv>
#include <cstdlib>
#include <memory>

#include <libpq-fe.h>

#include "drivers/store/postgres/postgres_store.h"

namespace utp {
namespace {

constexpr const char* kForm = "write postgres://user@host:5432/database, with ?sslmode=verify-full for TLS";

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

Error bad_url(const std::string& what) { return {Code::kInvalidArgument, "the PostgreSQL URL " + what + "; " + kForm, false}; }

// The client library reads a URL otherwise than its author where a password has such characters, and would then take a part
// of the password for a host, a port or a database, and name it in errors.
bool separators_are_encoded(std::string_view url) {
  const std::string_view rest = url.substr(url.find("://") + 3);
  const std::size_t at = rest.find('@');
  if (at == std::string_view::npos) return true;
  return rest.substr(0, at).find_first_of("/?#") == std::string_view::npos && rest.find('@', at + 1) == std::string_view::npos;
}

}  // namespace

Result<PostgresStoreOptions> parse_postgres_url(std::string_view url) {
  if (!url.starts_with("postgres://") && !url.starts_with("postgresql://")) return fail(bad_url("has another scheme"));
  if (!separators_are_encoded(url)) return fail(bad_url("has an @, /, ? or # in its user or password: encode them as %40, %2F, %3F, %23"));
  PostgresStoreOptions options;
  options.url = url;
  const std::unique_ptr<PQconninfoOption, FreeOptions> parsed(PQconninfoParse(options.url.c_str(), nullptr));
  // The library's own message may repeat any part of the URL.
  if (!parsed) return fail(bad_url("cannot be read: a character that has to be percent-encoded, or an option that there is not"));
  std::string host, port, database;
  for (const PQconninfoOption* option = parsed.get(); option->keyword != nullptr; ++option) {
    if (option->val == nullptr) continue;
    const std::string_view name = option->keyword, value = option->val;
    if (name == "host") host = value;
    if (name == "hostaddr" && host.empty()) host = value;
    if (name == "port") port = value;
    if (name == "dbname") database = value;
    if (name == "password" && !value.empty()) options.url_has_password = true;
    if (name != "connect_timeout") continue;
    int seconds = 0;
    const auto read = std::from_chars(value.data(), value.data() + value.size(), seconds);
    if (read.ec != std::errc() || read.ptr != value.data() + value.size() || seconds < 1) {
      return fail(bad_url("has a connect_timeout that is no number of seconds from 1 on"));
    }
    options.connect_timeout_ms = std::int64_t{seconds} * 1000;
  }
  if (port.find_first_not_of("0123456789,") != std::string::npos) return fail(bad_url("has a port that is no number"));
  if (database.empty()) return fail(bad_url("names no database"));
  options.place = (host.empty() ? "local socket" : host) + ":" + (port.empty() ? "5432" : port) + "/" + database;
  if (const char* password = std::getenv("UTP_POSTGRES_PASSWORD"); password != nullptr && !options.url_has_password) options.password = password;
  return options;
}

}  // namespace utp
