#include "drivers/bus/embedded/directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdlib>

#include "core/log.h"
#include "model/envelope.h"

namespace utp::embedded_bus {
namespace {

constexpr std::string_view kFormat = "utp embedded bus 1";
constexpr std::int64_t kLookNs = 1'000'000'000;         // how often the keeper looks at what other processes left
constexpr std::uint64_t kSegmentBytesMin = 256 * 1024;  // with a tiny retention limit

std::int64_t steady_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// LMDB forbids one process to open an environment twice, so the buses of a process share what they open. Made at first use.
struct Registry {
  std::mutex mutex;
  struct Entry {
    std::unique_ptr<Directory> directory;
    int users = 0;
  };
  std::map<std::string, Entry> entries;  // by canonical path
};

Registry& registry() {
  static Registry instance;
  return instance;
}

void initialize_bus_state(void* page) {
  auto* state = new (page) BusState;
  state->cursors.mutex.initialize();
  state->cursors.store.initialize();
}

Result<std::uint64_t> number_after(std::string_view text, std::string_view name) {
  const std::size_t at = text.find(name);
  if (at == std::string_view::npos) return fail(Code::kCorrupt, "format: has no " + std::string(name));
  return std::strtoull(std::string(text.substr(at + name.size())).c_str(), nullptr, 10);
}

}  // namespace

Directory::Directory(EmbeddedBusOptions options)
    : options_(std::move(options)), clock_(options_.clock != nullptr ? options_.clock : &system_clock_) {}

Result<std::shared_ptr<Directory>> Directory::open(const EmbeddedBusOptions& options) {
  if (options.directory.empty()) return fail(Code::kInvalidArgument, "embedded bus: the directory's name is empty; name one");
  UTP_CHECK(make_directory(options.directory));
  char canonical[PATH_MAX];
  if (::realpath(options.directory.c_str(), canonical) == nullptr) {
    return fail(errno_error("open directory " + options.directory, errno));
  }
  const std::string path = canonical;

  Registry& shared = registry();
  std::lock_guard lock(shared.mutex);
  Registry::Entry& entry = shared.entries[path];
  if (!entry.directory) {
    EmbeddedBusOptions own = options;
    own.directory = path;
    std::unique_ptr<Directory> directory(new Directory(std::move(own)));
    if (auto opened = directory->open_files(); !opened) {
      directory.reset();
      shared.entries.erase(path);
      return fail(std::move(opened.error()));
    }
    directory->keeper_ = std::thread([d = directory.get()] { d->run_keeper(); });
    entry.directory = std::move(directory);
  }
  ++entry.users;
  return std::shared_ptr<Directory>(entry.directory.get(), [path](Directory*) {
    Registry& r = registry();
    std::lock_guard guard(r.mutex);
    const auto found = r.entries.find(path);
    if (--found->second.users == 0) r.entries.erase(found);
  });
}

Status Directory::open_files() {
  const std::string& directory = options_.directory;
  boot_id_ = options_.boot_id.empty() ? read_boot_id() : options_.boot_id;
  boot_ = hash64(boot_id_);

  UTP_TRY(const auto names, list_directory(directory));
  const bool has_format = std::find(names.begin(), names.end(), "format") != names.end();
  const bool foreign = std::any_of(names.begin(), names.end(), [](const std::string& name) {
    return name != "open.lock" && name != "alive.lock" && name != "format.new" && name != "lost+found";
  });
  if (!has_format && foreign) {
    return fail(Code::kInvalidArgument, directory + ": holds other files (" + names.front() +
                                            ") and no bus; name an empty directory or one that a bus was made in");
  }
  UTP_CHECK(open_lock_.open(directory + "/open.lock"));
  UTP_CHECK(alive_lock_.open(directory + "/alive.lock"));
  UTP_CHECK(open_lock_.lock_exclusive());

  if (!file_exists(directory + "/format")) {
    UTP_CHECK(write_file_durably(directory + "/format",
                                 std::string(kFormat) + "\nsegment_bytes " + std::to_string(options_.segment_bytes) +
                                     "\ncursor_map_bytes " + std::to_string(options_.cursor_map_bytes) + "\n"));
  }
  UTP_TRY(const std::string format, read_small_file(directory + "/format"));
  const std::string version = format.substr(0, format.find('\n'));
  if (version != kFormat) {
    return fail(Code::kUnsupported, directory + "/format: found \"" + version.substr(0, 60) + "\", this program knows \"" +
                                        std::string(kFormat) + "\"; use the program that wrote it, or another directory");
  }
  UTP_TRY(segment_bytes_, number_after(format, "segment_bytes "));
  UTP_TRY(cursor_map_bytes_, number_after(format, "cursor_map_bytes "));

  const bool alone = alive_lock_.try_lock_exclusive();
  std::string last_boot;
  if (file_exists(directory + "/boot")) {
    UTP_TRY(last_boot, read_small_file(directory + "/boot"));
  }
  if (!alone && last_boot != boot_id_) {
    return fail(Code::kUnavailable, directory + ": another process uses it and names another start of the machine (" + last_boot +
                                        "); stop that process first", true);
  }
  if (alone) {
    if (!last_boot.empty() && last_boot != boot_id_) UTP_CHECK(recover());
    if (last_boot != boot_id_) UTP_CHECK(write_file_durably(directory + "/boot", boot_id_));
    // Shared memory of processes that are gone may hold locks that nobody will release.
    ::unlink((directory + "/state").c_str());
    const std::string topics = directory + "/topics";
    if (file_exists(topics)) {
      UTP_TRY(const auto topic_names, list_directory(topics));
      for (const std::string& topic : topic_names) {
        UTP_TRY(const auto partitions, list_directory(topics + "/" + topic));
        for (const std::string& partition : partitions) ::unlink((topics + "/" + topic + "/" + partition + "/state").c_str());
      }
    }
  }
  UTP_CHECK(make_directory(directory + "/topics"));
  UTP_CHECK(state_.open(directory + "/state", initialize_bus_state));
  UTP_CHECK(cursor_checkpoints_.open(directory + "/cursors.checkpoint"));
  if (alone) {
    UTP_TRY(const auto checkpoint, cursor_checkpoints_.load());
    if (checkpoint) state().cursors.transaction.store(checkpoint->transaction);
  }
  EnvironmentOptions environment;
  environment.path = directory + "/cursors.mdb";
  environment.map_bytes = cursor_map_bytes_;
  environment.sync = &state().cursors;
  environment.checkpoints = &cursor_checkpoints_;
  UTP_TRY(cursor_environment_, Environment::open(environment));
  if (!cursor_environment_->is_synced(cursor_environment_->last_transaction())) {
    UTP_CHECK(sync_directory(directory));
    UTP_CHECK(cursor_environment_->sync());
  }
  cursor_store_ = std::make_unique<CursorStore>(*cursor_environment_);
  UTP_CHECK(alive_lock_.lock_shared());
  open_lock_.unlock();
  return {};
}

Status Directory::recover() {
  const std::string& directory = options_.directory;
  log::warn("embedded bus: the machine has restarted; going back to what was synced", {{"directory", directory}});
  ::unlink((directory + "/cursors.mdb-lock").c_str());
  if (file_exists(directory + "/cursors.checkpoint")) {
    CheckpointFile checkpoints;
    UTP_CHECK(checkpoints.open(directory + "/cursors.checkpoint"));
    UTP_TRY(const auto checkpoint, checkpoints.load());
    if (checkpoint) {
      UTP_CHECK(restore_environment(directory + "/cursors.mdb", *checkpoint));
    } else {
      ::unlink((directory + "/cursors.mdb").c_str());
    }
  }
  const std::string topics = directory + "/topics";
  if (!file_exists(topics)) return {};
  UTP_TRY(const auto names, list_directory(topics));
  for (const std::string& topic : names) {
    UTP_TRY(const auto partitions, list_directory(topics + "/" + topic));
    for (const std::string& partition : partitions) {
      PartitionOptions options;
      options.directory = topics + "/" + topic + "/" + partition;
      options.segment_bytes = segment_bytes_;
      options.segment_ns = INT64_MAX;
      options.map_bytes = Partition::map_bytes(segment_bytes_);
      UTP_CHECK(Partition::recover(options));
    }
  }
  return {};
}

Directory::~Directory() {
  {
    std::lock_guard lock(keeper_mutex_);
    stopping_ = true;
  }
  keeper_wakes_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  if (!cursor_environment_) return;
  const bool alone = alive_lock_.try_lock_exclusive();
  for (const auto& [name, topic] : topics_) {
    for (const auto& partition : topic->partitions) {
      if (partition->sync_pending.load() || alone) {
        if (auto synced = partition->sync(); !synced) {
          log::error("embedded bus: the last sync failed", {{"topic", name}, {"error", synced.error().message}});
        }
      }
      if (alone) partition->rest(clock_->monotonic_ns(), true);
    }
  }
  if (cursors_dirty_.load()) {
    if (auto synced = cursor_environment_->sync(); !synced) {
      log::warn("embedded bus: acknowledgements were not synced", {{"error", synced.error().message}});
    }
  }
}

std::uint64_t Directory::partition_bytes_max(const TopicRecord& record) const {
  const std::uint64_t bytes = record.options.retention_bytes != 0 ? record.options.retention_bytes : options_.retention_bytes;
  return bytes / record.options.partitions;
}

PartitionOptions Directory::partition_options(const TopicRecord& record, std::uint32_t partition) const {
  char number[8];
  std::snprintf(number, sizeof number, "%04u", partition);
  PartitionOptions options;
  options.directory = options_.directory + "/topics/" + record.topic + "/" + number;
  options.number = partition;
  // At least eight segments within the limit, so that removing one takes little.
  options.segment_bytes = std::min(segment_bytes_, std::max(kSegmentBytesMin, partition_bytes_max(record) / 8));
  options.segment_ns = options_.segment_ns;
  options.map_bytes = Partition::map_bytes(segment_bytes_);
  options.now = clock_->now();
  return options;
}

Result<std::shared_ptr<Topic>> Directory::open_topic(const TopicRecord& record) {
  // Held: open_mutex_, open_lock_.
  auto topic = std::make_shared<Topic>();
  topic->name = record.topic;
  UTP_CHECK(make_directory(options_.directory + "/topics/" + record.topic));
  for (std::uint32_t i = 0; i < record.options.partitions; ++i) {
    UTP_TRY(auto partition, Partition::open(partition_options(record, i)));
    topic->partitions.push_back(std::move(partition));
  }
  std::lock_guard lock(topics_mutex_);
  return topics_.emplace(record.topic, std::move(topic)).first->second;
}

Result<std::shared_ptr<Topic>> Directory::find_topic(std::string_view name) {
  {
    std::lock_guard lock(topics_mutex_);
    if (const auto found = topics_.find(name); found != topics_.end()) return found->second;
  }
  UTP_TRY(const auto records, topics());
  const auto record = std::find_if(records.begin(), records.end(), [&](const auto& r) { return r.topic == name; });
  if (record == records.end()) return fail(Code::kNotFound, "topic " + std::string(name) + " does not exist");
  std::lock_guard guard(open_mutex_);
  {
    std::lock_guard lock(topics_mutex_);
    if (const auto found = topics_.find(name); found != topics_.end()) return found->second;
  }
  UTP_CHECK(open_lock_.lock_exclusive());
  auto topic = open_topic(*record);
  open_lock_.unlock();
  return topic;
}

Result<std::shared_ptr<Topic>> Directory::create_topic(std::string_view name, const TopicOptions& options) {
  auto existing = find_topic(name);
  if (existing || existing.error().code != Code::kNotFound) return existing;
  UTP_CHECK(check_topic(name));
  if (options.partitions == 0 || options.partitions > options_.partitions_max) {
    return fail(Code::kInvalidArgument, "topic " + std::string(name) + ": " + std::to_string(options.partitions) +
                                            " partitions; expected 1 to " + std::to_string(options_.partitions_max));
  }
  std::lock_guard guard(open_mutex_);
  UTP_CHECK(open_lock_.lock_exclusive());
  auto created = [&]() -> Result<std::shared_ptr<Topic>> {
    TopicRecord record{std::string(name), options};
    {
      UTP_TRY(auto change, cursors().change());
      UTP_TRY(const auto present, change.topic(name));
      if (present) {
        record = *present;
      } else {
        UTP_CHECK(change.put_topic(record));
        UTP_CHECK(change.commit());
      }
    }
    UTP_CHECK(cursor_environment_->sync());
    {
      std::lock_guard lock(topics_mutex_);
      if (const auto found = topics_.find(name); found != topics_.end()) return found->second;
    }
    UTP_TRY(auto topic, open_topic(record));
    UTP_CHECK(sync_directory(options_.directory + "/topics/" + record.topic));
    UTP_CHECK(sync_directory(options_.directory + "/topics"));
    return topic;
  }();
  open_lock_.unlock();
  if (created) {
    state().topics.fetch_add(1);
    wake();
  }
  return created;
}

Status Directory::configure_topic(std::string_view name, const TopicOptions& options) {
  UTP_CHECK(check_topic(name));
  UTP_TRY(const auto topic, create_topic(name, options));
  if (topic->partitions.size() != options.partitions) {
    return fail(Code::kAlreadyExists, "topic " + std::string(name) + ": has " + std::to_string(topic->partitions.size()) +
                                          " partitions, " + std::to_string(options.partitions) +
                                          " were asked for; they are fixed at creation, so choose another topic or that number");
  }
  UTP_TRY(auto change, cursors().change());
  UTP_CHECK(change.put_topic({std::string(name), options}));
  UTP_CHECK(change.commit());
  return cursor_environment_->sync();
}

void Directory::wake() {
  state().sequence.fetch_add(1, std::memory_order_seq_cst);
  if (state().waiters.load(std::memory_order_seq_cst) != 0) futex_wake_all(state().sequence);
}

void Directory::sync_later(const std::shared_ptr<Partition>& partition, std::int64_t interval_ns) {
  if (partition->sync_pending.exchange(true, std::memory_order_acq_rel)) return;
  // A quarter of the window is left for the sync itself.
  const std::int64_t due = steady_ns() + interval_ns - interval_ns / 4;
  {
    std::lock_guard lock(keeper_mutex_);
    due_.emplace_back(due, partition);
  }
  keeper_wakes_.notify_one();
}

Status Directory::take_background_error() {
  std::lock_guard lock(keeper_mutex_);
  return std::exchange(background_error_, Status());
}

void Directory::run_keeper() {
  std::int64_t next_look = steady_ns() + kLookNs;
  next_cursor_sync_ = steady_ns() + options_.cursor_sync_ns;
  next_trim_ = steady_ns() + options_.trim_every_ns;
  for (;;) {
    {
      std::unique_lock lock(keeper_mutex_);
      if (stopping_) return;
      std::int64_t next = next_look;
      for (const auto& [due, partition] : due_) next = std::min(next, due);
      if (next > steady_ns()) {
        keeper_wakes_.wait_until(lock, std::chrono::steady_clock::time_point(std::chrono::nanoseconds(next)));
      }
      if (stopping_) return;
    }
    sync_due(steady_ns());
    if (steady_ns() >= next_look) {
      look_after(steady_ns());
      next_look = steady_ns() + kLookNs;
    }
  }
}

void Directory::sync_due(std::int64_t now) {
  std::vector<std::shared_ptr<Partition>> partitions;
  {
    std::lock_guard lock(keeper_mutex_);
    std::erase_if(due_, [&](auto& entry) {
      if (entry.first > now) return false;
      partitions.push_back(std::move(entry.second));
      return true;
    });
  }
  for (const auto& partition : partitions) {
    partition->sync_pending.store(false, std::memory_order_release);
    auto synced = partition->sync();
    if (synced) continue;
    log::error("embedded bus: sync failed", {{"directory", partition->directory()}, {"error", synced.error().message}});
    std::lock_guard lock(keeper_mutex_);
    background_error_ = std::move(synced);
  }
}

void Directory::look_after(std::int64_t now) {
  std::vector<std::shared_ptr<Topic>> open;
  {
    std::lock_guard lock(topics_mutex_);
    for (const auto& [name, topic] : topics_) open.push_back(topic);
  }
  bool woke = false;
  for (const auto& topic : open) {
    for (const auto& partition : topic->partitions) {
      // What a publisher that died left behind: neither announced nor synced.
      if (const auto tail = partition->read_tail()) {
        const std::uint64_t announced = partition->state().tail.load();
        if (tail->position > announced) {
          partition->state().tail.store(tail->position);
          woke = true;
        }
      }
      if (!partition->sync_pending.load() && partition->note_unsynced()) (void)partition->sync();
      partition->rest(clock_->monotonic_ns());
      partition->clear_dead_readers();
    }
  }
  if (woke) wake();
  cursor_environment_->clear_dead_readers();
  if (now >= next_cursor_sync_ && cursors_dirty_.exchange(false)) {
    next_cursor_sync_ = now + options_.cursor_sync_ns;
    if (auto synced = cursor_environment_->sync(); !synced) {
      log::warn("embedded bus: acknowledgements were not synced", {{"error", synced.error().message}});
    }
  }
  if (options_.trim_every_ns > 0 && now >= next_trim_) {
    next_trim_ = now + options_.trim_every_ns;
    if (auto trimmed = trim(); !trimmed) {
      log::warn("embedded bus: retention failed", {{"directory", options_.directory}, {"error", trimmed.error().message}});
    }
  }
}

Status Directory::trim() {
  UTP_TRY(const auto records, topics());
  for (const TopicRecord& record : records) UTP_CHECK(trim(record));
  return {};
}

Status Directory::trim(const TopicRecord& record) {
  UTP_TRY(const auto topic, find_topic(record.topic));
  for (const auto& partition : topic->partitions) UTP_CHECK(trim_partition(record, *partition));
  return {};
}

Status Directory::trim_partition(const TopicRecord& record, Partition& partition) {
  const Timestamp now = clock_->now();
  const std::int64_t age_max = record.options.retention_ns;
  const std::uint64_t bytes_max = partition_bytes_max(record);
  if (age_max > 0) {
    UTP_TRY(const auto tail, partition.read_tail());
    if (now - tail.time > age_max) UTP_CHECK(partition.roll(now));
  }
  const auto has_unread = [&](const Partition::Removal& removal) -> Result<bool> {
    bool found = false;
    UTP_CHECK(cursors().for_each_cursor(record.topic, partition.number(), [&](std::string_view, CursorRecord& cursor) {
      found |= cursor.position + 1 < removal.next.base && cursor.count < removal.next.count_before;
    }));
    return found;
  };
  return partition.remove_oldest(
      [&](const Partition::Removal& removal) -> Result<bool> {
        if (removal.next.base == removal.segment.base) return false;
        if (age_max > 0 && now - removal.last_time > age_max) return true;
        if (removal.total_bytes <= bytes_max) return false;
        if (!options_.keep_unread) return true;
        UTP_TRY(const bool kept, has_unread(removal));
        return !kept;
      },
      [&](const Partition::Removal& removal) -> Status {
        UTP_TRY(auto change, cursors().change());
        std::vector<std::pair<std::string, CursorRecord>> behind;
        UTP_CHECK(change.for_each_cursor(record.topic, partition.number(), [&](std::string_view group, CursorRecord& cursor) {
          if (cursor.position + 1 < removal.next.base) behind.emplace_back(group, cursor);
        }));
        if (behind.empty()) return {};
        for (auto& [group, cursor] : behind) {
          const std::uint64_t unread = removal.next.count_before - std::min(cursor.count, removal.next.count_before);
          cursor.trimmed += unread;
          cursor.unreported += unread;
          cursor.count = removal.next.count_before;
          cursor.position = removal.next.base - 1;
          UTP_CHECK(change.put_cursor(record.topic, partition.number(), group, cursor));
        }
        UTP_CHECK(change.commit());
        return cursor_environment_->sync();
      });
}

Result<bool> Directory::is_full(std::string_view topic, Partition& partition) {
  UTP_TRY(const auto records, topics());
  for (const TopicRecord& record : records) {
    if (record.topic != topic) continue;
    UTP_CHECK(trim_partition(record, partition));
    return partition.disk_bytes() > partition_bytes_max(record);
  }
  return false;
}

}  // namespace utp::embedded_bus
