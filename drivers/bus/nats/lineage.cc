#include "drivers/bus/nats/lineage.h"

#include <algorithm>
#include <sstream>

#include "drivers/bus/nats/names.h"

namespace utp::nats_bus {
namespace {

constexpr std::size_t kGenerationsMax = 64;  // starts of the server that are remembered; who was away for more is not told of losses
// With the clock in it a number does not come again even where the record of it is lost, too.
constexpr std::int64_t kSecondsEach = 1024;

}  // namespace

void Lineage::open(std::string run, std::uint64_t last_sequence, std::uint64_t after, std::int64_t now_s) {
  const auto by_clock = static_cast<std::uint64_t>(std::max<std::int64_t>(now_s, 0) / kSecondsEach);
  generations_.push_back({std::max({generation() + 1, after + 1, by_clock}), last_sequence, 0});
  if (generations_.size() > kGenerationsMax) generations_.erase(generations_.begin());
  run_ = std::move(run);
}

std::uint64_t Lineage::sequence_reached(std::uint64_t position) const {
  std::uint64_t reached = sequence_of(position);
  for (const Generation& g : generations_) {
    if (g.number > generation_of(position)) reached = std::min(reached, g.base);
  }
  return reached;
}

std::uint64_t Lineage::position_of(std::uint64_t sequence) const {
  for (auto g = generations_.rbegin(); g != generations_.rend(); ++g) {
    if (sequence > g->base) return position_at(g->number, sequence);
  }
  return position_at(generations_.empty() ? 0 : generations_.front().number, sequence);
}

bool Lineage::count_lost(std::uint64_t position) {
  for (Generation& g : generations_) {
    if (g.number != generation_of(position)) continue;
    const std::uint64_t there = std::max(sequence_reached(position), g.counted);
    if (sequence_of(position) <= there) return false;
    lost_ += sequence_of(position) - there;
    g.counted = sequence_of(position);
    return true;
  }
  return false;
}

std::string Lineage::write() const {
  std::string out = "run=" + run_ + " lost=" + std::to_string(lost_);
  for (const Generation& g : generations_) {
    out += " " + std::to_string(g.number) + ":" + std::to_string(g.base) + ":" + std::to_string(g.counted);
  }
  return out;
}

Lineage Lineage::read(std::string_view text) {
  Lineage result;
  std::istringstream words{std::string(text)};
  for (std::string word; words >> word;) {
    if (word.starts_with("run=")) {
      result.run_ = word.substr(4);
    } else if (word.starts_with("lost=")) {
      result.lost_ = read_number(std::string_view(word).substr(5)).value_or(0);
    } else {
      Generation g;
      char a = 0;
      char b = 0;
      std::istringstream parts(word);
      if (parts >> g.number >> a >> g.base >> b >> g.counted && a == ':' && b == ':') result.generations_.push_back(g);
    }
  }
  return result;
}

}  // namespace utp::nats_bus
