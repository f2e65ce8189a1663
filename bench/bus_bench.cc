// The embedded bus against bare LMDB. Ours and the floor take turns in one run; figures are medians over the rounds.
// bus_bench [--filter REGEX] [--quick] [--directory DIR]: a JSON object a line.
#include <lmdb.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "core/json_writer.h"
#include "core/random.h"
#include "drivers/bus/embedded/embedded_bus.h"

namespace {

using utp::Durability;

constexpr std::size_t kBatch = 1000;
constexpr std::size_t kMessageBytes = 430;
constexpr std::int64_t kIntervalNs = 100'000'000;
constexpr const char* kTopic = "utp.bench.local.quotes.v2";

std::string base_directory;
bool quick = false;

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::string fresh_directory() {
  std::string name = base_directory + "/bus_bench_XXXXXX";
  if (::mkdtemp(name.data()) == nullptr) {
    std::fprintf(stderr, "bus_bench: cannot make a directory in %s\n", base_directory.c_str());
    std::exit(1);
  }
  return name;
}

[[noreturn]] void die(const std::string& message) {
  std::fprintf(stderr, "bus_bench: %s\n", message.c_str());
  std::_Exit(1);
}

void report(const std::string& name, double ours, double floor, const char* unit, double ratio, double goal) {
  std::string line;
  utp::JsonWriter json(line);
  json.begin_object().field("name", name).field("ours", ours);
  if (floor > 0) {
    json.field("floor", floor);
  } else {
    json.key("floor").null();
  }
  json.field("unit", unit).field("ratio", ratio).field("goal", goal).field("holds", ratio <= goal).end_object();
  std::puts(line.c_str());
  std::fflush(stdout);
}

std::vector<std::string> make_values() {
  utp::Random random(1);
  std::vector<std::string> values(kBatch, std::string(kMessageBytes, ' '));
  for (auto& value : values) {
    for (char& c : value) c = static_cast<char>('0' + random.below(64));
  }
  return values;
}

// What a minimal program would do: one environment, one key a message, one transaction a batch.
class BareLmdb {
 public:
  BareLmdb(const std::string& directory, bool commit) : commit_(commit) {
    check(mdb_env_create(&env_));
    check(mdb_env_set_mapsize(env_, std::size_t{16} << 30));
    check(mdb_env_open(env_, (directory + "/bare.mdb").c_str(), MDB_NOSUBDIR | (commit ? 0u : unsigned{MDB_NOSYNC}), 0666));
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &txn));
    check(mdb_dbi_open(txn, nullptr, MDB_INTEGERKEY | MDB_CREATE, &dbi_));
    check(mdb_txn_commit(txn));
    if (!commit) syncer_ = std::thread([this] { sync_loop(); });
  }
  ~BareLmdb() {
    stop_ = true;
    if (syncer_.joinable()) syncer_.join();
    mdb_env_close(env_);
  }
  void append(const std::vector<std::string>& values) {
    MDB_txn* txn = nullptr;
    check(mdb_txn_begin(env_, nullptr, 0, &txn));
    MDB_cursor* cursor = nullptr;
    check(mdb_cursor_open(txn, dbi_, &cursor));
    MDB_val key{};
    MDB_val value{};
    std::uint64_t next = 0;  // other processes append too
    if (mdb_cursor_get(cursor, &key, &value, MDB_LAST) == 0) std::memcpy(&next, key.mv_data, sizeof next);
    for (const std::string& text : values) {
      ++next;
      key = {sizeof next, &next};
      value = {text.size(), const_cast<char*>(text.data())};
      check(mdb_cursor_put(cursor, &key, &value, MDB_APPEND));
    }
    mdb_cursor_close(cursor);
    check(mdb_txn_commit(txn));
  }

 private:
  static void check(int rc) {
    if (rc != 0) die(std::string("bare LMDB: ") + mdb_strerror(rc));
  }
  void sync_loop() {
    std::int64_t next = now_ns() + kIntervalNs;
    while (!stop_) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      if (now_ns() < next) continue;
      mdb_env_sync(env_, 1);
      next = now_ns() + kIntervalNs;
    }
  }
  bool commit_;
  MDB_env* env_ = nullptr;
  MDB_dbi dbi_ = 0;
  std::atomic<bool> stop_{false};
  std::thread syncer_;
};

std::unique_ptr<utp::Bus> open_bus(const std::string& directory) {
  utp::EmbeddedBusOptions options;
  options.directory = directory + "/bus";
  options.retention_bytes = std::uint64_t{64} << 30;
  auto bus = utp::open_embedded_bus(options);
  if (!bus) die(bus.error().message);
  return std::move(*bus);
}

