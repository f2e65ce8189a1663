#include <atomic>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <mutex>

#include "connectors/sim/sim.h"
#include "connectors/sim/sim_generator.h"
#include "connectors/sim/sim_mapper.h"

namespace utp {
namespace sim {
namespace {

constexpr std::int64_t kBehindMaxNs = 1'000'000'000;  // further behind its pace than this it does not try to catch up
constexpr std::size_t kCommandsMax = 10'000;          // waiting; more are dropped, as a venue drops what floods it

class SimCollector final : public Collector {
 public:
  SimCollector(Settings settings, Generator generator, const Clock* clock)
      : settings_(std::move(settings)), generator_(std::move(generator)), clock_(clock) {}

  Status run(FrameSink& sink) override { return settings_.flat ? run_flat(sink) : run_live(sink); }

  void stop() override {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }

  bool can_wait() const override { return settings_.flat; }

  void carry_out(Command command) override {
    const std::lock_guard lock(mutex_);
    if (commands_.size() == kCommandsMax) return;
    commands_.push_back(std::move(command));
    commanded_ = true;
    wake_.notify_all();
  }

 private:
  void take_commands() {
    if (!commanded_.load(std::memory_order_relaxed)) return;
    const std::lock_guard lock(mutex_);
    for (const Command& command : commands_) generator_.carry_out(command);
    commands_.clear();
    commanded_ = false;
  }

  Status run_flat(FrameSink& sink) {
    Frame frame;
    while (!stopping_.load(std::memory_order_relaxed)) {
      take_commands();
      if (!generator_.next(frame)) break;
      // The venue's times are virtual, the receipt is now: who watches the source must not take it for years old.
      if (clock_ != nullptr) frame.receive_time = clock_->now();
      if (!sink.push(frame)) break;
    }
    return {};
  }

  Status run_live(FrameSink& sink) {
    const auto interval_ns = std::max<std::int64_t>(1, std::llround(static_cast<double>(generator_.interval_ns()) / settings_.speed));
    std::int64_t due_ns = clock_->monotonic_ns();
    Frame frame;
    while (!stopping_.load(std::memory_order_relaxed)) {
      take_commands();
      const std::int64_t now_ns = clock_->monotonic_ns();
      if (!generator_.opening() && due_ns > now_ns) {
        std::unique_lock lock(mutex_);
        wake_.wait_for(lock, std::chrono::nanoseconds(due_ns - now_ns), [this] { return stopping_ || commanded_; });
        continue;
      }
      if (!generator_.opening()) due_ns = std::max(due_ns + interval_ns, now_ns - kBehindMaxNs);
      if (!generator_.next(frame, clock_->now()) || !sink.push(frame)) break;
      due_ns += generator_.take_stall_ns();
    }
    return {};
  }

  Settings settings_;
  Generator generator_;
  const Clock* clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::vector<Command> commands_;
  std::atomic<bool> stopping_ = false, commanded_ = false;
};

Result<std::unique_ptr<Collector>> make_collector(CollectorContext context) {
  UTP_TRY(auto settings, Settings::parse(context.settings_json));
  if (!settings.flat && context.clock == nullptr) return fail(Code::kInternal, "sim: the live pace needs a clock");
  UTP_TRY(auto generator, Generator::make(settings, settings.seed.value_or(context.seed), context.wanted));
  return std::make_unique<SimCollector>(std::move(settings), std::move(generator), context.clock);
}

}  // namespace
}  // namespace sim

BuiltinConnector sim_connector() { return {"sim", sim::make_collector, sim::make_sim_mapper}; }

}  // namespace utp
