#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "bus/bridge.h"
#include "bus/compare.h"
#include "core/backoff.h"
#include "core/hash.h"
#include "core/json_writer.h"
#include "model/envelope.h"

namespace utp::app {
namespace {

constexpr std::int64_t kStepNs = 200'000'000;
constexpr std::int64_t kLookNs = 500'000'000;  // between two looks at whether all is copied, while there is more
constexpr std::int64_t kRetryMinNs = 50'000'000, kRetryMaxNs = 5'000'000'000;

struct BridgeCommand {
  std::string from, to, group, start = "earliest", durability = "interval";
  std::vector<std::string> topics, realms, regions, symbols;
  bool all_regions = false, dead_letters = false, verify = false, verify_only = false, once = false;
  double seconds = 0;
};

std::string region_of(std::string_view pattern) {
  for (int i = 0; i < 2; ++i) pattern.remove_prefix(std::min(pattern.find('.') + 1, pattern.size()));
  const std::string_view region = pattern.substr(0, pattern.find('.'));
  return region == "*" || region == ">" ? "" : std::string(region);
}

// A bridge forwards one region's topics, or all when it is told so: two that forward everything would make a loop. A bus that
// holds one region only needs no telling.
Status choose_region(BridgeCommand& options, Bus& from) {
  if (options.all_regions || !options.regions.empty()) return {};
  std::set<std::string> regions;
  bool open = false;
  for (const std::string& pattern : options.topics) {
    const std::string named = region_of(pattern);
    open = open || named.empty();
    if (!named.empty()) regions.insert(named);
    UTP_TRY(const auto topics, from.stats(pattern));
    for (const TopicStats& topic : topics) regions.insert(region_of(topic.topic));
  }
  if (!open) return {};
  if (regions.size() == 1) {
    options.regions = {*regions.begin()};
    return {};
  }
  return fail(Code::kInvalidArgument,
              fmt::format("--topics {} takes every region, and the bus holds {}; name its own with --region, so that two bridges make no loop, or "
                          "move everything with --all-regions",
                          fmt::join(options.topics, " "), regions.empty() ? "none yet" : fmt::format("{}", fmt::join(regions, ", "))));
}

Result<Start> start_of(const std::string& text) {
  if (text == "earliest") return Start{};
  if (text == "latest") return Start{Start::Kind::kLatest, {}};
  const auto time = Timestamp::parse_lenient(text);
  return Start{Start::Kind::kTime, time ? *time : SystemClock().now() - *parse_duration(text)};
}

// The same for every way to write a folder.
std::string place_of(const std::string& url) {
  const std::string path = local_path(url);
  std::error_code ignored;
  return path.empty() ? shown_url(url) : std::filesystem::weakly_canonical(path, ignored).string();
}

// Progress by destination: bridges from one bus to several do not share it.
std::string group_of(const BridgeCommand& options) {
  if (!options.group.empty()) return options.group;
  char digits[16];
  write_hex64(digits, hash64(place_of(options.to)));
  return "bridge-" + std::string(digits, sizeof digits);
}

struct Sides {
  std::unique_ptr<Bus> from, to;
};

Result<Sides> open_sides(const BridgeCommand& options, const Clock& clock) {
  Sides sides;
  UTP_TRY(sides.from, open_bus(options.from, clock, false));
  UTP_TRY(sides.to, open_bus(options.to, clock, true));
  return sides;
}

BridgeFilter filter_of(const BridgeCommand& options) {
  BridgeFilter filter{options.topics, options.realms, options.regions, options.symbols};
  if (options.dead_letters) {
    for (const std::string& pattern : options.topics) {
      if (!is_dead_letter_topic(pattern)) filter.patterns.push_back(pattern + ".dlq");
    }
  }
  return filter;
}

// Copies until it is stopped, the time is over, or (`until`: --once, --verify) what was there at the mark is copied. An error that passes is waited out.
Status copy(Bridge& bridge, const BridgeCommand& options, const std::optional<Bridge::Mark>& until, Context& context, const Clock& clock) {
  Progress progress("bridge", !context.common.quiet && !context.common.json);
  Random random(static_cast<std::uint64_t>(clock.now().ns));
  const std::int64_t end = clock.monotonic_ns() + static_cast<std::int64_t>(options.seconds * 1e9);
  UTP_TRY(const std::uint64_t left, bridge.waiting());
  std::int64_t next_look = 0;
  unsigned failures = 0;
  std::string shown_error;
  while (!context.stop->pending() && (options.seconds == 0 || clock.monotonic_ns() < end)) {
    const auto done = bridge.step(kStepNs);
    const BridgeStats stats = bridge.stats();
    const std::uint64_t handled = stats.forwarded + stats.already_there + stats.filtered + stats.refused;
    progress.update(handled, until ? left : 0, fmt::format("{} forwarded{}", human_count(stats.forwarded), stats.last_error.empty() ? "" : ", waiting: " + stats.last_error));
    if (!done) {
      if (!done.error().retryable && done.error().code != Code::kFenced) return fail(done.error());
      if (shown_error != done.error().message) log::warn("the bridge waits", {{"error", done.error().message}});
      shown_error = done.error().message;
      context.stop->wait(full_jitter_ns(random, kRetryMinNs, kRetryMaxNs, failures++) / 1'000'000);
      continue;
    }
    failures = 0;
    shown_error.clear();
    if (!until || (*done > 0 && clock.monotonic_ns() < next_look)) continue;
    next_look = clock.monotonic_ns() + kLookNs;
    const auto reached = bridge.has_reached(*until);
    if (!reached && !reached.error().retryable) return fail(reached.error());
    if (reached && *reached) return {};
  }
  if (until && context.stop->pending()) return fail(Code::kCancelled, "interrupted");
  return {};
}

void write_comparison(const std::vector<TopicComparison>& topics, JsonWriter& json) {
  bool equal = true;
  for (const TopicComparison& t : topics) equal = equal && t.equal();
  json.key("verify").begin_object().field("equal", equal).key("topics").begin_array();
  for (const TopicComparison& t : topics) {
    json.begin_object().field("topic", t.topic).field("equal", t.equal()).field("from_messages", t.from_messages).field("to_messages", t.to_messages);
    json.field("from_distinct", t.from_distinct).field("to_distinct", t.to_distinct).field("missing", t.missing).field("extra", t.extra);
    json.field("out_of_order", t.out_of_order).key("missing_examples").begin_array();
    for (const std::string& example : t.missing_examples) json.value(example);
    json.end_array().end_object();
  }
  json.end_array().end_object();
}

void print_comparison(const std::vector<TopicComparison>& topics) {
  Table table({"topic", "here", "there", "missing there", "only there", "out of order", "twice there"});
  for (const TopicComparison& t : topics) {
    table.add({t.topic, human_count(t.from_messages), human_count(t.to_messages), human_count(t.missing), human_count(t.extra), human_count(t.out_of_order),
               human_count(t.to_messages - t.to_distinct)});
  }
  fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  for (const TopicComparison& t : topics) {
    for (const std::string& example : t.missing_examples) print_note(fmt::format("missing in {}: {}", t.topic, example));
  }
}

int bridge_command(BridgeCommand options, Context& context) {
  for (std::string* url : {&options.from, &options.to}) {
    const auto resolved = resolve_bus_url(*url, "");
    if (!resolved) return report_configuration(resolved.error());
  }
  if (place_of(options.from) == place_of(options.to)) return report_configuration(Error{Code::kInvalidArgument, "--from and --to name the same bus"});
  for (const std::string& pattern : options.topics) {
    if (const Status good = check_topic_pattern(pattern); !good) return report_configuration(good.error());
  }
  const SystemClock clock;
  auto sides = open_sides(options, clock);
  // One that is to run on waits for a bus that is away, as it does later.
  const bool runs_on = !options.once && !options.verify && !options.verify_only;
  if (!sides && sides.error().retryable && runs_on) log::warn("the bridge waits", {{"error", sides.error().message}});
  while (!sides && sides.error().retryable && runs_on) {
    if (context.stop->wait(1000)) return kInterrupted;
    sides = open_sides(options, clock);
  }
  if (!sides) return report(sides.error());
  if (const Status good = choose_region(options, *sides->from); !good) return report_configuration(good.error());
  BridgeOptions wanted;
  wanted.filter = filter_of(options);
  wanted.group = group_of(options);
  wanted.start = *start_of(options.start);
  wanted.durability = options.durability == "commit" ? Durability::kCommit : Durability::kInterval;
  std::optional<BridgeStats> stats;
  std::optional<Bridge::Mark> until;  // what is there now: other programs may go on to write
  if (!options.verify_only) {
    auto bridge = Bridge::create(*sides->from, *sides->to, wanted);
    if (!bridge) return report(bridge.error());
    if (options.once || options.verify) {
      auto mark = (*bridge)->mark();
      if (!mark) return report(mark.error());
      until = *std::move(mark);
    }
    const Status copied = copy(**bridge, options, until, context, clock);
    stats = (*bridge)->stats();
    if (!copied && copied.error().code == Code::kCancelled) {
      print_note(fmt::format("interrupted; {} messages forwarded, the next run goes on from there", human_count(stats->forwarded)));
      return kInterrupted;
    }
    if (!copied) return report(copied.error());
  }
  std::vector<TopicComparison> compared;
  bool equal = true;
  if (options.verify || options.verify_only) {
    Progress progress("compare", !context.common.quiet && !context.common.json);
    CompareOptions compare_options;
    compare_options.filter = wanted.filter;
    compare_options.start = wanted.start.kind == Start::Kind::kLatest ? Start{} : wanted.start;
    compare_options.until = until;
    compare_options.progress = [&](const std::string& topic, std::uint64_t read) { progress.update(read, 0, topic); };
    compare_options.give_up = [&] { return context.stop->pending(); };
    auto all = compare(*sides->from, *sides->to, compare_options);
    if (!all && all.error().code == Code::kCancelled) return kInterrupted;
    if (!all) return report(all.error());
    compared = *std::move(all);
    for (const TopicComparison& t : compared) equal = equal && t.equal();
  }
  const bool failed = !equal || (stats && stats->refused + stats->lost > 0);
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("from", shown_url(options.from)).field("to", shown_url(options.to));
    if (stats) {
      json.field("forwarded", stats->forwarded).field("already_there", stats->already_there).field("filtered", stats->filtered);
      json.field("refused", stats->refused).field("lost", stats->lost);
    }
    if (options.verify || options.verify_only) write_comparison(compared, json);
    json.end_object();
    fmt::print("{}\n", out);
    return failed ? kFailure : kOk;
  }
  if (stats) {
    print_note(fmt::format("{} messages forwarded, {} were there already, {} passed by the filter{}", human_count(stats->forwarded), human_count(stats->already_there),
                           human_count(stats->filtered), stats->lost > 0 ? fmt::format(", {} taken by retention before they were read", human_count(stats->lost)) : ""));
  }
  if (options.verify || options.verify_only) {
    print_comparison(compared);
    print_note(compared.empty() ? "no topic to compare" : equal ? "the far side has everything, in order" : "the two sides DIFFER");
  }
  return failed ? kFailure : kOk;
}

}  // namespace

