#include "core/result.h"

namespace utp {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kInvalidArgument: return "invalid_argument";
    case Code::kNotFound: return "not_found";
    case Code::kAlreadyExists: return "already_exists";
    case Code::kUnsupported: return "unsupported";
    case Code::kPermission: return "permission";
    case Code::kIo: return "io";
    case Code::kCorrupt: return "corrupt";
    case Code::kFull: return "full";
    case Code::kUnavailable: return "unavailable";
    case Code::kTimeout: return "timeout";
    case Code::kFenced: return "fenced";
    case Code::kCancelled: return "cancelled";
    case Code::kInternal: return "internal";
  }
  return "internal";
}

}  // namespace utp
