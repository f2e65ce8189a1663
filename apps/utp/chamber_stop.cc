// How a chamber ends: its connectors first, then the spool, then what the store does not have yet of each bus.
#include <algorithm>
#include <chrono>
#include <thread>

#include <fmt/format.h>

#include "apps/utp/chamber_run.h"
#include "core/log.h"

namespace utp::app {
namespace {

constexpr std::int64_t kDrainTurnNs = 250'000'000;

}  // namespace

// What waits in the spool goes to the bus first, while the bus takes it; the rest is sent at the next start.
void ChamberRun::forward_spool(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up) {
  if (!spool_) return;
  constexpr std::int64_t kAwayNs = 3'000'000'000;  // a bus that takes nothing is not waited for longer: the spool is on disk
  std::uint64_t forwarded = 0;
  std::int64_t deadline = clock_.monotonic_ns() + std::min(patience_ns, kAwayNs);
  while (clock_.monotonic_ns() < deadline && !(give_up && give_up())) {
    const auto spool = spool_->spool_stats();
    if (!spool || !spool->spooling) return;
    if (spool->forwarded != forwarded) deadline = clock_.monotonic_ns() + std::min(patience_ns, kAwayNs);
    forwarded = spool->forwarded;
    if (while_waiting) while_waiting();
    std::this_thread::sleep_for(std::chrono::nanoseconds(kDrainTurnNs));
  }
  if (const auto spool = spool_->spool_stats(); spool && spool->waiting > 0) {
    log::warn("messages stay in the disk spool and are sent at the next start", {{"messages", std::to_string(spool->waiting)}, {"error", spool->last_error}});
  }
}

Status ChamberRun::stop(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up) {
  const Status stopped = stop_parts(patience_ns, while_waiting, give_up);
  if (watch_->view().reachable) watch_->refresh();  // the last figures are those of the end
  return stopped;
}

Status ChamberRun::stop_parts(std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up) {
  state_ = "stopping";
  keeper_.reset();
  std::vector<std::thread> stoppers;
  for (auto& instance : instances_) stoppers.emplace_back([&instance] { instance->stop(); });
  for (auto& bridge : bridges_) stoppers.emplace_back([&bridge] { bridge->stop(); });
  for (std::thread& stopper : stoppers) stopper.join();
  forward_spool(patience_ns, while_waiting, give_up);
  if (persister_waits_) {
    state_ = "stopped";
    return fail(Code::kUnavailable, fmt::format("the bus was not there: {}; {} events wait in the disk spool for the next start", watch_->view().error, status().lag), true);
  }
  if (!persister_) {
    state_ = "stopped";
    return {};
  }
  bool given_up = false;
  Status earlier;
  for (Leaving& leaving : leaving_) {
    if (!leaving.part) continue;
    const bool drained = leaving.part->retire() && drain(*leaving.part, patience_ns, while_waiting, give_up, given_up);
    const std::string why = leaving.part->persister().stats().last_error;
    const auto ended = leaving.part->runner().stop();
    if (drained && ended) continue;
    earlier = fail(Code::kUnavailable,
                   fmt::format("{}: not everything of this earlier bus is stored{}; the next start goes on with it", leaving.part->source_shown(),
                               !ended ? ": " + ended.error().message : why.empty() ? "" : ": " + why),
                   true);
  }
  step();
  // What other processes publish from here on is not waited for.
  const auto mark = persister_->persister().mark();
  const bool drained = persister_->retire() && drain(*persister_, patience_ns, while_waiting, give_up, given_up);
  const PersisterStats stats = persister_->persister().stats();
  if (auto ended = persister_->runner().stop(); !ended) {
    state_ = "failed";
    failure_ = ended.error().message;
    return ended;
  }
  state_ = "stopped";
  if (drained) return earlier;
  if (given_up) return fail(Code::kCancelled, fmt::format("interrupted; {} messages stay on the bus and are stored at the next start", status().lag));
  if (!mark) return fail(mark.error());
  failure_ = fmt::format("{}; {} messages stay on the bus and are stored at the next start",
                         stats.last_error.empty() ? "the store took too long" : stats.last_error, status().lag);
  return fail(Code::kUnavailable, failure_, true);
}

// Until it has stored what was there when it was retired; false when it makes no progress for `patience_ns` or `give_up` says so.
bool ChamberRun::drain(ChamberPersister& part, std::int64_t patience_ns, const std::function<void()>& while_waiting, const std::function<bool()>& give_up,
                       bool& given_up) {
  std::uint64_t progress = part.persister().stats().messages;
  std::int64_t deadline = clock_.monotonic_ns() + patience_ns;
  while (part.runner().running() && clock_.monotonic_ns() < deadline) {
    if (!given_up) given_up = give_up && give_up();
    if (given_up) return false;
    if (part.finished(kDrainTurnNs)) return true;
    if (while_waiting) while_waiting();
    // A batch that waits to be tried again counts as read once; only commits are progress.
    const PersisterStats stats = part.persister().stats();
    if (stats.messages != progress && stats.last_error.empty()) {
      progress = stats.messages;
      deadline = clock_.monotonic_ns() + patience_ns;
    }
  }
  return false;
}

}  // namespace utp::app
