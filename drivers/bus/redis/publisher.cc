#include "drivers/bus/redis/publisher.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "bus/message_size.h"
#include "core/hash.h"
#include "model/envelope.h"

namespace utp::redis_bus {
namespace {

constexpr int kOpenTries = 4;                 // somebody removes the streams while we write
constexpr std::uint64_t kGrownPart = 16;     // a publisher lets the limit be overshot by a sixteenth
// An fsync of `everysec` begins within a second after the write, and a tenth for the server's timer.
constexpr auto kFsyncBegins = std::chrono::milliseconds(1200);
constexpr auto kFsyncLook = std::chrono::milliseconds(200);
constexpr auto kFsyncPatience = std::chrono::seconds(30);

}  // namespace

Result<Persistence> persistence_of(Connection& connection) {
  UTP_CHECK(connection.ensure());
  connection.add({"CONFIG", "GET", "appendonly"});
  connection.add({"CONFIG", "GET", "appendfsync"});
  UTP_TRY(auto replies, connection.run_all());
  for (auto& reply : replies) {
    if (!reply || items(reply->get()).size() != 2) return Persistence::kUnknown;
  }
  if (text(items(replies[0]->get())[1]) != "yes") return Persistence::kNone;
  const std::string_view fsync = text(items(replies[1]->get())[1]);
  return fsync == "always"     ? Persistence::kAlways
         : fsync == "everysec" ? Persistence::kEverySecond
                               : Persistence::kNone;
}

Status RedisPublisher::check(std::span<const OutMessage> messages) {
  UTP_CHECK(check_sizes(messages, kRedisBusKeyBytesMax));
  found_.assign(messages.size(), nullptr);
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    if (i > 0 && message.topic == messages[i - 1].topic) {
      found_[i] = found_[i - 1];
    } else if (const auto known = topics_.find(message.topic); known != topics_.end()) {
      found_[i] = known->second.get();
    } else {
      UTP_CHECK(check_topic(message.topic));
    }
  }
  return {};
}

Result<RedisPublisher::TopicLanes*> RedisPublisher::topic_lanes(std::string_view name) {
  if (const auto found = topics_.find(name); found != topics_.end()) return found->second.get();
  auto lanes = std::make_unique<TopicLanes>();
  UTP_TRY(lanes->record, server_->create_topic(connection_, name, server_->options().default_topic, false));
  take_epoch(lanes->record);
  for (std::uint32_t p = 0; p < lanes->record.options.partitions; ++p) {
    lanes->lanes.emplace_back().stream = server_->keys().stream(name, p);
  }
  return topics_.emplace(std::string(name), std::move(lanes)).first->second.get();
}

void RedisPublisher::drop_batch() {
  for (auto& [topic, lane] : used_) lane->messages.clear();
  used_.clear();
}

Status RedisPublisher::publish(std::span<const OutMessage> messages) {
  UTP_CHECK(check(messages));
  drop_batch();  // after an error half-way
  if (messages.empty()) return {};
  UTP_CHECK(connection_.ensure());
  TopicLanes* topic = nullptr;
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    if (found_[i] != nullptr) {
      topic = found_[i];
    } else if (topic == nullptr || topic->record.topic != message.topic) {
      UTP_TRY(topic, topic_lanes(message.topic));
    }
    const std::size_t count = topic->lanes.size();
    Lane& lane = topic->lanes[count == 1 ? 0 : hash64(message.key) % count];
    if (lane.messages.empty()) {
      lane.sent = 0;
      used_.emplace_back(topic, &lane);
    }
    lane.messages.push_back(&message);
    topic->bytes += message.key.size() + message.value.size();
  }
  unsynced_ = true;
  int tries = 0;
  for (bool more = true; more;) {
    if (tries++ == kOpenTries) {
      return fail(Code::kCorrupt, connection_.place() + ": the streams of " + used_.front().first->record.topic +
                                      " do not take the ids of this bus; another program writes there, or removes them");
    }
    bool gone = false;
    UTP_CHECK(open_lanes(gone));
    if (!gone) {
      const std::size_t before = left();
      UTP_CHECK(send_round(more, gone));
      if (left() < before) tries = 0;
    }
    if (!gone) continue;
    UTP_CHECK(make_again());
    more = true;
  }
  // The messages are in: whatever is wrong now is for the next publish to meet.
  for (auto& [used_topic, lane] : used_) (void)trim_if_grown(*used_topic);
  if (options_.durability != Durability::kCommit) return {};
  const std::string run = connection_.run();
  UTP_CHECK(wait_for_disk());
  if (run == connection_.run()) return {};
  return fail(Code::kUnavailable,
              connection_.place() + ": the server was started anew before its disk had the messages; repeat the call",
              true);
}

std::size_t RedisPublisher::left() const {
  std::size_t count = 0;
  for (const auto& [topic, lane] : used_) count += lane->messages.size() - lane->sent;
  return count;
}

void RedisPublisher::forget_lanes() {
  for (auto& [name, topic] : topics_) {
    for (Lane& lane : topic->lanes) lane.opened_in = 0;
  }
}

