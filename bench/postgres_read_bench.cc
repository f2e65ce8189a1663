// Reading from the PostgreSQL store: the last value of each symbol, values as of a time, bars of a symbol and day, a long lookback; and
// what the index that answers the first two costs a writer. A private server with its default settings and 32 MB of shared buffers;
// besides the server that UTP_TEST_TIMESCALE_DSN names.
//
//   postgres_read_bench [--filter REGEX] [--quick]
//
// Ten million quotes and a million trades of 1,000 symbols over 30 days, of which 10 symbols were last seen 25 days ago; aggregates
// kept of all but the newest hours. Floor of the lookback: the
// client library alone, the same COPY, nothing decoded. Of `utp query`: the cursor. Of the index: the same COPY without it.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <regex>
#include <string>
#include <vector>

#include "bare_postgres.h"
#include "bench_tools.h"
#include "core/json_writer.h"
#include "core/log.h"
#include "drivers/store/postgres/postgres_test_database.h"
#include "schema/registry.h"
#include "store/contract_events.h"

namespace {

using namespace utp;
using bench::Bare;
using bench::must;
using bench::stop;

constexpr std::int64_t kStart = 1'790'812'800'000'000'000;  // 2026-10-01
constexpr std::int64_t kDay = 86'400'000'000'000;
constexpr int kDays = 30, kSymbols = 1000, kSeldom = 10, kSeldomDays = 5;
constexpr int kCopyRows = 5'000;
constexpr double kShortGoalMs = 50, kReadGoalUs = 2, kFlatGoalKib = 2048, kFormatGoal = 2;

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}
double seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}
std::string symbol_name(int i) { return "SYM" + std::to_string(i) + "-USD"; }

class Bench {
 public:
  // `name`: of the engine, in the names of results.
  Bench(const std::string& name, const postgres_test::Database& database, bool quick, const std::regex& filter)
      : name_(name), database_(database), quick_(quick), filter_(filter), url_(database.in_schema()), bare_(url_) {
    bare_.run("SET jit = off");
  }
  ~Bench() { database_.sql("DROP SCHEMA " + database_.schema + " CASCADE"); }

  bool run() {
    fill();
    std::vector<std::string> all;
    for (int i = 0; i < kSymbols; ++i) all.push_back(symbol_name(i));
    const std::string store = "store." + name_;
    short_query(store + ".last.all_symbols", {.event_type = kType, .as_of = kEndOfTime}, kSymbols);
    short_query(store + ".last.named_symbols", {.event_type = kType, .symbols = all, .as_of = kEndOfTime}, kSymbols);
    short_query(store + ".as_of.all_symbols", {.event_type = kType, .as_of = Timestamp{kStart + kDays / 2 * kDay}}, kSymbols);
    const Timestamp day{kStart + 10 * kDay}, next_day{kStart + 11 * kDay}, last_day{kStart + (kDays - 1) * kDay};
    short_query(store + ".bars.1m.symbol_and_day", {.event_type = "trade_bars_1m", .symbols = {symbol_name(500)}, .from = day, .to = next_day});
    short_query(store + ".bars.1m.symbol_and_newest_day", {.event_type = "trade_bars_1m", .symbols = {symbol_name(500)}, .from = last_day});
    short_query(store + ".quote_stats.1m.symbol_and_day", {.event_type = "quote_stats_1m", .symbols = {symbol_name(500)}, .from = day, .to = next_day});
    lookback();
    memory();
    index_cost();
    return holds_;
  }

