#include "persist/persister.h"

#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <set>
#include <thread>

#include <gtest/gtest.h>
#include <sqlite3.h>

#include "core/random.h"
#include "persist/dlq.h"
#include "persist/test_chamber.h"

namespace utp {
namespace {

using persist_test::Chamber;
using persist_test::must;
using persist_test::Source;

constexpr std::string_view kQuotes = "utp.prod.local.quotes.v2";
const SystemClock kClock;

std::vector<DlqEntry> letters(Chamber& chamber) {
  Dlq dlq(chamber.bus.inner(), chamber.registry, kClock, {});
  return must(dlq.list({}));
}

TEST(Persister, StoresWhatIsOnTheBusAndAcknowledgesIt) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 100; ++i) source.quote("BTC-USD", i);
  for (int i = 0; i < 50; ++i) source.trade("ETH-USD", i, static_cast<std::uint64_t>(i));
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), 100u);
  EXPECT_EQ(chamber.rows("trades"), 50u);
  EXPECT_EQ(chamber.lag(), 0u);
  const PersisterStats stats = persister->stats();
  EXPECT_EQ(stats.messages, 150u);
  EXPECT_EQ(stats.stored, 150u);
  EXPECT_EQ(stats.duplicates, 0u);
  EXPECT_EQ(stats.dead_letters.letters, 0u);
  EXPECT_EQ(stats.last_event_time.ns, persist_test::kStartNs + 99);
  EXPECT_EQ(stats.last_commit, chamber.clock.now());
}

TEST(Persister, CutsBatchesByCount) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 95; ++i) source.quote("X", i);
  source.publish();
  PersisterOptions options = chamber.options();
  options.batch_events_max = 10;
  auto persister = chamber.persister(options);
  chamber.drain(*persister);
  EXPECT_EQ(persister->stats().batches, 10u);
  EXPECT_EQ(chamber.rows("quotes"), 95u);
}

TEST(Persister, GoesOnWhereItStopped) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  chamber.drain(*chamber.persister());
  source.quote("X", 2);
  source.publish();
  auto again = chamber.persister();
  chamber.drain(*again);
  EXPECT_EQ(again->stats().stored, 1u);
  EXPECT_EQ(again->stats().duplicates, 0u);
  EXPECT_EQ(chamber.rows("quotes"), 2u);
}

TEST(Persister, AddsNoRowForARedelivery) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 30; ++i) source.quote("X", i);
  source.publish();
  chamber.drain(*chamber.persister());
  PersisterOptions other = chamber.options();
  other.group = "second";
  auto persister = chamber.persister(other);
  chamber.drain(*persister);
  EXPECT_EQ(persister->stats().duplicates, 30u);
  EXPECT_EQ(chamber.rows("quotes"), 30u);
}

TEST(Persister, AcknowledgesNothingBeforeTheCommit) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (std::uint64_t i = 0; i < 20; ++i) source.trade("X", 100, i);
  source.publish();
  for (int i = 0; i < 3; ++i) chamber.store.write_errors.push_back({Code::kUnavailable, "locked", true});
  auto persister = chamber.persister();
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  EXPECT_EQ(chamber.lag(), 20u);
  EXPECT_EQ(persister->stats().last_error, "locked");
  EXPECT_EQ(chamber.store.writes, 1);
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  EXPECT_EQ(chamber.store.writes, 1) << "it waits before it tries again";
  const std::int64_t first_wait = persister->retry_time() - chamber.clock.monotonic_ns();
  chamber.clock.advance(first_wait);
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  EXPECT_EQ(persister->retry_time() - chamber.clock.monotonic_ns(), 2 * first_wait);
  chamber.drain(*persister);
  EXPECT_EQ(chamber.lag(), 0u);
  EXPECT_EQ(persister->stats().retries, 3u);
  EXPECT_EQ(persister->stats().last_error, "");
  EXPECT_EQ(chamber.sequences("trades/v2").size(), 20u);
}

