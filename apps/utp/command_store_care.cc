// utp store migrate, status, verify, maintain.
#include <unistd.h>

#include <map>

#include <fmt/format.h>

#include "apps/utp/command_store.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "apps/utp/ports.h"
#include "apps/utp/store_refresh.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

constexpr std::int64_t kNsPerSecond = 1'000'000'000;

struct CareOptions {
  PlaceOptions place;
  std::vector<std::string> keep, compress, chunk;  // TYPE=DURATION
};

// 90d for a time; "forever" and "never" are 0.
std::string check_policy(const std::string& text) {
  const std::size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0) return "write TYPE=DURATION, such as quotes/v2=90d";
  const std::string value = text.substr(equals + 1);
  if (value == "forever" || value == "never" || parse_duration(value).value_or(0) > 0) return "";
  return fmt::format("\"{}\" is no duration; write 12h or 90d, or forever or never", value);
}

std::map<std::string, TablePolicy> policies(const CareOptions& options) {
  std::map<std::string, TablePolicy> out;
  const auto take = [&](const std::vector<std::string>& given, std::optional<std::int64_t> TablePolicy::*field) {
    for (const std::string& text : given) {
      const std::size_t equals = text.find('=');
      out[text.substr(0, equals)].*field = parse_duration(text.substr(equals + 1)).value_or(0);
    }
  };
  take(options.keep, &TablePolicy::retention_ns);
  take(options.compress, &TablePolicy::compress_after_ns);
  take(options.chunk, &TablePolicy::chunk_ns);
  return out;
}

struct Opened {
  Place place;
  std::unique_ptr<Store> store;
};

Result<Opened> open_place(const CareOptions& options, bool create) {
  Opened out;
  UTP_TRY(out.place, locate(options.place, kUsesStore | kUsesSchemas));
  UTP_TRY(out.store, open_store(out.place.store, create));
  return out;
}

std::string kept(std::int64_t ns) { return ns == 0 ? "for ever" : human_duration(ns); }

void print_status(const Place& place, const StoreStatus& s) {
  fmt::print("{}: {}, {}, catalogue {}, realm {}\n", place.store_shown, s.engine, s.server_version, s.catalogue_version, s.realm.empty() ? "-" : s.realm);
  if (!s.engine_reason.empty()) print_note(fmt::format("rows are kept by {}: {}", s.engine, s.engine_reason));
  for (const Finding& d : s.dangers) print_note(fmt::format("{}: {}; {}", d.where, d.what, d.cure));
  const bool color = colored(STDOUT_FILENO);
  Table tables({"event type", "table", "rows", "size", "layout", "parts", "compressed", "span", "compressed after", "kept"});
  for (const TableStatus& t : s.tables) {
    tables.add({t.event_type, t.table, human_count(t.rows), human_bytes(t.bytes), t.layout.empty() ? "one" : t.layout, human_count(t.parts), human_count(t.compressed_parts),
                t.chunk_ns == 0 ? "-" : human_duration(t.chunk_ns), t.compress_after_ns == 0 ? "never" : human_duration(t.compress_after_ns), kept(t.retention_ns)});
  }
  fmt::print("{}", tables.text(color));
  if (!s.aggregates.empty()) {
    Table aggregates({"aggregate", "of", "bucket", "kept until", "size"});
    for (const AggregateStatus& a : s.aggregates) {
      aggregates.add({a.name, a.table, human_duration(a.bucket_ns), a.kept_until.ns == 0 ? "-" : a.kept_until.to_string().substr(0, 19) + "Z", human_bytes(a.bytes)});
    }
    fmt::print("\n{}", aggregates.text(color));
  }
  for (const JobStatus& j : s.jobs) {
    if (j.failures > 0) print_note(fmt::format("the database's own job \"{}\" of {} failed {} times ({}): its log says why; utp store maintain does the refreshes meanwhile", j.name, j.about, j.failures, j.last_result));
  }
  if (s.ranges_to_refresh > 0) print_note(fmt::format("{} ranges wait to be aggregated: a running chamber does it, or utp store maintain", human_count(s.ranges_to_refresh)));
}

void print_status_json(const Place& place, const StoreStatus& s) {
  std::string out;
  JsonWriter json(out);
  const auto seconds = [](std::int64_t ns) { return ns / kNsPerSecond; };
  json.begin_object().field("store", place.store_shown).field("engine", s.engine).field("server_version", s.server_version);
  json.field("engine_reason", s.engine_reason).field("user", s.user).field("transport", s.transport).field("may_write", s.may_write);
  json.field("may_maintain", s.may_maintain).key("dangers").begin_array();
  for (const Finding& d : s.dangers) json.begin_object().field("where", d.where).field("what", d.what).field("cure", d.cure).end_object();
  json.end_array();
  json.field("catalogue_version", static_cast<std::int64_t>(s.catalogue_version)).field("realm", s.realm).key("tables").begin_array();
  for (const TableStatus& t : s.tables) {
    json.begin_object().field("event_type", t.event_type).field("table", t.table).field("rows", t.rows).field("bytes", t.bytes).field("layout", t.layout);
    json.field("parts", t.parts).field("compressed_parts", t.compressed_parts).field("chunk_s", seconds(t.chunk_ns));
    json.field("compress_after_s", seconds(t.compress_after_ns)).field("retention_s", seconds(t.retention_ns)).end_object();
  }
  json.end_array().key("aggregates").begin_array();
  for (const AggregateStatus& a : s.aggregates) {
    json.begin_object().field("name", a.name).field("table", a.table).field("bucket_s", seconds(a.bucket_ns)).field("bytes", a.bytes).key("kept_until");
    if (a.kept_until.ns == 0) json.null();
    else json.value(a.kept_until);
    json.end_object();
  }
  json.end_array().key("jobs").begin_array();
  for (const JobStatus& j : s.jobs) json.begin_object().field("name", j.name).field("about", j.about).field("last_result", j.last_result).field("failures", j.failures).end_object();
  json.end_array().field("ranges_to_refresh", s.ranges_to_refresh).end_object();
  fmt::print("{}\n", out);
}

