// JSON Merge Patch (RFC 7396) on texts.
#pragma once

#include <string>
#include <string_view>

#include "core/result.h"

namespace utp {

// Numbers keep their exact text, members their order; new members come last. kInvalidArgument names which of the two is no
// JSON and where.
Result<std::string> json_merge_patch(std::string_view target, std::string_view patch);

}  // namespace utp
