#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "bus/passes.h"
#include "bus/rebalance.h"
#include "drivers/bus/redis/server.h"

namespace utp::redis_bus {

class RedisSubscription final : public Subscription {
 public:
  static Result<std::unique_ptr<Subscription>> open(std::shared_ptr<Server> server, SubscriptionOptions options);
  ~RedisSubscription() override;

  Result<std::span<const InMessage>> poll(std::size_t messages_max, std::size_t bytes_max,
                                          std::int64_t timeout_ns) override;
  Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) override;
  Status rewind() override;
  std::vector<LostRange> take_lost() override;
  void interrupt() override { interrupt_.raise(); }

 private:
  struct Cursor {
    std::string topic, created, stream;
    std::uint32_t partition = 0;
    std::uint64_t fetched = 0;  // position of the last message that came from the server
    std::uint64_t acknowledged = 0;
    std::uint64_t delivered = 0;  // highest position given out since the last rewind
    std::uint64_t start = 0;      // without a group: where rewind() goes
    std::uint64_t lost = 0;       // without a group: not yet taken by take_lost()
    // With a group:
    bool held = false;
    bool handing_over = false;  // another member's by now; given up when all delivered is acknowledged
    bool is_lost_due = false;   // the server has a count that was not taken yet
    bool suspicious = false;    // deliveries are written down first: the owner before may have died of one
    std::string epoch;
    Passes passes;
  };
  struct Fetched {
    Cursor* cursor;
    InMessage message;
  };

  RedisSubscription(std::shared_ptr<Server> server, SubscriptionOptions options)
      : server_(std::move(server)), options_(std::move(options)), connection_(server_->options(), server_->nodes()) {}
  bool in_group() const { return !options_.group.empty(); }
  bool reads(const Cursor& cursor) const { return !in_group() || (cursor.held && !cursor.handing_over); }
  Status find_topics(bool at_start);
  Result<std::uint64_t> place_new(const Cursor& cursor, bool at_start);
  void drop_fetched(Cursor& cursor);

  Status fetch(std::int64_t block_ns);
  void take_entry(Cursor& cursor, const redisReply* entry);
  void take_change(const redisReply* entry);
  void deliver(std::size_t messages_max, std::size_t bytes_max);

  Status maintain();
  void take_lease(Cursor& cursor, const redisReply* answer, bool& released);
  Result<std::vector<LiveMember>> live_members(bool& changed);
  void end_pass(Cursor& cursor);
  Status write_passes();

  std::shared_ptr<Server> server_;
  SubscriptionOptions options_;
  Connection connection_;
  Interrupt interrupt_;
  std::vector<std::unique_ptr<Cursor>> cursors_;
  std::string changes_id_;         // of the last change seen
  std::int64_t next_look_ns_ = 0;  // at the topics
  std::int64_t next_maintenance_ns_ = 0;

  Reply reply_;                            // what fetched_ and messages_ view
  std::deque<Fetched> fetched_;            // from the server, not delivered yet
  // Of the entries of late; large at first, so that no reply is huge.
  std::size_t average_bytes_ = 64 * 1024;
  std::size_t average_messages_ = 1;
  std::vector<InMessage> messages_;
  bool pending_ = false;  // messages_ were taken, and their poll() failed: the next one gives them
};

}  // namespace utp::redis_bus
