#include <algorithm>
#include <map>
#include <vector>

#include <unistd.h>

#include <fmt/format.h>

#include "apps/utp/command_store.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "core/json_writer.h"
#include "model/envelope_rules.h"
#include "model/envelope_text.h"
#include "store/stored_events.h"

namespace utp::app {
namespace {

constexpr std::string_view kRealmBegin = "replay_";
constexpr std::size_t kBatchEvents = 1000;  // of one publish
constexpr std::size_t kBatchBytes = 1u << 20;
constexpr std::uint64_t kLookEvery = 256;                // events between two looks at the stop signal and the progress
constexpr std::int64_t kBusPatienceNs = 60'000'000'000;  // a bus that takes nothing for so long ends the replay
constexpr std::int64_t kRedrawNs = 500'000'000;          // of the progress while an event's time is waited for

struct StoreReplayOptions {
  PlaceOptions place;
  StoredRange range;
  std::string from, to, realm, region = "replay", pace = "flat";
  double speed = 1;
};

struct Sent {
  std::string realm;
  std::map<std::string, std::uint64_t> events;  // that the bus has taken, by type
  std::uint64_t total = 0, rows = 0;
  std::uint64_t respelled = 0;  // of them with a payload of other bytes than the published one
  std::uint64_t refused = 0;
  std::string refusal;    // of the first
  Timestamp first, last;  // event times
  bool stopped = false;
  std::int64_t elapsed_ns = 0;
  Status ended;  // why it did not come to the end
};

// 20261123_093434, of a realm that nobody named.
std::string id_of_now(const Clock& clock) {
  std::string id;
  for (const char c : clock.now().to_string().substr(0, 19)) {
    if (c >= '0' && c <= '9')
      id += c;
    else if (c == 'T')
      id += '_';
  }
  return id;
}

class StoreReplay {
 public:
  StoreReplay(const StoreReplayOptions& options, Context& context)
      : options_(options), context_(context), started_ns_(clock_.monotonic_ns()) {}

  // The error of what could not even begin; what ended it later is in the result.
  Result<Sent> run(const Place& place, const Registry& registry) {
    sent_.realm = options_.realm.empty() ? std::string(kRealmBegin) + id_of_now(clock_) : options_.realm;
    UTP_TRY(const auto store, open_store(place.store, false));
    UTP_TRY(end_, newest(*store));
    UTP_TRY(const auto stored, StoredEvents::open(*store, registry, options_.range));
    UTP_TRY(bus_, open_bus(place.bus, clock_, true));
    PublisherOptions publishing;
    publishing.durability = Durability::kInterval;
    UTP_TRY(publisher_, bus_->publisher(publishing));
    if (!context_.common.json)
      print_note(fmt::format("out of {} onto {} in realm {}", place.store_shown, place.bus_shown, sent_.realm));
    sent_.ended = send(*stored, registry);
    Status synced = publisher_->sync();
    if (sent_.ended) sent_.ended = std::move(synced);
    progress_.clear();
    sent_.elapsed_ns = clock_.monotonic_ns() - started_ns_;
    return std::move(sent_);
  }

 private:
  struct Message {
    const std::string* topic;
    const std::string* type;
    std::size_t key, key_size, value, value_size;  // in bytes_
    Timestamp event_time;
    bool respelled;
  };
  struct Topic {
    std::string type, name;
  };

  // For the progress only: the range's newest event of any symbol and source.
  Result<Timestamp> newest(Store& store) const {
    Timestamp end;
    if (context_.common.json || !is_terminal(STDERR_FILENO)) return end;
    UTP_TRY(const StoreContents contents, store.contents());
    for (const std::string& type : options_.range.event_types.empty() ? contents.event_types : options_.range.event_types) {
      Query query;
      query.event_type = type;
      query.to = options_.range.to;
      query.limit = 1;
      query.newest_first = true;
      UTP_TRY(const auto cursor, store.query(query));
      std::vector<Value> values;
      UTP_TRY(const bool more, cursor->next(values));
      for (std::size_t i = 0; more && i < values.size(); ++i) {
        if (cursor->columns()[i].name == "event_time") end = std::max(end, values[i].as_time());
      }
    }
    return end;
  }

