#include "connector/capture_source.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include <fmt/format.h>

namespace utp {
namespace {

constexpr std::size_t kReadBytes = 128 * 1024;

class File {
 public:
  File(int descriptor, std::uint64_t size, std::string path) : descriptor_(descriptor), size_(size), path_(std::move(path)) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { ::close(descriptor_); }

  Result<std::size_t> read(char* out, std::size_t size) {
    for (;;) {
      const ssize_t got = ::read(descriptor_, out, size);
      if (got >= 0) {
        read_ += static_cast<std::uint64_t>(got);
        return static_cast<std::size_t>(got);
      }
      if (errno != EINTR) return fail(Code::kIo, fmt::format("{}: cannot read at byte {}: {}", path_, read_, std::strerror(errno)));
    }
  }
  std::uint64_t bytes_read() const { return read_; }
  std::uint64_t size() const { return size_; }
  const std::string& path() const { return path_; }

 private:
  int descriptor_;
  std::uint64_t size_;
  std::uint64_t read_ = 0;
  std::string path_;
};

// The file's first bytes were read to tell its format: every source starts with them.
class SourceBase : public CaptureSource {
 public:
  SourceBase(std::unique_ptr<File> file, std::string head) : file_(std::move(file)), input_(std::move(head)) {}
  std::uint64_t bytes_read() const override { return file_->bytes_read() - (input_.size() - used_); }
  std::uint64_t bytes_total() const override { return std::max(file_->size(), file_->bytes_read()); }

 protected:
  // False at the end of the file.
  Result<bool> refill() {
    if (used_ < input_.size()) return true;
    input_.resize(kReadBytes);
    used_ = 0;
    auto got = file_->read(input_.data(), kReadBytes);
    if (!got) {
      input_.clear();
      return fail(std::move(got.error()));
    }
    input_.resize(*got);
    return *got > 0;
  }

  std::unique_ptr<File> file_;
  std::string input_;
  std::size_t used_ = 0;
};

class PlainSource final : public SourceBase {
 public:
  using SourceBase::SourceBase;
  Result<std::size_t> read(char* out, std::size_t size) override {
    if (used_ == input_.size()) return file_->read(out, size);
    const std::size_t count = std::min(size, input_.size() - used_);
    std::memcpy(out, input_.data() + used_, count);
    used_ += count;
    return count;
  }
  std::uint64_t whole_bytes() const override { return bytes_read(); }
  bool compressed() const override { return false; }
};

class ZstdSource final : public SourceBase {
 public:
  ZstdSource(std::unique_ptr<File> file, std::string head) : SourceBase(std::move(file), std::move(head)), context_(ZSTD_createDCtx()) {}
  ~ZstdSource() override { ZSTD_freeDCtx(context_); }

  Result<std::size_t> read(char* out, std::size_t size) override {
    ZSTD_outBuffer output{out, size, 0};
    while (output.pos == 0) {
      UTP_TRY(const bool more, refill());
      if (!more) {
        // Bytes may wait in the decoder after its input was taken.
        if (wanted_ != 0) {
          ZSTD_inBuffer nothing{nullptr, 0, 0};
          const std::size_t left = ZSTD_decompressStream(context_, &output, &nothing);
          if (!ZSTD_isError(left) && output.pos > 0) return output.pos;
          stopped_short_ = true;
          return fail(Code::kCorrupt, fmt::format("{}: the zstd stream stops in the middle of a frame at byte {} (the file was cut, or is "
                                                  "still being written); everything before was read", file_->path(), file_->bytes_read()));
        }
        return std::size_t{0};
      }
      ZSTD_inBuffer input{input_.data(), input_.size(), used_};
      const std::size_t left = ZSTD_decompressStream(context_, &output, &input);
      if (ZSTD_isError(left)) {
        return fail(Code::kCorrupt, fmt::format("{}: damaged zstd data near byte {}: {}", file_->path(), bytes_read(), ZSTD_getErrorName(left)));
      }
      used_ = input.pos;
      wanted_ = left;
      if (left == 0) whole_ = bytes_read();
    }
    return output.pos;
  }
  std::uint64_t whole_bytes() const override { return whole_; }
  bool compressed() const override { return true; }

 private:
  ZSTD_DCtx* context_;
  std::size_t wanted_ = 0;
  std::uint64_t whole_ = 0;
};

class GzipSource final : public SourceBase {
 public:
  GzipSource(std::unique_ptr<File> file, std::string head) : SourceBase(std::move(file), std::move(head)) {
    ready_ = inflateInit2(&stream_, 15 + 16) == Z_OK;
  }
  ~GzipSource() override {
    if (ready_) inflateEnd(&stream_);
  }

