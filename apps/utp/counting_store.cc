#include "apps/utp/counting_store.h"

namespace utp::app {

Result<WriteResult> CountingStore::write(std::span<const Event* const> events) {
  auto result = inner_->write(events);
  if (!result) return result;
  if (result->inserted > 0 && first_stored_ns_ == 0) first_stored_ns_ = clock_.monotonic_ns();
  std::lock_guard lock(mutex_);
  const auto counts = [&](std::size_t index) -> Counts& {
    const Plan& plan = events[index]->row.plan();
    auto [at, fresh] = by_plan_.try_emplace(&plan);
    if (fresh) at->second.first = plan.event_type();
    return at->second.second;
  };
  // All as stored first, then what was not: batches without exceptions cost one pass.
  const Plan* last = nullptr;
  Counts* current = nullptr;
  for (std::size_t i = 0; i < events.size(); ++i) {
    if (const Plan* plan = events[i]->row.has_plan() ? &events[i]->row.plan() : nullptr; plan != last || !current) {
      if (!plan) continue;
      last = plan;
      current = &counts(i);
    }
    ++current->stored;
  }
  for (const std::size_t index : result->duplicate_indexes) {
    Counts& c = counts(index);
    --c.stored;
    ++c.duplicates;
  }
  if (first_refusal_.empty() && !result->errors.empty()) first_refusal_ = result->errors.front().error.message;
  for (const RowError& error : result->errors) {
    if (!events[error.index]->row.has_plan()) continue;
    Counts& c = counts(error.index);
    --c.stored;
    ++c.refused;
  }
  return result;
}

std::string CountingStore::first_refusal() const {
  std::lock_guard lock(mutex_);
  return first_refusal_;
}

std::map<std::string, CountingStore::Counts> CountingStore::counts() const {
  std::lock_guard lock(mutex_);
  std::map<std::string, Counts> out;
  for (const auto& [plan, entry] : by_plan_) {
    Counts& c = out[entry.first];
    c.stored += entry.second.stored;
    c.duplicates += entry.second.duplicates;
    c.refused += entry.second.refused;
  }
  return out;
}

}  // namespace utp::app
