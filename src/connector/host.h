// ConnectorInstance: one configured connector at work. Collector thread -> frame queue -> mapper -> normalizer -> bus, with the
// manifest's limits, a watchdog for silence, and a status record.
//
// Failure rules. When the bus does not take messages, publishing is tried again with backoff; meanwhile events wait (and conflate
// where their schema allows it) up to queue.events_bytes, then frames wait up to queue.frames_bytes, then the collector waits,
// which holds the venue back. When that lasts, or the bus fills up, the collector is asked for a thinner subscription
// (Collector::thin), and for the full one a good while after it is over. A source that cannot wait for ever (Collector::can_wait) is held back for hold_back_max_ns; then
// its stream stops: frames are dropped and counted, and once the bus takes messages again a gap event says how many and from
// when to when, and the connections are made anew.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "bus/bus.h"
#include "connector/collector.h"
#include "connector/frame_queue.h"
#include "connector/manifest.h"
#include "connector/pipeline.h"
#include "connector/rate_limit.h"
#include "core/random.h"

namespace utp {

struct InstanceOptions {
  Manifest manifest;
  std::string source_id;                 // "" = the manifest's id
  std::string realm, region;             // "" = the manifest's
  std::vector<std::string> channels;     // empty = the manifest's defaults
  std::vector<std::string> symbols;
  bool replay = false;                   // the mapper wants everything that a capture holds
  std::string endpoint;                  // "" = the manifest's, else the connector's own
  std::string settings_json;             // laid over the manifest's settings
  std::string ca_file;
  std::uint64_t seed = 0;
  std::map<std::string, std::string> secrets;  // Manifest::read_secrets
  PublisherOptions publisher;
  std::uint32_t partitions = 1;          // of its topics, where they are new
  std::string dead_letter_overflow_file; // "" = letters past the cap are only counted
  std::uint64_t dead_letter_overflow_bytes = 64u << 20;
  std::int64_t hold_back_max_ns = 5'000'000'000;
  std::int64_t thin_after_ns = 2'000'000'000;   // of pressure: more than a hiccup, and before frames are dropped
  std::int64_t full_after_ns = 30'000'000'000;  // without pressure: so late that the subscription does not flap
  std::int64_t stop_grace_ns = 5'000'000'000;  // for what is in the queues when it is stopped
};

enum class InstanceState : std::uint8_t { kStarting, kUp, kDegraded, kDown, kStopped };
std::string_view to_string(InstanceState state);

struct InstanceStatus {
  std::string source_id, connector, realm, region;
  InstanceState state = InstanceState::kStarting;
  std::string detail;          // why it is not up, "" when it is
  Timestamp started, last_ok;  // last_ok: last frame with data (heartbeats are none) whose events the bus has
  std::uint64_t lag = 0;       // frames and events that were received and are not on the bus yet
  PipelineCounts counts;
  std::uint64_t reconnects = 0;
  std::uint32_t connections = 0, connections_open = 0;
  std::uint32_t wanted = 0, confirmed = 0, stale = 0;  // streams
  std::size_t queue_frames_bytes = 0, queue_events_bytes = 0;
  std::uint64_t held_back_ns = 0;  // time that the collector has waited for the queue
  std::uint32_t thinned = 0;         // streams that are subscribed thinner now, because the bus is behind
  std::uint64_t dropped_frames = 0;  // that no queue had room for; gap events tell them
  DeadLetterStats dead_letters;
};
// One JSON object, as the health page and --json show it.
std::string to_json(const InstanceStatus& status);

// What a driver of the pipeline that is not live (replay, capture, tests) builds the same way: mapper, collector and routes of
// a manifest.
Result<std::unique_ptr<Mapper>> make_mapper(const InstanceOptions& options, const BuiltinConnector* builtin);
// Null for a connector that has no collector. `symbols` and the clock outlive it.
Result<std::unique_ptr<Collector>> make_collector(const InstanceOptions& options, const BuiltinConnector* builtin, SymbolMap& symbols,
                                                  const Clock& clock);
PipelineOptions pipeline_options(const InstanceOptions& options);
// Creates the pipeline's topics with their plans' retention.
Status configure_topics(Bus& bus, const Pipeline& pipeline, std::uint32_t partitions);

class ConnectorInstance {
 public:
  // `builtin` is needed for builtin: entry points. Registry, clock and bus outlive the instance.
  static Result<std::unique_ptr<ConnectorInstance>> create(InstanceOptions options, const BuiltinConnector* builtin,
                                                           const Registry& registry, const Clock& clock, Bus& bus);
  ~ConnectorInstance();  // stops

