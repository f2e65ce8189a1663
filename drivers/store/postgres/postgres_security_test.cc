// Who may come in and how: encryption, certificates, passwords. Its server has certificates of an authority of its own.
#include <fcntl.h>
#include <sys/stat.h>

#include <filesystem>

#include <gtest/gtest.h>

#include "drivers/store/postgres/postgres_connection.h"
#include "drivers/store/postgres/postgres_store.h"
#include "drivers/store/postgres/postgres_test_server.h"

namespace utp {
namespace {

using postgres_test::PostgresServer;

// Certificates made by the openssl command: an authority, a server "db.test" at 127.0.0.1's side, a user; and another authority.
class Certificates {
 public:
  static constexpr const char* kMissing = "the openssl command is not installed (Debian: apt-get install openssl)";
  static bool missing() { return bus_test::find_program({"/usr/bin/openssl"}).empty(); }

  explicit Certificates(std::string folder) : folder_(std::move(folder)) {
    std::filesystem::create_directory(folder_);
    authority("ca");
    authority("other");
    signed_by("ca", "server", "/CN=db.test", "subjectAltName=DNS:db.test");
    signed_by("ca", "user", "/CN=certified", "basicConstraints=CA:FALSE");
    signed_by("other", "stranger", "/CN=certified", "basicConstraints=CA:FALSE");
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

 private:
  void run(const std::string& arguments) const {
    EXPECT_EQ(std::system(("cd '" + folder_ + "' && openssl " + arguments + " >>log 2>&1").c_str()), 0) << arguments;
  }
  void authority(const std::string& name) const {
    run("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj '/CN=" + name + " authority' -keyout " +
        name + ".key -out " + name + ".crt");
  }
  void signed_by(const std::string& authority, const std::string& name, const std::string& subject,
                 const std::string& extension) const {
    run("req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj '" + subject + "' -keyout " + name + ".key -out " +
        name + ".csr");
    std::ofstream(path(name + ".ext")) << extension << "\n";
    run("x509 -req -in " + name + ".csr -CA " + authority + ".crt -CAkey " + authority +
        ".key -CAcreateserial -days 2 -extfile " + name + ".ext -out " + name + ".crt");
    ::chmod(path(name + ".key").c_str(), 0600);
  }
  std::string folder_;
};

class PostgresSecurity : public ::testing::Test {
 protected:
  static constexpr const char* kSecret = "s3cret-word";
  void SetUp() override {
    if (PostgresServer::missing()) GTEST_SKIP() << PostgresServer::kMissing;
    if (Certificates::missing()) GTEST_SKIP() << Certificates::kMissing;
    (void)server();
  }
  void TearDown() override {
    for (const char* name : {"UTP_POSTGRES_PASSWORD", "PGPASSWORD", "PGPASSFILE"}) ::unsetenv(name);
  }
  static const Certificates& certificates() {
    static const Certificates made(server_only().folder() + "/tls");
    return made;
  }
  static PostgresServer& server_only() {
    static PostgresServer server;
    return server;
  }
  // With TLS, and a user for each way in.
  static PostgresServer& server() {
    static const bool done =
        [] {
          PostgresServer& s = server_only();
          const std::string data = s.folder() + "/data/";
          for (const char* file : {"server.crt", "server.key", "ca.crt"}) {
            std::filesystem::copy_file(certificates().path(file), data + file);
            struct stat folder {};
            if (::stat(data.c_str(), &folder) != 0 || ::chown((data + file).c_str(), folder.st_uid, folder.st_gid) != 0)
              ADD_FAILURE() << file;
          }
          std::ofstream(data + "pg_hba.conf")
              << "host all guarded 127.0.0.1/32 scram-sha-256\nhostssl all sealed 127.0.0.1/32 scram-sha-256\nhostssl all encrypted 127.0.0.1/32 trust\n"
                 "hostssl all certified 127.0.0.1/32 cert\nhost all utp 127.0.0.1/32 trust\n";
          s.sql(std::string("SET password_encryption = 'scram-sha-256'; CREATE ROLE guarded LOGIN PASSWORD '") + kSecret +
                "'; CREATE ROLE sealed LOGIN PASSWORD 'another'; CREATE ROLE encrypted LOGIN; CREATE ROLE certified LOGIN");
          s.sql("ALTER SYSTEM SET ssl_ca_file = 'ca.crt'");
          s.sql("ALTER SYSTEM SET ssl = on");
          s.sql("SELECT pg_reload_conf()");
          const std::string url = "postgres://utp@127.0.0.1:" + std::to_string(s.port()) + "/postgres?sslmode=require";
          for (int i = 0; i < 1000 && postgres_test::run_sql(url, "SELECT 1") != "1"; ++i)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
          return true;
        }();
    EXPECT_TRUE(done);
    return server_only();
  }
  static std::string url(const std::string& user, const std::string& options, const std::string& host = "127.0.0.1") {
    return "postgres://" + user + "@" + host + ":" + std::to_string(server().port()) + "/postgres?" + options;
  }
  static Result<StoreStatus> look(const std::string& url) {
    UTP_TRY(const PostgresStoreOptions options, parse_postgres_url(url));
    return look_at_postgres(options);
  }
  static void expect_in(const std::string& url, const std::string& transport = "") {
    const auto status = look(url);
    ASSERT_TRUE(status) << url << "\n" << status.error().message;
    EXPECT_NE(status->transport.find(transport), std::string::npos) << status->transport;
  }
  static void expect_out(const std::string& url, Code code, std::initializer_list<std::string> said) {
    const auto status = look(url);
    ASSERT_FALSE(status) << url;
    EXPECT_EQ(status.error().code, code) << status.error().message;
    EXPECT_FALSE(status.error().retryable) << status.error().message;
    for (const std::string& part : said)
      EXPECT_NE(status.error().message.find(part), std::string::npos) << part << "\n" << status.error().message;
    EXPECT_EQ(status.error().message.find(kSecret), std::string::npos) << status.error().message;
    EXPECT_EQ(status.error().message.find('\n'), std::string::npos) << status.error().message;
  }
  static std::string root(const char* name = "ca.crt") { return "&sslrootcert=" + certificates().path(name); }
  static std::string client(const std::string& name) {
    return "&sslcert=" + certificates().path(name + ".crt") + "&sslkey=" + certificates().path(name + ".key");
  }
  static std::string password_file(const std::string& line, mode_t mode) {
    const std::string path = server().folder() + "/pgpass";
    std::ofstream(path) << line << "\n";
    ::chmod(path.c_str(), mode);
    return path;
  }
};

TEST_F(PostgresSecurity, EncryptsAndChecksTheServerAsTheUrlSays) {
  expect_in(url("utp", "sslmode=disable"), "not encrypted, within this machine");
  expect_in(url("utp", "sslmode=require"), "TLSv1.3");
  expect_in(url("utp", "sslmode=require"), "is not checked (sslmode=require)");
  expect_in(url("utp", "sslmode=verify-ca" + root()), "is checked (sslmode=verify-ca)");
  expect_in(url("utp", "sslmode=verify-full&hostaddr=127.0.0.1" + root(), "db.test"), "is checked (sslmode=verify-full)");
  // Nothing of it is a danger on this machine.
  EXPECT_TRUE(look(url("utp", "sslmode=require"))->dangers.empty());
}

TEST_F(PostgresSecurity, RefusesAnotherServersCertificateAndNamesTheOption) {
  expect_out(url("utp", "sslmode=verify-ca" + root("other.crt")), Code::kPermission,
             {"certificate verify failed", "sslrootcert=FILE"});
  expect_out(url("utp", "sslmode=verify-full&hostaddr=127.0.0.1" + root("other.crt"), "db.test"), Code::kPermission,
             {"certificate verify failed", "sslrootcert=FILE"});
  expect_out(url("utp", "sslmode=verify-full" + root(), "127.0.0.1"), Code::kPermission,
             {"does not match host name", "hostaddr=ADDRESS"});
  expect_out(url("utp", "sslmode=verify-full&hostaddr=127.0.0.1" + root(), "db.wrong"), Code::kPermission,
             {"db.test", "db.wrong"});
  expect_out(url("utp", "sslmode=verify-full" + root("missing.crt")), Code::kInvalidArgument,
             {"missing.crt", "sslrootcert=FILE"});
  // Where the URL has several hosts, one of them may be well again.
  const std::string port = std::to_string(server().port());
  const auto several = look("postgres://utp@127.0.0.1:" + port + ",127.0.0.1:" + port + "/postgres?sslmode=verify-ca" + root("other.crt"));
  ASSERT_FALSE(several);
  EXPECT_TRUE(several.error().retryable && several.error().code == Code::kUnavailable) << several.error().message;
  EXPECT_NE(several.error().message.find("sslrootcert=FILE"), std::string::npos) << several.error().message;
  expect_out(url("utp", "sslmode=encrypted"), Code::kInvalidArgument, {"verify-full"});
}

TEST_F(PostgresSecurity, SaysThatTheServerHasNoEncryptionOrWantsIt) {
  expect_in(url("encrypted", "sslmode=require"));
  expect_in(url("encrypted", "connect_timeout=10"), "TLSv1.3");  // what the library does by itself
  expect_out(url("encrypted", "sslmode=disable"), Code::kPermission, {"no encryption", "sslmode=require"});
  const PostgresServer& plain = PostgresServer::shared();
  expect_out("postgres://utp@127.0.0.1:" + std::to_string(plain.port()) + "/postgres?sslmode=require", Code::kUnsupported,
             {"does not support SSL", "ssl = on"});
}

// The library tries without TLS after a refusal; what that says is not the reason.
TEST_F(PostgresSecurity, AWrongPasswordIsNoMissingEncryption) {
  const std::string at = "@127.0.0.1:" + std::to_string(server().port()) + "/postgres";
  expect_in("postgres://sealed:another" + at, "TLSv1.3");
  expect_out("postgres://sealed:wrong" + at, Code::kPermission, {"password authentication failed", "came from the URL"});
  expect_out("postgres://sealed:another" + at + "?sslmode=disable", Code::kPermission, {"no encryption", "sslmode=require"});
}

TEST_F(PostgresSecurity, TakesACertificateForALogin) {
  expect_in(url("certified", "sslmode=verify-ca" + root() + client("user")));
  expect_out(url("certified", "sslmode=require&sslcert=/nowhere"), Code::kPermission, {"client certificate", "sslcert=FILE"});
  expect_out(url("certified", "sslmode=require" + client("stranger")), Code::kPermission, {"sslcert=FILE"});
  const std::string key = certificates().path("open.key");
  std::filesystem::copy_file(certificates().path("user.key"), key, std::filesystem::copy_options::overwrite_existing);
  ::chmod(key.c_str(), 0666);
  expect_out(url("certified", "sslmode=require&sslcert=" + certificates().path("user.crt") + "&sslkey=" + key),
             Code::kInvalidArgument, {"open.key", "chmod 600"});
  expect_out(url("certified", "sslmode=require&sslcert=" + certificates().path("user.crt") + "&sslkey=/nowhere.key"),
             Code::kInvalidArgument, {"nowhere.key", "sslkey=FILE"});
}

// The URL's own first, then UTP_POSTGRES_PASSWORD, PGPASSWORD, the password file.
TEST_F(PostgresSecurity, TakesThePasswordFromTheFirstPlaceThatHasOneAndNamesItWhenItIsWrong) {
  const std::string right = kSecret, wrong = right + "-not", bare = url("guarded", "sslmode=disable");
  const auto with_password = [](const std::string& password) { return url("guarded:" + password, "sslmode=disable"); };
  const std::string file = password_file("127.0.0.1:" + std::to_string(server().port()) + ":postgres:guarded:" + right, 0600);
  ::setenv("PGPASSFILE", "/nowhere/pgpass", 1);
  expect_out(bare, Code::kPermission, {"UTP_POSTGRES_PASSWORD", "passfile=", "/nowhere/pgpass"});
  ::setenv("PGPASSFILE", file.c_str(), 1);
  expect_in(bare);
  ::unsetenv("PGPASSFILE");
  expect_in(bare + "&passfile=" + file);
  ::setenv("PGPASSFILE", file.c_str(), 1);
  ::setenv("PGPASSWORD", wrong.c_str(), 1);
  expect_out(bare, Code::kPermission, {"came from PGPASSWORD", "28P01"});
  ::setenv("UTP_POSTGRES_PASSWORD", right.c_str(), 1);
  expect_in(bare);
  ::setenv("PGPASSWORD", right.c_str(), 1);
  ::setenv("UTP_POSTGRES_PASSWORD", wrong.c_str(), 1);
  expect_out(bare, Code::kPermission, {"came from UTP_POSTGRES_PASSWORD"});
  expect_in(with_password(right));
  ::setenv("UTP_POSTGRES_PASSWORD", right.c_str(), 1);
  expect_out(with_password(wrong), Code::kPermission, {"came from the URL"});
  ::unsetenv("UTP_POSTGRES_PASSWORD");
  ::unsetenv("PGPASSWORD");
  ::setenv("PGPASSFILE", password_file("*:*:*:*:" + wrong, 0600).c_str(), 1);
  expect_out(bare, Code::kPermission, {"came from the password file " + file});
}

TEST_F(PostgresSecurity, SaysWhyAPasswordFileIsNotUsed) {
  const std::string bare = url("guarded", "sslmode=disable");
  const std::string file = password_file(std::string("*:*:*:*:") + kSecret, 0640);
  expect_out(bare + "&passfile=" + file, Code::kPermission, {file, "chmod 600"});
  password_file(std::string("*:*:*:another:") + kSecret, 0600);
  expect_out(bare + "&passfile=" + file, Code::kPermission, {file, "has no line"});
  expect_out(bare + "&passfile=" + server().folder(), Code::kPermission, {"no plain file"});
}

TEST_F(PostgresSecurity, NamesSettingsThatEndangerAndTheRightsOfTheUser) {
  const std::string schema = server().new_schema();
  const auto at = [&](const std::string& user) { return look(server().url(schema, user)); };
  auto status = at("utp");
  ASSERT_TRUE(status) << status.error().message;
  EXPECT_TRUE(status->dangers.empty());
  EXPECT_EQ(status->catalogue_version, 0);
  EXPECT_EQ(status->engine, "postgresql");
  EXPECT_TRUE(status->engine_reason.starts_with("TimescaleDB is ")) << status->engine_reason;
  EXPECT_TRUE(status->may_write && status->may_maintain);
  server().sql("GRANT USAGE ON SCHEMA " + schema + " TO encrypted");
  EXPECT_FALSE(look(url("encrypted", "sslmode=require&options=-csearch_path%3D" + schema))->may_write);
  ASSERT_TRUE(open_postgres_store(*parse_postgres_url(server().url(schema))));
  server().sql("ALTER ROLE utp SET synchronous_commit = off");
  status = at("utp");
  server().sql("ALTER ROLE utp RESET synchronous_commit");
  ASSERT_EQ(status->dangers.size(), 1u);
  EXPECT_EQ(status->dangers[0].where, "synchronous_commit");
  EXPECT_EQ(status->catalogue_version, status->newest_catalogue);
  server().sql("DELETE FROM utp_migrations WHERE version > 1", schema);
  status = at("utp");
  ASSERT_EQ(status->dangers.size(), 1u);
  EXPECT_NE(status->dangers[0].cure.find("utp store migrate"), std::string::npos);
}

}  // namespace
}  // namespace utp
