#include "bus/bridge.h"

#include <algorithm>

#include "core/log.h"
#include "model/envelope.h"

namespace utp {
namespace {

constexpr std::int64_t kTailSpanMinNs = 1'000'000'000;
constexpr std::int64_t kTailWaitNs = 2'000'000'000;  // for a far bus that was just asked how much it has

std::string_view segment(std::string_view topic, int index) {
  for (; index > 0; --index) topic.remove_prefix(std::min(topic.find('.') + 1, topic.size()));
  return topic.substr(0, topic.find('.'));
}

bool holds(const std::vector<std::string>& list, std::string_view value) {
  return list.empty() || std::find(list.begin(), list.end(), value) != list.end();
}

std::uint64_t identity(std::string_view key, std::string_view value) { return hash128(value).low ^ hash64(key); }

}  // namespace

bool BridgeFilter::takes_topic(std::string_view topic) const {
  return std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) { return topic_matches(pattern, topic); }) &&
         holds(realms, segment(topic, 1)) && holds(regions, segment(topic, 2));
}

bool BridgeFilter::takes_key(std::string_view key) const { return holds(symbols, key); }

Result<std::unique_ptr<Bridge>> Bridge::create(Bus& from, Bus& to, BridgeOptions options) {
  std::unique_ptr<Bridge> bridge(new Bridge(from, to, std::move(options)));
  const BridgeOptions& o = bridge->options_;
  UTP_TRY(bridge->subscription_, from.subscribe({.patterns = o.filter.patterns, .group = o.group, .start = o.start}));
  UTP_TRY(bridge->publisher_, to.publisher({.durability = o.durability}));
  return bridge;
}

template <class F>
void Bridge::update(F change) {
  const std::lock_guard lock(mutex_);
  change(stats_);
}

BridgeStats Bridge::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

Result<std::uint64_t> Bridge::waiting() const {
  std::uint64_t count = 0;
  for (const std::string& pattern : options_.filter.patterns) {
    UTP_TRY(const auto topics, from_.stats(pattern));
    for (const TopicStats& topic : topics) {
      const auto group = std::find_if(topic.groups.begin(), topic.groups.end(), [&](const GroupStats& g) { return g.group == options_.group; });
      count += group == topic.groups.end() ? topic.messages : group->lag;
    }
  }
  return count;
}

Result<Bridge::Mark> Bridge::mark() const {
  Mark mark;
  for (const std::string& pattern : options_.filter.patterns) {
    UTP_TRY(const auto topics, from_.stats(pattern));
    for (const TopicStats& topic : topics) mark[topic.topic] = topic.last_time;
  }
  return mark;
}

Result<bool> Bridge::has_reached(const Mark& mark) const {
  for (const std::string& pattern : options_.filter.patterns) {
    UTP_TRY(const auto topics, from_.stats(pattern));
    for (const TopicStats& topic : topics) {
      const auto marked = mark.find(topic.topic);
      if (marked == mark.end() || topic.messages == 0) continue;  // it came later, or is empty
      const auto group = std::find_if(topic.groups.begin(), topic.groups.end(), [&](const GroupStats& g) { return g.group == options_.group; });
      // A topic that the group has not begun has all of it before it.
      const Timestamp oldest = group == topic.groups.end() ? topic.first_time : group->oldest_unread;
      if ((group == topic.groups.end() || group->lag > 0) && oldest <= marked->second) return false;
    }
  }
  return true;
}

Result<std::size_t> Bridge::step(std::int64_t wait_ns) {
  auto done = [&]() -> Result<std::size_t> {
    UTP_TRY(const auto messages, subscription_->poll(options_.batch_messages, options_.batch_bytes, wait_ns));
    for (const LostRange& lost : subscription_->take_lost()) {
      log::error("retention took messages before they were bridged: raise the topic's retention", {{"topic", lost.topic}, {"messages", std::to_string(lost.count)}});
      update([&](BridgeStats& s) { s.lost += lost.count; });
    }
    if (!messages.empty()) UTP_CHECK(forward(messages));
    return messages.size();
  }();
  update([&](BridgeStats& s) { s.last_error = done || done.error().code == Code::kCancelled ? "" : done.error().message; });
  if (done || done.error().code == Code::kCancelled) return done;
  // How much of the batch arrived is not known: it is read again, and the far side asked.
  far_.clear();
  doubtful_.clear();
  UTP_CHECK(subscription_->rewind());
  return done;
}

