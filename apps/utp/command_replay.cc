#include <algorithm>
#include <cctype>
#include <filesystem>
#include <unordered_map>

#include <fmt/format.h>

#include "apps/utp/chamber_run.h"
#include "apps/utp/command_replay.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/ports.h"
#include "apps/utp/replay_replace.h"
#include "apps/utp/store_refresh.h"
#include "connector/capture.h"
#include "connector/replay.h"
#include "core/json_writer.h"
#include "model/envelope.h"

namespace utp::app {
namespace {

constexpr std::int64_t kStorePatienceNs = 15'000'000'000;

// Counts what the bus took by topic and symbol.
class CountingPublisher final : public Publisher {
 public:
  explicit CountingPublisher(std::unique_ptr<Publisher> inner) : inner_(std::move(inner)) {}
  Status publish(std::span<const OutMessage> messages) override {
    UTP_CHECK(inner_->publish(messages));
    for (const OutMessage& message : messages) {
      if (is_dead_letter_topic(message.topic)) continue;
      key_.assign(message.topic).append("\n").append(message.key);
      ++counts_[key_];
    }
    return {};
  }
  Status sync() override { return inner_->sync(); }

  std::map<std::string, std::uint64_t> symbols(const std::string& topic) const {
    std::map<std::string, std::uint64_t> out;
    for (const auto& [key, count] : counts_) {
      const std::size_t end = key.find('\n');
      if (std::string_view(key).substr(0, end) == topic) out[key.substr(end + 1)] += count;
    }
    return out;
  }

 private:
  std::unique_ptr<Publisher> inner_;
  std::unordered_map<std::string, std::uint64_t> counts_;
  std::string key_;
};

struct Replayed {
  std::string realm, source, bus;
  std::string store;  // its URL, not to be shown
  ReplayResult replay;
  PipelineCounts counts;
  DeadLetterStats frame_letters;
  std::string frame_overflow, store_overflow;  // files that letters past the cap went to
  ChamberStatus status;
  std::map<std::string, CountingStore::Counts> stored;
  std::string refusal;  // of the first event that the store did not take
  std::map<std::string, std::map<std::string, std::uint64_t>> symbols;  // by event type
  Status drained;
};

class Replay {
 public:
  Replay(const ReplayCommandOptions& options, Context& context) : options_(options), context_(context), started_ns_(clock_.monotonic_ns()) {}

  Result<Replayed> run() {
    UTP_TRY(auto capture, open_capture(options_.file));
    UTP_TRY(const Place place, locate_store());
    UTP_TRY(const Registry registry, load_registry(place.schema_dirs));
    UTP_TRY(PreparedConnector prepared, prepare_connector(options_.connector, registry, false));
    InstanceOptions& o = prepared.options;
    if (!capture->connector().empty() && capture->connector() != o.manifest.id) {
      print_note(fmt::format("{} was recorded with the connector \"{}\" and is replayed with \"{}\"", options_.file, capture->connector(), o.manifest.id));
    }
    o.realm = options_.realm.empty() ? "replay_" + o.manifest.id : options_.realm;
    o.region = options_.region;
    o.source_id = options_.source.empty() ? o.manifest.id + ".replay" : options_.source;
    UTP_TRY(auto chamber_run, open_chamber(place, o.realm));
    Replayed out;
    out.store = place.store;
    out.frame_overflow = o.dead_letter_overflow_file = overflow_path(chamber_run->chamber(), o.source_id);
    out.store_overflow = overflow_path(chamber_run->chamber(), kPersisterOverflow);
    out.realm = o.realm;
    out.source = o.source_id;
    out.bus = chamber_run->chamber().bus_shown;
    PublisherOptions publishing;
    publishing.durability = Durability::kInterval;
    UTP_TRY(auto inner, chamber_run->bus().publisher(publishing));
    CountingPublisher publisher(std::move(inner));
    UTP_TRY(auto mapper, make_capture_mapper(prepared));
    // It knows what an outage of the recording cost, stream by stream; silence is not looked for.
    StreamWatch watch({}, {}, o.manifest.channels);
    UTP_TRY(auto pipeline, Pipeline::create(pipeline_options(o), registry, clock_, publisher, std::move(mapper), &watch));
    UTP_CHECK(configure_topics(chamber_run->bus(), *pipeline, 1));

    chamber_run->start();
    Progress progress("replay", !context_.common.json);
    UTP_TRY(out.replay, ::utp::replay(*capture, *pipeline, clock_, pacing(progress, *pipeline)));
    UTP_CHECK(publisher.sync());
    progress.clear();
    out.drained = chamber_run->stop(kStorePatienceNs, [&] {
      progress.update(0, 0, fmt::format("{} events stored", human_count(chamber_run->persister()->stats().stored)));
    });
    progress.clear();
    out.counts = pipeline->counts();
    out.frame_letters = pipeline->dead_letter_stats();
    out.status = chamber_run->status();
    out.stored = chamber_run->store()->counts();
    out.refusal = chamber_run->store()->first_refusal();
    for (const auto& [type, count] : out.counts.events) out.symbols[type] = publisher.symbols(topic_name(o.realm, o.region, type));
    return out;
  }

