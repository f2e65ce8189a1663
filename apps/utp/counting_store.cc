#include "apps/utp/counting_store.h"

namespace utp::app {

Result<WriteResult> CountingStore::count(std::span<const Event* const> events, Result<WriteResult> result) {
  if (!result) return result;
  if (result->inserted > 0 && first_stored_ns_ == 0) first_stored_ns_ = clock_.monotonic_ns();
  std::lock_guard lock(mutex_);
  for (const auto& [event_type, written] : result->by_type) {
    Counts& c = counts_[event_type];
    c.stored += written.inserted;
    c.duplicates += written.duplicates;
  }
  if (first_refusal_.empty() && !result->errors.empty()) first_refusal_ = result->errors.front().error.message;
  for (const RowError& error : result->errors) {
    if (events[error.index]->row.has_plan()) ++counts_[events[error.index]->row.plan().event_type()].refused;
  }
  return result;
}

std::string CountingStore::first_refusal() const {
  std::lock_guard lock(mutex_);
  return first_refusal_;
}

std::map<std::string, CountingStore::Counts> CountingStore::counts() const {
  std::lock_guard lock(mutex_);
  return counts_;
}

}  // namespace utp::app