Status Bridge::forward(std::span<const InMessage> messages) {
  std::vector<InMessage> chosen;
  std::vector<OutMessage> out;
  std::map<Partition, std::uint64_t, std::less<>> last;
  std::uint64_t filtered = 0, there = 0;
  for (const InMessage& message : messages) {
    std::uint64_t& position = last[Partition(message.topic, message.partition)];
    position = std::max(position, message.position);
    if (!options_.filter.takes_topic(message.topic) || !options_.filter.takes_key(message.key)) {
      ++filtered;
      continue;
    }
    UTP_TRY(const bool known, is_there(message));
    if (known) {
      ++there;
      continue;
    }
    chosen.push_back(message);
    out.push_back({message.topic, message.key, message.value});
  }
  UTP_CHECK(publish(chosen, out));
  for (const auto& [place, position] : last) UTP_CHECK(subscription_->acknowledge(place.first, place.second, position));
  update([&](BridgeStats& s) {
    s.filtered += filtered;
    s.already_there += there;
  });
  return {};
}

Status Bridge::publish(std::span<const InMessage> messages, std::span<const OutMessage> out) {
  if (out.empty()) return {};
  auto status = publisher_->publish(out);
  if (!status && status.error().code != Code::kInvalidArgument) return status;
  std::uint64_t refused = 0;
  for (std::size_t i = 0; !status && i < out.size(); ++i) {  // one of them is refused: each by itself
    const auto single = publisher_->publish({&out[i], 1});
    if (single) continue;
    if (single.error().code != Code::kInvalidArgument) return single;
    ++refused;
    log::error("the far bus refuses a message", {{"topic", std::string(out[i].topic)}, {"position", std::to_string(messages[i].position)}, {"error", single.error().message}});
  }
  update([&](BridgeStats& s) {
    s.forwarded += out.size() - refused;
    s.refused += refused;
  });
  return {};
}

Result<bool> Bridge::is_there(const InMessage& message) {
  UTP_TRY(FarTopic* const far, far_topic(std::string(message.topic)));
  std::size_t& left = doubtful_.try_emplace(Partition(message.topic, message.partition), options_.batch_messages).first->second;
  if (left == 0) return false;
  --left;
  if (!far->tail_known) UTP_CHECK(read_tail(std::string(message.topic), *far));
  return far->tail.contains(identity(message.key, message.value));
}

// Made like the near one when it is not there; one that is there stays as its operator made it.
Result<Bridge::FarTopic*> Bridge::far_topic(const std::string& topic) {
  if (const auto known = far_.find(topic); known != far_.end()) return &known->second;
  FarTopic far;
  UTP_TRY(const auto there, to_.stats(topic));
  if (there.empty()) {
    UTP_TRY(const auto here, from_.stats(topic));
    // The limit by size is the far bus's own: memory is not disk.
    if (!here.empty()) UTP_CHECK(to_.configure_topic(topic, {.partitions = here[0].partitions, .retention_ns = here[0].retention_ns}));
    far.tail_known = true;
  }
  return &far_.emplace(topic, std::move(far)).first->second;
}

Status Bridge::read_tail(const std::string& topic, FarTopic& far) {
  UTP_TRY(const auto all, to_.stats(topic));
  far.tail.clear();
  if (all.empty() || all[0].messages == 0) {
    far.tail_known = true;
    return {};
  }
  const TopicStats& stats = all[0];
  const std::uint64_t wanted = std::min(stats.messages, options_.tail_messages);
  const std::int64_t whole = std::max<std::int64_t>(stats.last_time.ns - stats.first_time.ns, 1);
  // As long as the newest `wanted` messages took if all came evenly; longer while that holds too few.
  double span = static_cast<double>(whole) * static_cast<double>(wanted) / static_cast<double>(stats.messages);
  for (;;) {
    const std::int64_t back = std::max(static_cast<std::int64_t>(std::min(span, static_cast<double>(whole))), kTailSpanMinNs);
    Start start;
    if (back < whole) start = {Start::Kind::kTime, Timestamp{stats.last_time.ns - back}};
    UTP_TRY(auto reader, to_.subscribe({.patterns = {topic}, .start = start}));
    std::uint64_t count = 0;
    for (bool newer = false; !newer;) {
      UTP_TRY(const auto messages, reader->poll(options_.batch_messages, options_.batch_bytes, count < wanted ? kTailWaitNs : 0));
      if (messages.empty()) break;
      count += messages.size();
      newer = true;  // than the figures: another program's, and no end of it
      for (const InMessage& message : messages) {
        far.tail.insert(identity(message.key, message.value));
        newer = newer && message.publish_time > stats.last_time;
      }
    }
    if (count >= wanted || back >= whole) break;
    span *= 4;
  }
  far.tail_known = true;
  return {};
}

}  // namespace utp