  // Runs collector and host on threads of their own until stop(), or until the collector comes to its end.
  void start();
  // Ends the collector, publishes what is in the queues (within stop_grace_ns), waits for the threads. Any thread, repeatable.
  void stop();
  // The collector came to its end and everything is published.
  bool finished() const { return finished_; }
  InstanceStatus status() const;  // any thread
  void reconnect(std::uint32_t connection, const std::string& reason);  // any thread; what an operator may ask for
  // Any thread. True: the bus fills up, so that what may be conflated is, though the bus still takes messages; when it lasts, the
  // source is thinned.
  void set_backlog(bool backlog) { backlog_ = backlog; }

  // For tests and simulations, instead of start(): what the threads would do. step() works on the frames that are there and
  // waits at most `wait_ns` for one; true when it had any.
  FrameQueue& queue() { return queue_; }
  bool step(std::int64_t wait_ns);
  // Everything in the queues is on the bus.
  bool drained() const { return queue_.bytes() == 0 && pipeline_->empty(); }
  void collector_ended(const Status& status);

 private:
  ConnectorInstance(InstanceOptions options, const Clock& clock);
  void run_host();
  void publish(std::int64_t now_ns);
  void update_status(std::int64_t now_ns, bool always);
  InstanceState judge(Timestamp now, std::string& detail) const;
  void check_flow(std::int64_t now_ns);
  void check_thinning(bool pressure, std::int64_t now_ns);
  bool drops(const Frame& frame);
  void report_dropped();

  const InstanceOptions options_;
  const std::string name_;  // the source id, for the log
  const Clock& clock_;
  FrameQueue queue_;
  std::unique_ptr<Publisher> publisher_;
  std::unique_ptr<StreamWatch> watch_;
  std::unique_ptr<Pipeline> pipeline_;
  std::unique_ptr<SymbolMap> symbols_;
  std::unique_ptr<Collector> collector_;
  TokenBucket events_;
  Random random_;

  // Of the host thread.
  std::int64_t batch_since_ns_ = 0;       // 0 = nothing waits
  std::int64_t next_publish_ns_ = 0;      // after a failure
  std::int64_t failing_since_ns_ = 0;     // 0 = the bus takes messages
  unsigned publish_attempt_ = 0;
  std::string publish_error_;
  std::int64_t next_check_ns_ = 0, next_status_ns_ = 0;
  Timestamp last_frame_time_, started_, last_ok_, connected_;
  // The stream has stopped: see the failure rules.
  bool shedding_ = false;
  std::int64_t full_since_ns_ = 0;        // both queues are full; 0 = they are not
  std::int64_t shed_end_ns_ = 0;
  std::uint64_t dropped_ = 0, dropped_reported_ = 0;
  Timestamp dropped_from_, dropped_to_;
  std::unordered_set<std::uint32_t> opened_, skipped_;  // connections that were ever open; that lost frames since they opened
  bool pressure_ = false;                 // as step() saw it last
  std::int64_t pressure_turned_ns_ = 0;   // it began, or ended
  bool thin_ = false;                     // what the collector was asked for
  std::uint32_t thinned_ = 0;
  bool recording_ = false;                // the frames are old: a capture is played, and silence means nothing

  std::atomic<bool> backlog_{false};
  std::atomic<bool> stopping_{false}, collector_done_{false}, finished_{false};
  std::atomic<std::int64_t> stop_deadline_ns_{0};
  mutable std::mutex mutex_;  // status_, collector_error_
  InstanceStatus status_;
  std::string collector_error_;
  std::mutex lifecycle_;
  std::thread collector_thread_, host_thread_;
};

}  // namespace utp
