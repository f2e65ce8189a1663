#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zstd.h>

#include <cerrno>
#include <cstring>

#include <fmt/format.h>

#include "connector/capture_formats.h"

namespace utp {
namespace {

Error io_error(const std::string& path, std::string_view what) {
  const int number = errno;
  const bool full = number == ENOSPC || number == EDQUOT || number == EFBIG;
  const Code code = full ? Code::kFull : number == EACCES || number == EPERM || number == EROFS ? Code::kPermission : Code::kIo;
  return {code, fmt::format("{}: cannot {}: {}{}", path, what, std::strerror(number), full ? "; free space or choose another folder" : ""), full};
}

class Writer final : public CaptureWriter {
 public:
  Writer(std::string path, CaptureOptions options, int descriptor, std::uint64_t size)
      : path_(std::move(path)), options_(std::move(options)), descriptor_(descriptor), bytes_(size) {
    if (options_.zstd_level != 0) context_ = ZSTD_createCCtx();
    if (context_ != nullptr) ZSTD_CCtx_setParameter(context_, ZSTD_c_compressionLevel, options_.zstd_level);
  }
  ~Writer() override {
    if (descriptor_ >= 0) {
      (void)flush();
      ::close(descriptor_);
    }
    ZSTD_freeCCtx(context_);
  }

  void write_header() { pending_ = fmt::format("{}{}\n", capture::kUtpcapMagic, options_.connector.empty() ? "-" : options_.connector); }

  Status write(const Frame& frame) override {
    if (descriptor_ < 0) return fail(Code::kInvalidArgument, fmt::format("{}: the capture was closed", path_));
    if (frame.bytes.size() > kCaptureRecordBytesMax || frame.tag.size() > UINT16_MAX) {
      return fail(Code::kInvalidArgument, fmt::format("{}: a frame of {} bytes with a tag of {}; at most {} and {} fit a record", path_,
                                                      frame.bytes.size(), frame.tag.size(), kCaptureRecordBytesMax, UINT16_MAX));
    }
    const std::size_t record = capture::kUtpcapHeadBytes + frame.tag.size() + frame.bytes.size() + capture::kUtpcapTailBytes;
    if (options_.bytes_max != 0 && bytes_ + at_most(pending_.size() + record) > options_.bytes_max) {
      UTP_CHECK(flush());
      if (bytes_ + at_most(record) > options_.bytes_max) {
        return fail(Code::kFull, fmt::format("{}: the capture has reached its limit of {} bytes; nothing more is recorded", path_, options_.bytes_max));
      }
    }
    capture::append_utpcap_record(pending_, frame);
    if (last_flush_.ns == 0) last_flush_ = frame.receive_time;
    if (pending_.size() >= options_.flush_bytes || frame.receive_time - last_flush_ >= options_.flush_interval_ns) {
      last_flush_ = frame.receive_time;
      return flush();
    }
    return {};
  }

  // Each flush is a zstd frame of its own: the file is whole after it, and can be gone on with after a crash.
  Status flush() override {
    if (pending_.empty()) return {};
    if (options_.zstd_level == 0) {
      UTP_CHECK(write_bytes(pending_));
    } else {
      if (context_ == nullptr) return fail(Code::kInternal, "zstd cannot be initialized: out of memory");
      packed_.resize(ZSTD_compressBound(pending_.size()));
      const std::size_t size = ZSTD_compress2(context_, packed_.data(), packed_.size(), pending_.data(), pending_.size());
      if (ZSTD_isError(size)) return fail(Code::kInternal, fmt::format("{}: zstd: {}", path_, ZSTD_getErrorName(size)));
      UTP_CHECK(write_bytes(std::string_view(packed_).substr(0, size)));
    }
    pending_.clear();
    return {};
  }

  Status close() override {
    if (descriptor_ < 0) return {};
    Status status = flush();
    if (status && ::fsync(descriptor_) != 0 && errno != EINVAL) status = fail(io_error(path_, "sync"));
    if (::close(descriptor_) != 0 && status) status = fail(io_error(path_, "close"));
    descriptor_ = -1;
    return status;
  }

