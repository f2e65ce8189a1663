#include <filesystem>
#include <set>

#include <unistd.h>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "apps/utp/session.h"
#include "apps/utp/store_refresh.h"

namespace utp::app {
namespace {

struct UpOptions {
  std::string file = "chamber.yaml", instance, record_acknowledged, realm;
  double seconds = 0;
  bool live = false, drain = false, again = false;
  PlaceOptions place;
};

// The configuration's log, unless the command line says otherwise.
int set_up_log(const Chamber& chamber, const Context& context, bool level_given) {
  if (!level_given) log::set_level(context.common.quiet ? log::Level::kError : chamber.log_level);
  log::set_json(chamber.log_json);
  if (chamber.log_file.empty() || log::set_file(chamber.log_file)) return kOk;
  print_error(fmt::format("{}: log.file: {} cannot be written; name another, or make its folder", chamber.file, chamber.log_file));
  return kUnavailable;
}

// Where the data goes and how to look at it. A URL that is no path may hold a password: it is shown as the file has it.
void say_where(const Chamber& chamber, const std::string& file) {
  const auto shown = [](const std::string& url, const std::string& written) { return local_path(url).empty() ? written : url; };
  print_note(fmt::format("bus {}, store {}", shown(chamber.bus, chamber.bus_shown), shown(chamber.store, chamber.store_shown)));
  print_note(fmt::format("look at them with: utp topics --chamber {} (query, tail and dlq take --chamber too)", file));
}

// Parts of a chamber in this process, over its bus.
int run_parts(const UpOptions& options, ChamberRunOptions parts, bool exclusive, const char* title, Context& context, bool level_given) {
  const SystemClock clock;
  const std::int64_t started = clock.monotonic_ns();
  auto chamber = load_chamber(options.file);
  if (!chamber) {
    if (std::error_code ignored; std::filesystem::exists(options.file, ignored)) return report_configuration(chamber.error());
    print_error(fmt::format("{}: there is no such file; name a chamber file: utp {} FILE (examples/chamber.yaml has comments)",
                            options.file, title));
    return kConfiguration;
  }
  // Everything is checked before anything is made; the lock is the first thing on disk.
  if (exclusive) parts.persister = chamber->persister.enabled;
  parts.wait_for_bus = true;
  auto directory = exclusive ? DataDirectory::lock(chamber->data_dir) : DataDirectory::share(chamber->data_dir);
  if (!directory) return report(directory.error());
  if (const int failed = set_up_log(*chamber, context, level_given)) return failed;
  if (!exclusive) chamber->health_file.clear();
  auto run = ChamberRun::create(*std::move(chamber), parts, clock, started);
  if (!run) return report_configuration(run.error());
  if (exclusive && !context.common.json) say_where((*run)->chamber(), options.file);
  SessionOptions session;
  session.title = fmt::format("utp {} · {}/{} · {}", title, (*run)->chamber().realm, (*run)->chamber().region, options.file);
  session.seconds = options.seconds;
  session.live_view = options.live;
  session.until_drained = options.drain;
  return run_session(**run, session, context, clock);
}

bool level_given(const CLI::App& command) { return command.count("--log-level") > 0; }

// A bus without a chamber file tells its realm by its topics: "utp.<realm>.<region>. ...".
Status take_realm(const UpOptions& options, const Clock& clock, Chamber& chamber) {
  UTP_TRY(const auto bus, open_bus(chamber.bus, clock, false));
  UTP_TRY(const auto topics, bus->stats("utp.>"));
  std::set<std::string> realms;
  for (const TopicStats& topic : topics) {
    const std::size_t realm = topic.topic.find('.') + 1, region = topic.topic.find('.', realm) + 1;
    const std::string name = topic.topic.substr(realm, region - realm - 1);
    if (!options.realm.empty() && name != options.realm) continue;
    realms.insert(name);
    chamber.realm = name;
    chamber.region = topic.topic.substr(region, topic.topic.find('.', region) - region);
  }
  if (!options.realm.empty()) {
    chamber.realm = options.realm;
    if (realms.empty()) print_note(fmt::format("no topic of realm {} is on this bus yet", options.realm));
  }
  if (realms.size() <= 1) return {};
  return fail(Code::kInvalidArgument, fmt::format("the bus holds the realms {}; name one with --realm: a store holds one realm", fmt::join(realms, ", ")));
}

int persister(const UpOptions& options, Context& context, bool given) {
  const auto place = locate(options.place, kUsesBus | kUsesStore);
  if (!place) return report_configuration(place.error());
  const SystemClock clock;
  const std::int64_t started = clock.monotonic_ns();
  Chamber chamber = place->chamber.value_or(Chamber{});
  chamber.bus = place->bus;
  chamber.store = place->store;
  chamber.schema_dirs = place->schema_dirs;
  chamber.health_file.clear();
  if (options.again) chamber.persister.group = "again-" + std::to_string(clock.now().ns);  // no earlier one's
  const std::string group = chamber.persister.group;
  if (!place->chamber) {
    chamber.data_dir = ".";
    if (const Status found = take_realm(options, clock, chamber); !found) return report_configuration(found.error());
  }
  if (const int failed = set_up_log(chamber, context, given)) return failed;
  ChamberRunOptions parts;
  parts.connectors = false;
  const bool drain = options.drain || options.again;
  parts.wait_for_bus = !drain;
  auto run = ChamberRun::create(std::move(chamber), parts, clock, started);
  if (!run) return report_configuration(run.error());
  SessionOptions session;
  session.title = "utp persister";
  session.seconds = options.seconds;
  session.live_view = options.live;
  session.until_drained = drain;
  const int code = run_session(**run, session, context, clock);
  if (options.again) {
    run->reset();
    const auto bus = open_bus(place->bus, clock, false);
    const Status gone = bus ? (*bus)->delete_group(group) : fail(bus.error());
    if (!gone) return report(gone.error());
  }
  if (code == kOk && drain) refresh_after_writing(place->store, context);
  return code;
}

}  // namespace

void add_up(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "up", "A chamber: everything that a file names, in one process",
                                  "  utp up chamber.yaml\n  utp up chamber.yaml --live\n  utp up chamber.yaml --seconds 60 --json\n  utp doctor chamber.yaml");
  auto options = std::make_shared<UpOptions>();
  command->add_option("CHAMBER", options->file, "The chamber file (default ./chamber.yaml)");
  command->add_option("--seconds", options->seconds, "Ends after so many seconds")->check(above_zero("60"));
  command->add_flag("--live", options->live, "Live view instead of lines, on a terminal");
  command->add_option("--record-acknowledged", options->record_acknowledged, "Appends the key of every acknowledged event to this file")->group("");
  command->callback([&context, options, command] {
    context.action = [&context, options, command] {
      ChamberRunOptions parts;
      parts.record_acknowledged = options->record_acknowledged;
      return run_parts(*options, parts, true, "up", context, level_given(*command));
    };
  });
}

