// Pipeline: frames through a mapper and the normalizer to the bus. The host drives it live, a replay drives it from a file.
//
// Events wait in one outbound batch until flush(). Under pressure (the bus is slow or away) events whose schema allows it are
// conflated there: the newest of a symbol takes the place of those before it, marked and counted. Everything else waits, and
// full() tells the driver to stop feeding. Without pressure conflation costs one branch per event.
//
// Not thread-safe. Registry, clock and publisher outlive it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "bus/bus.h"
#include "connector/latency.h"
#include "connector/mapper.h"
#include "connector/open_counter.h"
#include "connector/stream_watch.h"
#include "core/clock.h"
#include "normalize/dead_letter.h"
#include "normalize/normalizer.h"

namespace utp {

struct PipelineOptions {
  std::string source_id;
  std::string realm = "prod";
  std::string region = "local";
  std::vector<std::shared_ptr<const Plan>> plans;  // routes, in the manifest's order
  std::int64_t lateness_ns = 5'000'000'000;
  std::size_t batch_events = 1000;             // of one publish
  std::size_t batch_bytes = 1u << 20;
  std::size_t outbound_bytes_max = 8u << 20;   // waiting for the bus: full() beyond it
  std::uint32_t dead_letters_per_minute = 100; // per code and path
  DeadLetterOverflow dead_letter_overflow;     // takes the rest
  std::function<void(Command)> commands;       // none: commands are counted and dropped (a replay)
};

struct PipelineCounts {
  std::uint64_t frames = 0;
  std::uint64_t frame_bytes = 0;
  std::vector<std::pair<std::string, std::uint64_t>> events;  // by event type; events of the platform come last
  std::uint64_t events_total = 0;
  std::uint64_t published = 0;     // messages that the bus has taken, dead letters not among them
  std::uint64_t rejects = 0;       // frames or parts of frames that went to the dead letters
  std::uint64_t gaps = 0;
  std::uint64_t conflated = 0;     // events that a newer one replaced
  std::uint64_t commands = 0;
  std::uint64_t publish_failures = 0;
  std::uint64_t latency_samples = 0;  // of the last 10 to 20 seconds; without any the quantiles say nothing
  std::int64_t latency_p50_ns = 0;    // receive to published
  std::int64_t latency_p99_ns = 0;
};

class Pipeline final : public MapperOutput, public WatchActions {
 public:
  // `watch` may be null; it outlives the pipeline.
  static Result<std::unique_ptr<Pipeline>> create(PipelineOptions options, const Registry& registry, const Clock& clock,
                                                  Publisher& publisher, std::unique_ptr<Mapper> mapper, StreamWatch* watch);
  ~Pipeline() override;

  // The frame's bytes need to live during the call only.
  void on_frame(const Frame& frame);
  void check(Timestamp now);  // the watch's, see StreamWatch::check
  // So many frames of any stream were never given to on_frame(): a gap event says so.
  void dropped(std::uint64_t frames, Timestamp from, Timestamp to);

  // The source's state and what changed in it: system/health/v1.
  void health(std::string_view state, std::string_view detail);

  bool batch_ready() const { return batch_.size() - published_ >= options_.batch_events || batch_.bytes() >= options_.batch_bytes; }
  bool full() const { return outbound_bytes() >= options_.outbound_bytes_max; }
  bool empty() const { return batch_.size() == 0 && waiting_.empty() && dead_letters_->empty(); }
  std::size_t outbound_bytes() const { return batch_.bytes() + waiting_bytes_ + dead_letter_bytes_; }
  std::size_t outbound_events() const { return batch_.size() - published_ + waiting_.size(); }
  void set_pressure(bool pressure);

  // Publishes everything that waits. After an error nothing is lost: what the bus did not take is tried again by the next
  // flush(), in order. A message that the bus refuses as such is dead-lettered.
  Status flush();

  const PipelineCounts& counts();
  DeadLetterStats dead_letter_stats() const { return dead_letters_->stats(); }
  std::uint64_t events_total() const { return counts_.events_total; }
  void turn_latency(std::int64_t now_ns) { latency_.turn(now_ns); }
  // Topics of all routes, with their plans.
  std::vector<std::pair<std::string, std::shared_ptr<const Plan>>> topics() const;

