#include "connectors/sim/sim_mapper.h"

#include <atomic>
#include <fstream>
#include <sstream>
#include <thread>

#include <gtest/gtest.h>

#include "connector/manifest.h"
#include "connector/testing/recorded_output.h"
#include "connectors/sim/sim.h"
#include "connectors/sim/sim_generator.h"
#include "core/random.h"

namespace utp::sim {
namespace {

class SimMapping : public testing::Test {
 protected:
  SimMapping() : registry_(*Registry::builtin()), output_(plans()) { start(); }

  std::vector<std::shared_ptr<const Plan>> plans() const {
    std::vector<std::shared_ptr<const Plan>> list;
    for (const char* const type : {"quotes/v2", "trades/v2", "orderbook/v1", "options/v1", "news/v1", "calendar/v1"}) {
      list.push_back(registry_.by_event_type(type));
    }
    return list;
  }
  void start() {
    MapperContext context;
    context.plans = plans();
    auto mapper = make_sim_mapper(std::move(context));
    EXPECT_TRUE(mapper) << mapper.error().message;
    mapper_ = std::move(*mapper);
  }
  void give(std::string_view bytes, FrameKind kind = FrameKind::kWs) { mapper_->on_frame({0, kind, {1}, "", bytes}, output_); }
  // All of a generator's frames; commands go back to it when asked for.
  void run(const Settings& settings, std::uint64_t seed, bool answer = false) {
    auto generator = Generator::make(settings, seed, {});
    Frame frame;
    while (generator->next(frame)) {
      const std::size_t before = output_.lines.size();
      mapper_->on_frame(frame, output_);
      for (std::size_t i = before; answer && i < output_.lines.size(); ++i) {
        const auto at = output_.lines[i].find("\\\"sym\\\":\\\"");
        if (!output_.lines[i].starts_with("{\"command\"") || at == std::string::npos) continue;
        const auto end = output_.lines[i].find('\\', at + 10);
        generator->carry_out({Command::Kind::kSend, 0, "", "{\"op\":\"snapshot\",\"sym\":\"" + output_.lines[i].substr(at + 10, end - at - 10) + "\"}"});
      }
    }
  }
  std::uint64_t events(const std::string& type) const {
    std::uint64_t sum = 0;
    for (const auto& [name, count] : output_.events) sum += name.starts_with(type + " ") ? count : 0;
    return sum;
  }
  std::uint64_t rejected() const {
    std::uint64_t sum = 0;
    for (const auto& [code, count] : output_.rejects) sum += count;
    return sum;
  }
  static Settings flat(std::uint64_t frames) {
    Settings settings;
    settings.flat = true;
    settings.frames = frames;
    return settings;
  }

