// Errors half-way, processes that die or stand idle, and files that are not what they were.
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <map>
#include <thread>

#include "core/hash.h"
#include "drivers/bus/embedded/checkpoint.h"
#include "drivers/bus/embedded/embedded_bus_fixture.h"
#include "drivers/bus/embedded/partition.h"

namespace utp {
namespace {

namespace fs = std::filesystem;
using bus_test::kTopic;
using bus_test::publish;
using bus_test::stats;
using embedded_bus::CheckpointFile;
using embedded_bus::FileLock;
using embedded_bus::Partition;
using embedded_bus::PartitionOptions;
using embedded_bus::PartitionState;
using embedded_bus::SharedPage;
using embedded_bus_test::FileSizeLimit;
using embedded_bus_test::kHour;
using embedded_bus_test::read_file;
using embedded_bus_test::write_file;

// How long a test waits for what must happen; only a failure ever takes so long.
constexpr std::int64_t kPatienceNs = 30'000'000'000;

// Another process, without exec: made before this one opens a bus. It runs `work`, which talks through wait() and tell().
class Other {
 public:
  explicit Other(const std::function<void(Other&)>& work) {
    EXPECT_EQ(::pipe(to_), 0);
    EXPECT_EQ(::pipe(from_), 0);
    pid_ = ::fork();
    if (pid_ != 0) return;
    std::swap(to_, from_);
    work(*this);
    ::_exit(0);
  }
  ~Other() {
    kill();
    for (const int fd : {to_[0], to_[1], from_[0], from_[1]}) ::close(fd);
  }
  void tell() { EXPECT_EQ(::write(to_[1], "x", 1), 1); }
  void wait() {
    char c = 0;
    EXPECT_EQ(::read(from_[0], &c, 1), 1);
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }

 private:
  pid_t pid_ = -1;
  int to_[2], from_[2];
};

class EmbeddedBusFaults : public embedded_bus_test::BusFixture {
 protected:
  static std::unique_ptr<Subscription> subscribe(Bus& bus, const std::string& member, std::int64_t lease_ns = kHour) {
    SubscriptionOptions o;
    o.patterns = {kTopic};
    o.group = "g";
    o.member = member;
    o.lease_ns = lease_ns;
    auto made = bus.subscribe(o);
    if (!made) ADD_FAILURE() << made.error().message;
    return made ? std::move(*made) : nullptr;
  }
  static std::size_t poll(Subscription& subscription) {
    auto got = subscription.poll(1000, 1 << 20, 0);
    if (!got) ADD_FAILURE() << got.error().message;
    return got ? got->size() : 0;
  }
  std::vector<fs::path> segment_files(const std::string& name = "bus") const {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(partition(name))) {
      if (entry.path().extension() == ".mdb") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
  }
  static void flip(const fs::path& file, const std::string& text) {
    std::string bytes = read_file(file);
    const std::size_t at = bytes.find(text);
    ASSERT_NE(at, std::string::npos);
    bytes[at] ^= 1;
    write_file(file, bytes);
  }
  PartitionOptions partition_options() const {
    PartitionOptions o;
    o.directory = (root_ / "partition").string();
    o.segment_bytes = std::uint64_t{64} << 20;
    o.segment_ns = INT64_MAX;
    o.map_bytes = Partition::map_bytes(o.segment_bytes);
    return o;
  }
  static bool append(Partition& partition, int count, bool interval = false) {
    const std::string text(100, 'x');
    const OutMessage message{kTopic, "K", text};
    const std::vector<const OutMessage*> messages(static_cast<std::size_t>(count), &message);
    return partition.append(messages, {1}, interval, 1).has_value();
  }
};

// ---- errors half-way ----

TEST_F(EmbeddedBusFaults, APollThatFailsInOnePartitionLosesNothingOfTheOthers) {
  std::map<std::uint32_t, std::size_t> published;
  {
    auto bus = open(options());
    ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 2}));
    std::vector<std::string> keys;
    for (int i = 0; i < 40; ++i) keys.push_back("K" + std::to_string(i));
    std::vector<OutMessage> messages;
    for (const std::string& key : keys) {
      messages.push_back({kTopic, key, "a message of some length"});
      ++published[static_cast<std::uint32_t>(hash64(key) % 2)];
    }
    ASSERT_TRUE(publisher(*bus, Durability::kCommit)->publish(messages));
  }
  ASSERT_EQ(published.size(), 2u);
  for (const auto& entry : fs::directory_iterator(partition().parent_path() / "0001")) {
    if (entry.path().extension() == ".mdb") flip(entry.path(), "some length");
  }
  auto bus = open(options());
  auto reader = subscribe(*bus, "m");
  std::map<std::uint32_t, std::size_t> got;
  std::optional<Error> error;
  for (int i = 0; i < 10; ++i) {
    const auto messages = reader->poll(1000, 1 << 20, 0);
    if (!messages) error = messages.error();
    else for (const InMessage& m : *messages) ++got[m.partition];
  }
  ASSERT_TRUE(error) << "the error comes again";
  EXPECT_EQ(error->code, Code::kCorrupt);
  EXPECT_EQ(got[0], published[0]);
  std::string key = "K0";
  while (hash64(key) % 2 != 0) key += "0";
  const OutMessage more{kTopic, key, "later"};
  ASSERT_TRUE(publisher(*bus, Durability::kCommit)->publish({&more, 1}));
  for (int i = 0; i < 2; ++i) {
    if (const auto messages = reader->poll(1000, 1 << 20, 0)) got[0] += messages->size();
  }
  EXPECT_EQ(got[0], published[0] + 1) << "a bad partition must not starve the others";
}

