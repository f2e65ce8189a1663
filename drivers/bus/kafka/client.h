// librdkafka's handles with owners, the settings that all of them share, and its errors as ours.
#pragma once

#include <librdkafka/rdkafka.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "drivers/bus/kafka/kafka_bus.h"

namespace utp::kafka_bus {

template <auto function>
struct Free {
  template <class T>
  void operator()(T* pointer) const {
    function(pointer);
  }
};
using Queue = std::unique_ptr<rd_kafka_queue_t, Free<rd_kafka_queue_destroy>>;
using Event = std::unique_ptr<rd_kafka_event_t, Free<rd_kafka_event_destroy>>;
using Record = std::unique_ptr<rd_kafka_message_t, Free<rd_kafka_message_destroy>>;
using RdError = std::unique_ptr<rd_kafka_error_t, Free<rd_kafka_error_destroy>>;
using List = std::unique_ptr<rd_kafka_topic_partition_list_t, Free<rd_kafka_topic_partition_list_destroy>>;

// Without leaving a group in order: whoever is in one does that first. Waits for a bounded time: librdkafka 2.0 may
// wait for ever for a partition that was removed from the cluster while it was read.
struct FreeClient {
  void operator()(rd_kafka_t* rk) const;
};
using Client = std::unique_ptr<rd_kafka_t, FreeClient>;

inline List new_list(std::size_t size = 8) { return List(rd_kafka_topic_partition_list_new(static_cast<int>(size))); }
inline rd_kafka_topic_partition_t* add(const List& list, const std::string& name, std::uint32_t partition,
                                       std::int64_t offset) {
  auto* part = rd_kafka_topic_partition_list_add(list.get(), name.c_str(), static_cast<std::int32_t>(partition));
  part->offset = offset;
  return part;
}
// The text that a commit carries beside its offset.
inline void set_note(rd_kafka_topic_partition_t* part, std::string_view note) {
  if (note.empty()) return;
  part->metadata = std::malloc(note.size());  // librdkafka frees it
  std::memcpy(part->metadata, note.data(), note.size());
  part->metadata_size = note.size();
}
inline std::string note_of(const rd_kafka_topic_partition_t& part) {
  return part.metadata_size == 0 ? std::string()
                                 : std::string(static_cast<const char*>(part.metadata), part.metadata_size);
}
inline std::span<rd_kafka_topic_partition_t> parts(const rd_kafka_topic_partition_list_t* list) {
  return list == nullptr ? std::span<rd_kafka_topic_partition_t>()
                         : std::span(list->elems, static_cast<std::size_t>(list->cnt));
}

struct Setting {
  const char* name;
  std::string value;
};
// `opaque` is what the callbacks of `configure` get.
Result<Client> new_client(rd_kafka_type_t type, const KafkaBusOptions& options, const std::vector<Setting>& settings,
                          void (*configure)(rd_kafka_conf_t*) = nullptr, void* opaque = nullptr);

std::string place(const KafkaBusOptions& options);  // for messages: "kafka host:port"
Error to_error(const KafkaBusOptions& options, std::string_view what, rd_kafka_resp_err_t error,
               std::string_view detail = {});
inline tl::unexpected<Error> fail_with(const KafkaBusOptions& options, std::string_view what, rd_kafka_resp_err_t error,
                                       std::string_view detail = {}) {
  return fail(to_error(options, what, error, detail));
}

bool is_refusal(rd_kafka_resp_err_t error);  // rights are missing

inline std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }
// Rounded up, within what librdkafka takes.
int millis(std::int64_t ns);

}  // namespace utp::kafka_bus
