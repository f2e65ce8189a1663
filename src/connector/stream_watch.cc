#include "connector/stream_watch.h"

#include <algorithm>

namespace utp {
namespace {

// A collector numbers connections from 0; more than this many is a broken frame, not a connection.
constexpr std::uint32_t kConnectionsMax = 4096;

}  // namespace

StreamWatch::StreamWatch(std::vector<WantedStream> wanted, std::vector<std::int64_t> stale_after_ns, Limits limits)
    : wanted_(std::move(wanted)), streams_(wanted_.size()), limits_(limits) {
  const std::uint32_t per_connection =
      limits_.subscriptions_per_connection == 0 ? UINT32_MAX : limits_.subscriptions_per_connection;
  for (std::uint32_t i = 0; i < streams_.size(); ++i) {
    streams_[i].connection = i / per_connection;
    streams_[i].stale_after_ns = i < stale_after_ns.size() ? stale_after_ns[i] : 0;
    index_.emplace(wanted_[i].channel + '\n' + wanted_[i].symbol, i);
  }
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
  Connection& c = connection(frame.connection);
  c.last_frame = frame.receive_time;
  if (frame.kind == FrameKind::kOpen) {
    opened(frame.connection, frame.receive_time, actions);
  } else if (frame.kind == FrameKind::kClose) {
    if (c.open || c.attempts == 0) c.lost = frame.receive_time;
    if (c.open || c.reason.empty()) c.reason.assign(frame.bytes.substr(0, 500));
    c.open = false;
    ++c.attempts;
    c.waits_for_confirmation = false;
    for (Stream& stream : streams_) {
      if (stream.connection == frame.connection && stream.confirmed) {
        stream.confirmed = false;
        --confirmed_;
      }
    }
  }
}

void StreamWatch::opened(std::uint32_t number, Timestamp time, WatchActions& actions) {
  Connection& c = connection(number);
  const bool again = c.was_open;
  c.open = c.was_open = true;
  c.opened = c.last_frame = time;
  c.reconnect_asked = false;
  c.waits_for_confirmation = true;
  if (c.patience_ns == 0) c.patience_ns = limits_.confirm_within_ns;
  std::uint32_t wanted_here = 0;
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    Stream& stream = streams_[i];
    if (stream.connection != number) continue;
    ++wanted_here;
    if (stream.confirmed) --confirmed_;
    stream.confirmed = false;
    // What the venue sent while we were away is missing, unless it sends it again.
    if (again && stream.had_data) actions.missing(wanted_[i], "connection lost: " + c.reason, stream.last, time);
  }
  if (again) {
    ++reconnects_;
    actions.reconnected(number, c.reason, std::max<std::uint32_t>(c.attempts, 1), std::max<std::int64_t>(time - c.lost, 0),
                        wanted_here, 0);
  }
  c.attempts = 0;
  c.reason.clear();
}

std::uint32_t StreamWatch::find(std::string_view channel, std::string_view symbol) {
  // Frames of one stream tend to come in runs.
  if (last_found_ < wanted_.size() && wanted_[last_found_].symbol == symbol && wanted_[last_found_].channel == channel) {
    return last_found_;
  }
  key_.assign(channel);
  key_ += '\n';
  key_ += symbol;
  const auto found = index_.find(key_);
  if (found == index_.end()) return UINT32_MAX;
  return last_found_ = found->second;
}

void StreamWatch::alive(std::uint32_t connection_number, std::string_view channel, std::string_view symbol, Timestamp time,
                        WatchActions& actions) {
  last_data_ = std::max(last_data_, time);
  const std::uint32_t at = find(channel, symbol);
  if (at == UINT32_MAX) return;
  Stream& stream = streams_[at];
  const std::int64_t age_ns = time - stream.last;
  stream.last = time;
  stream.last_watermark = time;
  stream.had_data = true;
  stream.connection = connection_number;
  if (!stream.confirmed) {
    stream.confirmed = true;
    ++confirmed_;
  }
  if (stream.stale) {
    stream.stale = false;
    --stale_;
    actions.stale(wanted_[at], false, std::max<std::int64_t>(age_ns, 0), stream.stale_after_ns);
  }
}

void StreamWatch::check(Timestamp now, WatchActions& actions) {
  for (std::size_t i = 0; i < streams_.size(); ++i) {
    Stream& stream = streams_[i];
    const std::int64_t age_ns = now - stream.last;
    if (!stream.stale && stream.stale_after_ns > 0 && age_ns > stream.stale_after_ns) {
      stream.stale = true;
      ++stale_;
      actions.stale(wanted_[i], true, age_ns, stream.stale_after_ns);
    }
    if (stream.stale || !stream.confirmed || stream.connection >= connections_.size()) continue;
    const Connection& c = connections_[stream.connection];
    // A promise needs a connection that would have brought the data.
    if (c.open && now - stream.last_watermark >= limits_.watermark_every_ns) {
      stream.last_watermark = now;
      actions.watermark(wanted_[i], now - limits_.lateness_ns);
    }
  }
  for (std::uint32_t number = 0; number < connections_.size(); ++number) {
    Connection& c = connections_[number];
    if (!c.open || c.reconnect_asked) continue;
    if (limits_.silent_connection_ns > 0 && now - c.last_frame > limits_.silent_connection_ns) {
      c.reconnect_asked = true;
      actions.reconnect(number, "silent for " + std::to_string((now - c.last_frame) / 1'000'000) + " ms");
      continue;
    }
    if (!c.waits_for_confirmation || now - c.opened <= c.patience_ns) continue;
    c.waits_for_confirmation = false;
    // A stream that never had data may be a quiet market; only what used to come and does not come any more is broken.
    std::uint32_t unconfirmed = 0;
    for (std::size_t i = 0; i < streams_.size(); ++i) {
      const Stream& stream = streams_[i];
      if (stream.connection != number || stream.confirmed || !stream.had_data) continue;
      ++unconfirmed;
      actions.missing(wanted_[i], "not confirmed by data after a reconnect", stream.last, now);
    }
    if (unconfirmed == 0) {
      c.patience_ns = limits_.confirm_within_ns;
      continue;
    }
    c.patience_ns = std::min(c.patience_ns * 2, std::max<std::int64_t>(limits_.confirm_within_ns, 3'600'000'000'000));
    c.reconnect_asked = true;
    actions.reconnect(number, std::to_string(unconfirmed) + " subscriptions not confirmed by data");
  }
}

}  // namespace utp
