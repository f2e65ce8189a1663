#include "apps/utp/chamber_run.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <future>
#include <random>
#include <thread>

#include <fmt/format.h>

#include "apps/utp/catalog.h"
#include "apps/utp/chamber_bus.h"
#include "apps/utp/console.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "apps/utp/status_json.h"

namespace utp::app {
namespace {

constexpr std::uint64_t kRefusedBytesMax = 64u << 20;
constexpr std::int64_t kDrainTurnNs = 250'000'000;

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
    store = std::async(std::launch::async, [&chamber = run->chamber_] { return open_store(chamber.store, true, chamber.realm); });
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
  UTP_TRY(run->bus_, make_chamber_bus(std::move(mover), std::move(bus_options)));
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

Result<std::vector<ChamberRun::Prepared>> ChamberRun::prepare_instances(const std::string& only) const {
  std::vector<Prepared> out;
  std::string names;
  for (const ConnectorConfig& config : chamber_.connectors) {
    names += (names.empty() ? "" : ", ") + config.source_id();
    if (!only.empty() && only != config.source_id()) continue;
    UTP_TRY(Prepared prepared, prepare_instance(config));
    out.push_back(std::move(prepared));
  }
  if (!out.empty()) return out;
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
  if (instances_.empty() || !chamber_.persister.enabled) return;
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
  for (auto& instance : instances_) instance->start();
  state_ = "up";
}

bool ChamberRun::finished() const {
  if (persister_ && state_ == "up" && !persister_->runner().running()) return true;
  return !instances_.empty() && std::all_of(instances_.begin(), instances_.end(), [](const auto& i) { return i->finished(); });
}

void ChamberRun::add_counts(ChamberPersister& part, ChamberStatus& s) {
  const PersisterStats stats = part.persister().stats();
  for (const auto& [type, counts] : part.store().counts()) s.event_types[type].stored += counts.stored;
  s.stored += stats.stored;
  s.duplicates += stats.duplicates;
  s.dead_letters += stats.dead_letters.letters;
}

void ChamberRun::add_persister_status(ChamberStatus& s) {
  for (const auto& [type, counts] : left_.event_types) s.event_types[type].stored += counts.stored;
  s.stored += left_.stored;
  s.duplicates += left_.duplicates;
  s.dead_letters += left_.dead_letters;
  for (Leaving& leaving : leaving_) {
    if (!leaving.part) {
      s.leaving.push_back({shown_url(leaving.written), 0, "it could not be opened; it is tried again at the next start"});
      continue;
    }
    add_counts(*leaving.part, s);
    const bool ended = state_ == "up" && !leaving.part->runner().running();
    s.leaving.push_back({leaving.part->source_shown(), leaving.part->waiting(),
                         ended ? "its persister has ended, the log says why; it goes on at the next start" : leaving.part->persister().stats().last_error});
    s.lag += s.leaving.back().lag;
  }
  add_counts(*persister_, s);
  s.persister = persister_->persister().stats();
  if (!s.persister->last_error.empty() && s.state == "up") {
    s.state = "degraded";
    s.detail = s.persister->last_error;
  }
  if (const std::int64_t first = persister_->store().first_stored_ns(); first > 0 && !first_stored_ms_) {
    first_stored_ms_ = (first - started_ns_ + 999'999) / 1'000'000;
  }
  s.first_stored_ms = first_stored_ms_;
}

ChamberStatus ChamberRun::status() {
  ChamberStatus s;
  s.state = state_;
  s.detail = failure_;
  s.time = clock_.now();
  s.started = started_;
  s.elapsed_ns = clock_.monotonic_ns() - started_ns_;
  for (const auto& instance : instances_) {
    InstanceStatus status = instance->status();
    for (const auto& [type, count] : status.counts.events) {
      if (count > 0) s.event_types[type].events += count;
    }
    s.events += status.counts.events_total;
    s.dead_letters += status.dead_letters.letters;
    if (s.state == "up" && (status.state == InstanceState::kDegraded || status.state == InstanceState::kDown)) {
      s.state = "degraded";
      s.detail = fmt::format("{}: {}", status.source_id, status.detail);
    }
    s.instances.push_back(std::move(status));
  }
  s.bus = chamber_.bus_shown;
  s.reloads = reloads_;
  s.reload_error = reload_error_;
  if (persister_) add_persister_status(s);
  if (persister_waits_ && s.state == "up") {
    s.state = "degraded";
    s.detail = watch_->view().error;
  }
  if (spool_) {
    if (auto spool = spool_->spool_stats()) s.spool = *std::move(spool);
    if (s.spool) {
      s.lag += s.spool->waiting;
      if (s.spool->oldest.ns > 0) s.oldest_unread = s.spool->oldest;
    }
    if (s.spool && s.spool->spooling && s.state == "up") {
      s.state = "degraded";
      s.detail = fmt::format("{} messages wait in the disk spool: {}", s.spool->waiting, s.spool->last_error);
    }
  }
  BusWatch::View view = watch_->view();
  for (TopicStats& topic : view.topics) {
    s.bus_messages += topic.messages;
    s.bus_bytes += topic.bytes;
    for (const GroupStats& group : topic.groups) {
      if (group.group != chamber_.persister.group) continue;
      s.lag += group.lag;
      if (group.oldest_unread.ns > 0 && (s.oldest_unread.ns == 0 || group.oldest_unread < s.oldest_unread)) s.oldest_unread = group.oldest_unread;
    }
    s.topics.push_back(std::move(topic));
  }
  s.backlog = view.backlog;
  return s;
}

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
  std::vector<std::thread> stoppers;
  for (auto& instance : instances_) stoppers.emplace_back([&instance] { instance->stop(); });
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

std::string to_json(const ChamberStatus& s, bool topics) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("state", s.state);
  if (!s.detail.empty()) json.field("detail", s.detail);
  json.field("time", s.time).field("started", s.started).field("seconds", static_cast<double>(s.elapsed_ns / 1'000'000) / 1e3);
  json.field("events", s.events).field("stored", s.stored).field("duplicates", s.duplicates).field("dlq", s.dead_letters).field("lag", s.lag);
  json.key("first_stored_ms");
  if (s.first_stored_ms) json.value(*s.first_stored_ms);
  else json.null();
  json.key("event_types").begin_object();
  for (const auto& [type, counts] : s.event_types) {
    json.key(type).begin_object().field("events", counts.events).field("stored", counts.stored).end_object();
  }
  json.end_object().key("connectors").begin_object();
  for (const InstanceStatus& i : s.instances) {
    json.key(i.source_id).begin_object().field("state", to_string(i.state)).field("events", i.counts.events_total).field("frames", i.counts.frames);
    json.field("dlq", i.dead_letters.letters).field("gaps", i.counts.gaps).field("reconnects", i.reconnects).field("conflated", i.counts.conflated);
    json.key("latency_p99_ms");
    if (i.counts.latency_samples > 0) json.value(static_cast<double>(i.counts.latency_p99_ns / 1000) / 1e3);
    else json.null();
    json.key("event_types").begin_object();
    for (const auto& [type, count] : i.counts.events) {
      if (count > 0) json.field(type, count);
    }
    json.end_object().key("status").raw(to_json(i)).end_object();
  }
  json.end_object().key("bus").begin_object().field("url", s.bus).field("backlog", std::round(s.backlog * 1000) / 1000).field("messages", s.bus_messages).field("bytes", s.bus_bytes);
  if (topics) {
    json.key("topics");
    write_topics(s.topics, s.time, {}, json);
  }
  json.end_object();
  if (s.reloads > 0) json.field("reloads", s.reloads).field("reload_error", s.reload_error);
  if (!s.leaving.empty()) {
    json.key("leaving").begin_array();
    for (const auto& bus : s.leaving) json.begin_object().field("url", bus.bus).field("lag", bus.lag).field("error", bus.error).end_object();
    json.end_array();
  }
  if (s.spool) {
    json.key("spool").begin_object().field("spooling", s.spool->spooling).field("waiting", s.spool->waiting).field("forwarded", s.spool->forwarded);
    json.field("refused", s.spool->refused).field("last_error", s.spool->last_error).end_object();
  }
  if (s.persister) {
    const PersisterStats& p = *s.persister;
    json.key("persister").begin_object().field("messages", p.messages).field("batches", p.batches).field("retries", p.retries);
    json.field("skipped", p.skipped).field("lost", p.lost).field("last_error", p.last_error);
    json.key("last_commit");
    if (p.last_commit.ns > 0) json.value(p.last_commit);
    else json.null();
    json.end_object();
  }
  json.end_object();
  return out;
}

}  // namespace utp::app
