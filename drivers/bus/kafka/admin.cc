#include "drivers/bus/kafka/admin.h"

#include <algorithm>
#include <thread>

namespace utp::kafka_bus {
namespace {

using AdminOptions = std::unique_ptr<rd_kafka_AdminOptions_t, Free<rd_kafka_AdminOptions_destroy>>;
using NewTopic = std::unique_ptr<rd_kafka_NewTopic_t, Free<rd_kafka_NewTopic_destroy>>;
using Resource = std::unique_ptr<rd_kafka_ConfigResource_t, Free<rd_kafka_ConfigResource_destroy>>;
using DeleteRecords = std::unique_ptr<rd_kafka_DeleteRecords_t, Free<rd_kafka_DeleteRecords_destroy>>;
using Metadata = std::unique_ptr<const rd_kafka_metadata_t, Free<rd_kafka_metadata_destroy>>;

bool is_gone(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || error == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
         error == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

// The partition is new, or is given to another broker.
bool is_moving(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION || error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
         error == RD_KAFKA_RESP_ERR_FENCED_LEADER_EPOCH || error == RD_KAFKA_RESP_ERR_UNKNOWN_LEADER_EPOCH;
}

constexpr auto kAgain = std::chrono::milliseconds(5);

}  // namespace

Result<Event> Admin::run(std::string_view what, rd_kafka_admin_op_t operation,
                         const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& start) const {
  const AdminOptions options(rd_kafka_AdminOptions_new(rk_, operation));
  char reason[256];
  rd_kafka_AdminOptions_set_request_timeout(options.get(), timeout_ms(), reason, sizeof reason);
  if (operation == RD_KAFKA_ADMIN_OP_CREATETOPICS || operation == RD_KAFKA_ADMIN_OP_DELETERECORDS) {
    rd_kafka_AdminOptions_set_operation_timeout(options.get(), timeout_ms(), reason, sizeof reason);
  }
  const Queue queue(rd_kafka_queue_new(rk_));
  start(options.get(), queue.get());
  Event event(rd_kafka_queue_poll(queue.get(), timeout_ms() + 1000));
  if (!event) return fail_with(*options_, what, RD_KAFKA_RESP_ERR__TIMED_OUT);
  if (const auto error = rd_kafka_event_error(event.get()))
    return fail_with(*options_, what, error, rd_kafka_event_error_string(event.get()));
  return event;
}

Result<std::map<std::string, std::uint32_t>> Admin::topics() const {
  rd_kafka_poll(rk_, 0);  // takes what the callbacks are told
  const rd_kafka_metadata_t* raw = nullptr;
  if (const auto error = rd_kafka_metadata(rk_, 1, nullptr, &raw, timeout_ms()))
    return fail_with(*options_, "list of topics", error);
  const Metadata metadata(raw);
  std::map<std::string, std::uint32_t> topics;
  for (int i = 0; i < metadata->topic_cnt; ++i) {
    const auto& topic = metadata->topics[i];
    if (topic.partition_cnt > 0) topics[topic.topic] = static_cast<std::uint32_t>(topic.partition_cnt);
  }
  return topics;
}

Result<bool> Admin::create_topic(const std::string& topic, std::uint32_t partitions, const Settings& settings) const {
  char reason[256] = "";
  NewTopic wanted(
      rd_kafka_NewTopic_new(topic.c_str(), static_cast<int>(partitions), options_->replication, reason, sizeof reason));
  if (!wanted) return fail(Code::kInvalidArgument, "topic " + topic + ": " + reason);
  for (const auto& [name, value] : settings) rd_kafka_NewTopic_set_config(wanted.get(), name.c_str(), value.c_str());
  UTP_TRY(const Event event,
          run("topic " + topic + " cannot be made", RD_KAFKA_ADMIN_OP_CREATETOPICS, [&](auto* options, auto* queue) {
            rd_kafka_NewTopic_t* all[] = {wanted.get()};
            rd_kafka_CreateTopics(rk_, all, 1, options, queue);
          }));
  std::size_t count = 0;
  const auto** results = rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto error = rd_kafka_topic_result_error(results[i]);
    if (error == RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS) return false;
    const char* text = rd_kafka_topic_result_error_string(results[i]);
    if (error) return fail_with(*options_, "topic " + topic + " cannot be made", error, text != nullptr ? text : "");
  }
  return true;
}

Result<std::map<std::string, Settings>> Admin::topic_settings(const std::vector<std::string>& topics, bool all) const {
  std::map<std::string, Settings> found;
  if (topics.empty()) return found;
  std::vector<Resource> resources;
  std::vector<rd_kafka_ConfigResource_t*> raw;
  for (const std::string& topic : topics)
    raw.push_back(resources.emplace_back(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str())).get());
  UTP_TRY(const Event event,
          run("settings of topics", RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, [&](auto* options, auto* queue) {
            rd_kafka_DescribeConfigs(rk_, raw.data(), raw.size(), options, queue);
          }));
  std::size_t count = 0;
  const auto** results =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string topic = rd_kafka_ConfigResource_name(results[i]);
    if (const auto error = rd_kafka_ConfigResource_error(results[i])) {
      if (is_gone(error)) continue;
      return fail_with(*options_, "settings of topic " + topic, error);
    }
    Settings& settings = found[topic];
    std::size_t entries = 0;
    const auto** configs = rd_kafka_ConfigResource_configs(results[i], &entries);
    for (std::size_t e = 0; e < entries; ++e) {
      const char* value = rd_kafka_ConfigEntry_value(configs[e]);
      if (value == nullptr ||
          (!all && rd_kafka_ConfigEntry_source(configs[e]) != RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG))
        continue;
      settings[rd_kafka_ConfigEntry_name(configs[e])] = value;
    }
  }
  return found;
}

