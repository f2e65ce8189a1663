#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "bus/rebalance.h"
#include "drivers/bus/embedded/directory.h"

namespace utp::embedded_bus {

class EmbeddedSubscription final : public Subscription {
 public:
  static Result<std::unique_ptr<Subscription>> open(std::shared_ptr<Directory> directory, SubscriptionOptions options);
  ~EmbeddedSubscription() override;

  Result<std::span<const InMessage>> poll(std::size_t messages_max, std::size_t bytes_max, std::int64_t timeout_ns) override;
  Status acknowledge(std::string_view topic, std::uint32_t partition, std::uint64_t position) override;
  Status rewind() override;
  std::vector<LostRange> take_lost() override;
  void interrupt() override;

 private:
  struct Cursor {
    std::shared_ptr<Topic> topic;
    std::shared_ptr<Partition> partition;
    std::shared_ptr<Environment> segment;  // that holds `next`, once read from
    SegmentName segment_name;
    std::uint64_t generation = 0;    // of the segments' list when that was last found to be there still
    std::uint64_t next = 1;          // position to read from
    std::uint64_t next_count = 0;    // messages ever published before it
    std::uint64_t next_lost = 0;     // messages ever lost before it
    std::uint64_t acknowledged = 0;
    std::uint64_t start = 1;         // without a group: where rewind() goes
    std::uint64_t verified = 0;      // key of the block whose checksum was last found right
    // With a group:
    bool held = false;
    bool handing_over = false;       // another member's by now; given up when all delivered is acknowledged
    std::uint64_t epoch = 0;
    std::uint64_t delivered = 0;     // highest position given out since the last rewind
    std::vector<Pass> passes;
    bool open_pass = false;          // the last pass is the one at hand, written ahead
    bool suspicious = false;         // deliveries are written down first: the owner before died holding it
    std::uint64_t lost = 0;          // not yet taken by take_lost()
  };
  struct Chunk {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };

  EmbeddedSubscription(std::shared_ptr<Directory> directory, SubscriptionOptions options)
      : directory_(std::move(directory)), options_(std::move(options)) {}
  bool in_group() const { return !options_.group.empty(); }
  Status find_topics(bool at_start);
  Status place(Cursor& cursor, std::uint64_t position);
  Result<std::uint64_t> start_position(Partition& partition) const;

  Status maintain();
  Status try_maintain();
  Status maintain_cursor(CursorStore::Change& change, Cursor& cursor, const std::vector<LiveMember>& live,
                         std::int64_t now, bool& released);
  void collect_trimmed();
  void end_pass(Cursor& cursor);
  Status write_passes();

  Status read_some(std::size_t messages_max, std::size_t bytes_max, bool force);
  Status read_cursor(Cursor& cursor, std::size_t messages_max, std::size_t bytes_max, std::size_t& bytes);
  Result<bool> read_segment(Cursor& cursor, std::size_t messages_max, std::size_t bytes_max, std::size_t& bytes);
  Result<bool> enter_segment(Cursor& cursor);
  std::string_view keep(std::string_view key_and_value);
  void wait(std::uint32_t sequence, std::int64_t timeout_ns);

  std::shared_ptr<Directory> directory_;
  SubscriptionOptions options_;
  std::vector<std::unique_ptr<Cursor>> cursors_;
  std::size_t turn_ = 0;  // the cursor to read first, so that no partition starves
  std::uint32_t topics_seen_ = 0;
  std::uint32_t groups_seen_ = 0;
  std::int64_t next_maintenance_ns_ = 0;
  std::atomic<bool> interrupted_{false};

  std::vector<InMessage> messages_;
  bool pending_ = false;        // messages_ were read, and their poll() failed: the next one gives them
  std::vector<Chunk> chunks_;   // what messages_ view; reused
  std::size_t chunk_ = 0;
  std::size_t chunk_used_ = 0;
};

}  // namespace utp::embedded_bus
