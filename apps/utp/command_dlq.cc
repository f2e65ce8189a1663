#include <unistd.h>

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/connector_options.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "core/json_writer.h"
#include "persist/dlq.h"
#include "schema/json.h"

namespace utp::app {
namespace {

constexpr std::size_t kShownBytes = 4096;  // of the original, for people

struct DlqCommandOptions {
  PlaceOptions place;
  DlqFilter filter;
  DlqRepair repair;
  std::string since, output;
  std::vector<std::string> connector_dirs;
  bool all = false;
};

// Everything that the subcommands need, opened.
struct Opened {
  Place place;
  SystemClock clock;
  std::optional<Registry> registry;
  std::unique_ptr<Bus> bus;
};

// What the configuration says, before the bus is opened.
Status prepare(DlqCommandOptions& options, Opened& out) {
  if (!options.since.empty()) {
    const auto time = Timestamp::parse_lenient(options.since);
    options.filter.since = time ? *time : out.clock.now() - *parse_duration(options.since);
  }
  UTP_TRY(out.place, locate(options.place, kUsesBus | kUsesSchemas));
  UTP_TRY(out.registry, load_registry(out.place.schema_dirs));
  return {};
}

DlqOptions dlq_options(Context& context, std::string realm = "*", std::string region = "*") {
  DlqOptions options;
  options.realm = std::move(realm);
  options.region = std::move(region);
  options.stop = [&context] { return context.stop->pending(); };
  return options;
}

// "utp.prod.chamber_us.quotes.v2.dlq": prod, chamber_us.
std::pair<std::string, std::string> realm_and_region(const std::string& topic) {
  const std::size_t first = topic.find('.'), second = topic.find('.', first + 1), third = topic.find('.', second + 1);
  if (third == std::string::npos) return {};
  return {topic.substr(first + 1, second - first - 1), topic.substr(second + 1, third - second - 1)};
}

void write_entry(const DlqEntry& e, JsonWriter& json, bool original) {
  json.begin_object().field("id", e.id).field("topic", e.dlq_topic).field("stage", e.stage).field("code", e.code).field("path", e.path);
  json.field("message", e.message).field("attempts", e.attempts).field("connector", e.connector).field("event_type", e.event_type);
  json.field("symbol", e.symbol).field("frame_kind", e.frame_kind).field("origin_topic", e.origin_topic);
  json.key("origin_position");
  if (e.origin_position) json.value(*e.origin_position);
  else json.null();
  json.key("receive_time");
  if (e.receive_time) json.value(*e.receive_time);
  else json.null();
  json.field("written_time", e.written_time).field("original_bytes", e.original_bytes).field("original_hash", e.original_hash);
  json.field("finished", e.finished);
  if (original) json.field("complete", e.complete).field("original", e.original);
  json.end_object();
}

Status list(DlqCommandOptions& options, Opened& opened, Context& context) {
  Dlq dlq(*opened.bus, *opened.registry, opened.clock, dlq_options(context));
  UTP_TRY(auto letters, dlq.list(options.filter));
  // Topic by topic as they came; for people and programs by time.
  std::stable_sort(letters.begin(), letters.end(), [](const DlqEntry& a, const DlqEntry& b) {
    return a.receive_time.value_or(a.written_time) < b.receive_time.value_or(b.written_time);
  });
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("bus", opened.place.bus_shown).key("letters").begin_array();
    for (const DlqEntry& e : letters) write_entry(e, json, false);
    json.end_array().end_object();
    fmt::print("{}\n", out);
    return {};
  }
  Table table({"id", "received", "connector", "stage", "code", "path", "bytes", "message"});
  for (const DlqEntry& e : letters) {
    const Timestamp time = e.receive_time.value_or(e.written_time);
    table.add({e.id.substr(0, 10), time.to_string().substr(0, 19) + "Z", e.connector, e.stage, e.code + (e.finished.empty() ? "" : " (" + e.finished + ")"),
               e.path, human_count(e.original_bytes), clipped(e.message, 60)});
  }
  if (table.size() == 0) print_note(fmt::format("no dead letters in {}", opened.place.bus_shown));
  else fmt::print("{}", table.text(colored(STDOUT_FILENO)));
  return {};
}

Status show(DlqCommandOptions& options, Opened& opened, Context& context) {
  Dlq dlq(*opened.bus, *opened.registry, opened.clock, dlq_options(context));
  UTP_TRY(const DlqEntry entry, dlq.show(options.filter.id));
  if (!options.output.empty()) {
    UTP_TRY(Output out, Output::open(options.output));
    UTP_CHECK(out.write(entry.original));
    return out.close();
  }
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    write_entry(entry, json, true);
    fmt::print("{}\n", out);
    return {};
  }
  const bool color = colored(STDOUT_FILENO);
  const auto line = [&](std::string_view name, const std::string& value) {
    if (!value.empty()) fmt::print("{}  {}\n", styled(fmt::format("{:13}", name), Style::kDim, color), value);
  };
  line("id", entry.id);
  line("why", fmt::format("{}: {}{}{}", entry.stage, entry.code, entry.path.empty() ? "" : " at " + entry.path, ": " + entry.message));
  line("finished", entry.finished);
  line("connector", entry.connector);
  line("frame", entry.frame_kind);
  line("event type", entry.event_type);
  line("symbol", entry.symbol);
  line("from", entry.origin_topic);
  line("received", entry.receive_time ? entry.receive_time->to_string() : "");
  line("attempts", std::to_string(entry.attempts));
  line("bytes", fmt::format("{}{}", human_count(entry.original_bytes), entry.complete ? "" : " (some parts are gone by retention)"));
  fmt::print("{}{}\n", entry.original.substr(0, kShownBytes), entry.original.size() > kShownBytes ? "\n… (whole: --json or -o FILE)" : "");
  return {};
}

