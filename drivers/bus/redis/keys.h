// Names of keys, and positions as stream ids.
//
// An entry's id is <generation>-<number>: the number counts the partition's messages from 1, without gaps, and is that of the
// entry's last message; the generation changes when the server has been started anew, so that the numbers a lost tail had used
// give other ids and positions.
#pragma once

#include <charconv>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace utp::redis_bus {

inline constexpr int kNumberBits = 42;  // 4.4e12 messages: seven years of 20,000 a second in one partition
inline constexpr std::uint64_t kNumberMax = (std::uint64_t{1} << kNumberBits) - 1;
inline constexpr std::uint64_t kGenerationMax = (std::uint64_t{1} << (64 - kNumberBits)) - 1;

// How many messages the partition had with this one.
inline std::uint64_t number_of(std::uint64_t position) { return position & kNumberMax; }

inline std::string id_of(std::uint64_t position) {
  char text[48];
  char* end = std::to_chars(text, text + sizeof text, position >> kNumberBits).ptr;
  *end++ = '-';
  return {text, std::to_chars(end, text + sizeof text, number_of(position)).ptr};
}

// Nothing where the id is not one of this bus.
inline std::optional<std::uint64_t> position_of(std::string_view id) {
  std::uint64_t generation = 0;
  std::uint64_t number = 0;
  const char* end = id.data() + id.size();
  const auto first = std::from_chars(id.data(), end, generation);
  if (first.ec != std::errc() || first.ptr == end || *first.ptr != '-') return {};
  const auto second = std::from_chars(first.ptr + 1, end, number);
  if (second.ec != std::errc() || second.ptr != end || generation > kGenerationMax || number > kNumberMax) return {};
  return generation << kNumberBits | number;
}

// The first pair of braces decides the slot of a key: in a cluster the whole bus has one.
inline std::string cluster_prefix(const std::string& prefix) { return "{" + prefix + "}"; }

class Keys {
 public:
  explicit Keys(const std::string& prefix) : prefix_(prefix + ":") {}
  std::string topics() const { return prefix_ + "topics"; }
  std::string bus() const { return prefix_ + "bus"; }
  std::string changes() const { return prefix_ + "changes"; }
  std::string members(std::string_view group) const { return prefix_ + "members:" + std::string(group); }
  std::string stream(std::string_view topic, std::uint32_t partition) const {
    return prefix_ + "{" + std::string(topic) + "}:" + std::to_string(partition);
  }

 private:
  std::string prefix_;
};

}  // namespace utp::redis_bus
