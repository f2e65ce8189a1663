// A private Redis server for tests: its own port on loopback, its own folder, gone with the object.
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "drivers/bus/redis/redis_bus.h"

extern char** environ;

namespace utp::redis_bus_test {

class RedisServer {
 public:
  // "" where there is none.
  static std::string program() {
    for (const char* path : {"/usr/bin/redis-server", "/usr/local/bin/redis-server"}) {
      if (::access(path, X_OK) == 0) return path;
    }
    return {};
  }
  static constexpr const char* kMissing = "redis-server is not installed (Debian: apt-get install redis-server)";

  // `settings`: more command-line arguments, such as {"--appendfsync", "everysec"}.
  explicit RedisServer(std::vector<std::string> settings = {}) : settings_(std::move(settings)) {
    std::string name = (std::filesystem::temp_directory_path() / "utp_redis_XXXXXX").string();
    if (::mkdtemp(name.data()) != nullptr) folder_ = name;
    start();
  }
  RedisServer(const RedisServer&) = delete;
  RedisServer& operator=(const RedisServer&) = delete;
  ~RedisServer() {
    stop(SIGKILL);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  bool is_running() const { return pid_ > 0; }
  int port() const { return port_; }
  const std::string& folder() const { return folder_; }
  pid_t pid() const { return pid_; }
  RedisBusOptions options() const {
    RedisBusOptions o;
    o.port = port_;
    o.trim_every_ns = 0;  // nothing is trimmed behind a test's back
    return o;
  }

  // On the port that it had, with the data that it has.
  void start() {
    for (int attempt = 0; attempt < 10 && pid_ < 0; ++attempt) {
      if (!has_port_) port_ = free_port();
      std::vector<std::string> command{
          program(), "--port",    std::to_string(port_), "--bind", "127.0.0.1",     "--dir",  folder_,
          "--save",  "",          "--appendonly",        "yes",    "--appendfsync", "always", "--daemonize",
          "no",      "--logfile", folder_ + "/log"};
      command.insert(command.end(), settings_.begin(), settings_.end());
      std::vector<char*> arguments;
      for (std::string& argument : command) arguments.push_back(argument.data());
      arguments.push_back(nullptr);
      if (::posix_spawn(&pid_, arguments[0], nullptr, nullptr, arguments.data(), environ) != 0) pid_ = -1;
      if (pid_ > 0 && !wait_until_it_answers()) stop(SIGKILL);  // somebody else took the port
    }
    has_port_ = pid_ > 0;
  }
  void stop(int how) {
    if (pid_ <= 0) return;
    ::kill(pid_, how);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // What a power loss does: the server is gone, and so is the end of its append-only file.
  void lose_tail(std::size_t bytes) {
    // With everysec the server holds writes back while the disk is slow: what is lost must be the test's choice, not the disk's.
    for (int i = 0; i < 1000; ++i) {
      const std::string state = command({"INFO", "persistence"});
      if (state.find("aof_buffer_length:0") != std::string::npos && state.find("aof_pending_bio_fsync:0") != std::string::npos) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    stop(SIGKILL);
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder_)) {
      if (entry.path().string().find(".incr.aof") == std::string::npos) continue;
      const auto size = entry.file_size();
      std::filesystem::resize_file(entry.path(), size - std::min<std::uintmax_t>(size, bytes));
    }
    start();
  }

  // A command as a person would type it, through a plain socket; the raw answer.
  std::string command(const std::vector<std::string>& words) const {
    std::string out = "*" + std::to_string(words.size()) + "\r\n";
    for (const std::string& word : words) out += "$" + std::to_string(word.size()) + "\r\n" + word + "\r\n";
    const int fd = connect();
    std::string answer;
    if (fd < 0) return answer;
    if (::send(fd, out.data(), out.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(out.size())) {
      ::shutdown(fd, SHUT_WR);  // the server answers, then closes
      char buffer[4096];
      for (ssize_t n = 0; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
        answer.append(buffer, static_cast<std::size_t>(n));
    }
    ::close(fd);
    return answer;
  }

 private:
  static sockaddr_in address(int port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
  }
  static int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a = address(0);
    socklen_t size = sizeof a;
    int port = 0;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0 &&
        ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0) {
      port = ntohs(a.sin_port);
    }
    ::close(fd);
    return port;
  }
  int connect() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in a = address(port_);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0) return fd;
    ::close(fd);
    return -1;
  }
  bool wait_until_it_answers() {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
    while (std::chrono::steady_clock::now() < deadline) {
      int status = 0;
      if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        pid_ = -1;
        return false;
      }
      const std::string answer = command({"PING"});
      if (answer.starts_with("+PONG") || answer.starts_with("-NOAUTH")) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

  std::vector<std::string> settings_;
  std::string folder_;
  int port_ = 0;
  bool has_port_ = false;
  pid_t pid_ = -1;
};

}  // namespace utp::redis_bus_test
