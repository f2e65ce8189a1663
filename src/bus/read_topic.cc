#include "bus/read_topic.h"

#include <algorithm>
#include <chrono>

namespace utp {
namespace {

constexpr std::size_t kBatchMessages = 5000;
constexpr std::size_t kBatchBytes = 16u << 20;
constexpr std::int64_t kQuietNs = 2'000'000'000;  // nothing comes although something should: the rest is gone
constexpr std::int64_t kEndNs = 200'000'000;      // the same, where the newest was seen and how many there are is not known

}  // namespace

Result<std::uint64_t> read_topic(Bus& bus, const std::string& topic, const Start& start, const std::function<bool()>& give_up,
                  const std::function<void(const InMessage&)>& take) {
  UTP_TRY(const auto stats, bus.stats(topic));
  if (stats.empty() || stats[0].messages == 0) return 0;
  const Timestamp end = stats[0].last_time;
  UTP_TRY(auto reader, bus.subscribe({.patterns = {topic}, .start = start}));
  std::uint64_t left = stats[0].messages;  // fewer with a start in the middle: then silence ends it
  bool newest_seen = false;
  // One partition may be at its end, or give newer messages, while another still has some of what is compared.
  const auto now = [] { return std::chrono::steady_clock::now(); };
  auto last = now();
  while (left > 0) {
    if (give_up && give_up()) return fail(Code::kCancelled, "interrupted");
    const std::int64_t quiet_ns = newest_seen && start.kind != Start::Kind::kEarliest ? kEndNs : kQuietNs;
    const std::int64_t rest_ns = quiet_ns - std::chrono::nanoseconds(now() - last).count();
    if (rest_ns <= 0) return left;
    UTP_TRY(const auto messages, reader->poll(kBatchMessages, kBatchBytes, rest_ns));
    bool newer = true;
    for (const InMessage& message : messages) {
      newest_seen = newest_seen || message.publish_time >= end;
      if (message.publish_time > end) continue;
      newer = false;
      take(message);
      left -= std::min<std::uint64_t>(left, 1);
    }
    for (const LostRange& lost : reader->take_lost()) left -= std::min(left, lost.count);
    if (!newer) last = now();
  }
  return left;
}

}  // namespace utp
