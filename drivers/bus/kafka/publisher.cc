#include "drivers/bus/kafka/publisher.h"

#include <algorithm>
#include <utility>

#include "bus/message_size.h"
#include "core/hash.h"
#include "core/log.h"
#include "drivers/bus/kafka/record.h"
#include "model/envelope.h"

namespace utp::kafka_bus {
namespace {

// A round is sent whole and waited for: what follows a refused message never comes before its repetition.
constexpr std::size_t kRoundMessages = 10'000;
constexpr std::size_t kRoundBytes = 16 << 20;
// Messages wait until the round is whole: then flushing sends them in as few requests as there can be. Requests cost the
// brokers far more than messages do.
constexpr int kLingerMs = 1000;
// A broker's refusal that may pass is repeated for about half of a round's time: one that lasts is then told by its name,
// where librdkafka would repeat it until the round's time is over.
constexpr int kRetryMs = 100;
// After an error of librdkafka's own: how long to wait for the broker's answer that was its cause.
constexpr std::int64_t kReasonNs = 1'000'000'000;

// The parts of "utp.<realm>.<region>.<event type>.v<n>", for readers of other programs; of other names none.
rd_kafka_headers_t* headers_of(const std::string& topic) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at <= topic.size();) {
    const std::size_t end = std::min(topic.find('.', at), topic.size());
    words.push_back(topic.substr(at, end - at));
    at = end + 1;
  }
  rd_kafka_headers_t* headers = rd_kafka_headers_new(3);
  const auto add_header = [&](const char* name, const std::string& value) {
    rd_kafka_header_add(headers, name, -1, value.data(), static_cast<ssize_t>(value.size()));
  };
  if (words.size() > 1 && words.back() == "dlq") words.pop_back();
  if (words.size() < 5 || words[0] != "utp" || words.back()[0] != 'v') return headers;
  std::string type = words[3];
  for (std::size_t i = 4; i + 1 < words.size(); ++i) type += "/" + words[i];
  add_header("utp-realm", words[1]);
  add_header("utp-region", words[2]);
  add_header("utp-type", type + "/" + words.back());
  return headers;
}

}  // namespace

KafkaPublisher::~KafkaPublisher() {
  disconnect();
  for (auto& [name, topic] : topics_) rd_kafka_headers_destroy(topic->headers);
}

Status KafkaPublisher::check(std::span<const OutMessage> messages) const {
  UTP_CHECK(check_sizes(messages, kKafkaBusKeyBytesMax));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    if (i > 0 && message.topic == messages[i - 1].topic) continue;
    if (topics_.find(message.topic) == topics_.end()) UTP_CHECK(check_topic(message.topic));
  }
  return {};
}

// ---- the producer ----

void KafkaPublisher::delivered(rd_kafka_t* rk, const rd_kafka_message_t* record, void* opaque) {
  auto& publisher = *static_cast<KafkaPublisher*>(opaque);
  --publisher.round_.waiting;
  if (record->err) {
    auto& error = publisher.round_.error;
    if (!error || (error < 0 && record->err > 0)) error = record->err;  // those above 0 are a broker's
    rd_kafka_yield(rk);  // the round is over
    return;
  }
  auto& lane = static_cast<Topic*>(record->_private)->lanes[static_cast<std::size_t>(record->partition)];
  if (record->offset < 0) return;  // the answer to a repetition does not always say
  if (record->offset <= lane.confirmed) {
    lane.lost_from = record->offset;
    lane.lost_to = lane.confirmed + 1;
    publisher.has_losses_ = true;
  }
  lane.confirmed = record->offset;
}