 private:
  // The store must be named or found; the bus stands beside it unless one is named.
  Result<Place> locate_store() {
    PlaceOptions wanted = options_.place;
    wanted.bus.clear();
    UTP_TRY(Place place, locate(wanted, kUsesStore | kUsesSchemas));
    place.schema_dirs.insert(place.schema_dirs.end(), options_.connector.schemas.begin(), options_.connector.schemas.end());
    if (!options_.place.bus.empty()) {
      UTP_TRY(const Place named, locate(options_.place, kUsesBus | kUsesStore));
      place.bus = named.bus;
      place.bus_shown = named.bus_shown;
      return place;
    }
    UTP_TRY(place.bus, resolve_bus_url(fmt::format("{}:{}.bus", kDefaultBus.substr(0, kDefaultBus.find(':')), local_place(place)), ""));
    place.bus_shown = place.bus;
    return place;
  }

  // The store's path; for one on a server a path in the user's data folder that has its name.
  static std::string local_place(const Place& place) {
    if (std::string path = local_path(place.store); !path.empty()) return path;
    std::string name = place.store_shown.substr(0, place.store_shown.find('?'));
    name.erase(0, name.rfind('@') + 1);  // npos + 1 = 0
    std::replace_if(name.begin(), name.end(), [](unsigned char c) { return !std::isalnum(c) && c != '.' && c != '-'; }, '_');
    return (std::filesystem::path(demo_data_dir()).parent_path() / "replay" / name).string();
  }

  Result<std::unique_ptr<ChamberRun>> open_chamber(const Place& place, const std::string& realm) {
    Chamber chamber;
    chamber.realm = realm;
    chamber.region = options_.region;
    chamber.bus = place.bus;
    chamber.bus_shown = place.bus_shown;
    chamber.store = place.store;
    chamber.store_shown = place.store_shown;
    chamber.schema_dirs = place.schema_dirs;
    chamber.data_dir = std::filesystem::path(local_place(place)).parent_path().string();
    if (chamber.data_dir.empty()) chamber.data_dir = ".";
    ChamberRunOptions parts;
    parts.connectors = false;
    parts.keep_unread = options_.place.bus.empty();
    return ChamberRun::create(std::move(chamber), parts, clock_, started_ns_);
  }

  ReplayOptions pacing(Progress& progress, Pipeline& pipeline) {
    ReplayOptions out;
    out.pace = options_.pace == "original" ? options_.speed : 0;
    out.stop = [this] { return context_.stop->pending(); };
    out.wait = [this](std::int64_t ns) { return !context_.stop->wait(ns / 1'000'000 + 1); };
    out.progress = [&progress, &pipeline](std::uint64_t done, std::uint64_t total) {
      progress.update(done, total, fmt::format("{} events", human_count(pipeline.events_total())));
    };
    return out;
  }

