#include "drivers/bus/nats/nats_bus.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "core/log.h"
#include "drivers/bus/nats/feed.h"
#include "drivers/bus/nats/group_view.h"
#include "drivers/bus/nats/publisher.h"
#include "drivers/bus/nats/server.h"
#include "drivers/bus/nats/subscription.h"
#include "model/envelope.h"

namespace utp {
namespace nats_bus {
namespace {

constexpr std::size_t kPrefixMax = 32;

class NatsBus final : public Bus {
 public:
  explicit NatsBus(std::shared_ptr<Server> server) : server_(std::move(server)) {}

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    UTP_CHECK(check_topic(topic));
    UTP_TRY(const auto link, server_->link());
    UTP_CHECK(server_->create_topic(*link, topic, options, true));
    return {};
  }

  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    if (options.durability == Durability::kInterval && options.interval_ns <= 0) {
      return fail(Code::kInvalidArgument, "publisher: interval_ns is " + std::to_string(options.interval_ns) +
                                              "; give a positive window, or durability commit");
    }
    UTP_TRY(const auto link, server_->link());
    if (server_->options().replicas == 1 && !is_told_.exchange(true)) {
      log::warn("the server does not tell clients when it syncs its disk: messages survive its death at once, and power loss after its "
                "jetstream.sync_interval (2 minutes where it is not set; `always` from 2.10 on), whatever durability is asked for",
                {{"server", link->place()}});
    }
    return std::unique_ptr<Publisher>(std::make_unique<NatsPublisher>(server_));
  }

  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    return NatsSubscription::open(server_, options);
  }

  Result<std::vector<TopicStats>> stats(std::string_view pattern) override;
  Status trim() override;

  Status delete_group(std::string_view group) override {
    UTP_TRY(const auto link, server_->link());
    return server_->remove(*link, group_prefix(group) + ">");
  }

 private:
  struct Bucket {
    std::map<std::string, GroupView> groups;
    std::map<std::string, Lineage> lineages;  // by key
  };
  Result<Bucket> read_bucket(const std::shared_ptr<Link>& link);
  Status add_group(Link& link, const StreamFacts& facts, const Lineage& lineage, const GroupView& view, const GroupView::Record& record,
                   const TopicPartition& of, GroupStats& stats);

  std::shared_ptr<Server> server_;
  std::atomic<bool> is_told_{false};
};

Result<NatsBus::Bucket> NatsBus::read_bucket(const std::shared_ptr<Link>& link) {
  const Names& names = server_->names();
  Bucket bucket;
  UTP_TRY(const Timestamp now, server_->now(*link));  // leases are judged by the server's clock
  const std::size_t prefix = names.key_subject("").size();
  UTP_CHECK(read_all(link, {names.bucket_stream(), names.key_subject(">"), 1, true}, [&](const Delivery& delivery, natsMsg* message) {
    const std::string_view subject(natsMsg_GetSubject(message));
    const std::string_view key = subject.substr(std::min(prefix, subject.size()));
    const std::string_view value(natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message)));
    if (const auto group = read_group_key(key)) {
      GroupView& view = bucket.groups[group->group];
      view.set_server_time(now);
      view.take(*group, value, delivery.sequence, delivery.time);
    } else if (key.starts_with("lineage.")) {
      bucket.lineages[std::string(key)] = Lineage::read(value);
    }
  }));
  return bucket;
}

void earlier(Timestamp& oldest, Timestamp candidate) {
  if (candidate.ns != 0 && (oldest.ns == 0 || candidate < oldest)) oldest = candidate;
}

