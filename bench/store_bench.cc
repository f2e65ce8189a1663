// The persister (bus to committed rows, decoding included) against a bare prepared INSERT OR IGNORE loop over rows that are
// decoded already, into the same table with the same batch and the same synchronous setting.
//
//   store_bench [--filter REGEX] [--quick]
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <regex>
#include <string>
#include <thread>
#include <vector>

#include "bench_tools.h"
#include "quote_feed.h"
#include "core/json_writer.h"
#include "core/log.h"
#include "drivers/bus/embedded/embedded_bus.h"
#include "drivers/store/sqlite/sqlite_store.h"
#include "persist/persister.h"
#include "schema/registry.h"
#include "store/ddl.h"

namespace {

using namespace utp;
using bench::must;
using bench::stop;

constexpr double kGoal = 1.25;


double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// CPU time of this process, all threads.
double cpu_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// What the bare loop binds: nothing is left to convert.
struct PlainQuote {
  std::int64_t event_time, ingest_time, sequence, checksum;
  char key[16];
  std::string symbol;
  double bid, ask, mid, bid_size, ask_size;
};

class Bench {
 public:
  Bench(bool quick, std::regex filter) : quick_(quick), filter_(std::move(filter)) {}

  bool run() {
    fill_bus();
    const bool full = compare("persister.sqlite", SqliteSynchronous::kFull);
    const bool normal = compare("persister.sqlite.synchronous_normal", SqliteSynchronous::kNormal);
    return full && normal;
  }

 private:
  std::size_t events() const { return quick_ ? 20'000 : 300'000; }
  std::size_t rounds() const { return quick_ ? 1 : 7; }

  void fill_bus() {
    bus_ = must(open_embedded_bus({.directory = folder_ / "bus"}));
    const auto publisher = must(bus_->publisher({.durability = Durability::kInterval}));
    bench::QuoteFeed(registry_, {}).publish(*publisher, events(), [&](const Event& event) { keep_plain(event); });
  }

  void keep_plain(const Event& event) {
    const Plan& plan = event.row.plan();
    PlainQuote& plain = plain_.emplace_back();
    plain.event_time = event.envelope.event_time.ns;
    plain.ingest_time = event.envelope.ingest_time.ns;
    plain.sequence = static_cast<std::int64_t>(event.envelope.sequence);
    plain.checksum = static_cast<std::int64_t>(event.envelope.checksum);
    const Hash128 key = event.key();
    std::memcpy(plain.key, &key.high, 8);
    std::memcpy(plain.key + 8, &key.low, 8);
    plain.symbol = event.envelope.symbol;
    const auto number = [&](const char* name) { return event.row[*plan.column(name)].as_decimal().to_double(); };
    plain.bid = number("bid");
    plain.ask = number("ask");
    plain.mid = number("mid");
    plain.bid_size = number("bid_size");
    plain.ask_size = number("ask_size");
  }

  std::string fresh_file(const char* name) {
    const std::string path = folder_ / name;
    for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path + suffix);
    return path;
  }

