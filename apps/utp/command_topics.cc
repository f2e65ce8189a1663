#include <unistd.h>

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
};

Result<std::vector<TopicStats>> all_topics(Bus& bus, const std::string& pattern) {
  UTP_TRY(auto topics, bus.stats(pattern.empty() ? "utp.>" : pattern));
  if (pattern.empty()) {
    // Wildcards pass dead letters by; an overview shows them too.
    UTP_TRY(auto dead, bus.stats("utp.>.dlq"));
    topics.insert(topics.end(), std::make_move_iterator(dead.begin()), std::make_move_iterator(dead.end()));
  }
  return topics;
}

int topics_command(const TopicsOptions& options, Context& context) {
  const auto place = locate(options.place, kUsesBus);
  if (!place) return report_configuration(place.error());
  const SystemClock clock;
  auto bus = open_bus(place->bus, clock, false);
  if (!bus) return report(bus.error());
  const auto topics = all_topics(**bus, options.pattern);
  if (!topics) return report(topics.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("bus", place->bus_shown).key("topics");
    write_topics(*topics, json);
    json.end_object();
    fmt::print("{}\n", out);
    return kOk;
  }
  Table table({"topic", "partitions", "messages", "size", "newest", "group", "lag", "unread for", "trimmed unread"});
  const Timestamp now = clock.now();
  for (const TopicStats& t : *topics) {
    std::vector<std::string> row{t.topic, std::to_string(t.partitions), human_count(t.messages), human_bytes(t.bytes),
                                 t.messages > 0 ? t.last_time.to_string().substr(0, 19) + "Z" : "-"};
    if (t.groups.empty()) table.add(row);
    for (const GroupStats& g : t.groups) {
      std::vector<std::string> line = row;
      line.insert(line.end(), {g.group, human_count(g.lag), g.oldest_unread.ns > 0 ? human_duration(now - g.oldest_unread) : "-", human_count(g.trimmed_unread)});
      table.add(std::move(line));
      row.assign(5, "");
    }
    if (t.lost > 0) print_note(fmt::format("{}: {} messages were lost by a power failure", t.topic, human_count(t.lost)));
  }
  if (table.size() == 0) print_note(fmt::format("no topics in {}{}", place->bus_shown, options.pattern.empty() ? "" : " match " + options.pattern));
  else fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  return kOk;
}

}  // namespace

void add_topics(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "topics", "Topics of the bus: depth, size, groups and their lag",
                                  "  utp topics\n  utp topics 'utp.prod.*.quotes.v2' --json\n  utp topics --bus embedded:data/bus");
  auto options = std::make_shared<TopicsOptions>();
  command->add_option("PATTERN", options->pattern, "Topics that match (* one segment, > the rest; default all)");
  add_place_options(*command, options->place, kUsesBus);
  command->callback([&context, options] { context.action = [&context, options] { return topics_command(*options, context); }; });
}

}  // namespace utp::app
