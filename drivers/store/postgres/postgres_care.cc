#include "drivers/store/postgres/postgres_care.h"

#include <charconv>

#include "core/log.h"
#include "drivers/store/postgres/postgres_aggregates.h"
#include "drivers/store/postgres/postgres_migration.h"
#include "drivers/store/postgres/postgres_roles.h"
#include "drivers/store/postgres/postgres_server.h"
#include "store/catalogue.h"
#include "store/ddl.h"

namespace utp::postgres {
namespace {

constexpr std::string_view kMaintain = "maintain";
constexpr std::string_view kStatus = "read the status";
constexpr std::string_view kPolicy = "set the policy";
constexpr std::string_view kVerify = "verify";
constexpr std::int64_t kNsPerSecond = 1'000'000'000;
constexpr std::int64_t kRetentionMinS = 86'400;  // the aggregates of what goes have to be done by then
constexpr std::int64_t kChunkMinS = 3600;

// The catalogue's tables with what else is known of them.
constexpr const char* kTables = "SELECT event_type, table_name, layout, chunk_s, coalesce(compress_after_s, 0), coalesce(retention_s, 0), exploded FROM utp_tables ORDER BY event_type";

std::uint64_t count(const Rows& rows, int row, int column) { return static_cast<std::uint64_t>(std::max<std::int64_t>(rows.integer(row, column), 0)); }

bool is_timescale(const Rows& tables, int row) { return tables.bytes(row, 2) == "hypertable"; }

Status execute(Connection& connection, const std::string& sql, std::string_view doing, std::initializer_list<Parameter> parameters = {}) {
  UTP_TRY(const Rows done, connection.run(sql, doing, parameters));
  return {};
}

}  // namespace

Result<Maintained> maintain(Connection& connection) {
  UTP_CHECK(require_owner(connection, "look after it", "utp store maintain"));
  Maintained done;
  UTP_TRY(const Refreshed refreshed, refresh_touched(connection));
  done.ranges = refreshed.ranges;
  done.slices = refreshed.slices;
  if (refreshed.elsewhere) return done;
  // What one table refuses keeps none of the others waiting.
  std::optional<Error> failure = refreshed.failure;
  UTP_TRY(const Rows tables, connection.run("SELECT table_name FROM utp_tables WHERE layout = 'partitions' AND retention_s IS NOT NULL", kMaintain));
  for (int i = 0; i < tables.count() && !connection.over(); ++i) {
    if (refreshed.failed.contains(tables.text(i, 0))) continue;  // what goes has to be in its aggregates
    auto dropped = connection.run("SELECT utp_drop_partitions(table_name, now() - make_interval(secs => retention_s)) FROM utp_tables WHERE table_name = $1",
                                  kMaintain, {text_parameter(tables.text(i, 0))});
    if (dropped && dropped->count() == 1) done.parts_dropped += count(*dropped, 0, 0);
    if (dropped || connection.last_state() == "55P03") continue;  // somebody reads them: the next round
    if (!failure) failure = std::move(dropped.error());
  }
  if (failure) return fail(std::move(*failure));
  return done;
}

Result<StoreStatus> store_status(Connection& connection) {
  UTP_TRY(StoreStatus status, look_at_server(connection));
  UTP_TRY(const Rows waiting, connection.run("SELECT count(*) FROM utp_touched", kStatus));
  status.ranges_to_refresh = count(waiting, 0, 0);
  UTP_TRY(const Rows tables, connection.run(kTables, kStatus));
  for (int i = 0; i < tables.count(); ++i) {
    TableStatus& table = status.tables.emplace_back();
    table.event_type = tables.text(i, 0);
    table.table = tables.text(i, 1);
    table.layout = tables.text(i, 2);
    table.chunk_ns = tables.integer(i, 3) * kNsPerSecond;
    table.compress_after_ns = tables.integer(i, 4) * kNsPerSecond;
    table.retention_ns = tables.integer(i, 5) * kNsPerSecond;
    const Parameter name = text_parameter(quote_identifier(table.table));
    // reltuples is -1 until the first ANALYZE or VACUUM.
    UTP_TRY(const Rows size, connection.run(is_timescale(tables, i)
                                                ? "SELECT approximate_row_count($1::text::regclass), hypertable_size($1::text::regclass), count(*), count(*) "
                                                  "FILTER (WHERE is_compressed) FROM timescaledb_information.chunks WHERE hypertable_schema = current_schema() AND "
                                                  "hypertable_name = (SELECT relname FROM pg_class WHERE oid = $1::text::regclass)"
                                                : "SELECT coalesce(sum(greatest(c.reltuples, 0)), 0)::bigint, coalesce(sum(pg_total_relation_size(c.oid)), 0)::bigint, "
                                                  "count(*) FILTER (WHERE p.isleaf), 0::bigint FROM pg_partition_tree($1::text::regclass) p JOIN pg_class c ON c.oid = p.relid",
                                            kStatus, {name}));
    if (size.count() != 1) continue;
    table.rows = count(size, 0, 0);
    table.bytes = count(size, 0, 1);
    table.parts = count(size, 0, 2);
    table.compressed_parts = count(size, 0, 3);
  }
  const bool timescale = status.engine == kTimescaleEngine;
  UTP_TRY(const Rows aggregates,
          connection.run(timescale ? "SELECT a.name, a.table_name, a.bucket_s, coalesce(_timescaledb_functions.to_timestamp(_timescaledb_functions.cagg_watermark(h.id)), "
                                     "'-infinity'), hypertable_size(format('%I.%I', c.materialization_hypertable_schema, c.materialization_hypertable_name)::regclass) "
                                     "FROM utp_aggregates a JOIN timescaledb_information.continuous_aggregates c ON c.view_schema = current_schema() AND c.view_name = "
                                     "a.name JOIN _timescaledb_catalog.hypertable h ON h.schema_name = c.materialization_hypertable_schema AND h.table_name = "
                                     "c.materialization_hypertable_name ORDER BY a.table_name, a.level"
                                   : "SELECT name, table_name, bucket_s, watermark, coalesce(pg_total_relation_size(to_regclass('utp_' || name)), 0) FROM utp_aggregates ORDER BY "
                                     "table_name, level",
                         kStatus));
  for (int i = 0; i < aggregates.count(); ++i) {
    AggregateStatus& aggregate = status.aggregates.emplace_back();
    aggregate.name = aggregates.text(i, 0);
    aggregate.table = aggregates.text(i, 1);
    aggregate.bucket_ns = aggregates.integer(i, 2) * kNsPerSecond;
    if (const auto counted = counted_by(aggregate.name)) {
      aggregate.counter = counted->counter;
      aggregate.counted.assign(counted->columns.begin(), counted->columns.end());
    }
    const std::int64_t until = aggregates.integer(i, 3);
    if (until > -kEpochShiftUs && until < INT64_MAX / 1000 - kEpochShiftUs) aggregate.kept_until = {nanoseconds(until + kEpochShiftUs, 0)};
    aggregate.bytes = count(aggregates, i, 4);
  }
  if (!timescale) return status;
  UTP_TRY(const Rows jobs, connection.run("SELECT j.application_name, coalesce(c.view_name, j.hypertable_name, ''), coalesce(s.last_run_status, ''), "
                                          "coalesce(s.total_failures, 0) FROM timescaledb_information.jobs j LEFT JOIN timescaledb_information.job_stats s USING "
                                          "(job_id) LEFT JOIN timescaledb_information.continuous_aggregates c ON c.materialization_hypertable_name = "
                                          "j.hypertable_name WHERE coalesce(c.view_schema, j.hypertable_schema) = current_schema() ORDER BY j.job_id",
                                          kStatus));
  for (int i = 0; i < jobs.count(); ++i) status.jobs.push_back({jobs.text(i, 0), jobs.text(i, 1), jobs.text(i, 2), count(jobs, i, 3)});
  return status;
}

Status set_policy(Connection& connection, const std::string& event_type, const TablePolicy& policy) {
  const auto whole_seconds = [&](const std::optional<std::int64_t>& ns, const char* what, std::int64_t least, std::optional<std::int64_t>& out) -> Status {
    if (!ns) return {};
    out = *ns / kNsPerSecond;
    if (*out == 0 && least > 1 && *ns == 0) return {};
    if (*ns % kNsPerSecond == 0 && *out >= least) return {};
    return fail(Code::kInvalidArgument, std::string(what) + " of " + event_type + ": whole seconds, at least " + std::to_string(least / 3600) + " h");
  };
  std::optional<std::int64_t> chunk, compress, retention;
  UTP_CHECK(whole_seconds(policy.chunk_ns, "the span of a part", kChunkMinS, chunk));
  if (chunk && *chunk == 0) return fail(Code::kInvalidArgument, "the span of a part of " + event_type + ": at least 1 h");
  UTP_CHECK(whole_seconds(policy.compress_after_ns, "compression", kChunkMinS, compress));
  UTP_CHECK(whole_seconds(policy.retention_ns, "retention", kRetentionMinS, retention));
  UTP_CHECK(require_owner(connection, "change how rows are kept", "utp store migrate"));
  UTP_TRY(const Rows table, connection.run("SELECT table_name, layout FROM utp_tables WHERE event_type = $1", kPolicy, {text_parameter(event_type)}));
  if (table.count() == 0) return fail(Code::kNotFound, "store " + connection.place() + ": no table for " + event_type + "; make the tables first: utp store migrate");
  const bool timescale = table.bytes(0, 1) == "hypertable";
  if (!timescale && compress.value_or(0) > 0) {
    return fail(Code::kUnsupported, "store " + connection.place() + ": PostgreSQL alone does not compress old rows; install TimescaleDB, or set a retention");
  }
  UTP_CHECK(connection.begin(kPolicy));
  const auto all = [&]() -> Status {
    for (const auto& [column, value] : {std::pair("chunk_s", chunk), std::pair("compress_after_s", compress), std::pair("retention_s", retention)}) {
      if (!value) continue;
      UTP_CHECK(execute(connection, "UPDATE utp_tables SET " + std::string(column) + " = nullif($2, 0) WHERE event_type = $1", kPolicy,
                        {text_parameter(event_type), integer_parameter(*value)}));
    }
    if (!timescale) return connection.commit(kPolicy);
    const Parameter name = text_parameter(quote_identifier(table.text(0, 0)));
    const std::string interval = "make_interval(secs => $2::bigint)";
    if (chunk) UTP_CHECK(execute(connection, "SELECT set_chunk_time_interval($1::text::regclass, " + interval + ")", kPolicy, {name, integer_parameter(*chunk)}));
    if (compress) {
      UTP_CHECK(execute(connection, "CALL remove_columnstore_policy($1::text::regclass, if_exists => true)", kPolicy, {name}));
      if (*compress > 0) UTP_CHECK(execute(connection, "CALL add_columnstore_policy($1::text::regclass, after => " + interval + ")", kPolicy, {name, integer_parameter(*compress)}));
    }
    if (retention) {
      UTP_CHECK(execute(connection, "SELECT remove_retention_policy($1::text::regclass, if_exists => true)", kPolicy, {name}));
      if (*retention > 0) UTP_CHECK(execute(connection, "SELECT add_retention_policy($1::text::regclass, " + interval + ")", kPolicy, {name, integer_parameter(*retention)}));
    }
    return connection.commit(kPolicy);
  };
  auto status = all();
  if (!status) connection.roll_back();
  return status;
}

namespace {

// Columns and primary key of one table against the catalogue.
Status verify_columns(Connection& connection, const Rows& tables, int i, std::vector<Finding>& findings) {
  const std::string table = tables.text(i, 1);
  UTP_TRY(const Rows wrong, connection.run("SELECT c.name, c.kind, coalesce(format_type(a.atttypid, a.atttypmod), 'missing') FROM utp_columns c LEFT JOIN pg_attribute a ON "
                                           "a.attrelid = $1::text::regclass AND a.attname = c.name AND NOT a.attisdropped WHERE c.table_name = $2 AND "
                                           "coalesce(format_type(a.atttypid, a.atttypmod), '') <> CASE c.kind WHEN 'key' THEN 'uuid' WHEN 'checksum' THEN 'bigint' "
                                           "WHEN 'bool' THEN 'boolean' WHEN 'integer' THEN 'bigint' WHEN 'decimal' THEN 'double precision' WHEN 'text' THEN 'text' "
                                           "WHEN 'time' THEN 'timestamp with time zone' WHEN 'array' THEN 'json' WHEN 'row_number' THEN 'integer' END",
                                           kVerify, {text_parameter(quote_identifier(table)), text_parameter(table)}));
  for (int row = 0; row < wrong.count(); ++row) {
    findings.push_back({table + "." + wrong.text(row, 0), "is " + wrong.text(row, 2) + ", the catalogue says " + wrong.text(row, 1),
                        "somebody changed the table: change the column back"});
  }
  UTP_TRY(const Rows key, connection.run("SELECT count(*) FROM pg_constraint WHERE conrelid = $1::text::regclass AND contype = 'p' AND convalidated", kVerify,
                                         {text_parameter(quote_identifier(table))}));
  if (key.integer(0, 0) == 0) findings.push_back({table, "has no primary key: events can stand twice", "ALTER TABLE … ADD PRIMARY KEY (event_time, key" + std::string(tables.integer(i, 6) != 0 ? ", row_no)" : ")")});
  return {};
}

Status verify_partitions(Connection& connection, const std::string& table, std::vector<Finding>& findings) {
  UTP_TRY(const Rows odd, connection.run("SELECT coalesce(p.name, i.inhrelid::regclass::text), p.name IS NULL FROM (SELECT * FROM utp_partitions WHERE table_name = $2) p FULL "
                                         "JOIN (SELECT inhrelid FROM pg_inherits WHERE inhparent = $1::text::regclass) i ON i.inhrelid = to_regclass(quote_ident(p.name)) "
                                         "WHERE p.name IS NULL OR i.inhrelid IS NULL",
                                         kVerify, {text_parameter(quote_identifier(table)), text_parameter(table)}));
  for (int row = 0; row < odd.count(); ++row) {
    const bool foreign = odd.integer(row, 1) != 0;
    findings.push_back({table, "partition " + odd.text(row, 0) + (foreign ? " is not in the catalogue" : " is in the catalogue, but not attached"),
                        foreign ? "detach it, or add it to utp_partitions" : "attach it again, or delete its entry from utp_partitions"});
  }
  for (const char* end : {"< TIMESTAMPTZ '2000-01-01 00:00:00+00'", ">= TIMESTAMPTZ '2100-01-01 00:00:00+00'"}) {
    UTP_TRY(const Rows rows, connection.run("SELECT count(*) FROM " + quote_identifier(table) + " WHERE event_time " + end, kVerify));
    if (rows.integer(0, 0) == 0) continue;
    findings.push_back({table, std::to_string(rows.integer(0, 0)) + " rows have an event time " + (end[0] == '<' ? "before the year 2000" : "in or after the year 2100"),
                        "look at their source_id: a source or its mapper tells nonsense"});
  }
  return {};
}

// What an aggregate counted against the rows below it, where nothing is waiting to be refreshed.
Status verify_counts(Connection& connection, const std::string& name, const std::string& table, std::vector<Finding>& findings) {
  const auto counted = counted_by(name);
  if (!counted) return {};
  // Not of days whose rows may be gone.
  const std::string kept = " >= coalesce((SELECT date_trunc('day', now() - make_interval(secs => retention_s), 'UTC') + INTERVAL '1 day' FROM utp_tables WHERE table_name "
                           "= $1), '-infinity')";
  UTP_TRY(const Rows odd, connection.run("SELECT symbol, day::text, coalesce(a.n, 0)::text, coalesce(r.n, 0)::text FROM (SELECT symbol, date_trunc('day', bucket, 'UTC') AS day, sum(" +
                                             std::string(counted->counter) + ")::bigint AS n FROM " + name + " WHERE bucket" + kept + " GROUP BY 1, 2) a FULL JOIN (SELECT symbol, date_trunc('day', event_time, 'UTC') AS day, count(*) "
                                             "AS n FROM " + quote_identifier(table) + " WHERE " + counted->condition() + " AND event_time" + kept +
                                             " GROUP BY 1, 2) r USING (symbol, day) WHERE a.n IS DISTINCT FROM r.n LIMIT 20",
                                         kVerify, {text_parameter(table)}));
  for (int row = 0; row < odd.count(); ++row) {
    findings.push_back({name, "symbol " + odd.text(row, 0) + ", day " + odd.text(row, 1) + ": counts " + odd.text(row, 2) + " rows, there are " + odd.text(row, 3),
                        "compute that day anew: INSERT INTO utp_touched (table_name, first, last) VALUES ('" + table + "', '" + odd.text(row, 1) + "', '" +
                            odd.text(row, 1) + "'::timestamptz + INTERVAL '1 day - 1 microsecond'), then utp store maintain"});
  }
  return {};
}

}  // namespace

Result<std::vector<Finding>> verify(Connection& connection) {
  UTP_TRY(const std::string engine, stored_engine(connection));
  if (engine == kFederationEngine) return fail(federation_error(connection));
  std::vector<Finding> findings;
  UTP_CHECK(execute(connection, "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY", kVerify));
  UTP_TRY(const Rows tables, connection.run(kTables, kVerify));
  for (int i = 0; i < tables.count(); ++i) {
    UTP_CHECK(verify_columns(connection, tables, i, findings));
    if (tables.bytes(i, 2) == "partitions") UTP_CHECK(verify_partitions(connection, tables.text(i, 1), findings));
  }
  UTP_TRY(const Rows waiting, connection.run("SELECT DISTINCT table_name FROM utp_touched", kVerify));
  UTP_TRY(const Rows aggregates, connection.run("SELECT name, table_name FROM utp_aggregates WHERE level = 0 AND table_name NOT IN (SELECT table_name FROM utp_touched) ORDER BY name", kVerify));
  for (int i = 0; i < aggregates.count(); ++i) UTP_CHECK(verify_counts(connection, aggregates.text(i, 0), aggregates.text(i, 1), findings));
  for (int i = 0; i < waiting.count(); ++i) {
    findings.push_back({waiting.text(i, 0), "ranges wait to be aggregated, so its aggregates were not compared", "utp store maintain, then verify again"});
  }
  UTP_CHECK(execute(connection, "COMMIT", kVerify));
  return findings;
}

}  // namespace utp::postgres
