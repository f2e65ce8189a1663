// How a message of the bus is written as a Kafka record.
#pragma once

#include <librdkafka/rdkafka.h>

#include <cstdint>

#include "core/clock.h"

namespace utp::kafka_bus {

// What a record takes beyond key and value: its headers and framing, about.
inline constexpr std::uint64_t kRecordOverhead = 90;

// A record's time has whole milliseconds: the publish time rounded down.
inline constexpr std::int64_t kMsNs = 1'000'000;
inline std::int64_t record_ms(Timestamp time) { return time.ns / kMsNs; }
inline Timestamp time_of(const rd_kafka_message_t& record) {
  return {rd_kafka_message_timestamp(&record, nullptr) * kMsNs};
}

inline std::uint64_t bytes_of(const rd_kafka_message_t& record) {
  return record.len + record.key_len + kRecordOverhead;
}

// Positions count from 1: a position is the number of messages the partition had with this one, and what Kafka commits.
inline std::uint64_t position_of(std::int64_t offset) { return static_cast<std::uint64_t>(offset) + 1; }

}  // namespace utp::kafka_bus