  Status send(StoredEvents& stored, const Registry& registry) {
    Status read;
    for (std::uint64_t count = 0; !sent_.stopped; ++count) {
      auto next = stored.next();
      if (!next) {
        read = fail(std::move(next.error()));  // what was read before it still goes out
        break;
      }
      if (*next == nullptr) break;
      const StoredEvent& event = **next;
      sent_.rows = stored.rows();
      if (!event.refused.empty()) {
        refuse(event.refused);
        continue;
      }
      if (first_.ns == 0) first_ = event.envelope.event_time;
      UTP_CHECK(keep_pace(event.envelope.event_time));
      if (sent_.stopped) break;
      UTP_CHECK(append(event, registry));
      if (messages_.size() >= kBatchEvents || bytes_.size() >= kBatchBytes) UTP_CHECK(flush());
      if (count % kLookEvery == 0) look(event.envelope.event_time);
    }
    UTP_CHECK(flush());
    return read;
  }

  void refuse(const std::string& why) {
    if (sent_.refused++ == 0) sent_.refusal = why;
  }

  void look(Timestamp at) {
    sent_.stopped = sent_.stopped || context_.stop->pending();
    const auto span = static_cast<std::uint64_t>(std::max<std::int64_t>(end_ - first_, 1));
    progress_.update(end_.ns == 0 ? 0 : std::min(span, static_cast<std::uint64_t>(at - first_)), end_.ns == 0 ? 0 : span,
                     fmt::format("{} events, at {}", human_count(sent_.total), at.to_string().substr(0, 19)));
  }

  // Waits until the event is due; what was read before it is on the bus by then.
  Status keep_pace(Timestamp time) {
    if (options_.pace != "original") return {};
    const auto due = static_cast<std::int64_t>(static_cast<double>(time - first_) / options_.speed);
    const auto ahead = [&] { return due - (clock_.monotonic_ns() - paced_from_ns_); };
    if (paced_from_ns_ == 0) paced_from_ns_ = clock_.monotonic_ns();
    if (ahead() <= 0) return {};
    UTP_CHECK(flush());
    for (std::int64_t left = ahead(); left > 0 && !sent_.stopped; left = ahead()) {
      sent_.stopped = context_.stop->wait(std::min(left, kRedrawNs) / 1'000'000 + 1);
      look(time);
    }
    return {};
  }

  Result<const Topic*> topic_of(std::string_view type, const Registry& registry) {
    const auto known = topics_.find(type);
    if (known != topics_.end()) return &known->second;
    Topic& topic = topics_[std::string(type)];
    topic = {std::string(type), topic_name(sent_.realm, options_.region, type)};
    TopicOptions options;
    options.retention_ns = registry.by_event_type(type)->retention_ns();
    UTP_CHECK(bus_->configure_topic(topic.name, options));
    return &topic;
  }

  Status append(const StoredEvent& event, const Registry& registry) {
    UTP_TRY(const Topic* const topic, topic_of(event.envelope.event_type, registry));
    Envelope envelope = event.envelope;
    envelope.realm = sent_.realm;
    envelope.region = options_.region;
    Message message{&topic->name,
                    &topic->type,
                    bytes_.size(),
                    envelope.symbol.size(),
                    0,
                    0,
                    envelope.event_time,
                    event.payload_checksum.has_value()};
    bytes_ += envelope.symbol;
    message.value = bytes_.size();
    append_envelope(envelope, event.payload_checksum, bytes_);
    message.value_size = bytes_.size() - message.value;
    messages_.push_back(message);
    return {};
  }