 private:
  static constexpr const char* kType = "quotes/v2";
  static constexpr const char* kColumns =
      "event_time_ns, key, symbol, source_id, schema_ref, event_time_source, ingest_time, ingest_time_ns, sequence, checksum, bid, ask, mid, bid_size, "
      "ask_size, venue, tick_type";
  std::int64_t quotes() const { return quick_ ? 200'000 : 10'000'000; }
  std::int64_t lookback_rows() const { return quotes() / 10; }
  int rounds() const { return quick_ ? 1 : 3; }
  bool wanted(const std::string& name) const { return std::regex_search(name, filter_); }
  std::unique_ptr<Store> open() const { return must(open_postgres_store(must(parse_postgres_url(url_)))); }

  // A few events of each day and symbol through the store, which makes the tables and the list of symbols; the rest in the server.
  void fill() {
    const auto plan = must(Registry::builtin()).by_event_type(kType);
    const auto store = open();
    must(store->prepare(plan));
    must(store->prepare(must(Registry::builtin()).by_event_type("trades/v2")));
    for (int day = 0; day < kDays; ++day) {
      store_test::Events events;
      for (int i = 0; i < (day < kSeldomDays ? kSymbols : kSymbols - kSeldom); ++i) events.add(plan, symbol_name(i), kStart + day * kDay + i);
      if (must(store->write(events.pointers())).inserted != events.size()) stop("events are missing");
    }
    const std::string often = std::to_string(kSymbols - kSeldom);
    bare_.run("INSERT INTO quotes (event_time, " + std::string(kColumns) + ") SELECT at, i % 1000, md5(i::text)::uuid, 'SYM' || i * 7919 % " + often +
              " || '-USD', 'venue.us1', 'utp://quotes/2.0.0', 'venue', at + interval '25 ms', 0, i, i * 31, 100 + i % 1000 * 0.01, 100.01 + i % 1000 * 0.01, "
              "100.005 + i % 1000 * 0.01, i % 77 * 0.1, i % 91 * 0.5, 'venue', 'ticker' FROM (SELECT i, timestamptz '2026-10-01 00:00:01+00' + i * interval '" +
              std::to_string((static_cast<double>(kDays) * 86'400 - 10) / static_cast<double>(quotes())) + " s' AS at FROM generate_series(0::bigint, " +
              std::to_string(quotes() - 1) + ") i) AS made");
    const std::string trades = std::to_string(quotes() / 10);
    if (must(store->status()).engine == "postgresql") {
      bare_.run("SELECT utp_make_partition('trades', d) FROM generate_series(timestamptz '2026-10-01 12:00+00', '2026-10-30 12:00+00', interval '1 day') d");
    }
    bare_.run("INSERT INTO trades (event_time, event_time_ns, key, symbol, source_id, schema_ref, event_time_source, ingest_time, ingest_time_ns, sequence, checksum, "
              "price, size, side, trade_id, venue) SELECT at, 0, md5(i::text)::uuid, 'SYM' || i * 7919 % " + often + " || '-USD', 'venue.us1', 'utp://trades/2.0.0', "
              "'venue', at + interval '25 ms', 0, i, i * 31, 100 + i % 1000 * 0.01, i % 77 * 0.1 + 1, 'buy', i::text, 'venue' FROM (SELECT i, timestamptz "
              "'2026-10-01 00:00:01+00' + i * interval '" +
              std::to_string((static_cast<double>(kDays) * 86'400 - 10) / static_cast<double>(quotes() / 10)) + " s' AS at FROM generate_series(0::bigint, " + trades +
              " - 1) i) AS made");
    bare_.run("INSERT INTO utp_touched (table_name, first, last) SELECT t, '" + std::string(quick_ ? "2026-10-29+00" : "2026-10-01+00") +
              "', '2026-10-30 21:00+00' FROM unnest(ARRAY['quotes', 'trades']) t");
    must(store->maintain());
    bare_.run("VACUUM ANALYZE");
    bare_.run("CHECKPOINT");
  }

  std::uint64_t read(const Query& query) {
    const auto store = open();
    const auto cursor = must(store->query(query));
    std::vector<Value> values;
    std::uint64_t rows = 0;
    while (must(cursor->next(values))) ++rows;
    return rows;
  }

  void report(const std::string& name, double ours, std::optional<double> floor, const char* unit, double goal, bool holds, std::int64_t rows_per_s = 0) {
    std::string line;
    JsonWriter json(line);
    json.begin_object().field("name", name).field("ours", ours);
    if (floor) json.field("floor", *floor).field("ratio", ours / *floor);
    json.field("unit", unit);
    if (goal > 0) json.field("goal", goal).field("holds", holds);
    if (rows_per_s > 0) json.field("rows_per_s", rows_per_s);
    json.field("quotes", quotes()).end_object();
    std::printf("%s\n", line.c_str());
    std::fflush(stdout);
    holds_ = holds_ && (goal == 0 || holds);
  }

  // `expected` rows; 0 = some.
  void short_query(const std::string& name, const Query& query, std::uint64_t expected = 0) {
    if (!wanted(name)) return;
    std::vector<double> times;
    const auto store = open();
    for (int round = 0; round < 21; ++round) {
      std::uint64_t rows = 0;
      const double time = seconds([&] {
        const auto cursor = must(store->query(query));
        std::vector<Value> values;
        while (must(cursor->next(values))) ++rows;
      });
      if (expected > 0 ? rows != expected : rows == 0 && !quick_) stop(name + ": " + std::to_string(rows) + " rows");
      if (round > 0) times.push_back(time * 1e3);  // the first one warms up
    }
    report(name, median(times), std::nullopt, "ms", kShortGoalMs, median(times) <= kShortGoalMs);
  }

  void lookback() {
    const std::string name = "store." + name_ + ".lookback", csv = "query." + name_ + ".csv", jsonl = "query." + name_ + ".jsonl";
    if (!wanted(name) && !wanted(csv) && !wanted(jsonl)) return;
    const Query query{.event_type = kType, .from = Timestamp{kStart + 3 * kDay}, .limit = static_cast<std::uint64_t>(lookback_rows())};
    const std::string copy = "COPY (SELECT * FROM quotes WHERE event_time >= '2026-10-04+00' ORDER BY event_time, event_time_ns, symbol COLLATE \"C\", sequence, key LIMIT " +
                             std::to_string(lookback_rows()) + ") TO STDOUT (FORMAT binary)";
    const char* utp = std::getenv("UTP_BINARY");
    const double us = 1e6 / static_cast<double>(lookback_rows());
    std::vector<double> ours, floor, formats[2];
    for (int round = 0; round < rounds(); ++round) {
      floor.push_back(us * seconds([&] {
        bare_.run("BEGIN; SET LOCAL enable_sort = off");
        bare_.copy_out(copy, false);
        bare_.run("COMMIT");
      }));
      ours.push_back(us * seconds([&] {
        if (read(query) != query.limit) stop("rows are missing");
      }));
      for (int format = 0; utp != nullptr && format < 2; ++format) {
        const std::string command = std::string("'") + utp + "' query quotes/v2 -q --from 2026-10-04 --limit " + std::to_string(lookback_rows()) +
                                    " --output /dev/null --format " + (format == 0 ? "csv" : "jsonl") + " --store '" + url_ + "'";
        formats[format].push_back(us * seconds([&] {
          if (std::system(command.c_str()) != 0) stop(command);
        }));
      }
    }
    const auto rate = [](double time) { return static_cast<std::int64_t>(1e6 / time); };
    if (wanted(name)) report(name, median(ours), median(floor), "us/row", kReadGoalUs, median(ours) <= kReadGoalUs, rate(median(ours)));
    for (int format = 0; utp != nullptr && format < 2; ++format) {
      const std::string& which = format == 0 ? csv : jsonl;
      const double time = median(formats[format]);
      if (wanted(which)) report(which, time, median(ours), "us/row", kFormatGoal, time <= kFormatGoal * median(ours), rate(time));
    }
  }

  // Of a process of its own that reads so many rows, at its highest.
  double peak_kib(std::int64_t rows) {
    int ends[2];
    if (::pipe(ends) != 0) stop("no pipe");
    const pid_t child = ::fork();
    if (child == 0) {
      if (read({.event_type = kType, .limit = static_cast<std::uint64_t>(rows)}) != static_cast<std::uint64_t>(rows)) stop("rows are missing");
      std::ifstream status("/proc/self/status");
      std::string line;
      while (std::getline(status, line) && !line.starts_with("VmHWM:")) {
      }
      const double peak = std::atof(line.c_str() + 6);
      ::_exit(::write(ends[1], &peak, sizeof peak) == sizeof peak ? 0 : 1);
    }
    ::close(ends[1]);
    double peak = 0;
    if (child < 0 || ::read(ends[0], &peak, sizeof peak) != sizeof peak) stop("the reading process ended early");
    ::close(ends[0]);
    ::waitpid(child, nullptr, 0);
    return peak;
  }

  void memory() {
    const std::string name = "store." + name_ + ".lookback.memory_of_ten_times_the_rows";
    if (!wanted(name)) return;
    const double few = peak_kib(lookback_rows() / 10), many = peak_kib(lookback_rows());
    report(name, many, few, "KiB", kFlatGoalKib, many - few <= kFlatGoalKib);
  }

  void index_cost() {
    const std::string name = "store." + name_ + ".copy.with_symbol_index";
    if (!wanted(name)) return;
    const std::int64_t there = quick_ ? 60'000 : 3'000'000;
    const int batches = quick_ ? 4 : 60;
    const char* const tables[] = {"copy_plain", "copy_indexed"};
    for (const char* table : tables) {
      bare_.run(std::string("CREATE TABLE ") + table + " (LIKE quotes, PRIMARY KEY (event_time, key))");
      bare_.run(std::string("INSERT INTO ") + table + " SELECT * FROM quotes ORDER BY event_time LIMIT " + std::to_string(there));
    }
    bare_.run("CREATE INDEX ON copy_indexed (symbol, event_time)");
    bare_.run("VACUUM ANALYZE");
    std::vector<double> times[2];
    for (int round = 0; round < 3; ++round) {
      std::vector<std::vector<std::string>> data;
      for (int batch = 0; batch < batches; ++batch) {
        const int number = round * batches + batch;
        data.push_back(bare_.copy_out("COPY (SELECT event_time + interval '60 days' + " + std::to_string(number) + " * interval '1 day', " + kColumns +
                                          " FROM quotes WHERE event_time >= '2026-10-20+00' ORDER BY event_time LIMIT " + std::to_string(kCopyRows) +
                                          ") TO STDOUT (FORMAT binary)",
                                      true));
      }
      for (int turn = 0; turn < 2; ++turn) {
        const int which = (round + turn) % 2;
        bare_.run("CHECKPOINT");
        times[which].push_back(1e6 / kCopyRows / batches * seconds([&] {
          for (const auto& messages : data) bare_.copy_in("COPY " + std::string(tables[which]) + " (event_time, " + kColumns + ") FROM STDIN (FORMAT binary)", messages);
        }));
      }
    }
    report(name, median(times[1]), median(times[0]), "us/row", 0, true, static_cast<std::int64_t>(1e6 / median(times[1])));
  }

  const std::string name_;
  const postgres_test::Database database_;
  bool quick_;
  std::regex filter_;
  std::string url_;
  Bare bare_;
  bool holds_ = true;
};

}  // namespace

int main(int argc, char** argv) {
  auto [quick, filter] = utp::bench::read_arguments(argc, argv);
  utp::log::set_level(utp::log::Level::kWarn);
  bool holds = true;
  for (const auto& [name, make] : {std::pair{"postgres", &utp::postgres_test::plain_database}, std::pair{"postgres.timescale", &utp::postgres_test::timescale_database}}) {
    const utp::postgres_test::Database database = make();
    if (database.missing.empty()) holds = Bench(name, database, quick, filter).run() && holds;
    else std::printf("%s\n", utp::bench::skipped(std::string("store.") + name + ".read", database.missing).c_str());
  }
  return holds || quick ? 0 : 1;
}