void RedisPublisher::take_epoch(const TopicRecord& record) {
  if (record.epoch == epoch_) return;
  forget_lanes();
  epoch_ = record.epoch;
}

std::uint32_t RedisPublisher::pack_of(const TopicLanes& topic) const {
  return std::max(topic.record.options.pack, topic.record.options.pack > 1 ? 1 : server_->options().pack);
}

// Somebody has emptied the server. The topics of the batch are made as this publisher knows them, or taken as another
// made them meanwhile.
Status RedisPublisher::make_again() {
  forget_lanes();
  for (auto& [topic, lane] : used_) {
    UTP_TRY(auto record, server_->create_topic(connection_, topic->record.topic, topic->record.options, false));
    take_epoch(record);
    if (record.options.partitions == topic->lanes.size()) {
      topic->record = std::move(record);
      continue;
    }
    drop_batch();
    topics_.erase(record.topic);
    return fail(Code::kUnavailable,
                connection_.place() + ": topic " + record.topic + " was made anew with " +
                    std::to_string(record.options.partitions) + " partitions; repeat the call",
                true);
  }
  return {};
}

// ---- what the server has to know of a lane once in each of its runs ----

void RedisPublisher::add_open(const TopicLanes& topic, const Lane& lane) {
  const bool earlier = lane.last_position != 0 && lane.last_run != connection_.run_number();
  connection_.add(Script::kOpen, {lane.stream, server_->keys().bus()},
                  {connection_.run(), lane.last_position != 0 ? id_of(lane.last_position) : "", earlier ? "1" : "0", "0", topic.record.created});
}

bool RedisPublisher::take_open(Lane& lane, std::string_view answer) {
  if (answer == "gone") return false;
  lane.next_id = std::string(answer) + "-*";
  lane.opened_in = connection_.run_number();
  lane.unsure = std::max<std::size_t>(lane.unsure, 1);
  lane.last_run = connection_.run_number();  // what was lost of an earlier one has been counted
  return true;
}

Status RedisPublisher::open_lanes(bool& gone) {
  std::vector<Lane*> opened;
  for (auto& [topic, lane] : used_) {
    if (lane->opened_in == connection_.run_number()) continue;
    add_open(*topic, *lane);
    opened.push_back(lane);
  }
  if (opened.empty()) return {};
  UTP_TRY(auto replies, connection_.run_all());
  for (std::size_t i = 0; i < replies.size(); ++i) {
    if (!replies[i]) return fail(std::move(replies[i].error()));
    if (!take_open(*opened[i], text(replies[i]->get()))) gone = true;
  }
  return {};
}

// ---- afterwards ----

Status RedisPublisher::trim_if_grown(TopicLanes& topic) {
  const auto limit_of = [&](const TopicOptions& o) {
    return o.retention_bytes != 0 ? o.retention_bytes : server_->options().retention_bytes;
  };
  if (topic.bytes < limit_of(topic.record.options) / kGrownPart) return {};
  topic.bytes = 0;
  UTP_TRY(auto record, server_->create_topic(connection_, topic.record.topic, topic.record.options, false));
  take_epoch(record);
  if (record.options.partitions != topic.lanes.size()) return {};  // made anew: the next publish finds out
  topic.record = std::move(record);
  return server_->trim_topic(connection_, topic.record);
}

// The server of today has no command to wait for its disk (WAITAOF came with 7.2). `everysec` begins an fsync at most a
// second after a write; one that began before it may still be running, then the next one follows at once.
Status RedisPublisher::wait_for_disk() {
  if (!unsynced_) return {};
  if (persistence_ == Persistence::kEverySecond) {
    std::this_thread::sleep_for(kFsyncBegins);
    const auto end = std::chrono::steady_clock::now() + kFsyncPatience;
    for (int quiet = 0; quiet < 2;) {
      UTP_CHECK(connection_.ensure());
      connection_.add({"INFO", "persistence"});
      UTP_TRY(const Reply info, connection_.run_one());
      if (text(info.get()).find("aof_pending_bio_fsync:0") != std::string_view::npos) ++quiet;
      if (std::chrono::steady_clock::now() > end) {
        return fail(Code::kUnavailable,
                    connection_.place() + ": the server's disk has not taken what was published; repeat the call",
                    true);
      }
      if (quiet < 2) std::this_thread::sleep_for(kFsyncLook);
    }
  }
  unsynced_ = false;
  return {};
}

Status RedisPublisher::sync() {
  UTP_CHECK(connection_.ensure());
  // What a restart of the server took of ours is counted now, not with the next message.
  for (auto& [name, topic] : topics_) {
    for (Lane& lane : topic->lanes) {
      if (lane.last_position == 0 || lane.opened_in == connection_.run_number()) continue;
      add_open(*topic, lane);
      UTP_TRY(const Reply reply, connection_.run_one());
      (void)take_open(lane, text(reply.get()));
    }
  }
  return wait_for_disk();
}

}  // namespace utp::redis_bus
