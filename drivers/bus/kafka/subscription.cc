#include "drivers/bus/kafka/subscription.h"

#include <algorithm>
#include <array>
#include <climits>
#include <utility>

#include "bus/subscription_options.h"
#include "core/log.h"
#include "drivers/bus/kafka/record.h"
#include "model/envelope.h"

namespace utp::kafka_bus {
namespace {

constexpr std::int64_t kLookNs = 1'000'000'000;  // how often a subscription looks for new topics
// Messages that waited here for longer may have been removed from the cluster meanwhile: looked up before they are
// given out.
constexpr std::int64_t kFreshNs = 50'000'000;
constexpr std::int64_t kLowLookNs = 20'000'000;
constexpr std::size_t kFetchedMax = 20'000;
constexpr std::size_t kBatchMax = 1'000;  // of one call of librdkafka
constexpr std::int64_t kAgainNs = 5'000'000;
// librdkafka looks about once a second whether a heartbeat is due, and when it is asked something: a poll asks, so that
// partitions change hands faster. A lease has to outlast a few of those seconds.
constexpr std::int64_t kHeartbeatNs = 300'000'000;
constexpr std::int64_t kLeaseMinNs = 3'000'000'000;

}  // namespace

Result<std::unique_ptr<Subscription>> KafkaSubscription::open(std::shared_ptr<Server> server,
                                                              SubscriptionOptions options) {
  UTP_CHECK(prepare(options));
  std::unique_ptr<KafkaSubscription> subscription(new KafkaSubscription(std::move(server), std::move(options)));
  UTP_CHECK(subscription->connect());
  UTP_CHECK(subscription->find_topics(true));
  return std::unique_ptr<Subscription>(std::move(subscription));
}

Status KafkaSubscription::connect() {
  const KafkaBusOptions& options = server_->options();
  constexpr std::int64_t kSessionMaxMs = 1'800'000;  // the brokers' default; a longer lease is kept by polling alone
  constexpr std::int64_t kPollMaxMs = 86'400'000;
  lease_ns_ = std::max({options_.lease_ns, server_->lease_min_ns(), kLeaseMinNs});
  const std::int64_t lease_ms = std::min((lease_ns_ + kMsNs - 1) / kMsNs, kPollMaxMs);
  const std::int64_t session_ms = std::min(lease_ms, kSessionMaxMs);
  UTP_TRY(client_,
          new_client(
              RD_KAFKA_CONSUMER, options,
              {{"client.id", options_.member},
               {"group.id", in_group() ? server_->group_name(options_.group) : options.prefix + "utp.look"},
               {"partition.assignment.strategy", "roundrobin"},
               {"session.timeout.ms", std::to_string(session_ms)},
               {"max.poll.interval.ms", std::to_string(lease_ms)},
               {"heartbeat.interval.ms", std::to_string(kHeartbeatNs / kMsNs)},
               {"enable.auto.commit", "false"},
               {"enable.auto.offset.store", "false"},
               {"auto.offset.reset", "error"},
               {"allow.auto.create.topics", "false"},
               {"queued.max.messages.kbytes", "65536"},  // where so much waits, librdkafka fetches again after a second
               {"queued.min.messages", "100000"},
               {"fetch.wait.max.ms", "100"},
               {"fetch.error.backoff.ms", "50"}},
              [](rd_kafka_conf_t* conf) { rd_kafka_conf_set_rebalance_cb(conf, rebalance); }, this));
  queue_.reset(rd_kafka_queue_get_consumer(client_.get()));
  return {};
}

KafkaSubscription::~KafkaSubscription() {
  if (in_group() && client_ && queue_) leave();
  out_.clear();
  fetched_.clear();
  assigned_.reset();
  revoked_.reset();
  queue_.reset();
  client_.reset();
}

void KafkaSubscription::interrupt() {
  interrupted_ = true;
  rd_kafka_queue_yield(queue_.get());
}

bool KafkaSubscription::wants(const std::string& topic) const {
  return std::any_of(options_.patterns.begin(), options_.patterns.end(),
                     [&](const auto& pattern) { return topic_matches(pattern, topic); });
}

KafkaSubscription::Cursor& KafkaSubscription::cursor_of(const Partition& partition) {
  auto& cursor = cursors_[partition];
  if (!cursor) {
    cursor = std::make_unique<Cursor>();
    cursor->partition = partition;
    cursor->topic = partition.first.substr(server_->options().prefix.size());
  }
  return *cursor;
}

// ---- topics ----

Status KafkaSubscription::find_topics(bool at_start) {
  UTP_TRY(auto records, server_->topics());
  std::erase_if(records, [&](const TopicRecord& record) { return !wants(record.topic); });
  UTP_CHECK(in_group() ? (at_start ? start_group(records) : Status()) : read_alone(records, at_start));
  if (in_group()) UTP_CHECK(subscribe_to(records));
  next_look_ns_ = steady_ns() + kLookNs;
  return {};
}

Status KafkaSubscription::read_alone(const std::vector<TopicRecord>& found, bool at_start) {
  std::set<std::string> names;
  std::vector<Partition> fresh;
  for (const TopicRecord& record : found) {
    names.insert(record.name);
    for (const Partition& partition : record.all()) {
      if (!cursors_.contains(partition)) fresh.push_back(partition);
    }
  }
  // A topic that is gone and comes again is another one.
  const List gone = new_list();
  for (auto& [partition, cursor] : cursors_) {
    if (names.contains(partition.first)) continue;
    drop_fetched(*cursor);
    add(gone, partition.first, partition.second, RD_KAFKA_OFFSET_INVALID);
  }
  if (gone->cnt > 0) {
    (void)RdError(rd_kafka_incremental_unassign(client_.get(), gone.get()));
    std::erase_if(cursors_, [&](const auto& entry) { return !names.contains(entry.first.first); });
    last_topic_ = nullptr;
  }
  if (fresh.empty()) return {};
  // What was made after this subscription is read whole: all of it was published since.
  Start start = options_.start;
  if (!at_start && start.kind == Start::Kind::kLatest) start.kind = Start::Kind::kEarliest;
  UTP_TRY(const auto places, server_->places(fresh, start));
  const List list = new_list(places.size());
  for (const auto& [partition, offset] : places) add(list, partition.first, partition.second, offset);
  if (const RdError error{rd_kafka_incremental_assign(client_.get(), list.get())}) {
    return fail_with(server_->options(), "reading topics", rd_kafka_error_code(error.get()),
                     rd_kafka_error_string(error.get()));
  }
  for (const auto& [partition, offset] : places) {
    Cursor& cursor = cursor_of(partition);
    cursor.start = cursor.next = cursor.delivered = static_cast<std::uint64_t>(offset);
  }
  return {};
}

Status KafkaSubscription::subscribe_to(const std::vector<TopicRecord>& found) {
  std::set<std::string> names;
  for (const TopicRecord& record : found) names.insert(record.name);
  if (names == subscribed_) return {};
  const List list = new_list(names.size());
  for (const std::string& name : names)
    rd_kafka_topic_partition_list_add(list.get(), name.c_str(), RD_KAFKA_PARTITION_UA);
  const auto error =
      names.empty() ? rd_kafka_unsubscribe(client_.get()) : rd_kafka_subscribe(client_.get(), list.get());
  if (error) return fail_with(server_->options(), "subscribing group " + options_.group, error);
  subscribed_ = std::move(names);
  return {};
}

// ---- what comes ----

void KafkaSubscription::drop_fetched(Cursor& cursor) {
  std::erase_if(fetched_, [&](const Fetched& f) { return f.cursor == &cursor; });
}

// Called by librdkafka from within take_batch(), and while this member leaves.
void KafkaSubscription::rebalance(rd_kafka_t* rk, rd_kafka_resp_err_t error, rd_kafka_topic_partition_list_t* list,
                                  void* self) {
  auto& subscription = *static_cast<KafkaSubscription*>(self);
  if (subscription.is_leaving_) {
    (void)rd_kafka_assign(rk, nullptr);
    return;
  }
  const bool is_assigned = error == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
  (is_assigned ? subscription.assigned_ : subscription.revoked_).reset(rd_kafka_topic_partition_list_copy(list));
  if (!is_assigned) subscription.take_revocation();
  rd_kafka_yield(rk);  // the poll goes on with it at once
}

void KafkaSubscription::take(Record record) {
  if (record->err) {
    take_error(*record);
    return;
  }
  const auto number = static_cast<std::uint32_t>(record->partition);
  if (record->rkt != last_topic_ || last_cursor_->partition.second != number) {
    const auto found = cursors_.find({rd_kafka_topic_name(record->rkt), number});
    if (found == cursors_.end()) return;
    last_topic_ = record->rkt;
    last_cursor_ = found->second.get();
  }
  if (reads(*last_cursor_)) fetched_.push_back({last_cursor_, std::move(record)});
}

void KafkaSubscription::take_error(const rd_kafka_message_t& record) {
  if (record.err == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
    return;  // the lease is over: a rebalance tells of which partitions
  const std::string topic = record.rkt != nullptr ? rd_kafka_topic_name(record.rkt) : "";
  if (record.err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
    const auto found = cursors_.find({topic, static_cast<std::uint32_t>(record.partition)});
    if (found != cursors_.end()) found->second->astray = found->second->stopped = true;
    return;
  }
  if (is_refusal(record.err)) {
    refused_ = to_error(server_->options(), "reading " + topic, record.err);
    return;
  }
  log::warn("kafka subscription",
            {{"member", options_.member}, {"topic", topic}, {"reason", rd_kafka_message_errstr(&record)}});
}

// What is there, or comes within this time: at most `max`, and the number of them.
std::size_t KafkaSubscription::take_batch(int timeout_ms, std::size_t max) {
  std::array<rd_kafka_message_t*, kBatchMax> batch;
  const ssize_t count = rd_kafka_consume_batch_queue(queue_.get(), timeout_ms, batch.data(), std::min(max, kBatchMax));
  for (ssize_t i = 0; i < count; ++i) take(Record(batch[static_cast<std::size_t>(i)]));
  return static_cast<std::size_t>(std::max<ssize_t>(count, 0));
}

// All that is here already; this also tells the group that this member lives.
void KafkaSubscription::take_all() {
  while (take_batch(0, kBatchMax) == kBatchMax && fetched_.size() < kFetchedMax) continue;
}

// ---- giving out ----

bool KafkaSubscription::is_look_due() const {
  if (fetched_.empty() || steady_ns() - low_looked_at_ns_ < kLowLookNs) return false;
  const Fetched& front = fetched_.front();
  return time_of(*front.record).ns < SystemClock().now().ns - kFreshNs ||
         position_of(front.record->offset) > front.cursor->next + 1;
}

Status KafkaSubscription::deliver(std::size_t messages_max, std::size_t bytes_max) {
  if (is_look_due()) {
    std::set<Cursor*> readers;
    for (const Fetched& fetched : fetched_) readers.insert(fetched.cursor);
    UTP_CHECK(look_for_trimmed({readers.begin(), readers.end()}));
    low_looked_at_ns_ = steady_ns();
  }
  std::size_t bytes = 0;
  while (!fetched_.empty() && messages_.size() < messages_max) {
    Fetched& front = fetched_.front();
    Cursor& cursor = *front.cursor;
    const std::uint64_t position = position_of(front.record->offset);
    if (reads(cursor) && position > cursor.next) {
      const std::size_t size = front.record->key_len + front.record->len;
      if (!messages_.empty() && bytes + size > bytes_max) break;
      bytes += size;
      InMessage& message = messages_.emplace_back();
      message.topic = cursor.topic;
      message.partition = cursor.partition.second;
      message.position = position;
      message.publish_time = time_of(*front.record);
      message.key = {static_cast<const char*>(front.record->key), front.record->key_len};
      message.value = {static_cast<const char*>(front.record->payload), front.record->len};
      if (in_group()) {
        message.attempt = cursor.note.passes.attempt(position);
        if (cursor.times.empty() || cursor.times.back().second != message.publish_time) {
          cursor.times.emplace_back(position, message.publish_time);
        }
      }
      cursor.next = cursor.delivered = position;
      cursor.delivered_time = message.publish_time;
      out_.push_back(std::move(front));
    }
    fetched_.pop_front();
  }
  return {};
}

Result<std::span<const InMessage>> KafkaSubscription::poll(std::size_t messages_max, std::size_t bytes_max,
                                                           std::int64_t timeout_ns) {
  if (pending_) {
    take_all();
    UTP_CHECK(write_passes());
    pending_ = false;
    return std::span<const InMessage>(messages_);
  }
  messages_.clear();
  out_.clear();
  messages_max = std::max<std::size_t>(messages_max, 1);
  const std::int64_t begin = steady_ns();
  const std::int64_t deadline =
      timeout_ns > INT64_MAX - begin ? INT64_MAX : begin + std::max<std::int64_t>(timeout_ns, 0);
  for (;;) {
    take_all();
    if (in_group() && steady_ns() >= next_heartbeat_ns_) {
      next_heartbeat_ns_ = steady_ns() + kHeartbeatNs;
      rd_kafka_mem_free(client_.get(), rd_kafka_memberid(client_.get()));
    }
    if (interrupted_.exchange(false)) return fail(Code::kCancelled, "poll was interrupted");
    if (const auto refused = std::exchange(refused_, {})) return fail(*refused);
    if (steady_ns() >= next_look_ns_) UTP_CHECK(find_topics(false));
    if (in_group()) {
      hand_over(false);
      UTP_CHECK(take_assignment());
      UTP_CHECK(commit_due_notes());
    }
    UTP_CHECK(bring_back());
    UTP_CHECK(deliver(messages_max, bytes_max));
    if (!messages_.empty()) {
      pending_ = true;
      if (in_group()) UTP_CHECK(write_passes());
      pending_ = false;
      return std::span<const InMessage>(messages_);
    }
    const std::int64_t now = steady_ns();
    if (now >= deadline) return std::span<const InMessage>();
    std::int64_t until = std::min(deadline, next_look_ns_);
    if (in_group()) until = std::min(until, next_heartbeat_ns_);
    if (revoked_) until = std::min(until, hand_over_until_ns_);
    if (std::any_of(cursors_.begin(), cursors_.end(), [](const auto& entry) { return entry.second->astray; }))
      until = std::min(until, now + kAgainNs);
    // An interrupt that came since take_all() ends this wait at once.
    take_batch(std::max(millis(until - now), 1), 1);
  }
}

}  // namespace utp::kafka_bus
