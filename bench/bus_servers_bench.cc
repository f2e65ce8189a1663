// The buses on servers against the servers' own clients. Each round has a server of its own (of Kafka's: names of its own); ours
// and the other take turns on it. Figures are medians over the rounds.
// bus_servers_bench [--filter REGEX] [--quick]: a JSON object a line.
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <regex>
#include <thread>

#include "bus_server.h"
#include "core/json_writer.h"
#include "core/log.h"

namespace utp::bench {
namespace {

constexpr const char* kTopic = "utp.bench.local.quotes.v2";
// A goal is the most that ours may take of the other's time: at least 0.9 of its speed, and so on.
constexpr double kPublishGoal = 1 / 0.9;
constexpr double kPackedGoal = 1 / 2.5;
constexpr double kConsumeGoal = 1 / 0.9;
constexpr double kP50Goal = 1.3;
constexpr double kP99Goal = 2;
constexpr double kScaleGoal = 1.3;
// 20,000 messages a second, as a chamber's publisher sends them: what came within a millisecond.
constexpr std::size_t kPerTick = 20;
constexpr auto kTick = std::chrono::milliseconds(1);

bool quick = false;
std::regex filter(".*");

bool wanted(const std::string& name) { return std::regex_search(name, filter); }

std::int64_t now_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

// Of processor time, of this process and the server's.
std::int64_t processor_ns(const BusServer& server) {
  std::int64_t sum = 0;
  clockid_t clock = 0;
  for (const pid_t pid : {::getpid(), server.pid()}) {
    timespec time{};
    if (::clock_getcpuclockid(pid, &clock) != 0 || ::clock_gettime(clock, &time) != 0) die("the server's processor time cannot be read");
    sum += time.tv_sec * 1'000'000'000 + time.tv_nsec;
  }
  return sum;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

std::string text(double value) {
  char digits[32];
  std::snprintf(digits, sizeof digits, "%.3g", value);
  return digits;
}

struct Ratio {
  double median = 0, least = 0, most = 0;  // of the rounds
};

Ratio ratio_of(const std::vector<double>& ours, const std::vector<double>& other) {
  std::vector<double> ratios;
  for (std::size_t i = 0; i < ours.size(); ++i) ratios.push_back(ours[i] / other[i]);
  return {median(ratios), *std::min_element(ratios.begin(), ratios.end()), *std::max_element(ratios.begin(), ratios.end())};
}

void report(const std::string& name, const std::vector<double>& ours, const std::vector<double>& other, const char* unit, double goal,
            const std::string& note) {
  const Ratio ratio = ratio_of(ours, other);
  std::string line;
  JsonWriter json(line);
  json.begin_object().field("name", name).field("ours", median(ours)).field("peer", median(other)).field("unit", unit);
  json.field("ratio", ratio.median).field("goal", goal).field("holds", ratio.median <= goal);
  json.field("note", "rounds " + text(ratio.least) + " to " + text(ratio.most) + "; " + note).end_object();
  std::puts(line.c_str());
  std::fflush(stdout);
}

void check(const Status& status) {
  if (!status) die(status.error().message);
}

// ---- publishing ----

struct Load {
  std::size_t topics = 1, symbols = 1, batch = kBatch, messages = 100'000;
  std::uint32_t pack = 1;
};

struct Cost {
  double wall = 0, processor = 0;  // ns per message
};

// Through our bus. Message i goes to topic i % topics with symbol i % symbols.
Cost publish_ours(BusServer& server, const Load& load) {
  auto bus = server.open();
  std::vector<std::string> topics, symbols;
  for (std::size_t i = 0; i < load.topics; ++i) {
    topics.push_back("utp.bench.t" + std::to_string(load.topics) + "-" + std::to_string(i) + ".p" + std::to_string(load.pack) + ".v1");
    check(bus->configure_topic(topics.back(), {.partitions = 1, .pack = load.pack}));
  }
  for (std::size_t i = 0; i < load.symbols; ++i) symbols.push_back("S" + std::to_string(10'000 + i));
  auto publisher = bus->publisher({Durability::kInterval});
  if (!publisher) die(publisher.error().message);
  const std::string value(kMessageBytes, 'x');
  std::vector<OutMessage> messages(load.batch);
  std::size_t next = 0;
  const auto fill = [&] {
    for (OutMessage& m : messages) {
      m = {topics[next % topics.size()], symbols[next % symbols.size()], value};
      ++next;
    }
  };
  while (next < std::max(load.batch, load.topics)) {  // every topic is known to the publisher
    fill();
    check((*publisher)->publish(messages));
  }
  std::int64_t time = 0;
  const std::int64_t processor = processor_ns(server);
  for (std::size_t sent = 0; sent < load.messages; sent += load.batch) {
    fill();
    const std::int64_t begin = now_ns();
    check((*publisher)->publish(messages));
    time += now_ns() - begin;
  }
  const auto count = static_cast<double>(load.messages);
  return {static_cast<double>(time) / count, static_cast<double>(processor_ns(server) - processor) / count};
}

Cost publish_bare(BusServer& server, const Load& load) {
  auto client = load.topics == 1 ? server.bare() : server.bare(load.topics);
  if (!client) return {1, 1};
  const std::vector<std::string> values(load.batch, std::string(kMessageBytes, 'x'));
  for (std::size_t sent = 0; sent < std::max(load.batch, load.topics); sent += load.batch) client->publish(values);
  const std::int64_t processor = processor_ns(server);
  const std::int64_t begin = now_ns();
  for (std::size_t sent = 0; sent < load.messages; sent += load.batch) client->publish(values);
  const auto count = static_cast<double>(load.messages);
  return {static_cast<double>(now_ns() - begin) / count, static_cast<double>(processor_ns(server) - processor) / count};
}

// The things to compare take turns, another one first in each round.
std::vector<std::vector<double>> take_turns(const ServerKind& kind, const std::vector<std::function<double(BusServer&)>>& runs) {
  std::vector<std::vector<double>> times(runs.size());
  for (std::size_t round = 0; round < (quick ? 3u : 9u); ++round) {
    auto server = kind.make();
    for (std::size_t turn = 0; turn < runs.size(); ++turn) {
      const std::size_t at = (turn + round) % runs.size();
      times[at].push_back(runs[at](*server));
    }
  }
  return times;
}

// Ours against the tool of the server's makers, or the bare client where there is none; the note tells of the bare client.
void publish_row(const ServerKind& kind, const std::string& row, Load load, double goal) {
  const std::string name = "bus_" + kind.name + "_" + row;
  if (!wanted(name)) return;
  if (quick) load.messages /= 10;
  bool has_tool = true;
  const auto times = take_turns(kind, {[&](BusServer& server) { return publish_ours(server, load).wall; },
                                       [&](BusServer& server) { return publish_bare(server, load).wall; },
                                       [&](BusServer& server) {
                                         const auto time = server.tool_publish(load.messages, load.batch);
                                         has_tool &= time.has_value();
                                         return time.value_or(1);
                                       }});
  const auto& other = times[has_tool ? 2 : 1];
  const std::string note = std::string(has_tool ? "against the server's own benchmark tool; " : "") + "of the bare client's time: " +
                           text(ratio_of(times[0], times[1]).median);
  report(name, times[0], other, "ns/message", goal, note);
}

void scale_row(const ServerKind& kind, const std::string& row, Load many, const std::string& note) {
  const std::string name = "bus_" + kind.name + "_" + row;
  if (!wanted(name)) return;
  if (quick) many.messages /= 5;
  Load one = many;
  one.topics = one.symbols = 1;
  const auto times = take_turns(kind, {[&](BusServer& server) { return publish_ours(server, many).processor; },
                                       [&](BusServer& server) { return publish_ours(server, one).processor; },
                                       [&](BusServer& server) { return publish_bare(server, many).processor; },
                                       [&](BusServer& server) { return publish_bare(server, one).processor; }});
  const std::string bare = many.topics == 1 ? "" : "; the bare client's own ratio: " + text(ratio_of(times[2], times[3]).median);
  report(name, times[0], times[1], "ns/message", kScaleGoal, "processor time of client and server; " + note + bare);
}

// ---- consuming ----

std::unique_ptr<Subscription> subscribe(Bus& bus) {
  SubscriptionOptions options;
  options.patterns = {kTopic};
  options.group = "g";
  auto made = bus.subscribe(options);
  if (!made) die(made.error().message);
  return std::move(*made);
}

// What came, acknowledged; at least one message.
std::span<const InMessage> consume(Subscription& subscription) {
  auto got = subscription.poll(kBatch, 64 << 20, 10'000'000'000);
  if (!got) die(got.error().message);
  if (got->empty()) die("messages are missing");
  check(subscription.acknowledge(got->back().topic, got->back().partition, got->back().position));
  return *got;
}

double consume_ours(BusServer& server, std::size_t messages) {
  auto bus = server.open();
  auto publisher = bus->publisher({Durability::kInterval});
  const std::string value(kMessageBytes, 'x');
  const std::vector<OutMessage> batch(kBatch, {kTopic, "BTC-USD", value});
  for (std::size_t sent = 0; sent < messages + kBatch; sent += kBatch) check((*publisher)->publish(batch));
  auto subscription = subscribe(*bus);
  consume(*subscription);  // joining a group is not measured
  const std::int64_t begin = now_ns();
  for (std::size_t got = 0; got < messages;) got += consume(*subscription).size();
  return static_cast<double>(now_ns() - begin) / static_cast<double>(messages);
}

double consume_bare(BusServer& server, std::size_t messages) {
  auto client = server.bare();
  const std::vector<std::string> values(kBatch, std::string(kMessageBytes, 'x'));
  for (std::size_t sent = 0; sent < messages + kBatch; sent += kBatch) client->publish(values);
  client->consume(kBatch, 10'000);
  const std::int64_t begin = now_ns();
  for (std::size_t got = 0; got < messages;) got += client->consume(kBatch, 10'000).size();
  return static_cast<double>(now_ns() - begin) / static_cast<double>(messages);
}

void consume_row(const ServerKind& kind) {
  const std::string name = "bus_" + kind.name + "_consume";
  if (!wanted(name)) return;
  const std::size_t messages = quick ? 10'000 : 100'000;
  const auto times = take_turns(kind, {[&](BusServer& server) { return consume_ours(server, messages); },
                                       [&](BusServer& server) { return consume_bare(server, messages); }});
  report(name, times[0], times[1], "ns/message", kConsumeGoal,
         "read and acknowledged in batches of 500");
}

// ---- publish to receive ----

struct Latencies {
  double p50 = 0, p99 = 0;  // us
};

// Every tick `publish` sends kPerTick messages, each with the time just before; `receive` gives what came of them.
Latencies latency(std::size_t messages, const std::function<void(std::span<const std::string>)>& publish,
                  const std::function<void(const std::function<void(std::string_view)>&)>& receive) {
  std::vector<std::string> values(kPerTick, std::string(kMessageBytes, 'x'));
  publish(values);  // the reader has joined its group when they are there
  std::size_t joined = 0;
  while (joined < kPerTick) receive([&](std::string_view) { ++joined; });
  std::thread writer([&] {
    auto next = std::chrono::steady_clock::now();
    for (std::size_t sent = 0; sent < messages; sent += kPerTick) {
      std::this_thread::sleep_until(next += kTick);
      const std::int64_t now = now_ns();
      for (std::string& value : values) std::memcpy(value.data(), &now, sizeof now);
      publish(values);
    }
  });
  std::vector<double> ns;
  const std::function<void(std::string_view)> take = [&](std::string_view value) {
    std::int64_t sent = 0;
    std::memcpy(&sent, value.data(), sizeof sent);
    ns.push_back(static_cast<double>(now_ns() - sent));
  };
  while (ns.size() < messages) receive(take);
  writer.join();
  ns.erase(ns.begin(), ns.begin() + static_cast<std::ptrdiff_t>(messages / 10));  // warm-up
  std::sort(ns.begin(), ns.end());
  return {ns[ns.size() / 2] / 1000, ns[ns.size() * 99 / 100] / 1000};
}

Latencies latency_ours(BusServer& server, std::size_t messages) {
  auto bus = server.open();
  auto publisher = bus->publisher({Durability::kInterval});
  check(bus->configure_topic(kTopic, {}));
  auto subscription = subscribe(*bus);
  return latency(
      messages,
      [&](std::span<const std::string> values) {
        std::vector<OutMessage> batch;
        for (const std::string& value : values) batch.push_back({kTopic, "BTC-USD", value});
        check((*publisher)->publish(batch));
      },
      [&](const auto& take) {
        for (const InMessage& m : consume(*subscription)) take(m.value);
      });
}

Latencies latency_bare(BusServer& server, std::size_t messages) {
  auto out = server.bare();
  auto in = server.bare();
  return latency(
      messages, [&](std::span<const std::string> values) { out->publish(values); },
      [&](const auto& take) {
        for (const std::string_view value : in->consume(kBatch, 10'000)) take(value);
      });
}

void latency_rows(const ServerKind& kind) {
  const std::string name = "bus_" + kind.name + "_latency_";
  if (!wanted(name + "p50") && !wanted(name + "p99")) return;
  const std::size_t messages = quick ? 10'000 : 40'000;
  std::vector<double> p99[2];
  const auto keep = [&](int who, Latencies l) {
    p99[who].push_back(l.p99);
    return l.p50;
  };
  const auto p50 = take_turns(kind, {[&](BusServer& server) { return keep(0, latency_ours(server, messages)); },
                                     [&](BusServer& server) { return keep(1, latency_bare(server, messages)); }});
  const std::string note = "20,000 messages a second, 20 each millisecond";
  if (wanted(name + "p50")) report(name + "p50", p50[0], p50[1], "us", kP50Goal, note);
  if (wanted(name + "p99")) report(name + "p99", p99[0], p99[1], "us", kP99Goal, note);
}

void run(const ServerKind& kind) {
  if (!kind.missing.empty()) {
    std::fprintf(stderr, "bus_servers_bench: %s is left out: %s\n", kind.name.c_str(), kind.missing.c_str());
    for (const char* row : {"publish_single", "publish_500", "consume", "latency_p50", "latency_p99"}) {
      const std::string name = "bus_" + kind.name + "_" + row;
      if (!wanted(name)) continue;
      std::string line;
      JsonWriter(line).begin_object().field("name", name).field("skipped", kind.missing).end_object();
      std::puts(line.c_str());
    }
    return;
  }
  publish_row(kind, "publish_single", {.batch = 1, .messages = 10'000}, kPublishGoal);
  publish_row(kind, "publish_500", {}, kPublishGoal);
  if (kind.pack > 1) publish_row(kind, "publish_500_packed", {.pack = kind.pack}, kPackedGoal);
  consume_row(kind);
  latency_rows(kind);
  if (!kind.has_scale) return;
  scale_row(kind, "1000_topics", {.topics = 1'000}, "each batch of 500 goes to 500 of the topics; against one topic");
  scale_row(kind, "10000_symbols", {.symbols = 10'000}, "each batch of 500 has 500 of the symbols; against one symbol");
}

}  // namespace
}  // namespace utp::bench

int main(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") continue;  // it prints nothing else
    if (argument == "--quick") {
      utp::bench::quick = true;
    } else if (argument == "--filter" && i + 1 < argc) {
      utp::bench::filter = argv[++i];
    } else {
      std::fprintf(stderr, "usage: bus_servers_bench [--filter REGEX] [--quick]\n");
      return 2;
    }
  }
  utp::log::set_level(utp::log::Level::kError);
#ifdef UTP_BENCH_REDIS
  utp::bench::run(utp::bench::redis_kind());
#endif
#ifdef UTP_BENCH_NATS
  utp::bench::run(utp::bench::nats_kind());
#endif
#ifdef UTP_BENCH_KAFKA
  utp::bench::run(utp::bench::kafka_kind());
#endif
  return 0;
}
