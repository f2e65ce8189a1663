// The readers behind open_capture(), one per format, and the layout of our own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "connector/capture.h"
#include "connector/capture_source.h"

namespace utp::capture {

// .utpcap: the header line "UTPCAP1 <connector or ->\n", then records (docs/captures.md). All numbers are little-endian.
//   u32 bytes, u32 connection, i64 receive ns, u16 tag bytes, u8 kind, u8 zero | tag | bytes | u64 XXH3-64 of all before it
inline constexpr std::string_view kUtpcapMagic = "UTPCAP1 ";
inline constexpr std::size_t kUtpcapHeadBytes = 20;
inline constexpr std::size_t kUtpcapTailBytes = 8;
inline constexpr std::size_t kHeaderLineMax = 512;

// Appends one record.
void append_utpcap_record(std::string& out, const Frame& frame);

// Readers share the way in which they fail: once and for all, with path and offset.
class ReaderBase : public CaptureReader {
 public:
  ReaderBase(std::string path, CaptureWindow window) : path_(std::move(path)), window_(std::move(window)) {}
  Result<bool> next(Frame& frame) final;
  std::uint64_t bytes_read() const final { return window_.source().bytes_read(); }
  std::uint64_t bytes_total() const final { return window_.source().bytes_total(); }
  const std::string& connector() const final { return connector_; }
  // Where the next record starts, decompressed: what is before it was read whole.
  std::uint64_t offset() const { return window_.offset() + pending_; }
  const CaptureSource& source() const { return window_.source(); }
  // The error that next() ended with means a file that was cut, not one that is damaged.
  bool was_cut() const { return was_cut_; }

 protected:
  virtual Result<bool> read(Frame& frame) = 0;
  // What to say at `window_` when fewer bytes are there than a record needs: the source's own damage, or a cut file.
  Error cut(std::string_view what);
  Error damaged(std::string_view what) const;
  void done_with(std::size_t size) { pending_ = size; }  // consumed by the next call, so that views stay valid

  std::string path_;
  CaptureWindow window_;
  std::string connector_;

 private:
  std::size_t pending_ = 0;
  bool was_cut_ = false;
  std::optional<Error> error_;
};

class UtpcapReader final : public ReaderBase {
 public:
  using ReaderBase::ReaderBase;
  Status read_header();
  std::string_view format() const override { return "utpcap"; }

 private:
  Result<bool> read(Frame& frame) override;
};

Result<std::unique_ptr<CaptureReader>> open_utpcap(const std::string& path, CaptureWindow window);
Result<std::unique_ptr<CaptureReader>> open_cbcap(const std::string& path, CaptureWindow window);
Result<std::unique_ptr<CaptureReader>> open_jsonl(const std::string& path, CaptureWindow window);
Result<std::unique_ptr<CaptureReader>> open_text(const std::string& path, CaptureWindow window);
// True when the line is one that the text format knows.
bool is_text_line(std::string_view line);

}  // namespace utp::capture