Status KafkaPublisher::connect() {
  if (client_) return {};
  // Messages do not run out of time one by one: a round that takes too long is given up whole, with the producer.
  const int retries = std::max(millis(server_->options().answer_timeout_ns) / kRetryMs / 2, 1);
  UTP_TRY(client_, new_client(
                       RD_KAFKA_PRODUCER, server_->options(),
                       {{"enable.idempotence", "true"},
                        {"enable.gapless.guarantee", "true"},
                        {"acks", "all"},
                        {"message.timeout.ms", "0"},
                        {"retries", std::to_string(retries)},
                        {"retry.backoff.ms", std::to_string(kRetryMs)},
                        {"linger.ms", std::to_string(kLingerMs)},
                        {"queue.buffering.max.messages", std::to_string(2 * kRoundMessages)},
                        {"queue.buffering.max.kbytes", std::to_string(4 * kRoundBytes / 1024)}},
                       [](rd_kafka_conf_t* conf) { rd_kafka_conf_set_dr_msg_cb(conf, delivered); }, this));
  return {};
}

void KafkaPublisher::disconnect() {
  if (!client_) return;
  rd_kafka_purge(client_.get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  for (auto& [name, topic] : topics_) {
    if (topic->handle != nullptr) rd_kafka_topic_destroy(topic->handle);
    topic->handle = nullptr;
  }
  client_.reset();
}

Result<KafkaPublisher::Topic*> KafkaPublisher::topic_of(std::string_view name) {
  auto found = topics_.find(name);
  if (found == topics_.end()) {
    auto topic = std::make_unique<Topic>();
    UTP_TRY(topic->record, server_->create_topic(name, server_->options().default_topic, false));
    topic->lanes.resize(topic->record.partitions);
    topic->headers = headers_of(topic->record.topic);
    if (options_.durability == Durability::kCommit) warn_of_durability(topic->record);
    found = topics_.emplace(std::string(name), std::move(topic)).first;
  }
  Topic* topic = found->second.get();
  if (topic->handle != nullptr) return topic;
  if (topic->was_used) {  // with another producer, which failed: somebody may have removed it
    TopicOptions options = server_->options().default_topic;
    options.partitions = topic->record.partitions;
    UTP_TRY(topic->record, server_->create_topic(name, options, false));
    if (topic->record.made || topic->record.partitions != topic->lanes.size())
      topic->lanes.assign(topic->record.partitions, Lane());
  }
  topic->was_used = true;
  topic->handle = rd_kafka_topic_new(client_.get(), topic->record.name.c_str(), nullptr);
  if (topic->handle == nullptr)
    return fail_with(server_->options(), "topic " + topic->record.topic, rd_kafka_last_error());
  return topic;
}

void KafkaPublisher::warn_of_durability(const TopicRecord& record) {
  const auto settings = server_->admin().topic_settings({record.name}, true);
  if (!settings || !settings->contains(record.name)) return;
  const Settings& own = settings->at(record.name);
  const auto value = [&](const char* name) {
    const auto found = own.find(name);
    return found == own.end() ? std::string() : found->second;
  };
  if (!server_->is_first_warning(record.name)) return;
  if (value("flush.messages") == "1" || (!value("min.insync.replicas").empty() && value("min.insync.replicas") != "1"))
    return;
  log::warn(
      "durability commit is asked for, and this topic is kept neither by several brokers nor on the disk before the "
      "answer; set "
      "min.insync.replicas to 2 with 3 replicas, or flush.messages to 1",
      {{"topic", record.topic}, {"cluster", server_->options().servers}});
}

// ---- publishing ----

rd_kafka_resp_err_t KafkaPublisher::produce(Topic& topic, const OutMessage& message, Timestamp time) {
  const std::size_t count = topic.lanes.size();
  const auto partition = static_cast<std::int32_t>(count == 1 ? 0 : hash64(message.key) % count);
  rd_kafka_headers_t* headers = rd_kafka_headers_copy(topic.headers);
  const auto error = rd_kafka_producev(client_.get(), RD_KAFKA_V_RKT(topic.handle), RD_KAFKA_V_PARTITION(partition),
                                       RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY),
                                       RD_KAFKA_V_KEY(message.key.data(), message.key.size()),
                                       RD_KAFKA_V_VALUE(const_cast<char*>(message.value.data()), message.value.size()),
                                       RD_KAFKA_V_TIMESTAMP(record_ms(time)), RD_KAFKA_V_HEADERS(headers),
                                       RD_KAFKA_V_OPAQUE(&topic), RD_KAFKA_V_END);
  if (error) rd_kafka_headers_destroy(headers);
  return error;
}

