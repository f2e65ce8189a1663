// The embedded bus: a durable log in a directory of one machine, shared by several processes. See README.md beside this
// file for the mapping of the bus contract, the files and the limits.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "bus/bus.h"
#include "core/clock.h"
#include "core/result.h"

namespace utp {

struct EmbeddedBusOptions {
  std::string directory;  // created when absent; its parent must exist

  // A segment is the unit that retention removes and that a reader maps. Small enough that removal is fine-grained (a
  // sixteenth of the default limit), large enough that ending one, which waits for the disk, is rare: about 600,000 quotes.
  std::uint64_t segment_bytes = std::uint64_t{256} << 20;
  std::int64_t segment_ns = 3'600'000'000'000;  // a segment older than this is closed at the next publish

  // What a topic may keep on disk when its TopicOptions name no limit: some ten million quotes, and small against the
  // disk of a laptop.
  std::uint64_t retention_bytes = std::uint64_t{4} << 30;
  TopicOptions default_topic;     // for topics that publishing creates
  // A spool: nothing that a group has not acknowledged, or that none has begun to read, is removed; at the limit publish says
  // kFull. Kept in the directory: once set, it holds for every process that opens it.
  bool keep_unread = false;
  std::int64_t trim_every_ns = 10'000'000'000;  // how often each process that has the bus open runs retention

  std::uint64_t cursor_map_bytes = std::uint64_t{256} << 20;  // cursors, groups, topics: about 300 bytes each
  std::int64_t cursor_sync_ns = 1'000'000'000;  // acknowledgements survive power loss after at most this; else redelivered
  std::uint32_t partitions_max = 1024;          // per topic; each is a directory with a mapped segment

  std::string boot_id;            // "" = the kernel's; a test sets it to stand for a restart of the machine
  const Clock* clock = nullptr;   // publish times, leases, retention; nullptr = the machine's. Outlives the bus.
};

inline constexpr std::size_t kEmbeddedBusKeyBytesMax = 4096;

// kNotFound or kPermission for the directory, kUnsupported when it was written by another version of this format,
// kInvalidArgument when it holds something else, kUnavailable when it cannot be recovered now. After a power loss the
// unsynced tail is dropped and counted here, before anybody reads. Several buses on one directory in one process share
// what they open. Do not use a bus in a child made by fork() without exec().
[[nodiscard]] Result<std::unique_ptr<Bus>> open_embedded_bus(const EmbeddedBusOptions& options);

}  // namespace utp