  double bare_seconds(SqliteSynchronous synchronous) {
    const std::string path = fresh_file("bare.db");
    const auto plan = registry_.by_event_type("quotes/v2");
    must(must(open_sqlite_store({.path = path}))->prepare(plan));  // the same file and table
    sqlite3* db = nullptr;
    if (sqlite3_open_v2(path.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr) != SQLITE_OK) stop("cannot open " + path);
    const auto execute = [&](const char* sql) {
      if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) != SQLITE_OK) stop(sqlite3_errmsg(db));
    };
    execute(synchronous == SqliteSynchronous::kFull ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=NORMAL");
    execute("PRAGMA cache_size=-32768");
    std::string sql = must(insert_sql(*plan));
    sql = "INSERT OR IGNORE" + sql.substr(6, sql.find(" ON CONFLICT") - 6);
    sqlite3_stmt* s = nullptr;
    if (sqlite3_prepare_v3(db, sql.c_str(), -1, SQLITE_PREPARE_PERSISTENT, &s, nullptr) != SQLITE_OK) stop(sqlite3_errmsg(db));
    const std::size_t batch = PersisterOptions{}.batch_events_max;
    const auto start = std::chrono::steady_clock::now();
    for (std::size_t i = 0; i < plain_.size(); i += batch) {
      execute("BEGIN IMMEDIATE");
      for (std::size_t j = i; j < std::min(i + batch, plain_.size()); ++j) {
        const PlainQuote& q = plain_[j];
        sqlite3_bind_int64(s, 1, q.event_time);
        sqlite3_bind_blob(s, 2, q.key, 16, SQLITE_STATIC);
        sqlite3_bind_text(s, 3, q.symbol.data(), static_cast<int>(q.symbol.size()), SQLITE_STATIC);
        sqlite3_bind_text(s, 4, "venue.us1", 9, SQLITE_STATIC);
        sqlite3_bind_text(s, 5, "utp://quotes/2.0.0", 18, SQLITE_STATIC);
        sqlite3_bind_text(s, 6, "venue", 5, SQLITE_STATIC);
        sqlite3_bind_int64(s, 7, q.ingest_time);
        sqlite3_bind_int64(s, 8, q.sequence);
        sqlite3_bind_int64(s, 9, q.checksum);
        sqlite3_bind_null(s, 10);
        sqlite3_bind_double(s, 11, q.bid);
        sqlite3_bind_double(s, 12, q.ask);
        sqlite3_bind_double(s, 13, q.mid);
        sqlite3_bind_double(s, 14, q.bid_size);
        sqlite3_bind_double(s, 15, q.ask_size);
        sqlite3_bind_text(s, 16, "venue", 5, SQLITE_STATIC);
        sqlite3_bind_text(s, 17, "ticker", 6, SQLITE_STATIC);
        if (sqlite3_step(s) != SQLITE_DONE) stop(sqlite3_errmsg(db));
        sqlite3_reset(s);
      }
      execute("COMMIT");
    }
    const double seconds = seconds_since(start);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return seconds;
  }

  double persister_seconds(SqliteSynchronous synchronous) {
    const std::string path = fresh_file("ours.db");
    const auto store = must(open_sqlite_store({.path = path, .synchronous = synchronous}));
    must(store->prepare(registry_.by_event_type("quotes/v2")));
    PersisterOptions options;
    options.patterns = {"utp.prod.local.>"};
    options.group = "bench" + std::to_string(group_++);
    const auto persister = must(Persister::create(*bus_, *store, registry_, clock_, options));
    PersisterRunner runner(*persister);
    const auto start = std::chrono::steady_clock::now();
    runner.start();
    // The clock stops with the last commit, not with the idle poll after it.
    double seconds = 0;
    while (persister->stats().stored < plain_.size()) {
      if (!runner.running()) stop("the persister ended: " + runner.stop().error().message);
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    seconds = seconds_since(start);
    must(runner.stop());
    must(bus_->delete_group(options.group));
    const auto stats = must(store->stats());
    if (stats.size() != 1 || stats[0].rows != plain_.size()) stop("rows are missing");
    return seconds;
  }

  bool compare(const std::string& name, SqliteSynchronous synchronous) {
    if (!std::regex_search(name, filter_)) return true;
    std::vector<double> ours, floor, ratio, cpu, floor_cpu;
    for (std::size_t round = 0; round < rounds(); ++round) {
      const double before = cpu_seconds();
      floor.push_back(bare_seconds(synchronous));
      const double between = cpu_seconds();
      ours.push_back(persister_seconds(synchronous));
      floor_cpu.push_back(between - before);
      cpu.push_back(cpu_seconds() - between);
      ratio.push_back(ours.back() / floor.back());
    }
    const auto median = [](std::vector<double> values) {
      std::sort(values.begin(), values.end());
      return values[values.size() / 2];
    };
    const double rows = static_cast<double>(plain_.size());
    const bool holds = median(ratio) <= kGoal;
    std::string line;
    JsonWriter(line)
        .begin_object()
        .field("name", name)
        .field("ours", median(ours) / rows * 1e6)
        .field("floor", median(floor) / rows * 1e6)
        .field("unit", "us/row")
        .field("ratio", median(ratio))
        .field("goal", kGoal)
        .field("holds", holds)
        .field("rows_per_s", static_cast<std::int64_t>(rows / median(ours)))
        .field("floor_rows_per_s", static_cast<std::int64_t>(rows / median(floor)))
        .field("cpu_us_per_row", median(cpu) / rows * 1e6)
        .field("floor_cpu_us_per_row", median(floor_cpu) / rows * 1e6)
        .field("rows", plain_.size())
        .end_object();
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
    return holds;
  }

  bool quick_;
  std::regex filter_;
  bench::TemporaryFolder folder_;
  Registry registry_ = must(Registry::builtin());
  SystemClock clock_;
  std::unique_ptr<Bus> bus_;
  std::vector<PlainQuote> plain_;
  int group_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  auto [quick, filter] = utp::bench::read_arguments(argc, argv);
  utp::log::set_level(utp::log::Level::kWarn);
  return Bench(quick, std::move(filter)).run() || quick ? 0 : 1;
}
