#include "connector/exec_connector.h"

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <thread>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "connector/host.h"
#include "bus/testing/memory_bus.h"
#include "core/base64.h"

namespace utp {
namespace {

using testing::MemoryBus;

class ExecTest : public ::testing::Test {
 protected:
  ExecTest() : registry_(*Registry::builtin()) {
    char folder[] = "/tmp/utp-exec-XXXXXX";
    folder_ = mkdtemp(folder);
    std::filesystem::create_directory(folder_ + "/feed");
  }
  ~ExecTest() override {
    host_.reset();
    std::filesystem::remove_all(folder_);
  }

  void make(const std::string& script, const std::string& more = "", const std::string& reconnect = "") {
    const std::string folder = folder_ + "/feed";
    std::ofstream(folder + "/feed.sh") << "#!/bin/sh\n" << script;
    std::filesystem::permissions(folder + "/feed.sh", std::filesystem::perms::owner_all);
    std::ofstream(folder + "/connector.manifest.yaml") << R"(manifest: 1
id: feed
version: 1.0.0
entry: exec:feed.sh
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
channels:
  - {name: quotes, event_types: [quotes/v2], stale_after: 30s}
symbols: {default: [A]}
limits: {connections_per_minute: 0}
reconnect: {)" << reconnect << "backoff_min: 1ms, backoff_max: 10ms}\n" << more;
    start();
  }
  void start() {
    auto manifest = load_manifest(folder_ + "/feed", registry_);
    ASSERT_TRUE(manifest) << manifest.error().message;
    InstanceOptions options;
    options.manifest = *manifest;
    options.realm = "r";
    options.region = "x";
    options.secrets = secrets_;
    options.settings_json = R"({"depth":5})";
    auto made = ConnectorInstance::create(options, nullptr, registry_, clock_, bus_);
    ASSERT_TRUE(made) << made.error().message;
    host_ = std::move(*made);
    host_->start();
  }
  std::vector<std::string> values(const std::string& topic) {
    std::vector<std::string> all;
    for (const auto& m : bus_.messages("utp.r.x." + topic)) all.push_back(m.value);
    return all;
  }
  template <class Condition>
  static bool eventually(Condition condition) {
    for (int i = 0; i < 4000; ++i) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }
  static std::string line(const std::string& bid, const std::string& extra = "") {
    return R"({"event_type":"quotes/v2","symbol":"A","event_time":"2026-01-02T03:04:05.000000006Z","event_time_source":"venue")" +
           extra + R"(,"payload":{"bid":)" + bid + "}}";
  }

  Registry registry_;
  SystemClock clock_;
  MemoryBus bus_;
  std::string folder_;
  std::map<std::string, std::string> secrets_;
  std::unique_ptr<ConnectorInstance> host_;
};

TEST_F(ExecTest, LinesBecomeEvents) {
  make("echo '" + line("1.5", R"(,"sequence":9,"quality":["delayed"])") + "'\nexec sleep 100\n");
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1; }));
  const std::string value = values("quotes.v2")[0];
  for (const char* part : {"\"bid\":1.5", "\"sequence\":9", "\"quality\":[\"delayed\"]", "2026-01-02T03:04:05.000000006Z", "\"source_id\":\"feed\""}) {
    EXPECT_NE(value.find(part), std::string::npos) << part << " in " << value;
  }
  ASSERT_TRUE(eventually([&] { return host_->status().confirmed == 1; }));
}

