// The persister, from bus to committed rows in PostgreSQL, decoding included, against the client library alone that sends
// rows made ready beforehand into tables of the same make: by binary COPY straight into the table, and by COPY into a temporary
// table and INSERT ... ON CONFLICT DO NOTHING (a staging loop).
//
//   postgres_ingest_bench [--filter REGEX] [--quick]
//
// Quotes of 1,000 symbols into tables that hold 3,000,000 rows, the same batches and settings on all sides, a private server with
// fsync. Besides on the server that UTP_TEST_TIMESCALE_DSN names, into hypertables. `.tenth`: every tenth message is an earlier one
// again. CPU is that of this process (`cpu_us_per_row`) and of all processes of the server (`server_cpu_us_per_row`).
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "bare_postgres.h"
#include "bench_tools.h"
#include "core/json_writer.h"
#include "core/log.h"
#include "drivers/bus/embedded/embedded_bus.h"
#include "drivers/store/postgres/postgres_test_database.h"
#include "drivers/store/postgres/postgres_table.h"
#include "persist/persister.h"
#include "quote_feed.h"

namespace {

using namespace utp;
using bench::Bare;
using bench::must;
using bench::stop;
using Clock = std::chrono::steady_clock;

constexpr double kDirectGoal = 0.85, kStagingGoal = 0.9;
const std::size_t kBatch = PersisterOptions{}.batch_events_max;

struct Cost {
  double seconds = 0, client_cpu = 0, server_cpu = 0;
};

double client_cpu() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

// The fields of /proc/PID/stat from the third on (proc(5)).
std::vector<std::string> stat_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::stringstream text;
  text << file.rdbuf();
  std::string line = text.str();
  std::vector<std::string> out;
  std::istringstream rest(line.substr(std::min(line.size(), line.rfind(')') + 1)));
  for (std::string field; rest >> field;) out.push_back(field);
  return out;
}
double ticks(const std::vector<std::string>& stat, std::size_t first) {
  if (stat.size() < first + 2) return 0;
  return (std::atof(stat[first].c_str()) + std::atof(stat[first + 1].c_str())) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}
