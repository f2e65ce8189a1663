// The durable truth about an LMDB environment that runs without its own syncs: which transaction everything on disk is
// complete for. After a power loss the environment is put back to exactly that transaction.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "core/result.h"
#include "drivers/bus/embedded/files.h"

namespace utp::embedded_bus {

// The bytes of an LMDB meta page that name its version, its trees' roots and its transaction (page header included).
inline constexpr std::size_t kMetaBytes = 152;
using MetaBytes = std::array<unsigned char, kMetaBytes>;

struct Checkpoint {
  std::uint64_t number = 0;       // of this checkpoint; the highest one that is intact counts
  std::uint64_t environment = 0;  // which one: a segment's base position, 0 for the only one
  std::uint64_t transaction = 0;
  std::uint64_t position = 0;     // last position that is durable
  std::uint64_t reserved = 0;     // positions up to here may have been acknowledged to publishers: more than `position` only
                                  // while publishers of interval durability are at work
  std::uint64_t page_bytes = 0;
  MetaBytes meta{};
};

// Two slots, written in turn. One holder of the surrounding lock at a time writes.
class CheckpointFile {
 public:
  Status open(const std::string& path);
  Result<std::optional<Checkpoint>> load() const;  // nothing when no slot is intact
  Result<bool> is_blank() const;                   // none was ever stored
  Status store(Checkpoint checkpoint) const;       // durable on return; `number` is set to the next one

 private:
  UniqueFd fd_;
  std::string path_;
};

// Writes the checkpoint's meta page over both of the environment's, so that it opens at that transaction. The environment
// must not be open in any process.
Status restore_environment(const std::string& path, const Checkpoint& checkpoint);

// The transaction number in a meta page; nothing when it is no meta page of the known layout.
std::optional<std::uint64_t> meta_transaction(const MetaBytes& meta);

}  // namespace utp::embedded_bus
