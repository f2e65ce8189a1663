// How an instance is, in one word and in figures.
#include <algorithm>

#include "connector/host.h"
#include "core/json_writer.h"

namespace utp {
namespace {

constexpr std::int64_t kStatusEveryNs = 100'000'000;

}  // namespace

std::string_view to_string(InstanceState state) {
  switch (state) {
    case InstanceState::kStarting: return "starting";
    case InstanceState::kUp: return "up";
    case InstanceState::kDegraded: return "degraded";
    case InstanceState::kDown: return "down";
    case InstanceState::kStopped: return "stopped";
  }
  return "";
}

InstanceState ConnectorInstance::judge(Timestamp now, std::string& detail) const {
  const Manifest& manifest = options_.manifest;
  if (!collector_error_.empty()) {
    detail = collector_error_;
    return InstanceState::kDown;
  }
  if (finished_ || (stopping_ && collector_done_)) return InstanceState::kStopped;
  if (failing_since_ns_ != 0) {
    detail = (shedding_ ? "the stream has stopped, frames are dropped: " : "the bus does not take messages: ") + publish_error_;
    return clock_.monotonic_ns() - failing_since_ns_ > manifest.down_after_ns ? InstanceState::kDown : InstanceState::kDegraded;
  }
  if (watch_->open_connections() == 0) {
    const Timestamp since = std::max(connected_, started_);
    detail = connected_.ns == 0 ? "not connected yet" : "not connected";
    if (now - since > manifest.down_after_ns) return InstanceState::kDown;
    return connected_.ns == 0 ? InstanceState::kStarting : InstanceState::kDegraded;
  }
  if (watch_->stale() > 0) {
    detail = std::to_string(watch_->stale()) + " of " + std::to_string(watch_->wanted()) + " streams are stale";
    return InstanceState::kDegraded;
  }
  if (watch_->open_connections() < watch_->connections()) {
    detail = std::to_string(watch_->connections() - watch_->open_connections()) + " of " + std::to_string(watch_->connections()) +
             " connections are not there";
    return InstanceState::kDegraded;
  }
  const Timestamp heard = std::max(watch_->last_data(), started_);
  if (watch_->data_streams() > 0 && now - heard > manifest.degraded_after_ns) {
    detail = "no data for " + std::to_string((now - heard) / 1'000'000'000) + " s";
    return InstanceState::kDegraded;
  }
  if (watch_->data_streams() > 0 && watch_->last_data().ns == 0) {
    detail = "connected, no data yet";
    return InstanceState::kStarting;
  }
  if (thinned_ > 0) {
    detail = std::to_string(thinned_) + " of " + std::to_string(watch_->wanted()) + " streams are thinner while the bus is behind";
    return InstanceState::kDegraded;
  }
  return InstanceState::kUp;
}

void ConnectorInstance::update_status(std::int64_t now_ns, bool always) {
  if (!always && now_ns < next_status_ns_) return;
  next_status_ns_ = now_ns + kStatusEveryNs;
  const Timestamp now = clock_.now();
  if (watch_->open_connections() > 0) connected_ = now;
  std::lock_guard lock(mutex_);
  status_.detail.clear();
  status_.state = judge(now, status_.detail);
  status_.started = started_;
  status_.last_ok = last_ok_;
  status_.lag = queue_.frames() + pipeline_->outbound_events();
  status_.counts = pipeline_->counts();
  status_.reconnects = watch_->reconnects();
  status_.connections = watch_->connections();
  status_.connections_open = watch_->open_connections();
  status_.wanted = watch_->wanted();
  status_.confirmed = watch_->confirmed();
  status_.stale = watch_->stale();
  status_.queue_frames_bytes = queue_.bytes();
  status_.queue_events_bytes = pipeline_->outbound_bytes();
  status_.held_back_ns = queue_.blocked_ns();
  status_.thinned = thinned_;
  status_.dropped_frames = dropped_;
  status_.dead_letters = pipeline_->dead_letter_stats();
}

InstanceStatus ConnectorInstance::status() const {
  std::lock_guard lock(mutex_);
  return status_;
}

std::string to_json(const InstanceStatus& s) {
  std::string out;
  JsonWriter json(out);
  json.begin_object()
      .field("source_id", s.source_id)
      .field("connector", s.connector)
      .field("realm", s.realm)
      .field("region", s.region)
      .field("state", to_string(s.state));
  if (!s.detail.empty()) json.field("detail", s.detail);
  json.field("started", s.started);
  json.key("last_ok");
  if (s.last_ok.ns != 0) json.value(s.last_ok);
  else json.null();
  for (const auto& [name, ns] : {std::pair{"latency_p50_ms", s.counts.latency_p50_ns}, {"latency_p99_ms", s.counts.latency_p99_ns}}) {
    json.key(name);
    if (s.counts.latency_samples > 0) json.value(static_cast<double>(ns) * 1e-6);
    else json.null();
  }
  json.field("lag", s.lag)
      .field("frames", s.counts.frames)
      .field("frame_bytes", s.counts.frame_bytes);
  json.key("events").begin_object();
  for (const auto& [type, count] : s.counts.events) json.field(type, count);
  json.end_object()
      .field("events_total", s.counts.events_total)
      .field("published", s.counts.published)
      .field("rejects", s.counts.rejects)
      .field("gaps", s.counts.gaps)
      .field("conflated", s.counts.conflated)
      .field("commands", s.counts.commands)
      .field("publish_failures", s.counts.publish_failures)
      .field("reconnects", s.reconnects)
      .field("connections", s.connections)
      .field("connections_open", s.connections_open)
      .field("streams_wanted", s.wanted)
      .field("streams_confirmed", s.confirmed)
      .field("streams_stale", s.stale)
      .field("queue_frames_bytes", s.queue_frames_bytes)
      .field("queue_events_bytes", s.queue_events_bytes)
      .field("held_back_ms", s.held_back_ns / 1'000'000)
      .field("thinned", s.thinned)
      .field("dropped_frames", s.dropped_frames)
      .field("dead_letters", s.dead_letters.letters)
      .field("dead_letters_dropped", s.dead_letters.dropped)
      .end_object();
  return out;
}

}  // namespace utp
