// A private PostgreSQL cluster for tests and benchmarks. As root it runs as the user `postgres`, since the server refuses root.
#pragma once

#include <grp.h>
#include <pwd.h>

#include <cstdlib>
#include <fstream>
#include <set>
#include <sstream>

#include <libpq-fe.h>

#include "bus/testing/server_process.h"
#include "drivers/store/postgres/postgres_store.h"

namespace utp::postgres_test {

// What a person would type into psql; the first column of all rows, or the server's refusal.
inline std::string run_sql(const std::string& url, const std::string& text) {
  PGconn* connection = PQconnectdb(url.c_str());
  PQsetNoticeProcessor(connection, [](void*, const char*) {}, nullptr);
  PGresult* result = PQexec(connection, text.c_str());
  std::string out = PQresultStatus(result) == PGRES_FATAL_ERROR ? PQerrorMessage(connection) : "";
  for (int i = 0; i < PQntuples(result); ++i) {
    out += (out.empty() ? "" : " ") + std::string(PQgetisnull(result, i, 0) != 0 ? "null" : PQgetvalue(result, i, 0));
  }
  PQclear(result);
  PQfinish(connection);
  return out;
}

class PostgresServer final : public bus_test::ServerProcess {
 public:
  static constexpr const char* kMissing = "the PostgreSQL server is not installed (Debian: apt-get install postgresql-15)";
  static bool missing() { return program("postgres").empty() || program("initdb").empty(); }

  PostgresServer() : ServerProcess("postgres") {
    make_cluster();
    start();
  }
  // A standby that follows `primary`. Where it cannot be made it is not running.
  explicit PostgresServer(const PostgresServer& primary) : ServerProcess("postgres") {
    if (make_standby(primary)) start();
  }
  ~PostgresServer() override { stop(SIGQUIT); }  // its backends end with it
  // One for all tests of a process: it takes seconds to make. Gone at the end of the process.
  static PostgresServer& shared() {
    static PostgresServer server;
    return server;
  }
  // No two tests have the same schema.
  std::string new_schema() {
    static int number = 0;
    const std::string name = "t" + std::to_string(number++);
    sql("CREATE SCHEMA " + name);
    return name;
  }
  // `schema` names the connections too, so that the log tells them apart.
  std::string url(const std::string& schema, const std::string& user = "utp", const std::string& password = "") const {
    return "postgres://" + user + (password.empty() ? "" : ":" + password) + "@127.0.0.1:" + std::to_string(port()) +
           "/postgres?options=-csearch_path%3D" + schema + "&application_name=" + schema;
  }

  std::string sql(const std::string& text, const std::string& schema = "public") const {
    return run_sql(url(schema), text);
  }
  // How many statements of that schema's connections hold this text, by the server's log.
  int statements(const std::string& schema, const std::string& text) const { return count_in_log(schema + "|LOG:", text); }
  // Lines that begin so and hold `text`.
  int count_in_log(const std::string& beginning, const std::string& text = "") const {
    std::ifstream log(folder() + "/output");
    int count = 0;
    for (std::string line; std::getline(log, line);) count += line.starts_with(beginning) && line.find(text) != std::string::npos ? 1 : 0;
    return count;
  }

  // The death of the server with all of its processes, as when its machine dies.
  void crash() {
    const std::set<pid_t> all = processes();
    for (const pid_t pid : all) {
      if (pid != this->pid()) ::kill(pid, SIGKILL);
    }
    stop(SIGKILL);
    for (const pid_t pid : all) {
      while (::kill(pid, 0) == 0 && state(pid) != 'Z') std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  // All of its processes stand still: connections stay open, the port takes new ones, nothing is answered.
  void freeze() {
    for (const pid_t pid : processes()) {
      ::kill(pid, SIGSTOP);
      while (state(pid) != 'T' && state(pid) != 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  void thaw() {
    for (const pid_t pid : processes()) ::kill(pid, SIGCONT);
  }

 private:
  static std::string program(const std::string& name) {
    const std::string v15 = "/usr/lib/postgresql/15/bin/" + name, v16 = "/usr/lib/postgresql/16/bin/" + name, v17 = "/usr/lib/postgresql/17/bin/" + name;
    return bus_test::find_program({v15.c_str(), v16.c_str(), v17.c_str(), ("/usr/bin/" + name).c_str()});
  }
  // What runs the words as an ordinary user.
  static std::vector<std::string> as_user(std::vector<std::string> words) {
    if (::geteuid() != 0) return words;
    std::vector<std::string> out{"/usr/bin/setpriv", "--reuid", "postgres", "--regid", "postgres", "--init-groups"};
    out.insert(out.end(), words.begin(), words.end());
    return out;
  }
  // Runs it as that user, who owns the folder then.
  bool run(const std::vector<std::string>& words) {
    if (::geteuid() == 0) {
      const passwd* user = ::getpwnam("postgres");
      if (user != nullptr && ::chown(folder().c_str(), user->pw_uid, user->pw_gid) != 0) return false;
    }
    std::string line = "cd / &&";
    for (const std::string& word : as_user(words)) line += " '" + word + "'";
    return std::system((line + " >'" + folder() + "/made' 2>&1").c_str()) == 0;
  }
  void make_cluster() {
    if (!run({program("initdb"), "-D", folder() + "/data", "-U", "utp", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"})) return;
    std::ofstream(folder() + "/data/pg_hba.conf")
        << "host all guarded 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nhost replication all 127.0.0.1/32 trust\n";
  }
  bool make_standby(const PostgresServer& primary) {
    return run({program("pg_basebackup"), "-D", folder() + "/data", "-h", "127.0.0.1", "-p", std::to_string(primary.port()), "-U", "utp", "-R",
                "--checkpoint=fast", "--no-sync"});
  }
  std::vector<std::string> command() override {
    std::vector<std::string> words{program("postgres"), "-D", folder() + "/data", "-p", std::to_string(port())};
    for (const char* setting : {"listen_addresses=127.0.0.1", "fsync=on", "shared_buffers=32MB", "max_connections=50", "log_statement=all",
                                "log_line_prefix=%a|", "deadlock_timeout=100ms", "autovacuum_naptime=1h"}) {
      words.insert(words.end(), {"-c", setting});
    }
    words.insert(words.end(), {"-c", "unix_socket_directories=" + folder()});
    // It ends with the test, also with one that crashes.
    std::vector<std::string> out{"/usr/bin/setpriv", "--pdeathsig", "QUIT"};
    words = as_user(std::move(words));
    out.insert(out.end(), words.begin() + (::geteuid() == 0 ? 1 : 0), words.end());
    return out;
  }
  bool answers() const override {
    const std::string url = "postgres://utp@127.0.0.1:" + std::to_string(port()) + "/postgres?connect_timeout=2";
    PGconn* connection = PQconnectdb(url.c_str());
    const bool good = PQstatus(connection) == CONNECTION_OK;
    PQfinish(connection);
    return good;
  }

  // The server's process and its children.
  std::set<pid_t> processes() const {
    std::set<pid_t> out{pid()};
    const std::string number = std::to_string(pid());
    std::ifstream children("/proc/" + number + "/task/" + number + "/children");
    for (pid_t child = 0; children >> child;) out.insert(child);
    return out;
  }
  // 'T' = stopped, 'Z' = dead; 0 = gone.
  static char state(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    std::stringstream text;
    text << file.rdbuf();
    const std::string line = text.str();
    const std::size_t at = line.rfind(')');
    return at == std::string::npos ? '\0' : line[at + 2];
  }
};

}  // namespace utp::postgres_test
