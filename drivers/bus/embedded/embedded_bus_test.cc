#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/random.h"
#include "drivers/bus/embedded/checkpoint.h"
#include "drivers/bus/embedded/embedded_bus_fixture.h"
#include "drivers/bus/embedded/environment.h"

namespace utp {
namespace {

namespace fs = std::filesystem;
using bus_test::kTopic;
using bus_test::publish;
using bus_test::stats;
using embedded_bus_test::FileSizeLimit;
using embedded_bus_test::kHour;
using embedded_bus_test::read_file;
using embedded_bus_test::write_file;
using embedded_bus::Checkpoint;
using embedded_bus::CheckpointFile;
using embedded_bus::Environment;
using embedded_bus::EnvironmentOptions;
using embedded_bus::SharedPage;
using embedded_bus::SyncState;

class EmbeddedBus : public embedded_bus_test::BusFixture {};

// What a disk may hold after the power went: every page that was written since the last sync is as before, as written, or
// torn between sectors; the file's end is anywhere between.
std::string after_power_loss(const std::string& synced, const std::string& written, Random& random) {
  constexpr std::size_t kPage = 4096;
  std::string out = synced;
  const std::size_t grown = written.size() > synced.size() ? (written.size() - synced.size()) / kPage : 0;
  out.resize(synced.size() + random.below(grown + 1) * kPage, '\0');
  for (std::size_t at = 0; at < out.size() && at < written.size(); at += kPage) {
    switch (random.below(3)) {
      case 0: break;
      case 1: std::memcpy(out.data() + at, written.data() + at, std::min(kPage, written.size() - at)); break;
      default: {
        const std::size_t sectors = random.below(8);
        std::memcpy(out.data() + at, written.data() + at, std::min(sectors * 512, written.size() - at));
      }
    }
  }
  return out;
}

// ---- power loss ----

TEST_F(EmbeddedBus, PowerLossIsDetectedAndCountedAndWhatWasSyncedIsThere) {
  std::uint64_t highest = 0;
  {
    auto bus = open(options());
    auto writer = publisher(*bus, Durability::kInterval);
    ASSERT_TRUE(publish(*writer, 0, 500));
    ASSERT_TRUE(writer->sync());
    copy("bus", "after");
    ASSERT_TRUE(publish(*writer, 500, 40));  // never synced
    highest = read_all(*bus).back().position;
    // The reservation is synced before a publish is acknowledged.
    fs::copy_file(partition() / "checkpoint", partition("after") / "checkpoint", fs::copy_options::overwrite_existing);
  }
  auto bus = open(options("after", "boot-2"));
  const TopicStats s = stats(*bus);
  EXPECT_GE(s.lost, 40u) << "less was counted than was lost";
  EXPECT_LE(s.lost, 2000u);
  EXPECT_EQ(s.messages, 500u);
  expect_numbers(read_all(*bus), 500);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 500, 10));
  const auto all = read_all(*bus);
  expect_numbers(all, 510);
  EXPECT_GT(all[500].position, highest) << "a position was used again";
  EXPECT_EQ(stats(*bus).messages, 510u);
  bus.reset();
  bus = open(options("after", "boot-3"));
  EXPECT_EQ(stats(*bus).lost, s.lost) << "one loss is counted once";
  expect_numbers(read_all(*bus), 510);
}