TEST_F(EmbeddedBusFaults, WhatAPollCouldNotWriteDownTheNextOneGives) {
  ManualClock clock(Timestamp::from_seconds(1'800'000'000));
  auto o = options();
  o.clock = &clock;
  auto bus = open(o);
  auto writer = publisher(*bus, Durability::kCommit);
  ASSERT_TRUE(publish(*writer, 0, 1));
  auto dead = subscribe(*bus, "dead", 1000);  // silent from now on
  ASSERT_EQ(poll(*dead), 1u);
  clock.advance(2000);
  auto heir = subscribe(*bus, "heir", 1000);
  ASSERT_EQ(poll(*heir), 1u);
  ASSERT_TRUE(publish(*writer, 1, 5));
  {
    const FileSizeLimit full(1);
    for (int i = 0; i < 2; ++i) {
      const auto got = heir->poll(1000, 1 << 20, 0);  // deliveries after a death are written down first
      ASSERT_FALSE(got);
      EXPECT_EQ(got.error().code, Code::kFull) << got.error().message;
      EXPECT_TRUE(got.error().retryable);
    }
  }
  const auto got = heir->poll(1000, 1 << 20, 0);
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->size(), 5u);
  EXPECT_EQ(got->front().value, "1");
  ASSERT_TRUE(heir->acknowledge(kTopic, 0, got->back().position));
  EXPECT_EQ(stats(*bus).groups.at(0).lag, 0u);
}

TEST_F(EmbeddedBusFaults, ALeaseThatCouldNotBeRecordedIsNotHeld) {
  ManualClock clock(Timestamp::from_seconds(1'800'000'000));
  auto o = options();
  o.clock = &clock;
  auto bus = open(o);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 3));
  auto dead = subscribe(*bus, "dead", 1000);
  ASSERT_EQ(poll(*dead), 3u);
  auto heir = subscribe(*bus, "heir", 1000);
  EXPECT_EQ(poll(*heir), 0u);
  clock.advance(2000);
  {
    const FileSizeLimit full(1);
    const auto got = heir->poll(1000, 1 << 20, 0);
    ASSERT_FALSE(got);
    EXPECT_EQ(got.error().code, Code::kFull) << got.error().message;
  }
  const auto got = heir->poll(1000, 1 << 20, 0);
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->size(), 3u);
  const auto status = heir->acknowledge(kTopic, 0, got->back().position);
  EXPECT_TRUE(status) << status.error().message;
}

TEST_F(EmbeddedBusFaults, WhatWasDeliveredCanBeAcknowledgedThoughItsPublisherDiedBeforeItSaidSo) {
  auto bus = open(options());
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 10));
  SharedPage page;
  ASSERT_TRUE(page.open((partition() / "state").string(), nullptr));
  page.as<PartitionState>()->tail.store(5);  // as after a commit that was announced no more
  auto reader = subscribe(*bus, "m");
  const auto got = reader->poll(1000, 1 << 20, 0);
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 10u);
  const auto status = reader->acknowledge(kTopic, 0, got->back().position);
  EXPECT_TRUE(status) << status.error().message;
}

// ---- processes ----

