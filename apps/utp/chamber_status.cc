// How a chamber is: the figures of its connectors, persisters, bus and spool in one record.
#include <cmath>

#include <fmt/format.h>

#include "apps/utp/chamber_run.h"
#include "apps/utp/ports.h"
#include "apps/utp/status_json.h"

namespace utp::app {

void ChamberRun::add_counts(ChamberPersister& part, ChamberStatus& s) {
  const PersisterStats stats = part.persister().stats();
  for (const auto& [type, counts] : part.store().counts()) s.event_types[type].stored += counts.stored;
  s.stored += stats.stored;
  s.duplicates += stats.duplicates;
  s.dead_letters += stats.dead_letters.letters;
}

void ChamberRun::add_persister_status(ChamberStatus& s) {
  for (const auto& [type, counts] : left_.event_types) s.event_types[type].stored += counts.stored;
  s.stored += left_.stored;
  s.duplicates += left_.duplicates;
  s.dead_letters += left_.dead_letters;
  for (Leaving& leaving : leaving_) {
    if (!leaving.part) {
      s.leaving.push_back({shown_url(leaving.written), 0, "it could not be opened; it is tried again at the next start"});
      continue;
    }
    add_counts(*leaving.part, s);
    const bool ended = state_ == "up" && !leaving.part->runner().running();
    s.leaving.push_back({leaving.part->source_shown(), leaving.part->waiting(),
                         ended ? "its persister has ended, the log says why; it goes on at the next start" : leaving.part->persister().stats().last_error});
    s.lag += s.leaving.back().lag;
  }
  add_counts(*persister_, s);
  s.persister = persister_->persister().stats();
  if (!s.persister->last_error.empty() && s.state == "up") {
    s.state = "degraded";
    s.detail = s.persister->last_error;
  }
  if (const std::int64_t first = persister_->store().first_stored_ns(); first > 0 && !first_stored_ms_) {
    first_stored_ms_ = (first - started_ns_ + 999'999) / 1'000'000;
  }
  s.first_stored_ms = first_stored_ms_;
}

ChamberStatus ChamberRun::status() {
  ChamberStatus s;
  s.state = state_;
  s.detail = failure_;
  s.time = clock_.now();
  s.started = started_;
  s.elapsed_ns = clock_.monotonic_ns() - started_ns_;
  for (const auto& instance : instances_) {
    InstanceStatus status = instance->status();
    for (const auto& [type, count] : status.counts.events) {
      if (count > 0) s.event_types[type].events += count;
    }
    s.events += status.counts.events_total;
    s.dead_letters += status.dead_letters.letters;
    if (s.state == "up" && (status.state == InstanceState::kDegraded || status.state == InstanceState::kDown)) {
      s.state = "degraded";
      s.detail = fmt::format("{}: {}", status.source_id, status.detail);
    }
    s.instances.push_back(std::move(status));
  }
  for (const auto& bridge : bridges_) {
    s.bridges.push_back(bridge->status());
    const BridgeStatus& status = s.bridges.back();
    if (status.stats.last_error.empty() || s.state != "up") continue;
    s.state = "degraded";
    s.detail = fmt::format("bridge of region {}: {}", status.region, status.stats.last_error);
  }
  s.bus = chamber_.bus_shown;
  s.reloads = reloads_;
  s.reload_error = reload_error_;
  if (persister_) add_persister_status(s);
  if (persister_waits_ && s.state == "up") {
    s.state = "degraded";
    s.detail = watch_->view().error;
  }
  if (spool_) {
    if (auto spool = spool_->spool_stats()) s.spool = *std::move(spool);
    if (s.spool) {
      s.lag += s.spool->waiting;
      if (s.spool->oldest.ns > 0) s.oldest_unread = s.spool->oldest;
    }
    if (s.spool && s.spool->spooling && s.state == "up") {
      s.state = "degraded";
      s.detail = fmt::format("{} messages wait in the disk spool: {}", s.spool->waiting, s.spool->last_error);
    }
  }
  BusWatch::View view = watch_->view();
  for (TopicStats& topic : view.topics) {
    s.bus_messages += topic.messages;
    s.bus_bytes += topic.bytes;
    for (const GroupStats& group : topic.groups) {
      if (group.group != chamber_.persister.group) continue;
      s.lag += group.lag;
      if (group.oldest_unread.ns > 0 && (s.oldest_unread.ns == 0 || group.oldest_unread < s.oldest_unread)) s.oldest_unread = group.oldest_unread;
    }
    s.topics.push_back(std::move(topic));
  }
  s.backlog = view.backlog;
  if (keeper_) s.store_care = keeper_->last_error();
  return s;
}

std::string to_json(const ChamberStatus& s, bool topics) {
  std::string out;
  JsonWriter json(out);
  json.begin_object().field("state", s.state);
  if (!s.detail.empty()) json.field("detail", s.detail);
  json.field("time", s.time).field("started", s.started).field("seconds", static_cast<double>(s.elapsed_ns / 1'000'000) / 1e3);
  json.field("events", s.events).field("stored", s.stored).field("duplicates", s.duplicates).field("dlq", s.dead_letters).field("lag", s.lag);
  json.key("first_stored_ms");
  if (s.first_stored_ms) json.value(*s.first_stored_ms);
  else json.null();
  json.key("event_types").begin_object();
  for (const auto& [type, counts] : s.event_types) {
    json.key(type).begin_object().field("events", counts.events).field("stored", counts.stored).end_object();
  }
  json.end_object().key("connectors").begin_object();
  for (const InstanceStatus& i : s.instances) {
    json.key(i.source_id).begin_object().field("state", to_string(i.state)).field("events", i.counts.events_total).field("frames", i.counts.frames);
    json.field("dlq", i.dead_letters.letters).field("gaps", i.counts.gaps).field("reconnects", i.reconnects).field("conflated", i.counts.conflated);
    json.key("latency_p99_ms");
    if (i.counts.latency_samples > 0) json.value(static_cast<double>(i.counts.latency_p99_ns / 1000) / 1e3);
    else json.null();
    json.key("event_types").begin_object();
    for (const auto& [type, count] : i.counts.events) {
      if (count > 0) json.field(type, count);
    }
    json.end_object().key("status").raw(to_json(i)).end_object();
  }
  json.end_object().key("bus").begin_object().field("url", s.bus).field("backlog", std::round(s.backlog * 1000) / 1000).field("messages", s.bus_messages).field("bytes", s.bus_bytes);
  if (topics) {
    json.key("topics");
    write_topics(s.topics, s.time, {}, json);
  }
  json.end_object();
  if (s.reloads > 0) json.field("reloads", s.reloads).field("reload_error", s.reload_error);
  if (!s.bridges.empty()) {
    json.key("bridges").begin_object();
    for (const BridgeStatus& b : s.bridges) {
      json.key(b.region).begin_object().field("from", b.from).field("lag", b.lag).field("forwarded", b.stats.forwarded).field("already_there", b.stats.already_there);
      json.field("filtered", b.stats.filtered).field("refused", b.stats.refused).field("lost", b.stats.lost).field("last_error", b.stats.last_error).end_object();
    }
    json.end_object();
  }
  if (!s.leaving.empty()) {
    json.key("leaving").begin_array();
    for (const auto& bus : s.leaving) json.begin_object().field("url", bus.bus).field("lag", bus.lag).field("error", bus.error).end_object();
    json.end_array();
  }
  if (s.store_care) json.key("store").begin_object().field("looked_after", s.store_care->empty()).field("error", *s.store_care).end_object();
  if (s.spool) {
    json.key("spool").begin_object().field("spooling", s.spool->spooling).field("waiting", s.spool->waiting).field("forwarded", s.spool->forwarded);
    json.field("refused", s.spool->refused).field("last_error", s.spool->last_error).end_object();
  }
  if (s.persister) {
    const PersisterStats& p = *s.persister;
    json.key("persister").begin_object().field("messages", p.messages).field("batches", p.batches).field("retries", p.retries);
    json.field("skipped", p.skipped).field("lost", p.lost).field("last_error", p.last_error);
    json.key("last_commit");
    if (p.last_commit.ns > 0) json.value(p.last_commit);
    else json.null();
    json.end_object();
  }
  json.end_object();
  return out;
}

}  // namespace utp::app
