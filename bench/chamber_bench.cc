// The whole chamber on two cores: four simulated venues flat out, collector -> queue -> mapper -> normalizer -> embedded bus ->
// persister -> SQLite, against a bare prepared INSERT OR IGNORE loop that puts the very same rows into the same tables. A third of
// the raw frames are trades and books, the rest quotes. Memory is watched throughout.
//
//   chamber_bench [--filter REGEX] [--quick] [--frames N]
#include <sched.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bench_tools.h"
#include "connector/host.h"
#include "connectors/sim/sim.h"
#include "core/embedded_file.h"
#include "core/json_writer.h"
#include "core/log.h"
#include "drivers/bus/embedded/embedded_bus.h"
#include "drivers/store/sqlite/sqlite_store.h"
#include "persist/persister.h"

namespace {

using namespace utp;
using bench::must;
using bench::stop;

constexpr int kConnectors = 4;
constexpr double kGoal = 0.6;           // of the bare loop's rows a second
constexpr double kMemoryMax = 256;      // MB, anonymous
constexpr double kGrowthMax = 1.1;      // last quarter of the run against its second
constexpr std::int64_t kDrainTimeoutNs = 600'000'000'000;


double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

double cpu_seconds() {
  rusage used{};
  ::getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) * 1e-6; };
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

double anonymous_mb() {
  std::ifstream in("/proc/self/status");
  for (std::string line; std::getline(in, line);) {
    if (line.starts_with("RssAnon:")) return std::stod(line.substr(8)) / 1024;
  }
  stop("/proc/self/status does not say RssAnon");
}

void report(const std::string& name, double ours, double floor, const char* unit, double ratio, double goal, bool holds) {
  std::string line;
  JsonWriter json(line);
  json.begin_object().field("name", name).field("ours", ours);
  if (floor > 0) json.field("floor", floor);
  else json.key("floor").null();
  json.field("unit", unit);
  if (goal > 0) json.field("ratio", ratio).field("goal", goal).field("holds", holds);
  else json.key("ratio").null().key("goal").null().key("holds").null();
  json.end_object();
  std::puts(line.c_str());
  std::fflush(stdout);
}

Manifest sim_manifest(const Registry& registry) {
  for (const EmbeddedFile& file : embedded::manifests()) {
    if (file.path == "connectors/sim/connector.manifest.yaml") return must(parse_manifest(file.content, std::string(file.path), registry));
  }
  stop("the sim's manifest is not built in");
}

struct Figures {
  std::uint64_t rows = 0, frames = 0, conflated = 0;
  double seconds = 0, cpu_seconds = 0;
  double memory_max = 0, memory_growth = 1;
  std::string memory_course;
};