// Nanoseconds per message to publish `batches` batches.
double run_ours(const std::string& directory, Durability durability, int batches, const std::vector<std::string>& values) {
  auto bus = open_bus(directory);
  auto publisher = bus->publisher({durability, kIntervalNs});
  std::vector<utp::OutMessage> messages;
  for (const std::string& value : values) messages.push_back({kTopic, "BTC-USD", value});
  if (!(*publisher)->publish({messages.data(), 1})) die("publish failed");  // the topic is there
  const std::int64_t begin = now_ns();
  for (int i = 0; i < batches; ++i) {
    if (const auto status = (*publisher)->publish(messages); !status) die(status.error().message);
  }
  return static_cast<double>(now_ns() - begin) / (static_cast<double>(batches) * kBatch);
}

double run_floor(const std::string& directory, Durability durability, int batches, const std::vector<std::string>& values) {
  BareLmdb bare(directory, durability == Durability::kCommit);
  bare.append({values[0]});
  const std::int64_t begin = now_ns();
  for (int i = 0; i < batches; ++i) bare.append(values);
  return static_cast<double>(now_ns() - begin) / (static_cast<double>(batches) * kBatch);
}

// The same in several processes on one directory; they begin together. Wall time per message of all.
double in_processes(int processes, const std::string& directory, int batches,
                    const std::function<void(const std::string&, std::atomic<int>&)>& body) {
  void* memory = ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  auto* ready = new (memory) std::atomic<int>(0);
  std::vector<pid_t> children;
  for (int i = 0; i < processes; ++i) {
    const pid_t pid = ::fork();  // before any bus is open in this process
    if (pid == 0) {
      body(directory, *ready);
      std::_Exit(0);
    }
    children.push_back(pid);
  }
  while (ready->load() < processes) std::this_thread::sleep_for(std::chrono::microseconds(200));
  const std::int64_t begin = now_ns();
  ready->store(1'000'000);
  bool good = true;
  for (const pid_t pid : children) {
    int status = 0;
    ::waitpid(pid, &status, 0);
    good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  }
  const double ns = static_cast<double>(now_ns() - begin);
  ::munmap(memory, 4096);
  if (!good) die("a publishing process failed");
  return ns / (static_cast<double>(batches) * processes * kBatch);
}

void wait_for_start(std::atomic<int>& ready) {
  ready.fetch_add(1);
  while (ready.load() < 1'000'000) std::this_thread::sleep_for(std::chrono::microseconds(50));
}

double run_ours_processes(const std::string& directory, Durability durability, int batches, const std::vector<std::string>& values) {
  return in_processes(4, directory, batches, [&](const std::string& d, std::atomic<int>& ready) {
    auto bus = open_bus(d);
    auto publisher = bus->publisher({durability, kIntervalNs});
    std::vector<utp::OutMessage> messages;
    for (const std::string& value : values) messages.push_back({kTopic, "BTC-USD", value});
    if (!(*publisher)->publish({messages.data(), 1})) die("publish failed");
    wait_for_start(ready);
    for (int i = 0; i < batches; ++i) {
      if (const auto status = (*publisher)->publish(messages); !status) die(status.error().message);
    }
    std::_Exit(0);  // without a last sync, as the floor
  });
}

double run_floor_processes(const std::string& directory, Durability durability, int batches, const std::vector<std::string>& values) {
  return in_processes(4, directory, batches, [&](const std::string& d, std::atomic<int>& ready) {
    BareLmdb bare(d, durability == Durability::kCommit);
    bare.append({values[0]});
    wait_for_start(ready);
    for (int i = 0; i < batches; ++i) bare.append(values);
    std::_Exit(0);
  });
}

using Run = double (*)(const std::string&, Durability, int, const std::vector<std::string>&);

void compare(const std::string& name, Durability durability, int batches, int rounds, Run ours, Run floor) {
  const auto values = make_values();
  std::vector<double> our_times;
  std::vector<double> floor_times;
  std::vector<double> ratios;
  for (int round = 0; round < rounds; ++round) {
    double times[2] = {};
    for (int turn = 0; turn < 2; ++turn) {
      const bool is_ours = (turn + round) % 2 == 0;
      const std::string directory = fresh_directory();
      times[is_ours ? 0 : 1] = (is_ours ? ours : floor)(directory, durability, batches, values);
      std::filesystem::remove_all(directory);
      ::sync();  // neither pays for the other's pages
    }
    our_times.push_back(times[0]);
    floor_times.push_back(times[1]);
    ratios.push_back(times[0] / times[1]);
  }
  report(name, median(our_times), median(floor_times), "ns/message", median(ratios), 1.3);
}

// ---- publish to receive ----

struct Latencies {
  double p50 = 0, p99 = 0;
};

