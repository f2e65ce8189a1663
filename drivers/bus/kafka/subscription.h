#pragma once

#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "drivers/bus/kafka/note.h"
#include "drivers/bus/kafka/server.h"

namespace utp::kafka_bus {

class KafkaSubscription final : public Subscription {
 public:
  static Result<std::unique_ptr<Subscription>> open(std::shared_ptr<Server> server, SubscriptionOptions options);
  ~KafkaSubscription() override;

  Result<std::span<const InMessage>> poll(std::size_t messages_max, std::size_t bytes_max,
                                          std::int64_t timeout_ns) override;
  Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) override;
  Status rewind() override;
  std::vector<LostRange> take_lost() override;
  void interrupt() override;

 private:
  // Counts are Kafka's offsets of what comes next, which are the port's positions of what came last.
  struct Cursor {
    std::string topic;
    Partition partition;
    std::uint64_t next = 0;       // delivered next
    std::uint64_t delivered = 0;  // highest position given out since the last rewind
    std::uint64_t low = 0;        // what was removed, as far as known
    std::uint64_t start = 0;      // without a group: where rewind() goes
    std::uint64_t lost = 0;       // without a group: not yet taken by take_lost()
    Timestamp delivered_time;     // of the last message given out
    // With a group:
    std::uint64_t acknowledged = 0;
    Note note;
    bool held = false;
    bool handing_over = false;  // given up when all delivered is acknowledged
    bool suspicious = false;    // deliveries are written down first: the owner before may have died of one
    bool is_kept = false;       // given up in order: where nobody else read meanwhile, it goes on as it was
    Note kept_note;
    std::string told_note;     // at its end
    bool is_note_due = false;  // the note is not in the cluster as it stands
    bool stopped = false;      // librdkafka reads it no longer: assigned anew, it does
    bool astray = false;       // what comes of it is not what is to be delivered next: reading on elsewhere is due
    std::deque<std::pair<std::uint64_t, Timestamp>>
        times;  // of positions delivered and not acknowledged, where it changes
  };
  struct Fetched {
    Cursor* cursor;
    Record record;
  };

  KafkaSubscription(std::shared_ptr<Server> server, SubscriptionOptions options)
      : server_(std::move(server)), options_(std::move(options)) {}
  bool in_group() const { return !options_.group.empty(); }
  bool reads(const Cursor& cursor) const {
    return !cursor.astray && (!in_group() || (cursor.held && !cursor.handing_over));
  }
  bool wants(const std::string& topic) const;
  int answer_ms() const { return millis(server_->options().answer_timeout_ns); }

  Status connect();
  Status find_topics(bool at_start);
  Status read_alone(const std::vector<TopicRecord>& found, bool at_start);
  Status subscribe_to(const std::vector<TopicRecord>& found);
  Status start_group(const std::vector<TopicRecord>& found);

  Cursor& cursor_of(const Partition& partition);
  static void rebalance(rd_kafka_t* rk, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list, void* self);
  void take(Record record);
  std::size_t take_batch(int timeout_ms, std::size_t max);
  void take_all();
  void take_error(const rd_kafka_message_t& record);
  Status bring_back();
  Status seek(const std::vector<Cursor*>& cursors);
  Status assign_anew();
  void find_place(Cursor& cursor, const Watermarks& marks, std::int64_t place);
  Status look_for_trimmed(const std::vector<Cursor*>& cursors);
  void note_trimmed(Cursor& cursor, std::uint64_t low);
  void drop_fetched(Cursor& cursor);
  bool is_look_due() const;
  Status deliver(std::size_t messages_max, std::size_t bytes_max);

  void take_over(Cursor& cursor, const rd_kafka_topic_partition_t& part, const PerPartition<std::int64_t>& places);
  Status take_assignment();
  void take_revocation();
  void hand_over(bool is_closing);
  Status commit(const std::vector<Cursor*>& cursors, std::int64_t patience_ns);
  Status commit_due_notes();
  static void end_pass(Cursor& cursor);
  static void note_acknowledged(Cursor& cursor, std::uint64_t position);
  Status write_passes();
  void leave();

  std::shared_ptr<Server> server_;
  SubscriptionOptions options_;
  Client client_;
  Queue queue_;
  std::atomic<bool> interrupted_{false};
  std::map<Partition, std::unique_ptr<Cursor>> cursors_;
  std::set<std::string> known_at_start_;  // names of topics: a topic that came later is read whole
  std::set<std::string> subscribed_;
  std::int64_t next_look_ns_ = 0;  // at the topics
  std::int64_t next_heartbeat_ns_ = 0;
  std::int64_t low_looked_at_ns_ = 0;  // at what was removed
  std::int64_t lease_ns_ = 0;

  List assigned_;  // by the group, and not yet taken
  List revoked_;   // by the group, and not yet given up
  std::int64_t hand_over_until_ns_ = 0;
  bool is_leaving_ = false;
  const rd_kafka_topic_t* last_topic_ = nullptr;  // the cursor of the last record, found without a search
  Cursor* last_cursor_ = nullptr;

  std::deque<Fetched> fetched_;  // from the cluster, not delivered yet
  std::vector<Fetched> out_;     // what messages_ views
  std::vector<InMessage> messages_;
  std::optional<Error> refused_;  // missing rights: the next poll() tells
  bool pending_ = false;  // messages_ were taken, and their poll() failed: the next one gives them
};

}  // namespace utp::kafka_bus
