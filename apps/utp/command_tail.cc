#include <unistd.h>

#include <algorithm>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "model/envelope.h"
#include "schema/json.h"

namespace utp::app {
namespace {

constexpr std::size_t kBatchMessages = 512;
constexpr std::size_t kBatchBytes = 4u << 20;
constexpr std::int64_t kPollNs = 200'000'000;

struct TailOptions {
  PlaceOptions place;
  std::string pattern, from;
  std::vector<std::string> symbols;
  std::uint64_t limit = 0;
  bool payload = false;
};

// "quotes/v2" stands for its topics in every realm and region.
std::string topic_pattern(const std::string& pattern) {
  if (pattern.find('/') == std::string::npos) return pattern;
  std::string dots = pattern;
  std::replace(dots.begin(), dots.end(), '/', '.');
  return "utp.*.*." + dots;
}

// `from` was checked.
Start start_of(const std::string& from) {
  Start start;
  start.kind = Start::Kind::kLatest;
  if (from.empty() || from == "latest") return start;
  if (from == "earliest") {
    start.kind = Start::Kind::kEarliest;
    return start;
  }
  start.kind = Start::Kind::kTime;
  const auto time = Timestamp::parse_lenient(from);
  start.time = time ? *time : SystemClock().now() - *parse_duration(from);
  return start;
}

class Printer {
 public:
  Printer(bool json, bool payload, bool color) : json_(json), payload_(payload), color_(color) {}

  std::string line(const InMessage& message) {
    if (json_ && !payload_) return std::string(message.value) + "\n";
    std::string error;
    if (!tree_.parse(message.value, error)) return fmt::format("{} {} bytes that are no envelope: {}\n", message.topic, message.value.size(), error);
    std::string payload;
    if (const JsonValue* p = tree_.member(tree_.root(), "payload")) tree_.write(*p, payload);
    if (payload_) return payload + "\n";
    return fmt::format("{} {} {} {}\n", styled(text("event_time"), Style::kDim, color_), styled(text("event_type"), Style::kCyan, color_),
                       styled(message.key.empty() ? std::string_view("-") : message.key, Style::kBold, color_), payload);
  }

 private:
  std::string_view text(std::string_view key) {
    const JsonValue* v = tree_.member(tree_.root(), key);
    return v ? v->text : std::string_view("-");
  }
  bool json_, payload_, color_;
  JsonTree tree_;
};

Status follow(const TailOptions& options, const Place& place, Context& context) {
  const SystemClock clock;
  SubscriptionOptions wanted;
  wanted.patterns = {topic_pattern(options.pattern)};
  if (auto good = check_topic_pattern(wanted.patterns.front()); !good) {
    return fail(Code::kInvalidArgument, fmt::format("{}; write an event type (quotes/v2) or a topic pattern (utp.prod.*.quotes.v2)", good.error().message));
  }
  wanted.start = start_of(options.from);
  UTP_TRY(auto bus, open_bus(place.bus, clock, false));
  UTP_TRY(auto subscription, bus->subscribe(wanted));
  UTP_TRY(const auto topics, bus->stats(wanted.patterns.front()));
  if (topics.empty()) print_note(fmt::format("no topic matches {} yet; waiting for one. What there is: utp topics", wanted.patterns.front()));
  UTP_TRY(Output out, Output::open(""));
  Printer printer(context.common.json, options.payload, colored(STDOUT_FILENO));
  std::uint64_t printed = 0;
  while (!context.stop->pending()) {
    UTP_TRY(const auto messages, subscription->poll(kBatchMessages, kBatchBytes, kPollNs));
    for (const InMessage& message : messages) {
      if (!options.symbols.empty() && std::find(options.symbols.begin(), options.symbols.end(), message.key) == options.symbols.end()) continue;
      UTP_CHECK(out.write(printer.line(message)));
      if (options.limit > 0 && ++printed >= options.limit) return out.close();
    }
    UTP_CHECK(out.flush());
    for (const LostRange& lost : subscription->take_lost()) {
      print_note(fmt::format("{}: retention took {} messages before they were shown", lost.topic, human_count(lost.count)));
    }
  }
  return out.close();
}

}  // namespace

void add_tail(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "tail", "Events as they pass on the bus",
                                  "  utp tail quotes/v2 --symbol BTC-USD\n"
                                  "  utp tail 'utp.prod.*.signals.>' --from 10m\n"
                                  "  utp tail trades/v2 --from earliest --limit 5 --json\n"
                                  "  utp tail 'utp.>.dlq' --from earliest --payload");
  auto options = std::make_shared<TailOptions>();
  command->add_option("PATTERN", options->pattern, "An event type, or a topic with * (one segment) and > (the rest)")->required();
  command->add_option("--from", options->from, "earliest, latest (default), a time, or a duration back such as 10m")
      ->check([](const std::string& text) {
        if (text == "earliest" || text == "latest" || check_time_or_duration(text).empty()) return std::string();
        return fmt::format("\"{}\" is neither earliest, latest, a time (2026-11-22T14:30:00Z) nor a duration back (10m)", text);
      });
  command->add_option("--symbol", options->symbols, "Only this symbol (repeatable)")->allow_extra_args(false);
  command->add_option("--limit", options->limit, "Ends after so many events")->check(CLI::PositiveNumber);
  command->add_flag("--payload", options->payload, "The payload only, a line of JSON each");
  add_place_options(*command, options->place, kUsesBus);
  command->callback([&context, options] {
    context.action = [&context, options] {
      const auto place = locate(options->place, kUsesBus);
      if (!place) return report_configuration(place.error());
      const Status done = follow(*options, *place, context);
      if (!done && done.error().code != Code::kCancelled) return report(done.error());
      return static_cast<int>(kOk);
    };
  });
}

}  // namespace utp::app
