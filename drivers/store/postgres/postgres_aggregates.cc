#include "drivers/store/postgres/postgres_aggregates.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "drivers/store/postgres/postgres_migration.h"
#include "store/ddl.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kMake = "make the aggregates";
constexpr std::string_view kRefresh = "refresh the aggregates";
constexpr std::int64_t kUsPerSecond = 1'000'000;
// Computed in one transaction, where a bucket is not longer.
constexpr std::int64_t kSliceS = 3600, kContinuousSliceS = 86'400;
constexpr std::int64_t kNearUs = 600 * kUsPerSecond;   // touched ranges that lie so near are one
constexpr std::int64_t kRefreshLock = 0x7266'7368;     // "rfsh"; the second half is the schema's

struct AggregateColumn {
  const char* name;
  StoredKind kind;
  const char* of_rows;     // over the event type's rows
  const char* of_buckets;  // over the buckets of the next finer level
};

// The order within a bucket is that of every query: time, then sequence.
#define UTP_FIRST(x) "(array_agg(" x " ORDER BY event_time, event_time_ns, sequence, key))[1]"
#define UTP_LAST(x) "(array_agg(" x " ORDER BY event_time DESC, event_time_ns DESC, sequence DESC, key DESC) FILTER (WHERE " x " IS NOT NULL))[1]"
#define UTP_FIRST_OF(x) "(array_agg(" x " ORDER BY bucket))[1]"
#define UTP_LAST_OF(x) "(array_agg(" x " ORDER BY bucket DESC) FILTER (WHERE " x " IS NOT NULL))[1]"

// Open, high, low, close; volume, and the volume-weighted mean: sum of price times size over sum of size.
constexpr AggregateColumn kTradeBars[] = {
    {"open", StoredKind::kDecimal, UTP_FIRST("price"), UTP_FIRST_OF("open")},
    {"high", StoredKind::kDecimal, "max(price)", "max(high)"},
    {"low", StoredKind::kDecimal, "min(price)", "min(low)"},
    {"close", StoredKind::kDecimal, UTP_LAST("price"), UTP_LAST_OF("close")},
    {"volume", StoredKind::kDecimal, "sum(size)", "sum(volume)"},
    {"notional", StoredKind::kDecimal, "sum(price * size)", "sum(notional)"},
    {"vwap", StoredKind::kDecimal, "CASE WHEN sum(size) > 0 THEN sum(price * size) / sum(size) END",
     "CASE WHEN sum(volume) > 0 THEN sum(notional) / sum(volume) END"},
    {"trades", StoredKind::kInteger, "count(*)", "sum(trades)::bigint"},
};
constexpr AggregateColumn kQuoteStats[] = {
    {"quotes", StoredKind::kInteger, "count(*)", "sum(quotes)::bigint"},
    {"spread_min", StoredKind::kDecimal, "min(ask - bid)", "min(spread_min)"},
    {"spread_max", StoredKind::kDecimal, "max(ask - bid)", "max(spread_max)"},
    {"spread_sum", StoredKind::kDecimal, "sum(ask - bid)", "sum(spread_sum)"},
    {"spread_mean", StoredKind::kDecimal, "avg(ask - bid)", "sum(spread_sum) / sum(quotes)"},
    {"mid_high", StoredKind::kDecimal, "max((bid + ask) / 2)", "max(mid_high)"},
    {"mid_low", StoredKind::kDecimal, "min((bid + ask) / 2)", "min(mid_low)"},
    {"mid_close", StoredKind::kDecimal, UTP_LAST("(bid + ask) / 2"), UTP_LAST_OF("mid_close")},
};
constexpr AggregateColumn kGexHistory[] = {
    {"samples", StoredKind::kInteger, "count(*)", "sum(samples)::bigint"},
    {"zero_gamma", StoredKind::kDecimal, UTP_LAST("zero_gamma"), UTP_LAST_OF("zero_gamma")},
    {"zero_delta", StoredKind::kDecimal, UTP_LAST("zero_delta"), UTP_LAST_OF("zero_delta")},
    {"call_wall", StoredKind::kDecimal, UTP_LAST("call_wall"), UTP_LAST_OF("call_wall")},
    {"put_wall", StoredKind::kDecimal, UTP_LAST("put_wall"), UTP_LAST_OF("put_wall")},
    {"total", StoredKind::kDecimal, UTP_LAST("total"), UTP_LAST_OF("total")},
    {"total_min", StoredKind::kDecimal, "min(total)", "min(total_min)"},
    {"total_max", StoredKind::kDecimal, "max(total)", "max(total_max)"},
    {"spot", StoredKind::kDecimal, UTP_LAST("spot"), UTP_LAST_OF("spot")},
};

