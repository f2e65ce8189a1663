// Raw Coinbase Exchange frames to validated, checksummed envelopes, single thread, against what other libraries take to
// normalize the same frames without validating anything. "mapper": frames in memory through mapper and normalizer. "replay": a
// capture file on disk through everything that `utp replay` has up to the bus, which here only counts.
//
// Frames come from a recording where there is one (UTP_FIXTURES_DIR, or ../shared/fixtures beside the source tree), else they
// are made in the documented shapes and the recording's proportions. Peers (bench/peers/*) go through the same file; they are
// installed into $UTP_BENCH_CACHE (default ~/.cache/utp-bench) on first use, never into the tree. Both sides are warmed up and
// then take turns, so that a machine that changes its speed meanwhile favours none; the figures are medians of all passes.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <regex>
#include <string>
#include <utility>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include "connector/capture.h"
#include "connector/replay.h"
#include "connectors/coinbase/coinbase_mapper.h"
#include "core/json_writer.h"
#include "normalize/normalizer.h"
#include "schema/registry.h"

namespace {

using namespace utp;
namespace fs = std::filesystem;

struct RawFrame {
  Timestamp time;
  std::string bytes;
};

std::vector<RawFrame> recorded(const std::string& path) {
  std::vector<RawFrame> frames;
  auto reader = open_capture(path);
  if (!reader) return frames;
  Frame frame;
  for (auto more = (*reader)->next(frame); more && *more; more = (*reader)->next(frame)) {
    if (frame.kind == FrameKind::kWs) frames.push_back({frame.receive_time, std::string(frame.bytes)});
  }
  return frames;
}

// 97 % changes of one level, about 1 % each of tickers and matches, one snapshot per product.
std::vector<RawFrame> made() {
  std::vector<RawFrame> frames;
  std::uint32_t state = 20210417;  // fixed seed
  const auto random = [&](unsigned n) { return (state = state * 1664525u + 1013904223u) / 256 % n; };
  Timestamp now = Timestamp::from_seconds(1'618'677'817);
  const auto time = [&] { return now.to_string().substr(0, 26) + "Z"; };
  const auto price = [&](unsigned p) { return "0." + std::to_string(1000000 + random(100) + p * 1000); };
  const auto size = [&] { return std::to_string(random(20000)) + "." + std::to_string(random(100)); };
  for (unsigned p = 0; p < 10; ++p) {
    std::string text = R"({"type":"snapshot","product_id":"SYM)" + std::to_string(p) + R"(-USD","asks":[)";
    for (int i = 0; i < 300; ++i) text += (i ? ",[\"" : "[\"") + price(p + 1) + "\",\"" + size() + "\"]";
    text += R"(],"bids":[)";
    for (int i = 0; i < 300; ++i) text += (i ? ",[\"" : "[\"") + price(p) + "\",\"" + size() + "\"]";
    frames.push_back({now, text + "]}"});
  }
  unsigned trades[10] = {};
  for (int i = 0; i < 9'700; ++i) {
    now = now + (1'000'000 + random(5'000'000));
    const unsigned p = random(10);
    if (i % 97 == 0) ++trades[p];
    const std::string product = R"("product_id":"SYM)" + std::to_string(p) + R"(-USD")";
    if (i % 97 == 0) {
      frames.push_back({now, R"({"type":"match","trade_id":)" + std::to_string(trades[p]) +
                                 R"(,"maker_order_id":"27fff20b-af29-4f45-8744-56dd1ef57dc0","taker_order_id":"1da6ce16-c8da-4732-9f71-6049f4c6aaf8","side":"sell","size":")" +
                                 size() + R"(","price":")" + price(p) + "\"," + product + R"(,"sequence":333938798,"time":")" + time() + "\"}"});
      frames.push_back({now, R"({"type":"ticker","sequence":333938798,)" + product + R"(,"price":")" + price(p) +
                                 R"(","open_24h":"14.6647","volume_24h":"94381.28","low_24h":"14.3691","high_24h":"16.55","volume_30d":"2295579.57","best_bid":")" +
                                 price(p) + R"(","best_ask":")" + price(p + 1) + R"(","side":"buy","time":")" + time() + R"(","trade_id":881613,"last_size":"0.04"})"});
    } else {
      frames.push_back({now, R"({"type":"l2update",)" + product + R"(,"changes":[[")" + (random(2) ? "buy" : "sell") + "\",\"" + price(p) +
                                 "\",\"" + size() + R"("]],"time":")" + time() + "\"}"});
    }
  }
  return frames;
}

