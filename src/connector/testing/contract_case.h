// One case folder of a connector: captured frames and what they must become.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "connector/host.h"

namespace utp::testing {

struct OwnedFrame {
  std::uint32_t connection = 0;
  FrameKind kind = FrameKind::kWs;
  Timestamp receive_time;
  std::string tag, bytes;
  Frame view() const { return {connection, kind, receive_time, tag, bytes}; }
};

struct ContractCase {
  std::string name;  // the folder's
  std::vector<OwnedFrame> frames;
  std::vector<std::string> expected;  // lines, comments left out
  std::vector<int> expected_lines;    // their numbers in the file
  std::string expected_file;
  std::string settings_json;          // settings.json: laid over the manifest's settings; "" without one
  bool has_wanted = false;
  std::vector<WantedStream> wanted;
};

// The case folders below `folder`/tests, by name; those without frames.* are left out.
Result<std::vector<ContractCase>> load_cases(const std::string& folder);

// A fresh mapper that wants what the case says.
Result<std::unique_ptr<Mapper>> case_mapper(const InstanceOptions& options, const BuiltinConnector* builtin, const ContractCase& c);

// What the mapper puts out for the frames, as JSON lines (testing/recorded_output.h).
Result<std::vector<std::string>> map_frames(const InstanceOptions& options, const BuiltinConnector* builtin, const ContractCase& c,
                                            const std::vector<OwnedFrame>& frames);

// "" when both say the same, by value and by the rules of docs/connectors.md; else the first difference.
std::string compare_line(const std::string& expected, const std::string& actual);

}  // namespace utp::testing
