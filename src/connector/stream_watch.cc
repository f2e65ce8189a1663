#include "connector/stream_watch.h"

#include <algorithm>
#include <utility>

namespace utp {
namespace {

// A collector numbers connections from 0; more than this many is a broken frame, not a connection.
constexpr std::uint32_t kConnectionsMax = 4096;
constexpr std::size_t kLearnedMax = 100'000;  // streams, as many as the normalizer has symbols
constexpr std::int64_t kPatienceMaxNs = 3'600'000'000'000;
// A promise reaches as far as the connection's last message, which must not be older: a dead socket is noticed only later.
constexpr std::int64_t kPromiseAgeNs = 1'000'000'000;

std::int64_t doubled(std::int64_t patience_ns, std::int64_t least_ns) {
  return std::min(patience_ns * 2, std::max(least_ns, kPatienceMaxNs));
}

}  // namespace

std::vector<WatchedStream> watched_streams(const Manifest& manifest, const std::vector<WantedStream>& wanted) {
  std::vector<WatchedStream> streams;
  for (const WantedStream& stream : wanted) {
    WatchedStream& watched = streams.emplace_back(WatchedStream{stream, {}, 0});
    if (const Manifest::Channel* channel = manifest.channel(stream.channel)) {
      watched.event_types = channel->event_types;
      watched.stale_after_ns = channel->stale_after_ns;
    }
  }
  return streams;
}

StreamWatch::StreamWatch(std::vector<WatchedStream> wanted, Limits limits, std::vector<Manifest::Channel> learned)
    : limits_(limits), learned_(std::move(learned)) {
  const std::uint32_t per_connection = limits_.subscriptions_per_connection == 0 ? UINT32_MAX : limits_.subscriptions_per_connection;
  for (WatchedStream& stream : wanted) {
    const std::uint32_t number = std::min(static_cast<std::uint32_t>(streams_.size()) / per_connection, kConnectionsMax);
    connection(number);
    add(std::move(stream), number, {});
  }
}

void StreamWatch::add(WatchedStream what, std::uint32_t connection, Timestamp now) {
  Stream stream;
  stream.connection = connection;
  stream.last = now;
  stream.patience_ns = what.stale_after_ns;
  if (!what.event_types.empty()) ++data_streams_;
  index_.emplace(what.channel + '\n' + what.symbol, static_cast<std::uint32_t>(streams_.size()));
  stream.what = std::move(what);
  streams_.push_back(std::move(stream));
}

void StreamWatch::start(Timestamp now) {
  for (Stream& stream : streams_) stream.last = now;
}

StreamWatch::Connection& StreamWatch::connection(std::uint32_t number) {
  number = std::min(number, kConnectionsMax);
  if (number >= connections_.size()) connections_.resize(number + 1);
  return connections_[number];
}

std::uint32_t StreamWatch::open_connections() const {
  return static_cast<std::uint32_t>(std::ranges::count_if(connections_, [](const Connection& c) { return c.open; }));
}

void StreamWatch::on_frame(const Frame& frame, WatchActions& actions) {
  switch (frame.kind) {
    case FrameKind::kOpen: return opened(frame.connection, frame.receive_time, actions);
    case FrameKind::kClose: return closed(frame.connection, frame);
    case FrameKind::kWs: {
      Connection& c = connection(frame.connection);
      // A capture may lack the frame that says so.
      if (!c.open) opened(frame.connection, frame.receive_time, actions);
      c.heard = frame.receive_time;
      return;
    }
    case FrameKind::kSent:
    case FrameKind::kHttp: return;
  }
}

void StreamWatch::closed(std::uint32_t number, const Frame& frame) {
  Connection& c = connection(number);
  if (c.open || c.attempts == 0) c.lost = frame.receive_time;
  if (c.open || c.reason.empty()) c.reason.assign(frame.bytes.substr(0, 500));
  c.open = false;
  ++c.attempts;
  c.waits_for_confirmation = false;
  for (Stream& stream : streams_) {
    if (stream.connection == number && stream.confirmed) {
      stream.confirmed = false;
      --confirmed_;
    }
  }
}

void StreamWatch::opened(std::uint32_t number, Timestamp time, WatchActions& actions) {
  Connection& c = connection(number);
  const bool again = c.was_open;
  if (c.open) {  // a recording need not say that it was closed
    c.lost = c.heard;
    c.reason = "opened again without a close";
  }
  c.open = c.was_open = true;
  c.opened = c.heard = c.confirm_from = time;
  c.reconnect_asked = false;
  c.waits_for_confirmation = true;
  c.refusal.clear();
  if (c.patience_ns == 0) c.patience_ns = limits_.confirm_within_ns;
  std::uint32_t wanted_here = 0;
  for (Stream& stream : streams_) {
    if (stream.connection != number) continue;
    ++wanted_here;
    if (stream.confirmed) --confirmed_;
    stream.confirmed = false;
    // What the venue sent while we were away is missing, unless it sends it again.
    if (again && stream.had_data) actions.missing(stream.what, "connection lost: " + c.reason, stream.last, time);
  }
  if (again) {
    ++reconnects_;
    actions.reconnected(number, c.reason, std::max<std::uint32_t>(c.attempts, 1), std::max<std::int64_t>(time - c.lost, 0), wanted_here);
  }
  c.attempts = 0;
  c.reason.clear();
}

std::uint32_t StreamWatch::find(std::string_view channel, std::string_view symbol) {
  // Frames of one stream tend to come in runs.
  if (last_found_ < streams_.size() && streams_[last_found_].what.symbol == symbol && streams_[last_found_].what.channel == channel) {
    return last_found_;
  }
  key_.assign(channel);
  key_ += '\n';
  key_ += symbol;
  const auto found = index_.find(key_);
  if (found == index_.end()) return UINT32_MAX;
  return last_found_ = found->second;
}

std::uint32_t StreamWatch::learn(std::uint32_t connection, std::string_view channel, std::string_view symbol, Timestamp time) {
  const auto known = std::ranges::find(learned_, channel, &Manifest::Channel::name);
  if (known == learned_.end() || streams_.size() >= kLearnedMax) return UINT32_MAX;
  add({{std::string(channel), std::string(symbol)}, known->event_types, known->stale_after_ns}, connection, time);
  return last_found_ = static_cast<std::uint32_t>(streams_.size() - 1);
}

void StreamWatch::alive(std::uint32_t connection_number, std::string_view channel, std::string_view symbol, Timestamp time,
                        WatchActions& actions) {
  std::uint32_t at = find(channel, symbol);
  if (at == UINT32_MAX && !learned_.empty()) at = learn(connection_number, channel, symbol, time);
  if (at == UINT32_MAX) return;
  Stream& stream = streams_[at];
  const std::int64_t age_ns = time - stream.last;
  stream.last = time;
  stream.last_watermark = time;
  stream.had_data = true;
  stream.connection = connection_number;
  if (!stream.what.event_types.empty()) last_data_ = std::max(last_data_, time);
  if (!stream.confirmed) {
    stream.confirmed = true;
    ++confirmed_;
  }
  // Data that keeps coming after what a subscription begins with (a snapshot) says that the stream was mended.
  if (stream.patience_ns != stream.what.stale_after_ns && time - connection(connection_number).opened > limits_.confirm_within_ns) {
    stream.patience_ns = stream.what.stale_after_ns;
  }
  if (stream.stale) {
    stream.stale = false;
    --stale_;
    actions.stale(stream.what, false, std::max<std::int64_t>(age_ns, 0));
  }
}

void StreamWatch::refused(std::uint32_t number, std::string_view reason, Timestamp time) {
  Connection& c = connection(number);
  if (c.refusal.empty()) c.refusal.assign(reason.empty() ? "no reason given" : reason.substr(0, 400));
  if (!c.waits_for_confirmation) {
    c.waits_for_confirmation = true;
    c.confirm_from = time;
  }
}

std::uint32_t StreamWatch::set_pace(std::string_view channel, std::int64_t stale_after_ns, Timestamp now) {
  std::uint32_t count = 0;
  for (Stream& stream : streams_) {
    if (stream.what.channel != channel) continue;
    ++count;
    stream.what.stale_after_ns = stream.patience_ns = stale_after_ns;
    stream.last = std::max(stream.last, now);
  }
  return count;
}

void StreamWatch::check(Timestamp now, WatchActions& actions) {
  for (Stream& stream : streams_) check_stream(stream, now, actions);
  for (std::uint32_t number = 0; number < connections_.size(); ++number) check_connection(number, now, actions);
}

void StreamWatch::check_stream(Stream& stream, Timestamp now, WatchActions& actions) {
  const std::int64_t age_ns = now - stream.last;
  const std::int64_t stale_after_ns = stream.what.stale_after_ns;
  if (!stream.stale && stale_after_ns > 0 && age_ns > stale_after_ns) {
    stream.stale = true;
    ++stale_;
    actions.stale(stream.what, true, age_ns);
  }
  Connection& c = connection(stream.connection);
  if (!c.open) return;
  if (stream.stale) {
    if (!c.reconnect_asked && now - std::max(stream.last, c.opened) > stream.patience_ns) {
      stream.patience_ns = doubled(stream.patience_ns, stale_after_ns);
      ++c.overdue;
    }
    return;
  }
  if (!stream.confirmed || now - stream.last_watermark < limits_.watermark_every_ns || now - c.heard > kPromiseAgeNs) return;
  stream.last_watermark = now;
  actions.watermark(stream.what, std::min(now, c.heard) - limits_.lateness_ns);
}

void StreamWatch::ask_reconnect(std::uint32_t number, std::string reason, WatchActions& actions) {
  connections_[number].reconnect_asked = true;
  actions.reconnect(number, std::move(reason));
}

void StreamWatch::check_connection(std::uint32_t number, Timestamp now, WatchActions& actions) {
  Connection& c = connections_[number];
  const std::uint32_t overdue = std::exchange(c.overdue, 0);
  if (!c.open || c.reconnect_asked) return;
  if (limits_.silent_connection_ns > 0 && now - c.heard > limits_.silent_connection_ns) {
    return ask_reconnect(number, "silent for " + std::to_string((now - c.heard) / 1'000'000) + " ms", actions);
  }
  if (overdue > 0) return ask_reconnect(number, std::to_string(overdue) + " streams are stale", actions);
  if (!c.waits_for_confirmation || now - c.confirm_from <= c.patience_ns) return;
  c.waits_for_confirmation = false;
  // A stream that never had data may be a quiet market; only what used to come and does not come any more is broken.
  std::uint32_t unconfirmed = 0;
  for (const Stream& stream : streams_) {
    if (stream.connection != number || stream.confirmed || !stream.had_data) continue;
    ++unconfirmed;
    actions.missing(stream.what, "not confirmed by data after a reconnect", stream.last, now);
  }
  if (unconfirmed == 0 && c.refusal.empty()) {
    c.patience_ns = limits_.confirm_within_ns;
    return;
  }
  c.patience_ns = doubled(c.patience_ns, limits_.confirm_within_ns);
  ask_reconnect(number, unconfirmed > 0 ? std::to_string(unconfirmed) + " subscriptions not confirmed by data"
                                        : "a subscription was refused: " + c.refusal, actions);
}

}  // namespace utp
