// The second process of the bus contract suite: a driver's test builds a small program around run_contract_child().
#pragma once

#include <unistd.h>

#include <cstdlib>
#include <string>
#include <vector>

#include "bus/bus.h"

namespace utp::bus_contract {

// Arguments: topic, key prefix, messages, batch, "commit" or "interval". Message i has the key prefix + (i mod 7) and the value
// "prefix:i". After each acknowledged batch the number of messages acknowledged so far goes to standard output, a line each.
inline int run_contract_child(Bus& bus, const std::vector<std::string>& arguments) {
  if (arguments.size() != 5) return 64;
  const std::string& topic = arguments[0];
  const std::string& prefix = arguments[1];
  const long count = std::strtol(arguments[2].c_str(), nullptr, 10);
  const long batch = std::strtol(arguments[3].c_str(), nullptr, 10);
  PublisherOptions options;
  options.durability = arguments[4] == "interval" ? Durability::kInterval : Durability::kCommit;
  auto publisher = bus.publisher(options);
  if (!publisher) return 1;
  for (long first = 0; first < count; first += batch) {
    std::vector<std::string> texts;
    std::vector<OutMessage> messages;
    texts.reserve(static_cast<std::size_t>(batch) * 2);
    for (long i = first; i < first + batch && i < count; ++i) {
      const std::string& key = texts.emplace_back(prefix + std::to_string(i % 7));
      const std::string& value = texts.emplace_back(prefix + ":" + std::to_string(i));
      messages.push_back({topic, key, value});
    }
    if (const auto status = (*publisher)->publish(messages); !status) {
      const std::string line = "error " + status.error().message + "\n";
      if (::write(2, line.data(), line.size()) < 0) return 2;
      return 1;
    }
    const std::string line = std::to_string(first + static_cast<long>(messages.size())) + "\n";
    if (::write(1, line.data(), line.size()) < 0) return 2;
  }
  return 0;
}

}  // namespace utp::bus_contract
