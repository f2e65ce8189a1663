#include "drivers/bus/nats/subscription.h"

#include <algorithm>
#include <chrono>
#include <climits>
#include <utility>

#include "bus/subscription_options.h"
#include "core/log.h"
#include "model/envelope.h"

namespace utp::nats_bus {
namespace {

// How often a subscription looks at the list of topics, though it is told of new ones: somebody may have removed streams.
constexpr std::int64_t kLookNs = 1'000'000'000;
constexpr std::int64_t kSliceMs = 20;          // an interrupt is noticed within it
constexpr std::size_t kFetchMax = 500;         // messages of one partition in one answer: more brings no more speed
constexpr std::size_t kFetchBytes = 8 << 20;   // of all answers under way
constexpr std::size_t kFetchBytesMin = kEnvelopeBytesMax + (64 << 10);  // the largest message has to fit
constexpr std::int64_t kFreshNs = 2'000'000;   // messages that wait here for longer may have been removed from the server meanwhile
constexpr std::size_t kWatchMax = 1000;        // entries of the bucket in one answer
constexpr std::size_t kWatchBytes = 4 << 20;

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

Result<std::unique_ptr<Subscription>> NatsSubscription::open(std::shared_ptr<Server> server, SubscriptionOptions options) {
  UTP_CHECK(prepare(options));
  std::unique_ptr<NatsSubscription> subscription(new NatsSubscription(std::move(server), std::move(options)));
  UTP_CHECK(subscription->connect());
  UTP_CHECK(subscription->find_topics(true));
  if (subscription->in_group()) UTP_CHECK(subscription->maintain());
  return std::unique_ptr<Subscription>(std::move(subscription));
}

// ---- the connection ----

Status NatsSubscription::connect() {
  UTP_TRY(auto link, server_->link());
  if (link != link_ || inbox_ == nullptr) {
    for (auto& cursor : cursors_) {
      cursor->feed.close();
      drop_fetched(*cursor);
      cursor->retry_ns = 0;
    }
    topics_feed_.close();
    group_feed_.close();
    inbox_.reset();
    link_ = std::move(link);
    UTP_TRY(inbox_, Inbox::open(link_));
    next_maintenance_ns_ = 0;
  }
  return open_watches();
}

// The bucket's entries on new topics and on this group.
Status NatsSubscription::open_watches() {
  const Names& names = server_->names();
  const auto open = [&](Feed& feed, const std::string& key) -> Status {
    const FeedOptions options{names.bucket_stream(), names.key_subject(key), 1, true};
    UTP_TRY(bool there, feed.open(*inbox_, ++feed_numbers_, options));
    if (there) return {};
    UTP_CHECK(server_->make_bucket(*link_));
    UTP_TRY(there, feed.open(*inbox_, ++feed_numbers_, options));
    if (there) return {};
    return fail(Code::kUnavailable, link_->place() + ": the bucket " + names.bucket() + " is gone; repeat the call", true);
  };
  if (topics_feed_.is_stale()) topics_feed_.close();
  if (group_feed_.is_stale()) group_feed_.close();
  if (!topics_feed_.is_open()) {
    UTP_CHECK(open(topics_feed_, std::string(kTopicsKey)));
    if (topics_revision_ == 0 && topics_feed_.pending_at_start() == 0) topics_revision_ = UINT64_MAX;
  }
  if (!in_group() || group_feed_.is_open()) return {};
  view_.clear();
  is_view_whole_ = false;
  is_view_changed_ = true;
  UTP_CHECK(open(group_feed_, group_prefix(options_.group) + ">"));
  is_view_whole_ = group_feed_.pending_at_start() == 0;
  return {};
}

// ---- topics ----

Result<std::uint64_t> NatsSubscription::place_new(const Cursor& cursor, bool at_start) {
  // A topic that came later than the subscription is read whole: all of it was published since.
  const Start::Kind kind = at_start || options_.start.kind == Start::Kind::kTime ? options_.start.kind : Start::Kind::kEarliest;
  const std::string key = record_key(options_.group, cursor.topic, cursor.partition);
  if (in_group()) {
    UTP_TRY(const Entry entry, server_->get(*link_, key));
    if (!entry.value.empty()) return GroupRecord::read(entry.value).acknowledged;
  }
  UTP_TRY(const auto facts, link_->stream(cursor.stream));
  std::uint64_t sequence = 0;
  if (facts) {
    sequence = kind == Start::Kind::kLatest ? facts->last : facts->floor();
    if (kind == Start::Kind::kTime) {
      UTP_TRY(sequence, server_->sequence_before(*link_, cursor.stream, options_.start.time));
    }
  }
  GroupRecord record;
  record.acknowledged = cursor.lineage.position_of(sequence);
  if (in_group()) {
    const auto written = server_->put(*link_, key, record.write(), 0);
    if (!written && written.error().code != Code::kFenced) return fail(written.error());
    UTP_TRY(const Entry entry, server_->get(*link_, key));  // ours, or that of a member that was first
    record = GroupRecord::read(entry.value);
    view_.take(group_key(cursor), entry.value, entry.revision, {});
  }
  return record.acknowledged;
}

// What came of this partition and was not delivered; reading it goes on behind what was.
void NatsSubscription::drop_fetched(Cursor& cursor) {
  std::erase_if(fetched_, [&](const Fetched& f) { return f.cursor == &cursor; });
  cursor.buffered = 0;
  cursor.fetched = std::max(cursor.acknowledged, cursor.delivered);
  if (!in_group()) cursor.fetched = std::max(cursor.fetched, cursor.start);
  cursor.feed.close();
}

Status NatsSubscription::set_lineage(Cursor& cursor) {
  UTP_TRY(cursor.lineage, server_->lineage(*link_, cursor.topic, cursor.partition));
  cursor.reached = cursor.lineage.sequence_reached(cursor.fetched);
  return {};
}

Status NatsSubscription::add_topic(const std::string& topic, bool at_start) {
  UTP_TRY(const auto record, server_->topic(*link_, topic));
  if (!record) return {};
  std::vector<std::unique_ptr<Cursor>> found;
  for (std::uint32_t p = 0; p < record->options.partitions; ++p) {
    auto cursor = std::make_unique<Cursor>();
    cursor->topic = topic;
    cursor->partition = p;
    cursor->partitions = record->options.partitions;
    cursor->stream = server_->names().stream(topic, p);
    cursor->subject = server_->names().subject(topic, p);
    UTP_CHECK(set_lineage(*cursor));
    UTP_TRY(cursor->start, place_new(*cursor, at_start));
    cursor->fetched = cursor->start;
    found.push_back(std::move(cursor));
  }
  std::move(found.begin(), found.end(), std::back_inserter(cursors_));
  next_maintenance_ns_ = 0;
  return {};
}

Status NatsSubscription::find_topics(bool at_start) {
  UTP_TRY(const auto names, server_->topic_names(*link_));
  for (const std::string& name : names) {
    const bool wanted =
        std::any_of(options_.patterns.begin(), options_.patterns.end(), [&](const auto& pattern) { return topic_matches(pattern, name); });
    if (!wanted) continue;
    const auto of_topic = [&](const auto& c) { return c->topic == name; };
    const auto known = std::find_if(cursors_.begin(), cursors_.end(), of_topic);
    if (known != cursors_.end()) {
      const bool broken = std::any_of(cursors_.begin(), cursors_.end(), [&](const auto& c) { return of_topic(c) && c->retry_ns != 0; });
      if (!broken) continue;
      UTP_TRY(const auto record, server_->topic(*link_, name));
      if (!record || record->options.partitions == (*known)->partitions) continue;
      log::warn("a topic was removed from the server and made again with other partitions; reading starts anew", {{"topic", name}});
      for (auto& cursor : cursors_) {
        if (of_topic(cursor)) drop_fetched(*cursor);
      }
      std::erase_if(cursors_, of_topic);
    }
    UTP_CHECK(add_topic(name, at_start));
  }
  next_look_ns_ = steady_ns() + kLookNs;
  return {};
}

// ---- reading ----

Status NatsSubscription::open_feed(Cursor& cursor) {
  if (steady_ns() < cursor.retry_ns) return {};
  UTP_CHECK(set_lineage(cursor));
  UTP_TRY(const bool there, cursor.feed.open(*inbox_, ++feed_numbers_, {cursor.stream, "", cursor.reached + 1, false}));
  cursor.retry_ns = there ? 0 : steady_ns() + kLookNs;  // somebody has removed it; publishers make it again
  return {};
}

Status NatsSubscription::ask(bool wait) {
  bool asked = std::exchange(is_unsent_, false);
  for (Feed* feed : {&topics_feed_, &group_feed_}) {
    if (!feed->is_open() || feed->is_asking()) continue;
    UTP_CHECK(feed->ask(kWatchMax, kWatchBytes, kFeedWaitNs));
    asked = true;
  }
  const auto readers = static_cast<std::size_t>(std::count_if(cursors_.begin(), cursors_.end(), [&](const auto& c) { return reads(*c); }));
  for (auto& cursor : cursors_) {
    if (!reads(*cursor)) continue;
    if (cursor->feed.is_stale()) cursor->feed.close();
    if (!cursor->feed.is_open()) UTP_CHECK(open_feed(*cursor));
    if (!cursor->feed.is_open() || cursor->feed.is_asking() || cursor->buffered > 0) continue;
    UTP_CHECK(cursor->feed.ask(kFetchMax, std::max(kFetchBytes / readers, kFetchBytesMin), wait ? kFeedWaitNs : 0));
    asked = true;
  }
  // Answers that the server has given by now are here when this is done.
  return asked || !wait ? link_->flush() : Status();
}

// While what was delivered is worked on, the server sends what follows, where more is there.
Status NatsSubscription::ask_ahead() {
  const auto readers = static_cast<std::size_t>(std::count_if(cursors_.begin(), cursors_.end(), [&](const auto& c) { return reads(*c); }));
  for (auto& cursor : cursors_) {
    if (!reads(*cursor) || cursor->buffered > 0 || !cursor->feed.is_filled() || cursor->feed.is_stale()) continue;
    UTP_CHECK(cursor->feed.ask(kFetchMax, std::max(kFetchBytes / readers, kFetchBytesMin), kFeedWaitNs));
    is_unsent_ = true;
  }
  return {};
}

bool NatsSubscription::is_looking() const {
  return std::any_of(cursors_.begin(), cursors_.end(), [](const auto& c) { return c->feed.is_looking() && !c->feed.is_stale(); });
}

Status NatsSubscription::pump(std::int64_t timeout_ns) {
  std::int64_t timeout_ms = (timeout_ns + 999'999) / 1'000'000;
  for (;;) {
    Result<Message> message = inbox_->next(timeout_ms);
    if (!message && message.error().code != Code::kNotFound) return fail(std::move(message.error()));
    pumped_ns_ = steady_ns();
    if (message && *message == nullptr) return {};
    if (message) {
      UTP_CHECK(take_message(std::move(*message)));
    } else {
      reopen_asking();
    }
    timeout_ms = 0;
  }
}

// What came while nobody polled is not given out where it has been removed since: it counts as lost, as figures say.
Status NatsSubscription::drop_trimmed() {
  UTP_CHECK(pump(0));
  for (auto& cursor : cursors_) {
    if (cursor->buffered == 0) continue;
    UTP_TRY(const auto facts, link_->stream(cursor->stream));
    if (!facts) continue;
    std::uint64_t gone = 0;
    std::erase_if(fetched_, [&](const Fetched& f) {
      if (f.cursor != cursor.get() || f.sequence > facts->floor()) return false;
      gone += f.gone + 1;
      --cursor->buffered;
      return true;
    });
    cursor->lost += in_group() ? 0 : gone;
    cursor->is_lost_due |= gone > 0;
  }
  return {};
}

void NatsSubscription::reopen_asking() {
  for (Feed* feed : {&topics_feed_, &group_feed_}) {
    if (feed->is_asking()) feed->close();
  }
  for (auto& cursor : cursors_) {
    if (!cursor->feed.is_asking()) continue;
    cursor->feed.close();
    cursor->retry_ns = 1;
    next_look_ns_ = 0;
  }
}

Status NatsSubscription::take_message(Message message) {
  const auto delivery = read_delivery(message.get());
  if (!delivery) {
    const auto number = inbox_->number_of(message.get());
    if (!number) return {};
    for (Feed* feed : {&topics_feed_, &group_feed_}) {
      if (feed->is_open() && feed->number() == *number && !feed->take_status(message.get())) feed->close();
    }
    is_view_whole_ |= group_feed_.is_at_end();
    for (auto& cursor : cursors_) {
      if (!cursor->feed.is_open() || cursor->feed.number() != *number || cursor->feed.take_status(message.get())) continue;
      cursor->feed.close();
      cursor->retry_ns = 1;
      next_look_ns_ = 0;
    }
    return {};
  }
  if (delivery->consumer == topics_feed_.consumer()) {
    if (!topics_feed_.take(*delivery)) topics_feed_.close();
    const bool is_news = topics_revision_ != 0 && delivery->sequence != topics_revision_;
    topics_revision_ = delivery->sequence;
    if (!is_news) return {};
    next_look_ns_ = 0;
    // A stream of the topic was made, perhaps in the place of one that was read.
    const std::string_view topic(natsMsg_GetData(message.get()), static_cast<std::size_t>(natsMsg_GetDataLength(message.get())));
    for (auto& cursor : cursors_) {
      if (cursor->topic != topic) continue;
      cursor->feed.close();
      cursor->retry_ns = 1;
    }
    return {};
  }
  if (delivery->consumer == group_feed_.consumer()) {
    if (!group_feed_.take(*delivery)) {
      group_feed_.close();
      return {};
    }
    std::string_view subject(natsMsg_GetSubject(message.get()));
    const auto key = read_group_key(subject.substr(std::min(server_->names().key_subject("").size(), subject.size())));
    const std::string_view value(natsMsg_GetData(message.get()), static_cast<std::size_t>(natsMsg_GetDataLength(message.get())));
    if (key) is_view_changed_ |= view_.take(*key, value, delivery->sequence, delivery->time);
    return {};
  }
  for (auto& cursor : cursors_) {
    if (cursor->feed.consumer() == delivery->consumer) return take_entry(*cursor, *delivery, std::move(message));
  }
  return {};  // of a feed that was closed
}

Status NatsSubscription::take_entry(Cursor& cursor, const Delivery& delivery, Message message) {
  if (!cursor.feed.take(delivery)) {
    cursor.feed.close();
    return {};
  }
  const char* header = nullptr;
  std::string_view key;
  std::uint64_t generation = 0;
  if (natsMsgHeader_Get(message.get(), "Utp", &header) == NATS_OK && header != nullptr) {
    const std::string_view text(header);
    const std::size_t space = std::min(text.find(' '), text.size());
    generation = read_number(text.substr(0, space)).value_or(0);
    key = text.substr(std::min(space + 1, text.size()));
  }
  // Another generation than those that are known, or a sequence that came before: ask how they hang together.
  if (generation > cursor.lineage.generation() || delivery.sequence <= cursor.reached) UTP_CHECK(set_lineage(cursor));
  if (delivery.sequence <= cursor.reached) return {};
  // Sequences have no gaps, but where messages were removed before they were read.
  const std::uint64_t gone = delivery.sequence - cursor.reached - 1;
  InMessage view;
  view.topic = cursor.topic;
  view.partition = cursor.partition;
  view.position = std::max(cursor.lineage.position_of(delivery.sequence), position_at(generation, delivery.sequence));
  view.publish_time = delivery.time;
  view.key = key;
  view.value = {natsMsg_GetData(message.get()), static_cast<std::size_t>(natsMsg_GetDataLength(message.get()))};
  cursor.fetched = view.position;
  cursor.reached = delivery.sequence;
  ++cursor.buffered;
  fetched_.push_back({&cursor, std::move(message), view, delivery.sequence, gone});
  return {};
}

void NatsSubscription::deliver(std::size_t messages_max, std::size_t bytes_max) {
  std::size_t bytes = 0;
  while (!fetched_.empty() && messages_.size() < messages_max) {
    auto& [cursor, message, view, sequence, gone] = fetched_.front();
    if (reads(*cursor) && view.position > cursor->acknowledged) {
      const std::size_t size = view.key.size() + view.value.size();
      if (!messages_.empty() && bytes + size > bytes_max) return;
      bytes += size;
      cursor->lost += in_group() ? 0 : gone;
      cursor->is_lost_due |= gone > 0;
      if (view.key.find('%') != std::string_view::npos) view.key = keys_.emplace_back(decode_header(view.key));
      view.attempt = cursor->passes.attempt(view.position);
      cursor->delivered = std::max(cursor->delivered, view.position);
      messages_.push_back(view);
      kept_.push_back(std::move(message));
    }
    --cursor->buffered;
    fetched_.pop_front();
  }
}

Result<std::span<const InMessage>> NatsSubscription::poll(std::size_t messages_max, std::size_t bytes_max, std::int64_t timeout_ns) {
  if (pending_) {
    UTP_CHECK(connect());
    UTP_CHECK(write_passes());
    pending_ = false;
    return std::span<const InMessage>(messages_);
  }
  messages_.clear();
  kept_.clear();
  keys_.clear();
  messages_max = std::max<std::size_t>(messages_max, 1);
  const std::int64_t begin = steady_ns();
  const std::int64_t deadline = timeout_ns > INT64_MAX - begin ? INT64_MAX : begin + std::max<std::int64_t>(timeout_ns, 0);
  for (bool looked = false;; looked = true) {
    if (interrupted_.exchange(false)) return fail(Code::kCancelled, "poll was interrupted");
    UTP_CHECK(connect());
    if (!looked && steady_ns() - pumped_ns_ > kFreshNs) UTP_CHECK(drop_trimmed());
    if (steady_ns() >= next_look_ns_) UTP_CHECK(find_topics(false));
    if (in_group() && (is_view_changed_ || steady_ns() >= next_maintenance_ns_)) UTP_CHECK(maintain());
    deliver(messages_max, bytes_max);
    if (!messages_.empty()) {
      pending_ = true;
      UTP_CHECK(ask_ahead());
      if (in_group()) UTP_CHECK(write_passes());
      pending_ = false;
      return std::span<const InMessage>(messages_);
    }
    const std::int64_t now = steady_ns();
    if (looked && now >= deadline) return std::span<const InMessage>();
    const bool wait = deadline > now;
    UTP_CHECK(ask(wait));
    UTP_CHECK(pump(wait ? std::min(deadline - now, kSliceMs * 1'000'000) : 0));
    // Without a timeout this look is the only one: its answers are waited for.
    while (fetched_.empty() && is_looking()) UTP_CHECK(pump(kSliceMs * 1'000'000));
  }
}

}  // namespace utp::nats_bus
