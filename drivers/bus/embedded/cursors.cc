#include "drivers/bus/embedded/cursors.h"

#include <cstring>

namespace utp::embedded_bus {
namespace {

// Keys: kind, then parts ended by NUL, numbers big-endian: a topic's cursors and a group's members lie together.
std::string topic_key(std::string_view topic) { return "t" + std::string(topic); }

std::string cursor_prefix(std::string_view topic, std::uint32_t partition) {
  std::string key = "c" + std::string(topic);
  key += '\0';
  for (int shift = 24; shift >= 0; shift -= 8) key += static_cast<char>(partition >> shift);
  return key;
}

std::string member_prefix(std::string_view group) {
  std::string key = "m" + std::string(group);
  key += '\0';
  return key;
}

class Writer {
 public:
  template <class T>
  Writer& number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
    return *this;
  }
  Writer& text(std::string_view value) {
    number(static_cast<std::uint32_t>(value.size()));
    bytes_ += value;
    return *this;
  }
  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <class T>
  T number() {
    T value{};
    if (rest_.size() < sizeof value) {
      ok_ = false;
      return value;
    }
    std::memcpy(&value, rest_.data(), sizeof value);
    rest_.remove_prefix(sizeof value);
    return value;
  }
  std::string text() {
    const auto size = number<std::uint32_t>();
    if (!ok_ || rest_.size() < size) {
      ok_ = false;
      return {};
    }
    std::string value(rest_.substr(0, size));
    rest_.remove_prefix(size);
    return value;
  }
  bool ok() const { return ok_; }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

std::string encode(const CursorRecord& r) {
  Writer w;
  w.number(r.position).number(r.count).number(r.trimmed).number(r.unreported).number(r.epoch).number(r.lease_until_ns);
  w.number(r.boot).number(r.process).text(r.owner);
  w.number(static_cast<std::uint32_t>(r.passes.size()));
  for (const Pass& pass : r.passes) w.number(pass.high).number(pass.times);
  return w.bytes();
}

std::optional<CursorRecord> decode_cursor(std::string_view bytes) {
  Reader in(bytes);
  CursorRecord r;
  r.position = in.number<std::uint64_t>();
  r.count = in.number<std::uint64_t>();
  r.trimmed = in.number<std::uint64_t>();
  r.unreported = in.number<std::uint64_t>();
  r.epoch = in.number<std::uint64_t>();
  r.lease_until_ns = in.number<std::int64_t>();
  r.boot = in.number<std::uint64_t>();
  r.process = in.number<std::uint64_t>();
  r.owner = in.text();
  const auto passes = in.number<std::uint32_t>();
  for (std::uint32_t i = 0; i < passes && in.ok(); ++i) {
    const auto high = in.number<std::uint64_t>();
    r.passes.push_back({high, in.number<std::uint32_t>()});
  }
  if (!in.ok()) return std::nullopt;
  return r;
}

std::string_view view(const MDB_val& value) { return {static_cast<const char*>(value.mv_data), value.mv_size}; }

Error corrupt(const std::string& what) {
  return {Code::kCorrupt, "the bus's record of " + what + " is not what was written; stop every process that uses this bus and "
                                                          "restore cursors.mdb from a copy", false};
}

// Calls f(key, value) for every record whose key begins with `prefix`; f must not change the database.
Status scan(MDB_txn* txn, MDB_dbi dbi, const std::string& prefix,
            const std::function<Status(std::string_view key, std::string_view value)>& f) {
  MDB_cursor* cursor = nullptr;
  if (const int rc = mdb_cursor_open(txn, dbi, &cursor); rc != 0) return fail(lmdb_error("read cursors", rc));
  MDB_val key{prefix.size(), const_cast<char*>(prefix.data())};
  MDB_val value{};
  Status status;
  int rc = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
  while (rc == 0 && view(key).starts_with(prefix)) {
    status = f(view(key), view(value));
    if (!status) break;
    rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
  }
  mdb_cursor_close(cursor);
  if (!status) return status;
  if (rc != 0 && rc != MDB_NOTFOUND) return fail(lmdb_error("read cursors", rc));
  return {};
}

Result<std::optional<std::string>> get(MDB_txn* txn, MDB_dbi dbi, const std::string& key) {
  MDB_val k{key.size(), const_cast<char*>(key.data())};
  MDB_val v{};
  const int rc = mdb_get(txn, dbi, &k, &v);
  if (rc == MDB_NOTFOUND) return std::optional<std::string>();
  if (rc != 0) return fail(lmdb_error("read cursors", rc));
  return std::optional<std::string>(view(v));
}

Result<TopicRecord> decode_topic(std::string_view topic, std::string_view bytes) {
  Reader in(bytes);
  TopicRecord record{std::string(topic), {}};
  record.options.partitions = in.number<std::uint32_t>();
  record.options.retention_ns = in.number<std::int64_t>();
  record.options.retention_bytes = in.number<std::uint64_t>();
  if (!in.ok() || record.options.partitions == 0) return fail(corrupt("topic " + record.topic));
  return record;
}

Status scan_cursors(MDB_txn* txn, MDB_dbi dbi, std::string_view topic, std::uint32_t partition,
                    const std::function<void(std::string_view, CursorRecord&)>& f) {
  const std::string prefix = cursor_prefix(topic, partition);
  return scan(txn, dbi, prefix, [&](std::string_view key, std::string_view value) -> Status {
    auto record = decode_cursor(value);
    if (!record) return fail(corrupt("a cursor of " + std::string(topic)));
    f(key.substr(prefix.size()), *record);
    return {};
  });
}

}  // namespace

Result<CursorStore::Change> CursorStore::change() {
  UTP_CHECK(environment_->bound_unsynced());
  UTP_TRY(auto write, environment_->begin_write());
  return Change(std::move(write));
}

Status CursorStore::Change::put(const std::string& key, const std::string& value) {
  MDB_val k{key.size(), const_cast<char*>(key.data())};
  MDB_val v{value.size(), const_cast<char*>(value.data())};
  const int rc = mdb_put(write_.txn(), write_.dbi(), &k, &v, 0);
  if (rc != 0) return fail(lmdb_error("write cursors", rc));
  return {};
}

Result<std::optional<CursorRecord>> CursorStore::Change::cursor(std::string_view topic, std::uint32_t partition,
                                                                std::string_view group) {
  UTP_TRY(const auto bytes, get(write_.txn(), write_.dbi(), cursor_prefix(topic, partition) + std::string(group)));
  if (!bytes) return std::optional<CursorRecord>();
  auto record = decode_cursor(*bytes);
  if (!record) return fail(corrupt("group " + std::string(group) + " in " + std::string(topic)));
  return record;
}

Status CursorStore::Change::put_cursor(std::string_view topic, std::uint32_t partition, std::string_view group,
                                       const CursorRecord& record) {
  return put(cursor_prefix(topic, partition) + std::string(group), encode(record));
}

Status CursorStore::Change::remove_group(std::string_view group) {
  std::vector<std::string> keys;
  UTP_CHECK(scan(write_.txn(), write_.dbi(), "c", [&](std::string_view key, std::string_view) -> Status {
    const std::size_t end = key.find('\0');
    if (end != std::string_view::npos && key.size() >= end + 5 && key.substr(end + 5) == group) keys.emplace_back(key);
    return {};
  }));
  UTP_CHECK(scan(write_.txn(), write_.dbi(), member_prefix(group), [&](std::string_view key, std::string_view) -> Status {
    keys.emplace_back(key);
    return {};
  }));
  for (const std::string& key : keys) {
    MDB_val k{key.size(), const_cast<char*>(key.data())};
    if (const int rc = mdb_del(write_.txn(), write_.dbi(), &k, nullptr); rc != 0) return fail(lmdb_error("write cursors", rc));
  }
  return {};
}

Result<std::vector<MemberRecord>> CursorStore::Change::members(std::string_view group) {
  std::vector<MemberRecord> members;
  const std::string prefix = member_prefix(group);
  UTP_CHECK(scan(write_.txn(), write_.dbi(), prefix, [&](std::string_view key, std::string_view value) -> Status {
    Reader in(value);
    MemberRecord record;
    record.member = key.substr(prefix.size());
    record.until_ns = in.number<std::int64_t>();
    record.boot = in.number<std::uint64_t>();
    record.process = in.number<std::uint64_t>();
    const auto patterns = in.number<std::uint32_t>();
    for (std::uint32_t i = 0; i < patterns && in.ok(); ++i) record.patterns.push_back(in.text());
    if (!in.ok()) return fail(corrupt("a member of group " + std::string(group)));
    members.push_back(std::move(record));
    return {};
  }));
  return members;
}

Status CursorStore::Change::put_member(std::string_view group, const MemberRecord& record) {
  Writer w;
  w.number(record.until_ns).number(record.boot).number(record.process).number(static_cast<std::uint32_t>(record.patterns.size()));
  for (const std::string& pattern : record.patterns) w.text(pattern);
  return put(member_prefix(group) + record.member, w.bytes());
}

Status CursorStore::Change::remove_member(std::string_view group, std::string_view member) {
  const std::string key = member_prefix(group) + std::string(member);
  MDB_val k{key.size(), const_cast<char*>(key.data())};
  const int rc = mdb_del(write_.txn(), write_.dbi(), &k, nullptr);
  if (rc != 0 && rc != MDB_NOTFOUND) return fail(lmdb_error("write cursors", rc));
  return {};
}

Result<std::optional<TopicRecord>> CursorStore::Change::topic(std::string_view topic) {
  UTP_TRY(const auto bytes, get(write_.txn(), write_.dbi(), topic_key(topic)));
  if (!bytes) return std::optional<TopicRecord>();
  UTP_TRY(auto record, decode_topic(topic, *bytes));
  return std::optional<TopicRecord>(std::move(record));
}

Status CursorStore::Change::put_topic(const TopicRecord& record) {
  Writer w;
  w.number(record.options.partitions).number(record.options.retention_ns).number(record.options.retention_bytes);
  return put(topic_key(record.topic), w.bytes());
}

Status CursorStore::Change::for_each_cursor(std::string_view topic, std::uint32_t partition,
                                            const std::function<void(std::string_view, CursorRecord&)>& f) {
  return scan_cursors(write_.txn(), write_.dbi(), topic, partition, f);
}

Result<std::vector<TopicRecord>> CursorStore::topics() {
  UTP_TRY(auto read, environment_->begin_read());
  std::vector<TopicRecord> topics;
  UTP_CHECK(scan(read.txn(), read.dbi(), "t", [&](std::string_view key, std::string_view value) -> Status {
    UTP_TRY(auto record, decode_topic(key.substr(1), value));
    topics.push_back(std::move(record));
    return {};
  }));
  return topics;
}

Status CursorStore::for_each_cursor(std::string_view topic, std::uint32_t partition,
                                    const std::function<void(std::string_view, CursorRecord&)>& f) {
  UTP_TRY(auto read, environment_->begin_read());
  return scan_cursors(read.txn(), read.dbi(), topic, partition, f);
}

}  // namespace utp::embedded_bus
