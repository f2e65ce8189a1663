// Positions, and the names of streams, subjects and keys.
//
// A position is <generation>-<sequence> in 22 and 42 bits. The sequence is the stream's own: it counts the partition's messages
// without gaps. The generation changes when the server has been started anew or the stream was made again, so that sequences a
// lost tail had used give other positions (lineage.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace utp::nats_bus {

inline constexpr int kSequenceBits = 42;  // 4.4e12 messages: seven years of 20,000 a second in one partition
inline constexpr std::uint64_t kSequenceMax = (std::uint64_t{1} << kSequenceBits) - 1;

inline std::uint64_t sequence_of(std::uint64_t position) { return position & kSequenceMax; }
inline std::uint64_t generation_of(std::uint64_t position) { return position >> kSequenceBits; }
inline std::uint64_t position_at(std::uint64_t generation, std::uint64_t sequence) { return generation << kSequenceBits | sequence; }
std::string write_position(std::uint64_t position);                     // "3-1041"
std::optional<std::uint64_t> read_position(std::string_view text);

// A whole decimal number, or nothing.
std::optional<std::uint64_t> read_number(std::string_view text);

// What stands behind "name": in an answer of the server, where it comes first. Good for answers whose texts have no quotes.
std::optional<std::uint64_t> json_number(std::string_view json, std::string_view name);
std::string json_text(std::string_view json, std::string_view name);

// Bytes outside of `plain` become <mark>XX, so that any text is a token of a subject, a key or a header.
std::string encode_token(std::string_view text);         // [A-Za-z0-9_-] stay; mark '='
std::string decode_token(std::string_view text);
std::string encode_header(std::string_view text);        // printable ASCII stays; mark '%'
std::string decode_header(std::string_view text);

struct TopicPartition {
  std::string topic;
  std::uint32_t partition = 0;
};

class Names {
 public:
  explicit Names(std::string prefix) : prefix_(std::move(prefix)) {}
  // Stream names have no dots; topics have no '+'.
  std::string stream(std::string_view topic, std::uint32_t partition) const;
  std::optional<TopicPartition> read_stream(std::string_view name) const;
  std::string subject(std::string_view topic, std::uint32_t partition) const;
  std::string all_subjects() const { return prefix_ + ".*.>"; }
  // The key-value bucket, as the server's tools know it, and as the stream that it is.
  const std::string& bucket() const { return prefix_; }
  std::string bucket_stream() const { return "KV_" + prefix_; }
  std::string key_subject(std::string_view key) const { return "$KV." + prefix_ + "." + std::string(key); }

 private:
  std::string prefix_;
};

// Keys of the bucket.
inline constexpr std::string_view kTopicsKey = "topics";  // the topic of which a stream was made last: wakes subscriptions
inline constexpr std::string_view kClockKey = "clock";    // its entry's time is the server's clock
std::string lineage_key(std::string_view topic, std::uint32_t partition);
std::string group_prefix(std::string_view group);  // ends with a dot; all keys of the group begin with it
std::string record_key(std::string_view group, std::string_view topic, std::uint32_t partition);
std::string member_key(std::string_view group, std::string_view member);

// What a key below "group." is about.
struct GroupKey {
  std::string group;
  std::string member;  // "" for a record
  std::string topic;
  std::uint32_t partition = 0;
};
std::optional<GroupKey> read_group_key(std::string_view key);

}  // namespace utp::nats_bus
