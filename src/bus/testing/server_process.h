// A private server for tests and benchmarks: its own port on loopback, its own folder, gone with the object. Each server
// derives from it and says how it is started and when it answers.
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
#include <filesystem>
#include <string>
#include <thread>
#include <utility>
#include <vector>

extern char** environ;

namespace utp::bus_test {

// The first of these that can be run; "" where there is none.
inline std::string find_program(std::initializer_list<const char*> paths) {
  for (const char* path : paths) {
    if (::access(path, X_OK) == 0) return path;
  }
  return {};
}

class ServerProcess {
 public:
  ServerProcess(const ServerProcess&) = delete;
  ServerProcess& operator=(const ServerProcess&) = delete;
  virtual ~ServerProcess() {
    stop(SIGKILL);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  bool is_running() const { return pid_ > 0; }
  int port() const { return port_; }
  const std::string& folder() const { return folder_; }
  pid_t pid() const { return pid_; }

  // On the port that it had, with the data that it has.
  void start() {
    for (int attempt = 0; attempt < 10 && pid_ < 0; ++attempt) {
      if (!has_port_) port_ = free_port();
      std::vector<std::string> words = command();
      std::vector<char*> arguments;
      for (std::string& word : words) arguments.push_back(word.data());
      arguments.push_back(nullptr);
      posix_spawn_file_actions_t actions;
      posix_spawn_file_actions_init(&actions);
      const std::string log = folder_ + "/output";
      posix_spawn_file_actions_addopen(&actions, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      posix_spawn_file_actions_adddup2(&actions, 1, 2);
      if (::posix_spawn(&pid_, arguments[0], &actions, nullptr, arguments.data(), environ) != 0) pid_ = -1;
      posix_spawn_file_actions_destroy(&actions);
      if (pid_ > 0 && !wait_until_it_answers()) stop(SIGKILL);  // somebody else took the port
    }
    has_port_ = pid_ > 0;
  }
  void stop(int how) {
    if (pid_ <= 0) return;
    ::kill(pid_, how);
    if (how != SIGKILL) ::kill(pid_, SIGCONT);  // one that is paused has to see the other signal
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  // Its process stands still: connections stay open, nothing is answered.
  void pause() {
    ::kill(pid_, SIGSTOP);
    ::waitpid(pid_, nullptr, WUNTRACED);  // all of its threads do
  }
  void go_on() { ::kill(pid_, SIGCONT); }

 protected:
  // `name` becomes part of the folder's.
  explicit ServerProcess(const std::string& name) {
    std::string folder = (std::filesystem::temp_directory_path() / ("utp_" + name + "_XXXXXX")).string();
    if (::mkdtemp(folder.data()) != nullptr) folder_ = folder;
  }
  // The program and its arguments, for port() and folder(); called for every attempt.
  virtual std::vector<std::string> command() = 0;
  virtual bool answers() const = 0;
  virtual std::chrono::seconds patience() const { return std::chrono::seconds(30); }

  static int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in a = address(0);
    socklen_t size = sizeof a;
    int port = 0;
    if (::bind(fd, reinterpret_cast<sockaddr*>(&a), size) == 0 && ::getsockname(fd, reinterpret_cast<sockaddr*>(&a), &size) == 0) {
      port = ntohs(a.sin_port);
    }
    ::close(fd);
    return port;
  }
  // A connection to port(), or -1.
  int connect() const {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in a = address(port_);
    if (::connect(fd, reinterpret_cast<const sockaddr*>(&a), sizeof a) == 0) return fd;
    ::close(fd);
    return -1;
  }

 private:
  static sockaddr_in address(int port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
  }
  bool wait_until_it_answers() {
    const auto deadline = std::chrono::steady_clock::now() + patience();
    while (std::chrono::steady_clock::now() < deadline) {
      if (::waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        return false;
      }
      if (answers()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
  }

  std::string folder_;
  int port_ = 0;
  bool has_port_ = false;
  pid_t pid_ = -1;
};

}  // namespace utp::bus_test
