#include "apps/utp/store_refresh.h"

#include <future>

#include <fmt/format.h>

#include "apps/utp/console.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/ports.h"
#include "core/clock.h"

namespace utp::app {
namespace {

constexpr std::int64_t kLookMs = 50;  // between two looks at the stop signal

}  // namespace

Result<Maintained> maintain_shown(Store& store, Context& context) {
  const SystemClock clock;
  const std::int64_t started = clock.monotonic_ns();
  auto done = std::async(std::launch::async, [&store] { return store.maintain(); });
  Progress progress("refresh", !context.common.json);
  while (done.wait_for(std::chrono::seconds(0)) != std::future_status::ready) {
    if (context.stop->wait(kLookMs)) {
      store.interrupt();
      auto result = done.get();
      if (result) return result;
      return fail(Code::kCancelled, "interrupted; what was not refreshed yet is left to the next time");
    }
    progress.update(0, 0, fmt::format("aggregates, {}", human_duration(clock.monotonic_ns() - started)));
  }
  return done.get();
}

void refresh_after_writing(const std::string& store_url, Context& context) {
  if (!local_path(store_url).empty()) return;
  const auto refreshed = [&]() -> Result<Maintained> {
    if (context.stop->pending()) return fail(Code::kCancelled, "interrupted");
    UTP_TRY(const auto store, open_store(store_url, true));
    return maintain_shown(*store, context);
  }();
  if (refreshed) return;
  print_note(fmt::format("aggregates are as they were: {}. A running chamber refreshes them, or utp store maintain", refreshed.error().message));
}

}  // namespace utp::app
