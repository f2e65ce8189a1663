#include "drivers/bus/redis/server.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <sstream>

#include "core/clock.h"

namespace utp::redis_bus {
namespace {

constexpr std::string_view kChangesMax =
    "1000";  // entries of the changes stream: who was away for more looks at everything anyway

std::string write_record(const TopicRecord& record) {
  return std::to_string(record.options.partitions) + " " + std::to_string(record.options.retention_ns) + " " +
         std::to_string(record.options.retention_bytes) + " " + record.created + " " + std::to_string(record.options.pack);
}

Result<TopicRecord> read_record(std::string_view topic, std::string_view bytes, const std::string& place) {
  TopicRecord record;
  record.topic = topic;
  std::istringstream in{std::string(bytes)};
  in >> record.options.partitions >> record.options.retention_ns >> record.options.retention_bytes >> record.created;
  if (!in || record.options.partitions == 0) {
    return fail(Code::kCorrupt,
                place + ": the record of topic " + std::string(topic) + " is \"" + std::string(bytes.substr(0, 200)) +
                    "\", expected partitions, retention in ns, retention in bytes, creation, pack; another program wrote it");
  }
  if (!(in >> record.options.pack)) record.options.pack = 1;
  return record;
}

}  // namespace

Status Server::choose_keys() {
  if (!nodes_.is_cluster()) return {};
  if (options_.prefix.empty() || options_.prefix[0] == '}') {
    return fail(Code::kInvalidArgument,
                "the prefix \"" + options_.prefix + "\" gives the bus no slot of its own in a cluster; name one that begins with a letter");
  }
  keys_ = Keys(cluster_prefix(options_.prefix));
  return {};
}

Result<std::vector<TopicRecord>> Server::topics(Connection& connection) const {
  UTP_CHECK(connection.ensure());
  connection.add({"HGETALL", keys_.topics()});
  UTP_TRY(const Reply reply, connection.run_one());
  std::vector<TopicRecord> records;
  const auto fields = items(reply.get());
  for (std::size_t i = 0; i + 1 < fields.size(); i += 2) {
    UTP_TRY(auto record, read_record(text(fields[i]), text(fields[i + 1]), connection.place()));
    records.push_back(std::move(record));
  }
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.topic < b.topic; });
  return records;
}

Result<TopicRecord> Server::create_topic(Connection& connection, std::string_view topic, const TopicOptions& options,
                                         bool change) const {
  if (options.partitions == 0 || options.partitions > options_.partitions_max) {
    return fail(Code::kInvalidArgument, "topic " + std::string(topic) + ": " + std::to_string(options.partitions) +
                                            " partitions; give 1 to " + std::to_string(options_.partitions_max));
  }
  if (options.pack == 0 || options.pack > kRedisBusPackMax) {
    return fail(Code::kInvalidArgument, "topic " + std::string(topic) + ": pack " + std::to_string(options.pack) + "; give 1 to " +
                                            std::to_string(kRedisBusPackMax) + " messages per entry");
  }
  UTP_CHECK(connection.ensure());
  TopicRecord wanted{std::string(topic), options, std::to_string(SystemClock().now().ns), ""};
  connection.add(Script::kTopic, {keys_.topics(), keys_.bus()}, {topic, write_record(wanted), "0", wanted.created});
  UTP_TRY(Reply reply, connection.run_one());
  const auto answer = items(reply.get());
  if (answer.size() != 3)
    return fail(Code::kInternal,
                connection.place() + ": the answer about topic " + std::string(topic) + " is incomplete");
  UTP_TRY(TopicRecord record, read_record(topic, text(answer[0]), connection.place()));
  record.epoch = text(answer[2]);
  const bool fresh = number(answer[1]) == 1;
  if (change && !fresh) {
    if (record.options.partitions != options.partitions) {
      return fail(Code::kAlreadyExists, "topic " + std::string(topic) + " has " +
                                            std::to_string(record.options.partitions) +
                                            " partitions, which cannot become " + std::to_string(options.partitions) +
                                            "; keep the number, or use another topic");
    }
    record.options = options;
    connection.add(Script::kTopic, {keys_.topics(), keys_.bus()}, {topic, write_record(record), "1", record.epoch});
    UTP_CHECK(connection.run_one());
  }
  for (std::uint32_t p = 0; p < record.options.partitions; ++p) {
    connection.add(Script::kOpen, {keys_.stream(topic, p), keys_.bus()}, {connection.run(), "", "0", "1", record.created});
  }
  UTP_TRY(auto opened, connection.run_all());
  for (auto& one : opened) {
    if (!one) return fail(std::move(one.error()));
  }
  if (fresh) UTP_CHECK(announce(connection, "topic", topic));
  return record;
}

Status Server::trim_topic(Connection& connection, const TopicRecord& record) const {
  UTP_CHECK(connection.ensure());
  const std::string bytes_each = std::to_string(std::max<std::uint64_t>(retention_bytes(record) / record.options.partitions, 1));
  const std::string age_us = std::to_string(record.options.retention_ns / 1000);
  for (std::uint32_t p = 0; p < record.options.partitions; ++p) {
    connection.add(Script::kTrim, keys_.stream(record.topic, p), {bytes_each, age_us});
  }
  UTP_TRY(auto replies, connection.run_all());
  for (auto& reply : replies) {
    if (!reply) return fail(std::move(reply.error()));
  }
  return {};
}

Status Server::announce(Connection& connection, std::string_view what, std::string_view name) const {
  UTP_CHECK(connection.ensure());
  connection.add({"XADD", keys_.changes(), "MAXLEN", "~", kChangesMax, "*", what, name});
  UTP_CHECK(connection.run_one());
  return {};
}

}  // namespace utp::redis_bus
