#include "connector/websocket.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <deque>
#include <optional>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>

#include "core/backoff.h"
#include "connector/rate_limit.h"
#include "connector/websocket_session.h"
#include "core/log.h"
#include "core/random.h"

namespace utp {
namespace {

namespace asio = boost::asio;
using boost::system::error_code;

constexpr std::int64_t kRequestTimeoutNs = 30'000'000'000;
constexpr std::uint64_t kRequestBytesMax = 64ull << 20;

class WebSocketCollector;

// One connection: connects, subscribes, reads, notices silence, and begins again.
class Link final : public net::SessionEvents {
 public:
  Link(WebSocketCollector& owner, std::uint32_t number, std::vector<WantedStream> streams);
  ~Link() { drop(); }

  void start() { schedule(0); }
  void send(std::string text);
  void reset(const std::string& reason);
  void thin(bool thin);
  void stop();
  std::uint64_t generation() const { return generation_; }

  void on_open() override;
  void on_sent(std::string_view text) override;
  void on_idle() override;
  void on_message(std::string_view bytes) override;
  void on_bytes() override;
  void on_end(std::string reason) override { ended(reason); }

 private:
  std::int64_t now_ns() const;
  void schedule(std::int64_t delay_ns);
  void connect();
  void ended(const std::string& reason);
  void drop();
  void pump();
  void watch();
  void keep_alive();

  WebSocketCollector& owner_;
  const std::uint32_t number_;
  std::vector<WantedStream> streams_;
  std::string url_text_;
  std::shared_ptr<net::Session> session_;
  asio::steady_timer connect_timer_, watch_timer_, send_timer_, keep_alive_timer_;
  std::deque<std::string> outbox_;
  std::uint64_t generation_ = 0;
  unsigned attempt_ = 0;
  bool open_ = false;
  bool stopping_ = false;
  bool writing_ = false;
  bool send_waits_ = false;
  std::optional<std::int64_t> ping_sent_ns_;
  std::int64_t last_receive_ns_ = 0;
  std::int64_t opened_ns_ = 0;
};

class WebSocketCollector final : public Collector {
 public:
  WebSocketCollector(WebSocketOptions options, CollectorContext context, Url http_base)
      : options_(std::move(options)),
        context_(std::move(context)),
        http_base_(std::move(http_base)),
        tls_(asio::ssl::context::tls_client),
        random_(context_.seed),
        connections_(context_.rates.connections_per_minute / 60, std::max(1.0, context_.rates.connections_per_minute / 6)),
        messages_(context_.rates.messages_per_second, std::max(1.0, context_.rates.messages_per_second)),
        work_(asio::make_work_guard(io_)) {}

  Status set_up() { return net::set_up_tls(tls_, context_.ca_file); }

  Status run(FrameSink& sink) override {
    sink_ = &sink;
    auto slices = shard_streams(context_.wanted, context_.rates.subscriptions_per_connection);
    try {
      for (std::size_t i = 0; i < slices.size(); ++i) {
        links_.push_back(std::make_unique<Link>(*this, static_cast<std::uint32_t>(i), std::move(slices[i])));
      }
      for (const auto& link : links_) link->start();
      io_.run();
    } catch (const std::exception& e) {
      return fail(Code::kInternal, "connector " + options_.name + ": the network loop failed: " + e.what());
    }
    return {};
  }

  void stop() override {
    asio::post(io_, [this] { shut_down(); });
  }

  void carry_out(Command command) override {
    asio::post(io_, [this, command = std::move(command)]() mutable { obey(std::move(command)); });
  }

  std::vector<std::string> thin(bool thin) override {
    asio::post(io_, [this, thin] {
      for (const auto& link : links_) link->thin(thin);
    });
    std::vector<std::string> channels;
    for (const auto& [channel, variant] : context_.thinner) channels.push_back(channel);
    return channels;
  }

  // Delivers a frame; true when the host takes more.
  bool deliver(std::uint32_t connection, FrameKind kind, std::string_view tag, std::string_view bytes) {
    if (stopping_ && kind != FrameKind::kClose) return false;
    Frame frame;
    frame.connection = connection;
    frame.kind = kind;
    frame.tag = tag;
    frame.bytes = bytes;
    frame.receive_time = std::max(context_.clock->now(), last_time_);
    last_time_ = frame.receive_time;
    const std::int64_t before = context_.clock->monotonic_ns();
    const bool taken = sink_->push(frame);
    const std::int64_t after = context_.clock->monotonic_ns();
    // Held back by the host: what is then overdue was not overdue by the venue's fault.
    if (after - before > kHeldBackNs) held_back_until_ns_ = after;
    if (!taken) shut_down();
    return taken;
  }

