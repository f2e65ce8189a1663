// Persister::Batch: messages copied from the bus and what became of each. Internal to src/persist.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "persist/persister.h"

namespace utp {

// Owns the bytes of its messages, so that a later poll does not touch them. Reused from batch to batch.
class Persister::Batch {
 public:
  struct Message {
    std::size_t range = 0;  // index into ranges()
    std::uint64_t position = 0;
    std::uint32_t attempt = 1;
    Timestamp publish_time;
    std::string_view key;    // into blocks_
    std::string_view value;
  };
  // A partition that the batch touches, acknowledged up to `last`.
  struct Range {
    std::string topic;
    std::uint32_t partition = 0;
    std::uint64_t last = 0;
  };
  struct Refused {
    std::size_t message = 0;
    Violation violation;
  };

  void clear();
  // Copies and decodes; `now_ns` is kept as the age of the batch when it was empty.
  void append(std::span<const InMessage> messages, EventReader& reader, std::int64_t now_ns);

  std::size_t size() const { return messages_.size(); }
  std::size_t bytes() const { return bytes_; }
  std::int64_t first_ns() const { return first_ns_; }
  std::span<const Event* const> to_store() const { return to_store_; }
  std::span<const Plan* const> plans() const { return plans_; }  // of the events to store
  std::span<const Range> ranges() const { return ranges_; }
  std::size_t skipped() const { return skipped_; }
  Timestamp newest_event_time() const { return newest_event_time_; }
  bool committed() const { return commit_time.ns != 0; }

  // What could not be read, then what the store named, in the order of the bus, until `take` says false.
  template <class F>
  void for_each_letter(F take) const;

  std::unique_ptr<ReadyEvents> ready;  // of to_store() when is_ready; else for reuse
  bool is_ready = false;
  WriteResult result;
  Timestamp commit_time;  // 0 until write() succeeded
  std::size_t letters_taken = 0;  // by write_dead_letters(): have a place, the DLQ topic or the overflow

 private:
  std::size_t range_of(const InMessage& message);
  DeadLetter letter(std::size_t message) const;
  std::string_view keep(std::string_view bytes);
  void decode(std::size_t message, EventReader& reader);

  struct Block {
    std::unique_ptr<char[]> bytes;
    std::size_t size = 0;
  };
  std::vector<Block> blocks_;  // never moved while the batch is in use
  std::size_t block_ = 0;      // in use
  std::size_t used_ = 0;       // bytes of it
  std::size_t bytes_ = 0;
  std::int64_t first_ns_ = 0;
  std::vector<Message> messages_;
  std::vector<Range> ranges_;
  std::deque<Event> events_;   // grows to the largest batch; slots stay where they are and are reused
  std::vector<const Event*> to_store_;
  std::vector<const Plan*> plans_;
  std::vector<std::size_t> stored_message_;  // message of each of to_store_
  std::vector<Refused> refused_;
  std::size_t skipped_ = 0;
  Timestamp newest_event_time_;
};

template <class F>
void Persister::Batch::for_each_letter(F take) const {
  std::size_t row = 0;
  bool wanted = true;
  const auto take_rows_before = [&](std::size_t message) {
    for (; wanted && row < result.errors.size() && stored_message_[result.errors[row].index] < message; ++row) {
      const RowError& error = result.errors[row];
      const std::size_t at = stored_message_[error.index];
      DeadLetter l = letter(at);
      l.stage = DeadLetterStage::kStore;
      l.code = to_string(error.error.code);
      l.message = error.error.message;
      l.connector = to_store_[error.index]->envelope.source_id;
      l.event_type = to_store_[error.index]->envelope.event_type;
      wanted = take(l);
    }
  };
  for (const Refused& refused : refused_) {
    take_rows_before(refused.message);
    if (!wanted) return;
    DeadLetter l = letter(refused.message);
    l.stage = DeadLetterStage::kRead;
    l.code = refused.violation.code;
    l.path = refused.violation.path;
    l.message = refused.violation.message;
    wanted = take(l);
  }
  take_rows_before(messages_.size());
}

}  // namespace utp
