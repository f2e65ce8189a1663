// `utp connector new ID`: a connector that works, to be changed into the one that is wanted.
#pragma once

#include <string>
#include <vector>

#include "core/result.h"

namespace utp {

enum class SkeletonKind {
  kCpp,   // linked in: websocket collector, mapper, tests; built with the project
  kExec,  // a Python program; runs at once
};

// Writes folder `parent`/`id`, which must not exist; the files written. Both kinds pass their contract cases.
Result<std::vector<std::string>> write_skeleton(const std::string& parent, const std::string& id, SkeletonKind kind);

}  // namespace utp
