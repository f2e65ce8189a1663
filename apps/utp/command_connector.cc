#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include <fmt/format.h>

#include "apps/utp/catalog.h"
#include "apps/utp/command.h"
#include "apps/utp/exit_code.h"
#include "apps/utp/locate.h"
#include "connector/testing/skeleton.h"
#include "connector/testing/test_kit.h"
#include "core/json_writer.h"

namespace utp::app {
namespace {

namespace fs = std::filesystem;

struct Options {
  std::string target, language = "python", parent = ".";
  std::vector<std::string> dirs, schemas;
};

// A connector by folder, or by id below the directories given and connectors/.
std::string folder_of(const Options& options) {
  std::error_code ignored;
  if (fs::exists(options.target, ignored)) {
    return fs::is_directory(options.target, ignored) ? options.target : fs::path(options.target).parent_path().string();
  }
  std::vector<std::string> dirs = options.dirs;
  dirs.push_back("connectors");
  for (const std::string& dir : dirs) {
    if (fs::exists(fs::path(dir) / options.target, ignored)) return (fs::path(dir) / options.target).string();
  }
  return options.target;
}

int check(const Options& options, Context& context) {
  const auto registry = load_registry(options.schemas);
  if (!registry) return report_configuration(registry.error());
  const auto manifest = load_manifest(folder_of(options), *registry);
  if (!manifest) return report_configuration(manifest.error());
  const bool linked = manifest->entry == Manifest::Entry::kExec || find_builtin(*manifest) != nullptr;
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("id", manifest->id).field("version", manifest->version).field("title", manifest->title).field("file", manifest->file);
    json.field("linked", linked).key("event_types").begin_array();
    for (const auto& type : manifest->event_types) json.value(type.schema_ref);
    json.end_array().end_object();
    fmt::print("{}\n", out);
    return kOk;
  }
  fmt::print("{}: good: {} {}, {} event types, {} channels, {} secrets\n", manifest->file, manifest->id, manifest->version,
             manifest->event_types.size(), manifest->channels.size(), manifest->secrets.size());
  if (!linked) {
    print_note(fmt::format("its entry \"builtin:{}\" is not in this program: link it in by three lines in apps/utp (docs/connectors.md), or use exec:",
                           manifest->builtin));
  }
  return kOk;
}

int test(const Options& options, Context& context) {
  const auto registry = load_registry(options.schemas);
  if (!registry) return report_configuration(registry.error());
  const std::string folder = folder_of(options);
  const SystemClock clock;
  ContractOptions contract;
  contract.registry = &*registry;
  contract.clock = &clock;
  if (const auto manifest = load_manifest(folder, *registry)) contract.builtin = find_builtin(*manifest);
  const bool color = colored(STDOUT_FILENO);
  if (!context.common.json) {
    contract.on_result = [color](const ContractResult& result) {
      const Style style = result.outcome == ContractResult::Outcome::kPassed   ? Style::kGreen
                          : result.outcome == ContractResult::Outcome::kFailed ? Style::kRed
                                                                               : Style::kYellow;
      fmt::print("{}\n", styled(to_text(result), style, color));
      std::fflush(stdout);
    };
  }
  const auto results = run_contract(folder, contract);
  int counts[3] = {};
  for (const ContractResult& result : results) ++counts[static_cast<int>(result.outcome)];
  if (context.common.json) {
    constexpr std::string_view kOutcomes[] = {"passed", "failed", "skipped"};
    std::string out;
    JsonWriter json(out);
    json.begin_object().field("folder", folder).field("passed", counts[0]).field("failed", counts[1]).field("skipped", counts[2]).key("cases").begin_array();
    for (const ContractResult& result : results) {
      json.begin_object().field("number", result.number).field("name", result.name).field("outcome", kOutcomes[static_cast<int>(result.outcome)]);
      json.field("detail", result.detail).field("seconds", static_cast<double>(result.duration_ns / 1'000'000) / 1e3).end_object();
    }
    json.end_array().end_object();
    fmt::print("{}\n", out);
  } else {
    fmt::print("{} passed, {} failed, {} skipped\n", counts[0], counts[1], counts[2]);
  }
  return passed(results) ? kOk : kFailure;
}

int list(const Options& options, Context& context) {
  const auto registry = load_registry(options.schemas);
  if (!registry) return report_configuration(registry.error());
  const auto entries = list_connectors(options.dirs);
  if (!entries) return report_configuration(entries.error());
  std::string out;
  JsonWriter json(out);
  json.begin_array();
  Table table({"id", "version", "event types", "from", "title"});
  int code = kOk;
  for (const CatalogEntry& entry : *entries) {
    const auto manifest = find_manifest(entry.id, options.dirs, *registry);
    if (!manifest) {
      code = report_configuration(manifest.error());
      continue;
    }
    std::string types;
    json.begin_object().field("id", manifest->id).field("version", manifest->version).field("folder", entry.folder).field("title", manifest->title);
    json.key("event_types").begin_array();
    for (const auto& type : manifest->event_types) {
      types += (types.empty() ? "" : ", ") + type.event_type;
      json.value(type.event_type);
    }
    json.end_array().end_object();
    table.add({manifest->id, manifest->version, types, entry.folder.empty() ? "built in" : entry.folder, manifest->title});
  }
  json.end_array();
  fmt::print("{}", context.common.json ? out + "\n" : table.text(colored(STDOUT_FILENO)));
  return code;
}

int create(const Options& options, Context& context) {
  const auto files = write_skeleton(options.parent, options.target, options.language == "cpp" ? SkeletonKind::kCpp : SkeletonKind::kExec);
  if (!files) return report(files.error());
  if (context.common.json) {
    std::string out;
    JsonWriter json(out);
    json.begin_object().key("files").begin_array();
    for (const std::string& file : *files) json.value(file);
    json.end_array().end_object();
    fmt::print("{}\n", out);
    return kOk;
  }
  for (const std::string& file : *files) fmt::print("{}\n", file);
  const std::string folder = (fs::path(options.parent) / options.target).lexically_normal().string();
  if (options.language == "cpp") print_note(fmt::format("next: {}/README.md says where to add it; then: utp connector test {}", folder, folder));
  else print_note(fmt::format("next: utp connector test {}", folder));
  return kOk;
}

}  // namespace