  // MapperOutput
  bool emit(std::uint32_t route, const EventHeader& header, const Row& row) override;
  void command(Command command) override;
  void reject(std::string_view code, std::string_view path, std::string_view message) override;
  void reject_event(std::uint32_t route, std::string_view code, std::string_view path, std::string_view message) override;
  void gap(std::string_view event_type, std::string_view symbol, std::string_view reason, std::uint64_t missed) override;
  void alive(std::uint32_t connection, std::string_view channel, std::string_view symbol) override;
  void refused(std::uint32_t connection, std::string_view reason) override;

  // WatchActions. An event names the type that it is about: a channel that becomes several has one for each, one that becomes
  // none (heartbeats) has none.
  void reconnected(std::uint32_t connection, std::string_view reason, std::uint32_t attempt, std::int64_t down_ns,
                   std::uint32_t wanted) override;
  void stale(const WatchedStream& stream, bool stale, std::int64_t age_ns) override;
  void missing(const WatchedStream& stream, std::string_view reason, Timestamp from, Timestamp to) override;
  void watermark(const WatchedStream& stream, Timestamp promise) override;
  void reconnect(std::uint32_t connection, std::string reason) override;

 private:
  // The newest of a symbol on a conflating route, while the bus cannot take it.
  struct Waiting {
    std::uint32_t route = 0;
    std::string symbol;
    EventHeader header;
    Row row;
    std::int64_t receive_ns = 0;
    std::size_t bytes = 0;
    std::uint32_t replaced = 0;
  };
  enum SystemEvent { kGap, kStale, kReconnected, kWatermark, kHealth, kSystemEvents };
  struct SystemRoute {
    std::uint32_t route = 0;
    std::shared_ptr<const Plan> plan;
    Row row;
  };

  Pipeline(PipelineOptions options, const Clock& clock, Publisher& publisher, std::unique_ptr<Mapper> mapper,
           StreamWatch* watch);
  Status set_up(const Registry& registry);
  bool append(std::uint32_t route, const EventHeader& header, const Row& row);
  bool hold(std::uint32_t route, const EventHeader& header, const Row& row);
  void release_held();
  void dead_letter(DeadLetterStage stage, std::uint32_t route, std::string_view code, std::string_view path,
                   std::string_view message);
  template <class Fill>
  void system_event(SystemEvent kind, std::string_view symbol, Fill&& fill);
  template <class Fill>
  void stream_event(SystemEvent kind, const WatchedStream& stream, Fill&& fill);
  void add_letter(const DeadLetter& letter);
  Status flush_batch();
  Status publish_events();
  Status publish_dead_letters();
  void measure();

  static constexpr std::uint32_t kNoRoute = UINT32_MAX;

  PipelineOptions options_;
  const Clock& clock_;
  Publisher& publisher_;
  std::unique_ptr<Mapper> mapper_;
  StreamWatch* watch_;
  Normalizer normalizer_;
  std::unique_ptr<DeadLetterWriter> dead_letters_;
  SystemRoute system_[kSystemEvents];
  std::vector<bool> conflates_;  // by route

  const Frame* frame_ = nullptr;  // being mapped
  Timestamp now_;                 // of the frame or check being worked on: the ingest time of its events
  OpenCounter opens_;
  bool pressure_ = false;
  EventBatch batch_;
  std::size_t published_ = 0;     // entries of batch_ that the bus has
  std::size_t letters_published_ = 0;  // the same of the dead letters
  std::vector<OutMessage> messages_;
  std::vector<std::int64_t> receive_ns_;  // of each frame with events in the batch
  bool frame_has_events_ = false;

  std::vector<std::unique_ptr<Waiting>> waiting_, spare_;
  std::unordered_map<std::string, Waiting*> waiting_by_key_;
  std::string waiting_key_;
  std::size_t waiting_bytes_ = 0;
  std::size_t dead_letter_bytes_ = 0;

  PipelineCounts counts_;
  LatencyHistogram latency_;
};

}  // namespace utp
