#include "connector/testing/test_kit.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "connector/testing/contract_case.h"
#include "connector/testing/skeleton.h"
#include "connector/websocket.h"

namespace utp {
namespace {

class TestKitTest : public ::testing::Test {
 protected:
  TestKitTest() : registry_(*Registry::builtin()) {
    char folder[] = "/tmp/utp-kit-XXXXXX";
    root_ = mkdtemp(folder);
    options_.registry = &registry_;
    options_.clock = &clock_;
  }
  ~TestKitTest() override { std::filesystem::remove_all(root_); }
  std::string path(const std::string& file) const { return root_ + "/feed/" + file; }
  void write(const std::string& file, const std::string& text) const {
    std::filesystem::create_directories(std::filesystem::path(path(file)).parent_path());
    std::ofstream(path(file)) << text;
  }
  std::string read(const std::string& file) const {
    std::ifstream in(path(file));
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void replace(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read(file);
    const std::size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos);
    write(file, text.replace(at, from.size(), to));
  }
  ContractResult result_of(int number) {
    for (const ContractResult& r : run_contract(root_ + "/feed", options_)) {
      if (r.number == number) return r;
    }
    return {number, "", ContractResult::Outcome::kSkipped, "did not run", 0};
  }

  Registry registry_;
  SystemClock clock_;
  ContractOptions options_;
  std::string root_;
};

TEST_F(TestKitTest, TheSkeletonOfAProgramFulfilsTheContract) {
  if (std::system("python3 -c pass >/dev/null 2>&1") != 0) GTEST_SKIP() << "python3 is not there";
  const auto files = write_skeleton(root_, "feed", SkeletonKind::kExec);
  ASSERT_TRUE(files) << files.error().message;
  const auto results = run_contract(root_ + "/feed", options_);
  ASSERT_EQ(results.size(), 10u);
  for (const ContractResult& r : results) EXPECT_NE(r.outcome, ContractResult::Outcome::kFailed) << to_text(r);
  EXPECT_TRUE(passed(results));
  for (const int number : {1, 2, 4, 7, 8, 9}) {
    EXPECT_EQ(results[static_cast<std::size_t>(number) - 1].outcome, ContractResult::Outcome::kPassed) << to_text(results[static_cast<std::size_t>(number) - 1]);
  }
}

TEST_F(TestKitTest, TheExampleOfAProgramFulfilsTheContract) {
  if (std::system("python3 -c pass >/dev/null 2>&1") != 0) GTEST_SKIP() << "python3 is not there";
  const auto results = run_contract(UTP_SOURCE_DIR "/examples/exec_connector", options_);
  ASSERT_EQ(results.size(), 10u);
  for (const ContractResult& r : results) EXPECT_NE(r.outcome, ContractResult::Outcome::kFailed) << to_text(r);
  EXPECT_EQ(results[3].outcome, ContractResult::Outcome::kPassed) << to_text(results[3]);
}

TEST_F(TestKitTest, ASkeletonIsNeverWrittenOverAnything) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kCpp));
  EXPECT_FALSE(write_skeleton(root_, "feed", SkeletonKind::kCpp));
  for (const char* id : {"", "Feed", "../x", "a b", "1st"}) EXPECT_FALSE(write_skeleton(root_, id, SkeletonKind::kExec)) << id;
}

TEST_F(TestKitTest, TheSkeletonsManifestIsGood) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kCpp));
  const auto manifest = load_manifest(root_ + "/feed", registry_);
  EXPECT_TRUE(manifest) << manifest.error().message;
}

TEST_F(TestKitTest, AWrongExpectationFailsWithFileAndLine) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kExec));
  replace("tests/quotes/expected.jsonl", "\"bid\":1.5", "\"bid\":1.6");
  const ContractResult r = result_of(4);
  EXPECT_EQ(r.outcome, ContractResult::Outcome::kFailed);
  EXPECT_NE(r.detail.find("tests/quotes/expected.jsonl:1:"), std::string::npos) << r.detail;
}

TEST_F(TestKitTest, EventsThatNobodyExpectedFail) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kExec));
  write("tests/quotes/expected.jsonl", "# nothing\n");
  EXPECT_EQ(result_of(4).outcome, ContractResult::Outcome::kFailed);
}

TEST_F(TestKitTest, ABadManifestEndsTheRun) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kExec));
  replace("connector.manifest.yaml", "quotes/v2", "quotse/v2");
  const auto results = run_contract(root_ + "/feed", options_);
  ASSERT_EQ(results.size(), 1u);
  EXPECT_EQ(results[0].outcome, ContractResult::Outcome::kFailed);
  EXPECT_NE(results[0].detail.find("connector.manifest.yaml:"), std::string::npos) << results[0].detail;
}