  const ReplayCommandOptions& options_;
  Context& context_;
  const SystemClock clock_;
  std::int64_t started_ns_;
};

// Where the dead letters of a replay are: the bus, files past the cap, nowhere.
struct LetterPlaces {
  std::uint64_t all = 0, on_bus = 0, dropped = 0;
  std::vector<std::pair<std::string, std::uint64_t>> files;
};

LetterPlaces letter_places(const Replayed& r) {
  LetterPlaces places;
  const auto add = [&](const DeadLetterStats& stats, const std::string& file) {
    places.all += stats.letters;
    places.on_bus += stats.written;
    places.dropped += stats.dropped;
    if (stats.overflowed > 0) places.files.emplace_back(file, stats.overflowed);
  };
  add(r.frame_letters, r.frame_overflow);
  if (r.status.persister) add(r.status.persister->dead_letters, r.store_overflow);
  return places;
}

void print_letters(const Replayed& r) {
  const LetterPlaces places = letter_places(r);
  if (places.all == 0) return;
  std::string text = fmt::format("{} dead letters", human_count(places.all));
  if (places.on_bus > 0) text += fmt::format("; {} are on the bus: utp dlq list --bus {}", human_count(places.on_bus), r.bus);
  for (const auto& [file, count] : places.files) {
    text += fmt::format("; {} more went to {} (JSON lines)", human_count(count), file);
  }
  if (places.dropped > 0) {
    text += fmt::format("; {} were only counted: the file is full or cannot be written", human_count(places.dropped));
  }
  print_note(text);
}

void print_json(const ReplayCommandOptions& options, const Replayed& r) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("connector", options.connector.connector).field("file", options.file).field("source_id", r.source).field("realm", r.realm);
  json.field("bus", r.bus).field("frames", r.replay.frames).field("events", r.counts.events_total).field("stored", r.status.stored);
  const LetterPlaces letters = letter_places(r);
  json.field("duplicates", r.status.duplicates).field("dlq", letters.all).key("dlq_overflow").begin_object();
  for (const auto& [overflow, count] : letters.files) json.field(overflow, count);
  json.end_object().field("gaps", r.counts.gaps);
  json.field("commands", r.counts.commands).field("lag", r.status.lag).field("seconds", static_cast<double>(r.status.elapsed_ns / 1'000'000) / 1e3);
  json.field("complete", !r.replay.stopped && r.replay.damage.empty() && r.drained.has_value());
  if (!r.replay.damage.empty()) json.field("damage", r.replay.damage);
  json.key("event_types").begin_object();
  for (const auto& [type, count] : r.counts.events) {
    if (count == 0) continue;
    const auto stored = r.stored.find(type);
    const CountingStore::Counts counts = stored == r.stored.end() ? CountingStore::Counts{} : stored->second;
    json.key(type).begin_object().field("events", count).field("stored", counts.stored).field("duplicates", counts.duplicates).key("symbols").begin_object();
    for (const auto& [symbol, n] : r.symbols.at(type)) json.field(symbol, n);
    json.end_object().end_object();
  }
  json.end_object().end_object();
  fmt::print("{}\n", out);
}

void print_text(const Replayed& r, bool color) {
  Table table({"event type", "symbol", "events", "stored"});
  for (const auto& [type, count] : r.counts.events) {
    if (count == 0) continue;
    const auto stored = r.stored.find(type);
    table.add({type, "", human_count(count), human_count(stored == r.stored.end() ? 0 : stored->second.stored)});
    for (const auto& [symbol, n] : r.symbols.at(type)) {
      if (!symbol.empty()) table.add({"", symbol, human_count(n), ""});
    }
  }
  fmt::print("{}", table.text(color));
  fmt::print("{} frames, {} events, {} stored, {} known already, {} dead letters, {} gaps in {}\n", human_count(r.replay.frames),
             human_count(r.counts.events_total), human_count(r.status.stored), human_count(r.status.duplicates),
             human_count(letter_places(r).all), human_count(r.counts.gaps), human_duration(r.status.elapsed_ns));
}

int replay_command(const ReplayCommandOptions& options, Context& context) {
  const auto result = Replay(options, context).run();
  if (!result) return report(result.error());
  if (result->status.stored > 0) refresh_after_writing(result->store, context);
  if (context.common.json) print_json(options, *result);
  else if (!context.common.quiet) print_text(*result, colored(1));
  std::fflush(stdout);
  print_letters(*result);
  if (!result->drained) return report(result->drained.error());
  if (result->status.stored + result->status.duplicates == 0 && result->status.dead_letters > 0) {
    print_error(fmt::format("the store refused every event: {}", result->refusal));
    return kFailure;
  }
  if (!result->replay.damage.empty()) {
    print_error(fmt::format("{}; everything before it was replayed", result->replay.damage));
    return kFailure;
  }
  if (result->replay.stopped) {
    print_error("interrupted; what was replayed is stored, and a new replay of the file adds the rest");
    return kInterrupted;
  }
  return kOk;
}

}  // namespace

