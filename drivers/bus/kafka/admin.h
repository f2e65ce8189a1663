// What is asked of the cluster itself: topics, their settings, offsets, removal of records, groups. Names are Kafka's.
// Any thread.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "drivers/bus/kafka/client.h"

namespace utp::kafka_bus {

using Partition = std::pair<std::string, std::uint32_t>;  // topic, number
template <class T>
using PerPartition = std::map<Partition, T>;

using Settings = std::map<std::string, std::string>;

struct Committed {
  std::int64_t offset = -1;  // -1: none
  std::string note;          // what was committed with it
};
struct GroupMember {
  std::string name;
  std::vector<Partition> partitions;
};

class Admin {
 public:
  // Both outlive this.
  Admin(rd_kafka_t* rk, const KafkaBusOptions& options) : rk_(rk), options_(&options) {}

  Result<std::map<std::string, std::uint32_t>> topics() const;  // all of the cluster, with their number of partitions
  // False where it is there already.
  Result<bool> create_topic(const std::string& topic, std::uint32_t partitions, const Settings& settings) const;
  // The topic's own settings, without defaults; `all` with them. A topic that is gone is left out.
  Result<std::map<std::string, Settings>> topic_settings(const std::vector<std::string>& topics, bool all) const;
  // Adds these to the topic's own settings.
  Status change_settings(const std::string& topic, const Settings& settings) const;
  Result<std::string> broker_setting(const std::string& name) const;  // "" where brokers do not tell

  // Of all these partitions: the first offset whose time is at or after `ms`, or one of the two below. What is gone
  // meanwhile is left out; -1: none.
  static constexpr std::int64_t kEnd = -1;
  static constexpr std::int64_t kBegin = -2;
  Result<PerPartition<std::int64_t>> offsets(const std::vector<Partition>& partitions, std::int64_t ms) const;
  Status delete_records(const PerPartition<std::int64_t>& before) const;

  // Of the whole cluster, with those who are in them.
  Result<std::map<std::string, std::vector<GroupMember>>> groups() const;
  // Through a client of the group that never joins it: with the admin calls for a group's offsets and members, librdkafka (2.0, and
  // those after it so far) ends the process when the connection breaks at the wrong moment.
  Result<PerPartition<Committed>> committed(const std::string& group, const std::vector<Partition>& partitions) const;
  // False where the group has members: offsets are theirs then.
  Result<bool> commit(const std::string& group, const PerPartition<Committed>& offsets) const;
  Status delete_group(const std::string& group) const;

 private:
  // Starts an operation on a queue and waits for its event, an error of the whole included.
  Result<Event> run(std::string_view what, rd_kafka_admin_op_t operation,
                    const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& start) const;
  int timeout_ms() const { return millis(options_->answer_timeout_ns); }
  Result<rd_kafka_t*> group_client(const std::string& group) const;
  rd_kafka_resp_err_t reason(const std::string& group, rd_kafka_t* client, rd_kafka_resp_err_t error) const;

  rd_kafka_t* rk_;
  const KafkaBusOptions* options_;
  static constexpr std::size_t kGroupClientsMax = 64;
  mutable std::mutex mutex_;
  mutable std::map<std::string, Client> clients_;
  mutable std::map<std::string, rd_kafka_resp_err_t> refusals_;  // of groups, since they last answered
};

}  // namespace utp::kafka_bus
