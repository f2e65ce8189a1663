// What the server does in one step: small Lua scripts, each on the keys of one partition (or of one group's members).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace utp::redis_bus {

// A script's key is the partition's stream, and it names its other keys by it. Some take more keys, or others.
enum class Script : std::uint8_t {
  kOpen,     // keys: stream, bus; run, the publisher's last id or "", 1 when that is of an earlier run, 1 when it may create,
             // the topic's creation → the generation in which to publish, or "gone" where the topic is not of that creation
  kPublish,  // keys: bus, streams; epoch, how many of the streams, the first ones, get one message, the id of those
             // (<generation>-*), key and value for each; then for each other stream: id, how many single messages (at least
             // one), how many packs, key and value of each single, count, field without its time, and value of each pack
             // → the time, then for each stream the last id, nil where it is not there, or the server's refusal; or "gone"
             // where the epoch is another
  kStart,    // group or "", "earliest" "latest" "time", time → the id before the first to be read
  kLease,    // group, member, epoch or "", 1 when the partition is to be its own, lease in us, 1 when idle, passes
  kAcknowledge,  // group, member, epoch, id, lease in us or "" to release, passes, 1 when the id may be ahead of the
                 // stream
  kNote,         // group, member, epoch, passes, 1 to release
  kTake,         // group, member, epoch → trimmed unread and not yet reported
  kTrim,         // bytes or 0, age in us or 0
  kStats,
  kForget,   // group
  kTopic,    // keys: topics, bus; topic, record, 1 to change one that is there, epoch for a bus without one → the record
             // that stands, 1 when it is new, the epoch
  kMembers,  // key: the group's members; member, lease in us, patterns → 1 when others should know, then the others' name, us left, patterns
};
inline constexpr std::size_t kScripts = 12;

std::string script_text(Script script);

// The first and the last command of a transaction whose other commands are plain XADDs with ids and a time that the publisher
// names. What the guard does not let through is held: it takes no ids until the release. Neither may be missing from the
// transaction, so they are sent as texts.
// The guard's keys: bus, streams with several entries; epoch, time, how much older than the server's clock that may be in ms,
// the streams with one entry, a line each; then for each key but the first: id, key and value of the first message, which is
// in its place only if nobody else has written since, and the server's count of entries behind it or "" → the newest time, then
// for each of these streams the id or the server's refusal, nothing for any where the time is wrong; or "gone" where the epoch
// is another. The release's key: bus.
std::string_view guard_text();
std::string_view release_text();

}  // namespace utp::redis_bus
