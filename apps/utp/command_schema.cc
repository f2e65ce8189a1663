#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "core/json_writer.h"
#include "schema/compat.h"
#include "schema/generate.h"
#include "schema/lock.h"
#include "store/ddl.h"

namespace utp::app {
namespace {

constexpr std::size_t kFileBytesMax = 64u << 20;

Result<std::string> read_text(const std::string& path) {
  std::ostringstream content;
  if (path == "-") {
    char buffer[65536];
    for (ssize_t n = 0; (n = read(STDIN_FILENO, buffer, sizeof buffer)) > 0;) content.write(buffer, n);
    return content.str();
  }
  std::error_code error;
  if (std::filesystem::is_directory(path, error)) return fail(Code::kInvalidArgument, fmt::format("{}: is a directory; name a file", path));
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(Code::kNotFound, fmt::format("{}: cannot be read; check the path and its permissions", path));
  if (std::filesystem::file_size(path, error) > kFileBytesMax) return fail(Code::kInvalidArgument, fmt::format("{}: larger than 64 MiB", path));
  content << file.rdbuf();
  return content.str();
}

// A schema by file, by reference (utp://quotes/2.0.0) or by event type (quotes/v2).
Result<Schema> find_schema(const std::string& what, const std::vector<std::string>& schema_dirs) {
  if (what.ends_with(".json")) {
    UTP_TRY(const std::string text, read_text(what));
    return Schema::compile(text, what);
  }
  UTP_TRY(const Registry registry, load_registry(schema_dirs));
  if (what.starts_with("utp://")) {
    if (const auto plan = registry.by_ref(what)) return plan->schema();
    return fail(Code::kNotFound, fmt::format("there is no schema {}; list them with: utp schema show", what));
  }
  UTP_TRY(const auto plan, find_event_type(registry, what));
  return plan->schema();
}

Result<std::shared_ptr<const Plan>> find_plan(const std::string& what, const std::vector<std::string>& schema_dirs) {
  if (what.ends_with(".json")) {
    UTP_TRY(const std::string text, read_text(what));
    return Plan::compile(text, what);
  }
  UTP_TRY(const Registry registry, load_registry(schema_dirs));
  if (what.starts_with("utp://")) {
    if (auto plan = registry.by_ref(what)) return plan;
    return fail(Code::kNotFound, fmt::format("there is no schema {}; list them with: utp schema show", what));
  }
  return find_event_type(registry, what);
}

struct SchemaOptions {
  std::vector<std::string> schemas, arguments;
  std::string first, second, output, language, dialect = "sqlite";
};

int check(const SchemaOptions& options, Context& context) {
  const std::string directory = options.first.empty() ? "schemas" : options.first;
  const auto found = check_schemas(directory);
  if (!found) return report_configuration(found.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("directory", directory).field("files", found->files).field("locked", found->locked);
    const auto list = [&](std::string_view name, const std::vector<std::string>& values) {
      json.key(name).begin_array();
      for (const std::string& value : values) json.value(value);
      json.end_array();
    };
    list("findings", found->findings);
    list("steps", found->steps);
    json.end_object();
    fmt::print("{}\n", out);
  } else {
    for (const std::string& step : found->steps) fmt::print("{}\n", step);
    if (found->findings.empty()) fmt::print("{} schemas, {} published: all is well\n", found->files, found->locked);
  }
  if (found->findings.empty()) return kOk;
  const auto counted = [](std::size_t n, std::string_view what) { return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s"); };
  std::string message = fmt::format("{}: {} in {}", directory, counted(found->findings.size(), "finding"), counted(found->files, "schema"));
  for (const std::string& finding : found->findings) message += "\n" + finding;
  print_error(message);
  return kFailure;
}

int lock(const SchemaOptions& options, Context& context) {
  const std::string directory = options.first.empty() ? "schemas" : options.first;
  const auto added = update_lock(directory);
  if (!added) return report_configuration(added.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("directory", directory).key("locked").begin_array();
    for (const std::string& file : *added) json.value(file);
    json.end_array().end_object();
    fmt::print("{}\n", out);
  } else {
    for (const std::string& file : *added) fmt::print("locked {}\n", file);
    if (added->empty()) fmt::print("nothing new to lock\n");
  }
  return kOk;
}

int compat(const SchemaOptions& options, Context& context) {
  const auto before = find_schema(options.first, options.schemas);
  if (!before) return report_configuration(before.error());
  const auto after = find_schema(options.second, options.schemas);
  if (!after) return report_configuration(after.error());
  const Compatibility result = compare_schemas(*before, *after);
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("level", to_string(result.level)).key("changes").begin_array();
    for (const SchemaChange& change : result.changes) {
      json.begin_object().field("level", to_string(change.level)).field("pointer", change.pointer).field("reason", change.reason).end_object();
    }
    json.end_array().end_object();
    fmt::print("{}\n", out);
    return kOk;
  }
  const bool color = colored(STDOUT_FILENO);
  fmt::print("{}\n", styled(to_string(result.level), Style::kBold, color));
  for (const SchemaChange& change : result.changes) fmt::print("  {:5}  {}: {}\n", to_string(change.level), change.pointer, change.reason);
  return kOk;
}

std::string_view type_name(ColumnType type) {
  constexpr std::string_view kNames[] = {"boolean", "integer", "decimal", "text", "time", "array"};
  return kNames[static_cast<int>(type)];
}

int show_all(const SchemaOptions& options, Context& context) {
  const auto registry = load_registry(options.schemas);
  if (!registry) return report_configuration(registry.error());
  std::string out;
  JsonWriter json(out);
  Table table({"event type", "schema", "table", "delivery", "kept on the bus", "title"});
  json.begin_array();
  for (const auto& plan : registry->all()) {
    const char* delivery = plan->delivery() == Delivery::kConflate ? "conflate" : "lossless";
    const std::string title = plan->schema().root().title;
    json.begin_object().field("event_type", plan->event_type()).field("schema_ref", plan->schema_ref()).field("table", plan->table());
    json.field("delivery", delivery).field("retention_ns", plan->retention_ns()).field("title", title).end_object();
    table.add({plan->event_type(), plan->schema_ref(), plan->table().empty() ? "-" : plan->table(), delivery,
               plan->retention_ns() > 0 ? human_duration(plan->retention_ns()) : "-", title});
  }
  json.end_array();
  fmt::print("{}", context.common.json ? out + "\n" : table.text(colored(STDOUT_FILENO)));
  return kOk;
}

int show(const SchemaOptions& options, Context& context) {
  if (options.first.empty()) return show_all(options, context);
  const auto plan = find_plan(options.first, options.schemas);
  if (!plan) return report_configuration(plan.error());
  const Plan& p = **plan;
  if (context.common.json) {
    fmt::print("{}{}", p.schema().text(), p.schema().text().ends_with('\n') ? "" : "\n");
    return kOk;
  }
  const bool color = colored(STDOUT_FILENO);
  fmt::print("{}  {}  table {}\n", styled(p.event_type(), Style::kBold, color), p.schema_ref(), p.table().empty() ? "-" : p.table());
  if (!p.schema().root().description.empty()) fmt::print("{}\n", p.schema().root().description);
  Table table({"field", "type", "", "description"});
  for (const Column& c : p.columns()) {
    std::string type(type_name(c.type));
    if (c.type == ColumnType::kArray) type = fmt::format("{} of {}{}", type, c.tuples ? fmt::format("{} ", c.arity) : "", type_name(c.element));
    table.add({c.name, type, c.required ? c.nullable ? "required, may be null" : "required" : "optional", c.description});
  }
  fmt::print("{}", table.text(color));
  return kOk;
}

int ddl(const SchemaOptions& options, Context&) {
  std::vector<std::shared_ptr<const Plan>> plans;
  if (options.first.empty()) {
    const auto registry = load_registry(options.schemas);
    if (!registry) return report_configuration(registry.error());
    for (auto& plan : registry->all()) {
      if (!plan->table().empty() && registry->by_event_type(plan->event_type()) == plan) plans.push_back(plan);
    }
  } else {
    auto plan = find_plan(options.first, options.schemas);
    if (!plan) return report_configuration(plan.error());
    plans.push_back(*plan);
  }
  for (const auto& plan : plans) {
    const auto sql = create_table_sql(*plan, options.dialect == "postgres" ? SqlDialect::kPostgres : SqlDialect::kSqlite);
    if (!sql) return report_configuration(sql.error());
    fmt::print("-- {} {}\n{};\n", plan->event_type(), plan->schema_ref(), *sql);
  }
  return kOk;
}

int validate(const SchemaOptions& options, Context& context) {
  const auto schema = find_schema(options.first, options.schemas);
  if (!schema) return report_configuration(schema.error());
  bool all_good = true;
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  std::vector<std::string> files = options.arguments;
  if (files.empty()) files.push_back("-");
  for (const std::string& file : files) {
    const auto text = read_text(file);
    if (!text) return report(text.error());
    Violation violation;
    const bool good = schema->validate(*text, violation);
    all_good = all_good && good;
    json.begin_object().field("file", file).field("valid", good);
    if (!good) json.field("code", violation.code).field("path", violation.path).field("message", violation.message);
    json.end_object();
    if (context.common.json) continue;
    if (good) fmt::print("{}: valid\n", file);
    else print_error(fmt::format("{}: {}: {}", file, violation.path.empty() ? "the document" : violation.path, violation.message));
  }
  json.end_array();
  if (context.common.json) fmt::print("{}\n", out);
  return all_good ? kOk : kFailure;
}

int gen(const SchemaOptions& options, Context&) {
  std::vector<std::shared_ptr<const Plan>> plans;
  if (options.arguments.empty()) {
    const auto registry = load_registry(options.schemas);
    if (!registry) return report_configuration(registry.error());
    for (auto& plan : registry->all()) {
      if (registry->by_event_type(plan->event_type()) == plan) plans.push_back(plan);
    }
  }
  for (const std::string& what : options.arguments) {
    auto plan = find_plan(what, options.schemas);
    if (!plan) return report_configuration(plan.error());
    plans.push_back(*plan);
  }
  const std::string text = options.language == "cpp" ? generate_cpp(plans) : options.language == "pydantic" ? generate_pydantic(plans) : generate_typescript(plans);
  auto out = Output::open(options.output);
  if (!out) return report(out.error());
  if (auto written = out->write(text); !written) return report(written.error());
  if (auto closed = out->close(); !closed) return report(closed.error());
  if (!options.output.empty()) print_note(fmt::format("{} types in {}", plans.size(), options.output));
  return kOk;
}

void add_schemas_option(CLI::App& command, SchemaOptions& options) {
  command.add_option("--schemas", options.schemas, "Folder with event schemas beside the canonical ones (repeatable)")->allow_extra_args(false);
}

}  // namespace

void add_schema(CLI::App& app, Context& context) {
  CLI::App* group = add_command_group(app, "schema", "Schemas: check, show, tables, typed models, compatibility",
                                      "  utp schema show\n  utp schema show trades/v2\n  utp schema gen pydantic -o models.py\n"
                                      "  utp schema check my_schemas");
  auto options = std::make_shared<SchemaOptions>();
  const auto on = [&context, options](CLI::App* command, int (*action)(const SchemaOptions&, Context&)) {
    command->callback([&context, options, action] { context.action = [&context, options, action] { return action(*options, context); }; });
  };

  CLI::App* command = add_command(*group, context, "check", "Every schema of a folder against the profile, its lock and its predecessors",
                                  "  utp schema check\n  utp schema check my_schemas --json");
  command->add_option("DIR", options->first, "Folder (default schemas)");
  on(command, check);

  command = add_command(*group, context, "lock", "Publishes new schema files: their hashes go into the lock",
                        "  utp schema lock\n  utp schema lock my_schemas");
  command->add_option("DIR", options->first, "Folder (default schemas)");
  on(command, lock);

  command = add_command(*group, context, "compat", "What a change means: patch, minor or major, and why",
                        "  utp schema compat schemas/quotes/2.0.0.json schemas/quotes/2.1.0.json\n  utp schema compat quotes/v2 new.json --json");
  command->add_option("OLD", options->first, "A file, an event type or a reference")->required();
  command->add_option("NEW", options->second, "A file, an event type or a reference")->required();
  add_schemas_option(*command, *options);
  on(command, compat);

  command = add_command(*group, context, "show", "Event types, or the fields of one; with --json the schema itself",
                        "  utp schema show\n  utp schema show quotes/v2\n  utp schema show utp://quotes/2.0.0 --json");
  command->add_option("WHAT", options->first, "An event type, a reference or a file (default: all event types)");
  add_schemas_option(*command, *options);
  on(command, show);

  command = add_command(*group, context, "ddl", "The tables that the schemas make", "  utp schema ddl\n  utp schema ddl trades/v2 --dialect postgres");
  command->add_option("WHAT", options->first, "An event type, a reference or a file (default: all that are stored)");
  command->add_option("--dialect", options->dialect, "SQL dialect (default sqlite)")->check(CLI::IsMember({"sqlite", "postgres"}));
  add_schemas_option(*command, *options);
  on(command, ddl);

  command = add_command(*group, context, "validate", "JSON documents against a schema",
                        "  utp schema validate quotes/v2 payload.json\n  utp schema validate my.json - < document.json");
  command->add_option("SCHEMA", options->first, "An event type, a reference or a file")->required();
  command->add_option("FILES", options->arguments, "Documents; - is standard input (default)");
  add_schemas_option(*command, *options);
  on(command, validate);

  command = add_command(*group, context, "gen", "Typed models: C++, Pydantic v2, TypeScript",
                        "  utp schema gen pydantic -o models.py\n  utp schema gen cpp quotes/v2 trades/v2 -o events.h");
  command->add_option("LANGUAGE", options->language, "cpp, pydantic or typescript")->required()->check(CLI::IsMember({"cpp", "pydantic", "typescript"}));
  command->add_option("WHAT", options->arguments, "Event types, references or files (default: the newest of all)");
  command->add_option("-o,--output", options->output, "File instead of standard output");
  add_schemas_option(*command, *options);
  on(command, gen);
}

}  // namespace utp::app