  void shut_down() {
    if (stopping_) return;
    stopping_ = true;
    work_.reset();
    for (const auto& link : links_) link->stop();
    for (const auto& request : waiting_requests_) {
      request->timer.cancel();
      if (request->get) request->get->cancel();
    }
    waiting_requests_.clear();
  }

 private:
  friend class Link;
  static constexpr std::int64_t kHeldBackNs = 50'000'000;

  struct Request {
    Request(asio::io_context& io, Command c) : command(std::move(c)), timer(io) {}
    Command command;
    std::uint64_t generation = 0;
    unsigned attempt = 0;
    asio::steady_timer timer;
    std::shared_ptr<net::HttpGet> get;  // under way
  };

  void obey(Command command) {
    if (stopping_) return;
    if (command.connection >= links_.size()) {
      log::warn("command for a connection that does not exist", {{"connector", options_.name},
                                                                 {"connection", std::to_string(command.connection)}});
      return;
    }
    Link& link = *links_[command.connection];
    // Said of a connection that is gone: what took its place was subscribed anew and starts from a clean state.
    if (command.opens != 0 && command.opens != link.generation()) return;
    switch (command.kind) {
      case Command::Kind::kSend:
        link.send(std::move(command.text));
        break;
      case Command::Kind::kReconnect:
        link.reset(command.text.empty() ? "asked by the mapper" : command.text);
        break;
      case Command::Kind::kRequest: {
        if (waiting_requests_.size() >= options_.outbox_messages_max) {
          link.reset("too many requests are waiting");
          return;
        }
        auto request = std::make_shared<Request>(io_, std::move(command));
        request->generation = link.generation();
        waiting_requests_.push_back(request);
        try_request(request, 0);
        break;
      }
    }
  }

  void try_request(const std::shared_ptr<Request>& request, std::int64_t delay_ns) {
    const std::int64_t now = context_.clock->monotonic_ns();
    const std::int64_t limit_ns = messages_.wait_ns(now);
    if (std::max(delay_ns, limit_ns) > 0) {
      request->timer.expires_after(std::chrono::nanoseconds(std::max(delay_ns, limit_ns)));
      request->timer.async_wait([this, request](error_code error) {
        if (!error && !stopping_) try_request(request, 0);
      });
      return;
    }
    messages_.take(now);
    ++request->attempt;
    Url url = http_base_;
    url.target = (request->command.text.starts_with('/') ? "" : "/") + request->command.text;
    request->get = net::http_get(io_, tls_, url, kRequestTimeoutNs, kRequestBytesMax,
                                 [this, request](net::HttpAnswer answer) { request_ended(request, std::move(answer)); });
  }

  void request_ended(const std::shared_ptr<Request>& request, net::HttpAnswer answer) {
    request->get.reset();
    if (stopping_) return;
    Link& link = *links_[request->command.connection];
    // The connection that it was for is gone; the mapper asks again after the next open.
    const bool outdated = link.generation() != request->generation;
    const bool good = answer.error.empty() && answer.status >= 200 && answer.status < 300;
    if (good || outdated) {
      std::erase(waiting_requests_, request);
      if (!outdated) deliver(request->command.connection, FrameKind::kHttp, request->command.tag, answer.body);
      return;
    }
    const std::string reason = answer.error.empty() ? "HTTP " + std::to_string(answer.status) : answer.error;
    const bool may_pass = !answer.error.empty() || answer.status == 429 || answer.status >= 500;
    if (may_pass && request->attempt < options_.request_attempts) {
      log::warn("request failed, trying again",
                {{"connector", options_.name}, {"request", request->command.tag}, {"reason", reason}});
      try_request(request, std::max(answer.retry_after_ns, backoff_ns(request->attempt - 1)));
      return;
    }
    std::erase(waiting_requests_, request);
    log::error("request failed", {{"connector", options_.name}, {"request", request->command.tag}, {"reason", reason}});
    link.reset("request " + request->command.tag + " failed: " + reason);
  }

  std::int64_t backoff_ns(unsigned attempt) {
    return full_jitter_ns(random_, context_.link.backoff_min_ns, context_.link.backoff_max_ns, attempt);
  }

