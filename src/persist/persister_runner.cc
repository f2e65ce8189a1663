#include <pthread.h>

#include <algorithm>
#include <chrono>

#include "core/log.h"
#include "persist/batch.h"
#include "persist/persister.h"

namespace utp {
namespace {

constexpr std::int64_t kDrainLookNs = 20'000'000;
constexpr std::size_t kInFlightMax = 2;  // one that the store writes, one that it takes next

}  // namespace

PersisterRunner::PersisterRunner(Persister& persister) : persister_(persister) {}

PersisterRunner::~PersisterRunner() { (void)stop(); }

void PersisterRunner::start() {
  filling_ = persister_.make_batch();
  free_.clear();
  for (std::size_t i = 0; i < kInFlightMax; ++i) free_.push_back(persister_.make_batch());
  {
    const std::lock_guard lock(mutex_);
    ended_ = false;
    stopping_ = false;
  }
  store_thread_ = std::thread([this] { run_store(); });
  bus_thread_ = std::thread([this] { run_bus(); });
}

Status PersisterRunner::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (bus_thread_.joinable()) {
    persister_.interrupt();
    bus_thread_.join();
  }
  if (store_thread_.joinable()) store_thread_.join();
  const std::lock_guard lock(mutex_);
  return status_;
}

bool PersisterRunner::running() const {
  const std::lock_guard lock(mutex_);
  return !ended_;
}

bool PersisterRunner::drain(std::int64_t timeout_ns) {
  const auto mark = persister_.mark();
  return mark && drain(*mark, timeout_ns);
}

bool PersisterRunner::drain(const Persister::Mark& mark, std::int64_t timeout_ns) {
  const auto now = [] { return std::chrono::steady_clock::now().time_since_epoch(); };
  const auto begin = now();
  for (;;) {
    if (const auto reached = persister_.has_reached(mark); reached && *reached) return true;
    std::unique_lock lock(mutex_);
    const auto left = std::chrono::nanoseconds(timeout_ns) - (now() - begin);
    if (ended_ || left.count() <= 0) return false;
    changed_.wait_for(lock, std::min<std::chrono::nanoseconds>(left, std::chrono::nanoseconds(kDrainLookNs)), [&] { return ended_; });
  }
}

// False when it is time to stop.
bool PersisterRunner::pause(std::int64_t ns) {
  std::unique_lock lock(mutex_);
  return !changed_.wait_for(lock, std::chrono::nanoseconds(ns), [&] { return stopping_; });
}

void PersisterRunner::run_store() {
  ::pthread_setname_np(::pthread_self(), "persist-store");
  std::unique_lock lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return ended_ || (!queue_.empty() && !failed_); });
    if (ended_) return;
    Persister::Batch* batch = queue_.front();
    writing_ = true;
    lock.unlock();
    Status status = persister_.write(*batch);
    lock.lock();
    writing_ = false;
    if (status) {
      queue_.pop_front();
      ++written_;
    } else {
      failed_ = std::move(status.error());
    }
    changed_.notify_all();
  }
}

void PersisterRunner::run_bus() {
  ::pthread_setname_np(::pthread_self(), "persist-bus");
  Status status = loop();
  if (!status && status.error().code == Code::kCancelled) status = {};
  if (!status) log::error("persister stopped", {{"error", status.error().message}});
  const std::lock_guard lock(mutex_);
  status_ = std::move(status);
  ended_ = true;
  changed_.notify_all();
}

void PersisterRunner::submit() {
  persister_.make_ready(*filling_);
  const std::lock_guard lock(mutex_);
  queue_.push_back(filling_.get());
  flying_.push_back(std::move(filling_));
  filling_ = std::move(free_.back());
  free_.pop_back();
  changed_.notify_all();
}

// Takes the oldest batch in flight to its end: committed, acknowledged. kCancelled when it is time to stop before that.
Status PersisterRunner::settle_oldest() {
  for (;;) {
    Error error;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return written_ > 0 || failed_; });
      if (written_ > 0) {
        --written_;
        break;
      }
      error = *failed_;
    }
    if (!error.retryable) return fail(std::move(error));
    persister_.note_retry(error);
    if (!pause(persister_.backoff_ns())) return fail(Code::kCancelled, "stopping");
    const std::lock_guard lock(mutex_);
    failed_.reset();
    changed_.notify_all();
  }
  return finish_oldest();
}

Status PersisterRunner::finish_oldest() {
  for (;;) {
    const Status status = persister_.finish(*flying_.front());
    if (status) break;
    if (status.error().code == Code::kFenced) return give_up_all();
    if (!status.error().retryable) return status;
    persister_.note_retry(status.error());
    if (!pause(persister_.backoff_ns())) return fail(Code::kCancelled, "stopping");
  }
  persister_.note_progress();
  free_.push_back(std::move(flying_.front()));
  flying_.pop_front();
  return {};
}

// The lease is gone: whatever was read comes again, here or elsewhere.
Status PersisterRunner::give_up_all() {
  {
    std::unique_lock lock(mutex_);
    queue_.resize(writing_ ? 1 : 0);
    changed_.wait(lock, [&] { return !writing_; });
    queue_.clear();
    written_ = 0;
    failed_.reset();
  }
  filling_->clear();
  for (BatchPointer& batch : flying_) {
    batch->clear();
    free_.push_back(std::move(batch));
  }
  flying_.clear();
  return persister_.rejoin();
}

Status PersisterRunner::loop() {
  for (;;) {
    bool stopping = false;
    {
      const std::lock_guard lock(mutex_);
      stopping = stopping_;
    }
    if (stopping) {
      while (!flying_.empty()) UTP_CHECK(settle_oldest());
      return {};
    }
    if (flying_.empty()) {
      UTP_CHECK(loop_idle(persister_.fill(*filling_, persister_.idle_wait_ns(), true)));
      continue;
    }
    // With a commit under way take what is there, without waiting for more; an error comes again when nothing is in flight.
    const auto filled = persister_.fill(*filling_, 0, false);
    if (filled && persister_.full(*filling_) && flying_.size() < kInFlightMax) {
      submit();
    } else {
      UTP_CHECK(settle_oldest());
    }
  }
}

// With nothing in flight: `filled` is what was read.
Status PersisterRunner::loop_idle(Result<bool> filled) {
  if (!filled && filled.error().code == Code::kCancelled) return {};
  if (!filled) {
    if (!filled.error().retryable) return fail(std::move(filled.error()));
    persister_.note_retry(filled.error());
    if (!pause(persister_.backoff_ns())) return fail(Code::kCancelled, "stopping");
    return {};
  }
  if (*filled) submit();
  return {};
}

}  // namespace utp