TEST(Persister, StoresOnceWhenTheAnswerOfACommitIsLost) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 10; ++i) source.quote("X", i);
  source.publish();
  chamber.store.lost_answers.push_back({Code::kUnavailable, "connection lost", true});
  auto persister = chamber.persister();
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), 10u);
  EXPECT_EQ(persister->stats().duplicates, 10u);
}

TEST(Persister, WaitsForALockedDatabase) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  auto persister = chamber.persister();
  chamber.drain(*persister);
  sqlite3* other = nullptr;
  ASSERT_EQ(sqlite3_open((chamber.folder / "store.db").c_str(), &other), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  source.quote("X", 2);
  source.publish();
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  EXPECT_NE(persister->stats().last_error.find("locked"), std::string::npos);
  sqlite3_close(other);
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), 2u);
}

TEST(Persister, LosesNothingWhenTheStoreIsFull) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  constexpr int kEvents = 3000;
  for (int i = 0; i < kEvents; ++i) source.quote("X", i);
  source.publish();
  const std::string path = chamber.folder / "small.db";
  chamber.store.replace(must(open_sqlite_store({.path = path, .size_bytes_max = 200'000})));
  PersisterOptions options = chamber.options();
  options.batch_events_max = 100;
  auto persister = chamber.persister(options);
  Persister::Turn turn = Persister::Turn::kDone;
  while (turn == Persister::Turn::kDone) turn = must(persister->step());
  ASSERT_EQ(turn, Persister::Turn::kWaiting);
  const std::uint64_t stored = chamber.rows("quotes");
  EXPECT_GT(stored, 0u);
  EXPECT_EQ(chamber.lag(), kEvents - stored);
  // A person makes room: the same file without the limit.
  chamber.store.replace(nullptr);
  chamber.store.replace(must(open_sqlite_store({.path = path})));
  must(chamber.store.prepare(chamber.registry.by_event_type("quotes/v2")));
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), static_cast<std::uint64_t>(kEvents));
  EXPECT_EQ(chamber.lag(), 0u);
}

TEST(Persister, StopsWithTheErrorThatAPersonMustMend) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  chamber.store.write_errors.push_back({Code::kCorrupt, "damaged", false});
  auto persister = chamber.persister();
  const auto turn = persister->step();
  ASSERT_FALSE(turn);
  EXPECT_EQ(turn.error().code, Code::kCorrupt);
  EXPECT_EQ(chamber.lag(), 1u);
}

TEST(Persister, DeadLettersWhatCannotBeReadAndStoresTheRest) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  source.publish_bytes(kQuotes, "{\"v\":1,");
  source.quote("X", 2);
  source.publish();
  source.quote("X", 3);
  std::string changed = source.take()[0];
  changed.replace(changed.find("\"bid\":0.04"), 10, "\"bid\":9.99");
  source.publish_bytes(kQuotes, changed);
  source.quote("X", 4);
  std::string newer = source.take()[0];
  newer.replace(newer.find("quotes/2.0.0"), 12, "quotes/2.7.0");
  source.publish_bytes(kQuotes, newer);
  source.quote("X", 5);
  source.publish();

  auto persister = chamber.persister();
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), 3u);
  EXPECT_EQ(chamber.lag(), 0u);
  EXPECT_EQ(persister->stats().dead_letters.written, 3u);
  const auto found = letters(chamber);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_EQ(found[0].code, "json");
  EXPECT_EQ(found[1].code, "checksum");
  EXPECT_EQ(found[2].code, "schema_unknown");
  for (const DlqEntry& letter : found) {
    EXPECT_EQ(letter.stage, "read");
    EXPECT_EQ(letter.origin_topic, kQuotes);
    EXPECT_EQ(letter.dlq_topic, std::string(kQuotes) + ".dlq");
    EXPECT_TRUE(letter.origin_position);
    EXPECT_TRUE(letter.complete);
  }
  Dlq dlq(chamber.bus.inner(), chamber.registry, kClock, {});
  EXPECT_EQ(must(dlq.show(found[0].id)).original, "{\"v\":1,");
  EXPECT_EQ(must(dlq.show(found[2].id.substr(0, 12))).original, newer);
}