TEST_F(EmbeddedBus, AnyMixOfOldNewAndTornPagesRecoversToTheLastSync) {
  const std::uint64_t seed = 20261122;
  std::printf("seed %llu\n", static_cast<unsigned long long>(seed));
  Random random(seed);
  for (int round = 0; round < 25; ++round) {
    SCOPED_TRACE("round " + std::to_string(round));
    const std::string name = "bus" + std::to_string(round);
    int synced = 0;
    int unsynced = 0;
    {
      auto bus = open(options(name));
      auto writer = publisher(*bus, Durability::kInterval);
      auto committer = publisher(*bus, Durability::kCommit);
      const auto some = [&](int& number) {
        const int batches = 1 + static_cast<int>(random.below(40));
        for (int i = 0; i < batches; ++i) {
          const int count = random.chance(0.3) ? 200 : 1;
          ASSERT_TRUE(publish(*writer, synced + unsynced, count, {100}));
          number += count;
        }
      };
      for (int i = 0; i < 3; ++i) {  // pages are freed and reused between syncs
        some(synced);
        ASSERT_TRUE(writer->sync());
      }
      if (random.chance(0.5)) {
        ASSERT_TRUE(publish(*committer, synced, 3, {100}));
        synced += 3;
      }
      copy(name, name + "s");
      some(unsynced);
      copy(name, name + "w");
    }
    std::string after = name + "s";
    for (const auto& entry : fs::directory_iterator(partition(after))) {
      if (entry.path().extension() != ".mdb") continue;
      const auto written = read_file(partition(name + "w") / entry.path().filename());
      write_file(entry.path(), after_power_loss(read_file(entry.path()), written, random));
    }
    fs::copy_file(partition(name + "w") / "checkpoint", partition(after) / "checkpoint", fs::copy_options::overwrite_existing);
    auto bus = open(options(after, "boot-2"));
    ASSERT_NE(bus, nullptr);
    expect_numbers(read_all(*bus), synced);
    EXPECT_GE(stats(*bus).lost, static_cast<std::uint64_t>(unsynced));
    ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), synced, 50));
    expect_numbers(read_all(*bus), synced + 50);
    if (HasFailure()) return;
    bus.reset();
    for (const std::string& used : {name, name + "s", name + "w"}) fs::remove_all(root_ / used);
  }
}

TEST_F(EmbeddedBus, CommitLosesNothing) {
  {
    auto bus = open(options());
    auto writer = publisher(*bus, Durability::kCommit);
    for (int i = 0; i < 50; ++i) ASSERT_TRUE(publish(*writer, i * 10, 10));
    copy("bus", "after");
  }
  auto bus = open(options("after", "boot-2"));
  expect_numbers(read_all(*bus), 500);
  EXPECT_EQ(stats(*bus).lost, 0u);
}

TEST_F(EmbeddedBus, ARestartOfTheMachineAfterACleanEndLosesNothing) {
  {
    auto bus = open(options());
    ASSERT_TRUE(publish(*publisher(*bus, Durability::kInterval), 0, 100));
  }
  auto bus = open(options("bus", "boot-2"));
  EXPECT_EQ(stats(*bus).lost, 0u);
  expect_numbers(read_all(*bus), 100);
}

TEST_F(EmbeddedBus, GroupsReadOnAfterAPowerLossAndLearnWhatIsMissing) {
  SubscriptionOptions o;
  o.patterns = {kTopic};
  o.group = "g";
  {
    auto bus = open(options());
    auto writer = publisher(*bus, Durability::kInterval);
    ASSERT_TRUE(publish(*writer, 0, 100));
    ASSERT_TRUE(writer->sync());
    copy("bus", "after");
    ASSERT_TRUE(publish(*writer, 100, 50));
    auto reader = bus->subscribe(o);
    auto got = (*reader)->poll(1000, 1 << 20, 0);
    ASSERT_EQ(got->size(), 150u);
    ASSERT_TRUE((*reader)->acknowledge(kTopic, 0, got->back().position));
    fs::copy_file(partition() / "checkpoint", partition("after") / "checkpoint", fs::copy_options::overwrite_existing);
    // A configuration change syncs what the group acknowledged: that reached the disk, the messages did not.
    ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1}));
    for (const char* file : {"cursors.mdb", "cursors.checkpoint"}) {
      fs::copy_file(root_ / "bus" / file, root_ / "after" / file, fs::copy_options::overwrite_existing);
    }
  }
  auto bus = open(options("after", "boot-2"));
  auto reader = bus->subscribe(o);
  ASSERT_TRUE(reader);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 200, 3));
  const auto got = (*reader)->poll(1000, 1 << 20, 0);
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 3u) << "the group passed over new messages";
  EXPECT_EQ((*got)[0].value, "200");
  EXPECT_EQ(stats(*bus).groups.at(0).lag, 3u);
  const auto lost = (*reader)->take_lost();
  ASSERT_EQ(lost.size(), 1u);
  EXPECT_EQ(lost[0].count, stats(*bus).lost);
}

