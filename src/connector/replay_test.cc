#include "connector/replay.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>

#include <gtest/gtest.h>

#include "bus/testing/memory_bus.h"

namespace utp {
namespace {

using testing::MemoryBus;

// "SYMBOL BID"
class QuoteMapper final : public Mapper {
 public:
  explicit QuoteMapper(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}
  void on_frame(const Frame& frame, MapperOutput& output) override {
    if (frame.kind != FrameKind::kWs) return;
    EventHeader header;
    header.symbol = frame.bytes.substr(0, frame.bytes.find(' '));
    header.event_time = frame.receive_time;
    row_.reset(*plan_);
    row_.set(*plan_->column("bid"), *Decimal::parse(frame.bytes.substr(header.symbol.size() + 1)));
    output.emit(0, header, row_);
    output.alive(frame.connection, "ticker", header.symbol);
  }

 private:
  std::shared_ptr<const Plan> plan_;
  Row row_;
};

TEST(Replay, SaysWhatAnOutageOfTheRecordingCostAndTheSameEachTime) {
  char folder[] = "/tmp/utp-replay-XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string path = std::string(folder) + "/capture.jsonl";
  std::ofstream(path) << R"({"t":"connect","conn":"0","ts":1767323000,"addr":"wss://x"})" "\n"
                         R"({"t":"recv","conn":"0","ts":1767323001,"data":"A 1"})" "\n"
                         R"({"t":"recv","conn":"0","ts":1767323002,"data":"B 1"})" "\n"
                         R"({"t":"connect","conn":"0","ts":1767323600,"addr":"wss://x"})" "\n"
                         R"({"t":"recv","conn":"0","ts":1767323601,"data":"A 2"})" "\n";
  const Registry registry = *Registry::builtin();
  const SystemClock clock;
  const auto run = [&] {
    MemoryBus bus;
    const auto publisher = *bus.publisher({});
    PipelineOptions options;
    options.source_id = "test.replay";
    options.realm = "r";
    options.region = "x";
    options.plans = {registry.by_event_type("quotes/v2")};
    StreamWatch watch({}, {}, {{"ticker", {"quotes/v2"}, true, true, 1'000'000'000}});
    auto pipeline = Pipeline::create(options, registry, clock, *publisher, std::make_unique<QuoteMapper>(options.plans[0]), &watch);
    EXPECT_TRUE(pipeline);
    auto capture = open_capture(path);
    EXPECT_TRUE(capture);
    EXPECT_TRUE(replay(**capture, **pipeline, clock, {}));
    // The time of the replay itself is no part of an event's identity.
    std::vector<std::string> events;
    for (const auto& m : bus.messages()) {
      events.push_back(m.topic + " " + std::regex_replace(m.value, std::regex(R"("ingest_time":"[^"]*")"), ""));
    }
    return events;
  };
  const auto events = run();
  ASSERT_EQ(events.size(), 6u) << "three quotes, a gap for each symbol, the reconnect; silence is the recording's";
  const auto gap = std::ranges::find_if(events, [](const auto& e) { return e.starts_with("utp.r.x.system.gap.v1") && e.find("\"B\"") != e.npos; });
  ASSERT_NE(gap, events.end());
  for (const char* part : {"\"stream_type\":\"quotes/v2\"", "\"from_time\":\"2026-01-02T03:03:22.000000000Z\"", "\"to_time\":\"2026-01-02T03:13:20.000000000Z\""}) {
    EXPECT_NE(gap->find(part), std::string::npos) << part << " in " << *gap;
  }
  EXPECT_EQ(run(), events);
  std::filesystem::remove_all(folder);
}

}  // namespace
}  // namespace utp