  Result<std::size_t> read(char* out, std::size_t size) override {
    if (!ready_) return fail(Code::kInternal, "zlib cannot be initialized: out of memory");
    size = std::min<std::size_t>(size, 1u << 30);
    stream_.next_out = reinterpret_cast<Bytef*>(out);
    stream_.avail_out = static_cast<uInt>(size);
    while (stream_.avail_out == size) {
      UTP_TRY(const bool more, refill());
      if (!more) {
        if (!between_members_) {
          stopped_short_ = true;
          return fail(Code::kCorrupt, fmt::format("{}: the gzip stream stops in its middle at byte {} (the file was cut, or is still being "
                                                  "written); everything before was read", file_->path(), file_->bytes_read()));
        }
        return std::size_t{0};
      }
      stream_.next_in = reinterpret_cast<Bytef*>(input_.data() + used_);
      stream_.avail_in = static_cast<uInt>(input_.size() - used_);
      between_members_ = false;
      const int outcome = inflate(&stream_, Z_NO_FLUSH);
      used_ = input_.size() - stream_.avail_in;
      if (outcome == Z_STREAM_END) {
        between_members_ = true;
        whole_ = bytes_read();
        inflateReset(&stream_);
      } else if (outcome != Z_OK && outcome != Z_BUF_ERROR) {
        return fail(Code::kCorrupt, fmt::format("{}: damaged gzip data near byte {}: {}", file_->path(), bytes_read(),
                                                stream_.msg != nullptr ? stream_.msg : "invalid"));
      }
    }
    return size - stream_.avail_out;
  }
  std::uint64_t whole_bytes() const override { return whole_; }
  bool compressed() const override { return true; }

 private:
  z_stream stream_{};
  bool ready_ = false;
  bool between_members_ = true;
  std::uint64_t whole_ = 0;
};

}  // namespace

Result<std::unique_ptr<CaptureSource>> CaptureSource::open(const std::string& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    const Code code = errno == ENOENT ? Code::kNotFound : errno == EACCES ? Code::kPermission : Code::kIo;
    return fail(code, fmt::format("{}: cannot open the capture: {}", path, std::strerror(errno)));
  }
  struct stat facts {};
  const bool known = ::fstat(descriptor, &facts) == 0;
  auto file = std::make_unique<File>(descriptor, known ? static_cast<std::uint64_t>(facts.st_size) : 0, path);
  if (known && S_ISDIR(facts.st_mode)) return fail(Code::kInvalidArgument, fmt::format("{}: is a directory, a capture file was expected", path));
  std::string head(4, '\0');
  std::size_t size = 0;
  while (size < head.size()) {
    UTP_TRY(const std::size_t got, file->read(head.data() + size, head.size() - size));
    if (got == 0) break;
    size += got;
  }
  head.resize(size);
  if (head == "\x28\xB5\x2F\xFD" || (size == 4 && head.substr(1) == "\x2A\x4D\x18" && (head[0] & '\xF0') == '\x50')) {
    return std::make_unique<ZstdSource>(std::move(file), std::move(head));
  }
  if (head.starts_with("\x1F\x8B")) return std::make_unique<GzipSource>(std::move(file), std::move(head));
  return std::make_unique<PlainSource>(std::move(file), std::move(head));
}

void CaptureWindow::reserve(std::size_t size) {
  if (begin_ > 0 && (begin_ == end_ || begin_ + size > capacity_)) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  if (size <= capacity_) return;
  const std::size_t capacity = std::max(size, std::max<std::size_t>(2 * kReadBytes, capacity_ * 2));
  std::unique_ptr<char[]> larger(new char[capacity + kPaddingBytes]);
  std::memset(larger.get() + capacity, 0, kPaddingBytes);
  if (end_ > begin_) std::memcpy(larger.get(), buffer_.get() + begin_, end_ - begin_);
  end_ -= begin_;
  begin_ = 0;
  buffer_ = std::move(larger);
  capacity_ = capacity;
}

std::size_t CaptureWindow::fill(std::size_t size) {
  while (end_ - begin_ < size && !ended_) {
    reserve(std::max(size, end_ - begin_ + 1));
    if (end_ == capacity_) reserve(capacity_ + 1);
    auto got = source_->read(buffer_.get() + end_, capacity_ - end_);
    if (!got) {
      status_ = fail(std::move(got.error()));
      ended_ = true;
    } else if (*got == 0) {
      ended_ = true;
    } else {
      end_ += *got;
    }
  }
  return end_ - begin_;
}

std::string_view CaptureWindow::line(std::size_t limit, bool& whole) {
  std::size_t searched = 0;
  for (;;) {
    const std::string_view seen = bytes();
    const std::size_t at = seen.find('\n', searched);
    if (at != std::string_view::npos && at <= limit) {
      whole = true;
      return seen.substr(0, at);
    }
    whole = false;
    if (at != std::string_view::npos || seen.size() > limit) return seen.substr(0, limit);
    searched = seen.size();
    if (fill(seen.size() + 1) == searched) return seen;
  }
}

}  // namespace utp
