#include "apps/utp/session.h"

#include <unistd.h>

#include <optional>

#include <fmt/format.h>

#include "apps/utp/exit_code.h"
#include "apps/utp/live_view.h"
#include "apps/utp/price_watch.h"
#include "core/log.h"

namespace utp::app {
namespace {

constexpr std::int64_t kTickMs = 100;
constexpr std::int64_t kDrawNs = 250'000'000;
constexpr std::int64_t kHealthNs = 1'000'000'000;
constexpr double kSmoothing = 0.5;  // of rates: the newest quarter second counts half

// Rates from counts, smoothed over about a second.
class Rates {
 public:
  double update(const std::string& name, std::uint64_t count, std::int64_t now_ns) {
    Entry& e = entries_[name];
    if (e.time_ns > 0 && now_ns > e.time_ns) {
      const double rate = static_cast<double>(count - std::min(count, e.count)) * 1e9 / static_cast<double>(now_ns - e.time_ns);
      e.rate = e.primed ? e.rate + kSmoothing * (rate - e.rate) : rate;
      e.primed = true;
    }
    e.count = count;
    e.time_ns = now_ns;
    return e.rate;
  }

 private:
  struct Entry {
    std::uint64_t count = 0;
    std::int64_t time_ns = 0;
    double rate = 0;
    bool primed = false;
  };
  std::map<std::string, Entry> entries_;
};

ViewState view_of(const ChamberStatus& status, const SessionOptions& options, Rates& rates, std::int64_t now_ns) {
  ViewState view;
  view.title = options.title;
  view.elapsed_ns = status.elapsed_ns;
  if (options.seconds > 0) view.remaining_ns = std::max<std::int64_t>(0, static_cast<std::int64_t>(options.seconds * 1e9) - status.elapsed_ns);
  for (const auto& [type, counts] : status.event_types) {
    view.event_types.push_back({type, counts.events, counts.stored, rates.update("type " + type, std::max(counts.events, counts.stored), now_ns)});
  }
  for (const InstanceStatus& i : status.instances) {
    view.connectors.push_back({i.source_id, std::string(to_string(i.state)), i.counts.frames, i.counts.events_total, i.dead_letters.letters,
                               i.reconnects, rates.update("connector " + i.source_id, i.counts.events_total, now_ns),
                               static_cast<double>(i.counts.latency_p99_ns) / 1e6});
  }
  view.bus_messages = status.bus_messages;
  view.bus_bytes = status.bus_bytes;
  view.lag = status.lag;
  view.oldest_unread_ns = status.oldest_unread.ns > 0 ? status.time - status.oldest_unread : 0;
  view.stored = status.stored;
  view.stored_rate = rates.update("stored", status.stored, now_ns);
  view.duplicates = status.duplicates;
  view.dead_letters = status.dead_letters;
  view.message = status.detail;
  return view;
}

class Session {
 public:
  Session(ChamberRun& run, const SessionOptions& options, Context& context, const Clock& clock)
      : run_(run), options_(options), context_(context), clock_(clock), end_ns_(clock.monotonic_ns() + static_cast<std::int64_t>(options.seconds * 1e9)) {
    if (options.live_view && is_terminal(STDOUT_FILENO) && !context.common.json && !context.common.quiet) {
      prices_.emplace(run.bus(), run.registry(), run.chamber().realm);
      screen_.emplace(STDOUT_FILENO);
    }
  }