// Maps a frame again, alone, with a fresh mapper of its connector, and publishes what comes of it.
class FrameReplay {
 public:
  FrameReplay(const DlqCommandOptions& options, Opened& opened, std::string realm, std::string region)
      : options_(options), opened_(opened), realm_(std::move(realm)), region_(std::move(region)) {}

  Status operator()(const DlqEntry& entry, std::string_view bytes) {
    ConnectorOptions wanted;
    wanted.connector = entry.connector.substr(0, entry.connector.find('.'));
    wanted.connector_dirs = options_.connector_dirs;
    if (opened_.place.chamber) {
      const auto& dirs = opened_.place.chamber->connector_dirs;
      wanted.connector_dirs.insert(wanted.connector_dirs.end(), dirs.begin(), dirs.end());
      for (const ConnectorConfig& config : opened_.place.chamber->connectors) {
        if (config.source_id() == entry.connector) wanted.settings = config.settings_json, wanted.symbols = config.symbols, wanted.streams = config.streams;
      }
    }
    UTP_TRY(PreparedConnector prepared, prepare_connector(wanted, *opened_.registry, false));
    prepared.options.source_id = entry.connector;
    prepared.options.realm = realm_;
    prepared.options.region = region_;
    UTP_TRY(auto mapper, make_capture_mapper(prepared));
    UTP_TRY(auto publisher, opened_.bus->publisher({}));
    UTP_TRY(auto pipeline, Pipeline::create(pipeline_options(prepared.options), *opened_.registry, opened_.clock, *publisher, std::move(mapper), nullptr));
    UTP_CHECK(configure_topics(*opened_.bus, *pipeline, 1));
    Frame frame;
    frame.connection = entry.connection.value_or(0);
    frame.kind = entry.frame_kind == "http" ? FrameKind::kHttp : FrameKind::kWs;
    frame.receive_time = entry.receive_time.value_or(entry.written_time);
    frame.bytes = bytes;
    pipeline->on_frame(frame);
    // What it rejects again stays one letter: nothing is published then.
    if (pipeline->counts().rejects > 0) return fail(Code::kInvalidArgument, "the connector refuses the frame again");
    if (pipeline->events_total() == 0) return fail(Code::kInvalidArgument, "the frame alone gives no event: it needs the state of its connection; replay the capture instead");
    return pipeline->flush();
  }

