#include "drivers/bus/embedded/embedded_bus.h"

#include <algorithm>
#include <map>

#include "drivers/bus/embedded/directory.h"
#include "drivers/bus/embedded/publisher.h"
#include "drivers/bus/embedded/subscription.h"
#include "model/envelope.h"

namespace utp {
namespace embedded_bus {
namespace {

class EmbeddedBus final : public Bus {
 public:
  explicit EmbeddedBus(std::shared_ptr<Directory> directory) : directory_(std::move(directory)) {}

  Status configure_topic(std::string_view topic, const TopicOptions& options) override {
    return directory_->configure_topic(topic, options);
  }

  Result<std::unique_ptr<Publisher>> publisher(const PublisherOptions& options) override {
    if (options.durability == Durability::kInterval && options.interval_ns <= 0) {
      return fail(Code::kInvalidArgument, "publisher: interval_ns is " + std::to_string(options.interval_ns) +
                                              "; give a positive window, or durability commit");
    }
    return std::unique_ptr<Publisher>(std::make_unique<EmbeddedPublisher>(directory_, options));
  }

  Result<std::unique_ptr<Subscription>> subscribe(const SubscriptionOptions& options) override {
    return EmbeddedSubscription::open(directory_, options);
  }

  Result<std::vector<TopicStats>> stats(std::string_view pattern) override {
    UTP_CHECK(check_topic_pattern(pattern));
    UTP_TRY(const auto records, directory_->topics());
    std::vector<TopicStats> all;
    for (const TopicRecord& record : records) {
      if (!topic_matches(pattern, record.topic)) continue;
      UTP_TRY(auto stats, topic_stats(record));
      all.push_back(std::move(stats));
    }
    return all;
  }

  Status trim() override { return directory_->trim(); }

  Status delete_group(std::string_view group) override {
    UTP_TRY(auto change, directory_->cursors().change());
    UTP_CHECK(change.remove_group(group));
    UTP_CHECK(change.commit());
    directory_->cursors_changed();
    directory_->state().groups.fetch_add(1);
    directory_->wake();
    return {};
  }

 private:
  Result<TopicStats> topic_stats(const TopicRecord& record) {
    UTP_TRY(const auto topic, directory_->find_topic(record.topic));
    TopicStats stats;
    stats.topic = record.topic;
    stats.partitions = record.options.partitions;
    stats.retention_ns = record.options.retention_ns;
    stats.retention_bytes = directory_->retention_bytes(record);
    std::map<std::string, GroupStats, std::less<>> groups;
    for (const auto& partition : topic->partitions) UTP_CHECK(add_partition(record, *partition, stats, groups));
    for (auto& [name, group] : groups) {
      std::sort(group.members.begin(), group.members.end());
      group.members.erase(std::unique(group.members.begin(), group.members.end()), group.members.end());
      stats.groups.push_back(std::move(group));
    }
    return stats;
  }

  Status add_partition(const TopicRecord& record, Partition& partition, TopicStats& stats,
                       std::map<std::string, GroupStats, std::less<>>& groups) {
    UTP_TRY(const auto tail, partition.read_tail());
    UTP_TRY(const auto index, partition.index());
    const SegmentName& first = index->segments.front();
    const std::uint64_t published = Partition::count_at(*index, tail.position);
    const std::uint64_t stored = published - std::min(published, first.count_before);
    stats.messages += stored;
    stats.published += published;
    stats.lost += index->segments.back().lost_before;
    stats.bytes += partition.disk_bytes();
    if (stored > 0) {
      UTP_TRY(const auto oldest, partition.publish_time_at_or_after(first.base));
      if (oldest && (stats.first_time.ns == 0 || *oldest < stats.first_time)) stats.first_time = *oldest;
      stats.last_time = std::max(stats.last_time, tail.time);
    }
    struct Reader {
      std::string group;
      CursorRecord record;
    };
    std::vector<Reader> readers;  // looked at after the scan: its transaction stays short
    UTP_CHECK(directory_->cursors().for_each_cursor(record.topic, partition.number(), [&](std::string_view name, CursorRecord& r) {
      readers.push_back({std::string(name), r});
    }));
    for (const Reader& reader : readers) {
      GroupStats& group = groups[reader.group];
      group.group = reader.group;
      group.trimmed_unread += reader.record.trimmed;
      const std::uint64_t read = Partition::count_at(*index, reader.record.position);
      const std::uint64_t lag = published - std::min(published, read);
      group.lag += lag;
      if (lag > 0) {
        UTP_TRY(const auto oldest, partition.publish_time_at_or_after(reader.record.position + 1));
        if (oldest && (group.oldest_unread.ns == 0 || *oldest < group.oldest_unread)) group.oldest_unread = *oldest;
      }
      const CursorRecord& r = reader.record;
      if (!r.owner.empty() && directory_->is_live(r.lease_until_ns, r.boot, r.process)) group.members.push_back(r.owner);
    }
    return {};
  }

  std::shared_ptr<Directory> directory_;
};

}  // namespace
}  // namespace embedded_bus

Result<std::unique_ptr<Bus>> open_embedded_bus(const EmbeddedBusOptions& options) {
  UTP_TRY(auto directory, embedded_bus::Directory::open(options));
  return std::unique_ptr<Bus>(std::make_unique<embedded_bus::EmbeddedBus>(std::move(directory)));
}

}  // namespace utp
