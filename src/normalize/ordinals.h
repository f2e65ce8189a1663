// Ordinals: counts identical events (one stream, event time and payload checksum), so that a repeated delivery on one
// connection gets the next ordinal. Bounded: a set-associative table, one cache line for each look-up, in which every set
// forgets its oldest entry first.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>

namespace utp {

class Ordinals {
 public:
  static constexpr std::uint64_t kCountMax = (1u << 24) - 1;  // stays there

  // About `entries_max` keys are remembered (rounded to a power of two).
  explicit Ordinals(std::size_t entries_max);

  struct Key {
    std::uint64_t stream = 0;  // route and symbol
    std::int64_t event_time = 0;
    std::uint64_t checksum = 0;
  };

  // How often the key was counted since the last clear(), as far as it is remembered; and counts it once more. Keys are
  // told apart by about 53 bits of their hash.
  std::uint64_t next(const Key& key) {
    flush();
    const std::uint64_t hash = hash_of(key);
    std::uint64_t* const set = sets_[hash & mask_].entries;
    const std::uint64_t print = hash & ~kCountMax;
    for (std::size_t i = 0; i < kWays; ++i) {
      if ((set[i] & ~kCountMax) == print && set[i] != 0) [[unlikely]] {
        const std::uint64_t count = set[i] & kCountMax;
        if (count < kCountMax) ++set[i];
        return count;
      }
    }
    insert(set, print | 1);
    return 0;
  }
  // Remembers a key that is not there yet as counted `count` times. Such keys are collected and entered many at once,
  // so that the waits for memory overlap.
  void record(const Key& key, std::uint64_t count) {
    recorded_[recorded_size_++] = {hash_of(key), count < kCountMax ? count : kCountMax};
    if (recorded_size_ == kRecordedMax) flush();
  }
  std::uint64_t epoch() const { return epoch_; }
  void clear() { ++epoch_; }  // what was counted before has another hash

 private:
  static constexpr std::size_t kWays = 8;
  struct alignas(64) Set {
    std::uint64_t entries[kWays] = {};  // newest first; 40 bits of the hash, 24 of the count; 0 = empty
  };

  struct Recorded {
    std::uint64_t hash = 0;
    std::uint64_t count = 0;
  };
  static constexpr std::size_t kRecordedMax = 128;

  void flush() {
    for (std::size_t i = 0; i < recorded_size_; ++i) __builtin_prefetch(&sets_[recorded_[i].hash & mask_]);
    for (std::size_t i = 0; i < recorded_size_; ++i) {
      insert(sets_[recorded_[i].hash & mask_].entries, (recorded_[i].hash & ~kCountMax) | recorded_[i].count);
    }
    recorded_size_ = 0;
  }
  static void insert(std::uint64_t* set, std::uint64_t entry) {
    std::uint64_t older[kWays - 1];
    std::memcpy(older, set, sizeof older);
    std::memcpy(set + 1, older, sizeof older);
    set[0] = entry;
  }

  std::uint64_t hash_of(const Key& key) const {
    std::uint64_t hash = (static_cast<std::uint64_t>(key.event_time) ^ epoch_ << 48) * 0x9E3779B97F4A7C15ull;
    hash = (hash ^ (hash >> 29) ^ key.stream) * 0xC2B2AE3D27D4EB4Full;
    hash = (hash ^ (hash >> 32) ^ key.checksum) * 0xD6E8FEB86659FD93ull;
    return hash ^ (hash >> 32);
  }

  std::unique_ptr<Set[]> sets_;
  std::uint64_t mask_ = 0;
  std::uint64_t epoch_ = 0;
  std::size_t recorded_size_ = 0;
  Recorded recorded_[kRecordedMax];
};

}  // namespace utp