 private:
  const DlqCommandOptions& options_;
  Opened& opened_;
  std::string realm_, region_;
};

void need_filter(const DlqCommandOptions& options, std::string_view verb) {
  const DlqFilter& f = options.filter;
  if (options.all || !f.id.empty() || !f.code.empty() || !f.connector.empty() || !f.topic.empty() || !f.event_type.empty() || !options.since.empty()) return;
  throw CLI::ParseError(fmt::format("name what to {}: an ID, --code, --connector, --topic, --type or --since; or --all", verb), kUsage);
}

std::string check_json(const std::string& text) {
  JsonTree tree;
  std::string error;
  return tree.parse(text, error) ? std::string() : fmt::format("\"{}\" is no JSON: {}", text, error);
}

// Replay and drop write into the letter's own realm and region.
Status change(DlqCommandOptions& options, Opened& opened, Context& context, bool replay) {
  std::set<std::pair<std::string, std::string>> places;
  {
    Dlq dlq(*opened.bus, *opened.registry, opened.clock, dlq_options(context));
    UTP_TRY(const auto letters, dlq.list(options.filter));
    for (const DlqEntry& e : letters) places.insert(realm_and_region(e.dlq_topic));
    if (letters.empty() && !options.filter.id.empty()) return fail(Code::kNotFound, fmt::format("no open dead letter begins with \"{}\"; see: utp dlq list", options.filter.id));
    if (letters.size() > 1 && !options.filter.id.empty()) return fail(Code::kInvalidArgument, fmt::format("\"{}\" begins {} letters; give more of the id", options.filter.id, letters.size()));
  }
  DlqReport total;
  DlqFilter filter = options.filter;
  for (const auto& [realm, region] : places) {
    DlqOptions here = dlq_options(context, realm, region);
    here.replay_frame = FrameReplay(options, opened, realm, region);
    Dlq dlq(*opened.bus, *opened.registry, opened.clock, std::move(here));
    UTP_TRY(DlqReport report, replay ? dlq.replay(filter, options.repair) : dlq.drop(filter));
    const std::uint64_t taken = report.replayed + report.dropped + report.left.size();
    total.replayed += report.replayed;
    total.dropped += report.dropped;
    total.stopped = report.stopped;
    std::move(report.left.begin(), report.left.end(), std::back_inserter(total.left));
    if (total.stopped || (filter.limit > 0 && taken >= filter.limit)) break;
    if (filter.limit > 0) filter.limit -= taken;
  }
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("replayed", total.replayed).field("dropped", total.dropped).key("left").begin_array();
    for (const auto& left : total.left) json.begin_object().field("id", left.id).field("reason", left.reason).end_object();
    json.end_array().end_object();
    fmt::print("{}\n", out);
  } else {
    for (const auto& left : total.left) fmt::print("{}  stays: {}\n", left.id.substr(0, 10), left.reason);
    fmt::print("{} {}, {} left\n", replay ? total.replayed : total.dropped, replay ? "replayed" : "dropped", total.left.size());
  }
  std::fflush(stdout);
  if (total.stopped) return fail(Code::kCancelled, "interrupted; the rest stays as it was");
  if (!total.left.empty()) return fail(Code::kInvalidArgument, fmt::format("{} dead letters could not be replayed and stay where they are", total.left.size()));
  return {};
}