// What the host does with a mapper's events, without the bus.
class Envelopes final : public MapperOutput {
 public:
  explicit Envelopes(const std::vector<std::shared_ptr<const Plan>>& plans) : normalizer_(options()) {
    for (const auto& plan : plans) normalizer_.add_route(plan);
  }
  bool emit(std::uint32_t route, const EventHeader& header, const Row& row) override {
    Violation violation;
    if (!normalizer_.normalize(route, header, row, now, batch_, violation)) {
      ++refused;
      return false;
    }
    ++events;
    if (batch_.size() >= 1000 || batch_.bytes() >= (1u << 20)) {
      bytes += batch_.bytes();
      batch_.clear();
    }
    return true;
  }
  void command(Command) override { ++refused; }
  void reject(std::string_view, std::string_view, std::string_view) override { ++refused; }
  void gap(std::string_view, std::string_view, std::string_view, std::uint64_t) override { ++refused; }
  void alive(std::uint32_t, std::string_view, std::string_view) override { ++alive_calls; }

  void connection_opened() {
    normalizer_.connection_opened();
    batch_.clear();
    events = 0;
  }

  Timestamp now;
  std::uint64_t events = 0, refused = 0, bytes = 0, alive_calls = 0;

 private:
  static NormalizerOptions options() {
    NormalizerOptions o;
    o.source_id = "coinbase.bench";
    o.realm = "bench";
    return o;
  }
  Normalizer normalizer_;
  EventBatch batch_;
};

[[noreturn]] void fatal(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  std::exit(2);
}

template <class T>
T get(Result<T> result) {
  if (!result) fatal(result.error().message);
  return std::move(*result);
}

using Plans = std::vector<std::shared_ptr<const Plan>>;

std::unique_ptr<Mapper> make_mapper(const Plans& plans) {
  MapperContext context;
  context.plans = plans;
  return get(make_coinbase_mapper(std::move(context)));
}

// One of the two sides: each call goes through all frames once.
struct Pass {
  double ns_per_frame = 0;
  std::uint64_t events = 0;
};
using Side = std::function<Pass()>;

double since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count();
}

// Each pass is a new connection of a running process.
Side from_memory(const std::vector<RawFrame>& frames, const Plans& plans) {
  const std::shared_ptr<Mapper> mapper = make_mapper(plans);
  const auto envelopes = std::make_shared<Envelopes>(plans);
  return [&frames, mapper, envelopes] {
    mapper->on_frame({0, FrameKind::kOpen, frames.front().time, "", ""}, *envelopes);
    envelopes->connection_opened();
    const auto start = std::chrono::steady_clock::now();
    for (const RawFrame& raw : frames) {
      envelopes->now = raw.time;
      mapper->on_frame({0, FrameKind::kWs, raw.time, "", raw.bytes}, *envelopes);
    }
    const double took = since(start);
    if (envelopes->refused != 0) fatal(std::to_string(envelopes->refused) + " frames or events were refused");
    return Pass{took / static_cast<double>(frames.size()), envelopes->events};
  };
}

// A bus that takes everything.
class Counter final : public Publisher {
 public:
  Status publish(std::span<const OutMessage> messages) override {
    for (const OutMessage& message : messages) bytes += message.value.size();
    return {};
  }
  Status sync() override { return {}; }
  std::uint64_t bytes = 0;
};

