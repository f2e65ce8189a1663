#include "bus/passes.h"

#include <algorithm>
#include <charconv>

namespace utp {
namespace {

constexpr std::size_t kPassesMax = 16;  // beyond, the oldest two become one: the attempt stays a lower bound

}  // namespace

void Passes::add(std::uint64_t high) {
  passes_.push_back({high, 1});
  if (passes_.size() <= kPassesMax) return;
  passes_[1] = {std::min(passes_[0].high, passes_[1].high), passes_[0].times + passes_[1].times};
  passes_.erase(passes_.begin());
}

void Passes::set_open(std::uint64_t high) {
  if (!open_) add(high);
  passes_.back().high = high;
  open_ = true;
}

void Passes::prune(std::uint64_t acknowledged) {
  if (open_ && passes_.back().high <= acknowledged) open_ = false;
  std::erase_if(passes_, [&](const Pass& pass) { return pass.high <= acknowledged; });
}

std::uint32_t Passes::attempt(std::uint64_t position) const {
  std::uint32_t attempt = 1;
  for (std::size_t i = 0; i + (open_ ? 1 : 0) < passes_.size(); ++i) {
    if (passes_[i].high >= position) attempt += passes_[i].times;
  }
  return attempt;
}

std::string Passes::write() const {
  std::string out;
  for (const Pass& pass : passes_) out += std::to_string(pass.high) + ":" + std::to_string(pass.times) + " ";
  return out;
}

Passes Passes::read(std::string_view bytes) {
  Passes passes;
  const char* at = bytes.data();
  const char* end = at + bytes.size();
  while (at < end) {
    Pass pass;
    const auto high = std::from_chars(at, end, pass.high);
    if (high.ec != std::errc() || high.ptr == end || *high.ptr != ':') break;
    const auto times = std::from_chars(high.ptr + 1, end, pass.times);
    if (times.ec != std::errc()) break;
    passes.passes_.push_back(pass);
    at = times.ptr + 1;
  }
  return passes;
}

}  // namespace utp