void add_bridge(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "bridge", "Copies topics from one bus to another: between regions, or to move (docs/moving.md)",
                                  "  utp bridge --from embedded:data/bus --to redis://10.0.0.5 --topics 'utp.prod.us.>'\n"
                                  "  utp bridge --from redis://a --to nats://b --topics 'utp.prod.>' --all-regions --dead-letters --verify --json\n"
                                  "  utp bridge --from redis://us --to redis://hub --topics 'utp.*.*.quotes.v2' --region us --symbol SPY");
  auto options = std::make_shared<BridgeCommand>();
  command->add_option("--from", options->from, "Bus to read, a URL")->required();
  command->add_option("--to", options->to, "Bus to write, a URL")->required();
  command->add_option("--topics", options->topics, "Topics: * one segment, > the rest (repeatable)")->required()->allow_extra_args(false);
  command->add_option("--realm", options->realms, "Only this realm (repeatable)")->allow_extra_args(false);
  command->add_option("--region", options->regions, "Only this region (repeatable)")->allow_extra_args(false);
  command->add_option("--symbol", options->symbols, "Only this symbol (repeatable)")->allow_extra_args(false);
  command->add_flag("--all-regions", options->all_regions, "Forward every region's topics: to move a bus, never between two that bridge both ways");
  command->add_flag("--dead-letters", options->dead_letters, "The dead letters of these topics too");
  command->add_option("--group", options->group, "Name of its progress on the bus it reads (default: one for each destination)");
  command->add_option("--since", options->start, "Where a new group begins: earliest, latest, a time, or a duration back such as 10m")
      ->capture_default_str()
      ->check([](const std::string& text) {
        if (text == "earliest" || text == "latest" || check_time_or_duration(text).empty()) return std::string();
        return fmt::format("\"{}\" is neither earliest, latest, a time (2026-11-22T14:30:00Z) nor a duration back (10m)", text);
      });
  command->add_option("--durability", options->durability, "At the far side: commit or interval")->capture_default_str()->check(CLI::IsMember({"commit", "interval"}));
  command->add_flag("--once", options->once, "Ends when everything that is there is copied");
  command->add_flag("--verify", options->verify, "Copies what is there, then counts and compares both sides, and ends");
  command->add_flag("--verify-only", options->verify_only, "Counts and compares both sides; copies nothing");
  command->add_option("--seconds", options->seconds, "Ends after so many seconds")->check(above_zero("60"));
  command->callback([&context, options] { context.action = [&context, options] { return bridge_command(*options, context); }; });
}

}  // namespace utp::app
