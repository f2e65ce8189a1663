// How the partitions of a group are shared out among its live members, where the drivers do it and not their server.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace utp {

struct LiveMember {
  std::string name;
  std::vector<std::string> patterns;  // of the topics that it reads
};

// The name of the member that is to read this partition; "" when nobody reads the topic. All members come to the same answer
// from the same list, so it is given in the order of names.
std::string_view reader_of(std::span<const LiveMember> members, std::string_view topic, std::uint32_t partition);

}  // namespace utp
