#include <unistd.h>

#include <filesystem>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "apps/utp/session.h"

namespace utp::app {
namespace {

struct DemoOptions {
  double seconds = 0;
  bool live = false;
  std::string data;
  std::uint64_t seed = 1;
};

ConnectorConfig market(const char* name, std::vector<std::string> symbols, std::vector<std::string> streams, std::string settings, std::uint64_t seed) {
  ConnectorConfig c;
  c.id = "sim";
  c.name = name;
  c.symbols = std::move(symbols);
  c.streams = std::move(streams);
  c.settings_json = std::move(settings);
  c.seed = seed;
  return c;
}

Result<Chamber> demo_chamber(const DemoOptions& options, const std::string& data_dir) {
  Chamber chamber;
  chamber.region = "demo";
  chamber.data_dir = data_dir;
  chamber.bus_shown = kDefaultBus;
  chamber.store_shown = kDefaultStore;
  UTP_TRY(chamber.bus, resolve_bus_url(kDefaultBus, data_dir));
  UTP_TRY(chamber.store, resolve_store_url(kDefaultStore, data_dir));
  chamber.health_file = data_dir + "/health.json";
  if (options.live) {
    ConnectorConfig c;
    c.id = "coinbase";
    c.name = "live";
    c.symbols = {"BTC-USD", "ETH-USD", "SOL-USD"};
    chamber.connectors.push_back(std::move(c));
    return chamber;
  }
  chamber.connectors.push_back(market("index", {"SPX"}, {"quotes", "trades", "options", "news", "calendar", "heartbeat"},
                                      R"({"rates":{"quotes":80,"trades":40,"options":160,"news":2,"calendar":1,"heartbeat":1}})", options.seed));
  chamber.connectors.push_back(market("stocks", {"AAPL", "MSFT", "TSLA"}, {"quotes", "trades", "books", "heartbeat"},
                                      R"({"rates":{"quotes":240,"trades":120,"books":90,"heartbeat":1}})", options.seed + 1));
  chamber.connectors.push_back(market("coins", {"BTC-USD", "ETH-USD"}, {"quotes", "trades", "books", "heartbeat"},
                                      R"({"rates":{"quotes":200,"trades":150,"books":150,"heartbeat":1}})", options.seed + 2));
  return chamber;
}

// The demo's own folder begins empty each time; where another demo runs in it, a temporary one is taken. A folder that was
// named is kept as it is.
Result<DataDirectory> demo_directory(const std::string& named) {
  if (!named.empty()) return DataDirectory::lock(named);
  auto own = DataDirectory::lock(demo_data_dir());
  if (!own) {
    std::string pattern = (std::filesystem::temp_directory_path() / "utp_demo_XXXXXX").string();
    if (!mkdtemp(pattern.data())) return fail(own.error());
    print_note(fmt::format("{}; this demo keeps its data in {}", own.error().message.substr(0, own.error().message.find(';')), pattern));
    return DataDirectory::lock(pattern);
  }
  UTP_CHECK(own->clear());
  return own;
}

int demo(const DemoOptions& options, Context& context, bool level_given) {
  const SystemClock clock;
  const std::int64_t started = clock.monotonic_ns();
  auto directory = demo_directory(options.data);
  if (!directory) return report(directory.error());
  // The log would break the live view.
  if (is_terminal(STDOUT_FILENO) && !context.common.json) (void)log::set_file(directory->path() + "/utp.log");
  if (!level_given && !context.common.quiet) log::set_level(is_terminal(STDOUT_FILENO) ? log::Level::kInfo : log::Level::kWarn);
  auto chamber = demo_chamber(options, directory->path());
  if (!chamber) return report_configuration(chamber.error());
  auto run = ChamberRun::create(*std::move(chamber), {}, clock, started);
  if (!run) return report_configuration(run.error());
  SessionOptions session;
  session.title = options.live ? "utp demo --live" : "utp demo";
  session.seconds = options.seconds;
  session.live_view = true;
  session.line_every_s = 1;
  const int code = run_session(**run, session, context, clock);
  if (code == kOk && !context.common.json) {
    const std::string named = directory->path() == demo_data_dir() ? "" : fmt::format(" --store sqlite:{}/store.db", directory->path());
    print_note(fmt::format("the data is in {}; look at it with: utp query trades/v2 --newest --limit 20{}", directory->path(), named));
  }
  return code;
}

}  // namespace

void add_demo(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "demo", "A chamber with simulated markets and a live view",
                                  "  utp demo\n  utp demo --live                 # Coinbase's public feed, no account needed\n"
                                  "  utp demo --seconds 15 --json    # headless; the last line is the result");
  auto options = std::make_shared<DemoOptions>();
  command->add_option("--seconds", options->seconds, "Ends after so many seconds (default: Ctrl-C)")->check(above_zero("60"));
  command->add_flag("--live", options->live, "Coinbase's public feed instead of simulated markets");
  command->add_option("--data", options->data, "Folder to keep the data in, added to what is there (default: the demo's own, emptied first)");
  command->add_option("--seed", options->seed, "Seed of the simulated markets (default 1)");
  command->callback([&context, options, command] {
    context.action = [&context, options, command] { return demo(*options, context, command->count("--log-level") > 0); };
  });
}

}  // namespace utp::app
