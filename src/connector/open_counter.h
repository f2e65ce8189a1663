// OpenCounter: how often each connection was opened, as the reader of the frames knows it. A command carries that count, so
// that an answer to frames of a connection that is gone is not carried out on the one that took its place.
#pragma once

#include <cstdint>
#include <vector>

#include "connector/frame.h"

namespace utp {

class OpenCounter {
 public:
  void on_frame(const Frame& frame) {
    if (frame.kind != FrameKind::kOpen || frame.connection >= kConnectionsMax) return;
    if (frame.connection >= opens_.size()) opens_.resize(frame.connection + 1);
    ++opens_[frame.connection];
  }
  // 0 = never, or not known.
  std::uint64_t of(std::uint32_t connection) const { return connection < opens_.size() ? opens_[connection] : 0; }

 private:
  static constexpr std::uint32_t kConnectionsMax = 4096;  // collectors number them from 0
  std::vector<std::uint64_t> opens_;
};

}  // namespace utp