TEST_F(EmbeddedBus, AnIntervalPublisherIsSyncedInTheBackground) {
  auto bus = open(options());
  auto writer = publisher(*bus, Durability::kInterval, 5'000'000);
  ASSERT_TRUE(publish(*writer, 0, 10));
  CheckpointFile checkpoints;
  ASSERT_TRUE(checkpoints.open((partition() / "checkpoint").string()));
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  for (;;) {
    const auto checkpoint = checkpoints.load();
    ASSERT_TRUE(checkpoint);
    if (*checkpoint && (*checkpoint)->position == 10) break;
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

TEST_F(EmbeddedBus, ABitThatFlippedOnDiskIsReportedWithItsFile) {
  {
    auto bus = open(options());
    ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 100, {200}));
  }
  for (const auto& entry : fs::directory_iterator(partition())) {
    if (entry.path().extension() != ".mdb") continue;
    std::string bytes = read_file(entry.path());
    const std::size_t at = bytes.find("42   ");
    ASSERT_NE(at, std::string::npos);
    bytes[at] ^= 1;
    write_file(entry.path(), bytes);
  }
  auto bus = open(options());
  SubscriptionOptions o;
  o.patterns = {kTopic};
  auto reader = bus->subscribe(o);
  const auto got = (*reader)->poll(1000, 1 << 20, 0);
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, Code::kCorrupt);
  EXPECT_NE(got.error().message.find(partition().string()), std::string::npos) << got.error().message;
}

// ---- segments ----

TEST_F(EmbeddedBus, SegmentsRollBySizeAndAreUnlinkedWhole) {
  auto o = options();
  o.segment_bytes = 256 * 1024;
  auto bus = open(o);
  ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1}));
  auto writer = publisher(*bus, Durability::kInterval);
  for (int i = 0; i < 30; ++i) ASSERT_TRUE(publish(*writer, i * 100, 100, {1000}));
  const std::size_t before = segments();
  EXPECT_GE(before, 10u);
  expect_numbers(read_all(*bus), 3000);
  ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1, .retention_bytes = 1 << 20}));
  ASSERT_TRUE(bus->trim());
  EXPECT_LT(segments(), before);
  const auto left = read_all(*bus);
  ASSERT_FALSE(left.empty());
  EXPECT_EQ(left.back().number, 2999);
  EXPECT_EQ(stats(*bus).messages, left.size());
  std::size_t locks = 0;
  for (const auto& entry : fs::directory_iterator(partition())) locks += entry.path().string().ends_with("-lock") ? 1 : 0;
  EXPECT_EQ(locks, segments());
}

