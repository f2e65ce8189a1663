// Raw Coinbase Exchange frames to validated envelopes, single thread: mapper and normalizer, against what other libraries
// take to normalize the same frames without validating anything.
//
// Frames come from a recording where there is one (UTP_FIXTURES_DIR, or ../shared/fixtures beside the source tree), else they
// are made in the documented shapes and the recording's proportions. Peers run in the same run, on the same frames:
// bench/peers/*; they are installed into $UTP_BENCH_CACHE (default ~/.cache/utp-bench) on first use, never into the tree.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <string>
#include <vector>

#include <unistd.h>

#include "connector/capture.h"
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
  for (int i = 0; i < 9'700; ++i) {
    now = now + (1'000'000 + random(5'000'000));
    const unsigned p = random(10);
    const std::string product = R"("product_id":"SYM)" + std::to_string(p) + R"(-USD")";
    if (i % 97 == 0) {
      frames.push_back({now, R"({"type":"match","trade_id":)" + std::to_string(1000 + i) +
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

struct Measured {
  double ns_per_frame = 0;
  std::uint64_t events = 0;
};

Measured measure(const std::vector<RawFrame>& frames, const std::vector<std::shared_ptr<const Plan>>& plans, int rounds) {
  Measured best;
  MapperContext context;
  context.plans = plans;
  auto mapper = make_coinbase_mapper(std::move(context));
  if (!mapper) {
    std::fprintf(stderr, "%s\n", mapper.error().message.c_str());
    std::exit(1);
  }
  Envelopes envelopes(plans);
  for (int round = 0; round < rounds; ++round) {  // each is a new connection of a running process
    (*mapper)->on_frame({0, FrameKind::kOpen, frames.front().time, "", ""}, envelopes);
    envelopes.connection_opened();
    const auto start = std::chrono::steady_clock::now();
    for (const RawFrame& raw : frames) {
      envelopes.now = raw.time;
      (*mapper)->on_frame({0, FrameKind::kWs, raw.time, "", raw.bytes}, envelopes);
    }
    const std::chrono::duration<double, std::nano> took = std::chrono::steady_clock::now() - start;
    if (envelopes.refused != 0) {
      std::fprintf(stderr, "%llu frames or events were refused\n", static_cast<unsigned long long>(envelopes.refused));
      std::exit(1);
    }
    const double each = took.count() / static_cast<double>(frames.size());
    if (round == 0 || each < best.ns_per_frame) best = {each, envelopes.events};
  }
  return best;
}

// A peer prints one line: {"peer":"name version","ns_per_frame":n,"events":n} or {"skipped":"why"}.
struct Peer {
  std::string name, skipped;
  double ns_per_frame = 0;
};

std::string captured(const std::smatch& match) { return match.size() > 1 ? match[1].str() : ""; }

Peer run_peer(const std::string& command) {
  Peer peer;
  std::string text;
  if (std::FILE* const pipe = popen(command.c_str(), "r")) {
    char buffer[4096];
    for (std::size_t n; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, n);
    pclose(pipe);
  }
  std::smatch match;
  if (std::regex_search(text, match, std::regex(R"re("skipped": ?"([^"]*)")re"))) {
    peer.skipped = captured(match);
  } else if (std::regex_search(text, match, std::regex(R"re("ns_per_frame": ?([0-9.]+))re"))) {
    peer.ns_per_frame = std::atof(captured(match).c_str());
    if (std::regex_search(text, match, std::regex(R"re("peer": ?"([^"]*)")re"))) peer.name = captured(match);
  } else {
    peer.skipped = "the peer did not run: " + command;
  }
  return peer;
}

void print(const std::string& name, const Measured& ours, const Peer& peer, double goal, std::size_t frames, bool real) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("name", name).field("ours", ours.ns_per_frame);
  if (peer.skipped.empty()) {
    const double ratio = peer.ns_per_frame / ours.ns_per_frame;
    json.field("peer", peer.ns_per_frame).field("unit", "ns/frame").field("ratio", ratio).field("goal", goal);
    json.field("better", "higher").field("holds", ratio >= goal).field("peer_name", peer.name);
  } else {
    json.field("unit", "ns/frame").key("holds").null().field("skipped", peer.skipped);
  }
  json.field("note", std::to_string(frames) + (real ? " recorded frames" : " made frames") + (peer.name.empty() ? "" : ", peer " + peer.name));
  json.field("events", ours.events).end_object();
  std::printf("%s\n", out.c_str());
  std::fflush(stdout);
}

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
    const char* recording;
    const char* peer;
    double goal;
  };
  static constexpr Case kCases[] = {
      {"mapper/coinbase_exchange_vs_tardis", "cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst", "node '%s/bench/peers/tardis_mapper.mjs'", 10},
      {"mapper/coinbase_exchange_vs_cryptofeed", "cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst",
       "python3 '%s/bench/peers/cryptofeed_playback.py'", 100},
  };
  const auto registry = Registry::builtin();
  if (!registry) {
    std::fprintf(stderr, "%s\n", registry.error().message.c_str());
    return 1;
  }
  const std::vector<std::shared_ptr<const Plan>> plans = {registry->by_event_type("quotes/v2"), registry->by_event_type("trades/v2"),
                                                          registry->by_event_type("orderbook/v1")};
  const char* const fixtures = std::getenv("UTP_FIXTURES_DIR");
  const fs::path folder = fs::path(fixtures ? fixtures : UTP_SOURCE_DIR "/../shared/fixtures") / "coinbase";
  bool all = true;
  for (const Case& c : kCases) {
    if (!filter.empty() && !std::regex_search(c.name, std::regex(filter))) continue;
    std::vector<RawFrame> frames = recorded(folder / c.recording);
    const bool real = !frames.empty();
    if (!real) frames = made();
    std::string file = (fs::temp_directory_path() / "utp_mapper_bench_XXXXXX").string();
    const int descriptor = mkstemp(file.data());
    if (descriptor < 0) {
      std::perror(file.c_str());
      return 1;
    }
    close(descriptor);
    {
      std::ofstream out(file);
      for (const RawFrame& frame : frames) out << frame.time.ns / 1'000'000 << '\t' << frame.bytes << '\n';
    }
    std::string command = c.peer;
    command.replace(command.find("%s"), 2, UTP_SOURCE_DIR);
    command += " '" + file + "' " + (quick ? "3 --no-install" : "20") + " 2>/dev/null";
    // Before and after the peer, so that a machine that changes its speed meanwhile does not favour us.
    const int rounds = quick ? 5 : 200;
    const Measured before = measure(frames, plans, rounds);
    const Peer peer = peers ? run_peer(command) : Peer{"", "not asked for", 0};
    const Measured after = measure(frames, plans, rounds);
    fs::remove(file);
    const Measured& ours = before.ns_per_frame < after.ns_per_frame ? before : after;
    print(c.name, ours, peer, c.goal, frames.size(), real);
    all &= !peer.skipped.empty() || peer.ns_per_frame / ours.ns_per_frame >= c.goal;
  }
  return all ? 0 : 1;
}
