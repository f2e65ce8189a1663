#include "drivers/bus/redis/subscription.h"

#include <hiredis/hiredis.h>

#include <algorithm>
#include <chrono>
#include <climits>

#include "bus/subscription_options.h"
#include "core/clock.h"
#include "core/log.h"
#include "drivers/bus/redis/entry.h"
#include "model/envelope.h"

namespace utp::redis_bus {
namespace {

// How often a subscription looks at the list of topics, though it is told of new ones: somebody may have emptied the
// server.
constexpr std::int64_t kLookNs = 1'000'000'000;
constexpr std::int64_t kMilli = 1'000'000;
constexpr std::int64_t kBlockMinNs = kMilli;  // the server counts milliseconds; 0 would be for ever
constexpr std::size_t kFetchMax = 500;           // messages of one stream in one reply: more brings no more speed
constexpr std::size_t kFetchBytes = 8 << 20;     // what a reply may have, as far as the sizes of late tell

std::int64_t steady_ns() { return std::chrono::steady_clock::now().time_since_epoch().count(); }

}  // namespace

Result<std::unique_ptr<Subscription>> RedisSubscription::open(std::shared_ptr<Server> server,
                                                              SubscriptionOptions options) {
  UTP_CHECK(prepare(options));
  std::unique_ptr<RedisSubscription> subscription(new RedisSubscription(std::move(server), std::move(options)));
  Connection& connection = subscription->connection_;
  UTP_CHECK(connection.ensure());
  connection.add({"XREVRANGE", subscription->server_->keys().changes(), "+", "-", "COUNT", "1"});
  UTP_TRY(const Reply newest, connection.run_one());
  subscription->changes_id_ = "0-0";
  if (const auto entries = items(newest.get()); !entries.empty())
    subscription->changes_id_ = text(items(entries[0])[0]);
  UTP_CHECK(subscription->find_topics(true));
  if (subscription->in_group()) UTP_CHECK(subscription->maintain());
  return std::unique_ptr<Subscription>(std::move(subscription));
}

RedisSubscription::~RedisSubscription() {
  if (!in_group() || !connection_.ensure()) return;  // the leases run out by themselves
  for (auto& cursor : cursors_) {
    if (!cursor->held) continue;
    end_pass(*cursor);
    connection_.add(Script::kNote, cursor->stream,
                    {options_.group, options_.member, cursor->epoch, cursor->passes.write(), "1"});
  }
  connection_.add({"HDEL", server_->keys().members(options_.group), options_.member});
  if (connection_.run_all()) (void)server_->announce(connection_, "group", options_.group);
}

// ---- topics ----

Result<std::uint64_t> RedisSubscription::place_new(const Cursor& cursor, bool at_start) {
  // A topic that came later than the subscription is read whole: all of it was published since.
  const Start::Kind kind =
      at_start || options_.start.kind == Start::Kind::kTime ? options_.start.kind : Start::Kind::kEarliest;
  // The server's times are whole milliseconds, compared as texts of 13 digits.
  std::string time = std::to_string((std::max<std::int64_t>(options_.start.time.ns, 0) + kMilli - 1) / kMilli);
  time.insert(0, 13 - std::min<std::size_t>(time.size(), 13), '0');
  connection_.add(Script::kStart, cursor.stream,
                  {options_.group,
                   kind == Start::Kind::kLatest ? "latest"
                   : kind == Start::Kind::kTime ? "time"
                                                : "earliest",
                   time});
  UTP_TRY(const Reply reply, connection_.run_one());
  const auto position = position_of(text(reply.get()));
  if (!position) {
    return fail(Code::kCorrupt, connection_.place() + ": " + cursor.stream + " has the id \"" +
                                    std::string(text(reply.get())) +
                                    "\", which is not of this bus; another program writes there");
  }
  return *position;
}

// What came of this partition and was not delivered; reading it goes on behind what was.
void RedisSubscription::drop_fetched(Cursor& cursor) {
  std::erase_if(fetched_, [&](const Fetched& f) { return f.cursor == &cursor; });
  cursor.fetched = std::max(cursor.acknowledged, cursor.delivered);
}

Status RedisSubscription::find_topics(bool at_start) {
  UTP_TRY(const auto records, server_->topics(connection_));
  for (const TopicRecord& record : records) {
    const bool wanted = std::any_of(options_.patterns.begin(), options_.patterns.end(),
                                    [&](const auto& pattern) { return topic_matches(pattern, record.topic); });
    if (!wanted) continue;
    const auto known =
        std::find_if(cursors_.begin(), cursors_.end(), [&](const auto& c) { return c->topic == record.topic; });
    if (known != cursors_.end()) {
      if ((*known)->created == record.created) continue;
      log::warn("a topic was removed from the server and made again; reading starts anew", {{"topic", record.topic}});
      for (auto& cursor : cursors_) {
        if (cursor->topic == record.topic) drop_fetched(*cursor);
      }
      std::erase_if(cursors_, [&](const auto& c) { return c->topic == record.topic; });
    }
    std::vector<std::unique_ptr<Cursor>> found;
    for (std::uint32_t p = 0; p < record.options.partitions; ++p) {
      auto cursor = std::make_unique<Cursor>();
      cursor->topic = record.topic;
      cursor->created = record.created;
      cursor->partition = p;
      cursor->stream = server_->keys().stream(record.topic, p);
      UTP_TRY(cursor->start, place_new(*cursor, at_start));
      cursor->fetched = cursor->start;
      found.push_back(std::move(cursor));
    }
    std::move(found.begin(), found.end(), std::back_inserter(cursors_));
    next_maintenance_ns_ = 0;
  }
  next_look_ns_ = steady_ns() + kLookNs;
  return {};
}

// ---- reading ----

void RedisSubscription::take_change(const redisReply* entry) {
  const auto parts = items(entry);
  if (parts.size() != 2) return;
  changes_id_ = text(parts[0]);
  const auto fields = items(parts[1]);
  if (fields.size() != 2) return;
  if (text(fields[0]) == "topic") next_look_ns_ = 0;
  if (text(fields[0]) == "group" && text(fields[1]) == options_.group) next_maintenance_ns_ = 0;
}

void RedisSubscription::take_entry(Cursor& cursor, const redisReply* entry) {
  const auto parts = items(entry);
  if (parts.size() != 2) return;
  const auto position = position_of(text(parts[0]));
  if (!position || *position <= cursor.fetched) return;
  const auto pair = items(parts[1]);
  EntryReader entry_reader(pair.size() == 2 ? text(pair[0]) : std::string_view(), pair.size() == 2 ? text(pair[1]) : std::string_view());
  const std::uint64_t before = number_of(*position) - std::min<std::uint64_t>(entry_reader.count(), number_of(*position));
  // Numbers have no gaps, but where entries were removed before they were read.
  if (before > number_of(cursor.fetched)) {
    cursor.lost += before - number_of(cursor.fetched);
    cursor.is_lost_due = true;
  }
  InMessage message;
  message.topic = cursor.topic;
  message.partition = cursor.partition;
  message.publish_time.ns = entry_reader.time_ns();
  message.position = *position - entry_reader.count();
  while (entry_reader.next(message.key, message.value)) {
    if (++message.position > cursor.fetched) fetched_.push_back({&cursor, message});
  }
  cursor.fetched = *position;
}

Status RedisSubscription::fetch(std::int64_t block_ns) {
  std::vector<Cursor*> readers;
  for (auto& cursor : cursors_) {
    if (reads(*cursor)) readers.push_back(cursor.get());
  }
  std::size_t count = std::min(kFetchMax / average_messages_, kFetchBytes / average_bytes_) + 1;
  if (readers.size() > 1)
    count = std::min(count, std::max<std::size_t>(kFetchBytes / average_bytes_ / readers.size(), 1));
  UTP_CHECK(connection_.ensure());
  const std::string count_text = std::to_string(count);
  const std::string block_text = std::to_string(block_ns / 1'000'000);
  const std::string changes = server_->keys().changes();
  std::vector<std::string> ids;
  ids.reserve(readers.size());
  for (const Cursor* cursor : readers) ids.push_back(id_of(cursor->fetched));
  std::vector<std::string_view> command{"XREAD", "COUNT", count_text};
  const bool blocks = block_ns >= kBlockMinNs;
  if (blocks) command.insert(command.end(), {"BLOCK", block_text});
  command.insert(command.end(), {"STREAMS", changes});
  for (const Cursor* cursor : readers) command.push_back(cursor->stream);
  command.push_back(changes_id_);
  command.insert(command.end(), ids.begin(), ids.end());
  connection_.add(command);
  UTP_TRY(reply_, connection_.run_one(blocks ? block_ns : 0, &interrupt_));
  auto reader = readers.begin();
  std::size_t entries = 0;
  for (const redisReply* stream : items(reply_.get())) {
    const auto parts = items(stream);
    if (parts.size() != 2) continue;
    if (text(parts[0]) == changes) {
      for (const redisReply* entry : items(parts[1])) take_change(entry);
      continue;
    }
    while (reader != readers.end() && (*reader)->stream != text(parts[0]))
      ++reader;  // the reply has the command's order
    if (reader == readers.end()) break;
    for (const redisReply* entry : items(parts[1])) take_entry(**reader, entry);
    entries += items(parts[1]).size();
  }
  if (!fetched_.empty()) {
    std::size_t bytes = 0;
    for (const Fetched& f : fetched_) bytes += f.message.key.size() + f.message.value.size();
    average_bytes_ = std::max<std::size_t>((average_bytes_ + bytes / entries) / 2, 64);
    average_messages_ = (average_messages_ + fetched_.size() / entries + 1) / 2;
  }
  return {};
}

void RedisSubscription::deliver(std::size_t messages_max, std::size_t bytes_max) {
  std::size_t bytes = 0;
  while (!fetched_.empty() && messages_.size() < messages_max) {
    auto& [cursor, message] = fetched_.front();
    if (reads(*cursor) && message.position > cursor->acknowledged) {
      const std::size_t size = message.key.size() + message.value.size();
      if (!messages_.empty() && bytes + size > bytes_max) return;
      bytes += size;
      message.attempt = cursor->passes.attempt(message.position);
      cursor->delivered = std::max(cursor->delivered, message.position);
      messages_.push_back(message);
    }
    fetched_.pop_front();
  }
}

Result<std::span<const InMessage>> RedisSubscription::poll(std::size_t messages_max, std::size_t bytes_max,
                                                           std::int64_t timeout_ns) {
  if (pending_) {
    UTP_CHECK(write_passes());
    pending_ = false;
    return std::span<const InMessage>(messages_);
  }
  messages_.clear();
  messages_max = std::max<std::size_t>(messages_max, 1);
  const std::int64_t begin = steady_ns();
  const std::int64_t deadline =
      timeout_ns > INT64_MAX - begin ? INT64_MAX : begin + std::max<std::int64_t>(timeout_ns, 0);
  for (bool looked = false;; looked = true) {
    if (interrupt_.take()) return fail(Code::kCancelled, "poll was interrupted");
    if (steady_ns() >= next_look_ns_) UTP_CHECK(find_topics(false));
    if (in_group() && steady_ns() >= next_maintenance_ns_) UTP_CHECK(maintain());
    deliver(messages_max, bytes_max);
    if (!messages_.empty()) {
      pending_ = true;
      if (in_group()) UTP_CHECK(write_passes());
      pending_ = false;
      return std::span<const InMessage>(messages_);
    }
    const std::int64_t now = steady_ns();
    const std::int64_t due = in_group() ? std::min(next_look_ns_, next_maintenance_ns_) : next_look_ns_;
    if (looked && due == 0) continue;  // what was fetched told of a change
    if (looked && now >= deadline) return std::span<const InMessage>();
    // The first look does not wait: without a timeout it is the only one.
    const std::int64_t block = looked ? std::max(std::min(deadline, due) - now, kBlockMinNs) : 0;
    UTP_CHECK(fetch(block));
  }
}

std::vector<LostRange> RedisSubscription::take_lost() {
  std::vector<LostRange> lost;
  for (auto& cursor : cursors_) {
    if (in_group()) {
      if (!cursor->held || !cursor->is_lost_due || !connection_.ensure()) continue;
      connection_.add(Script::kTake, cursor->stream, {options_.group, options_.member, cursor->epoch});
      const auto count = connection_.run_one();
      if (!count) continue;  // it stays due
      cursor->is_lost_due = false;
      cursor->lost = number(count->get());
    }
    if (cursor->lost == 0) continue;
    lost.push_back({cursor->topic, cursor->partition, cursor->lost});
    cursor->lost = 0;
  }
  return lost;
}

}  // namespace utp::redis_bus