TEST_F(EmbeddedBusFaults, WhatADeadProcessHeldIsTakenWithoutWaitingForItsLease) {
  Other owner([&](Other& self) {
    auto bus = open(options());
    (void)publish(*publisher(*bus, Durability::kCommit), 0, 5);
    auto reader = subscribe(*bus, "owner");  // for an hour
    if (poll(*reader) != 5) ::_exit(1);
    self.tell();
    for (;;) ::pause();
  });
  owner.wait();
  auto bus = open(options());
  auto heir = subscribe(*bus, "heir");
  EXPECT_EQ(poll(*heir), 0u) << "a living owner is not robbed";
  EXPECT_EQ(stats(*bus).groups.at(0).members, std::vector<std::string>{"owner"});
  owner.kill();
  EXPECT_TRUE(stats(*bus).groups.at(0).members.empty());
  const auto got = heir->poll(1000, 1 << 20, kPatienceNs);
  ASSERT_TRUE(got) << got.error().message;
  EXPECT_EQ(got->size(), 5u);
  EXPECT_EQ(stats(*bus).groups.at(0).members, std::vector<std::string>{"heir"});
  EXPECT_TRUE(heir->acknowledge(kTopic, 0, got->back().position));
}

TEST_F(EmbeddedBusFaults, AnIdleProcessDoesNotKeepThePagesOfAcknowledgements) {
  auto o = options();
  o.cursor_map_bytes = 4 << 20;
  Other idle([&](Other& self) {
    auto bus = open(o);
    (void)bus->configure_topic(kTopic, {.partitions = 1});
    self.tell();
    for (;;) ::pause();
  });
  idle.wait();
  auto bus = open(o);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kInterval), 0, 5000));
  auto reader = subscribe(*bus, "m");
  std::uint64_t next = 1;
  for (std::size_t left = 5000; left > 0;) {
    const auto got = reader->poll(5000, 1 << 20, 0);
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_FALSE(got->empty());
    left -= got->size();
    for (std::size_t i = 0; i < got->size(); ++i, ++next) {
      const auto status = reader->acknowledge(kTopic, 0, next);
      ASSERT_TRUE(status) << next << ": " << status.error().message;
    }
  }
  EXPECT_EQ(stats(*bus).groups.at(0).lag, 0u);
}

TEST_F(EmbeddedBusFaults, AnIdleProcessDoesNotKeepThePagesOfASegment) {
  Other idle([&](Other& self) {
    auto partition = Partition::open(partition_options());
    if (!partition || !append(**partition, 1) || !(*partition)->sync()) ::_exit(1);
    for (;;) {
      self.tell();
      self.wait();
      (*partition)->rest(2);
    }
  });
  idle.wait();
  auto partition = Partition::open(partition_options());
  ASSERT_TRUE(partition) << partition.error().message;
  const auto size = [&] {
    std::uintmax_t bytes = 0;
    for (const auto& entry : fs::directory_iterator(root_ / "partition")) {
      if (entry.path().extension() == ".mdb") bytes += entry.file_size();
    }
    return bytes;
  };
  const auto publish_100 = [&] {
    const std::uintmax_t before = size();
    for (int i = 0; i < 100; ++i) {
      EXPECT_TRUE(append(**partition, 1));
      EXPECT_TRUE((*partition)->sync());
    }
    return size() - before;
  };
  const std::uintmax_t kept = publish_100();
  EXPECT_GT(kept, 100u * 4096) << "a process that has just written keeps its pages";
  std::uintmax_t grown = 0;
  for (int look = 0; look < 4; ++look) {
    idle.tell();
    idle.wait();
    grown = publish_100();
  }
  EXPECT_LT(grown, kept / 4);
}

TEST_F(EmbeddedBusFaults, AFailedUpgradeKeepsTheLock) {
  FileLock a, b, c;
  const std::string path = (root_ / "lock").string();
  for (FileLock* lock : {&a, &b, &c}) ASSERT_TRUE(lock->open(path));
  ASSERT_TRUE(a.lock_shared());
  ASSERT_TRUE(b.lock_shared());
  EXPECT_FALSE(a.upgrade());
  b.unlock();
  EXPECT_FALSE(c.try_lock_exclusive()) << "a holds it still";
  EXPECT_TRUE(a.upgrade());
}

// ---- durability ----

