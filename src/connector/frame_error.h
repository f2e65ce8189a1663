// Why a frame could not be read: what MapperOutput::reject is told.
#pragma once

#include <string>

namespace utp {

struct FrameError {
  std::string code;  // "json", "type", "missing", "value", "channel", "venue_error", ...
  std::string path;  // JSON Pointer into the frame
  std::string message;
};

}  // namespace utp
