// Reading a stream from a sequence on: a pull consumer of the server that keeps no acknowledgements. All feeds of a subscription
// answer into one inbox, so that one wait covers them all.
//
// A feed asks for what is there now, or for what comes next; the server sends it at once and the request is over ("no_wait"):
// nothing is under way that was not asked for, and memory is bounded by the requests.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "drivers/bus/nats/link.h"

namespace utp::nats_bus {

inline constexpr std::int64_t kFeedWaitNs = 5'000'000'000;  // a request that was lost is noticed soon after

struct FeedOptions {
  std::string stream, subject;  // subject: only messages of it
  std::uint64_t start = 1;      // sequence
  bool last_per_subject = false;
};

struct Delivery {  // what the server says beside a message
  std::string_view consumer;
  std::uint64_t sequence = 0;        // in the stream
  std::uint64_t number = 0;          // of this feed, from 1 without gaps
  Timestamp time;
};
// Nothing for a message that is none of a stream.
std::optional<Delivery> read_delivery(natsMsg* message);

class Inbox {
 public:
  static Result<std::unique_ptr<Inbox>> open(std::shared_ptr<Link> link);
  Link& link() const { return *link_; }
  std::string subject(std::uint64_t number) const { return prefix_ + std::to_string(number); }
  // Of the feed that a message without a stream is about.
  std::optional<std::uint64_t> number_of(natsMsg* message) const;
  // Nothing when the time is over. kNotFound: one of the feeds is not there any more; the library does not say which.
  Result<Message> next(std::int64_t timeout_ms);

 private:
  explicit Inbox(std::shared_ptr<Link> link) : link_(std::move(link)) {}
  std::shared_ptr<Link> link_;
  std::string prefix_;
  std::unique_ptr<Listener> listener_;
};

class Feed {
 public:
  ~Feed() { close(); }
  // False where there is no such stream.
  Result<bool> open(Inbox& inbox, std::uint64_t number, const FeedOptions& options);
  // The server's consumer goes, without waiting for that.
  void close();
  bool is_open() const { return !consumer_.empty(); }
  const std::string& consumer() const { return consumer_; }
  std::uint64_t number() const { return number_; }
  std::uint64_t pending_at_start() const { return pending_; }
  // The server said that there was nothing more. (Its counts of what is pending are not to be relied on: 2.9 has them too high
  // when an entry is written while the feed is opened.)
  bool is_at_end() const { return at_end_; }

  bool is_asking() const { return asking_; }
  bool is_looking() const { return asking_ && !waiting_; }  // the answer comes at once
  // The last request has brought all it asked for: there may be more.
  bool is_filled() const { return is_open() && !asking_ && asked_ == 0 && received_ > 0; }
  // For what is there, in one go. Where nothing is there: for what comes within `wait_ns` (0 = not at all), and where the last
  // answer has said so, for each message as soon as it comes, until there were so many.
  Status ask(std::size_t messages, std::size_t bytes, std::int64_t wait_ns);
  // False when the feed has to be opened again: the server has lost it, or messages on their way.
  bool take(const Delivery& delivery);
  bool take_status(natsMsg* message);
  // It has to be opened again: a request was not answered though its time is over, or the server may have forgotten the feed
  // because nobody asked for long.
  bool is_stale() const;

 private:
  Inbox* inbox_ = nullptr;  // outlives the feed
  std::string stream_, consumer_;
  std::uint64_t number_ = 0;
  std::uint64_t received_ = 0;
  std::uint64_t pending_ = 0;
  bool asking_ = false;
  bool at_end_ = false;
  bool waiting_ = false;
  std::size_t asked_ = 0;  // messages still to come of the request
  std::int64_t overdue_ns_ = 0;
  std::int64_t used_ns_ = 0;  // when it asked last
};

// Every message of the subjects that there is now; `take` gets the subject's last. Nothing where there is no such stream.
Status read_all(std::shared_ptr<Link> link, const FeedOptions& options, const std::function<void(const Delivery&, natsMsg*)>& take);

}  // namespace utp::nats_bus
