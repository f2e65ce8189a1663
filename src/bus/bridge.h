// Bridge: copies topics from one bus to another, unchanged, under the same names.
//
// - Order per topic and key holds. Progress is a group on the bus it reads from, so a bridge goes on where one of the same
//   group stopped; two of the same group share the partitions.
// - A batch whose fate is unknown (the process died, the far bus did not answer) is read again. What of it the far bus has
//   already is found among the newest `tail_messages` of the far topic and not sent twice. Beyond that, and where another
//   program writes to the far topic at a greater rate, a message may be there twice, as with any repeated publish: readers
//   deduplicate by the idempotency key.
// - Without loops: forward only the region that the near bus belongs to (BridgeFilter::regions).
//
// Threads: one at a time; stats() from any.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "bus/bus.h"
#include "core/hash.h"

namespace utp {

// Which messages; an empty list lets all pass.
struct BridgeFilter {
  std::vector<std::string> patterns;          // of topics
  std::vector<std::string> realms, regions;   // of the topic's name
  std::vector<std::string> symbols;           // keys

  bool takes_topic(std::string_view topic) const;
  bool takes_key(std::string_view key) const;
};

struct BridgeOptions {
  BridgeFilter filter;
  std::string group = "bridge";
  Start start;  // of a new group
  Durability durability = Durability::kInterval;  // at the far side, before the near side is acknowledged
  std::size_t batch_messages = 1000;
  std::size_t batch_bytes = 4u << 20;
  std::uint64_t tail_messages = 50'000;
};

struct BridgeStats {
  std::uint64_t forwarded = 0;      // published at the far side
  std::uint64_t already_there = 0;  // found there, not sent again
  std::uint64_t filtered = 0;       // of a topic that is bridged, passed by
  std::uint64_t refused = 0;        // the far bus refuses the message as such
  std::uint64_t lost = 0;           // retention took them before they were read
  std::string last_error;           // why it waits; "" when it does not
};

class Bridge {
 public:
  // Both must outlive it.
  static Result<std::unique_ptr<Bridge>> create(Bus& from, Bus& to, BridgeOptions options);

  // One batch, waiting at most `wait_ns` for its first message; how many messages it had. After an error nothing of it is
  // acknowledged and the next step reads it again.
  Result<std::size_t> step(std::int64_t wait_ns);
  // Messages that wait at the near side, as far as the filter's topics tell.
  Result<std::uint64_t> waiting() const;
  // What the near side has at a moment: the newest publish time by topic; and whether the group has read all of that.
  using Mark = std::map<std::string, Timestamp, std::less<>>;
  Result<Mark> mark() const;
  Result<bool> has_reached(const Mark& mark) const;
  BridgeStats stats() const;
  void interrupt() { subscription_->interrupt(); }  // any thread

 private:
  using Partition = std::pair<std::string, std::uint32_t>;
  struct FarTopic {
    bool tail_known = false;
    std::unordered_set<std::uint64_t> tail;  // low halves of the hashes of its newest messages
  };

  Bridge(Bus& from, Bus& to, BridgeOptions options) : from_(from), to_(to), options_(std::move(options)) {}
  Status forward(std::span<const InMessage> messages);
  Result<FarTopic*> far_topic(const std::string& topic);
  Status read_tail(const std::string& topic, FarTopic& far);
  Result<bool> is_there(const InMessage& message);
  Status publish(std::span<const InMessage> messages, std::span<const OutMessage> out);
  template <class F>
  void update(F change);

  Bus& from_;
  Bus& to_;
  BridgeOptions options_;
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<Publisher> publisher_;
  std::map<std::string, FarTopic, std::less<>> far_;
  // How many messages of a partition are still doubtful: read for the first time since the start or the last error.
  std::map<Partition, std::size_t, std::less<>> doubtful_;
  mutable std::mutex mutex_;  // guards stats_
  BridgeStats stats_;
};

}  // namespace utp
