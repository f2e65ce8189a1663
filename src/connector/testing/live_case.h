// The live contract cases: the whole connector against a local server, or its program.
#pragma once

#include <string>

#include "connector/testing/contract_case.h"
#include "connector/testing/test_kit.h"

namespace utp::testing {

// Detail in `detail`; kNotFound/kUnsupported errors of the outcome are skips.
struct LiveOutcome {
  ContractResult::Outcome outcome = ContractResult::Outcome::kPassed;
  std::string detail;
};

LiveOutcome connects_and_subscribes(const InstanceOptions& options, const ContractOptions& kit, const std::vector<ContractCase>& cases);
LiveOutcome reconnects_and_subscribes_anew(const InstanceOptions& options, const ContractOptions& kit,
                                           const std::vector<ContractCase>& cases);
LiveOutcome keeps_its_limits(const InstanceOptions& options, const ContractOptions& kit, const std::vector<ContractCase>& cases);

}  // namespace utp::testing
