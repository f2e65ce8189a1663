// utp store reconcile: what is on the bus, in the store and in its aggregates, and where they differ.
#include <unistd.h>

#include <fmt/format.h>

#include "apps/utp/command_store.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "core/json_writer.h"
#include "persist/reconcile.h"

namespace utp::app {
namespace {

struct Options {
  PlaceOptions place;
  ReconcileOptions reconcile;
  std::string from, to, group;
  bool all = false;
};

// Of an hour, a type or everything.
struct Totals {
  std::uint64_t on_bus = 0, stored = 0, waiting = 0, dead_letters = 0, missing = 0, only_stored = 0, aggregated = 0, to_aggregate = 0, odd = 0;
  void add(const ReconciledHour& hour) {
    on_bus += hour.on_bus;
    stored += hour.stored;
    waiting += hour.waiting;
    dead_letters += hour.dead_letters;
    missing += hour.missing;
    only_stored += hour.only_stored;
    aggregated += hour.aggregated.value_or(0);
    to_aggregate += hour.aggregated ? hour.to_aggregate : 0;
    odd += hour.equal() ? 0 : 1;
  }
};

void write_hour(JsonWriter& json, const ReconciledHour& hour) {
  json.begin_object().field("symbol", hour.symbol).field("hour", hour.hour).field("messages", hour.messages).field("bus", hour.on_bus).field("stored", hour.stored);
  json.field("waiting", hour.waiting).field("dead_letters", hour.dead_letters).field("missing", hour.missing).field("only_stored", hour.only_stored);
  if (hour.aggregated) json.field("aggregated", *hour.aggregated).field("to_aggregate", hour.to_aggregate).field("to_refresh", hour.to_refresh);
  json.field("equal", hour.equal()).end_object();
}

void print_json(const Place& place, const std::vector<ReconciledType>& types, bool all) {
  std::string out;
  JsonWriter json(out);
  Totals sum;
  json.begin_object().field("bus", place.bus_shown).field("store", place.store_shown).key("event_types").begin_object();
  for (const ReconciledType& type : types) {
    Totals totals;
    for (const ReconciledHour& hour : type.hours) {
      totals.add(hour);
      sum.add(hour);
    }
    json.key(type.event_type).begin_object().field("bus", totals.on_bus).field("stored", totals.stored).field("waiting", totals.waiting);
    json.field("dead_letters", totals.dead_letters).field("missing", totals.missing).field("only_stored", totals.only_stored).field("unreadable", type.unreadable).field("unread", type.unread);
    if (!type.aggregate.empty()) json.field("aggregate", type.aggregate).field("aggregated", totals.aggregated).field("to_aggregate", totals.to_aggregate);
    json.key("missing_examples").begin_array();
    for (const std::string& key : type.missing_examples) json.value(key);
    json.end_array().key("hours").begin_array();
    for (const ReconciledHour& hour : type.hours) {
      if (all || !hour.equal()) write_hour(json, hour);
    }
    json.end_array().end_object();
  }
  json.end_object().field("missing", sum.missing).field("equal", sum.odd == 0).end_object();
  fmt::print("{}\n", out);
}

std::string aggregated(std::uint64_t is, std::uint64_t should) {
  return is == should ? human_count(is) : fmt::format("{} of {}", human_count(is), human_count(should));
}

void print_text(const Place& place, const std::vector<ReconciledType>& types, bool all) {
  const bool color = colored(STDOUT_FILENO);
  Table summary({"event type", "bus", "stored", "waiting", "dead letters", "missing", "only stored", "aggregated", "unreadable"});
  Table hours({"event type", "hour", "symbol", "bus", "stored", "waiting", "dead letters", "missing", "only stored", "aggregated"});
  std::vector<std::string> examples;
  Totals sum;
  for (const ReconciledType& type : types) {
    Totals totals;
    for (const ReconciledHour& hour : type.hours) {
      totals.add(hour);
      sum.add(hour);
      if (!all && hour.equal()) continue;
      hours.add({type.event_type, hour.hour.to_string().substr(0, 13), hour.symbol.empty() ? "-" : hour.symbol, human_count(hour.on_bus), human_count(hour.stored),
                 human_count(hour.waiting), human_count(hour.dead_letters), human_count(hour.missing), human_count(hour.only_stored),
                 hour.aggregated ? aggregated(*hour.aggregated, hour.to_aggregate) : "-"});
    }
    summary.add({type.event_type, human_count(totals.on_bus), human_count(totals.stored), human_count(totals.waiting), human_count(totals.dead_letters),
                 human_count(totals.missing), human_count(totals.only_stored), type.aggregate.empty() ? "-" : aggregated(totals.aggregated, totals.to_aggregate),
                 human_count(type.unreadable)});
    examples.insert(examples.end(), type.missing_examples.begin(), type.missing_examples.end());
  }
  fmt::print("bus {}, store {}\n{}", place.bus_shown, place.store_shown, summary.text(color));
  if (hours.size() > 0) fmt::print("\n{}", hours.text(color));
  if (sum.missing > 0) {
    fmt::print("\nmissing: on the bus, acknowledged, and neither stored nor among the dead letters; what is still on the bus is "
               "stored by utp persister --again. Look also into persister.overflow.jsonl. Their keys begin with {}\n", fmt::join(examples, ", "));
  }
  if (sum.aggregated != sum.to_aggregate) fmt::print("\nsome hours were not aggregated since they changed: utp store maintain\n");
  std::uint64_t unread = 0;
  for (const ReconciledType& type : types) unread += type.unread;
  if (unread > 0) fmt::print("\nthe bus has {} messages more than it gave within two seconds of silence: nothing is known of them; run it again\n", human_count(unread));
  if (sum.odd == 0 && unread == 0) fmt::print("{}\n", sum.waiting > 0 ? "no difference but what waits to be stored" : "no difference");
}

int run(Options& options, Context& context) {
  const auto place = locate(options.place, kUsesBus | kUsesStore | kUsesSchemas);
  if (!place) return report_configuration(place.error());
  const auto registry = load_registry(place->schema_dirs);
  if (!registry) return report_configuration(registry.error());
  for (std::string& name : options.reconcile.event_types) {
    const auto plan = find_event_type(*registry, name);
    if (!plan) return report_configuration(plan.error());
    name = (*plan)->event_type();
  }
  if (!options.from.empty()) options.reconcile.from = Timestamp::parse_lenient(options.from);
  if (!options.to.empty()) options.reconcile.to = Timestamp::parse_lenient(options.to);
  if (!options.group.empty()) options.reconcile.group = options.group;
  else if (place->chamber) options.reconcile.group = place->chamber->persister.group;
  const SystemClock clock;
  const auto bus = open_bus(place->bus, clock, false);
  if (!bus) return report(bus.error());
  const auto store = open_store(place->store, false);
  if (!store) return report(store.error());
  Progress progress("reconcile", !context.common.json);
  options.reconcile.progress = [&](const std::string& what, std::uint64_t events) { progress.update(events, 0, what); };
  options.reconcile.give_up = [&context] { return context.stop->pending(); };
  const auto types = reconcile(**bus, **store, *registry, clock, options.reconcile);
  progress.clear();
  if (!types) return report(types.error());
  if (context.common.json) print_json(*place, *types, options.all);
  else if (!context.common.quiet) print_text(*place, *types, options.all);
  for (const ReconciledType& type : *types) {
    if (type.unread > 0) return kFailure;
    for (const ReconciledHour& hour : type.hours) {
      if (!hour.equal()) return kFailure;
    }
  }
  return kOk;
}

}  // namespace

void add_store_reconcile(CLI::App& group, Context& context) {
  CLI::App* command = add_command(group, context, "reconcile", "Counts by event type, symbol and hour: on the bus, in the store, in its aggregates; where they differ",
                                  "  utp store reconcile\n  utp store reconcile --from 2026-11-22T14:00:00Z --to 2026-11-22T18:00:00Z --all\n"
                                  "  utp store reconcile --type trades/v2 --symbol BTC-USD --store postgres://reader@host/market --bus redis://host --json");
  auto options = std::make_shared<Options>();
  command->add_option("--type", options->reconcile.event_types, "Only this event type (repeatable; default all that are stored)")->allow_extra_args(false);
  command->add_option("--symbol", options->reconcile.symbols, "Only this symbol (repeatable)")->allow_extra_args(false);
  command->add_option("--from", options->from, "Event time, from the whole hour on (default: what the bus has)")->check(check_time);
  command->add_option("--to", options->to, "Event time, up to the whole hour")->check(check_time);
  command->add_option("--group", options->group, "The persister's group: what it acknowledged has to be stored (default: the chamber file's, else persister)");
  command->add_option("--realm", options->reconcile.realm, "Whose topics (default: the store's realm)");
  command->add_option("--max-events", options->reconcile.events_max, "Of one event type at most; each takes 32 bytes of memory")->check(above_zero("50000000"));
  command->add_flag("--all", options->all, "Every hour, not only those that differ");
  add_place_options(*command, options->place, kUsesBus | kUsesStore | kUsesSchemas);
  command->callback([&context, options] {
    if (!options->from.empty() && !options->to.empty() && *Timestamp::parse_lenient(options->from) >= *Timestamp::parse_lenient(options->to)) {
      throw CLI::ValidationError("--to", "is not after --from: nothing can lie between them");
    }
    context.action = [&context, options] { return run(*options, context); };
  });
}

}  // namespace utp::app
