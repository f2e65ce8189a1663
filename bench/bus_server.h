// What bus_servers_bench needs of a bus server: a private one, our bus on it, and the least that a program of the server's own
// client would do. One file a server: bare_<server>.cc.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"

namespace utp::bench {

inline constexpr std::size_t kMessageBytes = 330;  // a quote's envelope
inline constexpr std::size_t kBatch = 500;

// The server's own client without our bus. A failure ends the program.
class BareClient {
 public:
  virtual ~BareClient() = default;
  // All at once, then waits until the server has them.
  virtual void publish(std::span<const std::string> values) = 0;
  // Waits for at least one message up to the time given; what came is acknowledged. Views are valid until the next call.
  virtual std::span<const std::string_view> consume(std::size_t max, int timeout_ms) = 0;
};

// A server of its own, gone with the object.
class BusServer {
 public:
  virtual ~BusServer() = default;
  virtual std::unique_ptr<Bus> open() = 0;
  virtual std::unique_ptr<BareClient> bare() = 0;
  // One whose messages go to this many topics in turn, for the rows with many; null where there is none.
  virtual std::unique_ptr<BareClient> bare(std::size_t /*topics*/) { return nullptr; }
  virtual pid_t pid() const = 0;  // of the server's process
  // Nanoseconds per message that the benchmark tool of the server's makers takes to publish; nothing where there is none.
  virtual std::optional<double> tool_publish(std::size_t messages, std::size_t batch) = 0;
};

struct ServerKind {
  std::string name;     // as in the names of results
  std::string missing;  // why it cannot be had here; "" where it can
  std::function<std::unique_ptr<BusServer>()> make;
  std::uint32_t pack = 0;  // messages per entry of the row with packing; 0 = no such row
  bool has_scale = false;  // the rows with many topics and symbols
};

ServerKind redis_kind();
ServerKind nats_kind();
ServerKind kafka_kind();

[[noreturn]] inline void die(const std::string& message) {
  std::fprintf(stderr, "bus_servers_bench: %s\n", message.c_str());
  std::_Exit(2);
}

}  // namespace utp::bench