  int run() {
    run_.start();
    // stop() drains: nothing to wait for before it.
    while (!options_.until_drained && !context_.stop->wait(kTickMs)) {
      const std::int64_t now = clock_.monotonic_ns();
      if (context_.stop->take_reload()) reload();
      run_.step();
      if (run_.finished() || (options_.seconds > 0 && now >= end_ns_)) break;
      show(now);
    }
    const std::string broken = broken_connectors();
    if (screen_) screen_->leave();
    const bool drains = options_.until_drained || run_.has_sources();
    if (!context_.common.json) print_note(drains ? "stopping: what was collected goes into the store" : "stopping");
    const auto give_up = [&] { return !drains || (options_.until_drained && context_.stop->pending()); };
    const Status stopped = run_.stop(options_.patience_ns, [this] { write_health(run_.status()); }, give_up);
    const ChamberStatus status = run_.status();
    write_health(status);
    if (context_.common.json) fmt::print("{}\n", to_json(status, false));
    else if (!context_.common.quiet) print_result(status);
    std::fflush(stdout);
    if (!stopped && (drains || stopped.error().code != Code::kCancelled)) return report(stopped.error());
    if (broken.empty()) return kOk;
    print_error(broken);
    return kFailure;
  }

 private:
  // Connectors that came to an end which needs a person.
  std::string broken_connectors() {
    std::string message;
    if (!run_.finished()) return message;
    for (const InstanceStatus& i : run_.status().instances) {
      if (i.state == InstanceState::kDown) message += fmt::format("{}{}: {}", message.empty() ? "" : "\n", i.source_id, i.detail);
    }
    return message;
  }

  void reload() {
    if (run_.chamber().file.empty()) return;
    run_.reload();
    if (prices_) prices_.emplace(run_.bus(), run_.registry(), run_.chamber().realm);
    next_health_ns_ = 0;
  }

  void show(std::int64_t now) {
    const bool draw = screen_ && now >= next_draw_ns_;
    const bool health = now >= next_health_ns_;
    if (!draw && !health) return;
    if (prices_) prices_->step();
    const ChamberStatus status = run_.status();
    ViewState view = view_of(status, options_, rates_, now);
    if (draw) {
      next_draw_ns_ = now + kDrawNs;
      view.prices = prices_->prices();
      screen_->draw(view, colored(STDOUT_FILENO));
    }
    if (!health) return;
    next_health_ns_ = now + kHealthNs;
    write_health(status);
    if (!screen_ && !context_.common.json && !context_.common.quiet && options_.line_every_s > 0 && now >= next_line_ns_) {
      next_line_ns_ = now + static_cast<std::int64_t>(options_.line_every_s * 1e9);
      fmt::print("{}\n", summary_line(view));
      std::fflush(stdout);
    }
  }

  void write_health(const ChamberStatus& status) {
    const std::string& path = run_.chamber().health_file;
    if (path.empty()) return;
    const Status written = replace_file(path, to_json(status, true) + "\n");
    if (!written && health_good_) log::warn("the health file cannot be written", {{"error", written.error().message}});
    health_good_ = written.has_value();
  }

  void print_result(const ChamberStatus& status) {
    Table table({"event type", "events", "stored"});
    for (const auto& [type, counts] : status.event_types) table.add({type, human_count(counts.events), human_count(counts.stored)});
    if (table.size() > 0) fmt::print("{}", table.text(colored(STDOUT_FILENO)));
    fmt::print("{} events in {}, {} stored{}, {} dead letters, lag {}\n", human_count(status.events), human_duration(status.elapsed_ns),
               human_count(status.stored), status.duplicates > 0 ? fmt::format(" ({} known already)", human_count(status.duplicates)) : "",
               human_count(status.dead_letters), human_count(status.lag));
  }

  ChamberRun& run_;
  const SessionOptions& options_;
  Context& context_;
  const Clock& clock_;
  std::int64_t end_ns_;
  std::int64_t next_draw_ns_ = 0, next_health_ns_ = 0, next_line_ns_ = 0;
  bool health_good_ = true;
  Rates rates_;
  std::optional<PriceWatch> prices_;
  std::optional<LiveScreen> screen_;
};

}  // namespace

int run_session(ChamberRun& run, const SessionOptions& options, Context& context, const Clock& clock) {
  return Session(run, options, context, clock).run();
}

}  // namespace utp::app
