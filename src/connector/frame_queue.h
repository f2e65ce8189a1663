// FrameQueue: raw frames between collector threads and the one host thread, bounded in bytes. A ring of bytes: no allocation
// per frame, and the consumer reads the frames in place.
//
// Threads: push() from any number of threads; pop(), done() from one; close() and the figures from any.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "connector/collector.h"

namespace utp {

class FrameQueue final : public FrameSink {
 public:
  explicit FrameQueue(std::size_t bytes_max);

  // Waits for room. A frame above bytes_max waits for the queue to be empty and then takes a buffer of its own. False when
  // the queue was closed; the frame is dropped then.
  bool push(const Frame& frame) override;

  // The frames that are there, oldest first, at most `frames_max`; waits up to `timeout_ns` for the first. They stay valid
  // and keep their room until done().
  std::span<const Frame> pop(std::size_t frames_max, std::int64_t timeout_ns);
  // The first `count` frames of the last pop() are finished with; the others come again.
  void done(std::size_t count);

  void close();  // wakes everyone; push() refuses, pop() gives what is left
  void wake();   // ends a waiting pop() early
  bool closed() const;

  std::size_t bytes() const;   // in use
  std::size_t frames() const;  // waiting, or popped and not done
  std::size_t bytes_max() const { return capacity_; }
  std::uint64_t blocked_ns() const;  // time that producers have waited for room, in all

 private:
  struct Header {
    std::uint64_t record_size;  // with this header, rounded up to 8
    std::int64_t receive_ns;
    std::uint64_t bytes_size;
    std::uint32_t tag_size;
    std::uint32_t connection;
    FrameKind kind;
    bool wrap;      // nothing here: go on at the ring's start
    bool oversize;  // bytes stand in oversize_
  };

  bool fits(std::size_t size) const;  // sets nothing; under the lock
  void place(const Frame& frame, std::size_t size, bool oversize);

  const std::size_t capacity_;
  std::unique_ptr<char[]> ring_;
  mutable std::mutex mutex_;
  std::condition_variable not_empty_, not_full_;
  std::size_t head_ = 0, tail_ = 0;  // offsets of the oldest record and of the free room
  std::size_t used_ = 0;
  std::size_t records_ = 0;
  std::string oversize_;
  bool closed_ = false;
  bool woken_ = false;
  bool consumer_waits_ = false;
  unsigned producers_waiting_ = 0;
  std::uint64_t blocked_ns_ = 0;
  struct Room {
    std::size_t size = 0;  // that a popped frame gives back
    bool oversize = false;
  };
  std::vector<Frame> popped_;
  std::vector<Room> rooms_;  // of popped_
};

}  // namespace utp
