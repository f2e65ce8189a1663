#include "drivers/bus/kafka/server.h"

#include <algorithm>
#include <charconv>
#include <sstream>
#include <thread>

#include "core/clock.h"
#include "core/log.h"
#include "drivers/bus/kafka/record.h"
#include "model/envelope.h"

namespace utp::kafka_bus {
namespace {

constexpr std::int64_t kLeaseMinMs = 6000;  // Kafka's own default, where a broker does not tell
// How long the report of one loss by another publisher is taken for the same one.
constexpr std::int64_t kSameLossNs = 600'000'000'000;

// Kafka removes whole segments, never the newest: with some eight to a limit its own removal is close enough.
Settings retention_settings(const TopicOptions& options, std::uint64_t retention_bytes) {
  constexpr std::uint64_t kSegmentMin = 1 << 20;
  constexpr std::uint64_t kSegmentMax = 1 << 30;
  constexpr std::int64_t kSegmentMinMs = 60'000;
  constexpr std::int64_t kSegmentMaxMs = std::int64_t{7} * 24 * 3600 * 1000;
  const std::uint64_t bytes = std::max<std::uint64_t>(retention_bytes / options.partitions, 1);
  const std::int64_t age_ms = options.retention_ns == 0 ? -1 : std::max<std::int64_t>(options.retention_ns / kMsNs, 1);
  return {{"cleanup.policy", "delete"},
          {"retention.ms", std::to_string(age_ms)},
          {"retention.bytes", std::to_string(bytes)},
          {"segment.bytes", std::to_string(std::clamp(bytes / 8, kSegmentMin, kSegmentMax))},
          {"segment.ms",
           std::to_string(age_ms < 0 ? kSegmentMaxMs : std::clamp(age_ms / 8, kSegmentMinMs, kSegmentMaxMs))}};
}

std::int64_t number(std::string_view text) {
  std::int64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

void listen_for_refusal(rd_kafka_conf_t* conf) {
  rd_kafka_conf_set_error_cb(conf, [](rd_kafka_t*, int error, const char*, void* refused) {
    if (error == RD_KAFKA_RESP_ERR__AUTHENTICATION || error == RD_KAFKA_RESP_ERR__SSL)
      static_cast<std::atomic<int>*>(refused)->store(error);
  });
}

}  // namespace

// librdkafka tries for ever: a refusal and the end of patience are told here.
Status Server::connect() {
  constexpr int kStepMs = 100;
  const std::int64_t deadline = steady_ns() + options_.connect_timeout_ns;
  for (;;) {
    const rd_kafka_metadata_t* metadata = nullptr;
    const auto error = rd_kafka_metadata(client_.get(), 0, nullptr, &metadata, kStepMs);
    if (!error) {
      rd_kafka_metadata_destroy(metadata);
      return {};
    }
    rd_kafka_poll(client_.get(), 0);
    if (const int refused = refused_.load())
      return fail_with(options_, "the connection is refused", static_cast<rd_kafka_resp_err_t>(refused));
    if (steady_ns() >= deadline) return fail_with(options_, "no broker answers: look at its address, and whether it speaks what `security` says", error);
  }
}

Result<std::shared_ptr<Server>> Server::open(const KafkaBusOptions& options) {
  constexpr std::size_t kPrefixMax = 40;
  const bool good =
      options.prefix.size() <= kPrefixMax && std::all_of(options.prefix.begin(), options.prefix.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
      });
  if (!good) {
    return fail(Code::kInvalidArgument, place(options) + ": the prefix \"" + options.prefix +
                                            "\" is not one; give at most " + std::to_string(kPrefixMax) +
                                            " letters, digits, '.', '_' or '-'");
  }
  std::shared_ptr<Server> server(new Server(options));
  UTP_TRY(server->client_, new_client(RD_KAFKA_PRODUCER, options, {}, listen_for_refusal, &server->refused_));
  UTP_CHECK(server->connect());
  server->admin_ = std::make_unique<Admin>(server->client_.get(), server->options_);
  UTP_TRY(server->peek_, Peek::open(server->options_));
  UTP_TRY(const std::string lease_min, server->admin_->broker_setting("group.min.session.timeout.ms"));
  server->lease_min_ns_ = (lease_min.empty() ? kLeaseMinMs : number(lease_min)) * kMsNs;
  return server;
}

// ---- topics ----

Result<std::vector<TopicRecord>> Server::topics() const {
  UTP_TRY(const auto all, admin_->topics());
  std::vector<TopicRecord> records;
  for (const auto& [name, partitions] : all) {
    if (!name.starts_with(options_.prefix) || name.starts_with("__")) continue;
    std::string topic = name.substr(options_.prefix.size());
    if (!check_topic(topic)) continue;
    records.push_back({std::move(topic), name, partitions, false});
  }
  return records;
}

Result<TopicRecord> Server::create_topic(std::string_view topic, const TopicOptions& options, bool change) const {
  if (options.partitions == 0 || options.partitions > options_.partitions_max) {
    return fail(Code::kInvalidArgument, "topic " + std::string(topic) + ": " + std::to_string(options.partitions) +
                                            " partitions; give 1 to " + std::to_string(options_.partitions_max));
  }
  TopicRecord record{std::string(topic), name_of(topic), 0, false};
  const Settings settings =
      retention_settings(options, options.retention_bytes != 0 ? options.retention_bytes : options_.retention_bytes);
  // A topic that was made is known everywhere a moment later.
  const std::int64_t deadline = steady_ns() + options_.answer_timeout_ns;
  for (bool tried = false;; tried = true) {
    UTP_TRY(const auto all, admin_->topics());
    if (const auto found = all.find(record.name); found != all.end()) {
      record.partitions = found->second;
      if (!tried) break;
      UTP_TRY(const auto ends, admin_->offsets(record.all(), Admin::kEnd));
      if (ends.size() == record.partitions) break;
    }
    if (!tried) {
      UTP_TRY(record.made, admin_->create_topic(record.name, options.partitions, settings));
    } else if (steady_ns() < deadline) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    } else {
      return fail_with(options_, "topic " + record.topic + " was made and cannot be seen",
                       RD_KAFKA_RESP_ERR__TIMED_OUT);
    }
  }
  if (!change || record.made) return record;
  if (record.partitions != options.partitions) {
    return fail(Code::kAlreadyExists, "topic " + record.topic + " has " + std::to_string(record.partitions) +
                                          " partitions, which cannot become " + std::to_string(options.partitions) +
                                          "; keep the number, or use another topic");
  }
  UTP_CHECK(admin_->change_settings(record.name, settings));
  return record;
}

