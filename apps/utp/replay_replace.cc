#include "apps/utp/replay_replace.h"

#include <algorithm>
#include <deque>
#include <filesystem>
#include <map>
#include <set>

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <fmt/format.h>

#include "apps/utp/exit_code.h"
#include "apps/utp/ports.h"
#include "apps/utp/store_refresh.h"
#include "connector/capture.h"
#include "connector/host.h"
#include "connector/replay.h"
#include "core/json_writer.h"
#include "drivers/bus/embedded/embedded_bus.h"
#include "normalize/normalizer.h"

namespace utp::app {
namespace {

constexpr std::size_t kBatchEvents = 2'000;  // of one write into the store
constexpr std::size_t kBatchBytes = 8u << 20;
constexpr std::int64_t kStorePatienceNs = 60'000'000'000;  // for other writers, before anything is taken out
constexpr std::int64_t kPollNs = 10'000'000'000;           // everything is on the private bus: longer, and it is lost

constexpr std::string_view kTemporaryName = "utp_replace_";
constexpr std::string_view kTemporaryLock = "/lock", kTemporaryBus = "/bus";

// Gone with its content. One whose process was killed goes when the next is made: nobody holds its lock any more.
class TemporaryFolder {
 public:
  static Result<std::unique_ptr<TemporaryFolder>> make() {
    std::error_code error;
    const std::filesystem::path root = std::filesystem::temp_directory_path(error);
    std::string name = (root / kTemporaryName).string() + "XXXXXX";
    if (error || ::mkdtemp(name.data()) == nullptr) {
      return fail(
          Code::kPermission,
          fmt::format("{}: no folder for the new events can be made there; name a place that you may write with TMPDIR", name));
    }
    std::unique_ptr<TemporaryFolder> folder(new TemporaryFolder(name));
    folder->lock_ = ::open((name + std::string(kTemporaryLock)).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    struct stat about {};
    if (folder->lock_ < 0 || ::flock(folder->lock_, LOCK_EX | LOCK_NB) != 0 || ::fstat(folder->lock_, &about) != 0 || about.st_nlink == 0) {
      return fail(Code::kUnavailable, fmt::format("{}: another replacement tidied it away just now; repeat the command", name), true);
    }
    remove_left_behind(root);
    return folder;
  }
  ~TemporaryFolder() {
    remove(path_);
    if (lock_ >= 0) ::close(lock_);
  }
  TemporaryFolder(const TemporaryFolder&) = delete;
  TemporaryFolder& operator=(const TemporaryFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit TemporaryFolder(std::string path) : path_(std::move(path)) {}

  // The lock last: what is left of a removal that was killed is found again.
  static void remove(const std::string& path) {
    std::error_code ignored;
    std::filesystem::remove_all(path + std::string(kTemporaryBus), ignored);
    std::filesystem::remove_all(path, ignored);
  }
  static void remove_left_behind(const std::filesystem::path& root) {
    std::error_code error;
    for (auto entry = std::filesystem::directory_iterator(root, error); !error && entry != std::filesystem::directory_iterator(); entry.increment(error)) {
      const std::string path = entry->path().string();
      struct stat about {};
      if (!entry->path().filename().string().starts_with(kTemporaryName) || ::lstat(path.c_str(), &about) != 0 || !S_ISDIR(about.st_mode) ||
          about.st_uid != ::geteuid()) {
        continue;
      }
      const int lock = ::open((path + std::string(kTemporaryLock)).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
      if (lock < 0) continue;
      if (::flock(lock, LOCK_EX | LOCK_NB) == 0) remove(path);
      ::close(lock);
    }
  }

  std::string path_;
  int lock_ = -1;
};

struct Replaced {
  struct Rows {
    std::uint64_t removed = 0, added = 0, duplicates = 0;
  };
  std::string realm, source;
  Timestamp from, to;  // to: exclusive
  std::map<std::string, Rows> types;
  std::uint64_t events = 0;   // mapped
  std::uint64_t outside = 0;  // of them not in the range
  std::uint64_t refused = 0;
  std::string refusal;  // the first one's reason
  bool stopped = false;
};

class Replacing {
 public:
  Replacing(const ReplayCommandOptions& options, Context& context) : options_(options), context_(context) {}

  Result<Replaced> run() {
    UTP_TRY(auto capture, open_capture(options_.file));
    UTP_TRY(Place place, locate(options_.place, kUsesStore | kUsesSchemas));
    place.schema_dirs.insert(place.schema_dirs.end(), options_.connector.schemas.begin(), options_.connector.schemas.end());
    UTP_TRY(const Registry registry, load_registry(place.schema_dirs));
    UTP_TRY(PreparedConnector prepared, prepare_connector(options_.connector, registry, false));
    for (const auto& plan : pipeline_options(prepared.options).plans) {
      if (!plan->table().empty()) types_.insert(plan->event_type());
    }
    UTP_CHECK(take_names(place, prepared.options));

    UTP_TRY(const auto folder, TemporaryFolder::make());
    EmbeddedBusOptions bus_options;
    bus_options.directory = folder->path() + std::string(kTemporaryBus);
    bus_options.retention_bytes = UINT64_MAX / 2;  // the capture decides how much it is
    bus_options.clock = &clock_;
    UTP_TRY(const auto bus, open_embedded_bus(bus_options));
    UTP_TRY(const std::uint64_t messages, map(*capture, prepared, registry, *bus));
    if (out_.stopped) return std::move(out_);
    UTP_CHECK(take_range());
    UTP_CHECK(swap(place, registry, *bus, messages));
    if (!out_.stopped) refresh_after_writing(place.store, context_);
    return std::move(out_);
  }

 private:
  // The store's realm, and the source that is meant.
  Status take_names(const Place& place, InstanceOptions& o) {
    const std::string& id = o.manifest.id;
    UTP_TRY(const auto store, open_store(place.store, false));
    UTP_TRY(const StoreContents contents, store->contents());
    if (!options_.realm.empty() && !contents.realm.empty() && options_.realm != contents.realm) {
      return fail(
          Code::kInvalidArgument,
          fmt::format("store {}: holds realm \"{}\", --realm says \"{}\". With --replace leave --realm out: it is the store's",
                      place.store_shown, contents.realm, options_.realm));
    }
    out_.realm = !contents.realm.empty() ? contents.realm : !options_.realm.empty() ? options_.realm : "replay_" + id;
    out_.source = options_.source;
    if (out_.source.empty()) {
      std::set<std::string> sources;
      for (const std::string& type : types_) {
        UTP_TRY(const auto of_type, store->sources(type));
        for (const std::string& source : of_type) {
          if (source == id || source.starts_with(id + ".")) sources.insert(source);
        }
      }
      if (sources.size() != 1) {
        return fail(
            Code::kInvalidArgument,
            sources.empty()
                ? fmt::format("store {}: has nothing of {} that could be replaced; name the source_id with --source, or replay "
                              "without --replace",
                              place.store_shown, id)
                : fmt::format("store {}: has several sources of {}: {}; name the one that the capture is of with --source",
                              place.store_shown, id, fmt::join(sources, ", ")));
      }
      out_.source = *sources.begin();
    }
    o.realm = out_.realm;
    o.region = options_.region;
    o.source_id = out_.source;
    return {};
  }

  // Notes first and last event time of what goes by.
  class RangePublisher final : public Publisher {
   public:
    RangePublisher(std::unique_ptr<Publisher> inner, const Registry& registry, const std::set<std::string>& types)
        : inner_(std::move(inner)), reader_(registry), types_(types) {}
    Status publish(std::span<const OutMessage> messages) override {
      UTP_CHECK(inner_->publish(messages));
      for (const OutMessage& message : messages) {
        if (is_dead_letter_topic(message.topic)) continue;
        ++messages_;
        Violation violation;
        if (!reader_.read(message.value, event_, violation))
          return fail(Code::kInternal, "what the normalizer wrote cannot be read: " + violation.message);
        if (!types_.contains(std::string(event_.envelope.event_type))) continue;
        first_ = events_ == 0 ? event_.envelope.event_time : std::min(first_, event_.envelope.event_time);
        last_ = events_++ == 0 ? event_.envelope.event_time : std::max(last_, event_.envelope.event_time);
      }
      return {};
    }
    Status sync() override { return inner_->sync(); }
    std::uint64_t messages() const { return messages_; }
    std::uint64_t events() const { return events_; }
    Timestamp first() const { return first_; }
    Timestamp last() const { return last_; }

   private:
    std::unique_ptr<Publisher> inner_;
    EventReader reader_;
    const std::set<std::string>& types_;
    Event event_;
    std::uint64_t messages_ = 0, events_ = 0;
    Timestamp first_, last_;
  };

  // The capture onto the private bus; how many messages are there.
  Result<std::uint64_t> map(CaptureReader& capture, const PreparedConnector& prepared, const Registry& registry, Bus& bus) {
    PublisherOptions publishing;
    publishing.durability = Durability::kInterval;
    UTP_TRY(auto inner, bus.publisher(publishing));
    RangePublisher publisher(std::move(inner), registry, types_);
    UTP_TRY(auto mapper, make_capture_mapper(prepared));
    StreamWatch watch({}, {}, prepared.options.manifest.channels);
    UTP_TRY(auto pipeline,
            Pipeline::create(pipeline_options(prepared.options), registry, clock_, publisher, std::move(mapper), &watch));
    for (const auto& [topic, plan] : pipeline->topics()) {
      UTP_CHECK(bus.configure_topic(topic, {}));
      plans_.push_back(plan);
    }
    Progress progress("map", !context_.common.json);
    ReplayOptions replaying;
    replaying.stop = [this] { return context_.stop->pending(); };
    replaying.wait = [this](std::int64_t ns) { return !context_.stop->wait(ns / 1'000'000 + 1); };
    replaying.progress = [&](std::uint64_t done, std::uint64_t total) {
      progress.update(done, total, fmt::format("{} events", human_count(pipeline->events_total())));
    };
    UTP_TRY(const ReplayResult replayed, ::utp::replay(capture, *pipeline, clock_, replaying));
    out_.stopped = replayed.stopped;
    out_.events = publisher.events();
    out_.from = publisher.first();
    out_.to = publisher.last() + 1;
    if (pipeline->counts().rejects > 0) {
      refuse(pipeline->counts().rejects,
             fmt::format("{} frames or events of the capture became dead letters; see them with a replay into another store: "
                         "utp replay {} {} --store sqlite:look.db",
                         pipeline->counts().rejects, options_.connector.connector, options_.file));
    }
    if (!replayed.damage.empty()) refuse(1, replayed.damage);
    return publisher.messages();
  }

  void refuse(std::uint64_t count, const std::string& why) {
    if (out_.refused == 0) out_.refusal = why;
    out_.refused += count;
  }

  Status check_refused() const {
    if (out_.refused == 0 || options_.allow_refused) return {};
    return fail(Code::kInvalidArgument, fmt::format("{}. The old rows stay; --allow-refused swaps all the same", out_.refusal));
  }

  Status take_range() {
    UTP_CHECK(check_refused());
    if (out_.events == 0) return fail(Code::kInvalidArgument, options_.file + ": there is no event in it; the old rows stay");
    if (!options_.from.empty()) out_.from = *Timestamp::parse_lenient(options_.from);
    if (!options_.to.empty()) out_.to = *Timestamp::parse_lenient(options_.to);
    if (out_.from < out_.to) return {};
    return fail(Code::kInvalidArgument,
                fmt::format("no time lies between {} and {}: the capture's events are elsewhere; the old rows stay",
                            out_.from.to_string(), out_.to.to_string()));
  }

  Result<std::unique_ptr<Replacement>> begin(Store& store) {
    const ReplaceRange range{{types_.begin(), types_.end()}, out_.source, out_.from, out_.to};
    const std::int64_t start = clock_.monotonic_ns();
    for (;;) {
      auto replacement = store.begin_replace(range);
      if (replacement || !replacement.error().retryable || clock_.monotonic_ns() - start > kStorePatienceNs) return replacement;
      if (context_.stop->wait(100)) return replacement;
    }
  }

  Status swap(const Place& place, const Registry& registry, Bus& bus, std::uint64_t messages) {
    UTP_TRY(const auto store, open_store(place.store, true, out_.realm));
    for (const auto& plan : plans_) {
      if (!plan->table().empty()) UTP_CHECK(store->prepare(plan));
    }
    SubscriptionOptions everything;
    everything.patterns = {"utp.>"};
    UTP_TRY(const auto subscription, bus.subscribe(everything));
    UTP_TRY(const auto replacement, begin(*store));
    for (const auto& [type, rows] : replacement->removed()) out_.types[type].removed = rows;

    Progress progress("swap", !context_.common.json);
    EventReader reader(registry);
    std::deque<Event> events;  // reused from batch to batch
    for (std::uint64_t taken = 0; taken < messages;) {
      if (context_.stop->pending()) {
        out_.stopped = true;
        return {};
      }
      UTP_TRY(const auto batch, subscription->poll(kBatchEvents, kBatchBytes, kPollNs));
      if (batch.empty())
        return fail(Code::kIo, fmt::format("of {} new events {} came back from {}; the old rows stay", messages, taken,
                                           "the temporary folder"));
      taken += batch.size();
      if (events.size() < batch.size()) events.resize(batch.size());
      std::vector<const Event*> writing;
      for (std::size_t i = 0; i < batch.size(); ++i) {
        Violation violation;
        if (!reader.read(batch[i].value, events[i], violation))
          return fail(Code::kInternal, "what the normalizer wrote cannot be read: " + violation.message);
        if (wanted(events[i])) writing.push_back(&events[i]);
      }
      UTP_TRY(const WriteResult result, replacement->write(writing));
      count(result);
      UTP_CHECK(check_refused());
      progress.update(taken, messages, fmt::format("{} events", human_count(taken)));
    }
    if (auto committed = replacement->commit(); !committed) {
      Error error = committed.error();
      error.message += ". Nothing is half: the range has its old rows or its new ones, and the same command makes it new";
      return fail(std::move(error));
    }
    return {};
  }

  // Events of the platform (a gap in the capture) are added wherever they lie, and none of them is taken out: live ones say what
  // no capture knows.
  bool wanted(const Event& event) {
    const Envelope& e = event.envelope;
    if (event.row.plan().table().empty()) return false;
    if (!types_.contains(std::string(e.event_type))) return true;
    if (e.event_time >= out_.from && e.event_time < out_.to) return true;
    ++out_.outside;
    return false;
  }

  void count(const WriteResult& result) {
    for (const RowError& error : result.errors) refuse(1, error.error.message);
    for (const auto& [event_type, counts] : result.by_type) {
      if (counts.rows + counts.duplicates == 0) continue;
      out_.types[event_type].added += counts.rows;
      out_.types[event_type].duplicates += counts.duplicates;
    }
  }

  const ReplayCommandOptions& options_;
  Context& context_;
  const SystemClock clock_;
  std::set<std::string> types_;                     // of the manifest, that have a table
  std::vector<std::shared_ptr<const Plan>> plans_;  // of everything that is published
  Replaced out_;
};

void print_json(const ReplayCommandOptions& options, const Replaced& r) {
  std::string out;
  JsonWriter json(out);
  json.begin_object()
      .field("connector", options.connector.connector)
      .field("file", options.file)
      .field("source_id", r.source)
      .field("realm", r.realm);
  json.field("from", r.from).field("to", r.to).field("events", r.events).field("outside", r.outside).field("refused", r.refused);
  json.key("event_types").begin_object();
  for (const auto& [type, rows] : r.types) {
    json.key(type)
        .begin_object()
        .field("removed", rows.removed)
        .field("added", rows.added)
        .field("duplicates", rows.duplicates)
        .end_object();
  }
  json.end_object().end_object();
  fmt::print("{}\n", out);
}

void print_text(const Replaced& r) {
  Table table({"event type", "rows removed", "rows added"});
  for (const auto& [type, rows] : r.types) table.add({type, human_count(rows.removed), human_count(rows.added)});
  fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  fmt::print("{} of realm {} from {} to {}{}\n", r.source, r.realm, r.from.to_string(), (r.to - 1).to_string(),
             r.outside > 0 ? fmt::format("; {} new events lie elsewhere and were left out", human_count(r.outside)) : "");
}

}  // namespace

int replay_replace(const ReplayCommandOptions& options, Context& context) {
  const auto result = Replacing(options, context).run();
  if (!result) return report(result.error());
  if (result->stopped) {
    print_error("interrupted; the old rows stay");
    return kInterrupted;
  }
  if (context.common.json)
    print_json(options, *result);
  else if (!context.common.quiet)
    print_text(*result);
  std::fflush(stdout);
  if (result->refused > 0)
    print_note(fmt::format("{} were refused; the first: {}", human_count(result->refused), result->refusal));
  return kOk;
}

}  // namespace utp::app