void add_replay(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "replay", "A capture or recording through mapper, normalizer and bus into a store",
                                  "  utp replay coinbase session.jsonl.zst --store sqlite:session.db\n"
                                  "  utp replay kraken book.cbcap --store sqlite:kraken.db --json\n"
                                  "  utp replay sim sim.utpcap --store sqlite:sim.db --pace original --speed 10\n"
                                  "  utp replay coinbase day.utpcap --store sqlite:store.db --replace --source coinbase.us1");
  auto options = std::make_shared<ReplayCommandOptions>();
  add_connector_argument(*command, options->connector);
  command->add_option("FILE", options->file, "A capture, or a recording in a known format; zstd and gzip are seen through")->required();
  CLI::Option* pace = command->add_option("--pace", options->pace, "flat (default): as fast as it goes; original: as recorded")->check(CLI::IsMember({"flat", "original"}));
  command->add_option("--speed", options->speed, "Times the original pace")->check(above_zero("10"));
  command->add_option("--realm", options->realm, "Realm of the events (default replay_<connector>, with --replace the store's); a store holds one");
  command->add_option("--source", options->source, "source_id of the events (default <connector>.replay, with --replace the store's only one of the connector)");
  command->add_option("--settings", options->connector.settings, "The connector's own settings, a JSON object");
  CLI::Option* replace = command->add_flag("--replace", options->replace,
                                           "Swaps what the store has of this source between the first and last event for the new events, in one transaction");
  command->add_flag("--allow-refused", options->allow_refused, "With --replace: swaps also where a part of the capture or an event was refused")->needs(replace);
  command->add_option("--from", options->from, "With --replace: swaps from this event time on, inclusive (default: the first new event's)")->check(check_time)->needs(replace);
  command->add_option("--to", options->to, "With --replace: swaps up to this event time, exclusive (default: behind the last new event's)")->check(check_time)->needs(replace);
  pace->excludes(replace);
  command->add_option("--bus", options->place.bus, "URL of the bus to go through (default: a bus beside the store, PATH.bus)")->excludes(replace);
  command->add_option("--store", options->place.store, "URL of the store, such as sqlite:PATH (else UTP_STORE, else the chamber's)");
  command->add_option("--chamber", options->place.chamber, "Chamber file to take the store from");
  command->callback([&context, options] {
    if (!options->from.empty() && !options->to.empty() && *Timestamp::parse_lenient(options->from) >= *Timestamp::parse_lenient(options->to)) {
      throw CLI::ValidationError("--to", "is not after --from: nothing can lie between them");
    }
    context.action = [&context, options] { return options->replace ? replay_replace(*options, context) : replay_command(*options, context); };
  });
}

}  // namespace utp::app
