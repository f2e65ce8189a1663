// Compares what two buses hold of the same topics, message by message: the proof behind a migration.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "bus/bridge.h"
#include "bus/bus.h"

namespace utp {

struct TopicComparison {
  std::string topic;
  std::uint64_t from_messages = 0, to_messages = 0;    // read on each side
  std::uint64_t from_distinct = 0, to_distinct = 0;    // the same key and bytes counted once
  std::uint64_t missing = 0;       // distinct messages of the near side that the far side does not have
  std::uint64_t extra = 0;         // distinct messages that only the far side has
  std::uint64_t out_of_order = 0;  // of one key, whose order differs
  std::vector<std::string> missing_examples;  // "<key> <first bytes>", a few
  bool equal() const { return missing == 0 && out_of_order == 0; }
};

struct CompareOptions {
  BridgeFilter filter;
  Start start;
  // Of the near side only what was there then has to be at the far side: for a bus that is still written to.
  std::optional<Bridge::Mark> until;
  std::uint64_t messages_max = 50'000'000;  // of one topic and side; each takes 32 bytes of memory
  std::function<void(const std::string& topic, std::uint64_t read)> progress;
  std::function<bool()> give_up;
};

// Topic by topic, of each what it held at the call; what comes later is left out. kFull above messages_max, kCancelled.
Result<std::vector<TopicComparison>> compare(Bus& from, Bus& to, const CompareOptions& options);

}  // namespace utp
