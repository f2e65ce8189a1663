#include "bus/rebalance.h"

#include <algorithm>

#include "core/hash.h"
#include "model/envelope.h"

namespace utp {

std::string_view reader_of(std::span<const LiveMember> members, std::string_view topic, std::uint32_t partition) {
  std::vector<const LiveMember*> readers;
  for (const LiveMember& member : members) {
    const auto matches = [&](const std::string& pattern) { return topic_matches(pattern, topic); };
    if (std::any_of(member.patterns.begin(), member.patterns.end(), matches)) readers.push_back(&member);
  }
  if (readers.empty()) return {};
  // Offset by the topic, so that many topics of one partition are spread too.
  return readers[(hash64(topic) + partition) % readers.size()]->name;
}

}  // namespace utp
