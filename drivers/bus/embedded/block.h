// A block: messages of one publish, of one partition, under one key in a segment (the position of its last message), with
// a checksum of its own. Up to a few hundred messages share a block, so that appending costs a tree insertion per block.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "core/hash.h"
#include "core/result.h"
#include "core/timestamp.h"

namespace utp::embedded_bus {

// 64 KiB: large enough to make the tree's cost vanish, small enough that a reader of single messages skips little.
inline constexpr std::size_t kBlockBytes = 64 * 1024;
// The key of a sealed segment's last record; its value is a SealRecord.
inline constexpr std::uint64_t kSealKey = UINT64_MAX;

struct BlockHeader {
  std::uint64_t checksum = 0;  // of all that follows, and of the position
  std::int64_t publish_time_ns = 0;
  std::uint32_t count = 0;
  std::uint32_t reserved = 0;
};
struct EntryHeader {
  std::uint32_t key_bytes = 0;
  std::uint32_t value_bytes = 0;
};
struct SealRecord {
  std::uint64_t last_position = 0;
  std::int64_t last_time_ns = 0;
};

inline std::uint64_t block_checksum(const char* block, std::size_t bytes, std::uint64_t position) {
  return hash64({block + sizeof(std::uint64_t), bytes - sizeof(std::uint64_t)}) ^ (position * 0x9E3779B97F4A7C15ull);
}

inline std::size_t entry_bytes(std::string_view key, std::string_view value) {
  return sizeof(EntryHeader) + key.size() + value.size();
}

inline char* append_entry(char* out, std::string_view key, std::string_view value) {
  const EntryHeader header{static_cast<std::uint32_t>(key.size()), static_cast<std::uint32_t>(value.size())};
  std::memcpy(out, &header, sizeof header);
  out += sizeof header;
  if (!key.empty()) std::memcpy(out, key.data(), key.size());
  out += key.size();
  if (!value.empty()) std::memcpy(out, value.data(), value.size());
  return out + value.size();
}

// Walks a block's messages. Every length is checked against the block's end.
class BlockReader {
 public:
  // False when the bytes are no intact block at this position.
  bool open(std::string_view bytes, std::uint64_t last_position, bool verify) {
    if (bytes.size() < sizeof(BlockHeader)) return false;
    std::memcpy(&header_, bytes.data(), sizeof header_);
    if (header_.count == 0 || header_.count > last_position) return false;
    if (verify && header_.checksum != block_checksum(bytes.data(), bytes.size(), last_position)) return false;
    rest_ = bytes.substr(sizeof header_);
    position_ = last_position - header_.count + 1;
    last_ = last_position;
    return true;
  }
  Timestamp publish_time() const { return {header_.publish_time_ns}; }
  std::uint64_t first_position() const { return last_ - header_.count + 1; }

  // The next message; false at the end or when the block is not what was written (broken() tells).
  bool next(std::uint64_t& position, std::string_view& key, std::string_view& value) {
    if (position_ > last_ || broken_) return false;
    EntryHeader entry;
    if (rest_.size() < sizeof entry) return set_broken();
    std::memcpy(&entry, rest_.data(), sizeof entry);
    const std::uint64_t bytes = std::uint64_t{entry.key_bytes} + entry.value_bytes;
    if (rest_.size() - sizeof entry < bytes) return set_broken();
    key = rest_.substr(sizeof entry, entry.key_bytes);
    value = rest_.substr(sizeof entry + entry.key_bytes, entry.value_bytes);
    rest_.remove_prefix(sizeof entry + static_cast<std::size_t>(bytes));
    position = position_++;
    return true;
  }
  bool broken() const { return broken_; }

 private:
  bool set_broken() {
    broken_ = true;
    return false;
  }
  BlockHeader header_;
  std::string_view rest_;
  std::uint64_t position_ = 0;
  std::uint64_t last_ = 0;
  bool broken_ = false;
};

}  // namespace utp::embedded_bus