  std::uint64_t bytes() const override { return bytes_ + pending_.size(); }

 private:
  std::uint64_t at_most(std::size_t size) const { return options_.zstd_level == 0 ? size : ZSTD_compressBound(size); }

  // All of it or nothing: a part that was written is cut off again, so that the file stays whole on a full disk.
  Status write_bytes(std::string_view bytes) {
    std::size_t done = 0;
    while (done < bytes.size()) {
      const ssize_t wrote = ::write(descriptor_, bytes.data() + done, bytes.size() - done);
      if (wrote < 0 && errno == EINTR) continue;
      if (wrote < 0) {
        Error error = io_error(path_, "write the capture");
        if (::ftruncate(descriptor_, static_cast<off_t>(bytes_)) != 0) error.message += "; its end is damaged";
        return fail(std::move(error));
      }
      done += static_cast<std::size_t>(wrote);
    }
    bytes_ += bytes.size();
    return {};
  }

  std::string path_;
  CaptureOptions options_;
  int descriptor_;
  std::uint64_t bytes_;        // on disk
  std::string pending_, packed_;
  ZSTD_CCtx* context_ = nullptr;
  Timestamp last_flush_;
};

// Where an existing capture may be gone on with: behind its last whole record (its last whole compressed frame).
Result<std::uint64_t> whole_size(const std::string& path, const CaptureOptions& options) {
  UTP_TRY(auto reader, open_capture(path));
  auto* ours = dynamic_cast<capture::UtpcapReader*>(reader.get());
  if (ours == nullptr) {
    return fail(Code::kUnsupported, fmt::format("{}: cannot append to a capture in the format {}; choose a new file", path, reader->format()));
  }
  if (ours->connector() != options.connector) {
    return fail(Code::kInvalidArgument, fmt::format("{}: is a capture of connector \"{}\", cannot append frames of \"{}\"; choose a new file", path,
                                                    ours->connector(), options.connector));
  }
  if (ours->source().compressed() != (options.zstd_level != 0)) {
    return fail(Code::kInvalidArgument, fmt::format("{}: is {}; append with the same compression, or choose a new file", path,
                                                    ours->source().compressed() ? "compressed" : "not compressed"));
  }
  Frame frame;
  for (;;) {
    auto more = ours->next(frame);
    if (!more && !ours->was_cut()) return fail(std::move(more.error()));  // cutting there would take what follows the damage
    if (!more || !*more) break;
  }
  return ours->source().compressed() ? ours->source().whole_bytes() : ours->offset();
}

}  // namespace

Result<std::unique_ptr<CaptureWriter>> create_capture(const std::string& path, const CaptureOptions& options) {
  if (options.connector.find_first_of(" \n") != std::string::npos || options.connector == "-" ||
      options.connector.size() > capture::kHeaderLineMax / 2) {
    return fail(Code::kInvalidArgument, fmt::format("\"{}\" is no connector id that a capture can name", options.connector));
  }
  if (options.zstd_level < 0 || options.zstd_level > ZSTD_maxCLevel()) {
    return fail(Code::kInvalidArgument, fmt::format("zstd level {}: 0 (not compressed) to {} was expected", options.zstd_level, ZSTD_maxCLevel()));
  }
  std::uint64_t size = 0;
  struct stat facts {};
  const bool exists = ::stat(path.c_str(), &facts) == 0 && facts.st_size > 0;
  if (exists && !options.append) {
    return fail(Code::kAlreadyExists, fmt::format("{}: exists already, and a recording is never overwritten; remove it, or choose another name", path));
  }
  if (exists) {
    UTP_TRY(size, whole_size(path, options));
  }
  const int descriptor = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (descriptor < 0) return fail(io_error(path, "create the capture"));
  auto writer = std::make_unique<Writer>(path, options, descriptor, size);
  if (exists) {
    if (::ftruncate(descriptor, static_cast<off_t>(size)) != 0) return fail(io_error(path, "cut off the unfinished end"));
  } else {
    writer->write_header();
    UTP_CHECK(writer->flush());
  }
  return writer;
}

}  // namespace utp