TEST_F(EmbeddedBus, SegmentsRollByAge) {
  ManualClock clock(Timestamp::from_seconds(1'800'000'000));
  auto o = options();
  o.clock = &clock;
  o.segment_ns = 1000;
  auto bus = open(o);
  auto writer = publisher(*bus, Durability::kCommit);
  ASSERT_TRUE(publish(*writer, 0, 1));
  ASSERT_TRUE(publish(*writer, 1, 1));
  const std::size_t before = segments();
  clock.advance(2000);
  ASSERT_TRUE(publish(*writer, 2, 1));
  clock.advance(2000);
  ASSERT_TRUE(publish(*writer, 3, 1));
  EXPECT_GT(segments(), before);
  expect_numbers(read_all(*bus), 4);
}

TEST_F(EmbeddedBus, PublishTimesDoNotGoBackWithTheClock) {
  ManualClock clock(Timestamp::from_seconds(1'800'000'000));
  auto o = options();
  o.clock = &clock;
  auto bus = open(o);
  auto writer = publisher(*bus, Durability::kCommit);
  ASSERT_TRUE(publish(*writer, 0, 1));
  clock.set(Timestamp::from_seconds(1'700'000'000));
  ASSERT_TRUE(publish(*writer, 1, 1));
  EXPECT_EQ(stats(*bus).first_time, stats(*bus).last_time);
}

TEST_F(EmbeddedBus, InASpoolAgeRemovesOnlyWhatWasRead) {
  constexpr std::int64_t kSecond = 1'000'000'000;
  ManualClock clock(Timestamp::from_seconds(1'700'000'000));
  auto o = options();
  o.keep_unread = true;
  o.clock = &clock;
  auto bus = open(o);
  ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1, .retention_ns = 60 * kSecond}));
  auto writer = publisher(*bus, Durability::kInterval);
  ASSERT_TRUE(publish(*writer, 0, 100));
  const auto later = [&] {
    clock.advance(61 * kSecond);
    ASSERT_TRUE(bus->trim());
  };
  later();
  EXPECT_EQ(stats(*bus).messages, 100u);  // no group has begun
  SubscriptionOptions so;
  so.patterns = {kTopic};
  so.group = "forward";
  auto reader = bus->subscribe(so);
  later();
  EXPECT_EQ(stats(*bus).messages, 100u);  // not acknowledged
  auto got = (*reader)->poll(1000, 1 << 20, 0);
  ASSERT_TRUE(got);
  ASSERT_EQ(got->size(), 100u);
  ASSERT_TRUE((*reader)->acknowledge(kTopic, 0, got->back().position));
  later();
  EXPECT_EQ(stats(*bus).messages, 0u);
  EXPECT_EQ(stats(*bus).groups.at(0).trimmed_unread, 0u);
}

TEST_F(EmbeddedBus, ASpoolRefusesInsteadOfRemovingWhatIsUnread) {
  auto o = options();
  o.keep_unread = true;
  o.segment_bytes = 256 * 1024;
  auto bus = open(o);
  ASSERT_TRUE(bus->configure_topic(kTopic, {.partitions = 1, .retention_bytes = 2 << 20}));
  SubscriptionOptions so;
  so.patterns = {kTopic};
  so.group = "drain";
  auto reader = bus->subscribe(so);
  auto writer = publisher(*bus, Durability::kInterval);
  int published = 0;
  Status status;
  for (int i = 0; i < 1000 && status; ++i) {
    status = publish(*writer, published, 100, {1000});
    if (status) published += 100;
  }
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, Code::kFull);
  EXPECT_TRUE(status.error().retryable);
  EXPECT_EQ(stats(*bus).groups.at(0).trimmed_unread, 0u);
  int read = 0;
  for (;;) {
    auto got = (*reader)->poll(1000, 1 << 20, 0);
    ASSERT_TRUE(got);
    if (got->empty()) break;
    read += static_cast<int>(got->size());
    ASSERT_TRUE((*reader)->acknowledge(kTopic, 0, got->back().position));
  }
  EXPECT_EQ(read, published);
  EXPECT_TRUE(publish(*writer, published, 100, {1000})) << "drained, it takes messages again";
}

// ---- groups ----

TEST_F(EmbeddedBus, AMessageThatKillsItsReadersShowsAGrowingAttempt) {
  ManualClock clock(Timestamp::from_seconds(1'800'000'000));
  auto o = options();
  o.clock = &clock;
  auto bus = open(o);
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 1));
  std::vector<std::unique_ptr<Subscription>> dead;  // silent from now on, as if killed
  std::uint32_t last = 0;
  for (int i = 0; i < 5; ++i) {
    SubscriptionOptions so;
    so.patterns = {kTopic};
    so.group = "g";
    so.member = "m" + std::to_string(i);
    so.lease_ns = 1000;
    auto reader = bus->subscribe(so);
    ASSERT_TRUE(reader);
    const auto got = (*reader)->poll(10, 1000, 0);
    ASSERT_TRUE(got);
    ASSERT_EQ(got->size(), 1u);
    last = (*got)[0].attempt;
    dead.push_back(std::move(*reader));
    clock.advance(2000);
  }
  EXPECT_GE(last, 3u);
}

// ---- processes ----

TEST_F(EmbeddedBus, ReadersOfDeadProcessesAreClearedAndTheirPagesReused) {
  struct Setup {
    SharedPage page;
    CheckpointFile checkpoints;
    std::unique_ptr<Environment> environment;
  };
  const auto open_environment = [&](Setup& setup) {
    ASSERT_TRUE(setup.page.open((root_ / "state").string(), [](void* p) {
      auto* state = new (p) SyncState;
      state->mutex.initialize();
      state->store.initialize();
    }));
    ASSERT_TRUE(setup.checkpoints.open((root_ / "checkpoint").string()));
    EnvironmentOptions o;
    o.path = (root_ / "e.mdb").string();
    o.map_bytes = 64 << 20;
    o.sync = setup.page.as<SyncState>();
    o.checkpoints = &setup.checkpoints;
    auto opened = Environment::open(o);
    ASSERT_TRUE(opened);
    setup.environment = std::move(*opened);
  };
  const auto put = [](Environment& environment, int times) {
    const std::string text(1000, 'x');
    for (int i = 0; i < times; ++i) {
      auto write = environment.begin_write();
      ASSERT_TRUE(write);
      MDB_val key{1, const_cast<char*>("k")};
      MDB_val value{text.size(), const_cast<char*>(text.data())};
      ASSERT_EQ(mdb_put(write->txn(), write->dbi(), &key, &value, 0), 0);
      ASSERT_TRUE(write->commit());
      ASSERT_TRUE(environment.sync());
    }
  };
  int ends[2];
  ASSERT_EQ(::pipe(ends), 0);
  const pid_t pid = ::fork();  // no thread runs in this process: no bus is open
  if (pid == 0) {
    Setup setup;
    open_environment(setup);
    put(*setup.environment, 1);
    auto read = setup.environment->begin_read();
    if (!read || ::write(ends[1], "r", 1) != 1) ::_exit(1);
    for (;;) ::pause();
  }
  char ready = 0;
  ASSERT_EQ(::read(ends[0], &ready, 1), 1);
  Setup setup;
  open_environment(setup);
  put(*setup.environment, 200);
  const std::uint64_t grown = setup.environment->used_bytes();
  EXPECT_GT(grown, 200u * 4096) << "a living reader keeps its pages";
  ::kill(pid, SIGKILL);
  ::waitpid(pid, nullptr, 0);
  setup.environment->clear_dead_readers();
  put(*setup.environment, 200);
  EXPECT_LE(setup.environment->used_bytes(), grown + 16 * 4096);
  ::close(ends[0]);
  ::close(ends[1]);
}

// ---- what users run into ----

TEST_F(EmbeddedBus, AFullDiskIsRetryableLosesNothingAndPasses) {
  auto bus = open(options());
  auto writer = publisher(*bus, Durability::kCommit);
  ASSERT_TRUE(publish(*writer, 0, 100, {1000}));
  int published = 100;
  {
    FileSizeLimit limit(4 << 20);  // stands for the disk's end
    Status status;
    for (int i = 0; i < 1000 && status; ++i) {
      status = publish(*writer, published, 100, {1000});
      if (status) published += 100;
    }
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kFull) << status.error().message;
    EXPECT_TRUE(status.error().retryable);
    EXPECT_NE(status.error().message.find(partition().string()), std::string::npos) << status.error().message;
    EXPECT_FALSE(publish(*writer, published, 100, {1000}));
    expect_numbers(read_all(*bus), published);  // nothing half-acknowledged, and readers go on
  }
  ASSERT_TRUE(publish(*writer, published, 100, {1000}));
  expect_numbers(read_all(*bus), published + 100);
}

TEST_F(EmbeddedBus, BadDirectoriesAreRefusedWithThePlaceAndTheCure) {
  auto o = options();
  o.directory = (root_ / "no" / "parent").string();
  auto bus = open_embedded_bus(o);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kNotFound);
  EXPECT_NE(bus.error().message.find(o.directory), std::string::npos);

  write_file(root_ / "file", "text");
  o.directory = (root_ / "file").string();
  bus = open_embedded_bus(o);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kInvalidArgument) << bus.error().message;

  fs::create_directory(root_ / "foreign");
  write_file(root_ / "foreign" / "thesis.tex", "text");
  o.directory = (root_ / "foreign").string();
  bus = open_embedded_bus(o);
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kInvalidArgument);
  EXPECT_NE(bus.error().message.find("thesis.tex"), std::string::npos);
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "foreign"), {}), 1) << "something was left there";

  EXPECT_FALSE(open_embedded_bus({}));
}