// Samples of RssAnon until it is destroyed.
class MemoryWatch {
 public:
  MemoryWatch() : thread_([this] {
      while (!done_) {
        samples_.push_back(anonymous_mb());
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
    }) {}
  ~MemoryWatch() { end(); }
  void end() {
    done_ = true;
    if (thread_.joinable()) thread_.join();
  }
  double highest() const { return samples_.empty() ? 0 : *std::max_element(samples_.begin(), samples_.end()); }
  // Ten points over the run, in MB.
  std::string course() const {
    std::string text;
    for (std::size_t i = 0; i < 10 && !samples_.empty(); ++i) text += fmt::format(" {:.0f}", samples_[i * (samples_.size() - 1) / 9]);
    return text;
  }
  // The last quarter's mean against the second quarter's: what fills up at the start (queues, caches) is not growth.
  double growth() const {
    const std::size_t n = samples_.size();
    if (n < 8) return 1;
    const auto mean = [&](std::size_t from, std::size_t to) {
      double sum = 0;
      for (std::size_t i = from; i < to; ++i) sum += samples_[i];
      return sum / static_cast<double>(to - from);
    };
    return mean(n * 3 / 4, n) / mean(n / 4, n / 2);
  }

 private:
  std::vector<double> samples_;
  std::atomic<bool> done_ = false;
  std::thread thread_;
};

Figures run_chamber(const std::filesystem::path& folder, std::uint64_t frames) {
  SystemClock clock;
  const Registry registry = must(Registry::builtin());
  const auto bus = must(open_embedded_bus({.directory = (folder / "bus").string()}));
  const auto store = must(open_sqlite_store({.path = (folder / "chamber.db").string()}));
  const BuiltinConnector builtin = sim_connector();

  PersisterOptions options;
  options.patterns = {"utp.bench.>"};
  const auto persister = must(Persister::create(*bus, *store, registry, clock, options));
  PersisterRunner runner(*persister);

  Figures figures;
  std::vector<std::unique_ptr<ConnectorInstance>> instances;
  for (int i = 0; i < kConnectors; ++i) {
    InstanceOptions instance;
    instance.manifest = sim_manifest(registry);
    instance.source_id = fmt::format("sim.bench{}", i);
    instance.realm = "bench";
    instance.region = "local";
    instance.channels = {"quotes", "trades", "books"};
    instance.seed = static_cast<std::uint64_t>(i) + 1;
    instance.settings_json = fmt::format(R"({{"pace":"flat","frames":{},"rates":{{"quotes":4000,"trades":1000,"books":1000}}}})", frames / kConnectors);
    instance.publisher.durability = Durability::kInterval;
    instances.push_back(must(ConnectorInstance::create(std::move(instance), &builtin, registry, clock, *bus)));
  }
  {
    MemoryWatch memory;
    const double started = now(), cpu_started = cpu_seconds();
    runner.start();
    for (const auto& instance : instances) instance->start();
    while (std::any_of(instances.begin(), instances.end(), [](const auto& i) { return !i->finished(); })) {
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
      if (!runner.running()) must(runner.stop());
    }
    if (!runner.drain(kDrainTimeoutNs)) stop("the persister did not come to an end");
    figures.seconds = now() - started;
    figures.cpu_seconds = cpu_seconds() - cpu_started;
    memory.end();
    figures.memory_max = memory.highest();
    figures.memory_growth = memory.growth();
    figures.memory_course = memory.course();
  }
  for (const auto& instance : instances) {
    instance->stop();
    const InstanceStatus status = instance->status();
    figures.frames += status.counts.frames;
    figures.conflated += status.counts.conflated;
    if (status.counts.rejects != 0 || status.dead_letters.letters != 0) stop(status.source_id + " had dead letters");
  }
  must(runner.stop());
  figures.rows = persister->stats().stored;
  return figures;
}

class Database {
 public:
  explicit Database(const std::filesystem::path& path) {
    if (sqlite3_open(path.c_str(), &handle_) != SQLITE_OK) stop(path.string() + ": " + sqlite3_errmsg(handle_));
  }
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;
  ~Database() { sqlite3_close(handle_); }
  void execute(const std::string& sql) {
    if (sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK) stop(sql + ": " + sqlite3_errmsg(handle_));
  }
  sqlite3_stmt* prepare(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    if (sqlite3_prepare_v2(handle_, sql.c_str(), -1, &statement, nullptr) != SQLITE_OK) stop(sql + ": " + sqlite3_errmsg(handle_));
    return statement;
  }