// Each pass is a replay of its own, from the opening of the file.
Side from_file(const std::string& path, std::size_t frames, const Plans& plans, const Registry& registry) {
  return [path, frames, plans, &registry] {
    const auto start = std::chrono::steady_clock::now();
    const SystemClock clock;
    Counter bus;
    PipelineOptions options;
    options.source_id = "coinbase.bench";
    options.realm = "bench";
    options.plans = plans;
    const auto capture = get(open_capture(path));
    const auto pipeline = get(Pipeline::create(std::move(options), registry, clock, bus, make_mapper(plans), nullptr));
    const ReplayResult result = get(replay(*capture, *pipeline, clock, {}));
    const double took = since(start);
    const PipelineCounts& counts = pipeline->counts();
    if (!result.damage.empty() || counts.rejects != 0) fatal(path + ": " + std::to_string(counts.rejects) + " rejects " + result.damage);
    return Pass{took / static_cast<double>(frames), counts.published};
  };
}

// A peer's process. It prints {"peer":"name version"} once it is warm, or {"skipped":"why"}; then, for every byte that it is
// sent, it goes through the frames and prints the nanoseconds that a frame took.
class Peer {
 public:
  explicit Peer(const std::string& command) {
    int to[2], from[2];
    if (pipe(to) != 0 || pipe(from) != 0) fatal("no pipe for " + command);
    child_ = fork();
    if (child_ == 0) {
      dup2(to[0], STDIN_FILENO);
      dup2(from[1], STDOUT_FILENO);
      for (const int end : {to[0], to[1], from[0], from[1]}) close(end);
      execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
      _exit(127);
    }
    close(to[0]);
    close(from[1]);
    to_ = to[1];
    from_ = fdopen(from[0], "r");
    const std::string hello = line();
    std::smatch match;
    if (std::regex_search(hello, match, std::regex(R"re("skipped": ?"([^"]*)")re"))) skipped = match.str(1);
    else if (std::regex_search(hello, match, std::regex(R"re("peer": ?"([^"]*)")re"))) name = match.str(1);
    else skipped = "the peer did not run: " + command;
  }
  ~Peer() {
    close(to_);
    std::fclose(from_);
    waitpid(child_, nullptr, 0);
  }
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  Pass operator()() {
    if (write(to_, "\n", 1) != 1) fatal(name + ": the peer is gone");
    const double ns = std::atof(line().c_str());
    if (!(ns > 0)) fatal(name + ": the peer printed no figure");
    return {ns, 0};
  }

  std::string name, skipped;

 private:
  std::string line() {
    std::string text;
    for (int c = std::fgetc(from_); c != EOF && c != '\n'; c = std::fgetc(from_)) text += static_cast<char>(c);
    return text;
  }

  pid_t child_ = -1;
  int to_ = -1;
  std::FILE* from_ = nullptr;
};

double median(std::vector<double> values) {
  std::ranges::sort(values);
  return values.empty() ? 0 : (values[(values.size() - 1) / 2] + values[values.size() / 2]) / 2;
}

// A folder that goes with the program.
struct Folder {
  Folder() : path((fs::temp_directory_path() / "utp_mapper_bench_XXXXXX").string()) {
    if (mkdtemp(path.data()) == nullptr) fatal("cannot make " + path);
  }
  ~Folder() {
    std::error_code ignored;
    fs::remove_all(path, ignored);
  }
  std::string path;
};

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  bool peers = true;  // --no-peers: only ours, for a profiler
  std::string filter;
  for (int i = 1; i < argc; ++i) {
    const std::string arg = argv[i];
    if (arg == "--quick") quick = true;
    if (arg == "--no-peers") peers = false;
    if (arg == "--filter" && i + 1 < argc) filter = argv[++i];
  }
  struct Case {
    const char* name;
    bool from_file;
    const char* peer;
    double goal;  // 0 = none
  };
  static constexpr Case kCases[] = {
      {"mapper/coinbase_exchange_vs_tardis", false, "node '%s/bench/peers/tardis_mapper.mjs'", 10},
      {"mapper/coinbase_exchange_vs_cryptofeed_handler", false, "python3 '%s/bench/peers/cryptofeed_playback.py' --handler", 0},
      {"replay/coinbase_exchange_vs_cryptofeed_playback", true, "python3 '%s/bench/peers/cryptofeed_playback.py'", 100},
  };
  const Registry registry = get(Registry::builtin());
  const Plans plans = {registry.by_event_type("quotes/v2"), registry.by_event_type("trades/v2"), registry.by_event_type("orderbook/v1")};
  const char* const fixtures = std::getenv("UTP_FIXTURES_DIR");
  const fs::path recording = fs::path(fixtures ? fixtures : UTP_SOURCE_DIR "/../shared/fixtures") / "coinbase" /
                             "cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst";
  std::vector<RawFrame> frames = recorded(recording);
  const bool real = !frames.empty();
  if (!real) frames = made();

  // In the format of cryptofeed's recorder, which all sides read.
  const Folder folder;
  const std::string file = folder.path + "/COINBASE.ws.1.0";
  {
    const auto seconds = [](Timestamp t) {
      const std::string digits = std::to_string(t.ns);
      return digits.substr(0, digits.size() - 9) + "." + digits.substr(digits.size() - 9);
    };
    std::ofstream out(file);
    out << "wss://ws-feed.pro.coinbase.com <-> " << seconds(frames.front().time) << '\n';
    for (const RawFrame& frame : frames) out << seconds(frame.time) << ": " << frame.bytes << '\n';
  }

  bool all = true;
  for (const Case& c : kCases) {
    if (!filter.empty() && !std::regex_search(c.name, std::regex(filter))) continue;
    const Side ours = c.from_file ? from_file(file, frames.size(), plans, registry) : from_memory(frames, plans);
    std::string command = c.peer;
    command.replace(command.find("%s"), 2, UTP_SOURCE_DIR);
    command = "exec " + command + " '" + file + "'" + (quick ? " --no-install" : "") + " 2>/dev/null";
    std::unique_ptr<Peer> peer;
    if (peers) peer = std::make_unique<Peer>(command);
    const bool compared = peer && peer->skipped.empty();

    constexpr int kPasses = 3;  // of each turn
    const int turns = quick ? 2 : 40;
    std::vector<double> our_ns, peer_ns;
    std::uint64_t events = 0;
    for (int i = 0; i < 10; ++i) events = ours().events;
    for (int turn = 0; turn < turns; ++turn) {
      for (int i = 0; i < kPasses; ++i) our_ns.push_back(ours().ns_per_frame);
      for (int i = 0; compared && i < kPasses; ++i) peer_ns.push_back((*peer)().ns_per_frame);
    }

    std::string out;
    JsonWriter json(out);
    json.begin_object().field("name", c.name).field("ours", median(our_ns));
    if (compared) {
      const double ratio = median(peer_ns) / median(our_ns);
      json.field("peer", median(peer_ns)).field("unit", "ns/frame").field("ratio", ratio);
      if (c.goal > 0) {
        json.field("goal", c.goal).field("better", "higher").field("holds", ratio >= c.goal);
        all &= ratio >= c.goal;
      }
      json.field("peer_name", peer->name);
    } else {
      json.field("unit", "ns/frame").key("holds").null().field("skipped", peer ? peer->skipped : "not asked for");
    }
    json.field("note", std::to_string(frames.size()) + (real ? " recorded frames" : " made frames") + (compared ? ", peer " + peer->name : ""));
    json.field("events", events).end_object();
    std::printf("%s\n", out.c_str());
    std::fflush(stdout);
  }
  return all ? 0 : 1;
}
