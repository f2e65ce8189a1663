#include "drivers/bus/embedded/directory.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <random>

#include "core/log.h"
#include "model/envelope.h"

namespace utp::embedded_bus {
namespace {

constexpr std::string_view kFormat = "utp embedded bus 2";
constexpr std::uint64_t kSegmentBytesMin = 256 * 1024;  // with a tiny retention limit

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
    : options_(std::move(options)),
      clock_(options_.clock != nullptr ? options_.clock : &system_clock_),
      wall_seen_(clock_->now()),
      monotonic_seen_(clock_->monotonic_ns()) {}

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
    directory->janitor_ = std::thread([d = directory.get()] { d->run_janitor(); });
    entry.directory = std::move(directory);
  }
  if (options.keep_unread && !entry.directory->keep_unread()) {
    if (auto set = entry.directory->set_keep_unread(); !set) {
      if (entry.users == 0) shared.entries.erase(path);
      return fail(std::move(set.error()));
    }
  }
  ++entry.users;
  return std::shared_ptr<Directory>(entry.directory.get(), [path](Directory*) {
    Registry& r = registry();
    std::lock_guard guard(r.mutex);
    const auto found = r.entries.find(path);
    if (--found->second.users == 0) r.entries.erase(found);
  });
}

std::string Directory::format_text(bool keep_unread) const {
  return std::string(kFormat) + "\nsegment_bytes " + std::to_string(segment_bytes_) + "\ncursor_map_bytes " +
         std::to_string(cursor_map_bytes_) + "\nkeep_unread " + (keep_unread ? "1" : "0") + "\n";
}

// For good, and for all processes: one that did not ask for it must not trim what it protects.
Status Directory::set_keep_unread() {
  std::lock_guard guard(open_mutex_);
  UTP_CHECK(open_lock_.lock_exclusive());
  Status written = write_file_durably(options_.directory + "/format", format_text(true));
  open_lock_.unlock();
  if (written) state().keep_unread.store(1);
  return written;
}

// The open lock is held.
Status Directory::draw_process() {
  std::random_device device;
  for (;;) {
    process_ = ((std::uint64_t{device()} << 32) | device()) >> 2;
    if (process_ == 0) continue;
    UTP_TRY(const bool taken, alive_lock_.try_lock_byte(process_));
    if (taken) return {};
  }
}

bool Directory::is_live(std::int64_t until_ns, std::uint64_t boot, std::uint64_t process) const {
  if (boot != boot_ || until_ns <= clock_->monotonic_ns()) return false;
  return process == 0 || process == process_ || alive_lock_.is_byte_locked(process);
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
    segment_bytes_ = options_.segment_bytes;
    cursor_map_bytes_ = options_.cursor_map_bytes;
    UTP_CHECK(write_file_durably(directory + "/format", format_text(options_.keep_unread)));
  }
  UTP_TRY(const std::string format, read_small_file(directory + "/format"));
  const std::string version = format.substr(0, format.find('\n'));
  if (version != kFormat) {
    return fail(Code::kUnsupported, directory + "/format: found \"" + version.substr(0, 60) + "\", this program knows \"" +
                                        std::string(kFormat) + "\"; use the program that wrote it, or another directory");
  }
  UTP_TRY(segment_bytes_, number_after(format, "segment_bytes "));
  UTP_TRY(cursor_map_bytes_, number_after(format, "cursor_map_bytes "));
  UTP_TRY(const std::uint64_t keep_unread, number_after(format, "keep_unread "));

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
  if (keep_unread != 0) state().keep_unread.store(1);
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
  UTP_CHECK(draw_process());
  UTP_CHECK(alive_lock_.lock_shared());
  open_lock_.unlock();
  return {};
}

Status Directory::recover_cursors() {
  const std::string path = options_.directory + "/cursors.mdb";
  const std::string file = options_.directory + "/cursors.checkpoint";
  ::unlink((path + "-lock").c_str());
  if (!file_exists(path)) return {};
  const bool has_file = file_exists(file);
  CheckpointFile checkpoints;
  UTP_CHECK(checkpoints.open(file));
  UTP_TRY(const auto checkpoint, checkpoints.load());
  if (checkpoint) return restore_environment(path, *checkpoint);
  // A creation that was cut short leaves a blank checkpoint and no topic.
  UTP_TRY(const bool blank, checkpoints.is_blank());
  std::vector<std::string> topics;
  if (file_exists(options_.directory + "/topics")) {
    UTP_TRY(topics, list_directory(options_.directory + "/topics"));
  }
  if (blank && topics.empty()) {
    ::unlink(path.c_str());
    return {};
  }
  return fail(Code::kCorrupt, file + (has_file ? ": holds no intact checkpoint" : ": is missing") +
                                  ", and the machine has restarted since " + path + " was written. Restore the bus directory from a "
                                  "copy that was made while no process used it; or, to keep the messages and have every group begin "
                                  "anew, remove both files; nothing was changed");
}

Status Directory::recover() {
  const std::string& directory = options_.directory;
  log::warn("embedded bus: the machine has restarted; going back to what was synced", {{"directory", directory}});
  UTP_CHECK(recover_cursors());
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
  janitor_wakes_.notify_all();
  if (keeper_.joinable()) keeper_.join();
  if (janitor_.joinable()) janitor_.join();
  if (!cursor_environment_) return;
  // To the end of all files here: a process that opens meanwhile would take itself for the first one.
  (void)open_lock_.lock_exclusive();
  const bool alone = alive_lock_.upgrade();
  for (const auto& [name, topic] : topics_) {
    for (const auto& partition : topic->partitions) {
      if (partition->sync_due_ns.load() != 0 || alone) {
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
  return retention_bytes(record) / record.options.partitions;
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
    UTP_CHECK(sync_cursors());
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
  {
    UTP_TRY(auto change, cursors().change());
    UTP_CHECK(change.put_topic({std::string(name), options}));
    UTP_CHECK(change.commit());
  }
  return sync_cursors();
}

// After a change that is made once and for good: this process may write no more, and keeps no page from being reused.
Status Directory::sync_cursors() {
  UTP_CHECK(cursor_environment_->sync());
  if (!cursors_dirty_.load()) cursor_environment_->unpin();
  return {};
}

void Directory::wake() {
  state().sequence.fetch_add(1, std::memory_order_seq_cst);
  if (state().waiters.load(std::memory_order_seq_cst) != 0) futex_wake_all(state().sequence);
}

}  // namespace utp::embedded_bus
