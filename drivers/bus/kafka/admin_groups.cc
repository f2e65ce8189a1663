// What Admin asks about groups.
#include "drivers/bus/kafka/admin.h"

#include <algorithm>

namespace utp::kafka_bus {
namespace {

using GroupList = std::unique_ptr<const rd_kafka_group_list, Free<rd_kafka_group_list_destroy>>;
using DeleteGroup = std::unique_ptr<rd_kafka_DeleteGroup_t, Free<rd_kafka_DeleteGroup_destroy>>;

// Of a group that is not there, or no longer.
bool is_unknown(rd_kafka_resp_err_t error) { return error == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND; }

bool has_members(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || error == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP ||
         error == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || error == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
}

// What a member was given, as the consumer protocol writes it: version, then topics with their partitions; big-endian.
std::vector<Partition> read_assignment(std::string_view bytes) {
  std::vector<Partition> all;
  const auto number = [&](std::size_t size) {
    if (bytes.size() < size) {
      bytes = {};
      return std::int64_t{-1};
    }
    std::uint64_t value = 0;
    for (const char c : bytes.substr(0, size)) value = value << 8 | static_cast<unsigned char>(c);
    bytes.remove_prefix(size);
    return static_cast<std::int64_t>(value);
  };
  if (number(2) < 0) return all;
  for (std::int64_t topics = number(4); topics > 0 && !bytes.empty(); --topics) {
    const std::size_t length = static_cast<std::size_t>(std::max<std::int64_t>(number(2), 0));
    const std::string topic(bytes.substr(0, length));
    bytes.remove_prefix(std::min(length, bytes.size()));
    for (std::int64_t partitions = number(4); partitions > 0 && !bytes.empty(); --partitions) {
      all.emplace_back(topic, static_cast<std::uint32_t>(number(4)));
    }
  }
  return all;
}

}  // namespace

Result<std::map<std::string, std::vector<GroupMember>>> Admin::groups() const {
  const rd_kafka_group_list* raw = nullptr;
  const auto error = rd_kafka_list_groups(rk_, nullptr, &raw, timeout_ms());
  const GroupList list(raw);
  if (error && error != RD_KAFKA_RESP_ERR__PARTIAL) return fail_with(*options_, "list of groups", error);
  std::map<std::string, std::vector<GroupMember>> all;
  for (int i = 0; list && i < list->group_cnt; ++i) {
    const rd_kafka_group_info& group = list->groups[i];
    std::vector<GroupMember>& members = all[group.group];
    for (int m = 0; m < group.member_cnt; ++m) {
      const rd_kafka_group_member_info& member = group.members[m];
      members.push_back({member.client_id, read_assignment({static_cast<const char*>(member.member_assignment),
                                                            static_cast<std::size_t>(member.member_assignment_size)})});
    }
  }
  return all;
}

Result<rd_kafka_t*> Admin::group_client(const std::string& group) const {
  const std::lock_guard lock(mutex_);
  if (const auto found = clients_.find(group); found != clients_.end()) return found->second.get();
  if (clients_.size() >= kGroupClientsMax) return fail(Code::kFull, place(*options_) + ": more than " + std::to_string(kGroupClientsMax) +
                                                            " groups are looked at in one process; open the bus anew for further ones");
  UTP_TRY(Client client, new_client(RD_KAFKA_CONSUMER, *options_, {{"group.id", group}, {"enable.auto.commit", "false"}}));
  return clients_.emplace(group, std::move(client)).first->second.get();
}

// Why a call failed, or nothing: where nobody tells a client its coordinator, librdkafka waits, and tells a refusal
// elsewhere, once.
rd_kafka_resp_err_t Admin::reason(const std::string& group, rd_kafka_t* client, rd_kafka_resp_err_t error) const {
  const std::lock_guard lock(mutex_);
  if (!error) refusals_.erase(group);
  if (!error || is_refusal(error)) return error;
  while (const Record record{rd_kafka_consumer_poll(client, 0)}) {
    if (is_refusal(record->err)) refusals_[group] = record->err;
  }
  const auto refusal = refusals_.find(group);
  return refusal == refusals_.end() ? error : refusal->second;
}

Result<PerPartition<Committed>> Admin::committed(const std::string& group, const std::vector<Partition>& partitions) const {
  PerPartition<Committed> offsets;
  if (partitions.empty()) return offsets;
  UTP_TRY(rd_kafka_t* const client, group_client(group));
  const List list = new_list(partitions.size());
  for (const auto& [topic, number] : partitions) add(list, topic, number, RD_KAFKA_OFFSET_INVALID);
  const std::string what = "offsets of group " + group;
  if (const auto error = reason(group, client, rd_kafka_committed(client, list.get(), timeout_ms()))) return fail_with(*options_, what, error);
  for (const auto& part : parts(list.get())) {
    if (is_refusal(part.err)) return fail_with(*options_, what, part.err);
    if (part.err || part.offset < 0) continue;
    offsets[{part.topic, static_cast<std::uint32_t>(part.partition)}] = {part.offset, note_of(part)};
  }
  return offsets;
}

Result<bool> Admin::commit(const std::string& group, const PerPartition<Committed>& offsets) const {
  if (offsets.empty()) return true;
  UTP_TRY(rd_kafka_t* const client, group_client(group));
  const List list = new_list(offsets.size());
  for (const auto& [partition, committed] : offsets)
    set_note(add(list, partition.first, partition.second, committed.offset), committed.note);
  const std::string what = "offsets of group " + group;
  const Queue queue(rd_kafka_queue_new(client));
  if (const auto error = rd_kafka_commit_queue(client, list.get(), queue.get(), nullptr, nullptr)) return fail_with(*options_, what, error);
  const Event event(rd_kafka_queue_poll(queue.get(), timeout_ms()));
  if (has_members(event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR_NO_ERROR)) return false;
  if (const auto error = reason(group, client, event ? rd_kafka_event_error(event.get()) : RD_KAFKA_RESP_ERR__TIMED_OUT))
    return fail_with(*options_, what, error);
  for (const auto& part : parts(rd_kafka_event_topic_partition_list(event.get()))) {
    if (has_members(part.err)) return false;
    if (part.err) return fail_with(*options_, what, part.err);
  }
  return true;
}

Status Admin::delete_group(const std::string& group) const {
  const DeleteGroup wanted(rd_kafka_DeleteGroup_new(group.c_str()));
  const std::string what = "removal of group " + group;
  UTP_TRY(const Event event, run(what, RD_KAFKA_ADMIN_OP_DELETEGROUPS, [&](auto* options, auto* queue) {
            rd_kafka_DeleteGroup_t* all[] = {wanted.get()};
            rd_kafka_DeleteGroups(rk_, all, 1, options, queue);
          }));
  std::size_t count = 0;
  const auto** results = rd_kafka_DeleteGroups_result_groups(rd_kafka_event_DeleteGroups_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    const auto* error = rd_kafka_group_result_error(results[i]);
    if (error == nullptr || !rd_kafka_error_code(error) || is_unknown(rd_kafka_error_code(error))) continue;
    if (has_members(rd_kafka_error_code(error))) {
      return fail(Code::kUnavailable,
                  place(*options_) + ": " + what + ": it has members; stop them, then repeat the call", true);
    }
    return fail_with(*options_, what, rd_kafka_error_code(error), rd_kafka_error_string(error));
  }
  return {};
}

}  // namespace utp::kafka_bus
