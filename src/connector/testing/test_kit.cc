#include "connector/testing/test_kit.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "connector/testing/contract_case.h"
#include "connector/testing/live_case.h"
#include "bus/testing/memory_bus.h"
#include "core/base64.h"

namespace utp {
namespace {

using testing::ContractCase;
using testing::LiveOutcome;
using testing::MemoryBus;
using testing::OwnedFrame;
using Outcome = ContractResult::Outcome;
namespace fs = std::filesystem;

std::string read_file(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::stringstream text;
  text << in.rdbuf();
  return text.str();
}

// The whole of a frame list, so often an event of a type and symbol.
std::map<std::string, int> count_events(const std::vector<std::string>& lines) {
  std::map<std::string, int> counts;
  for (const std::string& line : lines) {
    if (!line.starts_with("{\"event_type\":")) continue;
    const std::size_t end = line.find(",\"event_time\":");
    ++counts[line.substr(1, end - 1)];
  }
  return counts;
}

class Contract {
 public:
  Contract(std::string folder, const ContractOptions& kit) : folder_(std::move(folder)), kit_(kit) {}

  std::vector<ContractResult> run() {
    if (!run_case(1, "the manifest is good", [this] { return manifest_is_good(); })) return std::move(results_);
    run_case(2, "an invalid configuration is refused", [this] { return invalid_is_refused(); });
    run_case(3, "a missing secret is named", [this] { return missing_secret_is_named(); });
    run_case(4, "captured frames become the expected events", [this] { return frames_become_events(); });
    run_case(5, "the same frames give the same events", [this] { return is_deterministic(); });
    run_case(6, "open and close start anew", [this] { return open_and_close(); });
    run_case(7, "malformed frames go to the dead letters with their bytes", [this] { return malformed_frames(); });
    run_case(8, "it connects and subscribes", [this] { return testing::connects_and_subscribes(options_, kit_, cases_); });
    run_case(9, "it reconnects and subscribes anew", [this] { return testing::reconnects_and_subscribes_anew(options_, kit_, cases_); });
    run_case(10, "it keeps its limits", [this] { return testing::keeps_its_limits(options_, kit_, cases_); });
    return std::move(results_);
  }

 private:
  static LiveOutcome failed(std::string detail) { return {Outcome::kFailed, std::move(detail)}; }
  static LiveOutcome skipped(std::string detail) { return {Outcome::kSkipped, std::move(detail)}; }

  template <class Body>
  bool run_case(int number, const char* name, Body&& body) {
    const std::int64_t start = kit_.clock->monotonic_ns();
    LiveOutcome outcome;
    try {
      outcome = body();
    } catch (const std::exception& e) {
      outcome = failed(std::string("an exception: ") + e.what());
    }
    results_.push_back({number, name, outcome.outcome, std::move(outcome.detail), kit_.clock->monotonic_ns() - start});
    if (kit_.on_result) kit_.on_result(results_.back());
    return results_.back().outcome != Outcome::kFailed;
  }

  LiveOutcome manifest_is_good() {
    auto manifest = load_manifest(folder_, *kit_.registry);
    if (!manifest) return failed(manifest.error().message);
    options_.manifest = std::move(*manifest);
    const Manifest& m = options_.manifest;
    if (m.entry == Manifest::Entry::kBuiltin && (kit_.builtin == nullptr || !kit_.builtin->mapper)) {
      return failed(m.file + ": entry builtin:" + m.builtin + ", but this program has no such connector; add it to the list in apps/utp and build again");
    }
    auto cases = testing::load_cases(folder_);
    if (!cases) return failed(cases.error().message);
    cases_ = std::move(*cases);
    return {Outcome::kPassed, m.id + " " + m.version + ", " + std::to_string(m.event_types.size()) + " event types, " +
                                  std::to_string(cases_.size()) + " cases"};
  }

