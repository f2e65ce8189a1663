#include "drivers/bus/redis/redis_bus.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "core/log.h"
#include "drivers/bus/redis/publisher.h"
#include "drivers/bus/redis/server.h"
#include "drivers/bus/redis/subscription.h"
#include "model/envelope.h"

namespace utp {
namespace redis_bus {
namespace {

class RedisBus final : public Bus {
 public:
  explicit RedisBus(std::shared_ptr<Server> server)
      : server_(std::move(server)), connection_(server_->options(), server_->nodes()) {}
  ~RedisBus() override {
    {
      std::lock_guard lock(janitor_mutex_);
      stopping_ = true;
    }
    janitor_wakes_.notify_one();
    if (janitor_.joinable()) janitor_.join();
  }

  Status start() {
    UTP_CHECK(connection_.ensure());
    UTP_CHECK(server_->choose_keys());
    if (server_->options().trim_every_ns > 0) janitor_ = std::thread([this] { run_janitor(); });
    return {};
  }

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    UTP_CHECK(check_topic(topic));
    std::lock_guard lock(mutex_);
    UTP_CHECK(server_->create_topic(connection_, topic, options, true));
    return {};
  }

  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override;

  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    return RedisSubscription::open(server_, options);
  }

  Result<std::vector<TopicStats>> stats(std::string_view pattern) override;

  Status trim() override {
    std::lock_guard lock(mutex_);
    return trim_all(connection_);
  }

  Status delete_group(std::string_view group) override {
    std::lock_guard lock(mutex_);
    UTP_TRY(const auto records, server_->topics(connection_));
    for (const TopicRecord& record : records) {
      for (std::uint32_t p = 0; p < record.options.partitions; ++p) {
        connection_.add(Script::kForget, server_->keys().stream(record.topic, p), {group});
      }
    }
    connection_.add({"DEL", server_->keys().members(group)});
    UTP_TRY(auto replies, connection_.run_all());
    for (auto& reply : replies) {
      if (!reply) return fail(std::move(reply.error()));
    }
    return server_->announce(connection_, "group", group);
  }

 private:
  Status trim_all(Connection& connection) {
    UTP_TRY(const auto records, server_->topics(connection));
    Status first;
    for (const TopicRecord& record : records) {
      auto status = server_->trim_topic(connection, record);
      if (!status && first) first = std::move(status);
    }
    return first;
  }

  void run_janitor() {
    Connection connection(server_->options(), server_->nodes());
    const auto pause = std::chrono::nanoseconds(server_->options().trim_every_ns);
    bool is_failing = false;
    std::unique_lock lock(janitor_mutex_);
    while (!janitor_wakes_.wait_for(lock, pause, [this] { return stopping_; })) {
      lock.unlock();
      const auto trimmed = trim_all(connection);
      if (!trimmed && !is_failing)
        log::warn("retention cannot be applied; it is tried again", {{"reason", trimmed.error().message}});
      is_failing = !trimmed;
      lock.lock();
    }
  }

  std::shared_ptr<Server> server_;
  std::mutex mutex_;  // of connection_
  Connection connection_;
  std::mutex janitor_mutex_;
  std::condition_variable janitor_wakes_;
  bool stopping_ = false;
  std::thread janitor_;
};

Result<std::unique_ptr<Publisher>> RedisBus::publisher(const PublisherOptions& options) {
  if (options.durability == Durability::kInterval && options.interval_ns <= 0) {
    return fail(Code::kInvalidArgument, "publisher: interval_ns is " + std::to_string(options.interval_ns) +
                                            "; give a positive window, or durability commit");
  }
  std::lock_guard lock(mutex_);
  UTP_TRY(const Persistence persistence, persistence_of(connection_));
  if (persistence == Persistence::kNone) {
    return fail(Code::kUnsupported,
                connection_.place() +
                    ": the server forgets its data when it dies, so nothing published is safe; have it "
                    "keep an append-only file: appendonly yes, and appendfsync everysec or always");
  }
  if (persistence == Persistence::kUnknown) {
    log::warn(
        "the server does not say whether it keeps its data (CONFIG GET is not allowed); durability is as good as its "
        "settings",
        {{"server", connection_.place()}});
  }
  if (persistence == Persistence::kEverySecond && options.durability == Durability::kCommit) {
    log::info(
        "publishing with durability commit waits for the server's disk each time, a second or more; appendfsync always "
        "is faster here",
        {{"server", connection_.place()}});
  }
  return std::unique_ptr<Publisher>(std::make_unique<RedisPublisher>(server_, options, persistence));
}

Result<std::vector<TopicStats>> RedisBus::stats(std::string_view pattern) {
  UTP_CHECK(check_topic_pattern(pattern));
  std::lock_guard lock(mutex_);
  UTP_TRY(const auto records, server_->topics(connection_));
  std::vector<TopicStats> all;
  for (const TopicRecord& record : records) {
    if (!topic_matches(pattern, record.topic)) continue;
    TopicStats& topic = all.emplace_back();
    topic.topic = record.topic;
    topic.partitions = record.options.partitions;
    topic.retention_ns = record.options.retention_ns;
    topic.retention_bytes = server_->retention_bytes(record);
    for (std::uint32_t p = 0; p < record.options.partitions; ++p) {
      connection_.add(Script::kStats, server_->keys().stream(record.topic, p), {});
    }
    UTP_TRY(auto replies, connection_.run_all());
    const auto time = [](const redisReply* reply) { return Timestamp{static_cast<std::int64_t>(number(reply)) * 1'000'000}; };
    const auto earlier = [](Timestamp& oldest, Timestamp candidate) {
      if (candidate.ns != 0 && (oldest.ns == 0 || candidate < oldest)) oldest = candidate;
    };
    std::map<std::string, GroupStats, std::less<>> groups;
    for (auto& reply : replies) {
      if (!reply) return fail(std::move(reply.error()));
      const auto answer = items(reply->get());
      if (answer.size() < 6)
        return fail(Code::kInternal,
                    connection_.place() + ": the figures of topic " + record.topic + " are incomplete");
      topic.messages += number(answer[0]);
      topic.bytes += number(answer[1]);
      topic.published += number(answer[2]);
      topic.lost += number(answer[3]);
      earlier(topic.first_time, time(answer[4]));
      topic.last_time = std::max(topic.last_time, time(answer[5]));
      for (const redisReply* one : answer.subspan(6)) {
        const auto fields = items(one);
        if (fields.size() != 5) continue;
        GroupStats& group = groups[std::string(text(fields[0]))];
        group.group = text(fields[0]);
        group.lag += number(fields[1]);
        earlier(group.oldest_unread, time(fields[2]));
        group.trimmed_unread += number(fields[3]);
        if (!text(fields[4]).empty()) group.members.emplace_back(text(fields[4]));
      }
    }
    for (auto& [name, group] : groups) {
      std::sort(group.members.begin(), group.members.end());
      group.members.erase(std::unique(group.members.begin(), group.members.end()), group.members.end());
      topic.groups.push_back(std::move(group));
    }
  }
  return all;
}

}  // namespace
}  // namespace redis_bus

Result<std::unique_ptr<Bus>> open_redis_bus(const RedisBusOptions& options) {
  auto bus = std::make_unique<redis_bus::RedisBus>(std::make_shared<redis_bus::Server>(options));
  UTP_CHECK(bus->start());
  return std::unique_ptr<Bus>(std::move(bus));
}

}  // namespace utp