  Status flush() {
    if (messages_.empty()) return {};
    out_.clear();
    const std::string_view bytes = bytes_;
    for (const Message& m : messages_)
      out_.push_back({*m.topic, bytes.substr(m.key, m.key_size), bytes.substr(m.value, m.value_size)});
    auto status = publish(0, out_.size());
    if (!status && status.error().code == Code::kInvalidArgument) {
      status = {};
      for (std::size_t i = 0; status && i < out_.size(); ++i) {  // one is too large, or the like
        status = publish(i, 1);
        if (status || status.error().code != Code::kInvalidArgument) continue;
        refuse(fmt::format("{} of {}: {}", *messages_[i].type, messages_[i].event_time.to_string(), status.error().message));
        status = {};
      }
    }
    bytes_.clear();
    messages_.clear();
    return status;
  }

  // A bus that is full or away is waited for.
  Status publish(std::size_t from, std::size_t count) {
    const std::int64_t start = clock_.monotonic_ns();
    for (std::int64_t pause_ms = 5;; pause_ms = std::min<std::int64_t>(pause_ms * 2, 1'000)) {
      auto status = publisher_->publish(std::span(out_).subspan(from, count));
      if (status) break;
      if (!status.error().retryable || clock_.monotonic_ns() - start > kBusPatienceNs) return status;
      if (context_.stop->wait(pause_ms)) {
        sent_.stopped = true;
        return status;
      }
    }
    for (std::size_t i = from; i < from + count; ++i) {
      const Message& m = messages_[i];
      if (sent_.total++ == 0) sent_.first = m.event_time;
      sent_.last = m.event_time;
      sent_.respelled += m.respelled ? 1 : 0;
      ++sent_.events[*m.type];
    }
    return {};
  }

  const StoreReplayOptions& options_;
  Context& context_;
  const SystemClock clock_;
  const std::int64_t started_ns_;
  std::unique_ptr<Bus> bus_;
  std::unique_ptr<Publisher> publisher_;
  std::map<std::string, Topic, std::less<>> topics_;  // by type
  Timestamp first_, end_;                             // event times: the first that was read, the last there is (0 = not asked)
  std::int64_t paced_from_ns_ = 0;                    // when the first was due
  std::vector<Message> messages_;                     // that wait for flush()
  std::string bytes_;
  std::vector<OutMessage> out_;
  Progress progress_{"replay", !context_.common.json};
  Sent sent_;
};

void print_json(const StoreReplayOptions& options, const Place& place, const Sent& sent) {
  std::string out;
  JsonWriter json(out);
  json.begin_object()
      .field("store", place.store_shown)
      .field("bus", place.bus_shown)
      .field("realm", sent.realm)
      .field("region", options.region);
  json.field("events", sent.total).field("rows", sent.rows).field("respelled", sent.respelled).field("refused", sent.refused);
  if (sent.total > 0) json.field("first_event_time", sent.first).field("last_event_time", sent.last);
  json.field("seconds", static_cast<double>(sent.elapsed_ns / 1'000'000) / 1e3)
      .field("complete", sent.ended.has_value() && !sent.stopped);
  json.key("event_types").begin_object();
  for (const auto& [type, count] : sent.events) json.field(type, count);
  json.end_object().end_object();
  fmt::print("{}\n", out);
}

void print_text(const Place& place, const Sent& sent) {
  Table table({"event type", "events"});
  for (const auto& [type, count] : sent.events) table.add({type, human_count(count)});
  if (!sent.events.empty()) fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  fmt::print("{} events ({} rows) are on {} in realm {}, in {}\n", human_count(sent.total), human_count(sent.rows),
             place.bus_shown, sent.realm, human_duration(sent.elapsed_ns));
  if (sent.respelled > 0) {
    fmt::print("{} of them with a payload of other bytes than the published one, such as rounded decimals\n",
               human_count(sent.respelled));
  }
}

int store_replay(StoreReplayOptions& options, Context& context) {
  const auto place = locate(options.place, kUsesBus | kUsesStore);
  if (!place) return report_configuration(place.error());
  const auto registry = load_registry(place->schema_dirs);
  if (!registry) return report_configuration(registry.error());
  if (!options.from.empty()) options.range.from = Timestamp::parse_lenient(options.from);
  if (!options.to.empty()) options.range.to = Timestamp::parse_lenient(options.to);
  const auto sent = StoreReplay(options, context).run(*place, *registry);
  if (!sent) return report(sent.error());
  if (context.common.json)
    print_json(options, *place, *sent);
  else if (!context.common.quiet)
    print_text(*place, *sent);
  std::fflush(stdout);
  const std::string rest =
      sent->total == 0 ? fmt::format("nothing went out; begin again with --realm {}", sent->realm)
                       : fmt::format("{} events are on the bus, up to {}; the rest goes with --realm {} --from {}",
                                     human_count(sent->total), sent->last.to_string(), sent->realm, sent->last.to_string());
  if (sent->stopped) {
    print_error(fmt::format("interrupted: {}", rest));
    return kInterrupted;
  }
  if (!sent->ended) {
    Error error = sent->ended.error();
    error.message += "; " + rest;
    return report(error);
  }
  if (sent->refused > 0) {
    print_error(
        fmt::format("{} events could not go out, all others did; the first: {}", human_count(sent->refused), sent->refusal));
    return kFailure;
  }
  return kOk;
}

std::string check_replay_realm(const std::string& realm) {
  if (realm.starts_with(kRealmBegin) && realm.size() > kRealmBegin.size() && is_realm(realm)) return {};
  return fmt::format(
      "\"{}\" is no realm of a replay: live consumers would take old events for fresh ones; write {}<id>, of a-z, 0-9, _ and -, "
      "at most 64 characters",
      realm, kRealmBegin);
}

std::string check_region(const std::string& region) {
  return is_realm(region) ? std::string()
                          : fmt::format("\"{}\" is no region; write a-z, 0-9, _ and -, at most 64 characters", region);
}

}  // namespace

void add_store_replay(CLI::App& group, Context& context) {
  CLI::App* command = add_command(
      group, context, "replay", "Stored events back onto a bus, in the order of their event times, in a realm of their own",
      "  utp store replay --store sqlite:store.db --bus embedded:again\n"
      "  utp store replay --type trades/v2 --symbol BTC-USD --from 2026-11-22 --to 2026-11-23 --realm replay_monday\n"
      "  utp store replay --pace original --speed 60\n"
      "  utp persister --bus embedded:again --store sqlite:copy.db --realm replay_monday --drain");
  auto options = std::make_shared<StoreReplayOptions>();
  command
      ->add_option("--type", options->range.event_types,
                   "Only this event type, such as trades/v2 (repeatable; default all that are stored)")
      ->allow_extra_args(false);
  command->add_option("--symbol", options->range.symbols, "Only this symbol (repeatable)")->allow_extra_args(false);
  command->add_option("--source", options->range.sources, "Only this source_id (repeatable)")->allow_extra_args(false);
  command->add_option("--from", options->from, "Event time, inclusive")->check(check_time);
  command->add_option("--to", options->to, "Event time, exclusive")->check(check_time);
  command->add_option("--realm", options->realm, "Realm of the events, replay_<id> (default: an id of the time that it is)")
      ->check(check_replay_realm);
  command->add_option("--region", options->region, "Region of the events (default replay)")->check(check_region);
  command->add_option("--pace", options->pace, "flat (default): as fast as it goes; original: as the event times say")
      ->check(CLI::IsMember({"flat", "original"}));
  command->add_option("--speed", options->speed, "Times the original pace")->check(above_zero("10"));
  add_place_options(*command, options->place, kUsesBus | kUsesStore | kUsesSchemas);
  command->callback([&context, options] {
    if (!options->from.empty() && !options->to.empty() &&
        *Timestamp::parse_lenient(options->from) >= *Timestamp::parse_lenient(options->to)) {
      throw CLI::ValidationError("--to", "is not after --from: nothing can lie between them");
    }
    context.action = [&context, options] { return store_replay(*options, context); };
  });
}

}  // namespace utp::app
