#include "connector/frame.h"

namespace utp {

std::string_view to_string(FrameKind kind) {
  switch (kind) {
    case FrameKind::kOpen: return "open";
    case FrameKind::kClose: return "close";
    case FrameKind::kSent: return "sent";
    case FrameKind::kWs: return "ws";
    case FrameKind::kHttp: return "http";
  }
  return "unknown";
}

}  // namespace utp