// ---- places ----

Result<PerPartition<Watermarks>> Server::watermarks(const std::vector<Partition>& partitions) const {
  UTP_TRY(const auto low, admin_->offsets(partitions, Admin::kBegin));
  UTP_TRY(const auto high, admin_->offsets(partitions, Admin::kEnd));
  PerPartition<Watermarks> all;
  for (const auto& [partition, offset] : low) {
    if (const auto end = high.find(partition); end != high.end())
      all[partition] = {offset, std::max(offset, end->second)};
  }
  return all;
}

Result<PerPartition<std::int64_t>> Server::places(const std::vector<Partition>& partitions, const Start& start) const {
  if (start.kind == Start::Kind::kEarliest) return admin_->offsets(partitions, Admin::kBegin);
  UTP_TRY(auto ends, admin_->offsets(partitions, Admin::kEnd));
  if (start.kind == Start::Kind::kLatest) return ends;
  const Timestamp last_before{std::max<std::int64_t>(start.time.ns, 0) + kMsNs - 1};  // rounded up
  UTP_TRY(const auto since, admin_->offsets(partitions, record_ms(last_before)));
  for (const auto& [partition, offset] : since) {
    if (offset >= 0) ends[partition] = std::min(offset, ends[partition]);
  }
  return ends;
}