Status KafkaPublisher::send(std::span<const OutMessage> messages) {
  last_time_ = std::max(last_time_, SystemClock().now());
  round_ = {};
  Topic* topic = nullptr;
  for (const OutMessage& message : messages) {
    if (topic == nullptr || topic->record.topic != message.topic) {
      UTP_TRY(topic, topic_of(message.topic));
    }
    const auto error = produce(*topic, message, last_time_);
    if (error) {
      round_.error = error;
      break;
    }
    ++round_.waiting;
  }
  std::int64_t deadline = steady_ns() + server_->options().answer_timeout_ns;
  // The other messages of a round that a broker refused may be given up by librdkafka before that answer is told.
  for (bool failed = false; round_.waiting > 0 && round_.error <= 0;) {
    if (round_.error && !std::exchange(failed, true)) deadline = std::min(deadline, steady_ns() + kReasonNs);
    const std::int64_t left = deadline - steady_ns();
    if (left <= 0) break;
    rd_kafka_flush(client_.get(), millis(left));
  }
  if (round_.waiting == 0 && !round_.error) return {};
  // With the producer goes what is still on its way, so that nothing of it comes after the repetition.
  std::string reason;
  auto error = round_.error ? round_.error : RD_KAFKA_RESP_ERR__TIMED_OUT;
  if (char text[512]; const auto fatal = rd_kafka_fatal_error(client_.get(), text, sizeof text)) {
    reason = text;
    if (error < 0) error = fatal;
  }
  disconnect();
  return fail_with(server_->options(), "publishing", error, reason);
}

Status KafkaPublisher::publish(std::span<const OutMessage> messages) {
  UTP_CHECK(check(messages));
  if (messages.empty()) return {};
  UTP_CHECK(connect());
  // Every topic is made before anything is sent.
  for (std::size_t i = 0; i < messages.size(); ++i) {
    if (i == 0 || messages[i].topic != messages[i - 1].topic) UTP_CHECK(topic_of(messages[i].topic));
  }
  while (!messages.empty()) {
    std::size_t count = 0;
    for (std::size_t bytes = 0; count < messages.size() && count < kRoundMessages; ++count) {
      bytes += messages[count].key.size() + messages[count].value.size();
      if (bytes > kRoundBytes && count > 0) break;
    }
    UTP_CHECK(send(messages.first(count)));
    messages = messages.subspan(count);
  }
  if (has_losses_) (void)write_losses();  // the messages are in; it is tried again with the next ones
  return {};
}

// ---- losses ----

Status KafkaPublisher::write_losses() {
  for (auto& [name, topic] : topics_) {
    for (std::uint32_t p = 0; p < topic->lanes.size(); ++p) {
      Lane& lane = topic->lanes[p];
      if (lane.lost_from < 0) continue;
      UTP_CHECK(server_->record_lost({topic->record.name, p}, lane.lost_from, lane.lost_to));
      lane.lost_from = -1;
    }
  }
  has_losses_ = false;
  return {};
}

// Kafka has no command that makes it write its files: what is published is as safe as it will be. What a restart of a
// broker took is noticed here, before the next message.
Status KafkaPublisher::sync() {
  std::vector<Partition> partitions;
  for (auto& [name, topic] : topics_) {
    for (const Partition& partition : topic->record.all()) partitions.push_back(partition);
  }
  UTP_TRY(const auto ends, server_->admin().offsets(partitions, Admin::kEnd));
  for (auto& [name, topic] : topics_) {
    for (std::uint32_t p = 0; p < topic->lanes.size(); ++p) {
      Lane& lane = topic->lanes[p];
      const auto end = ends.find({topic->record.name, p});
      if (end == ends.end() || end->second < 0 || end->second > lane.confirmed) continue;
      lane.lost_from = end->second;
      lane.lost_to = lane.confirmed + 1;
      lane.confirmed = end->second - 1;
      has_losses_ = true;
    }
  }
  return has_losses_ ? write_losses() : Status();
}

}  // namespace utp::kafka_bus
