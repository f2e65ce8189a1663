#include "drivers/bus/kafka/kafka_bus.h"

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "core/log.h"
#include "drivers/bus/kafka/note.h"
#include "drivers/bus/kafka/publisher.h"
#include "drivers/bus/kafka/server.h"
#include "drivers/bus/kafka/subscription.h"
#include "model/envelope.h"

namespace utp {
namespace kafka_bus {
namespace {

void keep_earlier(Timestamp& oldest, Timestamp candidate) {
  if (candidate.ns != 0 && (oldest.ns == 0 || candidate < oldest)) oldest = candidate;
}

struct Group {
  PerPartition<Committed> committed;
  std::vector<GroupMember> members;
};

class KafkaBus final : public Bus {
 public:
  explicit KafkaBus(std::shared_ptr<Server> server) : server_(std::move(server)) {
    if (server_->options().trim_every_ns > 0) janitor_ = std::thread([this] { run_janitor(); });
  }
  ~KafkaBus() override {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wakes_.notify_one();
    if (janitor_.joinable()) janitor_.join();
  }

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    UTP_CHECK(check_topic(topic));
    UTP_CHECK(server_->create_topic(topic, options, true));
    return {};
  }
  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    if (options.durability == Durability::kInterval && options.interval_ns <= 0) {
      return fail(Code::kInvalidArgument, "publisher: interval_ns is " + std::to_string(options.interval_ns) +
                                              "; give a positive window, or durability commit");
    }
    return std::unique_ptr<Publisher>(std::make_unique<KafkaPublisher>(server_, options));
  }
  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    return KafkaSubscription::open(server_, options);
  }
  Result<std::vector<TopicStats>> stats(std::string_view pattern) override;
  Status trim() override {
    UTP_TRY(const auto records, server_->topics());
    return server_->trim(records);
  }
  Status delete_group(std::string_view group) override {
    return server_->admin().delete_group(server_->group_name(group));
  }

 private:
  Result<std::map<std::string, Group>> groups(const std::vector<Partition>& partitions) const;
  void run_janitor();

  std::shared_ptr<Server> server_;
  std::mutex mutex_;
  std::condition_variable wakes_;
  bool stopping_ = false;
  std::thread janitor_;
};

void KafkaBus::run_janitor() {
  const auto pause = std::chrono::nanoseconds(server_->options().trim_every_ns);
  bool is_failing = false;
  std::unique_lock lock(mutex_);
  while (!wakes_.wait_for(lock, pause, [this] { return stopping_; })) {
    lock.unlock();
    const Status trimmed = trim();
    if (!trimmed && !is_failing)
      log::warn("retention cannot be applied; it is tried again", {{"reason", trimmed.error().message}});
    is_failing = !trimmed;
    lock.lock();
  }
}

// By the port's names.
Result<std::map<std::string, Group>> KafkaBus::groups(const std::vector<Partition>& partitions) const {
  const std::string& prefix = server_->options().prefix;
  UTP_TRY(auto all, server_->admin().groups());
  std::map<std::string, Group> groups;
  for (auto& [name, members] : all) {
    if (!name.starts_with(prefix) || server_->is_own_group(name)) continue;
    Group& group = groups[name.substr(prefix.size())];
    UTP_TRY(group.committed, server_->admin().committed(name, partitions));
    group.members = std::move(members);
  }
  return groups;
}

Result<std::vector<TopicStats>> KafkaBus::stats(std::string_view pattern) {
  UTP_CHECK(check_topic_pattern(pattern));
  UTP_TRY(auto records, server_->topics());
  std::erase_if(records, [&](const TopicRecord& record) { return !topic_matches(pattern, record.topic); });
  std::vector<Partition> partitions;
  for (const TopicRecord& record : records) {
    for (const Partition& partition : record.all()) partitions.push_back(partition);
  }
  UTP_TRY(const auto retention, server_->retention(records));
  UTP_TRY(const auto groups, this->groups(partitions));
  UTP_TRY(const auto marks, server_->watermarks(partitions));
  UTP_TRY(const auto bytes, server_->bytes(marks));
  UTP_TRY(const auto lost, server_->lost(partitions));
  // The messages whose times are told: the first, the last, and each group's next.
  PerPartition<std::set<std::int64_t>> wanted;
  for (const auto& [partition, at] : marks) {
    if (at.high <= at.low) continue;
    wanted[partition] = {at.low, at.high - 1};
    for (const auto& [name, group] : groups) {
      const auto committed = group.committed.find(partition);
      if (committed != group.committed.end() && committed->second.offset < at.high)
        wanted[partition].insert(std::max(at.low, committed->second.offset));
    }
  }
  UTP_TRY(auto times, server_->times(wanted));

  std::vector<TopicStats> all;
  for (const TopicRecord& record : records) {
    TopicStats& topic = all.emplace_back();
    topic.topic = record.topic;
    topic.partitions = record.partitions;
    if (const auto limits = retention.find(record.name); limits != retention.end()) {
      topic.retention_ns = limits->second.ms * 1'000'000;
      topic.retention_bytes = limits->second.partition_bytes * record.partitions;
    }
    std::map<std::string, GroupStats> of_topic;
    for (const Partition& partition : record.all()) {
      const auto mark = marks.find(partition);
      if (mark == marks.end()) continue;
      const Watermarks at = mark->second;
      topic.messages += static_cast<std::uint64_t>(at.high - at.low);
      topic.published += static_cast<std::uint64_t>(at.high);
      topic.bytes += bytes.at(partition);
      if (const auto found = lost.find(partition); found != lost.end()) {
        topic.lost += found->second;
        topic.published += found->second;
      }
      auto& of_partition = times[partition];
      if (at.high > at.low) {
        keep_earlier(topic.first_time, of_partition[at.low]);
        topic.last_time = std::max(topic.last_time, of_partition[at.high - 1]);
      }
      for (const auto& [name, group] : groups) {
        const auto committed = group.committed.find(partition);
        if (committed == group.committed.end()) continue;
        GroupStats& figures = of_topic[name];
        figures.group = name;
        const std::int64_t next = std::clamp(committed->second.offset, at.low, at.high);
        figures.lag += static_cast<std::uint64_t>(at.high - next);
        if (next < at.high) keep_earlier(figures.oldest_unread, of_partition[next]);
        figures.trimmed_unread +=
            Note::read(committed->second.note).trimmed +
            static_cast<std::uint64_t>(std::max<std::int64_t>(at.low - committed->second.offset, 0));
        for (const GroupMember& member : group.members) {
          if (std::find(member.partitions.begin(), member.partitions.end(), partition) != member.partitions.end())
            figures.members.push_back(member.name);
        }
      }
    }
    for (auto& [name, group] : of_topic) {
      std::sort(group.members.begin(), group.members.end());
      group.members.erase(std::unique(group.members.begin(), group.members.end()), group.members.end());
      topic.groups.push_back(std::move(group));
    }
  }
  return all;
}

}  // namespace
}  // namespace kafka_bus

Result<std::unique_ptr<Bus>> open_kafka_bus(const KafkaBusOptions& options) {
  UTP_TRY(auto server, kafka_bus::Server::open(options));
  return std::unique_ptr<Bus>(std::make_unique<kafka_bus::KafkaBus>(std::move(server)));
}

}  // namespace utp
