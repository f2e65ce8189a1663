#include <unistd.h>

#include <map>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "apps/utp/status_json.h"
#include "model/envelope.h"

namespace utp::app {
namespace {

struct TopicsOptions {
  PlaceOptions place;
  std::string pattern;
  double sample_seconds = 0.5;
};

Result<std::vector<TopicStats>> all_topics(Bus& bus, const std::string& pattern) {
  UTP_TRY(auto topics, bus.stats(pattern.empty() ? ">" : pattern));
  // Patterns pass dead letters by; an overview shows them too.
  if (is_dead_letter_topic(pattern)) return topics;
  UTP_TRY(auto dead, bus.stats((pattern.empty() ? ">" : pattern) + ".dlq"));
  topics.insert(topics.end(), std::make_move_iterator(dead.begin()), std::make_move_iterator(dead.end()));
  return topics;
}

// What was published between two looks, a second.
std::map<std::string, double> rates(const std::vector<TopicStats>& before, const std::vector<TopicStats>& after, double seconds) {
  std::map<std::string, std::uint64_t> published;
  for (const TopicStats& t : before) published[t.topic] = t.published;
  std::map<std::string, double> out;
  for (const TopicStats& t : after) {
    const std::uint64_t then = published[t.topic];
    out[t.topic] = t.published > then ? static_cast<double>(t.published - then) / seconds : 0;
  }
  return out;
}

std::string limits(const TopicStats& t) {
  return (t.retention_ns > 0 ? human_duration(t.retention_ns) + ", " : "") + human_bytes(t.retention_bytes);
}

int topics_command(const TopicsOptions& options, Context& context) {
  const auto place = locate(options.place, kUsesBus);
  if (!place) return report_configuration(place.error());
  const SystemClock clock;
  auto bus = open_bus(place->bus, clock, false);
  if (!bus) return report(bus.error());
  auto topics = all_topics(**bus, options.pattern);
  if (!topics) return report(topics.error());
  std::map<std::string, double> measured;
  if (options.sample_seconds > 0 && !topics->empty()) {
    const std::int64_t began = clock.monotonic_ns();
    context.stop->wait(static_cast<std::int64_t>(options.sample_seconds * 1e3));
    auto again = all_topics(**bus, options.pattern);
    if (!again) return report(again.error());
    measured = rates(*topics, *again, static_cast<double>(clock.monotonic_ns() - began) / 1e9);
    topics = std::move(again);
  }
  const Timestamp now = clock.now();
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("bus", place->bus_shown).key("topics");
    write_topics(*topics, now, measured, json);
    json.end_object();
    fmt::print("{}\n", out);
    return kOk;
  }
  Table table({"topic", "partitions", "messages", "size", "kept", "per second", "newest", "group", "lag", "behind", "trimmed unread"});
  for (const TopicStats& t : *topics) {
    const auto rate = measured.find(t.topic);
    std::vector<std::string> row{t.topic, std::to_string(t.partitions), human_count(t.messages), human_bytes(t.bytes), limits(t),
                                 rate == measured.end() ? "-" : fmt::format("{:.0f}", rate->second),
                                 t.messages > 0 ? t.last_time.to_string().substr(0, 19) + "Z" : "-"};
    if (t.groups.empty()) table.add(row);
    for (const GroupStats& g : t.groups) {
      std::vector<std::string> line = row;
      line.insert(line.end(), {g.group, human_count(g.lag), g.oldest_unread.ns > 0 ? human_duration(lag_ns(g, now)) : "-", human_count(g.trimmed_unread)});
      table.add(std::move(line));
      row.assign(row.size(), "");
    }
    if (t.lost > 0) print_note(fmt::format("{}: {} messages were lost by a power failure", t.topic, human_count(t.lost)));
  }
  if (table.size() == 0) print_note(fmt::format("no topics in {}{}", place->bus_shown, options.pattern.empty() ? "" : " match " + options.pattern));
  else fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  return kOk;
}

}  // namespace

void add_topics(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "topics", "Topics of the bus: depth, size, rate, dead letters, groups and their lag",
                                  "  utp topics\n  utp topics 'utp.prod.*.quotes.v2' --json\n  utp topics --bus embedded:data/bus");
  auto options = std::make_shared<TopicsOptions>();
  command->add_option("PATTERN", options->pattern, "Topics that match (* one segment, > the rest; default all)");
  command->add_option("--sample", options->sample_seconds, "Seconds over which the rates are taken; 0 = none, answer at once")->capture_default_str()->check(CLI::Range(0.0, 3600.0));
  add_place_options(*command, options->place, kUsesBus);
  command->callback([&context, options] { context.action = [&context, options] { return topics_command(*options, context); }; });
}

}  // namespace utp::app