  LiveOutcome invalid_is_refused() {
    const std::string good = read_file(options_.manifest.file);
    const std::string& type = options_.manifest.event_types.front().event_type;
    const std::string& ref = options_.manifest.event_types.front().schema_ref;
    const struct {
      std::string text, expected;
    } made[] = {{replaced(good, type, "no_such_type/v1"), "no_such_type/v1"},
                {replaced(good, ref, "utp://no_such_schema/1.0.0"), "utp://no_such_schema/1.0.0"},
                {good + "\nno_such_field: 1\n", "no_such_field"}};
    int count = 0;
    for (const auto& [text, expected] : made) {
      const auto parsed = parse_manifest(text, "invalid.yaml", *kit_.registry);
      if (parsed) return failed("a manifest with " + expected + " was accepted");
      if (parsed.error().message.find("invalid.yaml:") == std::string::npos) return failed("no file and line in: " + parsed.error().message);
      ++count;
    }
    std::error_code error;
    for (fs::directory_iterator at(fs::path(folder_) / "tests" / "invalid", error), end; !error && at != end; at.increment(error)) {
      if (at->path().extension() != ".yaml") continue;
      const std::string text = read_file(at->path());
      const std::string first = text.substr(0, text.find('\n'));
      constexpr std::string_view kExpect = "# expect: ";
      if (!first.starts_with(kExpect)) return failed(at->path().string() + ":1: expected a first line \"# expect: TEXT\"");
      const auto parsed = parse_manifest(text, at->path().string(), *kit_.registry);
      if (parsed) return failed(at->path().string() + " was accepted");
      if (parsed.error().message.find(first.substr(kExpect.size())) == std::string::npos) {
        return failed(at->path().string() + ": expected \"" + first.substr(kExpect.size()) + "\" in: " + parsed.error().message);
      }
      ++count;
    }
    return {Outcome::kPassed, std::to_string(count) + " refused"};
  }

  static std::string replaced(std::string text, const std::string& from, const std::string& to) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
    return text;
  }

  LiveOutcome missing_secret_is_named() {
    int required = 0;
    for (const Manifest::Secret& missing : options_.manifest.secrets) {
      if (!missing.required || missing.env.empty()) continue;
      ++required;
      const auto secrets = options_.manifest.read_secrets(
          [&](const char* name) -> const char* { return name == missing.env ? nullptr : "present"; });
      if (secrets) return failed("the start goes on without " + missing.env);
      if (secrets.error().code == Code::kNotFound && secrets.error().message.find(missing.env) == std::string::npos &&
          secrets.error().message.find("file") == std::string::npos) {
        return failed("the variable " + missing.env + " is not named in: " + secrets.error().message);
      }
    }
    if (required == 0) return skipped("the manifest requires no secret from the environment");
    return {Outcome::kPassed, std::to_string(required) + " named"};
  }

  LiveOutcome frames_become_events() {
    if (cases_.empty()) return failed(folder_ + "/tests has no case: a folder with frames.jsonl and expected.jsonl");
    std::size_t lines = 0, silent = 0;
    for (const ContractCase& c : cases_) {
      const auto actual = testing::map_frames(options_, kit_.builtin, c, c.frames);
      if (!actual) return failed(actual.error().message);
      for (std::size_t i = 0; i < std::min(actual->size(), c.expected.size()); ++i) {
        const std::string difference = testing::compare_line(c.expected[i], (*actual)[i]);
        if (!difference.empty()) return failed(c.expected_file + ":" + std::to_string(c.expected_lines[i]) + ": " + difference);
      }
      if (actual->size() != c.expected.size()) {
        const std::string next = actual->size() > c.expected.size() ? "; the first one too many: " + (*actual)[c.expected.size()].substr(0, 500) : "";
        return failed(c.expected_file + ": expected " + std::to_string(c.expected.size()) + " lines, found " + std::to_string(actual->size()) + next);
      }
      lines += c.expected.size();
      silent += c.expected.empty() ? 1 : 0;
    }
    return {Outcome::kPassed, std::to_string(cases_.size()) + " cases, " + std::to_string(lines) + " lines, " + std::to_string(silent) +
                                  " cases that must emit nothing"};
  }

  LiveOutcome is_deterministic() {
    for (const ContractCase& c : cases_) {
      const auto first = testing::map_frames(options_, kit_.builtin, c, c.frames);
      const auto second = testing::map_frames(options_, kit_.builtin, c, c.frames);
      if (!first || !second) return failed((first ? second : first).error().message);
      if (*first != *second) return failed("case " + c.name + " gives other lines the second time");
    }
    return {Outcome::kPassed, ""};
  }

