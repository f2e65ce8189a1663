// What the parts of one bus share: the connection, the topics, and the bucket of small records.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "drivers/bus/nats/lineage.h"
#include "drivers/bus/nats/link.h"
#include "drivers/bus/nats/names.h"

namespace utp::nats_bus {

struct TopicRecord {
  std::string topic;
  TopicOptions options;
  std::vector<StreamFacts> streams;  // by partition, as far as they are there; only from topics()
};

// An entry of the bucket.
struct Entry {
  std::string value;           // "" where there is none
  std::uint64_t revision = 0;  // 0 = never written
  Timestamp time;              // the server's
};

// One at a time, with a limit to the waiting.
class Turn {
 public:
  bool take(std::chrono::steady_clock::time_point deadline) {
    std::unique_lock lock(mutex_);
    if (!given_.wait_until(lock, deadline, [this] { return !taken_; })) return false;
    return taken_ = true;
  }
  void give() {
    {
      std::lock_guard lock(mutex_);
      taken_ = false;
    }
    given_.notify_one();
  }

 private:
  std::mutex mutex_;
  std::condition_variable given_;
  bool taken_ = false;
};

class Server {
 public:
  explicit Server(const NatsBusOptions& options) : options_(options), names_(options.prefix) {}

  const NatsBusOptions& options() const { return options_; }
  const Names& names() const { return names_; }
  // The connection; a new one when the last is gone.
  Result<std::shared_ptr<Link>> link();

  Result<std::vector<std::string>> topic_names(Link& link) const;
  Result<std::vector<TopicRecord>> topics(Link& link) const;
  // The topic as it stands; nothing where it does not.
  Result<std::optional<TopicRecord>> topic(Link& link, std::string_view topic) const;
  // Made when it is not there. `change`: retention becomes that of `options`.
  Result<TopicRecord> create_topic(Link& link, std::string_view topic, const TopicOptions& options, bool change) const;
  // The stream of one partition, made again when somebody has removed it.
  Result<StreamFacts> open_stream(Link& link, const TopicRecord& record, std::uint32_t partition) const;

  Status make_bucket(Link& link) const;
  Result<Entry> get(Link& link, const std::string& key) const;
  // The entry's new revision. `expected`: kFenced when the entry has another revision (0: when there is one).
  Result<std::uint64_t> put(Link& link, const std::string& key, const std::string& value,
                            std::optional<std::uint64_t> expected = {}) const;
  // Entries leave no trace. `key` may end with ".>"; `revision`: only as long as the entry is at most this one.
  Status remove(Link& link, const std::string& key, std::uint64_t revision = 0) const;
  Result<Timestamp> now(Link& link) const;
  // Of the last message before the time.
  Result<std::uint64_t> sequence_before(Link& link, const std::string& stream, Timestamp time) const;
  Result<Lineage> lineage(Link& link, std::string_view topic, std::uint32_t partition) const;

  // Taken while a publisher of this bus has messages of the stream under way: those of one process do not break each other's
  // order (publisher.cc).
  std::shared_ptr<Turn> turn(const std::string& stream);

 private:
  // `made`: what tells it from others of its name; "" = as it is, or a new one.
  Result<StreamFacts> add_stream(Link& link, std::string_view topic, std::uint32_t partition, const TopicOptions& options, bool update,
                                 std::string made = {}) const;

  NatsBusOptions options_;
  Names names_;
  std::mutex mutex_;
  std::shared_ptr<Link> link_;
  std::optional<Error> refused_;     // why the last attempt to connect failed
  std::int64_t refused_ns_ = 0;      // and when
  std::map<std::string, std::shared_ptr<Turn>> turns_;
};

}  // namespace utp::nats_bus