  WebSocketOptions options_;
  CollectorContext context_;
  const Url http_base_;
  asio::ssl::context tls_;
  Random random_;
  TokenBucket connections_, messages_;
  asio::io_context io_{1};
  asio::executor_work_guard<asio::io_context::executor_type> work_;
  FrameSink* sink_ = nullptr;
  std::vector<std::unique_ptr<Link>> links_;
  std::vector<std::shared_ptr<Request>> waiting_requests_;
  Timestamp last_time_;
  std::int64_t held_back_until_ns_ = 0;
  bool stopping_ = false;
};

Link::Link(WebSocketCollector& owner, std::uint32_t number, std::vector<WantedStream> streams)
    : owner_(owner),
      number_(number),
      streams_(std::move(streams)),
      connect_timer_(owner.io_),
      watch_timer_(owner.io_),
      send_timer_(owner.io_),
      keep_alive_timer_(owner.io_) {}

std::int64_t Link::now_ns() const { return owner_.context_.clock->monotonic_ns(); }

void Link::schedule(std::int64_t delay_ns) {
  if (stopping_) return;
  connect_timer_.expires_after(std::chrono::nanoseconds(delay_ns));
  connect_timer_.async_wait([this](error_code error) {
    if (error || stopping_) return;
    const std::int64_t now = now_ns();
    if (!owner_.connections_.take(now)) return schedule(owner_.connections_.wait_ns(now));
    connect();
  });
}

void Link::connect() {
  url_text_ = owner_.context_.endpoint.empty() ? owner_.options_.url : owner_.context_.endpoint;
  net::SessionOptions options;
  if (auto url = Url::parse(url_text_)) {
    options.url = std::move(*url);
  } else {
    return ended(url.error().message);
  }
  options.deflate = owner_.options_.deflate;
  options.message_bytes_max = owner_.context_.link.message_bytes_max;
  session_ = net::make_session(owner_.io_, owner_.tls_, std::move(options), *this);
  connect_timer_.expires_after(std::chrono::nanoseconds(owner_.context_.link.connect_timeout_ns));
  connect_timer_.async_wait([this](error_code error) {
    if (!error && !open_) reset("no connection within " + std::to_string(owner_.context_.link.connect_timeout_ns / 1'000'000) + " ms");
  });
  session_->start();
}

void Link::on_open() {
  connect_timer_.cancel();
  open_ = true;
  writing_ = false;
  ++generation_;
  opened_ns_ = last_receive_ns_ = now_ns();
  ping_sent_ns_.reset();
  log::info("connected", {{"connector", owner_.options_.name}, {"connection", std::to_string(number_)},
                          {"address", url_text_.substr(0, url_text_.find('?'))}});
  if (!owner_.deliver(number_, FrameKind::kOpen, "", std::string_view(url_text_).substr(0, url_text_.find('?')))) return;
  outbox_.clear();
  if (owner_.options_.subscribe) {
    for (std::string& message : owner_.options_.subscribe(number_, streams_)) outbox_.push_back(std::move(message));
  }
  watch();
  keep_alive();
  pump();
}

void Link::send(std::string text) {
  if (!open_) return;  // the next open subscribes anew
  if (outbox_.size() >= owner_.options_.outbox_messages_max) return reset("too many messages are waiting to be sent");
  outbox_.push_back(std::move(text));
  pump();
}

void Link::thin(bool thin) {
  std::vector<WantedStream> before, after;
  for (WantedStream& stream : streams_) {
    const auto thinner = owner_.context_.thinner.find(stream.channel);
    if (thinner == owner_.context_.thinner.end() || stream.variant.empty() != thin) continue;
    before.push_back(stream);
    stream.variant = thin ? thinner->second : "";
    after.push_back(stream);
  }
  if (!open_ || stopping_ || before.empty()) return;  // the next open subscribes as it is now
  for (std::string& message : owner_.options_.unsubscribe(before)) send(std::move(message));
  for (std::string& message : owner_.options_.subscribe(number_, after)) send(std::move(message));
}

void Link::pump() {
  if (!open_ || writing_ || send_waits_ || stopping_ || outbox_.empty()) return;
  const std::int64_t now = now_ns();
  if (!owner_.messages_.take(now)) {
    send_waits_ = true;
    send_timer_.expires_after(std::chrono::nanoseconds(owner_.messages_.wait_ns(now)));
    send_timer_.async_wait([this](error_code error) {
      if (error) return;  // cancelled by drop(), which reset the flag
      send_waits_ = false;
      pump();
    });
    return;
  }
  writing_ = true;
  std::string text = std::move(outbox_.front());
  outbox_.pop_front();
  session_->send(std::move(text));
}

void Link::on_sent(std::string_view text) { owner_.deliver(number_, FrameKind::kSent, "", text); }

void Link::on_idle() {
  writing_ = false;
  pump();
}

void Link::on_message(std::string_view bytes) { owner_.deliver(number_, FrameKind::kWs, "", bytes); }

void Link::on_bytes() {
  last_receive_ns_ = now_ns();
  if (ping_sent_ns_) watch();  // the answer: the next silence begins now
}

// Silence is first asked about with a ping; only a socket that answers nothing at all is given up.
void Link::watch() {
  if (!open_ || stopping_) return;
  const std::int64_t now = now_ns();
  const std::int64_t heard = std::max(last_receive_ns_, owner_.held_back_until_ns_);
  std::int64_t due = heard + owner_.context_.link.silence_ns;
  if (ping_sent_ns_ && *ping_sent_ns_ <= last_receive_ns_) ping_sent_ns_.reset();
  if (ping_sent_ns_) {
    due = std::max(*ping_sent_ns_, owner_.held_back_until_ns_) + owner_.context_.link.ping_timeout_ns;
    if (now >= due) {
      return reset("no answer to a ping for " + std::to_string(owner_.context_.link.ping_timeout_ns / 1'000'000) + " ms");
    }
  } else if (now >= due) {
    ping_sent_ns_ = now;
    due = now + owner_.context_.link.ping_timeout_ns;
    session_->ping();
  }
  watch_timer_.expires_after(std::chrono::nanoseconds(std::max<std::int64_t>(due - now, 1'000'000)));
  watch_timer_.async_wait([this](error_code error) {
    if (!error) watch();
  });
}

void Link::keep_alive() {
  if (owner_.options_.keep_alive_ns <= 0) return;
  keep_alive_timer_.expires_after(std::chrono::nanoseconds(owner_.options_.keep_alive_ns));
  keep_alive_timer_.async_wait([this](error_code error) {
    if (error || !open_ || stopping_) return;
    send(owner_.options_.keep_alive);
    keep_alive();
  });
}

void Link::drop() {
  if (session_) session_->abandon();
  session_.reset();
  open_ = writing_ = send_waits_ = false;
  outbox_.clear();
  ping_sent_ns_.reset();
  for (asio::steady_timer* timer : {&connect_timer_, &watch_timer_, &send_timer_, &keep_alive_timer_}) timer->cancel();
}

void Link::reset(const std::string& reason) {
  if (stopping_ || !session_) return;
  ended(reason);
}

void Link::ended(const std::string& reason) {
  const bool was_open = open_;
  drop();
  if (was_open && now_ns() - opened_ns_ >= owner_.context_.link.stable_ns) attempt_ = 0;
  owner_.deliver(number_, FrameKind::kClose, "", reason);
  if (stopping_ || owner_.stopping_) return;
  const std::int64_t delay = owner_.backoff_ns(attempt_++);
  log::warn(was_open ? "connection lost" : "connection failed",
            {{"connector", owner_.options_.name}, {"connection", std::to_string(number_)}, {"reason", reason},
             {"next_try_ms", std::to_string(delay / 1'000'000)}});
  schedule(delay);
}

void Link::stop() {
  stopping_ = true;
  for (asio::steady_timer* timer : {&connect_timer_, &watch_timer_, &send_timer_, &keep_alive_timer_}) timer->cancel();
  if (!session_) return;
  if (open_) {
    session_->close();  // on_end follows
  } else {
    drop();
  }
}

}  // namespace

Result<std::unique_ptr<Collector>> make_websocket_collector(WebSocketOptions options, CollectorContext context) {
  if (context.clock == nullptr) return fail(Code::kInvalidArgument, "connector " + options.name + ": no clock was given");
  if (!context.thinner.empty() && (!options.subscribe || !options.unsubscribe)) {
    return fail(Code::kInvalidArgument, "connector " + options.name + ": its manifest has thinner subscriptions, for which " +
                                            "WebSocketOptions needs subscribe and unsubscribe: set them, or remove thinner");
  }
  UTP_TRY(Url endpoint, Url::parse(context.endpoint.empty() ? options.url : context.endpoint));
  endpoint.scheme = endpoint.tls ? "https" : "http";
  endpoint.target.clear();
  auto collector = std::make_unique<WebSocketCollector>(std::move(options), std::move(context), std::move(endpoint));
  UTP_CHECK(collector->set_up());
  return std::unique_ptr<Collector>(std::move(collector));
}

}  // namespace utp