  LiveOutcome open_and_close() {
    for (const ContractCase& c : cases_) {
      std::vector<OwnedFrame> twice = c.frames;
      std::uint32_t connections = 0;
      for (const OwnedFrame& frame : c.frames) connections = std::max(connections, frame.connection + 1);
      const Timestamp time = c.frames.empty() ? Timestamp{} : c.frames.back().receive_time;
      for (std::uint32_t i = 0; i < connections; ++i) twice.push_back({i, FrameKind::kClose, time, "", "contract case"});
      for (std::uint32_t i = 0; i < connections; ++i) twice.push_back({i, FrameKind::kOpen, time, "", "contract case"});
      for (const OwnedFrame& frame : c.frames) twice.push_back(frame);
      const auto once = testing::map_frames(options_, kit_.builtin, c, c.frames);
      const auto again = testing::map_frames(options_, kit_.builtin, c, twice);
      if (!once || !again) return failed((once ? again : once).error().message);
      auto expected = count_events(*once);
      for (auto& [what, count] : expected) count *= 2;
      const auto found = count_events(*again);
      for (const auto& [what, count] : expected) {
        const auto at = found.find(what);
        if (at == found.end() || at->second != count) {
          return failed("case " + c.name + ", once more after a close and an open: expected " + std::to_string(count) + " of " + what +
                        ", found " + std::to_string(at == found.end() ? 0 : at->second));
        }
      }
    }
    return {Outcome::kPassed, ""};
  }

  LiveOutcome malformed_frames() {
    constexpr std::size_t kFramesMax = 200, kBytesMax = 200'000;
    std::size_t tried = 0;
    for (const ContractCase& c : cases_) {
      std::vector<OwnedFrame> bad;
      for (const OwnedFrame& frame : c.frames) {
        const bool json = !frame.bytes.empty() && (frame.bytes.front() == '{' || frame.bytes.front() == '[');
        if (frame.kind != FrameKind::kWs || !json || frame.bytes.size() > kBytesMax || bad.size() >= kFramesMax) continue;
        bad.push_back(frame);
        bad.back().bytes.resize(frame.bytes.size() / 2);
      }
      if (bad.empty()) continue;
      for (const char* text : {"{", "\x01\xff\xfe garbage", "{\"a\":"}) {
        bad.push_back(bad.front());
        bad.back().bytes = text;
      }
      MemoryBus bus;
      auto publisher = bus.publisher({});
      PipelineOptions options = pipeline_options(options_);
      options.dead_letters_per_minute = UINT32_MAX;
      auto mapper = testing::case_mapper(options_, kit_.builtin, c);
      if (!mapper) return failed(mapper.error().message);
      auto pipeline = Pipeline::create(std::move(options), *kit_.registry, *kit_.clock, **publisher, std::move(*mapper), nullptr);
      if (!pipeline) return failed(pipeline.error().message);
      for (const OwnedFrame& frame : bad) {
        const std::uint64_t rejects = (*pipeline)->counts().rejects;
        (*pipeline)->on_frame(frame.view());
        if ((*pipeline)->counts().rejects == rejects) {
          return failed("case " + c.name + ": a cut frame was not rejected: " + frame.bytes.substr(0, 200));
        }
        if (auto status = (*pipeline)->flush(); !status) return failed(status.error().message);
        std::string encoded = "\"original\":\"";
        append_base64(encoded, frame.bytes);
        if (bus.messages().back().value.find(encoded) == std::string::npos) {
          return failed("case " + c.name + ": the dead letter does not hold the frame's bytes: " + frame.bytes.substr(0, 200));
        }
        ++tried;
      }
    }
    if (tried == 0) return skipped("no case has frames that are JSON");
    return {Outcome::kPassed, std::to_string(tried) + " frames"};
  }

  const std::string folder_;
  const ContractOptions& kit_;
  InstanceOptions options_;
  std::vector<ContractCase> cases_;
  std::vector<ContractResult> results_;
};

}  // namespace

std::vector<ContractResult> run_contract(const std::string& folder, const ContractOptions& options) {
  return Contract(folder, options).run();
}

bool passed(const std::vector<ContractResult>& results) {
  return std::ranges::none_of(results, [](const ContractResult& r) { return r.outcome == Outcome::kFailed; });
}

std::string to_text(const ContractResult& result) {
  static constexpr const char* kWords[] = {"ok    ", "FAILED", "skip  "};
  std::string line = kWords[static_cast<int>(result.outcome)];
  line += (result.number < 10 ? "  " : " ") + std::to_string(result.number) + "  " + result.name;
  if (!result.detail.empty()) line += ": " + result.detail;
  return line;
}

}  // namespace utp
