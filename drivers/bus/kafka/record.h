// How a message of the bus is written as a Kafka record.
#pragma once

#include <librdkafka/rdkafka.h>

#include <charconv>
#include <cstdint>
#include <string_view>

#include "core/clock.h"

namespace utp::kafka_bus {

// Kafka's own time has milliseconds only.
inline constexpr const char* kTimeHeader = "utp-time-ns";

// What a record takes beyond key and value: its headers and framing, about.
inline constexpr std::uint64_t kRecordOverhead = 110;

inline Timestamp time_of(const rd_kafka_message_t& record) {
  rd_kafka_headers_t* headers = nullptr;
  const void* value = nullptr;
  std::size_t size = 0;
  if (rd_kafka_message_headers(&record, &headers) == RD_KAFKA_RESP_ERR_NO_ERROR &&
      rd_kafka_header_get_last(headers, kTimeHeader, &value, &size) == RD_KAFKA_RESP_ERR_NO_ERROR) {
    const char* text = static_cast<const char*>(value);
    std::int64_t ns = 0;
    if (std::from_chars(text, text + size, ns).ec == std::errc()) return {ns};
  }
  return {rd_kafka_message_timestamp(&record, nullptr) * 1'000'000};  // another program's
}

inline std::uint64_t bytes_of(const rd_kafka_message_t& record) {
  return record.len + record.key_len + kRecordOverhead;
}

// Positions count from 1: a position is the number of messages the partition had with this one, and what Kafka commits.
inline std::uint64_t position_of(std::int64_t offset) { return static_cast<std::uint64_t>(offset) + 1; }

}  // namespace utp::kafka_bus
