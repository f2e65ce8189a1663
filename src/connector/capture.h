// Captures: files of frames. One format is ours (.utpcap, see docs/captures.md); the others are recorded formats of third
// parties. Any of them may be compressed with zstd or gzip, told by content, not by name.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "connector/frame.h"
#include "core/result.h"

namespace utp {

// The largest record that a capture may hold: well above any venue's largest message (5 MB seen), small enough that a damaged
// length cannot take the machine's memory.
inline constexpr std::size_t kCaptureRecordBytesMax = 64 * 1024 * 1024;

class CaptureReader {
 public:
  virtual ~CaptureReader() = default;
  // False at the end. The frame's views are valid until the next call. A damaged record is an error that names the byte
  // offset in the decompressed stream; a truncated last record is reported the same way after all whole ones. An error is
  // final: every later call returns it again. Third parties' formats keep the order of the file, so their times may step back.
  [[nodiscard]] virtual Result<bool> next(Frame& frame) = 0;
  virtual std::uint64_t bytes_read() const = 0;    // of the file as it is on disk: for progress
  virtual std::uint64_t bytes_total() const = 0;
  virtual const std::string& connector() const = 0;  // the id that the file names, "" when it names none
  virtual std::string_view format() const = 0;       // "utpcap", "cbcap", "jsonl", "text"
};

// Formats: utpcap; cbcap (record times are monotonic: rebased on the header's time); jsonl with {"t","ts","data"}; text lines
// "<unix seconds>: <frame>".
Result<std::unique_ptr<CaptureReader>> open_capture(const std::string& path);

class CaptureWriter {
 public:
  virtual ~CaptureWriter() = default;
  [[nodiscard]] virtual Status write(const Frame& frame) = 0;
  [[nodiscard]] virtual Status flush() = 0;  // what was written so far survives the death of the process
  [[nodiscard]] virtual Status close() = 0;  // flushes; a capture that was not closed is readable up to its last flush
  virtual std::uint64_t bytes() const = 0;
};

struct CaptureOptions {
  std::string connector;
  int zstd_level = 3;               // 0 = not compressed
  std::uint64_t bytes_max = 0;      // of the file; 0 = no limit. Past it write() returns kFull, and the file stays whole
  // Flushed when this much was written, or when the frames' receive times have moved on by this much: what a crash may take.
  std::size_t flush_bytes = 1024 * 1024;
  std::int64_t flush_interval_ns = 1'000'000'000;
  // Goes on behind the last whole record of an existing capture of the same connector (an unfinished tail, left by a crash, is
  // cut off). Without it an existing file is kAlreadyExists: a recording is never overwritten.
  bool append = false;
};
Result<std::unique_ptr<CaptureWriter>> create_capture(const std::string& path, const CaptureOptions& options);

}  // namespace utp