 private:
  sqlite3* handle_ = nullptr;
};

struct Table {
  std::string name, create;
};

// Seconds that the bare loop takes for `rows` of one table, in the order in which they were taken in. The values are in memory, as
// SQLite gave them out, before the clock starts.
double insert_bare(Database& from, Database& to, const Table& table, std::uint64_t& rows) {
  constexpr std::size_t kChunk = 100'000, kBatch = 2000;  // the persister's
  sqlite3_stmt* const select = from.prepare(fmt::format("SELECT * FROM \"{}\" ORDER BY ingest_time", table.name));
  const int columns = sqlite3_column_count(select);
  std::string marks;
  for (int i = 0; i < columns; ++i) marks += i == 0 ? "?" : ",?";
  sqlite3_stmt* const insert = to.prepare(fmt::format("INSERT OR IGNORE INTO \"{}\" VALUES ({})", table.name, marks));
  std::vector<sqlite3_value*> values;
  double seconds = 0;
  for (bool more = true; more;) {
    for (sqlite3_value* v : values) sqlite3_value_free(v);
    values.clear();
    while (values.size() < kChunk * static_cast<std::size_t>(columns) && (more = sqlite3_step(select) == SQLITE_ROW)) {
      for (int i = 0; i < columns; ++i) values.push_back(sqlite3_value_dup(sqlite3_column_value(select, i)));
    }
    const std::size_t count = values.size() / static_cast<std::size_t>(columns);
    const double started = now();
    for (std::size_t r = 0; r < count; ++r) {
      if (r % kBatch == 0) to.execute("BEGIN IMMEDIATE");
      for (int i = 0; i < columns; ++i) {
        sqlite3_value* const value = values[r * static_cast<std::size_t>(columns) + static_cast<std::size_t>(i)];
        switch (sqlite3_value_type(value)) {
          case SQLITE_INTEGER: sqlite3_bind_int64(insert, i + 1, sqlite3_value_int64(value)); break;
          case SQLITE_FLOAT: sqlite3_bind_double(insert, i + 1, sqlite3_value_double(value)); break;
          case SQLITE_TEXT:
            sqlite3_bind_text(insert, i + 1, reinterpret_cast<const char*>(sqlite3_value_text(value)), sqlite3_value_bytes(value), SQLITE_STATIC);
            break;
          case SQLITE_BLOB: sqlite3_bind_blob(insert, i + 1, sqlite3_value_blob(value), sqlite3_value_bytes(value), SQLITE_STATIC); break;
          default: sqlite3_bind_null(insert, i + 1);
        }
      }
      if (sqlite3_step(insert) != SQLITE_DONE) stop("the bare loop's insert failed");
      sqlite3_reset(insert);
      if (r % kBatch == kBatch - 1 || r + 1 == count) to.execute("COMMIT");
    }
    seconds += now() - started;
    rows += count;
  }
  for (sqlite3_value* v : values) sqlite3_value_free(v);
  sqlite3_finalize(select);
  sqlite3_finalize(insert);
  return seconds;
}

// Rows a second of the bare loop over everything that the chamber stored.
double bare_rows_per_second(const std::filesystem::path& folder, std::uint64_t expected) {
  Database from(folder / "chamber.db"), to(folder / "bare.db");
  // The store's own settings.
  sqlite3_stmt* const page = from.prepare("PRAGMA page_size");
  if (sqlite3_step(page) == SQLITE_ROW) to.execute(fmt::format("PRAGMA page_size={}", sqlite3_column_int(page, 0)));
  sqlite3_finalize(page);
  to.execute("PRAGMA journal_mode=WAL");
  to.execute("PRAGMA synchronous=FULL");
  to.execute("PRAGMA cache_size=-32768");
  std::vector<Table> tables;
  sqlite3_stmt* const list = from.prepare("SELECT name, sql FROM sqlite_master WHERE type='table' AND name IN (SELECT table_name FROM utp_tables)");
  while (sqlite3_step(list) == SQLITE_ROW) {
    tables.push_back({reinterpret_cast<const char*>(sqlite3_column_text(list, 0)), reinterpret_cast<const char*>(sqlite3_column_text(list, 1))});
  }
  sqlite3_finalize(list);
  double seconds = 0;
  std::uint64_t rows = 0;
  for (const Table& table : tables) {
    to.execute(table.create);
    seconds += insert_bare(from, to, table, rows);
  }
  if (rows < expected) stop(fmt::format("the store holds {} rows, the persister counted {}", rows, expected));
  return static_cast<double>(rows) / seconds;
}

void stay_on_two_cores() {
  cpu_set_t all, two;
  CPU_ZERO(&all);
  CPU_ZERO(&two);
  if (::sched_getaffinity(0, sizeof all, &all) != 0) return;
  int taken = 0;
  for (int i = 0; i < CPU_SETSIZE && taken < 2; ++i) {
    if (!CPU_ISSET(i, &all)) continue;
    CPU_SET(i, &two);
    ++taken;
  }
  (void)::sched_setaffinity(0, sizeof two, &two);
}

}  // namespace

int main(int argc, char** argv) {
  bool quick = false;
  std::uint64_t frames = 0;
  std::string filter;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--quick") == 0) quick = true;
    else if (std::strcmp(argv[i], "--frames") == 0 && i + 1 < argc) frames = std::strtoull(argv[++i], nullptr, 10);
    else if (std::strcmp(argv[i], "--filter") == 0 && i + 1 < argc) filter = argv[++i];
    else if (std::strcmp(argv[i], "--json") != 0) stop(std::string("unknown argument ") + argv[i]);
  }
  // One run gives all figures: it is made when any of them is asked for.
  const char* const names[] = {"chamber.rows", "chamber.memory", "chamber.memory_growth", "chamber.cpu", "chamber.frames"};
  if (!filter.empty() && std::none_of(std::begin(names), std::end(names), [&](const char* n) { return std::regex_search(n, std::regex(filter)); })) {
    return 0;
  }
  if (frames == 0) frames = quick ? 40'000 : 6'000'000;
  log::set_level(log::Level::kError);
  stay_on_two_cores();
  const bench::TemporaryFolder folder;
  const Figures f = run_chamber(folder.path(), frames);
  const double bare = bare_rows_per_second(folder.path(), f.rows);
  const auto rows = static_cast<double>(std::max<std::uint64_t>(f.rows, 1));
  const double ours = rows / f.seconds;
  fmt::print(stderr, "chamber_bench: {} frames, {} rows in {:.1f} s; {} quotes conflated under pressure; anonymous MB over the run:{}\n", f.frames,
             f.rows, f.seconds, f.conflated, f.memory_course);
  report(names[0], ours, bare, "rows/s", ours / bare, kGoal, ours / bare >= kGoal);
  report(names[1], f.memory_max, kMemoryMax, "MB", f.memory_max / kMemoryMax, 1, f.memory_max < kMemoryMax);
  report(names[2], f.memory_growth, 1, "x", f.memory_growth, kGrowthMax, f.memory_growth <= kGrowthMax);
  report(names[4], static_cast<double>(f.frames) / f.seconds, 0, "frames/s", 0, 0, true);
  report(names[3], f.cpu_seconds / rows * 1e9, 0, "ns of CPU per row", 0, 0, true);
  return 0;
}
