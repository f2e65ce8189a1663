#include "connectors/replay/replay.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <mutex>

#include <fmt/format.h>
#include <simdjson.h>

#include "connector/capture.h"
#include "connector/manifest.h"
#include "core/embedded_file.h"

namespace utp {
namespace {

class ReplayCollector final : public Collector {
 public:
  ReplayCollector(ReplayCollectorOptions options, std::unique_ptr<CaptureReader> first, const Clock* clock)
      : options_(std::move(options)), reader_(std::move(first)), clock_(clock) {}

  Status run(FrameSink& sink) override {
    do {
      if (!reader_) {
        UTP_TRY(reader_, open_capture(options_.path));
      }
      UTP_TRY(const std::uint64_t frames, run_once(sink));
      reader_.reset();
      if (frames == 0) break;  // an empty capture would spin
    } while (options_.loop && !stopping_);
    return {};
  }

  void stop() override {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    wake_.notify_all();
  }

  void carry_out(Command) override {}  // the answers are in the file
  bool can_wait() const override { return true; }  // a file; at pace it falls behind

 private:
  Result<std::uint64_t> run_once(FrameSink& sink) {
    std::uint64_t frames = 0;
    std::int64_t last_ns = 0, due_ns = 0;
    Frame frame;
    while (!stopping_.load(std::memory_order_relaxed)) {
      UTP_TRY(const bool more, reader_->next(frame));
      if (!more) break;
      if (!options_.flat) {
        // Times of a recording may step back: such a frame is due at once.
        if (frames == 0) due_ns = clock_->monotonic_ns();
        else if (frame.receive_time.ns > last_ns) due_ns += scaled(frame.receive_time.ns - last_ns);
        last_ns = frames == 0 ? frame.receive_time.ns : std::max(last_ns, frame.receive_time.ns);
        if (!wait_until(due_ns)) break;
      }
      if (!sink.push(frame)) {
        stopping_ = true;
        break;
      }
      ++frames;
    }
    return frames;
  }

  std::int64_t scaled(std::int64_t ns) const {
    return static_cast<std::int64_t>(std::min(static_cast<double>(ns) / options_.speed, 9e17));
  }

  bool wait_until(std::int64_t due_ns) {
    constexpr std::int64_t kWaitMaxNs = 3'600'000'000'000;  // what a condition variable surely takes
    for (;;) {
      const std::int64_t left_ns = due_ns - clock_->monotonic_ns();
      if (left_ns <= 0) return true;
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, std::chrono::nanoseconds(std::min(left_ns, kWaitMaxNs)), [this] { return stopping_.load(); })) return false;
    }
  }

  const ReplayCollectorOptions options_;
  std::unique_ptr<CaptureReader> reader_;
  const Clock* clock_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stopping_ = false;
};

struct Settings {
  ReplayCollectorOptions options;
  std::string connector;  // "" = the one that the file names
  std::string mapper = "{}";
};

tl::unexpected<Error> refuse(std::string_view key, std::string_view expected) {
  return fail(Code::kInvalidArgument, fmt::format("replay settings: \"{}\": expected {}", key, expected));
}

Result<Settings> read_settings(std::string_view json) {
  Settings settings;
  simdjson::dom::parser parser;
  simdjson::dom::object object;
  if (json.empty()) json = "{}";
  if (const auto error = parser.parse(json.data(), json.size()).get_object().get(object)) {
    return fail(Code::kInvalidArgument, fmt::format("replay settings: an object was expected: {}", simdjson::error_message(error)));
  }
  for (const auto field : object) {
    std::string_view text;
    if (field.key == "path") {
      if (field.value.get_string().get(text) || text.empty()) return refuse("path", "a capture file");
      settings.options.path = text;
    } else if (field.key == "connector") {
      if (field.value.get_string().get(text)) return refuse("connector", "the id of the connector that recorded the file");
      settings.connector = text;
    } else if (field.key == "pace") {
      if (field.value.get_string().get(text) || (text != "original" && text != "flat")) return refuse("pace", "original or flat");
      settings.options.flat = text == "flat";
    } else if (field.key == "speed") {
      if (field.value.get_double().get(settings.options.speed) || settings.options.speed < 0.001 || settings.options.speed > 1e6) {
        return refuse("speed", "a number from 0.001 to 1000000");
      }
    } else if (field.key == "loop") {
      if (field.value.get_bool().get(settings.options.loop)) return refuse("loop", "true or false");
    } else if (field.key == "mapper") {
      if (!field.value.is_object()) return refuse("mapper", "an object: settings of the recorded connector's mapper");
      settings.mapper = simdjson::minify(field.value);
    } else {
      return refuse(field.key, "one of path, connector, pace, speed, loop, mapper");
    }
  }
  if (settings.options.path.empty()) {
    return fail(Code::kInvalidArgument, "replay settings: \"path\" is missing: the capture file to replay, such as {path: btc.utpcap}");
  }
  return settings;
}

// Symbol names and settings are those of the recorded connector, as its manifest has them.
Status take_over_manifest(const std::string& id, const Settings& settings, MapperContext& context) {
  for (const EmbeddedFile& file : embedded::manifests()) {
    if (file.path != fmt::format("connectors/{}/{}", id, kManifestFile)) continue;
    UTP_TRY(const Registry registry, Registry::builtin());
    UTP_TRY(const Manifest manifest, parse_manifest(file.content, std::string(file.path), registry));
    context.symbols = manifest.symbol_map();
    UTP_TRY(context.settings_json, merge_json(manifest.settings_json, settings.mapper));
    return {};
  }
  context.settings_json = settings.mapper;
  return {};
}

Result<std::unique_ptr<Mapper>> make_mapper(const ConnectorFinder& find, MapperContext context) {
  UTP_TRY(const Settings settings, read_settings(context.settings_json));
  std::string id = settings.connector;
  if (id.empty()) {
    UTP_TRY(const auto reader, open_capture(settings.options.path));
    id = reader->connector();
  }
  if (id.empty()) {
    return fail(Code::kInvalidArgument, fmt::format("{}: does not say which connector recorded it; name it with the setting \"connector\"",
                                                    settings.options.path));
  }
  const BuiltinConnector* const connector = find ? find(id) : nullptr;
  if (connector == nullptr || id == "replay") {
    return fail(Code::kNotFound, fmt::format("{}: was recorded by \"{}\", and no such connector is built in; name another with the setting "
                                             "\"connector\"", settings.options.path, id));
  }
  UTP_CHECK(take_over_manifest(id, settings, context));
  return connector->mapper(std::move(context));
}

}  // namespace

CollectorFactory replay_collector(ReplayCollectorOptions options) {
  return [options](CollectorContext context) -> Result<std::unique_ptr<Collector>> {
    if (!options.flat && context.clock == nullptr) return fail(Code::kInternal, "replay: the original pace needs a clock");
    UTP_TRY(auto reader, open_capture(options.path));
    return std::make_unique<ReplayCollector>(options, std::move(reader), context.clock);
  };
}

BuiltinConnector replay_connector(ConnectorFinder find) {
  return {"replay",
          [](CollectorContext context) -> Result<std::unique_ptr<Collector>> {
            UTP_TRY(const Settings settings, read_settings(context.settings_json));
            return replay_collector(settings.options)(std::move(context));
          },
          [find = std::move(find)](MapperContext context) { return make_mapper(find, std::move(context)); }};
}

}  // namespace utp