TEST(Persister, DeadLettersTheRowsThatTheStoreNames) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  Source stranger(chamber.bus, chamber.registry, "other");
  stranger.quote("X", 2);
  source.publish_bytes(kQuotes, stranger.take()[0]);  // another realm's event in this topic
  auto persister = chamber.persister();
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), 1u);
  EXPECT_EQ(chamber.lag(), 0u);
  const auto found = letters(chamber);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].stage, "store");
  EXPECT_EQ(found[0].connector, "venue.us1");
  EXPECT_EQ(found[0].event_type, "quotes/v2");
}

TEST(Persister, AcknowledgesNothingWhileDeadLettersCannotBePublished) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.publish_bytes(kQuotes, "broken");
  auto persister = chamber.persister();
  chamber.bus.faults.publish_errors.assign(2, {Code::kFull, "bus full", true});
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  EXPECT_EQ(chamber.lag(), 1u);
  chamber.drain(*persister);
  EXPECT_EQ(chamber.lag(), 0u);
  EXPECT_EQ(letters(chamber).size(), 1u);
  EXPECT_EQ(persister->stats().dead_letters.letters, 1u);
}

TEST(Persister, CapsAFloodOfDeadLettersAndCountsTheRest) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 50; ++i) source.publish_bytes(kQuotes, "broken " + std::to_string(i));
  PersisterOptions options = chamber.options();
  options.dead_letters.flood_per_minute = 5;
  options.dead_letters.overflow = overflow_file(chamber.folder / "overflow.jsonl", 1 << 20);
  auto persister = chamber.persister(options);
  chamber.drain(*persister);
  EXPECT_EQ(letters(chamber).size(), 5u);
  EXPECT_EQ(persister->stats().dead_letters.overflowed, 45u);
  EXPECT_EQ(chamber.lag(), 0u);
}

TEST(Persister, AcknowledgesNoLetterThatFindsNoPlace) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 8; ++i) source.publish_bytes(kQuotes, "broken " + std::to_string(i));
  PersisterOptions options = chamber.options();
  options.dead_letters.flood_per_minute = 5;  // and no overflow
  auto persister = chamber.persister(options);
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  EXPECT_EQ(chamber.lag(), 8u) << "what would be lost is acknowledged";
  EXPECT_EQ(letters(chamber).size(), 5u);
  EXPECT_EQ(persister->stats().dead_letters.letters, 5u);
  EXPECT_EQ(persister->stats().dead_letters.dropped, 0u);
  EXPECT_NE(persister->stats().last_error.find("overflow"), std::string::npos) << persister->stats().last_error;
  chamber.drain(*persister);  // the next minute takes the rest
  EXPECT_EQ(chamber.lag(), 0u);
  EXPECT_EQ(letters(chamber).size(), 8u);
  EXPECT_EQ(persister->stats().dead_letters.written, 8u) << "none twice";
  EXPECT_EQ(persister->stats().dead_letters.letters, 8u);
}

TEST(Persister, GivesUpABatchWhoseLeaseIsGoneAndReadsItAgain) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 10; ++i) source.quote("X", i);
  source.publish();
  chamber.bus.faults.acknowledge_errors.push_back({Code::kFenced, "another member took the lease", false});
  auto persister = chamber.persister();
  chamber.drain(*persister);
  EXPECT_EQ(persister->stats().fenced, 1u);
  EXPECT_EQ(persister->stats().duplicates, 10u);
  EXPECT_EQ(chamber.rows("quotes"), 10u);
  EXPECT_EQ(chamber.lag(), 0u);
}

TEST(Persister, TriesAnAcknowledgementAgainWithoutWritingTwice) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  chamber.bus.faults.acknowledge_errors.assign(2, {Code::kUnavailable, "bus away", true});
  auto persister = chamber.persister();
  chamber.drain(*persister);
  EXPECT_EQ(chamber.store.writes, 1);
  EXPECT_EQ(chamber.lag(), 0u);
}

TEST(Persister, WaitsForABusThatIsAway) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  source.quote("X", 1);
  source.publish();
  chamber.bus.faults.poll_errors.push_back({Code::kUnavailable, "bus away", true});
  auto persister = chamber.persister();
  EXPECT_EQ(must(persister->step()), Persister::Turn::kWaiting);
  chamber.drain(*persister);
  EXPECT_EQ(chamber.rows("quotes"), 1u);
}