void add_connector(CLI::App& app, Context& context) {
  CLI::App* group = add_command_group(app, "connector", "Connectors: write a new one, check and test it, list them",
                                      "  utp connector new my_venue\n  utp connector check my_venue\n  utp connector test my_venue\n"
                                      "  utp connector list");
  auto options = std::make_shared<Options>();
  const auto on = [&context, options](CLI::App* command, int (*action)(const Options&, Context&)) {
    command->callback([&context, options, action] { context.action = [&context, options, action] { return action(*options, context); }; });
  };
  const auto directories = [options](CLI::App* command) {
    command->add_option("--connectors", options->dirs, "Folder whose sub-folders are connectors (repeatable)")->allow_extra_args(false);
    command->add_option("--schemas", options->schemas, "Folder with event schemas beside the canonical ones (repeatable)")->allow_extra_args(false);
  };

  CLI::App* command = add_command(*group, context, "new", "A working connector to start from",
                                  "  utp connector new my_venue\n  utp connector new my_venue --language cpp --in connectors");
  command->add_option("ID", options->target, "Its id: a-z, 0-9 and _")->required();
  command->add_option("--language", options->language, "python (default; a program of its own) or cpp (linked in)")->check(CLI::IsMember({"python", "cpp"}));
  command->add_option("--in", options->parent, "Folder to make it in (default .)");
  on(command, create);

  command = add_command(*group, context, "check", "A manifest against its schema and the event types there are", "  utp connector check connectors/coinbase");
  command->add_option("FOLDER", options->target, "The connector's folder")->required();
  directories(command);
  on(command, check);

  command = add_command(*group, context, "test", "The numbered contract cases of a connector", "  utp connector test connectors/kraken\n  utp connector test my_venue --json");
  command->add_option("FOLDER", options->target, "The connector's folder")->required();
  directories(command);
  on(command, test);

  command = add_command(*group, context, "list", "Connectors there are", "  utp connector list\n  utp connector list --connectors my_connectors --json");
  directories(command);
  on(command, list);
}

}  // namespace utp::app
