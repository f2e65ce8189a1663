// What the server does in one step: small Lua scripts, each on the keys of one partition (or of one group's members).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace utp::redis_bus {

// Every script takes one key, the partition's stream (kMembers: the group's members; kTopic: the topics), and names its
// other keys by it.
enum class Script : std::uint8_t {
  kPublish,  // run, the publisher's last id or "", 1 when it may create, the topic's creation, then key and value of
             // each message → the last id, or "gone" where the topic is not the one of that creation
  kStart,    // group or "", "earliest" "latest" "time", time → the id before the first to be read
  kLease,    // group, member, epoch or "", 1 when the partition is to be its own, lease in us, 1 when idle, passes
  kAcknowledge,  // group, member, epoch, id, lease in us or "" to release, passes, 1 when the id may be ahead of the
                 // stream
  kNote,         // group, member, epoch, passes, 1 to release
  kTake,         // group, member, epoch → trimmed unread and not yet reported
  kTrim,         // bytes or 0, age in us or 0
  kStats,
  kForget,   // group
  kTopic,    // topic, record, 1 to change one that is there → the record that stands, 1 when it is new
  kMembers,  // member, lease in us, patterns → 1 when others should know, then the others' name, us left, patterns
};
inline constexpr std::size_t kScripts = 11;

std::string script_text(Script script);

}  // namespace utp::redis_bus