TEST_F(ExecTest, BadLinesGoToTheDeadLettersWithTheirBytes) {
  const std::vector<std::string> bad = {
      "not json", R"({"event_type":"quotes/v2")", R"({"event_type":"trades/v2","symbol":"A"})", line("\"text\""),
      R"({"event_type":"quotes/v2","symbol":"A","event_time":"yesterday","event_time_source":"venue","payload":{}})",
      line("1", R"(,"seqence":1)"), line("1", R"(,"quality":["odd"])"), line("1") + " trailing"};
  std::string script = "cat <<'END'\n";
  for (const std::string& text : bad) script += text + "\n";
  make(script + line("7") + "\nEND\nexec sleep 100\n");
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1 && values("quotes.v2.dlq").size() + values("system.frames.v1.dlq").size() == bad.size(); }))
      << values("quotes.v2.dlq").size() << " " << values("system.frames.v1.dlq").size();
  auto letters = values("quotes.v2.dlq");
  for (const std::string& letter : values("system.frames.v1.dlq")) letters.push_back(letter);
  for (const std::string& text : bad) {
    std::string encoded;
    append_base64(encoded, text);
    EXPECT_TRUE(std::ranges::any_of(letters, [&](const std::string& l) { return l.find("\"" + encoded + "\"") != std::string::npos; })) << text;
  }
}

TEST_F(ExecTest, AnEndlessLineIsCutAndTheNextOneIsRead) {
  make("head -c 300000 /dev/zero | tr '\\0' x\necho\necho '" + line("3") + "'\nexec sleep 100\n", "exec: {line_bytes: 64KiB}\n");
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1; }));
  ASSERT_TRUE(eventually([&] { return values("system.frames.v1.dlq").size() == 1; }));
  EXPECT_NE(values("system.frames.v1.dlq")[0].find("\"original_bytes\":65536"), std::string::npos);
}

TEST_F(ExecTest, AProgramThatEndsIsStartedAgain) {
  make("echo run >> runs\necho '" + line("1") + "'\nexit 3\n");
  ASSERT_TRUE(eventually([&] { return host_->status().reconnects >= 3; }));
  ASSERT_TRUE(eventually([&] { return values("system.reconnect.v1").size() >= 3; }));
  EXPECT_NE(values("system.reconnect.v1")[0].find("exit status 3"), std::string::npos);
}

TEST_F(ExecTest, StoppingEndsTheProgramAndItsChildren) {
  make("trap '' TERM\nsleep 1000 &\necho $! > child\necho $$ > self\necho '" + line("1") + "'\nwait\nsleep 1000\n",
       "exec: {stop_timeout: 200ms}\n");
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1; }));
  host_->stop();
  for (const char* name : {"child", "self"}) {
    pid_t pid = 0;
    std::ifstream(folder_ + "/feed/" + name) >> pid;
    ASSERT_GT(pid, 0);
    EXPECT_TRUE(eventually([&] { return ::kill(pid, 0) != 0 || std::ifstream("/proc/" + std::to_string(pid) + "/stat").rdbuf() == nullptr ||
                                        [&] { std::ifstream in("/proc/" + std::to_string(pid) + "/stat"); std::string a, b, state; in >> a >> b >> state; return state == "Z" || state.empty(); }(); }))
        << name;
  }
}

TEST_F(ExecTest, TheEnvironmentHoldsTheConfigurationAndOnlyTheNamedSecrets) {
  ::setenv("UTP_TEST_FOREIGN_SECRET", "do not pass on", 1);
  secrets_["api_key"] = "s3cret-value";
  make("env > environment\necho '" + line("1") + "'\nexec sleep 100\n", "secrets:\n  - {name: api_key, env: FEED_KEY}\n");
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1; }));
  ::unsetenv("UTP_TEST_FOREIGN_SECRET");
  std::ifstream in(folder_ + "/feed/environment");
  const std::string environment((std::istreambuf_iterator<char>(in)), {});
  EXPECT_NE(environment.find("FEED_KEY=s3cret-value"), std::string::npos);
  EXPECT_NE(environment.find("UTP_SETTINGS={\"depth\":5}"), std::string::npos);
  EXPECT_NE(environment.find("\"symbol\":\"A\""), std::string::npos);
  EXPECT_EQ(environment.find("UTP_TEST_FOREIGN_SECRET"), std::string::npos);
}

