// Why a connection did not come to be, and what cures it: encryption, certificates, passwords. Of a connection that failed the
// client library has only its text.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "drivers/store/postgres/postgres_connection.h"

namespace utp::postgres {
namespace {

struct FreeOptions {
  void operator()(PQconninfoOption* options) const { PQconninfoFree(options); }
};

// What was given, or found in the environment; "" = nothing.
std::string setting(PGconn* handle, const char* name) {
  const std::unique_ptr<PQconninfoOption, FreeOptions> settings(PQconninfo(handle));
  for (const PQconninfoOption* option = settings.get(); option != nullptr && option->keyword != nullptr; ++option) {
    if (std::strcmp(option->keyword, name) == 0 && option->val != nullptr) return option->val;
  }
  return {};
}

struct Mistake {
  std::string_view says;  // a part of the library's text
  Code code;
  std::string_view cure;
};
constexpr std::string_view kRootCure =
    "Name the file with the certificate of the authority that signed the server's: ?sslrootcert=FILE in the URL; it is that of "
    "another authority now, or the server is not the right one";
constexpr std::string_view kClientCure =
    "Name the user's certificate and key with ?sslcert=FILE&sslkey=FILE in the URL; the certificate has to be signed by the "
    "authority that the server trusts (ssl_ca_file) and to name the user";
constexpr std::string_view kKeyCure =
    "The key belongs to this user alone: chmod 600, and name it with ?sslkey=FILE beside ?sslcert=FILE in the URL";
constexpr Mistake kMistakes[] = {
    {"server does not support SSL", Code::kUnsupported,
     "Switch it on at the server (ssl = on, ssl_cert_file, ssl_key_file), or write ?sslmode=prefer in the URL where the network "
     "is trusted"},
    {"certificate verify failed", Code::kPermission, kRootCure},
    {"does not match host name", Code::kPermission,
     "Name the host in the URL as the certificate does (with ?hostaddr=ADDRESS where the name leads elsewhere), or let the "
     "server have a certificate for this name; ?sslmode=verify-ca checks the authority alone"},
    {"root certificate file", Code::kInvalidArgument,
     "Name the file with the certificate of the authority that signed the server's: ?sslrootcert=FILE in the URL"},
    {"host name must be specified for a verified SSL connection", Code::kInvalidArgument,
     "Name the host in the URL beside hostaddr"},
    {"connection requires a valid client certificate", Code::kPermission, kClientCure},
    {"certificate authentication failed", Code::kPermission, kClientCure},
    {"alert unknown ca", Code::kPermission, kClientCure},
    {"alert certificate", Code::kPermission, kClientCure},
    {"alert bad certificate", Code::kPermission, kClientCure},
    {"private key file", Code::kInvalidArgument, kKeyCure},
    {"could not read certificate file", Code::kInvalidArgument, kClientCure},
    {"certificate present, but not private key", Code::kInvalidArgument, kKeyCure},
    {", no encryption", Code::kPermission,
     "The server's pg_hba.conf lets in no connection without encryption from here (hostssl), or this user, database and "
     "address not "
     "at all: write ?sslmode=require, or better verify-full, in the URL, or add a line there"},
    {"invalid sslmode value", Code::kInvalidArgument, "Write disable, prefer, require, verify-ca or verify-full"},
    {"invalid ssl_min_protocol_version value", Code::kInvalidArgument, "Write TLSv1.2 or TLSv1.3"},
};

// Of a login without one: why the password file gave none.
std::string about_password_file(PGconn* handle) {
  constexpr const char* kGive =
      "Give it in UTP_POSTGRES_PASSWORD, in a password file (~/.pgpass, or passfile= in the URL) or in the URL";
  const std::string path = setting(handle, "passfile");
  struct stat file {};
  if (path.empty() || ::stat(path.c_str(), &file) != 0) return kGive + (path.empty() ? std::string() : "; there is no " + path);
  if (!S_ISREG(file.st_mode)) return "The password file " + path + " is not used, as it is no plain file. " + kGive;
  if ((file.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
    return "The password file " + path + " is not used, as others than its owner may read it: chmod 600 " + path;
  }
  if (::access(path.c_str(), R_OK) != 0) return "The password file " + path + " may not be read by this user. " + kGive;
  return "The password file " + path + " has no line for this host, port, database and user. " + kGive;
}

std::string password_source(std::string_view said, const PostgresStoreOptions& options) {
  constexpr std::string_view kFile = "password retrieved from file \"";
  if (const std::size_t at = said.find(kFile); at != std::string_view::npos) {
    const std::string_view rest = said.substr(at + kFile.size());
    return "the password file " + std::string(rest.substr(0, rest.find('"')));
  }
  if (options.url_has_password) return "the URL";
  if (!options.password.empty()) return "UTP_POSTGRES_PASSWORD";
  const char* password = std::getenv("PGPASSWORD");
  return password != nullptr && *password != '\0' ? "PGPASSWORD" : "";
}

std::string one_line(std::string_view text) {
  text = text.substr(0, text.find("\nLOCATION"));
  std::string out(text.substr(0, text.find_last_not_of(" \n.") + 1));
  std::replace(out.begin(), out.end(), '\n', ' ');
  return out;
}

}  // namespace

Error connect_error(PGconn* handle, std::string_view state, const PostgresStoreOptions& options) {
  const std::string said = PQerrorMessage(handle);
  const std::string message = one_line(said);
  const std::string what = "store " + options.place + ": connect: " + message;
  // Of several hosts another one may be well, or come back.
  const bool several = setting(handle, "host").find(',') != std::string::npos;
  // With sslmode=prefer a refused password is followed by an attempt without TLS, whose refusal says less.
  const bool password_refused = said.find("28P01") != std::string::npos || said.find("password authentication failed") != std::string::npos;
  for (const Mistake& mistake : kMistakes) {
    if (password_refused) break;
    if (said.find(mistake.says) == std::string::npos) continue;
    return {several ? Code::kUnavailable : mistake.code, what + ". " + std::string(mistake.cure), several};
  }
  if (password_refused) {
    const std::string source = password_source(said, options);
    return {Code::kPermission,
            what + " (SQLSTATE 28P01)" + (source.empty() ? "" : ". The password came from " + source) +
                ". Check it, the user and the server's pg_hba.conf",
            false};
  }
  if (!state.empty()) return error_of_state(state, options.place, "connect", message, options);
  if (PQconnectionNeedsPassword(handle) != 0) return {Code::kPermission, what + ". " + about_password_file(handle), false};
  return {Code::kUnavailable, what + ". Check that the server runs and can be reached, and the URL's host, port and sslmode",
          true};
}

Transport Connection::transport() const {
  Transport out;
  const char* host = PQhost(handle_.get());
  const char* address = PQhostaddr(handle_.get());
  const std::string_view at = address != nullptr ? address : "";
  const bool socket = host != nullptr && (*host == '/' || *host == '@');
  out.local = socket || at.starts_with("127.") || at == "::1";
  out.encrypted = PQsslInUse(handle_.get()) != 0;
  if (!out.encrypted) {
    out.text = socket ? "a socket of this machine" : out.local ? "not encrypted, within this machine" : "not encrypted";
    return out;
  }
  const std::string mode = setting(handle_.get(), "sslmode");
  out.verified = mode == "verify-full" || mode == "verify-ca";
  const char* protocol = PQsslAttribute(handle_.get(), "protocol");
  const char* cipher = PQsslAttribute(handle_.get(), "cipher");
  out.text = std::string(protocol != nullptr ? protocol : "TLS") + (cipher != nullptr ? " " + std::string(cipher) : "") +
             ", the server's certificate is " + (out.verified ? "checked" : "not checked") + " (sslmode=" + mode + ")";
  return out;
}

}  // namespace utp::postgres