struct Level {
  const char* name;
  std::int64_t bucket_s;
  // TimescaleDB's own refreshes: of buckets between so long ago and so long ago, each so often.
  std::int64_t from_s, to_s, every_s;
};
constexpr Level kSecond{"1s", 1, 3600, 10, 30};
constexpr Level kMinute{"1m", 60, 3 * 3600, 60, 60};
constexpr Level kFiveMinutes{"5m", 300, 6 * 3600, 300, 300};
constexpr Level kHour{"1h", 3600, 86'400, 3600, 900};
constexpr Level kDay{"1d", 86'400, 7 * 86'400, 86'400, 3600};
constexpr Level kBarLevels[] = {kSecond, kMinute, kFiveMinutes, kHour, kDay};
constexpr Level kStatLevels[] = {kMinute, kHour, kDay};

struct Family {
  const char* name;
  const char* event_type;
  Counted counted;
  std::span<const AggregateColumn> columns;
  std::span<const Level> levels;  // finest first
  std::string level_name(std::size_t i) const { return std::string(name) + "_" + levels[i].name; }
  // What the refreshes of plain PostgreSQL keep.
  std::string kept(std::size_t i) const { return "utp_" + level_name(i); }
};
constexpr const char* kTradeColumns[] = {"price", "size"};
constexpr const char* kQuoteColumns[] = {"bid", "ask"};
constexpr Family kFamilies[] = {
    {"trade_bars", "trades/v2", {"trades", kTradeColumns}, kTradeBars, kBarLevels},
    {"quote_stats", "quotes/v2", {"quotes", kQuoteColumns}, kQuoteStats, kStatLevels},
    {"gex_history", "gex/levels/v1", {"samples", {}}, kGexHistory, kStatLevels},
};

const Family* family_of(std::string_view event_type) {
  for (const Family& family : kFamilies) {
    if (event_type == family.event_type) return &family;
  }
  return nullptr;
}

Status execute(Connection& connection, const std::string& sql, std::string_view doing, std::initializer_list<Parameter> parameters = {}) {
  UTP_TRY(const Rows done, connection.run(sql, doing, parameters));
  return {};
}

std::string seconds(std::int64_t s) { return "INTERVAL '" + std::to_string(s) + " seconds'"; }

// SELECT ... FROM `from` of one level; `condition` bounds the time.
std::string select_sql(const Family& family, std::size_t level, const std::string& from, const std::string& condition, bool timescale) {
  const char* time = level == 0 ? "event_time" : "bucket";
  std::string sql = "SELECT ";
  sql += timescale ? "time_bucket(" + seconds(family.levels[level].bucket_s) + ", " + time + ")"
                   : "date_bin(" + seconds(family.levels[level].bucket_s) + ", " + time + ", TIMESTAMPTZ '2000-01-01 00:00:00+00')";
  sql += " AS bucket, symbol, source_id";
  for (const AggregateColumn& column : family.columns) {
    sql += std::string(", ") + (level == 0 ? column.of_rows : column.of_buckets) + " AS " + column.name;
  }
  sql += " FROM " + quote_identifier(from) + " WHERE " + (level == 0 ? family.counted.condition() : "true");
  if (!condition.empty()) sql += " AND " + condition;
  return sql + " GROUP BY 1, 2, 3";
}

Status make_continuous(Connection& connection, const Family& family, std::size_t i, const std::string& from) {
  const Level& level = family.levels[i];
  const std::string name = family.level_name(i);
  UTP_CHECK(execute(connection, "CREATE MATERIALIZED VIEW " + name + " WITH (timescaledb.continuous, timescaledb.materialized_only = false) AS " +
                                    select_sql(family, i, from, "", true) + " WITH NO DATA",
                    kMake));
  return execute(connection, "SELECT add_continuous_aggregate_policy('" + name + "', start_offset => " + seconds(level.from_s) + ", end_offset => " +
                                 seconds(level.to_s) + ", schedule_interval => " + seconds(level.every_s) + ")",
                 kMake);
}

Status make_kept(Connection& connection, const Family& family, std::size_t i, const std::string& from) {
  const std::string name = family.level_name(i), kept = family.kept(i);
  std::string columns = "bucket timestamptz NOT NULL, symbol text NOT NULL, source_id text NOT NULL";
  std::string names = "bucket, symbol, source_id";
  for (const AggregateColumn& column : family.columns) {
    columns += std::string(", ") + column.name + (column.kind == StoredKind::kInteger ? " bigint" : " double precision");
    names += std::string(", ") + column.name;
  }
  UTP_CHECK(execute(connection, "CREATE TABLE " + kept + " (" + columns + ", PRIMARY KEY (symbol, bucket, source_id))", kMake));
  UTP_CHECK(execute(connection, "CREATE INDEX " + kept + "_bucket ON " + kept + " (bucket)", kMake));
  const std::string watermark = "(SELECT watermark FROM utp_aggregates WHERE name = '" + name + "')";
  const std::string newer = std::string(i == 0 ? "event_time" : "bucket") + " >= " + watermark;
  return execute(connection, "CREATE VIEW " + name + " AS SELECT " + names + " FROM " + kept + " WHERE bucket < " + watermark + " UNION ALL " +
                                 select_sql(family, i, from, newer, false),
                 kMake);
}

struct Range {
  std::int64_t first, last;  // microseconds since 1970, both inclusive
};

std::int64_t floor_to(std::int64_t us, std::int64_t step_us) {
  const std::int64_t rest = us % step_us;
  return us - (rest < 0 ? rest + step_us : rest);
}

// The whole buckets of the range, without those that are not over yet: they are left to the part that is computed when it is read.
Range buckets_of(const Range& range, std::int64_t bucket_us, std::int64_t now_us) {
  return {floor_to(range.first, bucket_us), std::min(floor_to(range.last, bucket_us) + bucket_us, floor_to(now_us, bucket_us))};  // the end exclusive
}

Status refresh_slice(Connection& connection, const Family& family, std::size_t i, const std::string& from, const Range& slice) {
  const std::string name = family.level_name(i), kept = family.kept(i);
  const std::string time = i == 0 ? "event_time" : "bucket";
  const auto bounds = {time_parameter(slice.first), time_parameter(slice.last)};
  UTP_CHECK(connection.begin(kRefresh));
  UTP_CHECK(execute(connection, "DELETE FROM " + kept + " WHERE bucket >= $1 AND bucket < $2", kRefresh, bounds));
  UTP_CHECK(execute(connection, "INSERT INTO " + kept + " " + select_sql(family, i, from, time + " >= $1 AND " + time + " < $2", false), kRefresh, bounds));
  UTP_CHECK(execute(connection, "UPDATE utp_aggregates SET watermark = greatest(watermark, $2) WHERE name = $1", kRefresh,
                    {text_parameter(name), time_parameter(slice.last)}));
  return connection.commit(kRefresh);
}

// The first time in a stretch of what a level is made of; the stretch's end when there is nothing. Of a coarse level it is the finer one:
// retention may have taken the rows.
Result<std::int64_t> first_time(Connection& connection, const Family& family, std::size_t i, const std::string& table, const Range& stretch) {
  const std::string time = i == 0 ? "event_time" : "bucket";
  UTP_TRY(const Rows first, connection.run("SELECT coalesce(min(" + time + "), $2) FROM " + quote_identifier(i == 0 ? table : family.level_name(i - 1)) + " WHERE " + time +
                                               " >= $1 AND " + time + " < $2",
                                           kRefresh, {time_parameter(stretch.first), time_parameter(stretch.last)}));
  return since_1970(first.integer(0, 0));
}

Status compute_slice(Connection& connection, const Family& family, std::size_t i, const std::string& table, const Range& slice, const std::string& forced) {
  if (!forced.empty()) {
    const auto at = [](std::int64_t us) { return "to_timestamp(" + std::to_string(us / kUsPerSecond) + ")"; };
    return execute(connection, "CALL refresh_continuous_aggregate('" + family.level_name(i) + "', " + at(slice.first) + ", " + at(slice.last) + forced + ")", kRefresh);
  }
  auto status = refresh_slice(connection, family, i, i == 0 ? table : family.kept(i - 1), slice);
  if (!status) connection.roll_back();
  return status;
}

// Level by level, so that a coarser one finds the finer one done.
Status refresh_range(Connection& connection, const Family& family, const std::string& table, const Range& range, const std::string& forced, std::int64_t now_us,
                     Refreshed& refreshed) {
  // Of rows that retention has removed, what was computed stays: a bucket whose first rows may be gone is left as it is.
  UTP_TRY(const Rows kept, connection.run("SELECT coalesce(retention_s, 0) FROM utp_tables WHERE table_name = $1", kRefresh, {text_parameter(table)}));
  const std::int64_t retention_s = kept.count() == 1 ? kept.integer(0, 0) : 0;
  for (std::size_t i = 0; i < family.levels.size(); ++i) {
    const std::int64_t bucket_us = family.levels[i].bucket_s * kUsPerSecond;
    const Range buckets = buckets_of(range, bucket_us, now_us);
    UTP_TRY(const Rows done, connection.run("SELECT watermark FROM utp_aggregates WHERE name = $1", kRefresh, {text_parameter(family.level_name(i))}));
    const bool none = done.count() == 0 || done.integer(0, 0) == INT64_MIN;  // -infinity
    const std::int64_t watermark = none ? buckets.first : since_1970(done.integer(0, 0));
    // From the watermark on where that is earlier: buckets that were not over when their rows came lie there, and nobody would
    // compute them once the watermark is behind them.
    std::int64_t from = std::min(buckets.first, watermark);
    // Nothing is kept from the watermark on, so what is there yet can be computed.
    if (i == 0 && retention_s > 0) from = std::max(from, std::min(watermark, floor_to(now_us - retention_s * kUsPerSecond, bucket_us) + bucket_us));
    const std::int64_t step = std::max((forced.empty() ? kSliceS : kContinuousSliceS) * kUsPerSecond, bucket_us);
    while (from < buckets.last) {
      if (from < buckets.first) {
        UTP_TRY(const std::int64_t first, first_time(connection, family, i, table, {from, buckets.first}));
        from = std::max(from, floor_to(first, bucket_us));
        if (from >= buckets.last) break;
      }
      const std::int64_t to = std::min(floor_to(from, step) + step, buckets.last);
      UTP_CHECK(compute_slice(connection, family, i, table, {from, to}, forced));
      ++refreshed.slices;
      from = to;
    }
    if (none || buckets.last > watermark) {
      UTP_CHECK(execute(connection, "UPDATE utp_aggregates SET watermark = greatest(watermark, $2) WHERE name = $1", kRefresh,
                        {text_parameter(family.level_name(i)), time_parameter(buckets.last)}));
    }
  }
  return {};
}

// How TimescaleDB is to refresh a window; "" without it. Forced: rows that are committed while a refresh moves on past their time are
// sometimes in no invalidation log. In one piece: a commit every few buckets, where the version knows such batches, takes minutes a day.
Result<std::string> refresh_options(Connection& connection) {
  UTP_TRY(const std::string engine, stored_engine(connection));
  if (engine != kTimescaleEngine) return std::string();
  UTP_TRY(const Rows batches, connection.run("SELECT EXISTS (SELECT FROM pg_catalog.pg_proc WHERE proname = 'refresh_continuous_aggregate' AND 'options' = ANY (proargnames))", kRefresh));
  return std::string(", force => true") + (batches.integer(0, 0) != 0 ? ", options => '{\"buckets_per_batch\": 0}'" : "");
}

Result<Refreshed> refresh_locked(Connection& connection) {
  UTP_TRY(const std::string forced, refresh_options(connection));
  UTP_TRY(const Rows now, connection.run("SELECT now()", kRefresh));
  const std::int64_t now_us = since_1970(now.integer(0, 0));
  UTP_TRY(const Rows touched, connection.run("SELECT id, table_name, first, last, event_type FROM (SELECT u.*, t.event_type, row_number() OVER "
                                             "(PARTITION BY u.table_name ORDER BY u.first) AS n FROM utp_touched u JOIN utp_tables t USING (table_name)) AS r WHERE n <= 20000 "
                                             "ORDER BY table_name, first",
                                             kRefresh));
  Refreshed refreshed;
  for (int i = 0; i < touched.count();) {
    const std::string table = touched.text(i, 1);
    const Family* family = family_of(touched.bytes(i, 4));
    std::vector<std::string> ids;
    Range range{since_1970(touched.integer(i, 2)), since_1970(touched.integer(i, 3))};
    for (; i < touched.count() && touched.bytes(i, 1) == table; ++i) {
      const std::int64_t first = since_1970(touched.integer(i, 2));
      if (first > range.last + kNearUs) break;
      range.last = std::max(range.last, since_1970(touched.integer(i, 3)));
      ids.push_back(std::to_string(touched.integer(i, 0)));
    }
    if (refreshed.failed.contains(table)) continue;  // its later ranges wait for the one that could not be done
    auto status = family == nullptr ? Status{} : refresh_range(connection, *family, table, range, forced, now_us, refreshed);
    if (status) {
      status = execute(connection, "DELETE FROM utp_touched WHERE id = ANY ($1::text[]::bigint[])", kRefresh, {text_list_parameter(ids)});
    }
    if (!status) {
      if (connection.over()) return fail(std::move(status.error()));
      if (!refreshed.failure) refreshed.failure = std::move(status.error());
      refreshed.failed.insert(table);
      continue;
    }
    ++refreshed.ranges;
  }
  if (!forced.empty()) return refreshed;
  // What was not over when its last row came is computed before retention takes the rows, though nothing touches it any more.
  UTP_TRY(const Rows kept, connection.run("SELECT table_name, event_type FROM utp_tables t WHERE retention_s IS NOT NULL AND NOT EXISTS (SELECT FROM "
                                          "utp_aggregates a WHERE a.table_name = t.table_name AND a.watermark = '-infinity')",
                                          kRefresh));
  for (int i = 0; i < kept.count(); ++i) {
    const Family* family = family_of(kept.bytes(i, 1));
    if (family == nullptr || refreshed.failed.contains(kept.text(i, 0))) continue;
    auto status = refresh_range(connection, *family, kept.text(i, 0), {now_us, now_us}, forced, now_us, refreshed);
    if (status) continue;
    if (connection.over()) return fail(std::move(status.error()));
    if (!refreshed.failure) refreshed.failure = std::move(status.error());
    refreshed.failed.insert(kept.text(i, 0));
  }
  return refreshed;
}

}  // namespace

std::string Counted::condition() const {
  std::string sql;
  for (const char* column : columns) sql += (sql.empty() ? "" : " AND ") + std::string(column) + " IS NOT NULL";
  return sql.empty() ? "true" : sql;
}

std::optional<Counted> counted_by(std::string_view aggregate) {
  for (const Family& family : kFamilies) {
    if (aggregate.starts_with(family.name)) return family.counted;
  }
  return {};
}

bool has_aggregates(std::string_view event_type) { return family_of(event_type) != nullptr; }

Status make_aggregates(Connection& connection, const Plan& plan) {
  const Family* family = family_of(plan.event_type());
  if (family == nullptr) return {};
  UTP_TRY(const std::string engine, stored_engine(connection));
  for (std::size_t i = 0; i < family->levels.size(); ++i) {
    const std::string name = family->level_name(i);
    UTP_CHECK(execute(connection, "INSERT INTO utp_aggregates (name, table_name, level, bucket_s, watermark) VALUES ($1, $2, $3, $4, '-infinity')", kMake,
                      {text_parameter(name), text_parameter(plan.table()), integer_parameter(static_cast<std::int64_t>(i)),
                       integer_parameter(family->levels[i].bucket_s)}));
    const std::string from = i == 0 ? plan.table() : family->level_name(i - 1);
    UTP_CHECK(engine == kTimescaleEngine ? make_continuous(connection, *family, i, from) : make_kept(connection, *family, i, from));
    int position = 0;
    const auto add_column = [&](std::string_view column, StoredKind kind) {
      return execute(connection, "INSERT INTO utp_columns (table_name, position, name, kind) VALUES ($1, $2, $3, $4)", kMake,
                     {text_parameter(name), integer_parameter(position++), text_parameter(column), text_parameter(to_string(kind))});
    };
    UTP_CHECK(add_column("bucket", StoredKind::kTime));
    UTP_CHECK(add_column("symbol", StoredKind::kText));
    UTP_CHECK(add_column("source_id", StoredKind::kText));
    for (const AggregateColumn& column : family->columns) UTP_CHECK(add_column(column.name, column.kind));
  }
  return {};
}

std::string touch_sql(std::string_view table, std::span<const TimeRange> ranges) {
  std::string values;
  for (const TimeRange& range : ranges) {
    values += (values.empty() ? "(" : ", (") + std::to_string(range.first_us) + "::bigint, " + std::to_string(range.last_us) + "::bigint)";
  }
  return "INSERT INTO utp_touched (table_name, first, last) SELECT " + string_literal(table) + ", TIMESTAMPTZ 'epoch' + f * INTERVAL '1 microsecond', " +
         "TIMESTAMPTZ 'epoch' + l * INTERVAL '1 microsecond' FROM (VALUES " + values + ") AS r (f, l)";
}

Result<Refreshed> refresh_touched(Connection& connection) {
  UTP_TRY(const Rows locked, connection.run("SELECT pg_try_advisory_lock($1::bigint::int, hashtext(current_schema()))", kRefresh, {integer_parameter(kRefreshLock)}));
  if (locked.integer(0, 0) == 0) {
    Refreshed elsewhere;
    elsewhere.elsewhere = true;
    return elsewhere;
  }
  auto refreshed = refresh_locked(connection);
  if (!connection.broken()) UTP_CHECK(execute(connection, "SELECT pg_advisory_unlock($1::bigint::int, hashtext(current_schema()))", kRefresh, {integer_parameter(kRefreshLock)}));
  return refreshed;
}

}  // namespace utp::postgres
