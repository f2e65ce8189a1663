#include <cstdio>
#include <thread>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/chamber.h"
#include "apps/utp/connector_options.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "connector/capture.h"
#include "connector/frame_queue.h"
#include "connector/open_counter.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

constexpr std::size_t kQueueBytes = 32u << 20;
constexpr std::uint64_t kSizeMin = 4096;  // less holds no frame beside the file's own bytes
constexpr std::int64_t kPopNs = 100'000'000;

struct CaptureCommandOptions {
  ConnectorOptions connector;
  std::string output, size;
  double seconds = 0;
  int level = 3;
};

// The mapper only speaks here: what it asks for (a resubscription, a snapshot) belongs into the capture.
class CommandsOnly final : public MapperOutput {
 public:
  explicit CommandsOnly(Collector& collector) : collector_(collector) {}
  void on_frame(const Frame& frame) { opens_.on_frame(frame); }  // before the mapper sees it
  bool emit(std::uint32_t, const EventHeader&, const Row&) override { return true; }
  void command(Command command) override {
    command.opens = opens_.of(command.connection);
    collector_.carry_out(std::move(command));
  }
  void reject(std::string_view, std::string_view, std::string_view) override {}
  void reject_event(std::uint32_t, std::string_view, std::string_view, std::string_view) override {}
  void gap(std::string_view, std::string_view, std::string_view, std::uint64_t) override {}
  void alive(std::uint32_t, std::string_view, std::string_view) override {}

 private:
  Collector& collector_;
  OpenCounter opens_;
};

struct Captured {
  std::uint64_t frames = 0, frame_bytes = 0, file_bytes = 0;  // of what is in the file
  std::int64_t elapsed_ns = 0;
  Status ended;  // of the collector
};

Result<Captured> record(const CaptureCommandOptions& options, Context& context) {
  const SystemClock clock;
  UTP_TRY(const Registry registry, load_registry(options.connector.schemas));
  UTP_TRY(PreparedConnector prepared, prepare_connector(options.connector, registry, true));
  SymbolMap symbols = prepared.options.manifest.symbol_map();
  UTP_TRY(auto mapper, make_mapper(prepared.options, prepared.builtin));
  UTP_TRY(auto collector, make_collector(prepared.options, prepared.builtin, symbols, clock));
  if (!collector) return fail(Code::kUnsupported, fmt::format("the connector {} has no collector: it maps captures only", prepared.options.manifest.id));
  CaptureOptions capture;
  capture.connector = prepared.options.manifest.id;
  capture.zstd_level = options.level;
  if (!options.size.empty()) {
    const auto bytes = parse_size(options.size);
    if (!bytes) return fail(Code::kInvalidArgument, fmt::format("--max-size: \"{}\" is no size; write 100MiB or a number of bytes", options.size));
    if (*bytes < kSizeMin) {
      return fail(Code::kInvalidArgument, fmt::format("--max-size {} is too small to hold a frame; give 4KiB or more", options.size));
    }
    capture.bytes_max = *bytes;
  }
  UTP_TRY(auto writer, create_capture(options.output, capture));

  FrameQueue queue(kQueueBytes);
  CommandsOnly commands(*collector);
  Captured result;
  const std::int64_t started = clock.monotonic_ns();
  std::thread thread([&] {
    result.ended = collector->run(queue);
    queue.close();
  });
  Progress progress("capture", !context.common.json);
  Status written;
  std::size_t first_lost = 0;  // size of the first frame that was not written
  bool stopping = false;
  for (;;) {
    const auto frames = queue.pop(1024, kPopNs);
    if (frames.empty() && queue.closed()) break;
    for (const Frame& frame : frames) {
      if (written) written = writer->write(frame);
      if (written) {
        ++result.frames;
        result.frame_bytes += frame.bytes.size();
      } else if (first_lost == 0) {
        first_lost = frame.bytes.size();
      }
      commands.on_frame(frame);
      mapper->on_frame(frame, commands);
    }
    queue.done(frames.size());
    result.elapsed_ns = clock.monotonic_ns() - started;
    progress.update(options.seconds > 0 ? static_cast<std::uint64_t>(result.elapsed_ns) : 0, static_cast<std::uint64_t>(options.seconds * 1e9),
                    fmt::format("{} frames, {}", human_count(result.frames), human_bytes(writer->bytes())));
    const bool over = options.seconds > 0 && static_cast<double>(result.elapsed_ns) >= options.seconds * 1e9;
    if (!stopping && (!written || over || context.stop->pending())) {
      stopping = true;
      collector->stop();
    }
  }
  thread.join();
  const Status closed = writer->close();
  result.file_bytes = writer->bytes();
  if (!written && written.error().code != Code::kFull) return fail(written.error());
  if (!written && capture.bytes_max == 0) return fail(written.error());
  if (!closed) return fail(closed.error());
  if (!written && result.frames == 0) {
    (void)std::remove(options.output.c_str());  // nothing but a header, made above
    return fail(Code::kInvalidArgument,
                fmt::format("--max-size {} is too small: the first frame has {} bytes; give more", options.size, first_lost));
  }
  return result;
}

int capture_command(const CaptureCommandOptions& options, Context& context) {
  const auto result = record(options, context);
  if (!result) {
    const bool configuration = result.error().code == Code::kNotFound || result.error().code == Code::kInvalidArgument;
    return configuration ? report_configuration(result.error()) : report(result.error());
  }
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("file", options.output).field("frames", result->frames).field("frame_bytes", result->frame_bytes);
    json.field("file_bytes", result->file_bytes).field("seconds", static_cast<double>(result->elapsed_ns / 1'000'000) / 1e3).end_object();
    fmt::print("{}\n", out);
  } else {
    print_note(fmt::format("{} frames ({}) in {}, {} on disk", human_count(result->frames), human_bytes(result->frame_bytes), options.output,
                           human_bytes(result->file_bytes)));
  }
  return result->ended || context.stop->pending() ? static_cast<int>(kOk) : report(result->ended.error());
}

}  // namespace

void add_capture(CLI::App& app, Context& context) {
  CLI::App* command = add_command(app, context, "capture", "Raw frames of a connector, with their receive times, into a file",
                                  "  utp capture coinbase -o btc.utpcap --symbol BTC-USD --seconds 60\n"
                                  "  utp capture sim -o sim.utpcap --seed 7 --seconds 5\n  utp replay coinbase btc.utpcap --store sqlite:btc.db");
  auto options = std::make_shared<CaptureCommandOptions>();
  add_connector_argument(*command, options->connector);
  command->add_option("-o,--output", options->output, "The capture file")->required();
  command->add_option("--seconds", options->seconds, "Ends after so many seconds (default: Ctrl-C)")->check(above_zero("60"));
  command->add_option("--max-size", options->size, "Ends when the file is so large, such as 100MiB");
  command->add_option("--level", options->level, "zstd level, 0 = not compressed (default 3)")->check(CLI::Range(0, 19));
  add_collector_options(*command, options->connector);
  command->callback([&context, options] { context.action = [&context, options] { return capture_command(*options, context); }; });
}

}  // namespace utp::app
