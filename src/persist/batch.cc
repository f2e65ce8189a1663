#include "persist/batch.h"

#include <algorithm>
#include <cstring>

namespace utp {
namespace {

// A row that held more than this gives its memory back: slots are reused, and each would grow to the largest book otherwise.
constexpr std::size_t kLargeMessageBytes = 16 * 1024;
constexpr std::size_t kBlockBytes = 1u << 20;

}  // namespace

void Persister::Batch::clear() {
  for (std::size_t i = 0; i < messages_.size(); ++i) {
    if (messages_[i].value.size() > kLargeMessageBytes) events_[i].row = Row();
  }
  block_ = used_ = bytes_ = 0;
  first_ns_ = 0;
  messages_.clear();
  ranges_.clear();
  to_store_.clear();
  plans_.clear();
  stored_message_.clear();
  refused_.clear();
  skipped_ = 0;
  newest_event_time_ = {};
  is_ready = false;
  result = {};
  commit_time = {};
  letters_taken = 0;
}

std::size_t Persister::Batch::range_of(const InMessage& message) {
  if (!messages_.empty()) {
    const Range& last = ranges_[messages_.back().range];
    if (last.partition == message.partition && last.topic == message.topic) return messages_.back().range;
  }
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (ranges_[i].partition == message.partition && ranges_[i].topic == message.topic) return i;
  }
  ranges_.push_back({std::string(message.topic), message.partition, 0});
  return ranges_.size() - 1;
}

std::string_view Persister::Batch::keep(std::string_view bytes) {
  while (block_ < blocks_.size() && blocks_[block_].size - used_ < bytes.size()) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t size = std::max(kBlockBytes, bytes.size());
    blocks_.push_back({std::make_unique_for_overwrite<char[]>(size), size});
  }
  char* out = blocks_[block_].bytes.get() + used_;
  if (!bytes.empty()) std::memcpy(out, bytes.data(), bytes.size());
  used_ += bytes.size();
  bytes_ += bytes.size();
  return {out, bytes.size()};
}

void Persister::Batch::append(std::span<const InMessage> messages, EventReader& reader, std::int64_t now_ns) {
  if (messages_.empty()) first_ns_ = now_ns;
  for (const InMessage& message : messages) {
    const std::size_t range = range_of(message);
    ranges_[range].last = std::max(ranges_[range].last, message.position);
    const std::string_view key = keep(message.key);
    messages_.push_back({range, message.position, message.attempt, message.publish_time, key, keep(message.value)});
    decode(messages_.size() - 1, reader);
  }
}

void Persister::Batch::decode(std::size_t message, EventReader& reader) {
  if (events_.size() <= message) events_.emplace_back();
  Event& event = events_[message];
  Violation violation;
  if (!reader.read(messages_[message].value, event, violation)) {
    refused_.push_back({message, std::move(violation)});
  } else if (event.row.plan().table().empty()) {
    ++skipped_;
  } else {
    const Plan* plan = &event.row.plan();
    if (std::find(plans_.rbegin(), plans_.rend(), plan) == plans_.rend()) plans_.push_back(plan);
    to_store_.push_back(&event);
    stored_message_.push_back(message);
    newest_event_time_ = std::max(newest_event_time_, event.envelope.event_time);
  }
}

DeadLetter Persister::Batch::letter(std::size_t message) const {
  const Message& m = messages_[message];
  DeadLetter letter;
  letter.attempts = m.attempt;
  letter.original = m.value;
  letter.origin_topic = ranges_[m.range].topic;
  letter.origin_partition = ranges_[m.range].partition;
  letter.origin_position = m.position;
  letter.receive_time = m.publish_time;
  letter.symbol = m.key;
  return letter;
}

}  // namespace utp
