// What the parts of one bus share: the cluster, the names, and what is known about topics. Any thread.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "drivers/bus/kafka/admin.h"
#include "drivers/bus/kafka/peek.h"

namespace utp::kafka_bus {

struct TopicRecord {
  std::string topic;  // as the port names it
  std::string name;   // as Kafka does
  std::uint32_t partitions = 1;
  bool made = false;  // just now

  std::vector<Partition> all() const {
    std::vector<Partition> partitions_of_it;
    for (std::uint32_t p = 0; p < partitions; ++p) partitions_of_it.emplace_back(name, p);
    return partitions_of_it;
  }
};

struct Watermarks {
  std::int64_t low = 0;   // offset of the oldest message
  std::int64_t high = 0;  // and behind the newest
};

class Server {
 public:
  static Result<std::shared_ptr<Server>> open(const KafkaBusOptions& options);

  const KafkaBusOptions& options() const { return options_; }
  const Admin& admin() const { return *admin_; }
  Peek& peek() const { return *peek_; }
  std::string name_of(std::string_view topic) const { return options_.prefix + std::string(topic); }
  std::string group_name(std::string_view group) const { return options_.prefix + std::string(group); }
  std::int64_t lease_min_ns() const { return lease_min_ns_; }  // what the brokers allow

  // Those of this bus, by name.
  Result<std::vector<TopicRecord>> topics() const;
  // The topic as it stands, made when it is not there. `change`: retention becomes that of `options`.
  Result<TopicRecord> create_topic(std::string_view topic, const TopicOptions& options, bool change) const;

  struct Retention {
    std::int64_t ms = 0;                // 0 = no limit
    std::uint64_t partition_bytes = 0;  // 0 = no limit
    bool is_log = true;                 // what is compacted has no oldest messages to remove
  };
  // By Kafka's names; without topics that are gone.
  Result<std::map<std::string, Retention>> retention(const std::vector<TopicRecord>& topics) const;

  Result<PerPartition<Watermarks>> watermarks(const std::vector<Partition>& partitions) const;
  // Where a reader of these partitions begins.
  Result<PerPartition<std::int64_t>> places(const std::vector<Partition>& partitions, const Start& start) const;
  // Bytes of a partition's messages, from a few that are looked at; kept while little changes there.
  Result<PerPartition<std::uint64_t>> bytes(const PerPartition<Watermarks>& watermarks) const;
  // The publish times of the messages at these offsets; without those that are gone.
  Result<PerPartition<std::map<std::int64_t, Timestamp>>> times(const PerPartition<std::set<std::int64_t>>& at) const;
  Status trim(const std::vector<TopicRecord>& topics) const;

  // Messages of [from, to) were confirmed to a publisher, and are not there. Each is counted once, however many report
  // it.
  Status record_lost(const Partition& partition, std::int64_t from, std::int64_t to) const;
  Result<PerPartition<std::uint64_t>> lost(const std::vector<Partition>& partitions) const;
  // Of this topic, by this bus.
  bool is_first_warning(const std::string& name) {
    std::lock_guard lock(warned_mutex_);
    return warned_.insert(name).second;
  }
  bool is_own_group(const std::string& name) const { return name == options_.prefix + kLostGroup; }

 private:
  static constexpr const char* kLostGroup = "utp.lost";
  struct Size {
    Watermarks at;
    std::uint64_t average = 0;
  };
  explicit Server(const KafkaBusOptions& options) : options_(options) {}
  Status connect();
  Status trim_by_age(const PerPartition<std::int64_t>& ages_ms) const;
  Status trim_by_size(const PerPartition<std::uint64_t>& limits) const;

  KafkaBusOptions options_;
  std::atomic<int> refused_{0};  // the error code of a refusal: what waits for an answer would wait in vain
  Client client_;
  std::unique_ptr<Admin> admin_;
  std::unique_ptr<Peek> peek_;
  std::int64_t lease_min_ns_ = 0;
  std::mutex warned_mutex_;
  std::set<std::string> warned_;
  mutable std::mutex sizes_mutex_;
  mutable PerPartition<Size> sizes_;
};

}  // namespace utp::kafka_bus
