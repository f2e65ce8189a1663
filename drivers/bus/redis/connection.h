// One connection to the server that has the bus. It comes back by itself: the first call after a loss looks for that
// server again, in a cluster where its nodes send it. One thread at a time.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "drivers/bus/redis/nodes.h"
#include "drivers/bus/redis/redis_bus.h"
#include "drivers/bus/redis/scripts.h"
#include "drivers/bus/redis/wire.h"

struct redisReply;
struct redisReader;

namespace utp::redis_bus {

struct FreeReply {
  void operator()(redisReply* reply) const;
};
using Reply = std::unique_ptr<redisReply, FreeReply>;

// Views into a reply; "" and 0 where it is of another kind.
std::string_view text(const redisReply* reply);
std::uint64_t number(const redisReply* reply);  // an integer, or a text of digits
std::span<redisReply* const> items(const redisReply* reply);

// Wakes a wait for a reply from another thread.
class Interrupt {
 public:
  Interrupt();
  ~Interrupt();
  Interrupt(const Interrupt&) = delete;
  Interrupt& operator=(const Interrupt&) = delete;
  void raise();
  bool take();  // true once after raise()
  int fd() const { return fd_; }

 private:
  int fd_;
  std::atomic<bool> raised_{false};
};

class Connection {
 public:
  Connection(const RedisBusOptions& options, Nodes& nodes) : options_(options), nodes_(nodes) {}
  ~Connection() { close(); }
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  Status ensure();  // connected, let in, scripts known
  void close();
  // Of the server process that is connected, new with each of its starts.
  const std::string& run() const { return run_; }
  // Grows with it, and with each server that takes another's place.
  std::uint64_t run_number() const { return run_number_; }

  // A pipeline: add() any number of commands, then run() sends them and takes their replies in order.
  void add(std::span<const std::string_view> arguments);
  void add(std::initializer_list<std::string_view> arguments) { add({arguments.begin(), arguments.size()}); }
  void add(Script script, std::initializer_list<std::string_view> keys, std::initializer_list<std::string_view> arguments);
  void add(Script script, std::string_view key, std::initializer_list<std::string_view> arguments) {
    add(script, {key}, arguments);
  }
  // The same piece by piece: begin(), then put() for each key and argument.
  void begin(Script script, std::size_t keys, std::size_t arguments);
  // For where the script must not be missing: its text goes along.
  void begin_text(std::string_view script, std::size_t keys, std::size_t arguments);
  void begin(std::size_t words);  // any command
  void put(std::string_view value);
  void put(std::size_t number);
  void put_size(std::size_t size);                             // of a value whose pieces append() brings
  void append(std::string_view piece) { out_ += piece; }
  void end() { out_ += "\r\n"; }                               // of the pieces
  std::size_t pending_bytes() const { return out_.size(); }
  // An error only when the connection failed; what the server refused is the reply's own error.
  Result<std::vector<Result<Reply>>> run_all();
  // A pipeline of one. Waits `extra_ns` longer for the reply; `interrupt` ends that with kCancelled.
  Result<Reply> run_one(std::int64_t extra_ns = 0, Interrupt* interrupt = nullptr);

  // What a refusal of the server means, and what can be done about it.
  Error refused(std::string_view message);
  std::string place() const;  // for messages: "redis host:port/db"

 private:
  Status connect();
  // `elsewhere`: the node that has the bus, where that is another one.
  Status hello(std::optional<RedisNode>& elsewhere);
  Status find_owner(std::optional<RedisNode>& elsewhere);
  Status send();
  Result<Reply> receive(std::int64_t deadline_ns, Interrupt* interrupt);
  tl::unexpected<Error> lost(std::string_view what);

  RedisBusOptions options_;  // host and port: of the node at hand
  Nodes& nodes_;
  Wire wire_;
  redisReader* reader_ = nullptr;
  std::string out_;
  std::size_t commands_ = 0;  // in out_
  std::string run_, history_;
  std::uint64_t run_number_ = 0;
  std::array<std::string, kScripts> hashes_;  // of the scripts, as the server calls them
};

}  // namespace utp::redis_bus