  Registry registry_;
  RecordedOutput output_;
  std::unique_ptr<Mapper> mapper_;
};

constexpr std::string_view kSnapshot =
    R"({"n":0,"ch":"book","ts":1000000000,"sym":"AAPL","kind":"snapshot","rev":0,"price_digits":2,"size_digits":0,"bids":[[10.01,5]],"asks":[[10.03,6]],"hash":")";

std::string snapshot_with_hash(std::uint64_t offset = 0) {
  char hash[16];
  write_hex64(hash, book_hash({{1001, 5}}, {{1003, 6}}) + offset);
  return std::string(kSnapshot) + std::string(hash, 16) + "\"}";
}

TEST_F(SimMapping, MapsEveryChannelToItsCanonicalEvent) {
  give(R"({"n":0,"ch":"quote","ts":1700000000123456789,"sym":"AAPL","bid":187.10,"bid_size":300,"ask":187.12,"ask_size":200})");
  give(R"({"n":1,"ch":"quote","ts":1700000000123456789,"sym":"SPX","bid":6600.00,"ask":6601.32})");
  give(R"({"n":2,"ch":"trade","ts":1700000000123456789,"sym":"BTC-USD","id":17,"price":86000.50,"size":0.250000,"side":"sell"})");
  give(R"({"n":3,"ch":"news","ts":1700000000000000000,"headline":"caf\u00e9 \"x\"","source":"Sim Newswire","tickers":["AAPL","SPX"],"sentiment":-0.31,"url":"https://news.example/3"})");
  give(R"({"n":4,"ch":"calendar","ts":1700000000000000000,"at":1700000060000000000,"event":"CPI m/m","country":"US","forecast":"0.2%","previous":"0.3%","unit":"%","importance":"high"})");
  give(R"({"n":5,"ch":"option","ts":1700000000000000000,"sym":"SPX-20261218-6600-C","und":"SPX","exp":"2026-12-18","k":6600,"right":"C","mult":100,"bid":1.05,"ask":1.15,"oi":500,"iv":0.151,"delta":0.5,"gamma":0.0012,"spot":6600.66})");
  ASSERT_EQ(output_.lines.size(), 6u);
  EXPECT_EQ(output_.lines[0],
            R"({"event_type":"quotes/v2","symbol":"AAPL","event_time":"2023-11-14T22:13:20.123456789Z","event_time_source":"venue","payload":)"
            R"({"bid":187.1,"ask":187.12,"mid":187.11,"bid_size":300,"ask_size":200,"venue":"sim","tick_type":"quote"}})");
  EXPECT_NE(output_.lines[1].find(R"("payload":{"bid":6600,"ask":6601.32,"mid":6600.66,"venue":"sim","tick_type":"index"})"), std::string::npos);
  EXPECT_NE(output_.lines[2].find(R"("sequence":17,"payload":{"price":86000.5,"size":0.25,"side":"sell","trade_id":"17","venue":"sim"})"), std::string::npos);
  EXPECT_NE(output_.lines[3].find(R"("symbol":"","event_time":"2023-11-14T22:13:20)"), std::string::npos);
  EXPECT_NE(output_.lines[3].find(R"("tickers":["AAPL","SPX"],"sentiment":-0.31)"), std::string::npos) << output_.lines[3];
  EXPECT_NE(output_.lines[4].find(R"("event_time":"2023-11-14T22:14:20)"), std::string::npos) << output_.lines[4];
  EXPECT_NE(output_.lines[5].find(R"("open_interest":500,"iv":0.151)"), std::string::npos) << output_.lines[5];
}

TEST_F(SimMapping, EmitsNothingForHousekeeping) {
  give("sim:market", FrameKind::kOpen);
  give("{\"op\":\"subscribe\"}", FrameKind::kSent);
  give(R"({"n":0,"ch":"hello","protocol":1})");
  give(R"({"n":1,"ch":"subscribed","channel":"trades","sym":"AAPL","available":true})");
  give(R"({"n":2,"ch":"heartbeat","ts":5})");
  give("bye", FrameKind::kClose);
  EXPECT_TRUE(output_.lines.empty());
}

TEST_F(SimMapping, ConfirmsAStreamThatDoesNotExistOnce) {
  give(R"({"n":1,"ch":"subscribed","channel":"trades","sym":"SPX","available":false})");
  EXPECT_EQ((output_.alive_calls[{"trades", "SPX"}]), 1u);
}

TEST_F(SimMapping, AcceptsEverythingThatTheGeneratorWrites) {
  run(flat(50'000), 21);
  EXPECT_EQ(rejected(), 0u) << output_.lines.back();
  EXPECT_EQ(output_.gaps, 0u);
  EXPECT_EQ(output_.commands, 0u);
  EXPECT_GT(events("quotes/v2"), 10'000u);
  EXPECT_GT(events("trades/v2"), 5'000u);
  EXPECT_GT(events("orderbook/v1"), 5'000u);
  EXPECT_GT(events("options/v1"), 5'000u);
  EXPECT_GT(events("news/v1"), 10u);
  EXPECT_GT(events("calendar/v1"), 5u);
  EXPECT_EQ((output_.alive_calls[{"options", ""}]), events("options/v1"));
}

TEST_F(SimMapping, ReportsAGapOfTheConnectionOnce) {
  give(R"({"n":4,"ch":"heartbeat","ts":5})");
  give(R"({"n":9,"ch":"heartbeat","ts":5})");
  give(R"({"n":10,"ch":"heartbeat","ts":5})");
  EXPECT_EQ(output_.gaps, 1u);
  EXPECT_NE(output_.lines.at(0).find("n jumped from 4 to 9"), std::string::npos) << output_.lines[0];
  EXPECT_NE(output_.lines[0].find("\"missed\":4"), std::string::npos) << output_.lines[0];
}

TEST_F(SimMapping, TakesALateMessageAndDropsADuplicate) {
  const auto trade = [](int n) {
    return "{\"n\":" + std::to_string(n) + ",\"ch\":\"trade\",\"ts\":5,\"sym\":\"AAPL\",\"id\":" + std::to_string(n + 1) + ",\"price\":1,\"size\":1,\"side\":\"buy\"}";
  };
  for (const int n : {0, 2, 1, 1, 2, 3, 0}) give(trade(n));
  EXPECT_EQ(events("trades/v2"), 4u);
}

TEST_F(SimMapping, DoesNotCallItMissingWhatCouldNotBeRead) {
  give(R"({"n":1,"ch":"heartbeat","ts":5})");
  give(R"({"n":2,"ch":"hea)");
  give(R"({"n":3,"ch":"heartbeat","ts":5})");
  EXPECT_EQ(rejected(), 1u);
  EXPECT_EQ(output_.gaps, 0u);
}

TEST_F(SimMapping, StartsAnewOnANewConnection) {
  give(R"({"n":7,"ch":"heartbeat","ts":5})");
  give("", FrameKind::kClose);
  give("", FrameKind::kOpen);
  give(R"({"n":0,"ch":"heartbeat","ts":5})");
  EXPECT_EQ(output_.gaps, 0u);
  EXPECT_EQ(rejected(), 0u);
}

TEST_F(SimMapping, RefusesABookWhoseHashDoesNotFitAndAsksForASnapshotOnce) {
  give(snapshot_with_hash(1));
  give(R"({"n":1,"ch":"book","ts":1000000000,"sym":"AAPL","kind":"update","rev":1,"bids":[[10.01,7]],"asks":[],"hash":"0000000000000000"})");
  EXPECT_EQ(events("orderbook/v1"), 0u);
  EXPECT_EQ(output_.gaps, 1u);
  EXPECT_EQ(output_.commands, 1u);
  EXPECT_NE(output_.lines.back().find(R"({\"op\":\"snapshot\",\"sym\":\"AAPL\"})"), std::string::npos) << output_.lines.back();
  auto again = snapshot_with_hash();
  again.replace(5, 1, "2");
  give(again);
  EXPECT_EQ(events("orderbook/v1"), 1u);
  EXPECT_NE(output_.lines.back().find("\"quality\":[\"snapshot\"]"), std::string::npos) << output_.lines.back();
}

TEST_F(SimMapping, AsksAgainWhenTheSnapshotDoesNotCome) {
  for (int n = 0; n < 200; ++n) {
    give("{\"n\":" + std::to_string(n) + ",\"ch\":\"book\",\"ts\":5,\"sym\":\"AAPL\",\"kind\":\"update\",\"rev\":" + std::to_string(n + 1) +
         R"(,"bids":[],"asks":[],"hash":"0000000000000000"})");
  }
  EXPECT_EQ(output_.gaps, 1u);
  EXPECT_EQ(output_.commands, 4u);
  EXPECT_EQ(events("orderbook/v1"), 0u);
}

TEST_F(SimMapping, CountsTheEventsOfABookFromItsSnapshot) {
  give(snapshot_with_hash());
  char hash[16];
  write_hex64(hash, book_hash({{1002, 1}, {1001, 5}}, {}));
  give(R"({"n":1,"ch":"book","ts":1000000001,"sym":"AAPL","kind":"update","rev":1,"bids":[[10.02,1]],"asks":[[10.03,0]],"hash":")" +
       std::string(hash, 16) + "\"}");
  ASSERT_EQ(events("orderbook/v1"), 2u);
  EXPECT_NE(output_.lines[0].find(R"("kind":"snapshot","book_id":"1000000000.0","book_seq":0,"part":0,"parts":1)"), std::string::npos) << output_.lines[0];
  EXPECT_NE(output_.lines[1].find(R"("kind":"delta","book_id":"1000000000.0","book_seq":1)"), std::string::npos) << output_.lines[1];
  EXPECT_NE(output_.lines[1].find(R"("bids":[[10.02,1]],"asks":[[10.03,0]])"), std::string::npos) << output_.lines[1];
}

TEST_F(SimMapping, RecoversFromEveryFault) {
  constexpr std::uint64_t kSeed = 31;
  SCOPED_TRACE(kSeed);
  Settings settings = flat(60'000);
  for (const Fault fault : {Fault::kGap, Fault::kDuplicate, Fault::kReorder, Fault::kStall, Fault::kMalformed, Fault::kCorrupt}) {
    settings.fault_chance[static_cast<int>(fault)] = 0.001;
  }
  settings.fault_chance[static_cast<int>(Fault::kDisconnect)] = 0.0001;
  run(settings, kSeed, true);
  EXPECT_GT(output_.gaps, 50u);
  EXPECT_GT(output_.commands, 20u);
  EXPECT_GT(rejected(), 20u);
  EXPECT_GT(output_.rejects["channel"], 0u);
  EXPECT_GT(output_.rejects["type"], 0u);
  EXPECT_GT(events("orderbook/v1"), 8'000u) << "books come back after each fault";
  EXPECT_GT(events("trades/v2"), 8'000u);
}

TEST_F(SimMapping, RejectsWhatIsMissingOrWrongWithItsPath) {
  for (const auto& [frame, path] : std::vector<std::pair<std::string, std::string>>{
           {R"({"ch":"trade"})", "/n"},
           {R"({"n":1})", "/ch"},
           {R"({"n":1,"ch":"warp"})", "/ch"},
           {R"({"n":1,"ch":"quote","ts":1})", "/sym"},
           {R"({"n":1,"ch":"trade","ts":1,"sym":"A","id":1,"price":"1","size":1})", "/price"},
           {R"({"n":1,"ch":"trade","ts":1,"sym":"A","id":1,"size":1})", "/price"},
           {R"({"n":1,"ch":"trade","ts":"now","sym":"A"})", "/ts"},
           {R"({"n":-1,"ch":"heartbeat"})", "/n"},
           {R"({"n":1,"ch":"book","ts":1,"sym":"A","rev":1,"bids":[[1,2],[1]],"asks":[],"hash":"0000000000000000"})", "/bids/1"},
           {R"({"n":1,"ch":"book","ts":1,"sym":"A","rev":1,"bids":[],"asks":[],"hash":"zz"})", "/hash"},
           {R"({"n":1,"ch":"option","ts":1,"sym":"A","und":"S","exp":"2026-01-01","k":5,"right":"X"})", "/right"},
           {R"({"n":1,"ch":"trade","ts":1,"sym":"A","id":1,"price":99999999999999999999999,"size":1})", "/price"}}) {
    start();
    output_.lines.clear();
    const auto before = rejected();
    give(frame);
    EXPECT_EQ(rejected(), before + 1) << frame;
    ASSERT_FALSE(output_.lines.empty());
    EXPECT_NE(output_.lines[0].find("\"" + path + "\""), std::string::npos) << output_.lines[0] << frame;
  }
  EXPECT_EQ(events("trades/v2"), 0u);
}

TEST_F(SimMapping, SurvivesDamagedFrames) {
  constexpr std::uint64_t kSeed = 41;
  SCOPED_TRACE(kSeed);
  Random random(kSeed);
  output_.keep_lines = false;
  auto generator = Generator::make(flat(20'000), 1, {});
  Frame frame;
  while (generator->next(frame)) {
    std::string bytes(frame.bytes);
    switch (random.below(3)) {
      case 0: bytes.resize(random.below(bytes.size() + 1)); break;
      case 1: bytes[random.below(bytes.size())] = static_cast<char>(random.below(256)); break;
      default: break;
    }
    frame.bytes = bytes;
    mapper_->on_frame(frame, output_);
  }
  EXPECT_GT(rejected(), 4'000u);
}

TEST_F(SimMapping, HasAManifestThatNamesWhatItEmits) {
  const auto manifest = load_manifest(std::string(UTP_SOURCE_DIR) + "/connectors/sim", registry_);
  ASSERT_TRUE(manifest) << manifest.error().message;
  EXPECT_EQ(manifest->id, "sim");
  EXPECT_EQ(manifest->event_types.size(), 6u);
  ASSERT_TRUE(Settings::parse(manifest->settings_json));
  const auto wanted = manifest->wanted({}, {});
  ASSERT_TRUE(wanted);
  EXPECT_EQ(wanted->size(), 3u * 6 + 4);
  EXPECT_TRUE(Generator::make({}, 1, *wanted));
}

struct CountingSink final : FrameSink {
  std::atomic<std::uint64_t> frames = 0;
  std::uint64_t limit = UINT64_MAX;
  bool push(const Frame&) override { return ++frames < limit; }
};

Result<std::unique_ptr<Collector>> collector(const std::string& settings, const Clock& clock) {
  CollectorContext context;
  context.settings_json = settings;
  context.clock = &clock;
  return sim_connector().collector(std::move(context));
}

TEST(SimCollector, EndsAfterTheFramesAskedFor) {
  SystemClock clock;
  auto made = collector(R"({"pace":"flat","seed":1,"frames":3000})", clock);
  ASSERT_TRUE(made) << made.error().message;
  CountingSink sink;
  EXPECT_TRUE((*made)->run(sink));
  EXPECT_EQ(sink.frames, 3002u);  // with open and subscribe
}

TEST(SimCollector, EndsWhenTheSinkDoes) {
  SystemClock clock;
  auto made = collector(R"({"pace":"flat"})", clock);
  CountingSink sink;
  sink.limit = 100;
  EXPECT_TRUE((*made)->run(sink));
  EXPECT_EQ(sink.frames, 100u);
}

TEST(SimCollector, StopsInTheMiddleOfAWait) {
  SystemClock clock;
  auto made = collector(R"({"rates":{"quotes":0.001,"trades":0,"books":0,"options":0,"news":0,"calendar":0,"heartbeat":0}})", clock);
  ASSERT_TRUE(made) << made.error().message;
  CountingSink sink;
  Status status;
  std::thread thread([&] { status = (*made)->run(sink); });
  while (sink.frames < 10) std::this_thread::yield();  // the opening comes at once; then a wait of minutes
  (*made)->stop();
  thread.join();
  EXPECT_TRUE(status);
}

TEST(SimCollector, RefusesBadSettings) {
  SystemClock clock;
  EXPECT_FALSE(collector(R"({"pace":"warp"})", clock));
}

}  // namespace
}  // namespace utp::sim