Status Admin::change_settings(const std::string& topic, const Settings& settings) const {
  UTP_TRY(auto found, topic_settings({topic}, false));
  Settings wanted = found[topic];
  for (const auto& [name, value] : settings) wanted[name] = value;
  if (wanted == found[topic]) return {};
  const Resource resource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic.c_str()));
  for (const auto& [name, value] : wanted)
    rd_kafka_ConfigResource_set_config(resource.get(), name.c_str(), value.c_str());
  UTP_TRY(const Event event,
          run("settings of topic " + topic, RD_KAFKA_ADMIN_OP_ALTERCONFIGS, [&](auto* options, auto* queue) {
            rd_kafka_ConfigResource_t* all[] = {resource.get()};
            rd_kafka_AlterConfigs(rk_, all, 1, options, queue);
          }));
  std::size_t count = 0;
  const auto** results =
      rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    if (const auto error = rd_kafka_ConfigResource_error(results[i]))
      return fail_with(*options_, "settings of topic " + topic, error);
  }
  return {};
}

Result<std::string> Admin::broker_setting(const std::string& name) const {
  const rd_kafka_metadata_t* raw = nullptr;
  if (const auto error = rd_kafka_metadata(rk_, 0, nullptr, &raw, timeout_ms()))
    return fail_with(*options_, "list of brokers", error);
  const Metadata metadata(raw);
  if (metadata->broker_cnt == 0) return std::string();
  const Resource resource(
      rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_BROKER, std::to_string(metadata->brokers[0].id).c_str()));
  auto event = run("settings of a broker", RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, [&](auto* options, auto* queue) {
    rd_kafka_ConfigResource_t* all[] = {resource.get()};
    rd_kafka_DescribeConfigs(rk_, all, 1, options, queue);
  });
  if (!event && event.error().code == Code::kUnsupported) return std::string();
  if (!event) return fail(std::move(event.error()));
  std::size_t count = 0;
  const auto** results =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event->get()), &count);
  if (count == 0 || rd_kafka_ConfigResource_error(results[0])) return std::string();
  std::size_t entries = 0;
  const auto** configs = rd_kafka_ConfigResource_configs(results[0], &entries);
  for (std::size_t e = 0; e < entries; ++e) {
    const char* value = rd_kafka_ConfigEntry_value(configs[e]);
    if (rd_kafka_ConfigEntry_name(configs[e]) == name && value != nullptr) return std::string(value);
  }
  return std::string();
}

Result<PerPartition<std::int64_t>> Admin::offsets(const std::vector<Partition>& partitions, std::int64_t ms) const {
  PerPartition<std::int64_t> found;
  const std::int64_t deadline = steady_ns() + options_->answer_timeout_ns;
  while (!partitions.empty()) {
    const List list = new_list(partitions.size());
    for (const auto& [topic, partition] : partitions) add(list, topic, partition, ms);
    auto error = rd_kafka_offsets_for_times(rk_, list.get(), std::max(millis(deadline - steady_ns()), 1));
    if (is_gone(error)) break;
    for (const auto& part : parts(list.get())) {
      if (error || is_gone(part.err)) continue;
      error = part.err;
      found[{part.topic, static_cast<std::uint32_t>(part.partition)}] = part.offset < 0 ? -1 : part.offset;
    }
    if (!error) break;
    if (!is_moving(error) || steady_ns() >= deadline) return fail_with(*options_, "offsets of partitions", error);
    std::this_thread::sleep_for(kAgain);
    UTP_CHECK(topics());  // librdkafka asks the leader it knows until it is told of another
    found.clear();
  }
  return found;
}

Status Admin::delete_records(const PerPartition<std::int64_t>& before) const {
  if (before.empty()) return {};
  const List list = new_list(before.size());
  for (const auto& [partition, offset] : before) add(list, partition.first, partition.second, offset);
  const DeleteRecords wanted(rd_kafka_DeleteRecords_new(list.get()));
  UTP_TRY(const Event event,
          run("removal of records", RD_KAFKA_ADMIN_OP_DELETERECORDS, [&](auto* options, auto* queue) {
            rd_kafka_DeleteRecords_t* all[] = {wanted.get()};
            rd_kafka_DeleteRecords(rk_, all, 1, options, queue);
          }));
  for (const auto& part :
       parts(rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.get())))) {
    // Somebody else has removed more, or the topic.
    if (part.err && part.err != RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE && !is_gone(part.err)) {
      return fail_with(*options_, std::string("removal of records of ") + part.topic, part.err);
    }
  }
  return {};
}

}  // namespace utp::kafka_bus
