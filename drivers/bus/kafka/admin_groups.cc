// What Admin asks about groups.
#include "drivers/bus/kafka/admin.h"

namespace utp::kafka_bus {
namespace {

using ListOffsets =
    std::unique_ptr<rd_kafka_ListConsumerGroupOffsets_t, Free<rd_kafka_ListConsumerGroupOffsets_destroy>>;
using AlterOffsets =
    std::unique_ptr<rd_kafka_AlterConsumerGroupOffsets_t, Free<rd_kafka_AlterConsumerGroupOffsets_destroy>>;
using DeleteGroup = std::unique_ptr<rd_kafka_DeleteGroup_t, Free<rd_kafka_DeleteGroup_destroy>>;

// Of a group that is not there, or no longer.
bool is_unknown(rd_kafka_resp_err_t error) { return error == RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND; }

bool has_members(rd_kafka_resp_err_t error) {
  return error == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || error == RD_KAFKA_RESP_ERR_NON_EMPTY_GROUP ||
         error == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || error == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS;
}

}  // namespace

Result<std::vector<std::string>> Admin::groups() const {
  UTP_TRY(const Event event,
          run("list of groups", RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPS,
              [&](auto* options, auto* queue) { rd_kafka_ListConsumerGroups(rk_, options, queue); }));
  const auto* result = rd_kafka_event_ListConsumerGroups_result(event.get());
  std::size_t count = 0;
  const auto** errors = rd_kafka_ListConsumerGroups_result_errors(result, &count);
  if (count > 0)
    return fail_with(*options_, "list of groups", rd_kafka_error_code(errors[0]), rd_kafka_error_string(errors[0]));
  const auto** listings = rd_kafka_ListConsumerGroups_result_valid(result, &count);
  std::vector<std::string> groups;
  for (std::size_t i = 0; i < count; ++i) groups.emplace_back(rd_kafka_ConsumerGroupListing_group_id(listings[i]));
  return groups;
}

Result<std::map<std::string, std::vector<GroupMember>>> Admin::members(const std::vector<std::string>& groups) const {
  std::map<std::string, std::vector<GroupMember>> all;
  if (groups.empty()) return all;
  std::vector<const char*> names;
  for (const std::string& group : groups) names.push_back(group.c_str());
  UTP_TRY(const Event event,
          run("members of groups", RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, [&](auto* options, auto* queue) {
            rd_kafka_DescribeConsumerGroups(rk_, names.data(), names.size(), options, queue);
          }));
  std::size_t count = 0;
  const auto** described =
      rd_kafka_DescribeConsumerGroups_result_groups(rd_kafka_event_DescribeConsumerGroups_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    const std::string group = rd_kafka_ConsumerGroupDescription_group_id(described[i]);
    if (const auto* error = rd_kafka_ConsumerGroupDescription_error(described[i]);
        error != nullptr && rd_kafka_error_code(error)) {
      if (is_unknown(rd_kafka_error_code(error))) continue;
      return fail_with(*options_, "members of group " + group, rd_kafka_error_code(error),
                       rd_kafka_error_string(error));
    }
    std::vector<GroupMember>& members = all[group];
    for (std::size_t m = 0; m < rd_kafka_ConsumerGroupDescription_member_count(described[i]); ++m) {
      const auto* member = rd_kafka_ConsumerGroupDescription_member(described[i], m);
      GroupMember& one = members.emplace_back();
      one.name = rd_kafka_MemberDescription_client_id(member);
      for (const auto& part :
           parts(rd_kafka_MemberAssignment_partitions(rd_kafka_MemberDescription_assignment(member)))) {
        one.partitions.emplace_back(part.topic, static_cast<std::uint32_t>(part.partition));
      }
    }
  }
  return all;
}

Result<PerPartition<Committed>> Admin::committed(const std::string& group) const {
  const ListOffsets wanted(rd_kafka_ListConsumerGroupOffsets_new(group.c_str(), nullptr));
  UTP_TRY(const Event event,
          run("offsets of group " + group, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS, [&](auto* options, auto* queue) {
            rd_kafka_ListConsumerGroupOffsets_t* all[] = {wanted.get()};
            rd_kafka_ListConsumerGroupOffsets(rk_, all, 1, options, queue);
          }));
  PerPartition<Committed> offsets;
  std::size_t count = 0;
  const auto** results = rd_kafka_ListConsumerGroupOffsets_result_groups(
      rd_kafka_event_ListConsumerGroupOffsets_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    if (const auto* error = rd_kafka_group_result_error(results[i]); error != nullptr && rd_kafka_error_code(error)) {
      if (is_unknown(rd_kafka_error_code(error))) continue;
      return fail_with(*options_, "offsets of group " + group, rd_kafka_error_code(error),
                       rd_kafka_error_string(error));
    }
    for (const auto& part : parts(rd_kafka_group_result_partitions(results[i]))) {
      if (part.err || part.offset < 0) continue;
      offsets[{part.topic, static_cast<std::uint32_t>(part.partition)}] = {part.offset, note_of(part)};
    }
  }
  return offsets;
}

Result<bool> Admin::commit(const std::string& group, const PerPartition<Committed>& offsets) const {
  if (offsets.empty()) return true;
  const List list = new_list(offsets.size());
  for (const auto& [partition, committed] : offsets)
    set_note(add(list, partition.first, partition.second, committed.offset), committed.note);
  const AlterOffsets wanted(rd_kafka_AlterConsumerGroupOffsets_new(group.c_str(), list.get()));
  const std::string what = "offsets of group " + group;
  UTP_TRY(const Event event, run(what, RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS, [&](auto* options, auto* queue) {
            rd_kafka_AlterConsumerGroupOffsets_t* all[] = {wanted.get()};
            rd_kafka_AlterConsumerGroupOffsets(rk_, all, 1, options, queue);
          }));
  std::size_t count = 0;
  const auto** results = rd_kafka_AlterConsumerGroupOffsets_result_groups(
      rd_kafka_event_AlterConsumerGroupOffsets_result(event.get()), &count);
  for (std::size_t i = 0; i < count; ++i) {
    if (const auto* error = rd_kafka_group_result_error(results[i]); error != nullptr && rd_kafka_error_code(error)) {
      if (has_members(rd_kafka_error_code(error))) return false;
      return fail_with(*options_, what, rd_kafka_error_code(error), rd_kafka_error_string(error));
    }
    for (const auto& part : parts(rd_kafka_group_result_partitions(results[i]))) {
      if (has_members(part.err)) return false;
      if (part.err) return fail_with(*options_, what, part.err);
    }
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