Latencies measure(std::vector<double> ns) {
  std::sort(ns.begin(), ns.end());
  if (ns.empty()) die("no message arrived");
  return {ns[ns.size() / 2] / 1000, ns[ns.size() * 99 / 100] / 1000};
}

// Publishes `count` messages at 1,000 a second; each carries the time just before its publish.
void publish_paced(utp::Bus& bus, int count) {
  auto publisher = bus.publisher({Durability::kInterval, kIntervalNs});
  std::string value(kMessageBytes, 'x');
  std::int64_t next = now_ns();
  for (int i = 0; i < count; ++i) {
    next += 1'000'000;
    const std::int64_t pause = next - now_ns();
    if (pause > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(pause));
    const std::int64_t sent = now_ns();
    std::memcpy(value.data(), &sent, sizeof sent);
    const utp::OutMessage message{kTopic, "BTC-USD", value};
    if (const auto status = (*publisher)->publish({&message, 1}); !status) die(status.error().message);
  }
}

Latencies receive_all(utp::Bus& bus, int count) {
  utp::SubscriptionOptions options;
  options.patterns = {kTopic};
  auto subscription = bus.subscribe(options);
  std::vector<double> latencies;
  while (static_cast<int>(latencies.size()) < count) {
    auto got = (*subscription)->poll(1000, 1 << 20, 5'000'000'000);
    const std::int64_t now = now_ns();
    if (!got) die(got.error().message);
    if (got->empty()) die("messages are missing");
    for (const auto& message : *got) {
      std::int64_t sent = 0;
      std::memcpy(&sent, message.value.data(), sizeof sent);
      latencies.push_back(static_cast<double>(now - sent));
    }
  }
  latencies.erase(latencies.begin(), latencies.begin() + std::min<std::ptrdiff_t>(100, count / 10));  // warm-up
  return measure(std::move(latencies));
}

Latencies latency_between_threads(int count) {
  const std::string directory = fresh_directory();
  Latencies result;
  {
    auto bus = open_bus(directory);
    std::thread writer([&] { publish_paced(*bus, count); });
    result = receive_all(*bus, count);
    writer.join();
  }
  std::filesystem::remove_all(directory);
  return result;
}

Latencies latency_between_processes(int count) {
  const std::string directory = fresh_directory();
  const pid_t pid = ::fork();
  if (pid == 0) {
    auto bus = open_bus(directory);
    publish_paced(*bus, count);
    std::_Exit(0);
  }
  Latencies result;
  {
    auto bus = open_bus(directory);
    result = receive_all(*bus, count);
  }
  ::waitpid(pid, nullptr, 0);
  std::filesystem::remove_all(directory);
  return result;
}

void latency(const std::string& name, Latencies (*run)(int), double goal_us) {
  std::vector<double> p50;
  std::vector<double> p99;
  for (int i = 0; i < (quick ? 1 : 5); ++i) {
    const Latencies l = run(quick ? 1000 : 4000);
    p50.push_back(l.p50);
    p99.push_back(l.p99);
  }
  report(name + "_p99", median(p99), 0, "us", median(p99) / goal_us, 1.0);  // of the time allowed
  std::fprintf(stderr, "%s: p50 %.1f us, p99 %.1f us\n", name.c_str(), median(p50), median(p99));
}

}  // namespace

int main(int argc, char** argv) {
  std::regex filter(".*");
  base_directory = std::filesystem::temp_directory_path().string();
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--json") continue;  // it prints nothing else
    if (argument == "--quick") quick = true;
    else if (argument == "--filter" && i + 1 < argc) filter = argv[++i];
    else if (argument == "--directory" && i + 1 < argc) base_directory = argv[++i];
    else {
      std::fprintf(stderr, "usage: bus_bench [--filter REGEX] [--quick] [--directory DIR]\n");
      return 2;
    }
  }
  const auto wanted = [&](const std::string& name) { return std::regex_search(name, filter); };
  const int rounds = quick ? 3 : 9;
  const auto compare_if = [&](const std::string& name, Durability durability, int batches, Run ours, Run floor) {
    if (wanted(name)) compare(name, durability, quick ? std::max(batches / 10, 10) : batches, rounds, ours, floor);
  };
  compare_if("bus_publish_commit", Durability::kCommit, 200, run_ours, run_floor);
  compare_if("bus_publish_interval", Durability::kInterval, 1000, run_ours, run_floor);
  compare_if("bus_publish_commit_4_processes", Durability::kCommit, 50, run_ours_processes, run_floor_processes);
  compare_if("bus_publish_interval_4_processes", Durability::kInterval, 250, run_ours_processes, run_floor_processes);
  if (wanted("bus_latency_threads_p99")) latency("bus_latency_threads", latency_between_threads, 100);
  if (wanted("bus_latency_processes_p99")) latency("bus_latency_processes", latency_between_processes, 300);
  return 0;
}
