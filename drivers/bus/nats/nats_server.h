// A private NATS server for tests and benchmarks.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "bus/testing/server_process.h"
#include "drivers/bus/nats/nats_bus.h"

namespace utp::nats_bus_test {

class NatsServer final : public bus_test::ServerProcess {
 public:
  static std::string program() { return bus_test::find_program({"/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"}); }
  // Why there can be none here; "" where there can.
  static std::string missing() { return program().empty() ? "nats-server is not installed (Debian: apt-get install nats-server)" : ""; }
  static Result<std::unique_ptr<Bus>> open(const NatsBusOptions& options) { return open_nats_bus(options); }
  // Another version beside the distribution's; "" where there is none.
  static std::string current_program() {
    const char* path = std::getenv("UTP_TEST_NATS_CURRENT");
    return path != nullptr && ::access(path, X_OK) == 0 ? path : "";
  }
  static std::string current_missing() { return current_program().empty() ? "UTP_TEST_NATS_CURRENT names no current nats-server that can be run" : ""; }

  // `settings`: more command-line arguments, such as {"--user", "me", "--pass", "word"}.
  explicit NatsServer(std::vector<std::string> settings = {}, std::string path = program())
      : ServerProcess("nats"), path_(std::move(path)), settings_(std::move(settings)) {
    start();
  }

  NatsBusOptions options() const {
    NatsBusOptions o;
    o.servers = {"127.0.0.1:" + std::to_string(port())};
    o.retention_bytes = std::uint64_t{16} << 20;  // the server sets it aside
    return o;
  }

  // What a power loss does: the server is gone, and so is the end of the files of a stream (of every one that begins like this).
  void lose_tail(const std::string& stream, std::size_t bytes) {
    stop(SIGKILL);
    const auto streams = std::filesystem::path(folder()) / "data" / "jetstream" / "$G" / "streams";
    for (const auto& one : std::filesystem::directory_iterator(streams)) {
      if (one.path().filename().string().starts_with(stream)) cut(one.path() / "msgs", bytes);
    }
    start();
  }

 private:
  static void cut(const std::filesystem::path& messages, std::size_t bytes) {
    std::filesystem::path newest;
    std::vector<std::filesystem::path> indexes;  // without them the server reads the messages themselves
    for (const auto& entry : std::filesystem::directory_iterator(messages)) {
      const auto& path = entry.path();
      if (path.extension() != ".blk") {
        indexes.push_back(path);
      } else if (newest.empty() || std::stoul(path.stem()) > std::stoul(newest.stem())) {
        newest = path;
      }
    }
    for (const auto& path : indexes) std::filesystem::remove(path);
    const auto size = std::filesystem::file_size(newest);
    std::filesystem::resize_file(newest, size - std::min<std::uintmax_t>(size, bytes));
  }
  std::vector<std::string> command() override {
    std::vector<std::string> words{path_, "-a", "127.0.0.1", "-p", std::to_string(port()), "-js", "-sd", folder() + "/data"};
    words.insert(words.end(), settings_.begin(), settings_.end());
    return words;
  }
  // It says hello before anybody logs in, and has JetStream by then.
  bool answers() const override {
    const int fd = connect();
    if (fd < 0) return false;
    char buffer[4] = "";
    const bool greets = ::recv(fd, buffer, sizeof buffer, MSG_WAITALL) == sizeof buffer && std::string(buffer, 4) == "INFO";
    ::close(fd);
    return greets;
  }

  std::string path_;
  std::vector<std::string> settings_;
};

}  // namespace utp::nats_bus_test