void add_connect(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "connect", "One connector of a chamber file, as a process of its own on the same bus",
                                  "  utp connect chamber.yaml coinbase.us1\n  utp connect chamber.yaml sim.stocks --seconds 60 --json");
  auto options = std::make_shared<UpOptions>();
  command->add_option("CHAMBER", options->file, "The chamber file")->required();
  command->add_option("INSTANCE", options->instance, "Its source_id: <id>.<name>")->required();
  command->add_option("--seconds", options->seconds, "Ends after so many seconds")->check(above_zero("60"));
  command->add_flag("--live", options->live, "Live view instead of lines, on a terminal");
  command->add_option("--record-acknowledged", options->record_acknowledged, "Appends the key of every acknowledged event to this file")->group("");
  command->callback([&context, options, command] {
    context.action = [&context, options, command] {
      ChamberRunOptions parts;
      parts.persister = false;
      parts.only_instance = options->instance;
      parts.record_acknowledged = options->record_acknowledged;
      return run_parts(*options, parts, false, "connect", context, level_given(*command));
    };
  });
}

void add_persister(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "persister", "The bus into the store, as a process of its own",
                                  "  utp persister --chamber chamber.yaml\n  utp persister --bus embedded:data/bus --store sqlite:data/store.db\n"
                                  "  utp persister --drain          # ends when everything on the bus is stored");
  auto options = std::make_shared<UpOptions>();
  command->add_option("--seconds", options->seconds, "Ends after so many seconds")->check(above_zero("60"));
  command->add_flag("--drain", options->drain, "Ends when everything that is on the bus now is stored");
  command->add_flag("--again", options->again, "All that is on the bus, also what was stored before, which adds no row twice (but dead letters a second time); then it ends");
  command->add_option("--realm", options->realm, "Realm to store, where no chamber file says (default: the bus's only one)");
  command->add_flag("--live", options->live, "Live view instead of lines, on a terminal");
  add_place_options(*command, options->place, kUsesBus | kUsesStore | kUsesSchemas);
  command->callback([&context, options, command] {
    context.action = [&context, options, command] { return persister(*options, context, level_given(*command)); };
  });
}

}  // namespace utp::app
