#include "connectors/replay/replay.h"

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>

#include "connector/capture.h"
#include "connector/manifest.h"
#include "connector/testing/recorded_output.h"
#include "connectors/sim/sim.h"

namespace utp {
namespace {

namespace fs = std::filesystem;

struct Sink final : FrameSink {
  std::vector<std::string> frames;
  std::atomic<std::size_t> count = 0;
  std::size_t limit = SIZE_MAX;
  bool push(const Frame& frame) override {
    frames.push_back(std::to_string(frame.receive_time.ns) + " " + std::to_string(static_cast<int>(frame.kind)) + " " + std::string(frame.bytes));
    return ++count < limit;
  }
};

// The wall clock stands still; monotonic time moves by what is slept, not at all.
struct FrozenClock final : Clock {
  Timestamp now() const override { return {}; }
  std::int64_t monotonic_ns() const override { return 0; }
};

// A millisecond on with every look.
struct SteppingClock final : Clock {
  mutable std::int64_t ns = 1'800'000'000'000'000'000;
  Timestamp now() const override { return {ns += 1'000'000}; }
  std::int64_t monotonic_ns() const override { return ns; }
};

class ReplayConnector : public testing::Test {
 protected:
  ReplayConnector() : registry_(*Registry::builtin()) {
    std::string name = (fs::temp_directory_path() / "utp_replay_XXXXXX").string();
    folder_ = ::mkdtemp(name.data());
    sim_ = sim_connector();
  }
  ~ReplayConnector() override { fs::remove_all(folder_); }

  // A capture of the sim; gives its frames.
  std::vector<std::string> record(const std::string& path, std::uint64_t frames) {
    CollectorContext context;
    context.settings_json = R"({"pace":"flat","seed":3,"frames":)" + std::to_string(frames) + "}";
    SteppingClock clock;
    context.clock = &clock;
    struct Recorder final : FrameSink {
      CaptureWriter* writer = nullptr;
      Sink kept;
      bool push(const Frame& frame) override { return writer->write(frame).has_value() && kept.push(frame); }
    } recorder;
    auto writer = create_capture(path, {.connector = "sim"});
    EXPECT_TRUE(writer);
    recorder.writer = writer->get();
    EXPECT_TRUE((*sim_.collector(std::move(context)))->run(recorder));
    EXPECT_TRUE((*writer)->close());
    return recorder.kept.frames;
  }
  Result<std::unique_ptr<Collector>> collector(ReplayCollectorOptions options) {
    CollectorContext context;
    context.clock = &clock_;
    return replay_collector(std::move(options))(std::move(context));
  }
  BuiltinConnector connector() {
    return replay_connector([this](std::string_view id) { return id == "sim" ? &sim_ : nullptr; });
  }
  Result<std::unique_ptr<Mapper>> mapper(const std::string& settings) {
    MapperContext context;
    context.plans = registry_.all();
    context.settings_json = settings;
    return connector().mapper(std::move(context));
  }
  std::string path(const std::string& name) const { return folder_ + "/" + name; }

