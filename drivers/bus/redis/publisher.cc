#include "drivers/bus/redis/publisher.h"

#include <hiredis/hiredis.h>

#include <chrono>
#include <thread>

#include "core/hash.h"
#include "model/envelope.h"

namespace utp::redis_bus {
namespace {

// One script call holds up everybody else on the server: about a millisecond.
constexpr std::size_t kBatchMessages = 500;
constexpr std::size_t kBatchBytes = 1 << 20;
constexpr std::size_t kSendBytes = 4 << 20;  // of a pipeline over several partitions
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

Status RedisPublisher::check(std::span<const OutMessage> messages) const {
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    const auto refuse = [&](std::string_view what, std::size_t size, std::size_t max) {
      return fail(Code::kInvalidArgument, "message " + std::to_string(i) + " for " + std::string(message.topic) +
                                              ": its " + std::string(what) + " has " + std::to_string(size) +
                                              " bytes, at most " + std::to_string(max) + " are allowed");
    };
    if (message.value.size() > kEnvelopeBytesMax) return refuse("envelope", message.value.size(), kEnvelopeBytesMax);
    if (message.key.size() > kRedisBusKeyBytesMax) return refuse("key", message.key.size(), kRedisBusKeyBytesMax);
    if (i > 0 && message.topic == messages[i - 1].topic) continue;
    if (topics_.find(message.topic) == topics_.end()) UTP_CHECK(check_topic(message.topic));
  }
  return {};
}

Result<RedisPublisher::TopicLanes*> RedisPublisher::topic_lanes(std::string_view name) {
  if (const auto found = topics_.find(name); found != topics_.end()) return found->second.get();
  auto lanes = std::make_unique<TopicLanes>();
  UTP_TRY(lanes->record, server_->create_topic(connection_, name, server_->options().default_topic, false));
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
  for (const OutMessage& message : messages) {
    if (topic == nullptr || topic->record.topic != message.topic) {
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
  for (bool more = true; more;) {
    bool gone = false;
    UTP_CHECK(send_round(more, gone));
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

// Somebody has emptied the server. The topics of the batch are made as this publisher knows them, or taken as another
// made them meanwhile.
Status RedisPublisher::make_again() {
  for (auto& [topic, lane] : used_) {
    UTP_TRY(auto record, server_->create_topic(connection_, topic->record.topic, topic->record.options, false));
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

void RedisPublisher::add_batch(const TopicLanes& topic, Lane& lane, std::size_t end) {
  static thread_local std::vector<std::string_view> arguments;
  arguments.clear();
  arguments.push_back(connection_.run());
  arguments.push_back(lane.last_run == connection_.run() ? std::string_view() : std::string_view(lane.last_id));
  arguments.push_back("0");
  arguments.push_back(topic.record.created);
  for (; lane.sent < end; ++lane.sent) {
    arguments.push_back(lane.messages[lane.sent]->key);
    arguments.push_back(lane.messages[lane.sent]->value);
  }
  connection_.add(Script::kPublish, lane.stream, arguments);
}

// One batch of each partition, all in one pipeline. A partition's next batch waits for the answer to this one: what
// follows a refused message must not come before its repetition.
Status RedisPublisher::send_round(bool& more, bool& gone) {
  struct Sent {
    Lane* lane;
    std::size_t first;
  };
  std::vector<Sent> sent;
  more = false;
  for (auto& [topic, lane] : used_) {
    if (lane->sent == lane->messages.size()) continue;
    if (connection_.pending_bytes() >= kSendBytes) {
      more = true;
      break;
    }
    std::size_t end = lane->sent;
    for (std::size_t bytes = 0; end < lane->messages.size() && end - lane->sent < kBatchMessages; ++end) {
      bytes += lane->messages[end]->key.size() + lane->messages[end]->value.size();
      if (bytes > kBatchBytes && end > lane->sent) break;
    }
    sent.push_back({lane, lane->sent});
    add_batch(*topic, *lane, end);
    more |= end < lane->messages.size();
  }
  if (sent.empty()) return {};
  UTP_TRY(auto replies, connection_.run_all());
  for (std::size_t i = 0; i < replies.size(); ++i) {
    if (!replies[i]) return fail(std::move(replies[i].error()));
    const std::string_view last = text(replies[i]->get());
    Lane& lane = *sent[i].lane;
    if (last == "gone") {
      lane.sent = sent[i].first;
      gone = true;
      continue;
    }
    lane.last_id = last;
    lane.last_run = connection_.run();
  }
  return {};
}

Status RedisPublisher::trim_if_grown(TopicLanes& topic) {
  const auto limit_of = [&](const TopicOptions& o) {
    return o.retention_bytes != 0 ? o.retention_bytes : server_->options().retention_bytes;
  };
  if (topic.bytes < limit_of(topic.record.options) / kGrownPart) return {};
  topic.bytes = 0;
  UTP_TRY(topic.record, server_->create_topic(connection_, topic.record.topic, topic.record.options, false));
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
      if (lane.last_id.empty() || lane.last_run == connection_.run()) continue;
      connection_.add(Script::kPublish, lane.stream, {connection_.run(), lane.last_id, "0", topic->record.created});
      UTP_CHECK(connection_.run_one());
      lane.last_id.clear();
    }
  }
  return wait_for_disk();
}

}  // namespace utp::redis_bus