TEST_F(ExecTest, AProgramThatHangsIsStartedAgainWhereTheManifestSaysHowLongItMayBeSilent) {
  make("echo '" + line("1") + "'\nexec sleep 100\n", "");
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1; }));
  host_->stop();
  bus_.clear();
  make("echo '" + line("1") + "'\nexec sleep 100\n", "", "silent_connection: 100ms, ");
  ASSERT_TRUE(eventually([&] { return values("system.reconnect.v1").size() >= 2; }));
}

TEST_F(ExecTest, AProgramThatCannotBeStartedNowIsTriedAgain) {
  make("exit 0\n");
  host_->stop();
  bus_.clear();
  const std::string program = folder_ + "/feed/feed.sh";
  std::ofstream(program) << "#!/bin/sh\necho '" << line("1") << "'\nexec sleep 100\n";
  const int writer = ::open(program.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);  // being written: it cannot be run
  ASSERT_GE(writer, 0);
  start();
  // Tried, refused, and the connector goes on.
  const bool refused = eventually([&] { return host_->status().counts.frames >= 3; });
  const auto busy = values("quotes.v2").empty();
  ::close(writer);
  if (!busy) GTEST_SKIP() << "this kernel runs a file that is being written";
  EXPECT_TRUE(refused);
  EXPECT_NE(host_->status().state, InstanceState::kDown) << host_->status().detail;
  ASSERT_TRUE(eventually([&] { return values("quotes.v2").size() == 1; }));
}

// Such as a reconnect that was asked for because of what the last program did.
TEST_F(ExecTest, ARestartThatIsAskedForWhileNothingRunsDoesNotEndTheNextProgram) {
  class Sink final : public FrameSink {
   public:
    bool push(const Frame& frame) override {
      std::lock_guard lock(mutex);
      if (frame.kind == FrameKind::kWs) lines.emplace_back(frame.bytes);
      if (frame.kind == FrameKind::kClose) {
        closes.emplace_back(frame.bytes);
        if (closes.size() == 1) collector->carry_out({Command::Kind::kReconnect, 0, "", "asked while it rests"});
      }
      return true;
    }
    std::mutex mutex;
    std::vector<std::string> lines, closes;
    Collector* collector = nullptr;
  } sink;
  ExecOptions exec;
  exec.connector = "feed";
  exec.program = {"sh", "-c", "echo run >> runs; wc -l < runs; test $(wc -l < runs) = 1 && exit 1; exec sleep 100"};
  exec.folder = folder_;
  exec.environment = {{"PATH", "/usr/bin:/bin"}};
  CollectorContext context;
  context.clock = &clock_;
  context.rates.connections_per_minute = 0;
  context.link.backoff_min_ns = context.link.backoff_max_ns = 1'000'000;
  auto collector = make_exec_collector(std::move(exec), std::move(context));
  ASSERT_TRUE(collector) << collector.error().message;
  sink.collector = collector->get();
  std::thread thread([&] { EXPECT_TRUE((*collector)->run(sink)); });
  EXPECT_TRUE(eventually([&] {
    std::lock_guard lock(sink.mutex);
    return sink.lines.size() >= 2;
  }));
  (*collector)->stop();
  thread.join();
  EXPECT_EQ(sink.closes, (std::vector<std::string>{"exit status 1", "stopped"}));
}

TEST_F(ExecTest, AProgramThatIsNotThereIsNamed) {
  make("exit 0\n");
  host_->stop();
  std::filesystem::remove(folder_ + "/feed/feed.sh");
  auto manifest = load_manifest(folder_ + "/feed", registry_);
  ASSERT_TRUE(manifest);
  InstanceOptions options;
  options.manifest = *manifest;
  auto made = ConnectorInstance::create(options, nullptr, registry_, clock_, bus_);
  ASSERT_TRUE(made);
  (*made)->start();
  ASSERT_TRUE(eventually([&] { return (*made)->status().state == InstanceState::kDown; }));
  EXPECT_NE((*made)->status().detail.find("feed.sh"), std::string::npos) << (*made)->status().detail;
}

}  // namespace
}  // namespace utp