TEST(Persister, RefusesOptionsThatCannotWork) {
  Chamber chamber;
  PersisterOptions options = chamber.options();
  options.patterns.clear();
  EXPECT_EQ(Persister::create(chamber.bus, chamber.store, chamber.registry, chamber.clock, options).error().code, Code::kInvalidArgument);
  options = chamber.options();
  options.batch_bytes_max = 1000;
  EXPECT_EQ(Persister::create(chamber.bus, chamber.store, chamber.registry, chamber.clock, options).error().code, Code::kInvalidArgument);
}

TEST(PersisterRunner, DrainsWhatIsThereAndStops) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  SystemClock clock;
  PersisterOptions options = chamber.runner_options();
  options.batch_events_max = 100;
  auto persister = must(Persister::create(chamber.bus, chamber.store, chamber.registry, clock, options));
  PersisterRunner runner(*persister);
  runner.start();
  for (int round = 0; round < 5; ++round) {
    for (int i = 0; i < 1000; ++i) source.quote("X", round * 1000 + i);
    source.publish();
    ASSERT_TRUE(runner.drain(30'000'000'000));
    EXPECT_EQ(chamber.lag(), 0u);
    EXPECT_EQ(persister->stats().stored, static_cast<std::uint64_t>(round + 1) * 1000);
  }
  EXPECT_TRUE(runner.stop());
  EXPECT_FALSE(runner.running());
}

TEST(PersisterRunner, DrainDoesNotWaitForWhatComesLater) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 100; ++i) source.quote("X", i);
  source.publish();
  SystemClock clock;
  auto persister = must(Persister::create(chamber.bus, chamber.store, chamber.registry, clock, chamber.runner_options()));
  PersisterRunner runner(*persister);
  runner.start();
  std::atomic<bool> done{false};
  std::thread other([&] {
    for (int i = 100; !done; ++i) {
      source.quote("X", i);
      source.publish();
      ::usleep(1000);
    }
  });
  EXPECT_TRUE(runner.drain(30'000'000'000));
  EXPECT_GE(persister->stats().stored, 100u);
  done = true;
  other.join();
  EXPECT_TRUE(runner.stop());
}

TEST(PersisterRunner, DrainWaitsForWhatTheLeaseOfADeadMemberHoldsBack) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  for (int i = 0; i < 100; ++i) source.quote("X", i);
  source.publish();
  // Takes the lease, and is never heard of again.
  auto dead = must(chamber.bus.subscribe({.patterns = chamber.options().patterns, .group = chamber.options().group, .lease_ns = 300'000'000}));
  ASSERT_FALSE(must(dead->poll(10, 1 << 20, 1'000'000'000)).empty());
  SystemClock clock;
  auto persister = must(Persister::create(chamber.bus, chamber.store, chamber.registry, clock, chamber.runner_options()));
  PersisterRunner runner(*persister);
  runner.start();
  ASSERT_TRUE(runner.drain(30'000'000'000));
  EXPECT_EQ(chamber.lag(), 0u);
  EXPECT_TRUE(runner.stop());
  EXPECT_EQ(chamber.rows("quotes"), 100u);
}

TEST(PersisterRunner, RetriesInOrderAndEndsWithTheErrorThatStaysWrong) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  SystemClock clock;
  chamber.store.write_errors = {{Code::kUnavailable, "locked", true}, {Code::kFull, "full", true}};
  PersisterOptions options = chamber.runner_options();
  options.retry_wait_min_ms = 1;
  auto persister = must(Persister::create(chamber.bus, chamber.store, chamber.registry, clock, options));
  PersisterRunner runner(*persister);
  for (int i = 0; i < 10; ++i) source.quote("X", i);
  source.publish();
  runner.start();
  ASSERT_TRUE(runner.drain(30'000'000'000));
  EXPECT_EQ(persister->stats().retries, 2u);
  EXPECT_EQ(persister->stats().stored, 10u);
  ASSERT_TRUE(runner.stop());

  chamber.store.write_errors = {{Code::kCorrupt, "damaged", false}};
  PersisterRunner second(*persister);
  source.quote("X", 99);
  source.publish();
  second.start();
  EXPECT_FALSE(second.drain(30'000'000'000));
  const Status status = second.stop();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().message, "damaged");
  EXPECT_EQ(chamber.lag(), 1u);
}

TEST(PersisterRunner, GivesUpTheBatchReadAheadWhenTheLeaseIsGone) {
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  SystemClock clock;
  for (int i = 0; i < 1000; ++i) source.quote("X", i);
  source.publish();
  chamber.bus.faults.acknowledge_errors.push_back({Code::kFenced, "taken", false});
  PersisterOptions options = chamber.runner_options();
  options.batch_events_max = 100;
  auto persister = must(Persister::create(chamber.bus, chamber.store, chamber.registry, clock, options));
  PersisterRunner runner(*persister);
  runner.start();
  ASSERT_TRUE(runner.drain(30'000'000'000));
  EXPECT_TRUE(runner.stop());
  EXPECT_EQ(chamber.rows("quotes"), 1000u);
  EXPECT_EQ(persister->stats().fenced, 1u);
  EXPECT_EQ(chamber.lag(), 0u);
}

// A persister in a process of its own is killed at random instants while this one publishes; what the bus took is in the
// store in the end, once.
TEST(PersisterProcess, StoresEverythingOnceThoughItIsKilled) {
  const char* seed_text = std::getenv("UTP_SEED");
  const std::uint64_t seed = seed_text != nullptr ? std::strtoull(seed_text, nullptr, 10) : 20261122;
  const char* kills_text = std::getenv("UTP_KILLS");
  const int kills = kills_text != nullptr ? std::atoi(kills_text) : 6;
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::printf("seed %llu, %d kills\n", static_cast<unsigned long long>(seed), kills);
  Random random(seed);
  Chamber chamber;
  Source source(chamber.bus, chamber.registry);
  const std::string bus_path = chamber.folder / "bus";
  const std::string store_path = chamber.folder / "child.db";
  const std::string program = std::string(UTP_BINARY_DIR) + "/bin/persist_child";

  std::uint64_t published = 0;
  const auto publish_some = [&] {
    for (int i = 0; i < 500; ++i, ++published) source.trade("X", static_cast<std::int64_t>(published), published);
    source.publish_bytes(kQuotes, "broken " + std::to_string(published));
    source.publish();
  };
  const auto start = [&](const char* mode) {
    const pid_t child = ::fork();
    if (child == 0) {
      ::execl(program.c_str(), program.c_str(), bus_path.c_str(), store_path.c_str(), mode, nullptr);
      ::_exit(127);
    }
    return child;
  };
  for (int kill = 0; kill < kills; ++kill) {
    const pid_t child = start("forever");
    ASSERT_GT(child, 0);
    // The instant: after some batches of ours, and up to 30 ms more, in the middle of its own.
    for (std::int64_t i = random.between(1, 10); i > 0; --i) publish_some();
    ::usleep(static_cast<useconds_t>(random.below(30'000)));
    ::kill(child, SIGKILL);
    int state = 0;
    ::waitpid(child, &state, 0);
    ASSERT_TRUE(WIFSIGNALED(state)) << "the child ended by itself: " << state;
  }
  publish_some();
  const pid_t last = start("drain");
  int state = 0;
  ::waitpid(last, &state, 0);
  ASSERT_TRUE(WIFEXITED(state) && WEXITSTATUS(state) == 0) << state;

  chamber.store.replace(must(open_sqlite_store({.path = store_path, .read_only = true})));
  const auto sequences = chamber.sequences("trades/v2");
  EXPECT_EQ(sequences.size(), published);
  EXPECT_EQ(std::set<std::uint64_t>(sequences.begin(), sequences.end()).size(), published);
  EXPECT_EQ(chamber.rows("trades"), published);
  EXPECT_EQ(chamber.lag(), 0u);
  EXPECT_EQ(letters(chamber).size(), published / 500);
}

}  // namespace
}  // namespace utp