int show_status(const Opened& opened, const Context& context) {
  const auto status = opened.store->status();
  if (!status) return report(status.error());
  if (context.common.json) print_status_json(opened.place, *status);
  else if (!context.common.quiet) print_status(opened.place, *status);
  return kOk;
}

int status_command(const CareOptions& options, Context& context) {
  const auto opened = open_place(options, false);
  if (!opened) return report(opened.error());
  return show_status(*opened, context);
}

int migrate_command(const CareOptions& options, Context& context) {
  const auto opened = open_place(options, true);
  if (!opened) return report(opened.error());
  const auto registry = load_registry(opened->place.schema_dirs);
  if (!registry) return report_configuration(registry.error());
  Progress progress("migrate", !context.common.json);
  const auto plans = registry->all();
  std::uint64_t done = 0;
  for (const auto& plan : plans) {
    progress.update(++done, plans.size(), plan->schema_ref());
    if (plan->table().empty()) continue;
    if (auto prepared = opened->store->prepare(plan); !prepared) return report(prepared.error());
  }
  progress.clear();
  for (const auto& [event_type, policy] : policies(options)) {
    if (auto set = opened->store->set_policy(event_type, policy); !set) return report(set.error());
  }
  return show_status(*opened, context);
}

int verify_command(const CareOptions& options, Context& context) {
  const auto opened = open_place(options, false);
  if (!opened) return report(opened.error());
  const auto findings = opened->store->verify();
  if (!findings) return report(findings.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("store", opened->place.store_shown).field("good", findings->empty()).key("findings").begin_array();
    for (const Finding& f : *findings) json.begin_object().field("where", f.where).field("what", f.what).field("cure", f.cure).end_object();
    json.end_array().end_object();
    fmt::print("{}\n", out);
  } else {
    for (const Finding& f : *findings) fmt::print("{}: {}; {}\n", f.where, f.what, f.cure);
    if (findings->empty() && !context.common.quiet) fmt::print("{}: all is as it should be\n", opened->place.store_shown);
  }
  return findings->empty() ? kOk : kFailure;
}

int maintain_command(const CareOptions& options, Context& context) {
  const auto opened = open_place(options, true);
  if (!opened) return report(opened.error());
  const auto done = maintain_shown(*opened->store, context);
  if (!done) return report(done.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("store", opened->place.store_shown).field("ranges", done->ranges).field("slices", done->slices);
    json.field("parts_dropped", done->parts_dropped).end_object();
    fmt::print("{}\n", out);
  } else if (!context.common.quiet) {
    fmt::print("{} ranges aggregated, {} old parts dropped\n", human_count(done->ranges), human_count(done->parts_dropped));
  }
  return kOk;
}

CLI::App* add_one(CLI::App& group, Context& context, const char* name, const char* description, const char* examples,
                  int (*run)(const CareOptions&, Context&), const std::shared_ptr<CareOptions>& options) {
  CLI::App* command = add_command(group, context, name, description, examples);
  add_place_options(*command, options->place, kUsesStore | kUsesSchemas);
  command->callback([&context, options, run] { context.action = [&context, options, run] { return run(*options, context); }; });
  return command;
}

}  // namespace

void add_store_care(CLI::App& group, Context& context) {
  auto options = std::make_shared<CareOptions>();
  CLI::App* migrate = add_one(group, context, "migrate", "Make the tables of all schemas, bring old ones up; set how long rows are kept",
                              "  utp store migrate --store postgres://chamber@host/market\n"
                              "  utp store migrate --keep quotes/v2=90d --keep orderbook/v1=14d --compress quotes/v2=3d --chunk quotes/v2=6h",
                              migrate_command, options);
  migrate->add_option("--keep", options->keep, "TYPE=DURATION: older rows go, in whole parts; TYPE=forever (repeatable)")->allow_extra_args(false)->check(check_policy);
  migrate->add_option("--compress", options->compress, "TYPE=DURATION: older rows are compressed (TimescaleDB); TYPE=never")->allow_extra_args(false)->check(check_policy);
  migrate->add_option("--chunk", options->chunk, "TYPE=DURATION: span of time of one part of the table, from now on")->allow_extra_args(false)->check(check_policy);
  add_one(group, context, "status", "Tables, their size, parts and policies; aggregates and how far they are", "  utp store status\n  utp store status --store postgres://reader@host/market --json",
          status_command, std::make_shared<CareOptions>());
  add_one(group, context, "verify", "Whether tables, parts and aggregates are as they should be (reads everything)", "  utp store verify --store postgres://reader@host/market",
          verify_command, std::make_shared<CareOptions>());
  add_one(group, context, "maintain", "What a running chamber does every half minute: refresh aggregates, drop old parts", "  utp store maintain --store postgres://chamber@host/market",
          maintain_command, std::make_shared<CareOptions>());
}

}  // namespace utp::app