Result<PerPartition<std::map<std::int64_t, Timestamp>>> Server::times(
    const PerPartition<std::set<std::int64_t>>& at) const {
  PerPartition<std::map<std::int64_t, Timestamp>> times;
  PerPartition<std::set<std::int64_t>> left = at;
  while (!left.empty()) {  // one message of each partition at a time
    PerPartition<std::int64_t> now;
    for (auto& [partition, offsets] : left) {
      now[partition] = *offsets.begin();
      offsets.erase(offsets.begin());
    }
    std::erase_if(left, [](const auto& entry) { return entry.second.empty(); });
    UTP_TRY(const auto peeked, peek_->look(now));
    for (const auto& [partition, one] : peeked) times[partition][now[partition]] = one.time;
  }
  return times;
}

// ---- retention ----

Result<PerPartition<std::uint64_t>> Server::bytes(const PerPartition<Watermarks>& watermarks) const {
  constexpr std::int64_t kLooks = 8;     // at so many places of a partition
  constexpr std::int64_t kChanged = 16;  // when a sixteenth of it is new
  PerPartition<Watermarks> due;
  {
    std::lock_guard lock(sizes_mutex_);
    for (const auto& [partition, marks] : watermarks) {
      if (marks.high <= marks.low) continue;
      const auto known = sizes_.find(partition);
      const bool same =
          known != sizes_.end() && marks.high >= known->second.at.high &&
          (marks.high - known->second.at.high + marks.low - known->second.at.low) * kChanged <= marks.high - marks.low;
      if (!same) due[partition] = marks;
    }
  }
  PerPartition<Size> found;
  PerPartition<std::uint64_t> sums;
  PerPartition<std::uint64_t> counts;
  for (std::int64_t i = 0; i < kLooks && !due.empty(); ++i) {
    PerPartition<std::int64_t> at;
    for (const auto& [partition, marks] : due) {
      if (i == 0 || marks.high - marks.low >= kLooks)
        at[partition] = marks.low + (marks.high - marks.low - 1) * i / (kLooks - 1);
    }
    UTP_TRY(const auto peeked, peek_->look(at));
    for (const auto& [partition, one] : peeked) {
      sums[partition] += one.bytes;
      ++counts[partition];
    }
  }
  std::lock_guard lock(sizes_mutex_);
  for (const auto& [partition, sum] : sums) sizes_[partition] = {due[partition], sum / counts[partition]};
  PerPartition<std::uint64_t> bytes;
  for (const auto& [partition, marks] : watermarks) {
    const auto known = sizes_.find(partition);
    bytes[partition] =
        known == sizes_.end() ? 0 : known->second.average * static_cast<std::uint64_t>(marks.high - marks.low);
  }
  return bytes;
}

Status Server::trim_by_age(const PerPartition<std::int64_t>& ages_ms) const {
  std::map<std::int64_t, std::vector<Partition>> by_age;
  for (const auto& [partition, ms] : ages_ms) by_age[ms].push_back(partition);
  const std::int64_t now_ms = SystemClock().now().ns / kMsNs;
  for (const auto& [ms, partitions] : by_age) {
    UTP_TRY(const auto young, admin_->offsets(partitions, std::max<std::int64_t>(now_ms - ms + 1, 0)));
    UTP_TRY(const auto marks, watermarks(partitions));
    PerPartition<std::int64_t> before;
    for (const auto& [partition, at] : marks) {
      const auto found = young.find(partition);
      if (found == young.end()) continue;
      const std::int64_t cut = found->second >= 0 ? found->second : at.high;
      if (cut > at.low) before[partition] = cut;
    }
    UTP_CHECK(admin_->delete_records(before));
  }
  return {};
}