Status NatsBus::add_group(Link& link, const StreamFacts& facts, const Lineage& lineage, const GroupView& view,
                          const GroupView::Record& record, const TopicPartition& of, GroupStats& stats) {
  const std::uint64_t reached = lineage.sequence_reached(record.record.acknowledged);
  const std::uint64_t behind = std::max(reached, facts.floor());
  stats.trimmed_unread += record.record.trimmed + (behind - reached);
  if (facts.last > behind) {
    stats.lag += facts.last - behind;
    Timestamp oldest = facts.first_time;
    if (behind != facts.floor()) {
      UTP_TRY(const auto time, link.time_at(facts.name, server_->names().subject(of.topic, of.partition), behind + 1));
      oldest = time.value_or(Timestamp{});
    }
    earlier(stats.oldest_unread, oldest);
  }
  if (!record.record.owner.empty() && view.lease_left_ns(record.record.owner) > 0) stats.members.push_back(record.record.owner);
  return {};
}

Result<std::vector<TopicStats>> NatsBus::stats(std::string_view pattern) {
  UTP_CHECK(check_topic_pattern(pattern));
  UTP_TRY(const auto link, server_->link());
  UTP_TRY(Bucket bucket, read_bucket(link));
  UTP_TRY(const auto records, server_->topics(*link));  // after the bucket: no group is ahead of its stream
  std::vector<TopicStats> all;
  for (const TopicRecord& record : records) {
    if (!topic_matches(pattern, record.topic)) continue;
    TopicStats& topic = all.emplace_back();
    topic.topic = record.topic;
    topic.partitions = record.options.partitions;
    topic.retention_ns = record.options.retention_ns;
    topic.retention_bytes = record.options.retention_bytes;
    std::map<std::string, GroupStats> groups;
    for (std::uint32_t p = 0; p < record.streams.size(); ++p) {
      const StreamFacts& facts = record.streams[p];
      const Lineage& lineage = bucket.lineages[lineage_key(record.topic, p)];
      topic.messages += facts.messages;
      topic.bytes += facts.bytes;
      if (record.options.retention_bytes == 0) topic.retention_bytes += facts.bytes_max;
      topic.published += facts.last;
      topic.lost += lineage.lost();
      earlier(topic.first_time, facts.first_time);
      topic.last_time = std::max(topic.last_time, facts.last_time);
      for (const auto& [name, view] : bucket.groups) {
        const GroupView::Record* known = view.record(record.topic, p);
        if (known == nullptr) continue;
        GroupStats& group = groups[name];
        group.group = name;
        UTP_CHECK(add_group(*link, facts, lineage, view, *known, {record.topic, p}, group));
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

// The server keeps to both limits by itself: to the size with each message, to the age from time to time. This is for the age
// now, and for ages that are too short for the server.
Status NatsBus::trim() {
  UTP_TRY(const auto link, server_->link());
  UTP_TRY(const auto records, server_->topics(*link));
  UTP_TRY(const Timestamp now, server_->now(*link));
  Status first;
  for (const TopicRecord& record : records) {
    if (record.options.retention_ns == 0) continue;
    const Timestamp oldest{now.ns - record.options.retention_ns};
    for (const StreamFacts& facts : record.streams) {
      if (facts.messages == 0 || facts.first_time >= oldest) continue;
      const auto purged = [&]() -> Status {
        UTP_TRY(const std::uint64_t before, server_->sequence_before(*link, facts.name, oldest));
        return before >= facts.first ? link->purge(facts.name, before) : Status();
      }();
      if (!purged && first) first = purged;
    }
  }
  return first;
}

}  // namespace
}  // namespace nats_bus

Result<std::unique_ptr<Bus>> open_nats_bus(const NatsBusOptions& options) {
  const bool good = !options.prefix.empty() && options.prefix.size() <= nats_bus::kPrefixMax &&
                    std::all_of(options.prefix.begin(), options.prefix.end(), [](char c) {
                      return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
                    });
  if (!good) {
    return fail(Code::kInvalidArgument, "NATS bus: the prefix \"" + options.prefix + "\" is not 1 to " +
                                            std::to_string(nats_bus::kPrefixMax) + " letters, digits or _");
  }
  auto server = std::make_shared<nats_bus::Server>(options);
  UTP_CHECK(server->link());
  return std::unique_ptr<Bus>(std::make_unique<nats_bus::NatsBus>(std::move(server)));
}

}  // namespace utp
