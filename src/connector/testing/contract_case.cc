#include "connector/testing/contract_case.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "connector/capture.h"
#include "connector/exec_connector.h"
#include "connector/testing/recorded_output.h"
#include "schema/json.h"

namespace utp::testing {
namespace {

namespace fs = std::filesystem;

Status read_expected(const fs::path& file, ContractCase& c) {
  c.expected_file = file.string();
  std::ifstream in(file);
  if (!in) return fail(Code::kNotFound, file.string() + ": cannot be read; write what the frames must become, or leave it empty");
  std::string line;
  for (int number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos || line.front() == '#') continue;
    c.expected.push_back(line);
    c.expected_lines.push_back(number);
  }
  return {};
}

Status read_wanted(const fs::path& file, ContractCase& c) {
  std::ifstream in(file);
  if (!in) return {};
  std::stringstream text;
  text << in.rdbuf();
  JsonTree tree;
  std::string error;
  if (!tree.parse(text.str(), error) || tree.root().kind != JsonKind::kArray) {
    return fail(Code::kInvalidArgument, file.string() + ": expected a list of {\"channel\",\"symbol\"} " + error);
  }
  c.has_wanted = true;
  for (const JsonValue* item = tree.first(tree.root()); item != nullptr; item = tree.next(*item)) {
    const JsonValue* channel = tree.member(*item, "channel");
    const JsonValue* symbol = tree.member(*item, "symbol");
    if (channel == nullptr) return fail(Code::kInvalidArgument, file.string() + ": an entry without channel");
    c.wanted.push_back({std::string(channel->text), symbol == nullptr ? "" : std::string(symbol->text)});
  }
  return {};
}

Status read_frames(const fs::path& file, ContractCase& c) {
  UTP_TRY(auto capture, open_capture(file.string()));
  Frame frame;
  while (true) {
    UTP_TRY(const bool more, capture->next(frame));
    if (!more) return {};
    c.frames.push_back({frame.connection, frame.kind, frame.receive_time, std::string(frame.tag), std::string(frame.bytes)});
  }
}

// The members that count, in canonical form: of rejects, gaps and commands the free texts are left out.
std::string comparable(const JsonTree& tree) {
  std::string out;
  const auto pick = [&](const char* kind, std::initializer_list<const char*> names) {
    const JsonValue* object = tree.member(tree.root(), kind);
    if (object == nullptr) return false;
    out = kind;
    for (const char* name : names) {
      const JsonValue* value = tree.member(*object, name);
      out += std::string(" ") + name + "=";
      if (value != nullptr) tree.write_canonical(*value, out);
    }
    return true;
  };
  if (pick("reject", {"code", "path"}) || pick("gap", {"event_type", "symbol", "missed"})) return out;
  if (const JsonValue* command = tree.member(tree.root(), "command")) {
    const JsonValue* kind = tree.member(*command, "kind");
    if (kind != nullptr && kind->text == "reconnect") pick("command", {"kind", "connection"});
    else pick("command", {"kind", "connection", "text"});
    return out;
  }
  tree.write_canonical(tree.root(), out);
  return out;
}

}  // namespace

Result<std::vector<ContractCase>> load_cases(const std::string& folder) {
  std::vector<ContractCase> cases;
  std::error_code error;
  std::vector<fs::path> folders;
  for (fs::directory_iterator at(fs::path(folder) / "tests", error), end; !error && at != end; at.increment(error)) {
    if (at->is_directory()) folders.push_back(at->path());
  }
  std::ranges::sort(folders);
  for (const fs::path& path : folders) {
    fs::path frames;
    for (fs::directory_iterator at(path, error), end; !error && at != end; at.increment(error)) {
      if (at->path().filename().string().starts_with("frames.")) frames = at->path();
    }
    if (frames.empty()) continue;
    ContractCase c;
    c.name = path.filename().string();
    UTP_CHECK(read_frames(frames, c));
    UTP_CHECK(read_expected(path / "expected.jsonl", c));
    UTP_CHECK(read_wanted(path / "wanted.json", c));
    if (std::ifstream in(path / "settings.json"); in) c.settings_json.assign(std::istreambuf_iterator<char>(in), {});
    cases.push_back(std::move(c));
  }
  return cases;
}

Result<std::unique_ptr<Mapper>> case_mapper(const InstanceOptions& options, const BuiltinConnector* builtin, const ContractCase& c) {
  const Manifest& manifest = options.manifest;
  MapperContext context;
  context.plans = manifest.plans();
  context.wanted = c.wanted;
  context.symbols = manifest.symbol_map();
  UTP_TRY(context.settings_json, merge_json(manifest.settings_json, options.settings_json));
  if (!c.settings_json.empty()) {
    UTP_TRY(context.settings_json, merge_json(context.settings_json, c.settings_json));
  }
  if (manifest.entry == Manifest::Entry::kExec) return make_line_mapper(manifest, std::move(context));
  return builtin->mapper(std::move(context));
}

Result<std::vector<std::string>> map_frames(const InstanceOptions& options, const BuiltinConnector* builtin, const ContractCase& c,
                                            const std::vector<OwnedFrame>& frames) {
  UTP_TRY(const auto mapper, case_mapper(options, builtin, c));
  RecordedOutput output(options.manifest.plans());
  for (const OwnedFrame& frame : frames) mapper->on_frame(frame.view(), output);
  return std::move(output.lines);
}

std::string compare_line(const std::string& expected, const std::string& actual) {
  JsonTree expected_tree, actual_tree;
  std::string error;
  if (!expected_tree.parse(expected, error)) return "is no JSON: " + error;
  if (!actual_tree.parse(actual, error)) return "the mapper's output is no JSON: " + error;
  const std::string wanted = comparable(expected_tree);
  const std::string found = comparable(actual_tree);
  return wanted == found ? "" : "expected " + wanted + ", found " + found;
}

}  // namespace utp::testing