Status Server::trim_by_size(const PerPartition<std::uint64_t>& limits) const {
  constexpr int kRounds = 8;  // sizes are estimates: what is left is looked at again
  std::vector<Partition> partitions;
  for (const auto& [partition, limit] : limits) partitions.push_back(partition);
  for (int round = 0; round < kRounds && !partitions.empty(); ++round) {
    UTP_TRY(const auto marks, watermarks(partitions));
    UTP_TRY(const auto sizes, bytes(marks));
    PerPartition<std::int64_t> before;
    partitions.clear();
    for (const auto& [partition, at] : marks) {
      const std::uint64_t size = sizes.at(partition);
      const std::uint64_t limit = limits.at(partition);
      const auto count = static_cast<double>(at.high - at.low);
      if (size <= limit || at.high - at.low <= 1) continue;
      const auto kept = static_cast<std::int64_t>(count * static_cast<double>(limit) / static_cast<double>(size));
      before[partition] = std::min(at.high - std::max<std::int64_t>(kept, 1), at.high - 1);
      if (before[partition] <= at.low) before[partition] = at.low + 1;
      partitions.push_back(partition);
    }
    UTP_CHECK(admin_->delete_records(before));
  }
  return {};
}

Result<std::map<std::string, Server::Retention>> Server::retention(const std::vector<TopicRecord>& topics) const {
  std::vector<std::string> names;
  for (const TopicRecord& record : topics) names.push_back(record.name);
  UTP_TRY(auto settings, admin_->topic_settings(names, true));
  std::map<std::string, Retention> found;
  for (auto& [name, own] : settings) {
    found[name] = {std::max<std::int64_t>(number(own["retention.ms"]), 0),
                   static_cast<std::uint64_t>(std::max<std::int64_t>(number(own["retention.bytes"]), 0)),
                   own["cleanup.policy"] == "delete"};
  }
  return found;
}

Status Server::trim(const std::vector<TopicRecord>& topics) const {
  UTP_TRY(const auto limits_of, retention(topics));
  PerPartition<std::int64_t> ages;
  PerPartition<std::uint64_t> limits;
  for (const TopicRecord& record : topics) {
    const auto found = limits_of.find(record.name);
    if (found == limits_of.end() || !found->second.is_log) continue;
    for (const Partition& partition : record.all()) {
      if (found->second.ms > 0) ages[partition] = found->second.ms;
      if (found->second.partition_bytes > 0) limits[partition] = found->second.partition_bytes;
    }
  }
  const Status by_age = trim_by_age(ages);
  UTP_CHECK(trim_by_size(limits));
  return by_age;
}

// ---- what power loss took ----

// Offsets of a group that nobody joins: the offset is the count, its note the last range.
Status Server::record_lost(const Partition& partition, std::int64_t from, std::int64_t to) const {
  const std::string group = options_.prefix + kLostGroup;
  UTP_TRY(const auto known, admin_->committed(group, {partition}));
  const std::int64_t now = SystemClock().now().ns;
  std::int64_t count = 0;
  std::int64_t last_from = 0, last_to = 0, last_time = 0;
  if (const auto found = known.find(partition); found != known.end()) {
    count = found->second.offset;
    std::istringstream(found->second.note) >> last_from >> last_to >> last_time;
  }
  std::int64_t fresh = to - from;
  if (now - last_time < kSameLossNs && from < last_to && last_from < to) {
    fresh = std::max<std::int64_t>(last_from - from, 0) + std::max<std::int64_t>(to - last_to, 0);
    from = std::min(from, last_from);
    to = std::max(to, last_to);
  }
  if (fresh == 0) return {};
  log::error("messages that the cluster had confirmed are gone: it lost power, or its topic was removed",
             {{"topic", partition.first},
              {"partition", std::to_string(partition.second)},
              {"messages", std::to_string(fresh)}});
  const std::string note = std::to_string(from) + " " + std::to_string(to) + " " + std::to_string(now);
  UTP_CHECK(admin_->commit(group, {{partition, {count + fresh, note}}}));
  return {};
}

Result<PerPartition<std::uint64_t>> Server::lost(const std::vector<Partition>& partitions) const {
  UTP_TRY(const auto known, admin_->committed(options_.prefix + kLostGroup, partitions));
  PerPartition<std::uint64_t> lost;
  for (const auto& [partition, committed] : known) lost[partition] = static_cast<std::uint64_t>(committed.offset);
  return lost;
}

}  // namespace utp::kafka_bus
