#include <algorithm>
#include <cstdio>
#include <cstring>

#include "drivers/bus/embedded/partition.h"

namespace utp::embedded_bus {

std::string SegmentName::file_name() const {
  char text[80];
  std::snprintf(text, sizeof text, "%016llx-%016llx-%016llx-%016llx.mdb", static_cast<unsigned long long>(base),
                static_cast<unsigned long long>(count_before), static_cast<unsigned long long>(lost_before),
                static_cast<unsigned long long>(created_ns));
  return text;
}

std::optional<SegmentName> SegmentName::parse(std::string_view file_name) {
  if (file_name.size() != 71 || file_name.substr(67) != ".mdb") return std::nullopt;
  std::uint64_t fields[4];
  for (std::size_t i = 0; i < 4; ++i) {
    if (i < 3 && file_name[i * 17 + 16] != '-') return std::nullopt;
    if (!parse_hex64(file_name.substr(i * 17, 16), fields[i])) return std::nullopt;
  }
  return SegmentName{fields[0], fields[1], fields[2], static_cast<std::int64_t>(fields[3])};
}

Result<SegmentEnd> read_end(MDB_txn* txn, MDB_dbi dbi, const SegmentName& name, const std::string& path) {
  MDB_cursor* cursor = nullptr;
  if (const int rc = mdb_cursor_open(txn, dbi, &cursor); rc != 0) return fail(lmdb_error("read " + path, rc));
  MDB_val key{};
  MDB_val value{};
  const int rc = mdb_cursor_get(cursor, &key, &value, MDB_LAST);
  mdb_cursor_close(cursor);
  SegmentEnd end{name.base - 1, 0, std::nullopt};
  if (rc == MDB_NOTFOUND) return end;
  if (rc != 0) return fail(lmdb_error("read " + path, rc));
  std::uint64_t position = 0;
  if (key.mv_size != sizeof position) return fail(lmdb_error("read " + path, MDB_CORRUPTED));
  std::memcpy(&position, key.mv_data, sizeof position);
  if (position == kSealKey) {
    SealRecord seal;
    if (value.mv_size != sizeof seal) return fail(lmdb_error("read " + path, MDB_CORRUPTED));
    std::memcpy(&seal, value.mv_data, sizeof seal);
    return SegmentEnd{seal.last_position, seal.last_time_ns, seal};
  }
  BlockReader block;
  if (!block.open({static_cast<const char*>(value.mv_data), value.mv_size}, position, false)) {
    return fail(lmdb_error("read " + path, MDB_CORRUPTED));
  }
  return SegmentEnd{position, block.publish_time().ns, std::nullopt};
}

std::uint64_t Partition::count_at(const Index& index, std::uint64_t position) {
  const auto& segments = index.segments;
  auto next = std::upper_bound(segments.begin(), segments.end(), position,
                               [](std::uint64_t p, const SegmentName& s) { return p < s.base; });
  if (next == segments.begin()) return segments.front().count_before;
  const SegmentName& own = *std::prev(next);
  const std::uint64_t count = own.count_before + (position - own.base + 1);
  return next == segments.end() ? count : std::min(count, next->count_before);
}

Result<Partition::Tail> Partition::read_tail() {
  for (;;) {
    UTP_TRY(const auto list, index());
    const SegmentName name = list->segments.back();
    auto environment = segment(name.base);
    if (!environment) {
      if (environment.error().code == Code::kNotFound && list->generation != state().generation.load()) continue;
      return fail(std::move(environment.error()));
    }
    UTP_TRY(auto read, (*environment)->begin_read());
    UTP_TRY(const SegmentEnd end, read_end(read.txn(), read.dbi(), name, (*environment)->path()));
    return Tail{end.position, {end.time_ns != 0 ? end.time_ns : name.created_ns}};
  }
}

namespace {

// The block that holds `position` or the first one after it; false when the segment ends before.
Result<bool> seek_block(const Environment::Read& read, const std::string& path, std::uint64_t position, std::uint64_t& last,
                        BlockReader& block) {
  MDB_cursor* cursor = nullptr;
  if (const int rc = mdb_cursor_open(read.txn(), read.dbi(), &cursor); rc != 0) return fail(lmdb_error("read " + path, rc));
  MDB_val key{sizeof position, &position};
  MDB_val value{};
  const int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  mdb_cursor_close(cursor);
  if (rc == MDB_NOTFOUND) return false;
  if (rc != 0) return fail(lmdb_error("read " + path, rc));
  std::memcpy(&last, key.mv_data, sizeof last);
  if (last == kSealKey) return false;
  if (!block.open({static_cast<const char*>(value.mv_data), value.mv_size}, last, false)) {
    return fail(lmdb_error("read " + path, MDB_CORRUPTED));
  }
  return true;
}

}  // namespace

Result<std::uint64_t> Partition::find_time(Timestamp time) {
  UTP_TRY(const auto list, index());
  const auto& segments = list->segments;
  // Messages of a segment are not older than its creation, those before it not younger.
  std::size_t i = 0;
  while (i + 1 < segments.size() && segments[i + 1].created_ns < time.ns) ++i;
  for (; i < segments.size(); ++i) {
    auto environment = segment(segments[i].base);
    if (!environment) {
      if (environment.error().code == Code::kNotFound) continue;  // retention took it meanwhile
      return fail(std::move(environment.error()));
    }
    UTP_TRY(auto read, (*environment)->begin_read());
    UTP_TRY(const SegmentEnd end, read_end(read.txn(), read.dbi(), segments[i], (*environment)->path()));
    std::uint64_t low = segments[i].base;  // the answer is in [low, high]; high = behind the end
    std::uint64_t high = end.position + 1;
    while (low < high) {
      const std::uint64_t middle = low + (high - low) / 2;
      std::uint64_t last = 0;
      BlockReader block;
      UTP_TRY(const bool found, seek_block(read, (*environment)->path(), middle, last, block));
      if (!found || block.publish_time() >= time) {
        high = found ? std::min(middle, block.first_position()) : middle;
      } else {
        low = last + 1;
      }
    }
    if (low <= end.position) return low;
    if (i + 1 == segments.size()) return end.position + 1;
  }
  UTP_TRY(const Tail tail, read_tail());
  return tail.position + 1;
}

Result<std::optional<Timestamp>> Partition::publish_time_at_or_after(std::uint64_t position) {
  UTP_TRY(const auto list, index());
  const auto& segments = list->segments;
  for (std::size_t i = 0; i < segments.size(); ++i) {
    if (i + 1 < segments.size() && segments[i + 1].base <= position) continue;
    auto environment = segment(segments[i].base);
    if (!environment) {
      if (environment.error().code == Code::kNotFound) continue;
      return fail(std::move(environment.error()));
    }
    UTP_TRY(auto read, (*environment)->begin_read());
    std::uint64_t last = 0;
    BlockReader block;
    UTP_TRY(const bool found, seek_block(read, (*environment)->path(), position, last, block));
    if (found) return std::optional<Timestamp>(block.publish_time());
  }
  return std::optional<Timestamp>();
}

}  // namespace utp::embedded_bus