TEST_F(EmbeddedBusFaults, AShorterIntervalIsNotHeldUpByALongerOne) {
  auto bus = open(options());
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kInterval, kHour), 0, 1));
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kInterval, 5'000'000), 1, 1));
  CheckpointFile checkpoints;
  ASSERT_TRUE(checkpoints.open((partition() / "checkpoint").string()));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(kPatienceNs);
  for (;;) {
    const auto checkpoint = checkpoints.load();
    ASSERT_TRUE(checkpoint);
    if (*checkpoint && (*checkpoint)->position == 2) break;
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_F(EmbeddedBusFaults, AReservationIsExtendedBeforeItIsUsedUp) {
  auto made = Partition::open(partition_options());
  ASSERT_TRUE(made);
  Partition& partition = **made;
  int batches = 0;
  while (!partition.is_reservation_low()) {
    ASSERT_TRUE(append(partition, 10, true));
    ASSERT_LT(++batches, 1000);
  }
  const std::uint64_t reserved = partition.state().sync.reserved.load();
  EXPECT_GT(reserved, partition.state().tail.load()) << "it was told too late";
  ASSERT_TRUE(partition.extend_reservation());
  EXPECT_GT(partition.state().sync.reserved.load(), reserved);
  EXPECT_FALSE(partition.is_reservation_low());
}

TEST_F(EmbeddedBusFaults, ADamagedCheckpointStopsTheStartAndRemovesNothing) {
  {
    auto bus = open(options());
    ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 100));
  }
  const auto refuse = [&](const std::string& name, const fs::path& file) {
    const auto bus = open_embedded_bus(options(name, "boot-2"));
    ASSERT_FALSE(bus) << file;
    EXPECT_EQ(bus.error().code, Code::kCorrupt);
    EXPECT_NE(bus.error().message.find(file.string()), std::string::npos) << bus.error().message;
    EXPECT_FALSE(segment_files(name).empty());
    EXPECT_TRUE(fs::exists(root_ / name / "cursors.mdb"));
  };
  copy("bus", "garbage");
  write_file(partition("garbage") / "checkpoint", std::string(8192, 'x'));
  refuse("garbage", partition("garbage") / "checkpoint");
  copy("bus", "missing");
  fs::remove(partition("missing") / "checkpoint");
  refuse("missing", partition("missing") / "checkpoint");
  copy("bus", "cursors");
  write_file(root_ / "cursors" / "cursors.checkpoint", std::string(8192, 'x'));
  refuse("cursors", root_ / "cursors" / "cursors.checkpoint");
  copy("bus", "copied");
  fs::remove(root_ / "copied" / "cursors.checkpoint");
  refuse("copied", root_ / "copied" / "cursors.checkpoint");
  // The cure that the message names.
  fs::remove(root_ / "copied" / "cursors.checkpoint");
  fs::remove(root_ / "copied" / "cursors.mdb");
  auto bus = open(options("copied", "boot-2"));
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 100, 1));
  expect_numbers(read_all(*bus), 101);
}

TEST_F(EmbeddedBusFaults, ASegmentThatIsDamagedCanBeTakenAway) {
  auto o = options();
  o.segment_bytes = 256 * 1024;
  {
    auto bus = open(o);
    auto writer = publisher(*bus, Durability::kInterval);
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(publish(*writer, i * 100, 100, {1000}));
  }
  const fs::path second = segment_files().at(1);
  flip(second, "   ");
  std::size_t read = 0;
  {
    auto bus = open(o);
    auto reader = subscribe(*bus, "m");
    for (;;) {
      const auto got = reader->poll(1000, 1 << 20, 0);
      if (!got) {
        EXPECT_EQ(got.error().code, Code::kCorrupt);
        EXPECT_NE(got.error().message.find(second.string()), std::string::npos) << got.error().message;
        EXPECT_NE(got.error().message.find("move this file away"), std::string::npos) << got.error().message;
        break;
      }
      ASSERT_FALSE(got->empty());
      read += got->size();
      ASSERT_TRUE(reader->acknowledge(kTopic, 0, got->back().position));
    }
  }
  fs::rename(second, root_ / "damaged");
  auto bus = open(o);
  auto reader = subscribe(*bus, "m");
  std::string last;
  for (;;) {
    const auto got = reader->poll(1000, 1 << 20, 0);
    ASSERT_TRUE(got) << got.error().message;
    if (got->empty()) break;
    read += got->size();
    last = got->back().value;
  }
  EXPECT_EQ(std::stoi(last), 2999);
  EXPECT_GT(read, 2000u);
}

// ---- retention ----

TEST_F(EmbeddedBusFaults, ASpoolIsOneForEveryProcessThatOpensIt) {
  auto onlooker = options();
  onlooker.segment_bytes = 256 * 1024;
  auto spool = onlooker;
  spool.keep_unread = true;
  int published = 0;
  {
    auto looking = open(onlooker);  // was there first
    auto bus = open(spool);
    ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1, .retention_bytes = 2 << 20}));
    auto reader = subscribe(*bus, "m");
    auto writer = publisher(*bus, Durability::kInterval);
    Status status;
    while (published < 10'000 && status) {
      status = publish(*writer, published, 100, {1000});
      if (status) published += 100;
    }
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kFull);
  }
  auto bus = open(onlooker);
  ASSERT_TRUE(bus->trim());
  const TopicStats s = stats(*bus);
  EXPECT_EQ(s.messages, static_cast<std::uint64_t>(published));
  EXPECT_EQ(s.groups.at(0).trimmed_unread, 0u);
}

