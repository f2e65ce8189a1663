// The contract cases of a connector: what `utp connector test FOLDER` runs. docs/connectors.md describes them.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "connector/collector.h"
#include "connector/manifest.h"
#include "schema/registry.h"

namespace utp {

struct ContractResult {
  enum class Outcome : std::uint8_t { kPassed, kFailed, kSkipped };
  int number = 0;
  std::string name;
  Outcome outcome = Outcome::kPassed;
  std::string detail;  // why it failed or was skipped; what was counted
  std::int64_t duration_ns = 0;
};
std::string to_text(const ContractResult& result);  // one line: "ok    4 captured frames become the expected events: ..."

struct ContractOptions {
  const Registry* registry = nullptr;
  const Clock* clock = nullptr;
  const BuiltinConnector* builtin = nullptr;  // null when the manifest's entry is not linked in
  std::int64_t patience_ns = 15'000'000'000;  // for one step of a live case
  std::function<void(const ContractResult&)> on_result;  // as soon as each is known
};

// All cases, in order. Never throws; a folder without a readable manifest fails case 1 and ends there.
std::vector<ContractResult> run_contract(const std::string& folder, const ContractOptions& options);

// True when no case failed.
bool passed(const std::vector<ContractResult>& results);

}  // namespace utp
