// What all capture readers stand on: a file's bytes, decompressed on the fly, through a window of bounded size.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace utp {

// Bytes of a file in order, decompressed when its first bytes say zstd or gzip (several frames or members in a row are one
// stream). Not thread-safe.
class CaptureSource {
 public:
  static Result<std::unique_ptr<CaptureSource>> open(const std::string& path);
  virtual ~CaptureSource() = default;

  // Up to `size` bytes, 0 at the end. A compressed stream that stops in its middle is kCorrupt, after all bytes before it.
  virtual Result<std::size_t> read(char* out, std::size_t size) = 0;
  virtual std::uint64_t bytes_read() const = 0;   // of the file on disk
  virtual std::uint64_t bytes_total() const = 0;
  // Where the last whole compressed frame ended, on disk and decompressed: a file cut there is whole. Plain files: what was read.
  virtual std::uint64_t whole_bytes() const = 0;
  virtual bool compressed() const = 0;
  bool stopped_short() const { return stopped_short_; }  // the file ended in the middle of a compressed frame

 protected:
  bool stopped_short_ = false;
};

// A sliding window over a source. Bytes stay where they are until consume().
class CaptureWindow {
 public:
  explicit CaptureWindow(std::unique_ptr<CaptureSource> source) : source_(std::move(source)) {}

  // Reads until `size` bytes are there or the source ends; the number that are there.
  std::size_t fill(std::size_t size);
  // Reads until a line is whole; its bytes without the line feed. `whole` is false when the source ended first or the line is
  // longer than the limit.
  std::string_view line(std::size_t limit, bool& whole);

  std::string_view bytes() const { return {buffer_.get() + begin_, end_ - begin_}; }
  // kPaddingBytes readable bytes follow whatever bytes() shows.
  static constexpr std::size_t kPaddingBytes = 64;
  void consume(std::size_t size) {
    size = std::min(size, end_ - begin_);  // a file's last line may lack its line feed
    begin_ += size;
    offset_ += size;
  }
  std::uint64_t offset() const { return offset_; }   // of bytes().data() in the decompressed stream
  bool ended() const { return ended_; }
  // Set when the source ended because it is damaged.
  const Status& status() const { return status_; }
  const CaptureSource& source() const { return *source_; }

 private:
  void reserve(std::size_t size);

  std::unique_ptr<CaptureSource> source_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0, begin_ = 0, end_ = 0;
  std::uint64_t offset_ = 0;
  bool ended_ = false;
  Status status_;
};

}  // namespace utp
