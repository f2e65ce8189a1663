#pragma once

#include <atomic>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "bus/passes.h"
#include "bus/rebalance.h"
#include "drivers/bus/nats/feed.h"
#include "drivers/bus/nats/group_view.h"
#include "drivers/bus/nats/server.h"

namespace utp::nats_bus {

class NatsSubscription final : public Subscription {
 public:
  static Result<std::unique_ptr<Subscription>> open(std::shared_ptr<Server> server, SubscriptionOptions options);
  ~NatsSubscription() override;

  Result<std::span<const InMessage>> poll(std::size_t messages_max, std::size_t bytes_max, std::int64_t timeout_ns) override;
  Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) override;
  Status rewind() override;
  std::vector<LostRange> take_lost() override;
  void interrupt() override { interrupted_ = true; }

 private:
  struct Cursor {
    std::string topic, stream, subject;
    std::uint32_t partition = 0;
    std::uint32_t partitions = 1;  // of the topic, when it was found
    Lineage lineage;
    Feed feed;
    std::size_t buffered = 0;         // of fetched_
    std::int64_t retry_ns = 0;        // not before it is the feed opened again
    std::uint64_t fetched = 0;        // position of the last message that came from the server
    std::uint64_t reached = 0;        // the same as a sequence of the stream as it is now
    std::uint64_t acknowledged = 0;
    std::uint64_t delivered = 0;      // highest position given out since the last rewind
    std::uint64_t start = 0;          // without a group: where rewind() goes
    std::uint64_t lost = 0;           // without a group: not yet taken by take_lost()
    // With a group:
    bool held = false;
    bool handing_over = false;  // another member's by now; given up when all delivered is acknowledged
    std::int64_t next_look_ns = 0;  // at what was removed
    bool is_lost_due = false;   // there is a count that was not taken yet
    bool suspicious = false;    // deliveries are written down first: the owner before may have died of one
    std::string epoch;
    Passes passes;
  };
  struct Fetched {
    Cursor* cursor;
    Message message;
    InMessage view;
    std::uint64_t sequence = 0;
    std::uint64_t gone = 0;  // messages before it that were removed unread
  };

  NatsSubscription(std::shared_ptr<Server> server, SubscriptionOptions options)
      : server_(std::move(server)), options_(std::move(options)), view_(options_.member) {}
  bool in_group() const { return !options_.group.empty(); }
  bool reads(const Cursor& cursor) const { return !in_group() || (cursor.held && !cursor.handing_over); }

  Status connect();
  Status find_topics(bool at_start);
  Status add_topic(const std::string& topic, bool at_start);
  Result<std::uint64_t> place_new(const Cursor& cursor, bool at_start);
  void drop_fetched(Cursor& cursor);
  Status set_lineage(Cursor& cursor);

  Status open_feed(Cursor& cursor);
  Status open_watches();
  Status ask(bool wait);
  Status ask_ahead();
  bool is_looking() const;
  // Takes what has come; waits for the first of it.
  Status pump(std::int64_t timeout_ns);
  Status drop_trimmed();
  void reopen_asking();
  Status take_message(Message message);
  Status take_entry(Cursor& cursor, const Delivery& delivery, Message message);
  void deliver(std::size_t messages_max, std::size_t bytes_max);

  Status maintain();
  Status heartbeat();
  Status settle(Cursor& cursor, bool mine);
  Status take_over(Cursor& cursor, const GroupRecord& before);
  std::vector<LiveMember> live_members();  // by name
  GroupKey group_key(const Cursor& cursor) const;
  Status refresh(const Cursor& cursor);
  // False when this member is not the owner any more.
  Result<bool> change(Cursor& cursor, const std::function<Status(GroupRecord&)>& edit);
  Result<bool> account(Cursor& cursor, const StreamFacts& facts, GroupRecord& record);
  void lose(Cursor& cursor);
  void end_pass(Cursor& cursor);
  Status write_passes();

  std::shared_ptr<Server> server_;
  SubscriptionOptions options_;
  std::atomic<bool> interrupted_{false};
  std::shared_ptr<Link> link_;
  std::unique_ptr<Inbox> inbox_;
  std::uint64_t feed_numbers_ = 0;
  std::vector<std::unique_ptr<Cursor>> cursors_;
  Feed topics_feed_, group_feed_;
  std::uint64_t topics_revision_ = 0;  // of the last entry on a new topic that was seen
  GroupView view_;
  bool is_view_whole_ = false;
  bool is_view_changed_ = false;
  bool is_unsent_ = false;  // the library may have kept back what was asked ahead
  std::int64_t next_look_ns_ = 0;  // at the topics
  std::int64_t pumped_ns_ = 0;
  std::int64_t next_maintenance_ns_ = 0;
  std::int64_t next_heartbeat_ns_ = 0;

  std::deque<Fetched> fetched_;            // from the server, not delivered yet
  std::vector<Message> kept_;              // what messages_ views
  std::deque<std::string> keys_;           // those of them that were not plain text
  std::vector<InMessage> messages_;
  bool pending_ = false;  // messages_ were taken, and their poll() failed: the next one gives them
};

}  // namespace utp::nats_bus