TEST_F(TestKitTest, AnInvalidConfigurationThatIsAcceptedFails) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kExec));
  replace("tests/invalid/unknown_event_type.yaml", "quote/v2", "quotes/v2");
  EXPECT_EQ(result_of(2).outcome, ContractResult::Outcome::kFailed);
}

TEST_F(TestKitTest, AProgramThatWritesNoEventsFails) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kExec));
  replace("connector.manifest.yaml", "exec:python3 feed.py", "exec:sleep 1000");
  options_.patience_ns = 300'000'000;
  EXPECT_EQ(result_of(8).outcome, ContractResult::Outcome::kFailed);
}

// A connector whose n-th subscription is what `message` says.
ContractResult resubscription_of(const std::string& folder, ContractOptions options, const std::function<std::string(int)>& message) {
  struct OneQuote final : Mapper {
    explicit OneQuote(MapperContext c) : context(std::move(c)) {}
    void on_frame(const Frame& frame, MapperOutput& output) override {
      if (frame.kind != FrameKind::kWs) return;
      EventHeader header;
      header.symbol = "BTC-USD";
      header.event_time = frame.receive_time;
      row.reset(*context.plans[0]);
      row.set(*context.plans[0]->column("bid"), Decimal(1, 0));
      output.emit(0, header, row);
      output.alive(frame.connection, "ticker", header.symbol);
    }
    MapperContext context;
    Row row;
  };
  BuiltinConnector builtin;
  builtin.id = "feed";
  builtin.mapper = [](MapperContext context) -> Result<std::unique_ptr<Mapper>> { return std::make_unique<OneQuote>(std::move(context)); };
  builtin.collector = [&](CollectorContext context) {
    WebSocketOptions ws;
    ws.name = "feed";
    ws.url = "ws://127.0.0.1:1/";
    ws.subscribe = [&, n = 0](std::uint32_t, std::span<const WantedStream>) mutable { return std::vector<std::string>{message(n++)}; };
    return make_websocket_collector(std::move(ws), std::move(context));
  };
  options.builtin = &builtin;
  options.patience_ns = 1'000'000'000;
  for (const ContractResult& r : run_contract(folder, options)) {
    if (r.number == 9) return r;
  }
  return {};
}

TEST_F(TestKitTest, AResubscriptionOfSomethingElseFails) {
  ASSERT_TRUE(write_skeleton(root_, "feed", SkeletonKind::kCpp));
  const ContractResult same = resubscription_of(root_ + "/feed", options_, [](int) { return "subscribe BTC"; });
  EXPECT_EQ(same.outcome, ContractResult::Outcome::kPassed) << same.detail;
  const ContractResult other = resubscription_of(root_ + "/feed", options_, [](int n) { return n == 0 ? "subscribe BTC" : "subscribe"; });
  EXPECT_EQ(other.outcome, ContractResult::Outcome::kFailed);
  EXPECT_NE(other.detail.find("not sent again: subscribe BTC"), std::string::npos) << other.detail;
}

TEST(ContractCase, ComparesByValue) {
  using testing::compare_line;
  EXPECT_EQ(compare_line(R"({"event_type":"x","payload":{"a":1.50,"b":2}})", R"({"event_type":"x","payload":{"b":2.0,"a":1.5}})"), "");
  EXPECT_NE(compare_line(R"({"event_type":"x","payload":{"a":1.5}})", R"({"event_type":"x","payload":{"a":1.51}})"), "");
  EXPECT_EQ(compare_line(R"({"reject":{"code":"a","path":"/b"}})", R"({"reject":{"code":"a","path":"/b","message":"free"}})"), "");
  EXPECT_NE(compare_line(R"({"reject":{"code":"a","path":"/c"}})", R"({"reject":{"code":"a","path":"/b"}})"), "");
  EXPECT_EQ(compare_line(R"({"command":{"kind":"reconnect","connection":0}})", R"({"command":{"kind":"reconnect","connection":0,"text":"why"}})"), "");
  EXPECT_NE(compare_line(R"({"command":{"kind":"send","connection":0,"text":"a"}})", R"({"command":{"kind":"send","connection":0,"text":"b"}})"), "");
  EXPECT_NE(compare_line("no json", "{}"), "");
}

}  // namespace
}  // namespace utp
