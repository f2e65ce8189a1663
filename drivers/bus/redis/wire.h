// The bytes to and from the server: a socket, with TLS on it where the URL says rediss://. One thread at a time.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "core/result.h"
#include "drivers/bus/redis/redis_bus.h"

struct ssl_st;
struct ssl_ctx_st;

namespace utp::redis_bus {

class Wire {
 public:
  Wire() = default;
  ~Wire() { close(); }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;

  // Takes a connected socket over. With TLS it returns when both sides know each other; `place` is for errors.
  Status open(int fd, const RedisBusOptions& options, const std::string& place);
  void close();
  bool is_open() const { return fd_ >= 0; }
  int fd() const { return fd_; }

  struct Moved {
    ssize_t bytes = -1;  // 0: the other side has closed
    short wait = 0;      // where bytes is -1: the events of poll() to wait for; none: the connection broke, see error()
  };
  Moved send(std::string_view bytes);
  // `may_block`: may wait for up to answer_timeout_ns by itself, which spares a call where nobody interrupts.
  Moved receive(std::span<char> room, bool may_block);
  const std::string& error() const { return error_; }

 private:
  Status shake_hands(const RedisBusOptions& options, const std::string& place);
  Moved tls_moved(int result);
  Moved socket_moved(ssize_t result, short wait);

  int fd_ = -1;
  ssl_st* tls_ = nullptr;
  std::string error_;
};

}  // namespace utp::redis_bus
