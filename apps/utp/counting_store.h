// A store that counts what it took, by event type, and notes when the first event was committed.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/clock.h"
#include "store/store.h"

namespace utp::app {

class CountingStore final : public Store {
 public:
  struct Counts {
    std::uint64_t stored = 0, duplicates = 0, refused = 0;
  };
  CountingStore(std::unique_ptr<Store> inner, const Clock& clock) : inner_(std::move(inner)), clock_(clock) {}

  Status prepare(const std::shared_ptr<const Plan>& plan) override { return inner_->prepare(plan); }
  Result<WriteResult> write(std::span<const Event* const> events) override { return count(events, inner_->write(events)); }
  bool make_ready(std::span<const Event* const> events, std::unique_ptr<ReadyEvents>& ready) override { return inner_->make_ready(events, ready); }
  Result<WriteResult> write_ready(std::span<const Event* const> events, ReadyEvents& ready) override {
    return count(events, inner_->write_ready(events, ready));
  }
  Result<std::unique_ptr<Cursor>> query(const Query& query) override { return inner_->query(query); }
  Result<std::vector<TableStats>> stats() override { return inner_->stats(); }
  Result<Maintained> maintain() override { return inner_->maintain(); }
  Result<StoreStatus> status() override { return inner_->status(); }
  Status set_policy(const std::string& event_type, const TablePolicy& policy) override { return inner_->set_policy(event_type, policy); }
  Result<std::string> set_up_roles(const StoreRoles& roles, bool apply) override { return inner_->set_up_roles(roles, apply); }
  Result<std::vector<Finding>> verify() override { return inner_->verify(); }
  Result<StoreContents> contents() override { return inner_->contents(); }
  Result<std::vector<std::string>> sources(const std::string& event_type) override { return inner_->sources(event_type); }
  Result<std::unique_ptr<Replacement>> begin_replace(const ReplaceRange& range) override { return inner_->begin_replace(range); }

  std::map<std::string, Counts> counts() const;     // any thread
  std::string first_refusal() const;                // why the first refused event was refused; any thread
  std::int64_t first_stored_ns() const { return first_stored_ns_; }  // monotonic; 0 = none yet

 private:
  Result<WriteResult> count(std::span<const Event* const> events, Result<WriteResult> result);

  std::unique_ptr<Store> inner_;
  const Clock& clock_;
  std::atomic<std::int64_t> first_stored_ns_{0};
  mutable std::mutex mutex_;
  std::string first_refusal_;
  std::map<std::string, Counts> counts_;  // by event type
};

}  // namespace utp::app
