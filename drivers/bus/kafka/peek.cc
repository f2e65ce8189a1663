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

// Nothing more is asked of a partition once a message of it, or its end, has come.
Result<PerPartition<Peeked>> Peek::look(const PerPartition<std::int64_t>& at) {
  PerPartition<Peeked> found;
  if (at.empty()) return found;
  const List list = new_list(at.size());
  std::set<Partition> waiting;
  for (const auto& [partition, offset] : at) {
    add(list, partition.first, partition.second, offset);
    waiting.insert(partition);
  }
  PerPartition<std::uint64_t> counts;
  const auto take = [&](const rd_kafka_message_t& record) {
    if (record.rkt == nullptr) return;
    const Partition partition{rd_kafka_topic_name(record.rkt), static_cast<std::uint32_t>(record.partition)};
    if (record.err && record.err != RD_KAFKA_RESP_ERR__PARTITION_EOF) return;
    waiting.erase(partition);
    if (record.err || !at.contains(partition)) return;
    if (counts[partition]++ == 0) found[partition].time = time_of(record);
    found[partition].bytes += bytes_of(record);
  };
  const auto read = [&](int timeout_ms) {
    rd_kafka_message_t* record = nullptr;
    if (rd_kafka_consume_batch_queue(queue_.get(), timeout_ms, &record, 1) != 1) return false;
    take(*Record(record));
    return true;
  };
  std::lock_guard lock(mutex_);
  if (const auto error = rd_kafka_assign(client_.get(), list.get()))
    return fail_with(options_, "reading messages", error);
  const std::int64_t deadline = steady_ns() + options_.answer_timeout_ns;
  while (!waiting.empty() && steady_ns() < deadline) read(millis(deadline - steady_ns()));
  // What came along tells about sizes.
  for (std::size_t i = 0; i < kMoreMax * at.size() && waiting.empty() && read(0); ++i) continue;
  (void)rd_kafka_assign(client_.get(), nullptr);
  if (!waiting.empty()) return fail_with(options_, "reading messages", RD_KAFKA_RESP_ERR__TIMED_OUT);
  for (auto& [partition, one] : found) one.bytes /= counts[partition];
  return found;
}

}  // namespace utp::kafka_bus