// Of the server with this process among its children, those that have ended included.
double server_cpu(int backend) {
  const std::vector<std::string> stat = stat_of(backend);
  if (stat.size() < 2) return 0;
  const int server = std::atoi(stat[1].c_str());
  double out = ticks(stat_of(server), 11) + ticks(stat_of(server), 13);
  std::ifstream children("/proc/" + std::to_string(server) + "/task/" + std::to_string(server) + "/children");
  for (int child = 0; children >> child;) out += ticks(stat_of(child), 11);
  return out;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// One schema with the tables as our store makes them, filled; and the ways in.
class Target {
 public:
  Target(const postgres_test::Database& database, const std::shared_ptr<const Plan>& plan, std::int64_t rows)
      : database_(database), bare_(database.in_schema()), writer_(must(postgres::TableWriter::create(plan))) {
    store_ = must(open_postgres_store(must(parse_postgres_url(database.in_schema()))));
    must(store_->prepare(plan));
    // Parts are made by the writer that first needs one.
    if (must(store_->status()).engine == "postgresql") bare_.run("SELECT utp_make_partition('quotes', timestamptz '2026-11-22 12:00:00+00')");
    bare_.run("INSERT INTO quotes (event_time, event_time_ns, key, symbol, source_id, schema_ref, event_time_source, ingest_time, ingest_time_ns, "
              "sequence, checksum, bid, ask, mid, bid_size, ask_size, venue, tick_type) SELECT at, i % 1000, md5(i::text)::uuid, 'SYM' || i * 7919 % 1000 "
              "|| '-USD', 'venue.us1', 'utp://quotes/2.0.0', 'venue', at + interval '25 ms', 0, i, i * 31, 100 + i % 1000 * 0.01, 100.01 + i % 1000 * 0.01, "
              "100.005 + i % 1000 * 0.01, i % 77 * 0.1, i % 91 * 0.5, 'venue', 'ticker' FROM (SELECT i, timestamptz '2026-11-22 00:00:00+00' + i * interval "
              "'10 ms' AS at FROM generate_series(0::bigint, " +
              std::to_string(rows - 1) + ") i) AS made");
    bare_.run("ANALYZE quotes");
    bare_.run("CREATE TEMPORARY TABLE stage ON COMMIT DELETE ROWS AS SELECT " + writer_->column_list() + " FROM quotes WITH NO DATA");
  }
  ~Target() { database_.sql("DROP SCHEMA " + database_.schema + " CASCADE"); }

  Store& store() { return *store_; }
  Bare& bare() { return bare_; }
  std::int64_t rows() { return std::atoll(bare_.value("SELECT count(*) FROM quotes").c_str()); }
  void checkpoint() { bare_.run("CHECKPOINT"); }

  // Rows in the order in which they came, in batches.
  void make_ready(const Event& event) {
    if (in_batch_ == 0) postgres::append_copy_head(buffer_);
    must(writer_->append(event, event.key(), buffer_));
    if (++in_batch_ == kBatch) end_batch();
  }
  void end_batch() {
    if (in_batch_ == 0) return;
    postgres::append_copy_end(buffer_);
    ready_.push_back({std::string(buffer_.bytes().data(), buffer_.size())});
    buffer_.cut(0);
    in_batch_ = 0;
  }
  void copy_all() {
    for (const auto& batch : ready_) bare_.copy_in(writer_->copy_sql("quotes"), batch);
    ready_.clear();
  }
  void stage_all() {
    const std::string& columns = writer_->column_list();
    for (const auto& batch : ready_) {
      bare_.run("BEGIN");
      bare_.copy_in(writer_->copy_sql("stage"), batch);
      bare_.run("INSERT INTO quotes (" + columns + ") SELECT " + columns + " FROM stage ON CONFLICT DO NOTHING");
      bare_.run("COMMIT");
    }
    ready_.clear();
  }

 private:
  postgres_test::Database database_;
  Bare bare_;
  std::unique_ptr<postgres::TableWriter> writer_;
  std::unique_ptr<Store> store_;
  postgres::CopyBuffer buffer_;
  std::size_t in_batch_ = 0;
  std::vector<std::vector<std::string>> ready_;
};

class Bench {
 public:
  Bench(bool quick, std::regex filter) : quick_(quick), filter_(std::move(filter)) {}

  bool run() {
    engine("store.postgres.ingest", &postgres_test::plain_database);
    engine("store.postgres.timescale.ingest", &postgres_test::timescale_database);
    return holds_;
  }

 private:
  std::size_t events() const { return quick_ ? 20'000 : 300'000; }
  std::size_t rounds() const { return quick_ ? 1 : 7; }
  std::int64_t rows_before() const { return quick_ ? 30'000 : 3'000'000; }
  bool wanted(const std::string& name) const { return std::regex_search(name, filter_); }

  void engine(const std::string& name, postgres_test::Database (*make)()) {
    for (const std::size_t repeat_each : {std::size_t{0}, std::size_t{10}}) {
      const std::string full = name + (repeat_each > 0 ? ".tenth" : "");
      if (!wanted(full)) continue;
      const postgres_test::Database first = make();
      if (!first.missing.empty()) {
        std::printf("%s\n", bench::skipped(full, first.missing).c_str());
        continue;
      }
      compare(full, first, make(), make(), repeat_each);
    }
  }
  Cost measure(Target& target, const std::function<void()>& work) {
    target.checkpoint();
    const double client = client_cpu(), server = server_cpu(target.bare().server_process());
    const auto start = Clock::now();
    work();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    return {seconds, client_cpu() - client, server_cpu(target.bare().server_process()) - server};
  }

  // Of each round's messages all three sides get the same, in turns that change.
  void compare(const std::string& name, const postgres_test::Database& a, const postgres_test::Database& b, const postgres_test::Database& c,
               std::size_t repeat_each) {
    const auto plan = registry_.by_event_type("quotes/v2");
    const std::string directory = folder_ / name;
    const auto bus = must(open_embedded_bus({.directory = directory}));
    const auto publisher = must(bus->publisher({.durability = Durability::kInterval}));
    Target ours(a, plan, rows_before()), direct(b, plan, rows_before()), staged(c, plan, rows_before());
    bench::QuoteFeed feed(registry_, {.symbols = 1000, .start_ns = 1'795'338'000'000'000'000, .step_max_ns = 2'000'000, .repeat_each = repeat_each});
    const auto persister = must(Persister::create(*bus, ours.store(), registry_, clock_, {.patterns = {"utp.prod.local.>"}}));
    std::uint64_t sent = 0, fresh = 0;
    const bool with_direct = repeat_each == 0;  // a duplicate ends it
    std::vector<Cost> costs[3];
    // A new connection begins with staging: the first round is for that.
    for (std::size_t round = 0; round <= rounds(); ++round) {
      const std::size_t count = round == 0 ? std::max(events() / 2, 25 * kBatch) : events();
      fresh += feed.publish(*publisher, count, [&](const Event& event) {
        if (with_direct) direct.make_ready(event);
        staged.make_ready(event);
      });
      sent += count;
      direct.end_batch();
      staged.end_batch();
      Cost cost[3];
      for (std::size_t turn = 0; turn < 3; ++turn) {
        const std::size_t side = (round + turn) % 3;
        if (side == 0) cost[0] = measure(ours, [&] { persist(*persister, sent); });
        if (side == 1 && with_direct) cost[1] = measure(direct, [&] { direct.copy_all(); });
        if (side == 2) cost[2] = measure(staged, [&] { staged.stage_all(); });
      }
      for (int side = 0; side < 3 && round > 0; ++side) costs[side].push_back(cost[side]);
    }
    const std::int64_t expected = rows_before() + static_cast<std::int64_t>(fresh);
    if (ours.rows() != expected || staged.rows() != expected) stop(name + ": rows are missing");
    report(name, ours, costs, with_direct, expected);
  }

  void persist(Persister& persister, std::uint64_t messages) {
    PersisterRunner runner(persister);
    runner.start();
    // The clock stops with the last commit, not with the idle poll after it.
    for (PersisterStats stats = persister.stats(); stats.stored + stats.duplicates < messages; stats = persister.stats()) {
      if (!runner.running()) stop("the persister ended: " + runner.stop().error().message);
      std::this_thread::sleep_for(std::chrono::microseconds(500));
    }
    must(runner.stop());
  }

  void report(const std::string& name, Target& target, const std::vector<Cost> (&costs)[3], bool with_direct, std::int64_t rows) {
    const int floor = with_direct ? 1 : 2;
    const double goal = with_direct ? kDirectGoal : kStagingGoal, count = static_cast<double>(events());
    const auto of = [&](int side, double Cost::*what) {
      std::vector<double> values;
      for (const Cost& cost : costs[side]) values.push_back(cost.*what);
      return median(values);
    };
    const auto rate = [&](int side) { return std::round(count / of(side, &Cost::seconds)); };
    std::vector<double> ratios;
    for (std::size_t i = 0; i < costs[0].size(); ++i) ratios.push_back(costs[static_cast<std::size_t>(floor)][i].seconds / costs[0][i].seconds);
    const double ratio = median(ratios);
    const StoreStatus status = must(target.store().status());
    const double bytes = static_cast<double>(status.tables.at(0).bytes);
    std::string line;
    JsonWriter json(line);
    json.begin_object().field("name", name).field("ours", rate(0)).field("floor", rate(floor)).field("unit", "rows/s").field("ratio", ratio)
        .field("goal", goal).field("holds", ratio >= goal);
    json.field("ratio_lowest", *std::min_element(ratios.begin(), ratios.end())).field("ratio_highest", *std::max_element(ratios.begin(), ratios.end()));
    json.field("staging_rows_per_s", rate(2));
    for (const auto& [side, prefix] : {std::pair{0, ""}, std::pair{floor, "floor_"}}) {
      json.field(std::string(prefix) + "cpu_us_per_row", of(side, &Cost::client_cpu) / count * 1e6);
      json.field(std::string(prefix) + "server_cpu_us_per_row", of(side, &Cost::server_cpu) / count * 1e6);
    }
    json.field("bytes_per_row", bytes / static_cast<double>(rows));
    if (status.engine == "timescaledb") {
      target.bare().run("SELECT compress_chunk(chunk, true) FROM show_chunks('quotes') AS chunk");
      json.field("compressed_bytes_per_row", static_cast<double>(must(target.store().status()).tables.at(0).bytes) / static_cast<double>(rows));
    }
    json.field("batch", kBatch).field("rows_before", rows_before()).field("rows", events());
    json.field("note", with_direct ? "bare binary COPY into the same table" : "bare staging loop, a tenth of the rows there already").end_object();
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
    holds_ = holds_ && ratio >= goal;
  }

  bool quick_;
  std::regex filter_;
  bench::TemporaryFolder folder_;
  Registry registry_ = must(Registry::builtin());
  SystemClock clock_;
  bool holds_ = true;
};

}  // namespace

int main(int argc, char** argv) {
  auto [quick, filter] = utp::bench::read_arguments(argc, argv);
  utp::log::set_level(utp::log::Level::kWarn);
  return Bench(quick, std::move(filter)).run() || quick ? 0 : 1;
}
