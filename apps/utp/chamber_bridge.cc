#include "apps/utp/chamber_bridge.h"

#include <pthread.h>

#include <chrono>

#include <fmt/format.h>

#include "apps/utp/ports.h"
#include "core/backoff.h"
#include "core/log.h"

namespace utp::app {
namespace {

constexpr std::int64_t kStepNs = 200'000'000;
constexpr std::int64_t kLookNs = 1'000'000'000;  // between two looks at how much waits
constexpr std::int64_t kRetryMinNs = 50'000'000, kRetryMaxNs = 5'000'000'000;

}  // namespace

ChamberBridge::ChamberBridge(const Chamber& chamber, BridgeConfig config, Bus& to, const Clock& clock)
    : config_(std::move(config)), to_(to), clock_(clock) {
  options_.filter.patterns = config_.topics;
  if (options_.filter.patterns.empty()) options_.filter.patterns = {fmt::format("utp.{}.{}.>", chamber.realm, config_.region)};
  options_.filter.realms = {chamber.realm};
  options_.filter.regions = {config_.region};
  options_.filter.symbols = config_.symbols;
  // By the regions and not by the bus, so that a chamber that moves to another bus goes on where it was. One for each bridge: two of
  // a group on one bus would each get a part of the other's events, and pass it by.
  options_.group = "bridge-" + chamber.region + "-" + config_.region;
  options_.durability = chamber.durability;
  status_.region = config_.region;
  status_.from = config_.from_shown;
}

void ChamberBridge::start() {
  thread_ = std::thread([this] { run(); });
}

void ChamberBridge::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

BridgeStatus ChamberBridge::status() const {
  const std::lock_guard lock(mutex_);
  return status_;
}

Status ChamberBridge::open() {
  if (bridge_) return {};
  if (!from_) {
    UTP_TRY(from_, open_bus(config_.from, clock_, false));
  }
  UTP_TRY(bridge_, Bridge::create(*from_, to_, options_));
  return {};
}

Status ChamberBridge::turn() {
  UTP_CHECK(open());
  UTP_TRY(const std::size_t done, bridge_->step(kStepNs));
  (void)done;
  std::optional<std::uint64_t> lag;
  if (clock_.monotonic_ns() >= next_look_ns_) {
    UTP_TRY(lag, bridge_->waiting());
    next_look_ns_ = clock_.monotonic_ns() + kLookNs;
  }
  const std::lock_guard lock(mutex_);
  status_.stats = bridge_->stats();
  if (lag) status_.lag = *lag;
  return {};
}

void ChamberBridge::run() {
  ::pthread_setname_np(::pthread_self(), "bridge");
  Random random(static_cast<std::uint64_t>(clock_.now().ns));
  std::string told;
  unsigned failures = 0;
  for (;;) {
    const Status done = turn();
    const std::string error = done ? "" : done.error().message;
    if (!error.empty() && error != told) log::warn("the bridge waits", {{"region", config_.region}, {"error", error}});
    if (error.empty() && !told.empty()) log::info("the bridge goes on", {{"region", config_.region}});
    told = error;
    failures = done ? 0 : failures + 1;
    std::unique_lock lock(mutex_);
    status_.stats.last_error = error;
    const std::chrono::nanoseconds pause(failures == 0 ? 0 : full_jitter_ns(random, kRetryMinNs, kRetryMaxNs, failures));
    if (changed_.wait_for(lock, pause, [&] { return stopping_; })) return;
  }
}

}  // namespace utp::app