  Registry registry_;
  SystemClock clock_;
  std::string folder_;
  BuiltinConnector sim_;
};

TEST_F(ReplayConnector, PushesEveryFrameOfTheFile) {
  const auto frames = record(path("a"), 2000);
  Sink sink;
  ASSERT_TRUE((*collector({.path = path("a"), .flat = true}))->run(sink));
  EXPECT_EQ(sink.frames, frames);
}

TEST_F(ReplayConnector, KeepsThePaceOfTheRecording) {
  const auto frames = record(path("a"), 700);
  Sink sink;
  const std::int64_t before = clock_.monotonic_ns();
  ASSERT_TRUE((*collector({.path = path("a"), .speed = 100}))->run(sink));
  const std::int64_t took = clock_.monotonic_ns() - before;
  const std::int64_t recorded = std::stoll(frames.back()) - std::stoll(frames.front());
  EXPECT_EQ(sink.frames, frames);
  EXPECT_GE(took, recorded / 100);
}

TEST_F(ReplayConnector, StopsInTheMiddleOfAWait) {
  record(path("a"), 10);
  // Written by hand: two frames a year apart.
  std::ofstream(path("slow")) << "1000: {}\n31537000: {}\n";
  auto made = collector({.path = path("slow")});
  Sink sink;
  Status status;
  std::thread thread([&] { status = (*made)->run(sink); });
  while (sink.count == 0) std::this_thread::yield();
  (*made)->stop();
  thread.join();
  EXPECT_TRUE(status);
  EXPECT_EQ(sink.frames.size(), 1u);
}

TEST_F(ReplayConnector, DoesNotWaitWhereTimesStepBack) {
  std::ofstream(path("back")) << "1000.5: {}\n900: {}\n1000.5: {}\n";
  FrozenClock frozen;
  CollectorContext context;
  context.clock = &frozen;  // any wait would last for ever
  Sink sink;
  ASSERT_TRUE((*replay_collector({.path = path("back")})(std::move(context)))->run(sink));
  EXPECT_EQ(sink.frames.size(), 3u);
}

TEST_F(ReplayConnector, LoopsUntilTheSinkEnds) {
  const auto frames = record(path("a"), 100);
  Sink sink;
  sink.limit = frames.size() * 3;
  ASSERT_TRUE((*collector({.path = path("a"), .flat = true, .loop = true}))->run(sink));
  EXPECT_EQ(sink.frames.size(), frames.size() * 3);
}

TEST_F(ReplayConnector, ReportsDamageAfterTheWholeFramesBeforeIt) {
  std::ofstream(path("bad")) << "1: {}\n2: {}\nnonsense\n3: {}\n";
  Sink sink;
  const Status status = (*collector({.path = path("bad"), .flat = true}))->run(sink);
  EXPECT_EQ(sink.frames.size(), 2u);
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("at byte 12"), std::string::npos) << status.error().message;
}

TEST_F(ReplayConnector, MapsWithTheConnectorThatTheFileNames) {
  record(path("a"), 3000);
  const std::string settings = R"({"path":")" + path("a") + R"(","pace":"flat"})";
  auto made = mapper(settings);
  ASSERT_TRUE(made) << made.error().message;
  RecordedOutput output(registry_.all());
  struct Mapping final : FrameSink {
    Mapper* mapper = nullptr;
    MapperOutput* output = nullptr;
    bool push(const Frame& frame) override {
      mapper->on_frame(frame, *output);
      return true;
    }
  } mapping;
  mapping.mapper = made->get();
  mapping.output = &output;
  CollectorContext context;
  context.settings_json = settings;
  ASSERT_TRUE((*connector().collector(std::move(context)))->run(mapping));
  EXPECT_GT(output.events["trades/v2 AAPL"], 10u);
  EXPECT_TRUE(output.rejects.empty());
}

TEST_F(ReplayConnector, SaysWhatIsWrongWithItsSettings) {
  record(path("a"), 10);
  std::ofstream(path("text")) << "1: {}\n";
  const auto file = [this](const std::string& name) { return R"({"path":")" + path(name) + "\""; };
  for (const auto& [settings, text] : std::vector<std::pair<std::string, std::string>>{
           {"{}", "\"path\" is missing"}, {R"({"path":3})", "path"}, {file("none") + "}", "cannot open"}, {file("a") + R"(,"pace":"fast"})", "pace"},
           {file("a") + R"(,"speed":0})", "speed"}, {file("a") + R"(,"colour":1})", "colour"}, {file("text") + "}", "does not say which connector"},
           {file("text") + R"(,"connector":"nowhere"})", "no such connector is built in"}}) {
    const auto made = mapper(settings);
    ASSERT_FALSE(made) << settings;
    EXPECT_NE(made.error().message.find(text), std::string::npos) << made.error().message;
  }
}

TEST_F(ReplayConnector, HasAManifest) {
  const auto manifest = load_manifest(std::string(UTP_SOURCE_DIR) + "/connectors/replay", registry_);
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_TRUE(manifest->wanted({}, {})->empty());
}

}  // namespace
}  // namespace utp
