#include "schema/value.h"

#include <algorithm>
#include <cstring>

#include "schema/plan_rules.h"

namespace utp {

void Row::reset(const Plan& plan) {
  plan_ = &plan;
  const std::size_t columns = PlanAccess::impl(plan).steps.size();
  if (values_.size() != columns) values_.resize(columns);
  if (columns > 0) std::memset(static_cast<void*>(values_.data()), 0, columns * sizeof(Value));  // kAbsent is 0
  elements_.clear();
  block_ = 0;
  used_ = 0;
}

char* Row::reserve_text(std::size_t size) {
  while (block_ < blocks_.size() && blocks_[block_].size - used_ < size) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    const std::size_t capacity = std::max(size, kBlockBytes);
    blocks_.push_back({std::unique_ptr<char[]>(new char[capacity]), capacity});
    used_ = 0;
  }
  char* const bytes = blocks_[block_].bytes.get() + used_;
  used_ += size;
  return bytes;
}

}  // namespace utp
