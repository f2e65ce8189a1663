// Stands between a client and a server on loopback, and breaks what the test wants broken.
#pragma once

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

namespace utp::nats_bus_test {

class NatsProxy {
 public:
  explicit NatsProxy(int server_port) : server_port_(server_port), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in a = address(0);
    socklen_t size = sizeof a;
    (void)::bind(listener_, reinterpret_cast<sockaddr*>(&a), size);
    (void)::listen(listener_, 8);
    (void)::getsockname(listener_, reinterpret_cast<sockaddr*>(&a), &size);
    port_ = ntohs(a.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~NatsProxy() {
    stopping_ = true;
    thread_.join();
    drop();
    ::close(listener_);
  }
  NatsProxy(const NatsProxy&) = delete;
  NatsProxy& operator=(const NatsProxy&) = delete;

  int port() const { return port_; }
  // From now on nothing that the server says arrives.
  void swallow_answers() { swallowing_ = true; }
  // Ends all connections; new ones work.
  void cut() {
    std::lock_guard lock(mutex_);
    drop();
    swallowing_ = false;
  }

 private:
  struct Pair {
    int client, server;
  };
  static sockaddr_in address(int port) {
    sockaddr_in a{};
    a.sin_family = AF_INET;
    a.sin_port = htons(static_cast<std::uint16_t>(port));
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
  }
  void drop() {
    for (const Pair& pair : pairs_) {
      ::close(pair.client);
      ::close(pair.server);
    }
    pairs_.clear();
  }
  void accept() {
    Pair pair{::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC), ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    const sockaddr_in a = address(server_port_);
    (void)::connect(pair.server, reinterpret_cast<const sockaddr*>(&a), sizeof a);
    pairs_.push_back(pair);
  }
  // False when one side has ended.
  static bool forward(int from, int to, bool swallow) {
    char buffer[16384];
    const ssize_t size = ::recv(from, buffer, sizeof buffer, 0);
    if (size <= 0) return false;
    for (ssize_t done = 0; !swallow && done < size;) {
      const ssize_t sent = ::send(to, buffer + done, static_cast<std::size_t>(size - done), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      done += sent;
    }
    return true;
  }
  void run() {
    while (!stopping_) {
      std::lock_guard lock(mutex_);
      std::vector<pollfd> all{{listener_, POLLIN, 0}};
      for (const Pair& pair : pairs_) {
        all.push_back({pair.client, POLLIN, 0});
        all.push_back({pair.server, POLLIN, 0});
      }
      (void)::poll(all.data(), all.size(), 1);
      for (std::size_t i = pairs_.size(); i-- > 0;) {
        const Pair pair = pairs_[i];
        const bool open = (all[2 * i + 1].revents == 0 || forward(pair.client, pair.server, false)) &&
                          (all[2 * i + 2].revents == 0 || forward(pair.server, pair.client, swallowing_));
        if (open) continue;
        ::close(pair.client);
        ::close(pair.server);
        pairs_.erase(pairs_.begin() + static_cast<std::ptrdiff_t>(i));
      }
      if (all[0].revents != 0) accept();
    }
  }

  int server_port_;
  int listener_;
  int port_ = 0;
  std::atomic<bool> stopping_{false};
  std::atomic<bool> swallowing_{false};
  std::mutex mutex_;
  std::vector<Pair> pairs_;
  std::thread thread_;
};

}  // namespace utp::nats_bus_test
