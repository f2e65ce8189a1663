#include "connector/frame_queue.h"

#include <algorithm>
#include <chrono>
#include <cstring>

namespace utp {
namespace {

constexpr std::size_t round_up(std::size_t size) { return (size + 7) & ~std::size_t{7}; }

}  // namespace

FrameQueue::FrameQueue(std::size_t bytes_max)
    : capacity_(round_up(std::max<std::size_t>(bytes_max, 4096))), ring_(new char[capacity_]) {}

// A record stands in one piece: behind tail_, or at the ring's start when the rest of the ring is too short.
bool FrameQueue::fits(std::size_t size) const {
  if (used_ == 0) return size <= capacity_;
  if (tail_ > head_) return capacity_ - tail_ >= size || head_ >= size;
  return head_ - tail_ >= size;  // tail_ == head_ with something in use: full
}

void FrameQueue::place(const Frame& frame, std::size_t size, bool oversize) {
  if (used_ == 0) head_ = tail_ = 0;
  if (tail_ >= head_ && capacity_ - tail_ < size) {
    const std::size_t rest = capacity_ - tail_;
    if (rest >= sizeof(Header)) {
      Header wrap{};
      wrap.wrap = true;
      std::memcpy(ring_.get() + tail_, &wrap, sizeof wrap);
    }
    used_ += rest;
    tail_ = 0;
  }
  Header header{};
  header.record_size = size;
  header.receive_ns = frame.receive_time.ns;
  header.bytes_size = frame.bytes.size();
  header.tag_size = static_cast<std::uint32_t>(frame.tag.size());
  header.connection = frame.connection;
  header.kind = frame.kind;
  header.oversize = oversize;
  char* at = ring_.get() + tail_;
  std::memcpy(at, &header, sizeof header);
  if (oversize) {
    oversize_.assign(frame.tag).append(frame.bytes);
  } else {
    if (!frame.tag.empty()) std::memcpy(at + sizeof header, frame.tag.data(), frame.tag.size());
    if (!frame.bytes.empty()) std::memcpy(at + sizeof header + frame.tag.size(), frame.bytes.data(), frame.bytes.size());
  }
  tail_ += size;
  if (tail_ == capacity_) tail_ = 0;
  used_ += size;
  ++records_;
}

bool FrameQueue::push(const Frame& frame) {
  std::size_t size = round_up(sizeof(Header) + frame.tag.size() + frame.bytes.size());
  const bool oversize = size > capacity_;
  if (oversize) size = sizeof(Header);
  std::unique_lock lock(mutex_);
  const auto has_room = [&] { return closed_ || (oversize ? used_ == 0 : fits(size)); };
  if (!has_room()) {
    const auto start = std::chrono::steady_clock::now();
    ++producers_waiting_;
    not_full_.wait(lock, has_room);
    --producers_waiting_;
    blocked_ns_ += static_cast<std::uint64_t>(std::chrono::nanoseconds(std::chrono::steady_clock::now() - start).count());
  }
  if (closed_) return false;
  place(frame, size, oversize);
  if (consumer_waits_) {
    consumer_waits_ = false;
    not_empty_.notify_one();
  }
  return true;
}

std::span<const Frame> FrameQueue::pop(std::size_t frames_max, std::int64_t timeout_ns) {
  popped_.clear();
  rooms_.clear();
  std::unique_lock lock(mutex_);
  if (records_ == 0 && !closed_ && timeout_ns > 0) {
    consumer_waits_ = true;
    not_empty_.wait_for(lock, std::chrono::nanoseconds(timeout_ns), [&] { return records_ > 0 || closed_ || woken_; });
    consumer_waits_ = false;
  }
  woken_ = false;
  std::size_t at = head_;
  for (std::size_t n = std::min(records_, frames_max); n > 0; --n) {
    std::size_t skipped = 0;
    Header header{};
    if (capacity_ - at >= sizeof header) std::memcpy(&header, ring_.get() + at, sizeof header);
    if (capacity_ - at < sizeof header || header.wrap) {
      skipped = capacity_ - at;
      at = 0;
      std::memcpy(&header, ring_.get(), sizeof header);
    }
    const char* body = header.oversize ? oversize_.data() : ring_.get() + at + sizeof header;
    Frame frame;
    frame.connection = header.connection;
    frame.kind = header.kind;
    frame.receive_time = {header.receive_ns};
    frame.tag = {body, header.tag_size};
    frame.bytes = {body + header.tag_size, header.bytes_size};
    popped_.push_back(frame);
    rooms_.push_back({skipped + header.record_size, header.oversize});
    at += header.record_size;
    if (at == capacity_) at = 0;
  }
  return popped_;
}

void FrameQueue::done(std::size_t count) {
  if (count == 0) return;
  std::lock_guard lock(mutex_);
  std::size_t freed = 0;
  for (std::size_t i = 0; i < count; ++i) {
    freed += rooms_[i].size;
    if (rooms_[i].oversize) std::string().swap(oversize_);
  }
  head_ = (head_ + freed) % capacity_;
  used_ -= freed;
  records_ -= count;
  if (producers_waiting_ > 0) not_full_.notify_all();
}

void FrameQueue::close() {
  std::lock_guard lock(mutex_);
  closed_ = true;
  not_empty_.notify_all();
  not_full_.notify_all();
}

void FrameQueue::wake() {
  std::lock_guard lock(mutex_);
  woken_ = true;
  if (consumer_waits_) not_empty_.notify_one();
}

bool FrameQueue::closed() const {
  std::lock_guard lock(mutex_);
  return closed_;
}

std::size_t FrameQueue::bytes() const {
  std::lock_guard lock(mutex_);
  return used_ + oversize_.size();
}

std::size_t FrameQueue::frames() const {
  std::lock_guard lock(mutex_);
  return records_;
}

std::uint64_t FrameQueue::blocked_ns() const {
  std::lock_guard lock(mutex_);
  return blocked_ns_;
}

}  // namespace utp
