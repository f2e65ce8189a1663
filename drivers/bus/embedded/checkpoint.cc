#include "drivers/bus/embedded/checkpoint.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/hash.h"

namespace utp::embedded_bus {
namespace {

constexpr std::uint64_t kMagic = 0x31544B4350505455;  // UTPPCKT1
constexpr off_t kSlotBytes = 4096;                    // a slot a page: tearing one leaves the other

struct Slot {
  std::uint64_t magic;
  std::uint64_t number, environment, transaction, position, reserved, page_bytes;
  unsigned char meta[kMetaBytes];
  std::uint64_t checksum;
};

std::uint64_t slot_checksum(const Slot& slot) {
  return hash64({reinterpret_cast<const char*>(&slot), offsetof(Slot, checksum)});
}

// LMDB's file format version 1: page header (number, pad, flags, bounds: 16 bytes), then magic, version, address, map size,
// two tree descriptions of 48 bytes, last page, transaction.
constexpr std::size_t kMagicOffset = 16;
constexpr std::size_t kVersionOffset = 20;
constexpr std::size_t kLastPageOffset = 136;
constexpr std::size_t kTransactionOffset = 144;
static_assert(kTransactionOffset + 8 == kMetaBytes);

template <class T>
T field_at(const MetaBytes& meta, std::size_t offset) {
  T value;
  std::memcpy(&value, meta.data() + offset, sizeof value);
  return value;
}

}  // namespace

std::optional<std::uint64_t> meta_transaction(const MetaBytes& meta) {
  if (field_at<std::uint32_t>(meta, kMagicOffset) != 0xBEEFC0DE || field_at<std::uint32_t>(meta, kVersionOffset) != 1) {
    return std::nullopt;
  }
  return field_at<std::uint64_t>(meta, kTransactionOffset);
}

Status CheckpointFile::open(const std::string& path) {
  path_ = path;
  fd_ = UniqueFd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666));
  if (fd_.get() < 0) return fail(errno_error("open " + path, errno));
  struct stat info {};
  if (::fstat(fd_.get(), &info) != 0) return fail(errno_error("stat " + path, errno));
  if (info.st_size < 2 * kSlotBytes) {
    // Written, not only allocated: from here on storing a checkpoint neither needs space nor changes the file's metadata.
    const std::string zeros(static_cast<std::size_t>(2 * kSlotBytes - info.st_size), '\0');
    const ssize_t n = ::pwrite(fd_.get(), zeros.data(), zeros.size(), info.st_size);
    if (n != static_cast<ssize_t>(zeros.size())) return fail(errno_error("write " + path, n < 0 ? errno : ENOSPC));
    if (::fsync(fd_.get()) != 0) return fail(errno_error("sync " + path, errno));
  }
  return {};
}

Result<std::optional<Checkpoint>> CheckpointFile::load() const {
  std::optional<Checkpoint> best;
  for (off_t i = 0; i < 2; ++i) {
    Slot slot;
    const ssize_t n = ::pread(fd_.get(), &slot, sizeof slot, i * kSlotBytes);
    if (n < 0) return fail(errno_error("read " + path_, errno));
    if (n != static_cast<ssize_t>(sizeof slot) || slot.magic != kMagic || slot.checksum != slot_checksum(slot)) continue;
    if (best && best->number >= slot.number) continue;
    best = Checkpoint{slot.number, slot.environment, slot.transaction, slot.position, slot.reserved, slot.page_bytes, {}};
    std::memcpy(best->meta.data(), slot.meta, kMetaBytes);
  }
  return best;
}

Result<bool> CheckpointFile::is_blank() const {
  std::string bytes(static_cast<std::size_t>(2 * kSlotBytes), '\1');
  const ssize_t n = ::pread(fd_.get(), bytes.data(), bytes.size(), 0);
  if (n < 0) return fail(errno_error("read " + path_, errno));
  return bytes.find_first_not_of('\0') == std::string::npos;
}

Status CheckpointFile::store(Checkpoint checkpoint) const {
  UTP_TRY(const auto last, load());
  checkpoint.number = last ? last->number + 1 : 1;
  Slot slot{};
  slot.magic = kMagic;
  slot.number = checkpoint.number;
  slot.environment = checkpoint.environment;
  slot.transaction = checkpoint.transaction;
  slot.position = checkpoint.position;
  slot.reserved = checkpoint.reserved;
  slot.page_bytes = checkpoint.page_bytes;
  std::memcpy(slot.meta, checkpoint.meta.data(), kMetaBytes);
  slot.checksum = slot_checksum(slot);
  const off_t offset = static_cast<off_t>(checkpoint.number & 1) * kSlotBytes;
  const ssize_t n = ::pwrite(fd_.get(), &slot, sizeof slot, offset);
  if (n != static_cast<ssize_t>(sizeof slot)) return fail(errno_error("write " + path_, n < 0 ? errno : EIO));
  if (::fdatasync(fd_.get()) != 0) return fail(errno_error("sync " + path_, errno));
  return {};
}

Status restore_environment(const std::string& path, const Checkpoint& checkpoint) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
  if (fd.get() < 0) return fail(errno_error("open " + path, errno));
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return fail(errno_error("stat " + path, errno));
  const std::uint64_t used = (field_at<std::uint64_t>(checkpoint.meta, kLastPageOffset) + 1) * checkpoint.page_bytes;
  if (static_cast<std::uint64_t>(info.st_size) < used) {
    return fail(Code::kCorrupt, path + ": has " + std::to_string(info.st_size) + " bytes, its checkpoint covers " +
                                    std::to_string(used) + "; the disk lost what it had confirmed. Move the file away to go "
                                    "on without it, or restore it from a copy");
  }
  for (std::uint64_t page = 0; page < 2; ++page) {
    std::string bytes(static_cast<std::size_t>(checkpoint.page_bytes), '\0');
    std::memcpy(bytes.data(), checkpoint.meta.data(), kMetaBytes);
    std::memcpy(bytes.data(), &page, sizeof page);
    const ssize_t n = ::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(page * checkpoint.page_bytes));
    if (n != static_cast<ssize_t>(bytes.size())) return fail(errno_error("write " + path, n < 0 ? errno : EIO));
  }
  if (::ftruncate(fd.get(), static_cast<off_t>(used)) != 0) return fail(errno_error("truncate " + path, errno));
  if (::fsync(fd.get()) != 0) return fail(errno_error("sync " + path, errno));
  return {};
}

}  // namespace utp::embedded_bus