TEST_F(EmbeddedBus, AnotherVersionIsRefusedWithBothVersions) {
  open(options()).reset();
  write_file(root_ / "bus" / "format", "utp embedded bus 99\n");
  const auto bus = open_embedded_bus(options());
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kUnsupported);
  EXPECT_NE(bus.error().message.find("99"), std::string::npos);
}

TEST_F(EmbeddedBus, ADirectoryWithoutWritePermissionIsRefused) {
  if (::geteuid() == 0) GTEST_SKIP() << "permissions do not bind root";
  fs::create_directory(root_ / "bus");
  fs::permissions(root_ / "bus", fs::perms::owner_read | fs::perms::owner_exec);
  const auto bus = open_embedded_bus(options());
  ASSERT_FALSE(bus);
  EXPECT_EQ(bus.error().code, Code::kPermission);
}

TEST_F(EmbeddedBus, ABusInUseIsNotRecoveredUnderItsUsersFeet) {
  auto bus = open(options("bus", "boot-1"));
  ASSERT_TRUE(publish(*publisher(*bus, Durability::kCommit), 0, 1));
  const pid_t pid = ::fork();
  if (pid == 0) {
    // Another process with another idea of the machine's start. (No bus object of the parent is touched.)
    embedded_bus::FileLock alive;
    const bool alone = alive.open((root_ / "bus" / "alive.lock").string()) && alive.try_lock_exclusive();
    ::_exit(alone ? 1 : 0);
  }
  int status = 0;
  ::waitpid(pid, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

}  // namespace
}  // namespace utp
