// Bus: the port that every message bus implements (drivers/bus/<x>/). One contract suite (bus/contract_suite.h) runs
// against every driver.
//
// Contract
// - publish() returns when the messages have the configured durability. kCommit: they survive power loss. kInterval: they
//   survive the death of any process at once, and power loss after at most `interval_ns`; what power loss took is detected
//   at the next open and counted in TopicStats::lost.
// - Delivery is at least once. Order holds per topic and key. A failed publish may have been delivered in part or whole: the
//   caller repeats it, readers deduplicate by the envelope's idempotency key. A failed poll() loses nothing: what it had read
//   comes with the next one.
// - A topic has a number of partitions, fixed when it is created; a message goes to hash64(key) % partitions.
// - Within a group each partition belongs to one member at a time, under a lease. A member that lost its lease gets kFenced
//   from acknowledge() and no further messages of that partition. Without a group a subscription reads everything on its own
//   and acknowledges nothing.
// - Acknowledgement is cumulative per partition: it covers every message up to the position. What is not acknowledged is
//   delivered again, in order, to whoever owns the partition next, or after rewind().
// - A new group starts where Start says; one that exists goes on from its acknowledged position.
// - Retention removes the oldest messages by age and by size, size winning. What a group had not acknowledged by then is
//   counted in GroupStats::trimmed_unread and reported once by Subscription::take_lost().
//
// Threads: a Bus may be used from several threads. A Publisher or Subscription belongs to one thread at a time;
// Subscription::interrupt() may be called from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/clock.h"
#include "core/result.h"

namespace utp {

enum class Durability : std::uint8_t { kCommit, kInterval };

struct TopicOptions {
  std::uint32_t partitions = 1;
  std::int64_t retention_ns = 0;      // 0 = no limit by age
  std::uint64_t retention_bytes = 0;  // 0 = the bus's default limit
};

struct OutMessage {
  std::string_view topic;
  std::string_view key;    // the symbol; decides the partition
  std::string_view value;  // at most kEnvelopeBytesMax
};

struct InMessage {
  std::string_view topic;
  std::uint32_t partition = 0;
  std::uint64_t position = 0;  // grows within a partition; steps may be larger than 1
  Timestamp publish_time;
  std::uint32_t attempt = 1;   // deliveries of this message to the group, 1 = the first; a lower bound after a take-over
  std::string_view key;
  std::string_view value;
};

struct PublisherOptions {
  Durability durability = Durability::kCommit;
  std::int64_t interval_ns = 100'000'000;  // kInterval: the stated window
};

class Publisher {
 public:
  virtual ~Publisher() = default;
  // Appends in order. Topics that do not exist are created with the options given to Bus::configure_topic, or the defaults.
  // Code::kFull when a size or disk limit is reached (retryable), kUnavailable when the server is away (retryable),
  // kInvalidArgument for a bad topic or an oversized message (nothing was published then).
  [[nodiscard]] virtual Status publish(std::span<const OutMessage> messages) = 0;
  // kInterval: everything published so far is made to survive power loss.
  [[nodiscard]] virtual Status sync() = 0;
};

struct Start {
  enum class Kind : std::uint8_t { kEarliest, kLatest, kTime };
  Kind kind = Kind::kEarliest;
  Timestamp time;  // kTime: messages published at or after it
};

struct SubscriptionOptions {
  std::vector<std::string> patterns;  // topics or wildcards; topics created later are picked up
  std::string group;                  // "" = no group
  std::string member;                 // name of this member, unique in the group; "" = made up
  Start start;                        // where a new group (or a subscription without one) begins
  std::int64_t lease_ns = 10'000'000'000;
};

// A range of messages that retention or a loss took before this subscription read them.
struct LostRange {
  std::string topic;
  std::uint32_t partition = 0;
  std::uint64_t count = 0;
};

class Subscription {
 public:
  virtual ~Subscription() = default;
  // Waits until at least one message is there, the time is over (an empty span) or interrupt() (kCancelled). Views are valid
  // until the next call of poll(), rewind() or the destructor.
  [[nodiscard]] virtual Result<std::span<const InMessage>> poll(std::size_t messages_max, std::size_t bytes_max,
                                                                std::int64_t timeout_ns) = 0;
  // Everything of this partition up to and including `position` is done.
  [[nodiscard]] virtual Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) = 0;
  // The next poll() starts again behind what was acknowledged.
  [[nodiscard]] virtual Status rewind() = 0;
  virtual std::vector<LostRange> take_lost() = 0;
  virtual void interrupt() = 0;
};

struct GroupStats {
  std::string group;
  std::uint64_t lag = 0;              // messages not yet acknowledged
  Timestamp oldest_unread;            // publish time of the oldest of them; 0 when none
  std::uint64_t trimmed_unread = 0;   // removed by retention before the group acknowledged them
  std::vector<std::string> members;   // that hold a lease now
};

struct TopicStats {
  std::string topic;
  std::uint32_t partitions = 1;
  std::int64_t retention_ns = 0;      // as configured; 0 = no limit by age
  std::uint64_t retention_bytes = 0;  // in force: the bus's default where none was configured
  std::uint64_t messages = 0;  // stored now
  std::uint64_t bytes = 0;     // on disk or in the server, as far as it says
  std::uint64_t published = 0; // ever
  std::uint64_t lost = 0;      // acknowledged to publishers, then lost by power loss
  Timestamp first_time, last_time;  // publish times of the oldest and newest message
  std::vector<GroupStats> groups;
};

class Bus {
 public:
  virtual ~Bus() = default;
  // Fixes partitions at creation (a different number later is kAlreadyExists); retention may change at any time.
  [[nodiscard]] virtual Status configure_topic(std::string_view topic, const TopicOptions& options) = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) = 0;
  [[nodiscard]] virtual Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) = 0;
  [[nodiscard]] virtual Result<std::vector<TopicStats>> stats(std::string_view pattern) = 0;
  // Retention now, for every topic, also after an error in one (the first is returned); a process that has the bus open does
  // this by itself from time to time.
  [[nodiscard]] virtual Status trim() = 0;
  [[nodiscard]] virtual Status delete_group(std::string_view group) = 0;
};

}  // namespace utp
