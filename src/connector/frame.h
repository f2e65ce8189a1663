// Frame: one raw thing that a collector received or sent. Captures hold frames; mappers turn them into events.
#pragma once

#include <cstdint>
#include <string_view>

#include "core/timestamp.h"

namespace utp {

enum class FrameKind : std::uint8_t {
  kOpen,   // a connection is up; bytes: its address
  kClose,  // it is gone; bytes: the reason
  kSent,   // what we sent on it
  kWs,     // one message (websocket message, or one message of any other stream)
  kHttp,   // one answer; tag: the request's name
};
std::string_view to_string(FrameKind kind);

struct Frame {
  std::uint32_t connection = 0;  // number of the connection within its connector instance, counted up from 0
  FrameKind kind = FrameKind::kWs;
  Timestamp receive_time;        // never going back within a capture
  std::string_view tag;          // kHttp: the request's name or URL; else ""
  std::string_view bytes;        // valid during the call
};

}  // namespace utp
