#include "bus/compare.h"

#include <algorithm>
#include <set>

#include "bus/read_topic.h"
#include "core/hash.h"

namespace utp {
namespace {

constexpr std::size_t kProgressMessages = 5000;
constexpr std::size_t kExamples = 5;
constexpr std::size_t kExampleBytes = 160;

struct Seen {
  Hash128 message;
  std::uint64_t key = 0;
  std::uint64_t order : 63 = 0;
  std::uint64_t late : 1 = 0;  // came after CompareOptions::until
};

bool by_message(const Seen& a, const Seen& b) { return a.message != b.message ? a.message < b.message : std::uint64_t{a.order} < std::uint64_t{b.order}; }
bool same_message(const Seen& a, const Seen& b) { return a.message == b.message; }

Result<std::vector<Seen>> read_side(Bus& bus, const std::string& topic, const CompareOptions& options, Timestamp until) {
  std::vector<Seen> seen;
  bool full = false;
  UTP_CHECK(read_topic(bus, topic, options.start, options.give_up, [&](const InMessage& message) {
    if (!options.filter.takes_key(message.key)) return;
    full = full || seen.size() >= options.messages_max;
    if (full) return;
    Hash128 hash = hash128(message.value);
    const std::uint64_t key = hash64(message.key);
    hash.high ^= key;
    seen.push_back({hash, key, seen.size(), message.publish_time > until});
    if (options.progress && seen.size() % kProgressMessages == 0) options.progress(topic, seen.size());
  }));
  if (!full) return seen;
  return fail(Code::kFull, "topic " + topic + " has more than " + std::to_string(options.messages_max) +
                               " messages, the most that is compared at once; compare a later part of it (--since)");
}

// Sorted by message; of equal messages the first stays.
std::vector<Seen> distinct(std::vector<Seen> seen) {
  std::sort(seen.begin(), seen.end(), by_message);
  seen.erase(std::unique(seen.begin(), seen.end(), same_message), seen.end());
  return seen;
}

struct Pair {
  std::uint64_t key, from, to;
};

std::uint64_t count_out_of_order(std::vector<Pair>& pairs) {
  std::sort(pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.key != b.key ? a.key < b.key : a.from < b.from; });
  std::uint64_t count = 0;
  for (std::size_t i = 1; i < pairs.size(); ++i) count += pairs[i].key == pairs[i - 1].key && pairs[i].to < pairs[i - 1].to;
  return count;
}

Status add_examples(Bus& bus, const CompareOptions& options, const std::vector<Hash128>& missing, TopicComparison& result) {
  if (missing.empty()) return {};
  UTP_CHECK(read_topic(bus, result.topic, options.start, options.give_up, [&](const InMessage& message) {
    if (result.missing_examples.size() >= kExamples) return;
    Hash128 hash = hash128(message.value);
    hash.high ^= hash64(message.key);
    if (std::find(missing.begin(), missing.end(), hash) == missing.end()) return;
    result.missing_examples.push_back(std::string(message.key) + " " + std::string(message.value.substr(0, kExampleBytes)));
  }));
  return {};
}

Result<TopicComparison> compare_topic(Bus& from, Bus& to, const std::string& topic, const CompareOptions& options) {
  TopicComparison result;
  result.topic = topic;
  constexpr Timestamp kEver{INT64_MAX};
  Timestamp until = kEver;
  if (options.until) {
    const auto marked = options.until->find(topic);
    until = marked == options.until->end() ? Timestamp{} : marked->second;
  }
  UTP_TRY(std::vector<Seen> near, read_side(from, topic, options, until));
  result.from_messages = near.size();
  UTP_TRY(std::vector<Seen> far, read_side(to, topic, options, kEver));
  result.to_messages = far.size();
  near = distinct(std::move(near));
  far = distinct(std::move(far));
  result.from_distinct = near.size();
  result.to_distinct = far.size();
  std::vector<Pair> pairs;
  std::vector<Hash128> examples;
  auto f = far.begin();
  for (const Seen& n : near) {
    while (f != far.end() && f->message < n.message) ++f, ++result.extra;
    if (f != far.end() && f->message == n.message) {
      pairs.push_back({n.key, n.order, f->order});
      ++f;
    } else if (n.late == 0) {
      ++result.missing;
      if (examples.size() < kExamples) examples.push_back(n.message);
    }
  }
  result.extra += static_cast<std::uint64_t>(far.end() - f);
  result.out_of_order = count_out_of_order(pairs);
  UTP_CHECK(add_examples(from, options, examples, result));
  return result;
}

}  // namespace

Result<std::vector<TopicComparison>> compare(Bus& from, Bus& to, const CompareOptions& options) {
  std::set<std::string> topics;
  for (Bus* bus : {&from, &to}) {
    for (const std::string& pattern : options.filter.patterns) {
      UTP_TRY(const auto found, bus->stats(pattern));
      for (const TopicStats& topic : found) {
        if (options.filter.takes_topic(topic.topic)) topics.insert(topic.topic);
      }
    }
  }
  std::vector<TopicComparison> all;
  for (const std::string& topic : topics) {
    UTP_TRY(auto one, compare_topic(from, to, topic, options));
    all.push_back(std::move(one));
  }
  return all;
}

}  // namespace utp