void add_filter(CLI::App& command, DlqCommandOptions& options, bool changes) {
  DlqFilter& f = options.filter;
  command.add_option("--code", f.code, "Only letters with this error code");
  command.add_option("--connector", f.connector, "Only letters of this source_id");
  command.add_option("--topic", f.topic, "Only letters meant for this topic (wildcards allowed)");
  command.add_option("--type", f.event_type, "Only letters of this event type");
  command.add_option("--since", options.since, "Only letters received since a time, or a duration back such as 10m")->check(check_time_or_duration);
  if (changes) command.add_flag("--all", options.all, "Every open letter");
  else command.add_flag("--finished", f.finished, "Also those that were replayed or dropped");
  command.add_option("--limit", f.limit, "At most so many letters")->check(CLI::PositiveNumber);
}

}  // namespace

void add_dlq(CLI::App& app, Context& context) {
  CLI::App* group = add_command_group(app, "dlq", "Dead letters: what could not go on, with its bytes and the reason",
                                      "  utp dlq list\n  utp dlq show 3fa81c                  # the beginning of an id is enough\n"
                                      "  utp dlq replay --code schema_unknown --all\n  utp dlq drop 3fa81c");
  auto options = std::make_shared<DlqCommandOptions>();
  const auto on = [&context, options](CLI::App* command, auto action, const char* needs_filter_to = nullptr) {
    add_place_options(*command, options->place, kUsesBus | kUsesSchemas);
    command->callback([&context, options, action, needs_filter_to] {
      if (needs_filter_to) need_filter(*options, needs_filter_to);
      context.action = [&context, options, action] {
        Opened opened;
        if (const Status found = prepare(*options, opened); !found) return report_configuration(found.error());
        auto bus = open_bus(opened.place.bus, opened.clock, false);
        if (!bus) return report(bus.error());
        opened.bus = *std::move(bus);
        const Status done = action(*options, opened, context);
        if (!done && done.error().code == Code::kNotFound) {  // a letter, not the bus
          print_error(done.error().message);
          return static_cast<int>(kFailure);
        }
        return done ? static_cast<int>(kOk) : report(done.error());
      };
    });
  };

  CLI::App* command = add_command(*group, context, "list", "Open letters, oldest first", "  utp dlq list\n  utp dlq list --connector coinbase.us1 --since 1h --json");
  add_filter(*command, *options, false);
  on(command, list);

  command = add_command(*group, context, "show", "One letter with its bytes", "  utp dlq show 3fa81c\n  utp dlq show 3fa81c -o frame.bin");
  command->add_option("ID", options->filter.id, "The id, or its beginning")->required();
  command->add_option("-o,--output", options->output, "The original bytes into a file");
  on(command, show);

  command = add_command(*group, context, "replay", "Sends letters again: messages to their topic, frames through their connector",
                        "  utp dlq replay 3fa81c\n  utp dlq replay --code schema_unknown --all\n"
                        "  utp dlq replay 3fa81c --patch '{\"payload\":{\"price\":1.5}}'\n  utp dlq replay --connector coinbase.us1 --filter 'sed s/NaN/null/g'");
  command->add_option("ID", options->filter.id, "The id, or its beginning");
  add_filter(*command, *options, true);
  command->add_option("--patch", options->repair.merge_patch, "JSON merge patch on the message before it is sent")->check(check_json);
  command->add_option("--filter", options->repair.program, "Shell command that gets the original on standard input and writes the repaired one");
  command->add_option("--connectors", options->connector_dirs, "Folder whose sub-folders are connectors (repeatable)")->allow_extra_args(false);
  on(command, [](DlqCommandOptions& o, Opened& opened, Context& c) { return change(o, opened, c, true); }, "replay");

  command = add_command(*group, context, "drop", "Marks letters as not worth it; their bytes stay until retention takes them",
                        "  utp dlq drop 3fa81c\n  utp dlq drop --code json --since 1h");
  command->add_option("ID", options->filter.id, "The id, or its beginning");
  add_filter(*command, *options, true);
  on(command, [](DlqCommandOptions& o, Opened& opened, Context& c) { return change(o, opened, c, false); }, "drop");
}

}  // namespace utp::app
