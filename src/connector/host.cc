#include "connector/host.h"

#include <algorithm>

#include "core/backoff.h"
#include "connector/exec_connector.h"
#include "core/log.h"

namespace utp {
namespace {

constexpr std::size_t kFramesPerStep = 256;
constexpr std::int64_t kCheckEveryNs = 100'000'000;
constexpr std::int64_t kRecordingAgeNs = 3'600'000'000'000;
constexpr std::int64_t kPublishBackoffMinNs = 5'000'000;
constexpr std::int64_t kPublishBackoffMaxNs = 1'000'000'000;

std::string or_else(const std::string& value, const std::string& otherwise) { return value.empty() ? otherwise : value; }

Result<std::vector<WantedStream>> wanted_of(const InstanceOptions& options) {
  return options.manifest.wanted(options.channels, options.symbols);
}

}  // namespace

PipelineOptions pipeline_options(const InstanceOptions& options) {
  const Manifest& manifest = options.manifest;
  PipelineOptions p;
  p.source_id = or_else(options.source_id, manifest.id);
  p.realm = or_else(options.realm, manifest.realm);
  p.region = or_else(options.region, manifest.region);
  p.plans = manifest.plans();
  p.lateness_ns = manifest.lateness_ns;
  p.batch_events = manifest.batch_events;
  p.batch_bytes = manifest.batch_bytes;
  p.outbound_bytes_max = manifest.queue_events_bytes;
  if (!options.dead_letter_overflow_file.empty()) {
    p.dead_letter_overflow = overflow_file(options.dead_letter_overflow_file, options.dead_letter_overflow_bytes);
  }
  return p;
}

Result<std::unique_ptr<Mapper>> make_mapper(const InstanceOptions& options, const BuiltinConnector* builtin) {
  const Manifest& manifest = options.manifest;
  MapperContext context;
  context.plans = manifest.plans();
  if (!options.replay) {
    UTP_TRY(context.wanted, wanted_of(options));
  }
  context.symbols = manifest.symbol_map();
  UTP_TRY(context.settings_json, merge_json(manifest.settings_json, options.settings_json));
  if (manifest.entry == Manifest::Entry::kExec) return make_line_mapper(manifest, std::move(context));
  if (builtin == nullptr || !builtin->mapper) {
    return fail(Code::kNotFound, manifest.file + ": entry builtin:" + manifest.builtin + ", but no such connector is built into this program");
  }
  return builtin->mapper(std::move(context));
}

Result<std::unique_ptr<Collector>> make_collector(const InstanceOptions& options, const BuiltinConnector* builtin, SymbolMap& symbols,
                                                  const Clock& clock) {
  const Manifest& manifest = options.manifest;
  CollectorContext context;
  UTP_TRY(context.wanted, wanted_of(options));
  context.endpoint = or_else(options.endpoint, manifest.endpoint);
  UTP_TRY(context.settings_json, merge_json(manifest.settings_json, options.settings_json));
  context.ca_file = options.ca_file;
  context.clock = &clock;
  context.seed = options.seed;
  context.symbols = &symbols;
  for (const Manifest::Channel& channel : manifest.channels) {
    const bool wanted = std::ranges::any_of(context.wanted, [&](const WantedStream& s) { return s.channel == channel.name; });
    if (wanted && !channel.thinner.empty()) context.thinner.emplace(channel.name, channel.thinner);
  }
  context.rates = manifest.rates;
  context.link = manifest.link;
  context.secrets = options.secrets;
  if (manifest.entry == Manifest::Entry::kExec) {
    ExecOptions exec;
    exec.connector = manifest.id;
    exec.program = manifest.program;
    exec.folder = manifest.folder;
    exec.environment = exec_environment(manifest, context);
    exec.line_bytes_max = manifest.exec_line_bytes;
    exec.stop_timeout_ns = manifest.exec_stop_timeout_ns;
    return make_exec_collector(std::move(exec), std::move(context));
  }
  if (builtin == nullptr || !builtin->collector) return std::unique_ptr<Collector>();
  return builtin->collector(std::move(context));
}

Status configure_topics(Bus& bus, const Pipeline& pipeline, std::uint32_t partitions) {
  for (const auto& [topic, plan] : pipeline.topics()) {
    TopicOptions topic_options;
    topic_options.partitions = partitions;
    topic_options.retention_ns = plan->retention_ns();
    UTP_CHECK(bus.configure_topic(topic, topic_options));
  }
  return {};
}

ConnectorInstance::ConnectorInstance(InstanceOptions options, const Clock& clock)
    : options_(std::move(options)),
      name_(or_else(options_.source_id, options_.manifest.id)),
      clock_(clock),
      queue_(options_.manifest.queue_frames_bytes),
      events_(options_.manifest.rates.events_per_second, options_.manifest.rates.events_per_second),
      random_(options_.seed + 1) {
  status_.connector = options_.manifest.id;
  status_.source_id = name_;
  status_.realm = or_else(options_.realm, options_.manifest.realm);
  status_.region = or_else(options_.region, options_.manifest.region);
}

Result<std::unique_ptr<ConnectorInstance>> ConnectorInstance::create(InstanceOptions options, const BuiltinConnector* builtin,
                                                                     const Registry& registry, const Clock& clock, Bus& bus) {
  std::unique_ptr<ConnectorInstance> self(new ConnectorInstance(std::move(options), clock));
  const InstanceOptions& o = self->options_;
  const Manifest& manifest = o.manifest;

  UTP_TRY(const std::vector<WantedStream> wanted, wanted_of(o));
  StreamWatch::Limits limits;
  // A program is one connection, whatever it wants.
  const bool exec = manifest.entry == Manifest::Entry::kExec;
  limits.subscriptions_per_connection = exec ? 0 : manifest.rates.subscriptions_per_connection;
  limits.confirm_within_ns = manifest.confirm_within_ns;
  limits.silent_connection_ns = manifest.silent_connection_ns;
  limits.lateness_ns = manifest.lateness_ns;
  self->watch_ = std::make_unique<StreamWatch>(watched_streams(manifest, wanted), limits);

  UTP_TRY(auto mapper, make_mapper(o, builtin));
  UTP_TRY(self->publisher_, bus.publisher(o.publisher));
  PipelineOptions p = pipeline_options(o);
  p.commands = [raw = self.get()](Command command) {
    if (raw->collector_) raw->collector_->carry_out(std::move(command));
  };
  UTP_TRY(self->pipeline_, Pipeline::create(std::move(p), registry, clock, *self->publisher_, std::move(mapper), self->watch_.get()));
  UTP_CHECK(configure_topics(bus, *self->pipeline_, o.partitions));

  self->symbols_ = std::make_unique<SymbolMap>(manifest.symbol_map());
  UTP_TRY(self->collector_, make_collector(o, builtin, *self->symbols_, clock));
  self->started_ = clock.now();
  self->watch_->start(self->started_);
  self->update_status(clock.monotonic_ns(), true);
  return self;
}

ConnectorInstance::~ConnectorInstance() { stop(); }

void ConnectorInstance::start() {
  std::lock_guard lock(lifecycle_);
  if (host_thread_.joinable() || stopping_) return;
  host_thread_ = std::thread([this] { run_host(); });
  if (!collector_) {
    collector_ended({});
    return;
  }
  collector_thread_ = std::thread([this] { collector_ended(collector_->run(queue_)); });
}

void ConnectorInstance::collector_ended(const Status& status) {
  if (!status && !stopping_) {
    log::error("the collector cannot go on", {{"source", name_}, {"error", status.error().message}});
    std::lock_guard lock(mutex_);
    collector_error_ = status.error().message;
  }
  collector_done_ = true;
  queue_.wake();
}

void ConnectorInstance::stop() {
  std::lock_guard lock(lifecycle_);
  if (!stopping_.exchange(true)) {
    stop_deadline_ns_ = clock_.monotonic_ns() + options_.stop_grace_ns;
    if (collector_) collector_->stop();
    queue_.wake();
  }
  // The host thread ends only after the collector, so that what the collector still delivers is published.
  if (host_thread_.joinable()) host_thread_.join();
  queue_.close();
  if (collector_thread_.joinable()) collector_thread_.join();
  if (pipeline_) update_status(clock_.monotonic_ns(), true);
}

void ConnectorInstance::run_host() {
  while (true) {
    step(kCheckEveryNs);
    if (collector_done_ && drained()) {
      if (dropped_ == dropped_reported_) break;
      report_dropped();  // what connections that did not come back have lost
      continue;
    }
    if (!stopping_) continue;
    const std::int64_t now_ns = clock_.monotonic_ns();
    if (now_ns < stop_deadline_ns_) continue;
    if (queue_.closed() || !drained()) {
      log::error("stopped before everything was published: what was received is lost",
                 {{"source", name_}, {"frames_bytes", std::to_string(queue_.bytes())},
                  {"events_bytes", std::to_string(pipeline_->outbound_bytes())}, {"last_error", publish_error_}});
    }
    queue_.close();  // releases a collector that waits for room
    break;
  }
  if (auto status = publisher_->sync(); !status) {
    log::error("the bus could not make the last messages durable", {{"source", name_}, {"error", status.error().message}});
  }
  finished_ = collector_done_ && drained();
  update_status(clock_.monotonic_ns(), true);
}

void ConnectorInstance::reconnect(std::uint32_t connection, const std::string& reason) {
  Command again;
  again.kind = Command::Kind::kReconnect;
  again.connection = connection;
  again.text = reason;
  if (collector_) collector_->carry_out(std::move(again));
}

bool ConnectorInstance::step(std::int64_t wait_ns) {
  std::int64_t now_ns = clock_.monotonic_ns();
  const std::int64_t limited_ns = events_.wait_ns(now_ns);
  check_flow(now_ns);
  const bool hold = (pipeline_->full() && !shedding_) || limited_ns > 0;
  if (batch_since_ns_ != 0) wait_ns = std::clamp<std::int64_t>(next_publish_ns_ - now_ns, 0, wait_ns);
  if (limited_ns > 0) wait_ns = std::min(wait_ns, limited_ns);

  std::span<const Frame> frames;
  if (hold) {
    // Nothing is taken, so the queue cannot tell when to go on: a short wait instead.
    if (wait_ns > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(std::min<std::int64_t>(wait_ns, 5'000'000)));
  } else {
    frames = queue_.pop(kFramesPerStep, wait_ns);
  }
  const bool pressure = failing_since_ns_ != 0 || backlog_ || queue_.bytes() > queue_.bytes_max() / 2;
  pipeline_->set_pressure(pressure && !(collector_ && collector_->can_wait()));
  check_thinning(pressure, now_ns);
  std::size_t done = 0;
  for (const Frame& frame : frames) {
    if (drops(frame)) {
      ++done;
      continue;
    }
    const std::uint64_t before = pipeline_->events_total();
    pipeline_->on_frame(frame);
    ++done;
    last_frame_time_ = frame.receive_time;
    if (events_.limited()) events_.force(clock_.monotonic_ns(), static_cast<double>(pipeline_->events_total() - before));
    if (batch_since_ns_ == 0 && !pipeline_->empty()) batch_since_ns_ = clock_.monotonic_ns();
    if (pipeline_->batch_ready() || pipeline_->full()) publish(clock_.monotonic_ns());
    if ((pipeline_->full() && !shedding_) || (events_.limited() && events_.wait_ns(clock_.monotonic_ns()) > 0)) break;
  }
  queue_.done(done);
  if (done > 0) recording_ = clock_.now() - frames[done - 1].receive_time > kRecordingAgeNs;

  now_ns = clock_.monotonic_ns();
  if (batch_since_ns_ == 0 && !pipeline_->empty()) batch_since_ns_ = now_ns;
  // Ran dry, or the batch has waited long enough.
  if (batch_since_ns_ != 0 && (frames.size() < kFramesPerStep || now_ns - batch_since_ns_ >= options_.manifest.batch_linger_ns)) {
    publish(now_ns);
  }
  if (now_ns >= next_check_ns_) {
    next_check_ns_ = now_ns + kCheckEveryNs;
    // While frames wait, the time of the last one seen is the present: they may hold what seems to be missing.
    const bool dry = queue_.bytes() == 0;
    if (!recording_) pipeline_->check(dry || last_frame_time_.ns == 0 ? clock_.now() : last_frame_time_);
    pipeline_->turn_latency(now_ns);
    if (batch_since_ns_ == 0 && !pipeline_->empty()) batch_since_ns_ = now_ns;
  }
  update_status(now_ns, false);
  return done > 0;
}

void ConnectorInstance::publish(std::int64_t now_ns) {
  if (now_ns < next_publish_ns_) return;
  const auto status = pipeline_->flush();
  if (status) {
    if (failing_since_ns_ != 0) {
      log::info("the bus takes messages again", {{"source", name_}, {"after_ms", std::to_string((now_ns - failing_since_ns_) / 1'000'000)}});
    }
    failing_since_ns_ = next_publish_ns_ = 0;
    publish_attempt_ = 0;
    batch_since_ns_ = pipeline_->empty() ? 0 : now_ns;
    last_ok_ = watch_->data_streams() > 0 ? watch_->last_data() : last_frame_time_;
    return;
  }
  if (failing_since_ns_ == 0) {
    failing_since_ns_ = now_ns;
    log::warn("the bus does not take messages; they wait", {{"source", name_}, {"error", status.error().message}});
  }
  publish_error_ = status.error().message;
  next_publish_ns_ = now_ns + kPublishBackoffMinNs / 2 + full_jitter_ns(random_, kPublishBackoffMinNs, kPublishBackoffMaxNs, publish_attempt_++);
}

}  // namespace utp
