// Captures: files of frames. One format is ours (.utpcap, see docs/captures.md); the others are recorded formats of third
// parties. Any of them may be compressed with zstd or gzip, told by content, not by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "connector/frame.h"
#include "core/result.h"

namespace utp {

class CaptureReader {
 public:
  virtual ~CaptureReader() = default;
  // False at the end. The frame's views are valid until the next call. A damaged record is an error that names the byte
  // offset in the decompressed stream; a truncated last record is reported the same way after all whole ones.
  [[nodiscard]] virtual Result<bool> next(Frame& frame) = 0;
  virtual std::uint64_t bytes_read() const = 0;    // of the file as it is on disk: for progress
  virtual std::uint64_t bytes_total() const = 0;
  virtual const std::string& connector() const = 0;  // the id that the file names, "" when it names none
};

// Formats: utpcap; cbcap (record times are monotonic: rebased on the header's time); jsonl with {"t","ts","data"}; text lines
// "<unix seconds>: <frame>".
Result<std::unique_ptr<CaptureReader>> open_capture(const std::string& path);

class CaptureWriter {
 public:
  virtual ~CaptureWriter() = default;
  [[nodiscard]] virtual Status write(const Frame& frame) = 0;
  [[nodiscard]] virtual Status close() = 0;  // flushes; a capture that was not closed is readable up to its last flush
  virtual std::uint64_t bytes() const = 0;
};

struct CaptureOptions {
  std::string connector;
  int zstd_level = 3;               // 0 = not compressed
  std::uint64_t bytes_max = 0;      // of the file; 0 = no limit. Past it write() returns kFull
};
Result<std::unique_ptr<CaptureWriter>> create_capture(const std::string& path, const CaptureOptions& options);

}  // namespace utp
