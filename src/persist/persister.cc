#include "persist/persister.h"

#include <algorithm>

#include "core/log.h"
#include "persist/batch.h"

namespace utp {
namespace {

constexpr std::int64_t kMillisecond = 1'000'000;

}  // namespace

Persister::Persister(Bus& bus, Store& store, const Registry& registry, const Clock& clock, PersisterOptions options)
    : bus_(bus), store_(store), clock_(clock), options_(std::move(options)), reader_(registry), plans_(registry.all()) {}

Persister::~Persister() = default;

Result<std::unique_ptr<Persister>> Persister::create(Bus& bus, Store& store, const Registry& registry, const Clock& clock,
                                                     PersisterOptions options) {
  if (options.patterns.empty()) return fail(Code::kInvalidArgument, "persister: no topics are named; name at least one pattern");
  if (options.batch_events_max == 0 || options.batch_bytes_max < kEnvelopeBytesMax) {
    return fail(Code::kInvalidArgument, "persister: batch_events_max must be at least 1 and batch_bytes_max at least " +
                                            std::to_string(kEnvelopeBytesMax) + " (one message)");
  }
  std::unique_ptr<Persister> persister(new Persister(bus, store, registry, clock, std::move(options)));
  const PersisterOptions& o = persister->options_;
  UTP_TRY(persister->dead_letters_, DeadLetterWriter::create(registry, clock, o.dead_letters));
  UTP_TRY(persister->publisher_, bus.publisher({.durability = o.dead_letter_durability}));
  UTP_TRY(persister->subscription_,
          bus.subscribe({.patterns = o.patterns, .group = o.group, .member = o.member, .start = {}, .lease_ns = o.lease_ns}));
  persister->batch_ = persister->make_batch();
  persister->lag_time_ = clock.monotonic_ns();
  return persister;
}

std::unique_ptr<Persister::Batch> Persister::make_batch() { return std::make_unique<Batch>(); }

template <class F>
void Persister::update(F change) {
  const std::lock_guard lock(mutex_);
  change(stats_);
}

PersisterStats Persister::stats() const {
  const std::lock_guard lock(mutex_);
  PersisterStats stats = stats_;
  stats.dead_letters = dead_letters_->stats();
  stats.dead_letters.letters -= letters_waiting_;
  stats.dead_letters.dropped -= letters_waiting_;
  return stats;
}

void Persister::interrupt() { subscription_->interrupt(); }

Result<bool> Persister::fill(Batch& batch, std::int64_t wait_ns, bool collect) {
  take_lost();
  refresh_lag();
  while (!full(batch)) {
    std::int64_t timeout = 0;
    if (batch.size() == 0) {
      timeout = wait_ns;
    } else if (collect) {
      timeout = std::max<std::int64_t>(0, batch.first_ns() + options_.batch_wait_ms * kMillisecond - clock_.monotonic_ns());
    }
    auto messages =
        subscription_->poll(options_.batch_events_max - batch.size(), options_.batch_bytes_max - batch.bytes(), timeout);
    if (!messages) {
      // What earlier polls gave goes on; the next fill meets the error again.
      if (batch.size() > 0 && (messages.error().retryable || messages.error().code == Code::kCancelled)) break;
      return fail(std::move(messages.error()));
    }
    if (messages->empty()) break;
    batch.append(*messages, reader_, clock_.monotonic_ns());
    update([&](PersisterStats& s) { s.messages += messages->size(); });
  }
  return batch.size() > 0;
}

bool Persister::full(const Batch& batch) const {
  return batch.size() >= options_.batch_events_max || batch.bytes() + kEnvelopeBytesMax > options_.batch_bytes_max;
}

void Persister::make_ready(Batch& batch) { batch.is_ready = store_.make_ready(batch.to_store(), batch.ready); }

Status Persister::write(Batch& batch) {
  for (const Plan* plan : batch.plans()) {
    if (prepared_.contains(plan)) continue;
    const auto shared = std::find_if(plans_.begin(), plans_.end(), [&](const auto& p) { return p.get() == plan; });
    if (shared == plans_.end()) return fail(Code::kInternal, "persister: an event of a schema outside the registry: " + plan->schema_ref());
    UTP_CHECK(store_.prepare(*shared));
    prepared_.insert(plan);
  }
  if (!batch.to_store().empty()) {
    UTP_TRY(batch.result, batch.is_ready ? store_.write_ready(batch.to_store(), *batch.ready) : store_.write(batch.to_store()));
  }
  batch.commit_time = clock_.now();
  update([&](PersisterStats& s) {
    s.stored += batch.result.inserted;
    s.duplicates += batch.result.duplicates;
    s.skipped += batch.skipped();
    s.last_commit = batch.commit_time;
    s.last_event_time = std::max(s.last_event_time, batch.newest_event_time());
  });
  return {};
}

Status Persister::finish(Batch& batch) {
  UTP_CHECK(write_dead_letters(batch));
  UTP_CHECK(acknowledge(batch));
  update([&](PersisterStats& s) {
    ++s.batches;
    s.last_error.clear();
  });
  batch.clear();
  return {};
}

// Each letter is made once per batch, and published until that works: nothing is acknowledged before. One that finds no
// place stops the batch, and comes again with it: it is not acknowledged, so nothing is lost.
Status Persister::write_dead_letters(Batch& batch) {
  std::string refusal;
  std::size_t index = 0;
  batch.for_each_letter([&](const DeadLetter& letter) {
    if (index++ < batch.letters_taken) return true;
    if (dead_letters_->add(letter) == DeadLetterWriter::Outcome::kDropped) {
      const std::lock_guard lock(mutex_);
      ++letters_waiting_;
      refusal = std::string(letter.code) + ": " + std::string(letter.message);
      return false;
    }
    ++batch.letters_taken;
    return true;
  });
  if (!dead_letters_->empty()) {
    std::vector<OutMessage> messages;
    for (const DeadLetterMessage& message : dead_letters_->messages()) messages.push_back({message.topic, message.key, message.value});
    UTP_CHECK(publisher_->publish(messages));
    dead_letters_->clear();
  }
  if (refusal.empty()) return {};
  return fail(Code::kFull, "dead letters come faster than " + std::to_string(options_.dead_letters.flood_per_minute) +
                               " a minute, and their overflow file is full, cannot be written or is not set: their messages stay on "
                               "the bus. Mend the cause (" + refusal + "), or move the overflow file away", true);
}

Status Persister::acknowledge(Batch& batch) {
  for (const Batch::Range& range : batch.ranges()) {
    UTP_CHECK(subscription_->acknowledge(range.topic, range.partition, range.last));
  }
  return {};
}

Status Persister::rejoin() {
  update([](PersisterStats& s) { ++s.fenced; });
  log::warn("another member took over: the batch is given up and read again by whoever owns it", {{"group", options_.group}});
  dead_letters_->clear();
  return subscription_->rewind();
}

void Persister::note_retry(const Error& error) {
  bool changed = false;
  update([&](PersisterStats& s) {
    ++s.retries;
    changed = s.last_error != error.message;
    s.last_error = error.message;
  });
  if (changed) log::warn("persister waits and tries again", {{"group", options_.group}, {"error", error.message}});
}

std::int64_t Persister::backoff_ns() {
  const std::int64_t low = options_.retry_wait_min_ms * kMillisecond;
  backoff_ns_ = backoff_ns_ == 0 ? low : std::min(backoff_ns_ * 2, options_.retry_wait_max_ms * kMillisecond);
  return backoff_ns_;
}

void Persister::note_progress() { backoff_ns_ = 0; }

std::int64_t Persister::retry_time() const { return retry_time_; }

Result<Persister::Turn> Persister::step() {
  if (clock_.monotonic_ns() < retry_time_) return Turn::kWaiting;
  auto result = turn();
  if (result || !result.error().retryable) {
    if (result) note_progress();
    return result;
  }
  note_retry(result.error());
  retry_time_ = clock_.monotonic_ns() + backoff_ns();
  return Turn::kWaiting;
}

Result<Persister::Turn> Persister::turn() {
  if (batch_->size() == 0) {
    auto filled = fill(*batch_, options_.idle_wait_ms * kMillisecond, true);
    if (!filled && filled.error().code == Code::kCancelled) return Turn::kIdle;
    if (!filled) return fail(std::move(filled.error()));
    if (!*filled) return Turn::kIdle;
  }
  if (!batch_->committed()) UTP_CHECK(write(*batch_));
  auto finished = finish(*batch_);
  if (!finished && finished.error().code == Code::kFenced) {
    batch_->clear();
    UTP_CHECK(rejoin());
    return Turn::kDone;
  }
  if (!finished) return fail(std::move(finished.error()));
  return Turn::kDone;
}

void Persister::take_lost() {
  for (const LostRange& range : subscription_->take_lost()) {
    update([&](PersisterStats& s) { s.lost += range.count; });
    log::error("messages were removed from the bus before they were stored: raise the topic's retention",
               {{"topic", range.topic}, {"partition", std::to_string(range.partition)}, {"count", std::to_string(range.count)}});
  }
}

template <class F>
Status Persister::for_each_topic(F take) const {
  for (const std::string& pattern : options_.patterns) {
    UTP_TRY(const auto topics, bus_.stats(pattern));
    for (const TopicStats& topic : topics) take(topic);
  }
  return {};
}

void Persister::refresh_lag() {
  if (clock_.monotonic_ns() - lag_time_ < options_.lag_refresh_ms * kMillisecond) return;
  lag_time_ = clock_.monotonic_ns();
  std::uint64_t lag = 0;
  Timestamp oldest;
  const Status counted = for_each_topic([&](const TopicStats& topic) {
    for (const GroupStats& group : topic.groups) {
      if (group.group != options_.group) continue;
      lag += group.lag;
      if (group.lag > 0 && (oldest.ns == 0 || group.oldest_unread < oldest)) oldest = group.oldest_unread;
    }
  });
  if (!counted) return;
  update([&](PersisterStats& s) {
    s.lag = lag;
    s.oldest_unread = oldest;
  });
}

Result<Persister::Mark> Persister::mark() const {
  Mark mark;
  UTP_CHECK(for_each_topic([&](const TopicStats& topic) { mark[topic.topic] = topic.last_time; }));
  return mark;
}

Result<bool> Persister::has_reached(const Mark& mark) const {
  bool reached = true;
  UTP_CHECK(for_each_topic([&](const TopicStats& topic) {
    const auto marked = mark.find(topic.topic);
    if (marked == mark.end() || marked->second.ns == 0) return;  // it came later, or was empty
    const auto group = std::find_if(topic.groups.begin(), topic.groups.end(), [&](const auto& g) { return g.group == options_.group; });
    // A topic that the group has not begun has all of it before it.
    if (group == topic.groups.end() || (group->lag > 0 && group->oldest_unread <= marked->second)) reached = false;
  }));
  return reached;
}

}  // namespace utp
