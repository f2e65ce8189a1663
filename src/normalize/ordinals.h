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
  // Remembers a key that is not there yet as counted `count` times. Keys counted once are only written down, one behind the
  // other, and entered when next() needs them: a stream in order never waits for memory.
  void record(const Key& key, std::uint64_t count) {
    const std::uint64_t hash = hash_of(key);
    if (count != 1) {
      flush();  // the oldest go first
      insert(sets_[hash & mask_].entries, (hash & ~kCountMax) | (count < kCountMax ? count : kCountMax));
      return;
    }
    recorded_[recorded_end_++ & recorded_mask_] = hash;
  }
  std::uint64_t epoch() const { return epoch_; }
  void clear() { ++epoch_; }  // what was counted before has another hash

 private:
  static constexpr std::size_t kWays = 8;
  struct alignas(64) Set {
    std::uint64_t entries[kWays] = {};  // newest first; 40 bits of the hash, 24 of the count; 0 = empty
  };

  void flush() {
    constexpr std::uint64_t kAhead = 16;
    const std::uint64_t kept = recorded_mask_ + 1;
    if (recorded_end_ - entered_ > kept) entered_ = recorded_end_ - kept;  // the oldest were written over
    for (; entered_ != recorded_end_; ++entered_) {
      __builtin_prefetch(&sets_[recorded_[(entered_ + kAhead) & recorded_mask_] & mask_]);
      const std::uint64_t hash = recorded_[entered_ & recorded_mask_];
      insert(sets_[hash & mask_].entries, (hash & ~kCountMax) | 1);
    }
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
  std::unique_ptr<std::uint64_t[]> recorded_;  // hashes, as many as there are entries; the oldest are written over
  std::uint64_t recorded_mask_ = 0;
  std::uint64_t recorded_end_ = 0;  // how many were ever recorded
  std::uint64_t entered_ = 0;       // how many of them are in the sets, or gone
};

}  // namespace utp
