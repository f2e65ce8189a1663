// What an instance does while its bus is behind: a thinner subscription first, then frames dropped, counted and told.
#include <algorithm>

#include "connector/host.h"
#include "core/log.h"

namespace utp {
namespace {

constexpr std::int64_t kDroppedReportNs = 30'000'000'000;  // for connections to come back, before what was dropped is told

}  // namespace

// Begins and ends the time in which the stream stands still.
void ConnectorInstance::check_flow(std::int64_t now_ns) {
  if (shedding_) {
    if (failing_since_ns_ != 0 || pipeline_->full()) return;
    shedding_ = false;
    full_since_ns_ = 0;
    shed_end_ns_ = now_ns;
    for (const std::uint32_t connection : skipped_) reconnect(connection, "frames were dropped while the bus took no messages");
  }
  if (dropped_ > dropped_reported_ && (skipped_.empty() || now_ns - shed_end_ns_ > kDroppedReportNs)) {
    report_dropped();
    shed_end_ns_ = now_ns;  // a connection that does not come back: the next part of it is told as long after
  }
  const bool full = failing_since_ns_ != 0 && pipeline_->full() && queue_.bytes() > queue_.bytes_max() / 10 * 9;
  if (!full || (collector_ && collector_->can_wait())) {
    full_since_ns_ = 0;
    return;
  }
  if (full_since_ns_ == 0) full_since_ns_ = now_ns;
  if (now_ns - full_since_ns_ < options_.hold_back_max_ns || stopping_) return;
  shedding_ = true;
  log::error("the bus took no messages for too long: the stream stops, what comes is dropped and counted", {{"source", name_}, {"error", publish_error_}});
}

void ConnectorInstance::check_thinning(bool pressure, std::int64_t now_ns) {
  if (pressure != pressure_) {
    pressure_ = pressure;
    pressure_turned_ns_ = now_ns;
  }
  if (pressure == thin_ || now_ns - pressure_turned_ns_ < (pressure ? options_.thin_after_ns : options_.full_after_ns)) return;
  if (!collector_ || collector_->can_wait() || stopping_) return;
  thin_ = pressure;
  std::uint32_t streams = 0;
  std::string channels;
  for (const std::string& name : collector_->thin(thin_)) {
    const Manifest::Channel& channel = *options_.manifest.channel(name);
    const bool longer = thin_ && channel.stale_after_ns > 0;  // what is never stale stays so
    streams += watch_->set_pace(name, longer ? std::max(channel.stale_after_ns, channel.thinner_stale_after_ns) : channel.stale_after_ns,
                                clock_.now());
    channels += (channels.empty() ? "" : ", ") + name;
  }
  if (streams == 0) return;
  thinned_ = thin_ ? streams : 0;
  log::info(thin_ ? "the bus is behind: a thinner subscription is asked for" : "the bus keeps up again: the full subscription is asked for",
            {{"source", name_}, {"streams", std::to_string(streams)}, {"channels", channels}});
  std::string ignored;
  pipeline_->health(to_string(judge(clock_.now(), ignored)),
                    std::to_string(streams) + " streams (" + channels + ") are subscribed " +
                        (thin_ ? "thinner while the bus is behind" : "in full again"));
}

// Openings and closings always go on: the mapper starts anew with them.
bool ConnectorInstance::drops(const Frame& frame) {
  if (frame.kind == FrameKind::kOpen) {
    opened_.insert(frame.connection);
    if (!skipped_.empty() && !shedding_) skipped_.erase(frame.connection);
    return false;
  }
  if (frame.kind == FrameKind::kClose || (!shedding_ && !skipped_.contains(frame.connection))) return false;
  if (opened_.contains(frame.connection)) skipped_.insert(frame.connection);
  if (dropped_++ == dropped_reported_) dropped_from_ = frame.receive_time;
  dropped_to_ = frame.receive_time;
  return true;
}

void ConnectorInstance::report_dropped() {
  log::error("the stream goes on", {{"source", name_}, {"dropped_frames", std::to_string(dropped_ - dropped_reported_)}});
  pipeline_->dropped(dropped_ - dropped_reported_, dropped_from_, dropped_to_);
  dropped_reported_ = dropped_;
}

}  // namespace utp
