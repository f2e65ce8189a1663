#include "drivers/bus/embedded/publisher.h"

#include "bus/message_size.h"
#include "core/hash.h"
#include "model/envelope.h"

namespace utp::embedded_bus {

Status EmbeddedPublisher::check(std::span<const OutMessage> messages) const {
  UTP_CHECK(check_sizes(messages, kEmbeddedBusKeyBytesMax));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    if (i > 0 && message.topic == messages[i - 1].topic) continue;
    if (topics_.find(message.topic) == topics_.end()) UTP_CHECK(check_topic(message.topic));
  }
  return {};
}

Result<EmbeddedPublisher::TopicLanes*> EmbeddedPublisher::topic_lanes(std::string_view name) {
  if (const auto found = topics_.find(name); found != topics_.end()) return found->second.get();
  UTP_TRY(const auto topic, directory_->create_topic(name, directory_->options().default_topic));
  auto lanes = std::make_unique<TopicLanes>();
  lanes->name = name;
  for (const auto& partition : topic->partitions) lanes->lanes.push_back({partition, {}, 0});
  return topics_.emplace(std::string(name), std::move(lanes)).first->second.get();
}

Status EmbeddedPublisher::publish(std::span<const OutMessage> messages) {
  UTP_CHECK(directory_->take_background_error());
  UTP_CHECK(check(messages));
  for (auto& [topic, lane] : used_) lane->messages.clear();  // after an error half-way
  used_.clear();
  TopicLanes* topic = nullptr;
  for (const OutMessage& message : messages) {
    if (topic == nullptr || topic->name != message.topic) {
      UTP_TRY(topic, topic_lanes(message.topic));
    }
    const std::size_t count = topic->lanes.size();
    Lane& lane = topic->lanes[count == 1 ? 0 : hash64(message.key) % count];
    if (lane.messages.empty()) used_.emplace_back(topic, &lane);
    lane.messages.push_back(&message);
  }
  for (auto& [lane_topic, lane] : used_) UTP_CHECK(append(*lane_topic, *lane));
  if (options_.durability == Durability::kCommit) {
    for (auto& [lane_topic, lane] : used_) UTP_CHECK(lane->partition->sync());
  }
  return {};
}

Status EmbeddedPublisher::append(TopicLanes& topic, Lane& lane) {
  Partition& partition = *lane.partition;
  if (partition.at_limit.load(std::memory_order_relaxed)) {
    UTP_TRY(const bool full, directory_->is_full(topic.name, partition));
    partition.at_limit.store(full);
    if (full) {
      return fail(Code::kFull, partition.directory() + ": has reached its limit of bytes with messages that a group has not "
                               "acknowledged; let the group catch up or raise the topic's retention_bytes, then repeat", true);
    }
  }
  const bool interval = options_.durability == Durability::kInterval;
  UTP_TRY(const auto appended,
          partition.append(lane.messages, directory_->clock().now(), interval, directory_->clock().monotonic_ns()));
  lane.last_position = appended.last_position;
  lane.messages.clear();
  directory_->wake();
  if (interval) {
    directory_->sync_later(lane.partition, options_.interval_ns);
    if (partition.is_reservation_low()) directory_->reserve_later(lane.partition);
  }
  if (appended.rolled && !directory_->keep_unread()) directory_->trim_later(topic.name);
  // The messages are in the log: whatever is wrong with the limit is for the next publish to meet.
  if (appended.rolled && directory_->keep_unread()) partition.at_limit.store(directory_->is_full(topic.name, partition).value_or(true));
  return {};
}

Status EmbeddedPublisher::sync() {
  UTP_CHECK(directory_->take_background_error());
  for (const auto& [name, topic] : topics_) {
    for (const Lane& lane : topic->lanes) {
      if (lane.last_position > lane.partition->state().sync.position.load()) UTP_CHECK(lane.partition->sync());
    }
  }
  return {};
}

}  // namespace utp::embedded_bus
