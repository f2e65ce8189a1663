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

Status Persister::write(Batch& batch) {
  const Plan* last = nullptr;
  for (const Event* event : batch.to_store()) {
    const Plan* plan = &event->row.plan();
    if (plan == last || prepared_.contains(plan)) {
      last = plan;
      continue;
    }
    const auto shared = std::find_if(plans_.begin(), plans_.end(), [&](const auto& p) { return p.get() == plan; });
    if (shared == plans_.end()) return fail(Code::kInternal, "persister: an event of a schema outside the registry: " + plan->schema_ref());
    UTP_CHECK(store_.prepare(*shared));
    prepared_.insert(plan);
  }
  if (!batch.to_store().empty()) {
    UTP_TRY(batch.result, store_.write(batch.to_store()));
  }
  batch.commit_time = clock_.now();
  return {};
}

Status Persister::finish(Batch& batch) {
  UTP_CHECK(write_dead_letters(batch));
  UTP_CHECK(acknowledge(batch));
  update([&](PersisterStats& s) {
    ++s.batches;
    s.stored += batch.result.inserted;
    s.duplicates += batch.result.duplicates;
    s.skipped += batch.skipped();
    s.last_commit = batch.commit_time;
    s.last_event_time = std::max(s.last_event_time, batch.newest_event_time());
    s.last_error.clear();
  });
  batch.clear();
  return {};
}

// Letters are made once per batch, and published until that works: nothing is acknowledged before.
Status Persister::write_dead_letters(Batch& batch) {
  if (!batch.letters_made) {
    batch.letters_made = true;
    dead_letters_->clear();
    batch.for_each_letter([&](const DeadLetter& letter) {
      if (dead_letters_->add(letter) != DeadLetterWriter::Outcome::kDropped) return;
      log::error("dead letter dropped: over the flood cap, and the overflow file is full or missing",
                 {{"topic", letter.origin_topic}, {"code", letter.code}, {"path", letter.path}});
    });
  }
  if (dead_letters_->empty()) return {};
  std::vector<OutMessage> messages;
  for (const DeadLetterMessage& message : dead_letters_->messages()) messages.push_back({message.topic, message.key, message.value});
  UTP_CHECK(publisher_->publish(messages));
  dead_letters_->clear();
  return {};
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

void Persister::refresh_lag() {
  if (clock_.monotonic_ns() - lag_time_ >= options_.lag_refresh_ms * kMillisecond) (void)measure_lag();
}

Result<std::uint64_t> Persister::measure_lag() {
  lag_time_ = clock_.monotonic_ns();
  std::uint64_t lag = 0;
  Timestamp oldest;
  for (const std::string& pattern : options_.patterns) {
    UTP_TRY(const auto topics, bus_.stats(pattern));
    for (const TopicStats& topic : topics) {
      for (const GroupStats& group : topic.groups) {
        if (group.group != options_.group) continue;
        lag += group.lag;
        if (group.lag > 0 && (oldest.ns == 0 || group.oldest_unread < oldest)) oldest = group.oldest_unread;
      }
    }
  }
  update([&](PersisterStats& s) {
    s.lag = lag;
    s.oldest_unread = oldest;
  });
  return lag;
}

}  // namespace utp
