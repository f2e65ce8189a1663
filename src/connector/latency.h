// LatencyHistogram: quantiles of the last 10 to 20 seconds, within 7 %, in constant memory. Not thread-safe.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <optional>

namespace utp {

class LatencyHistogram {
 public:
  void add(std::int64_t ns) {
    const std::size_t at = bucket(ns);
    ++current_[at];
    ++current_count_;
  }
  // Forgets what is older than two calls that are 10 s apart.
  void turn(std::int64_t now_ns) {
    if (now_ns - turned_ns_ < 10'000'000'000) return;
    turned_ns_ = now_ns;
    previous_ = current_;
    previous_count_ = current_count_;
    current_.fill(0);
    current_count_ = 0;
  }
  std::uint64_t count() const { return current_count_ + previous_count_; }
  // Nanoseconds; empty when nothing was measured. `q` in [0, 1].
  std::optional<std::int64_t> quantile(double q) const {
    if (count() == 0) return std::nullopt;
    const auto rank = static_cast<std::uint64_t>(q * static_cast<double>(count() - 1));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < kBuckets; ++i) {
      seen += current_[i] + previous_[i];
      if (seen > rank) return middle(i);
    }
    return middle(kBuckets - 1);
  }

 private:
  // Eight buckets to each power of two.
  static constexpr std::size_t kBuckets = 64 * 8;
  static std::size_t bucket(std::int64_t ns) {
    if (ns < 8) return static_cast<std::size_t>(ns < 0 ? 0 : ns);
    const auto value = static_cast<std::uint64_t>(ns);
    const unsigned top = static_cast<unsigned>(std::bit_width(value)) - 1;
    return (top - 2) * 8 + ((value >> (top - 3)) & 7);
  }
  static std::int64_t middle(std::size_t at) {
    if (at < 8) return static_cast<std::int64_t>(at);
    const unsigned top = static_cast<unsigned>(at / 8) + 2;
    const std::uint64_t width = std::uint64_t{1} << (top - 3);
    return static_cast<std::int64_t>((std::uint64_t{1} << top) + (at % 8) * width + width / 2);
  }

  std::array<std::uint64_t, kBuckets> current_{}, previous_{};
  std::uint64_t current_count_ = 0, previous_count_ = 0;
  std::int64_t turned_ns_ = 0;
};

}  // namespace utp
