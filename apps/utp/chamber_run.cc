#include "apps/utp/chamber_run.h"

#include <algorithm>
#include <cstdlib>
#include <future>
#include <random>

#include <fmt/format.h>

#include "apps/utp/catalog.h"
#include "apps/utp/console.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"

namespace utp::app {
namespace {

constexpr std::uint64_t kRefusedBytesMax = 64u << 20;

Error placed(const std::string& place, Error error) {
  if (!place.empty() && error.message.find(place) == std::string::npos) error.message = place + ": " + error.message;
  return error;
}

std::uint64_t drawn_seed() {
  std::random_device device;
  return ((static_cast<std::uint64_t>(device()) << 32) | device()) >> 11;  // fits the configuration's range
}

void set_limits(const std::map<std::string, double>& limits, RateLimits& rates) {
  for (const auto& [name, value] : limits) {
    if (name == "connections_per_minute") rates.connections_per_minute = value;
    else if (name == "messages_per_second") rates.messages_per_second = value;
    else if (name == "subscriptions_per_connection") rates.subscriptions_per_connection = static_cast<std::uint32_t>(value);
    else if (name == "events_per_second") rates.events_per_second = value;
  }
}

}  // namespace

ChamberRun::ChamberRun(Chamber chamber, const Clock& clock, std::int64_t started_ns, Registry registry)
    : chamber_(std::move(chamber)), clock_(clock), started_ns_(started_ns), started_(clock.now()), registry_(std::move(registry)) {}

ChamberRun::~ChamberRun() {
  for (auto& bridge : bridges_) bridge->stop();
  for (auto& instance : instances_) instance->stop();
  for (Leaving& leaving : leaving_) {
    if (leaving.part) (void)leaving.part->runner().stop();
  }
  if (persister_) (void)persister_->runner().stop();
}

Result<std::unique_ptr<ChamberRun>> ChamberRun::create(Chamber chamber, ChamberRunOptions options, const Clock& clock, std::int64_t started_ns) {
  UTP_TRY(Registry registry, load_registry(chamber.schema_dirs));
  std::unique_ptr<ChamberRun> run(new ChamberRun(std::move(chamber), clock, started_ns, std::move(registry)));
  UTP_CHECK(run->check_topics());
  std::vector<Prepared> prepared;
  if (options.connectors) {
    UTP_TRY(prepared, run->prepare_instances(options.only_instance));
  }
  // Nothing is made before everything was checked. New topics and a new store both wait for the disk: at once, then.
  std::future<Result<std::unique_ptr<Store>>> store;
  if (options.persister) {
    store = std::async(std::launch::async, [&chamber = run->chamber_, wait = options.wait_for_bus] { return open_store(chamber.store, true, chamber.realm, wait); });
  }
  run->keep_unread_ = options.keep_unread;
  UTP_TRY(run->driver_, run->open_driver(run->chamber_.bus, options.wait_for_bus));
  run->watch_ = std::make_unique<BusWatch>(run->driver_, run->chamber_.realm, run->chamber_.persister.group);
  Status spooled;
  auto mover = std::make_unique<MovingBus>(run->with_spool(run->driver_, spooled));
  UTP_CHECK(spooled);
  run->mover_ = mover.get();
  ChamberBusOptions bus_options;
  bus_options.topics = run->chamber_.topics;
  bus_options.record_acknowledged = options.record_acknowledged;
  UTP_TRY(run->bus_, make_chamber_bus(std::move(mover), bus_options));
  if (options.connectors && options.only_instance.empty()) UTP_CHECK(run->make_bridges(bus_options));
  for (Prepared& p : prepared) {
    auto instance = ConnectorInstance::create(std::move(p.options), p.builtin, run->registry_, clock, *run->bus_);
    if (!instance) return fail(placed(p.place, instance.error()));
    run->instances_.push_back(*std::move(instance));
  }
  if (options.persister) {
    auto opened = store.get();
    const bool named = !run->chamber_.file.empty() && !opened && opened.error().code == Code::kInvalidArgument;
    if (named) return fail(placed(run->chamber_.file + ": /realm", opened.error()));
    if (!opened) return fail(std::move(opened.error()));
    auto part = run->make_persister(run->driver_, run->chamber_.bus_shown, std::move(*opened));
    if (part) run->persister_ = *std::move(part);
    else if (options.wait_for_bus && part.error().retryable && local_path(run->chamber_.bus).empty()) {
      run->persister_waits_ = true;
      log::warn("the bus is not there; it is tried again until it is", {{"error", part.error().message}});
    } else return fail(std::move(part.error()));
    run->remembers_buses_ = options.connectors && !run->chamber_.file.empty();
    run->take_up_earlier_buses();
  }
  return run;
}

Status ChamberRun::check_topics() const {
  for (const TopicConfig& topic : chamber_.topics) {
    if (const auto plan = find_event_type(registry_, topic.event_type); !plan) return fail(placed(topic.place, plan.error()));
  }
  return {};
}

Status ChamberRun::make_bridges(const ChamberBusOptions& options) {
  if (chamber_.bridges.empty()) return {};
  auto mover = std::make_unique<MovingBus>(driver_);
  bridged_mover_ = mover.get();
  UTP_TRY(bridged_bus_, make_chamber_bus(std::move(mover), options));
  for (const BridgeConfig& config : chamber_.bridges) bridges_.push_back(std::make_unique<ChamberBridge>(chamber_, config, *bridged_bus_, clock_));
  return {};
}

Result<std::vector<ChamberRun::Prepared>> ChamberRun::prepare_instances(const std::string& only) const {
  std::vector<Prepared> out;
  std::string names;
  for (const ConnectorConfig& config : chamber_.connectors) {
    names += (names.empty() ? "" : ", ") + config.source_id();
    if (!only.empty() && only != config.source_id()) continue;
    UTP_TRY(Prepared prepared, prepare_instance(config));
    out.push_back(std::move(prepared));
  }
  if (!out.empty() || (only.empty() && !chamber_.bridges.empty())) return out;
  return fail(Code::kInvalidArgument, fmt::format("{}: there is no enabled connector \"{}\"; there are {}", chamber_.file, only, names));
}

Result<ChamberRun::Prepared> ChamberRun::prepare_instance(const ConnectorConfig& config) const {
  auto manifest = find_manifest(config.id, chamber_.connector_dirs, registry_);
  if (!manifest) return fail(placed(config.place, manifest.error()));
  if (const auto wanted = manifest->wanted(config.streams, config.symbols); !wanted) return fail(placed(config.place, wanted.error()));
  InstanceOptions o;
  o.manifest = *std::move(manifest);
  o.source_id = config.source_id();
  o.realm = chamber_.realm;
  o.region = chamber_.region;
  o.channels = config.streams;
  o.symbols = config.symbols;
  o.endpoint = config.endpoint;
  o.settings_json = config.settings_json;
  o.ca_file = config.ca_file;
  set_limits(config.limits, o.manifest.rates);
  if (config.lateness_ns) o.manifest.lateness_ns = *config.lateness_ns;
  if (config.stale_ns) {
    for (Manifest::Channel& channel : o.manifest.channels) channel.stale_after_ns = *config.stale_ns;
  }
  o.seed = config.seed.value_or(drawn_seed());
  if (!config.seed) log::info("seed", {{"connector", o.source_id}, {"seed", std::to_string(o.seed)}});
  auto secrets = o.manifest.read_secrets([](const char* name) -> const char* { return std::getenv(name); });
  if (!secrets) return fail(placed(config.place, secrets.error()));
  o.secrets = *std::move(secrets);
  o.publisher.durability = chamber_.durability;
  o.publisher.interval_ns = chamber_.interval_ns;
  o.dead_letter_overflow_file = overflow_path(chamber_, o.source_id);
  const BuiltinConnector* builtin = find_builtin(o.manifest);
  if (!builtin && o.manifest.entry == Manifest::Entry::kBuiltin) {
    return fail(Code::kUnsupported, fmt::format("{}: the entry \"builtin:{}\" is not in this program; link it into a program of its own, or use exec:",
                                                o.manifest.file, o.manifest.builtin));
  }
  return Prepared{std::move(o), builtin, config.place};
}

Result<std::unique_ptr<ChamberPersister>> ChamberRun::make_persister(std::shared_ptr<Bus> source, std::string source_shown, std::unique_ptr<Store> store) {
  return ChamberPersister::create(chamber_, std::move(source), std::move(source_shown), *bus_, std::move(store), registry_, clock_);
}

Result<std::shared_ptr<GatedBus>> ChamberRun::open_driver(const std::string& url, bool wait) const {
  auto bus = open_bus(url, clock_, true, keep_unread_);
  if (bus) return std::make_shared<GatedBus>(*std::move(bus));
  if (!wait || !bus.error().retryable || !local_path(url).empty()) return fail(std::move(bus.error()));
  return std::make_shared<GatedBus>(std::make_shared<LazyBus>([url, &clock = clock_] { return open_bus(url, clock, true); }, std::move(bus.error())));
}

void ChamberRun::take_up_persister() {
  if (!persister_waits_ || !watch_->view().reachable) return;
  auto part = [&]() -> Result<std::unique_ptr<ChamberPersister>> {
    UTP_TRY(auto store, open_store(chamber_.store, true, chamber_.realm));
    return make_persister(driver_, chamber_.bus_shown, std::move(store));
  }();
  if (!part) {
    log::warn("the persister cannot start yet", {{"error", part.error().message}});
    return;
  }
  persister_ = *std::move(part);
  persister_waits_ = false;
  persister_->runner().start();
  log::info("the bus is there");
}

// Before the bus trims what the store does not have: what may be conflated is at two fifths of its limit, and at two thirds nothing
// more is taken, which a spool bridges, and past that the sources are held back.
void ChamberRun::judge_backlog() {
  // A bus may remove an eighth of its limit at once, and hold another eighth that is not filled yet.
  constexpr double kConflate = 0.4, kClose = 0.65, kStep = 0.1;
  if (!has_sources() || !chamber_.persister.enabled) return;
  const BusWatch::View view = watch_->view();
  const bool conflate = view.backlog >= (pressed_ ? kConflate - kStep : kConflate);
  if (conflate != pressed_) {
    pressed_ = conflate;
    for (auto& instance : instances_) instance->set_backlog(conflate);
  }
  const bool close = view.backlog >= (gate_closed_ ? kClose - kStep : kClose);
  if (close == gate_closed_) return;
  gate_closed_ = close;
  driver_->close(close ? fmt::format("the store is behind: {} of the {} that {} may hold wait for it; the bus takes no more until some is stored",
                                     human_bytes(view.backlog_bytes), human_bytes(view.backlog_limit), view.backlog_topic)
                       : "");
  if (close) log::warn("the bus is closed for new events until the store has caught up", {{"topic", view.backlog_topic}});
  else log::info("the store has caught up; the bus takes events again");
}

// The driver itself where it is a file on this machine.
std::shared_ptr<Bus> ChamberRun::with_spool(std::shared_ptr<Bus> driver, Status& opened) {
  spool_ = nullptr;
  if (!local_path(chamber_.bus).empty() || !chamber_.spool.enabled) return driver;
  SpoolOptions options;
  options.durability = chamber_.durability;
  // The bus would refuse the letter's topic as well: its bytes go to a file.
  options.refused = [keep = overflow_file(overflow_path(chamber_, "spool"), kRefusedBytesMax)](const InMessage& message, const Error& error) {
    DeadLetter letter;
    letter.stage = DeadLetterStage::kPublish;
    letter.code = "bus_refused";
    letter.message = error.message;
    letter.original = message.value;
    letter.origin_topic = message.topic;
    letter.symbol = message.key;
    letter.receive_time = message.publish_time;
    const bool kept = keep(letter);
    log::error("the bus refuses a message of the spool", {{"topic", std::string(message.topic)}, {"error", error.message}, {"kept", kept ? "yes" : "no"}});
  };
  auto spooled = open_spooled_bus(driver, chamber_.data_dir + "/spool", chamber_.spool.bytes, std::move(options), clock_);
  if (!spooled) {
    opened = fail(std::move(spooled.error()));
    return driver;
  }
  spool_ = spooled->get();
  return *std::move(spooled);
}

void ChamberRun::start() {
  for (Leaving& leaving : leaving_) {
    if (leaving.part) leaving.part->runner().start();
  }
  if (persister_) persister_->runner().start();
  if ((persister_ || persister_waits_) && local_path(chamber_.store).empty()) {
    keeper_ = std::make_unique<StoreKeeper>(chamber_.store);
    keeper_->start();
  }
  for (auto& instance : instances_) instance->start();
  for (auto& bridge : bridges_) bridge->start();
  state_ = "up";
}

bool ChamberRun::finished() const {
  if (persister_ && state_ == "up" && !persister_->runner().running()) return true;
  return !instances_.empty() && bridges_.empty() && std::all_of(instances_.begin(), instances_.end(), [](const auto& i) { return i->finished(); });
}

}  // namespace utp::app
