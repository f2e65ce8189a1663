// A private Redis server for tests and benchmarks.
#pragma once

#include "bus/testing/server_process.h"
#include "drivers/bus/redis/redis_bus.h"

namespace utp::redis_bus_test {

class RedisServer final : public bus_test::ServerProcess {
 public:
  static std::string program() { return bus_test::find_program({"/usr/bin/redis-server", "/usr/local/bin/redis-server"}); }
  // Why there can be none here; "" where there can.
  static std::string missing() { return program().empty() ? "redis-server is not installed (Debian: apt-get install redis-server)" : ""; }
  static Result<std::unique_ptr<Bus>> open(const RedisBusOptions& options) { return open_redis_bus(options); }

  using ServerProcess::free_port;

  // `settings`: more command-line arguments, such as {"--appendfsync", "everysec"}.
  explicit RedisServer(std::vector<std::string> settings = {}) : ServerProcess("redis"), settings_(std::move(settings)) { start(); }

  RedisBusOptions options() const {
    RedisBusOptions o;
    o.port = port();
    o.trim_every_ns = 0;  // nothing is trimmed behind a test's back
    return o;
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
    for (const auto& entry : std::filesystem::recursive_directory_iterator(folder())) {
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
  std::vector<std::string> command() override {
    std::vector<std::string> words{program(), "--port", std::to_string(port()), "--bind", "127.0.0.1", "--dir", folder(), "--save", "",
                                   "--appendonly", "yes", "--appendfsync", "always", "--daemonize", "no", "--logfile", folder() + "/log"};
    words.insert(words.end(), settings_.begin(), settings_.end());
    return words;
  }
  bool answers() const override {
    const std::string answer = command({"PING"});
    return answer.starts_with("+PONG") || answer.starts_with("-NOAUTH");
  }

  std::vector<std::string> settings_;
};

}  // namespace utp::redis_bus_test