TEST_F(EmbeddedBusFaults, OneBadTopicDoesNotStopTheRetentionOfTheOthers) {
  constexpr const char* kBad = "utp.test.local.aaa.v1";
  auto o = options();
  o.segment_bytes = 256 * 1024;
  {
    auto bus = open(o);
    ASSERT_TRUE(bus->configure_topic(kBad, {.partitions = 1}));
    ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1}));
    auto writer = publisher(*bus, Durability::kInterval);
    for (int i = 0; i < 30; ++i) ASSERT_TRUE(publish(*writer, i * 100, 100, {1000}));
  }
  fs::remove_all(partition().parent_path().parent_path() / kBad / "0000");
  write_file(partition().parent_path().parent_path() / kBad / "0000", "no directory");
  auto bus = open(o);
  ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1, .retention_bytes = 1 << 20}));
  const std::size_t before = segments();
  const auto trimmed = bus->trim();
  ASSERT_FALSE(trimmed);
  EXPECT_NE(trimmed.error().message.find(kBad), std::string::npos) << trimmed.error().message;
  EXPECT_LT(segments(), before);
}

TEST_F(EmbeddedBusFaults, APublishIsNoFailureBecauseRetentionIs) {
  auto o = options();
  o.segment_bytes = 256 * 1024;
  for (const bool keep_unread : {false, true}) {
    o.directory = (root_ / (keep_unread ? "spool" : "bus")).string();
    o.keep_unread = keep_unread;
    const auto fill = [&](Bus& bus, int first) {
      auto writer = publisher(bus, Durability::kInterval);
      for (int i = 0; i < 4; ++i) {
        const Status status = publish(*writer, first + i * 100, 100, {1000});
        EXPECT_TRUE(status) << status.error().message;
      }
    };
    {
      auto bus = open(o);
      fill(*bus, 0);
    }
    const auto files = segment_files(keep_unread ? "spool" : "bus");
    ASSERT_GE(files.size(), 2u);
    write_file(files[0], std::string(300'000, 'x'));
    auto bus = open(o);
    SubscriptionOptions so;
    so.patterns = {kTopic};
    so.start.kind = Start::Kind::kLatest;
    auto reader = bus->subscribe(so);
    ASSERT_TRUE(reader);
    // The first roll comes within these; a spool may refuse what follows, but not what it has taken.
    auto writer = publisher(*bus, Durability::kInterval);
    Status status;
    std::size_t published = 0;
    while (published < 800 && status) {
      status = publish(*writer, 0, 100, {1000});
      if (status) published += 100;
    }
    EXPECT_EQ(status.has_value(), !keep_unread);
    std::size_t read = 0;
    for (std::size_t got = 1; got > 0; read += got) got = poll(**reader);
    EXPECT_EQ(read, published);
  }
}

class JumpingClock final : public Clock {
 public:
  Timestamp now() const override { return {wall_ns_}; }
  std::int64_t monotonic_ns() const override { return monotonic_ns_; }
  void pass(std::int64_t ns) {
    wall_ns_ += ns;
    monotonic_ns_ += ns;
  }
  void set_forward(std::int64_t ns) { wall_ns_ += ns; }

 private:
  std::atomic<std::int64_t> wall_ns_{Timestamp::from_seconds(1'800'000'000).ns};
  std::atomic<std::int64_t> monotonic_ns_{1'000'000'000};
};

TEST_F(EmbeddedBusFaults, AClockThatIsSetForwardDoesNotRemoveWhatIsUnread) {
  JumpingClock clock;
  auto o = options();
  o.clock = &clock;
  auto bus = open(o);
  ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1, .retention_ns = kHour}));
  auto reader = subscribe(*bus, "m", 1000 * kHour);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 10));
  clock.pass(kHour / 2);
  clock.set_forward(24 * kHour);
  ASSERT_TRUE(bus->trim());
  EXPECT_EQ(stats(*bus).messages, 10u);
  EXPECT_EQ(stats(*bus).groups.at(0).trimmed_unread, 0u);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 10, 10));
  clock.pass(kHour / 2 + 1);
  ASSERT_TRUE(bus->trim());
  EXPECT_EQ(stats(*bus).messages, 10u) << "from then on the old ones age as ever";
  clock.pass(kHour / 2 + 1);
  ASSERT_TRUE(bus->trim());
  EXPECT_EQ(stats(*bus).messages, 0u);
}

}  // namespace
}  // namespace utp
