// Persister: bus to store. Reads batches, writes each in one transaction, and acknowledges only what is committed. What the
// store or the schemas refuse goes to the dead letters of its topic first, and is acknowledged then. What may pass (a locked
// database, a full disk, a bus that is away, a flood of dead letters that its overflow cannot take) is tried again, in order,
// for ever: it costs lag, nothing else.
//
// Persister has no thread: step() does one turn, and a simulation can drive it. PersisterRunner is the loop of a real
// process; it reads the next batch while the store commits the one before.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "bus/bus.h"
#include "core/clock.h"
#include "core/result.h"
#include "normalize/dead_letter.h"
#include "schema/registry.h"
#include "store/store.h"

namespace utp {

struct PersisterOptions {
  std::vector<std::string> patterns;      // topics; events without a table are acknowledged and counted as skipped
  std::string group = "persister";
  std::string member;                     // "" = made up by the bus
  std::int64_t lease_ns = 10'000'000'000;
  std::size_t batch_events_max = 5'000;   // past it a transaction costs little less per row, and a retry more
  std::size_t batch_bytes_max = 8u << 20; // of messages; rows in memory take about three times as much
  std::int64_t batch_wait_ms = 100;       // how long a batch that is not full waits for more
  std::int64_t idle_wait_ms = 250;        // how long one poll of an idle bus blocks
  std::int64_t retry_wait_min_ms = 100;   // doubles up to the next
  std::int64_t retry_wait_max_ms = 5'000;
  std::int64_t lag_refresh_ms = 1'000;
  Durability dead_letter_durability = Durability::kCommit;
  DeadLetterOptions dead_letters;
};

struct PersisterStats {
  std::uint64_t messages = 0;      // taken from the bus, redeliveries included
  std::uint64_t stored = 0;        // events committed for the first time
  std::uint64_t duplicates = 0;    // were there already
  std::uint64_t skipped = 0;       // of types without a table
  std::uint64_t batches = 0;
  std::uint64_t retries = 0;
  std::uint64_t fenced = 0;        // batches given up because another member took the lease
  std::uint64_t lost = 0;          // messages that retention or a loss took before they were read
  DeadLetterStats dead_letters;
  std::uint64_t lag = 0;           // messages of the group not acknowledged, at the last refresh
  Timestamp oldest_unread;         // publish time of the oldest of them, 0 when none
  Timestamp last_commit;
  Timestamp last_event_time;       // newest event time committed
  std::string last_error;          // why it waits now; "" when it does not
};

// Belongs to one thread; stats() may be called from any. Everything given must outlive it.
class Persister {
 public:
  static Result<std::unique_ptr<Persister>> create(Bus& bus, Store& store, const Registry& registry, const Clock& clock,
                                                   PersisterOptions options);
  ~Persister();

  enum class Turn : std::uint8_t {
    kIdle,     // nothing was there
    kDone,     // a batch went all the way
    kWaiting,  // something that may pass failed; step() does nothing before retry_time()
  };
  // An error means that a person is needed: a table that cannot be made, a damaged database. Nothing was acknowledged.
  Result<Turn> step();
  std::int64_t retry_time() const;  // by Clock::monotonic_ns()

  PersisterStats stats() const;
  void interrupt();  // any thread: ends a blocking poll
  // What was on the bus at a moment: the newest publish time by topic.
  using Mark = std::map<std::string, Timestamp, std::less<>>;
  Result<Mark> mark() const;                         // any thread
  // Whether the group, other members included, has acknowledged all that was there.
  Result<bool> has_reached(const Mark& mark) const;  // any thread
  std::int64_t idle_wait_ns() const { return options_.idle_wait_ms * 1'000'000; }

  // The parts of a step, for a runner that overlaps them. fill() and finish() belong to one thread, write() may run on
  // another while the first fills the other batch.
  class Batch;
  std::unique_ptr<Batch> make_batch();
  // Reads and decodes up to a batch, into one that may hold messages already. Waits at most `wait_ns` for the first message;
  // `collect`: waits for more until the batch is full or batch_wait_ms old. False: the batch is empty.
  Result<bool> fill(Batch& batch, std::int64_t wait_ns, bool collect);
  bool full(const Batch& batch) const;
  void make_ready(Batch& batch);  // optional, before write(): for the thread that fills
  Status write(Batch& batch);
  // After write(): publishes the dead letters and acknowledges. kFenced: all batches in hand are void, call rejoin().
  Status finish(Batch& batch);
  Status rejoin();
  void note_retry(const Error& error);
  std::int64_t backoff_ns();  // doubles with each call
  void note_progress();       // resets the backoff

 private:
  Persister(Bus& bus, Store& store, const Registry& registry, const Clock& clock, PersisterOptions options);
  Status write_dead_letters(Batch& batch);
  Status acknowledge(Batch& batch);
  Result<Turn> turn();
  void take_lost();
  void refresh_lag();
  template <class F>
  Status for_each_topic(F take) const;
  template <class F>
  void update(F change);

  Bus& bus_;
  Store& store_;
  const Clock& clock_;
  PersisterOptions options_;
  EventReader reader_;
  std::unique_ptr<Subscription> subscription_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<DeadLetterWriter> dead_letters_;
  std::vector<std::shared_ptr<const Plan>> plans_;
  std::unordered_set<const Plan*> prepared_;
  std::unique_ptr<Batch> batch_;  // of step()
  std::int64_t retry_time_ = 0;
  std::int64_t backoff_ns_ = 0;
  std::int64_t lag_time_ = 0;
  mutable std::mutex mutex_;  // guards stats_
  PersisterStats stats_;
  std::uint64_t letters_waiting_ = 0;  // add() calls of the writer for letters that found no place, and come again
};

// Runs a persister on two threads: one talks to the bus and decodes, one to the store. Full batches queue up before the store,
// so that it never waits for the bus while there is a backlog.
class PersisterRunner {
 public:
  explicit PersisterRunner(Persister& persister);
  ~PersisterRunner();  // stops

  void start();
  // Ends after the batches in hand; what it was waiting to retry stays unacknowledged. Returns the error that ended it before,
  // if there was one.
  Status stop();
  // Waits until everything that was on the bus at the mark (at the call) is committed; what comes later is not waited for.
  // False at the timeout, or when it has ended.
  bool drain(const Persister::Mark& mark, std::int64_t timeout_ns);
  bool drain(std::int64_t timeout_ns);
  bool running() const;

 private:
  using BatchPointer = std::unique_ptr<Persister::Batch>;

  void run_bus();
  void run_store();
  Status loop();
  Status loop_idle(Result<bool> filled);
  void submit();
  Status settle_oldest();
  Status finish_oldest();
  Status give_up_all();
  bool pause(std::int64_t ns);

  Persister& persister_;
  std::thread bus_thread_, store_thread_;

  // Of the bus thread.
  BatchPointer filling_;
  std::deque<BatchPointer> flying_;  // submitted, oldest first
  std::vector<BatchPointer> free_;

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<Persister::Batch*> queue_;  // for the store thread; the front one is being written when writing_
  bool writing_ = false;
  std::size_t written_ = 0;       // committed, not yet seen by the bus thread
  std::optional<Error> failed_;   // of the front of queue_; the store thread waits until it is taken
  bool stopping_ = false;
  bool ended_ = true;
  Status status_;
};

}  // namespace utp
