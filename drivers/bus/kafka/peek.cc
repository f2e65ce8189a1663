#include "drivers/bus/kafka/peek.h"

#include <set>

#include "drivers/bus/kafka/record.h"

namespace utp::kafka_bus {
namespace {

constexpr std::size_t kMoreMax = 50;  // messages of a partition that are looked at because they came along

}  // namespace

Result<std::unique_ptr<Peek>> Peek::open(const KafkaBusOptions& options) {
  std::unique_ptr<Peek> peek(new Peek(options));
  // The group's name is asked for by librdkafka; nothing joins it and nothing is committed.
  UTP_TRY(peek->client_,
          new_client(RD_KAFKA_CONSUMER, options,
                     {{"group.id", options.prefix + "utp.look"},
                      {"enable.auto.commit", "false"},
                      {"enable.partition.eof", "true"},
                      {"auto.offset.reset", "earliest"},
                      {"queued.min.messages", "100000"},  // where so many wait, librdkafka looks again after a second
                      {"fetch.wait.max.ms", "10"},
                      {"fetch.error.backoff.ms", "50"},
                      {"fetch.message.max.bytes", "65536"}}));
  peek->queue_.reset(rd_kafka_queue_get_consumer(peek->client_.get()));
  return peek;
}

Peek::~Peek() {
  queue_.reset();
  client_.reset();
}

Status Peek::read(const PerPartition<std::int64_t>& from,
                  const std::function<bool(const Partition&, std::int64_t offset, const rd_kafka_message_t*)>& take) {
  if (from.empty()) return {};
  const List list = new_list(from.size());
  std::set<Partition> waiting;
  for (const auto& [partition, offset] : from) {
    add(list, partition.first, partition.second, offset);
    waiting.insert(partition);
  }
  std::lock_guard lock(mutex_);
  if (const auto error = rd_kafka_assign(client_.get(), list.get()))
    return fail_with(options_, "reading messages", error);
  const std::int64_t deadline = steady_ns() + options_.answer_timeout_ns;
  Status status;
  while (!waiting.empty()) {
    const Event event(rd_kafka_queue_poll(queue_.get(), millis(deadline - steady_ns())));
    if (!event && steady_ns() >= deadline) {
      status = fail_with(options_, "reading messages", RD_KAFKA_RESP_ERR__TIMED_OUT);
      break;
    }
    if (rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_ERROR) {
      const std::unique_ptr<rd_kafka_topic_partition_t, Free<rd_kafka_topic_partition_destroy>> part(
          rd_kafka_event_topic_partition(event.get()));
      if (!part) continue;
      const Partition partition{part->topic, static_cast<std::uint32_t>(part->partition)};
      if (waiting.erase(partition) > 0 && rd_kafka_event_error(event.get()) == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        (void)take(partition, part->offset, nullptr);
      }
      continue;
    }
    const rd_kafka_message_t* record =
        rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_FETCH ? rd_kafka_event_message_next(event.get()) : nullptr;
    if (record == nullptr || record->err) continue;
    const Partition partition{rd_kafka_topic_name(record->rkt), static_cast<std::uint32_t>(record->partition)};
    if (from.contains(partition) && take(partition, record->offset, record)) waiting.erase(partition);
  }
  // What came along tells about sizes.
  for (std::size_t i = 0; i < kMoreMax * from.size() && status; ++i) {
    const Event event(rd_kafka_queue_poll(queue_.get(), 0));
    if (!event) break;
    const rd_kafka_message_t* record =
        rd_kafka_event_type(event.get()) == RD_KAFKA_EVENT_FETCH ? rd_kafka_event_message_next(event.get()) : nullptr;
    if (record == nullptr || record->err) continue;
    const Partition partition{rd_kafka_topic_name(record->rkt), static_cast<std::uint32_t>(record->partition)};
    if (from.contains(partition)) (void)take(partition, record->offset, record);
  }
  (void)rd_kafka_assign(client_.get(), nullptr);
  return status;
}

Result<PerPartition<Peeked>> Peek::look(const PerPartition<std::int64_t>& at) {
  struct Sum {
    Timestamp time;
    std::uint64_t bytes = 0;
    std::uint64_t count = 0;
  };
  PerPartition<Sum> sums;
  UTP_CHECK(read(at, [&](const Partition& partition, std::int64_t, const rd_kafka_message_t* record) {
    if (record == nullptr) return true;
    Sum& sum = sums[partition];
    if (sum.count == 0) sum.time = time_of(*record);
    sum.bytes += bytes_of(*record);
    ++sum.count;
    return true;
  }));
  PerPartition<Peeked> found;
  for (const auto& [partition, sum] : sums) found[partition] = {sum.time, sum.bytes / sum.count};
  return found;
}

Result<PerPartition<std::int64_t>> Peek::first_since(const PerPartition<std::int64_t>& from, Timestamp time) {
  PerPartition<std::int64_t> found;
  UTP_CHECK(read(from, [&](const Partition& partition, std::int64_t offset, const rd_kafka_message_t* record) {
    if (record != nullptr && time_of(*record) < time) return false;
    found.try_emplace(partition, offset);
    return true;
  }));
  return found;
}

}  // namespace utp::kafka_bus
