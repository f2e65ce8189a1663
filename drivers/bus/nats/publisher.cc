// Order without a transaction: a batch is sent without waiting for the answer to each message, and still nothing of it may be
// stored behind a message that was refused. So every message but the first under way names the one before it
// (Nats-Expected-Last-Msg-Id): where that one is not the stream's newest, the server refuses this one, and with it all that
// follow. A sequence (Nats-Expected-Last-Sequence) would not do: a message of another publisher in the place of a refused one
// makes the next fit again. Another publisher's message breaks the chain without harm; what was refused is sent again, its
// first message without a condition, so that each round stores at least one.
#include "drivers/bus/nats/publisher.h"

#include <algorithm>
#include <chrono>
#include <random>

#include "bus/message_size.h"
#include "core/hash.h"
#include "core/log.h"
#include "model/envelope.h"

namespace utp::nats_bus {
namespace {

constexpr std::size_t kWindowMax = 1000;         // messages of one partition under way; more brings no more speed
constexpr std::size_t kWindowMin = 4;            // when others publish to the partition at the same time
constexpr std::size_t kRoundBytes = 4 << 20;     // under way over all partitions
constexpr std::size_t kNameBytes = 8;
constexpr int kOpenTries = 10;

std::string random_name() {
  constexpr std::string_view kLetters = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::random_device random;
  std::string name;
  for (std::size_t i = 0; i < kNameBytes; ++i) name += kLetters[random() % kLetters.size()];
  return name;
}

}  // namespace

NatsPublisher::NatsPublisher(std::shared_ptr<Server> server) : server_(std::move(server)), name_(random_name()) {}

Status NatsPublisher::check(std::span<const OutMessage> messages) const {
  UTP_CHECK(check_sizes(messages, kNatsBusKeyBytesMax));
  for (std::size_t i = 0; i < messages.size(); ++i) {
    const OutMessage& message = messages[i];
    if (i > 0 && message.topic == messages[i - 1].topic) continue;
    if (topics_.find(message.topic) == topics_.end()) UTP_CHECK(check_topic(message.topic));
  }
  return {};
}

Status NatsPublisher::connect() {
  UTP_TRY(auto link, server_->link());
  if (link == link_) return {};
  answers_.reset();
  link_ = std::move(link);
  for (auto& [name, topic] : topics_) {
    for (Lane& lane : topic->lanes) lane.link = nullptr;
  }
  inbox_ = "_INBOX.utp." + name_ + random_name() + ".";
  auto made = Listener::open(link_, inbox_ + "*");
  if (!made) {
    link_.reset();
    return fail(std::move(made.error()));
  }
  answers_ = std::move(*made);
  return {};
}

Result<NatsPublisher::TopicLanes*> NatsPublisher::topic_lanes(std::string_view name) {
  if (const auto found = topics_.find(name); found != topics_.end()) return found->second.get();
  auto lanes = std::make_unique<TopicLanes>();
  UTP_TRY(lanes->record, server_->create_topic(*link_, name, server_->options().default_topic, false));
  for (std::uint32_t p = 0; p < lanes->record.options.partitions; ++p) {
    Lane& lane = lanes->lanes.emplace_back();
    lane.partition = p;
    lane.stream = server_->names().stream(name, p);
    lane.subject = server_->names().subject(name, p);
    lane.window = kWindowMax;
    lane.turn = server_->turn(lane.stream);
  }
  return topics_.emplace(std::string(name), std::move(lanes)).first->second.get();
}

// The stream is there, and its positions are of a generation that no lost message had.
Status NatsPublisher::open(const TopicLanes& topic, Lane& lane) {
  const std::string key = lineage_key(topic.record.topic, lane.partition);
  for (int tries = 0; tries < kOpenTries; ++tries) {
    UTP_TRY(const StreamFacts facts, server_->open_stream(*link_, topic.record, lane.partition));
    UTP_TRY(const Entry entry, server_->get(*link_, key));
    Lineage lineage = Lineage::read(entry.value);
    // In a cluster a stream outlives its servers.
    const std::string created = "." + facts.made;
    const std::string run = (facts.is_clustered ? "cluster" : link_->run()) + created;
    bool changed = false;
    const bool is_behind = lane.position != 0 && generation_of(lane.position) == lineage.generation() &&
                           sequence_of(lane.position) > facts.last;
    if (lineage.run() != run || is_behind) {
      const bool is_other_stream = !lineage.run().empty() && !lineage.run().ends_with(created);
      lineage.open(run, is_other_stream ? 0 : facts.last, generation_of(lane.position), SystemClock().now().ns / 1'000'000'000);
      changed = true;
    }
    if (lane.position != 0 && generation_of(lane.position) != lineage.generation()) changed |= lineage.count_lost(lane.position);
    if (changed) {
      const auto written = server_->put(*link_, key, lineage.write(), entry.revision);
      if (!written && written.error().code == Code::kFenced) continue;  // another publisher was first
      if (!written) return fail(written.error());
    }
    if (generation_of(lane.position) != lineage.generation()) lane.position = 0;
    lane.generation = lineage.generation();
    lane.link = link_.get();
    return {};
  }
  return fail(Code::kUnavailable, link_->place() + ": the record of stream " + lane.stream + " changes all the time; repeat the call", true);
}

void NatsPublisher::drop_batch() {
  for (auto& [topic, lane] : used_) {
    lane->messages.clear();
    lane->ids.clear();
  }
  used_.clear();
}

Status NatsPublisher::publish(std::span<const OutMessage> messages) {
  UTP_CHECK(check(messages));
  drop_batch();  // after an error half-way
  if (messages.empty()) return {};
  UTP_CHECK(connect());
  TopicLanes* topic = nullptr;
  for (const OutMessage& message : messages) {
    if (topic == nullptr || topic->record.topic != message.topic) {
      UTP_TRY(topic, topic_lanes(message.topic));
    }
    const std::size_t count = topic->lanes.size();
    Lane& lane = topic->lanes[count == 1 ? 0 : hash64(message.key) % count];
    if (lane.messages.empty()) {
      lane.sent = lane.confirmed = 0;
      used_.emplace_back(topic, &lane);
    }
    lane.messages.push_back(&message);
  }
  // Always in the same order: no two publishers wait for each other.
  std::sort(used_.begin(), used_.end(), [](const auto& a, const auto& b) { return a.second->stream < b.second->stream; });
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::nanoseconds(server_->options().answer_timeout_ns);
  const auto give = [](Turn* turn) { turn->give(); };
  std::vector<std::unique_ptr<Turn, decltype(give)>> turns;
  for (auto& [used_topic, lane] : used_) {
    if (lane->turn->take(deadline)) {
      turns.emplace_back(lane->turn.get(), give);
    } else {
      return fail(Code::kUnavailable, link_->place() + ": another publisher of this process waits for the server; repeat the call", true);
    }
  }
  Status done = run_rounds();
  if (done || link_->is_alive()) return done;
  // The connection broke: what was under way may have been stored or not. The same ids again store it once.
  UTP_CHECK(connect());
  return run_rounds();
}

Status NatsPublisher::run_rounds() {
  for (int gone = 0;;) {
    bool more = false;
    for (auto& [topic, lane] : used_) {
      if (lane->confirmed == lane->messages.size()) continue;
      more = true;
      if (lane->link == nullptr) UTP_CHECK(open(*topic, *lane));
    }
    if (!more) return {};
    UTP_TRY(Round round, send_round());
    if (round.error) return fail(std::move(*round.error));
    if (!round.is_gone) continue;
    if (++gone > 1) return fail(Code::kUnavailable, link_->place() + ": a stream has no leader at the moment; repeat the call", true);
    for (auto& [topic, lane] : used_) lane->link = nullptr;
    UTP_CHECK(make_again());
  }
}

// Somebody has removed streams. The topics of the batch are made as this publisher knows them, or taken as another made them
// meanwhile.
Status NatsPublisher::make_again() {
  for (auto& [topic, lane] : used_) {
    UTP_TRY(auto record, server_->create_topic(*link_, topic->record.topic, topic->record.options, false));
    if (record.options.partitions == topic->lanes.size()) continue;
    const std::string name = record.topic;
    drop_batch();
    topics_.erase(name);
    return fail(Code::kUnavailable, link_->place() + ": topic " + name + " was made anew with " +
                                        std::to_string(record.options.partitions) + " partitions; repeat the call", true);
  }
  return {};
}

Status NatsPublisher::send(Lane& lane, std::size_t& bytes) {
  const std::size_t end = std::min(lane.messages.size(), lane.confirmed + lane.window);
  for (lane.sent = lane.confirmed; lane.sent < end && bytes < kRoundBytes; ++lane.sent) {
    const OutMessage& message = *lane.messages[lane.sent];
    if (lane.ids.size() == lane.sent) lane.ids.push_back(name_ + std::to_string(next_id_++));
    const std::string reply = inbox_ + std::to_string(first_answer_ + under_way_.size());
    const std::string header = std::to_string(lane.generation) + " " + encode_header(message.key);
    natsMsg* raw = nullptr;
    natsStatus s = natsMsg_Create(&raw, lane.subject.c_str(), reply.c_str(), message.value.data(), static_cast<int>(message.value.size()));
    const Message made(raw);
    if (s == NATS_OK) s = natsMsgHeader_Set(raw, "Utp", header.c_str());
    if (s == NATS_OK) s = natsMsgHeader_Set(raw, "Nats-Msg-Id", lane.ids[lane.sent].c_str());
    if (s == NATS_OK && lane.sent > lane.confirmed) s = natsMsgHeader_Set(raw, "Nats-Expected-Last-Msg-Id", lane.ids[lane.sent - 1].c_str());
    if (s == NATS_OK) s = natsConnection_PublishMsg(link_->connection(), raw);
    if (s != NATS_OK) return fail(link_->error("publishing to " + lane.stream, s));
    under_way_.push_back({&lane, lane.sent});
    bytes += message.key.size() + message.value.size();
  }
  return {};
}

Result<NatsPublisher::Round> NatsPublisher::send_round() {
  first_answer_ += under_way_.size();  // answers to what an earlier call gave up on are not of this round
  under_way_.clear();
  std::size_t bytes = 0;
  for (auto& [topic, lane] : used_) {
    if (lane->confirmed < lane->messages.size() && bytes < kRoundBytes) UTP_CHECK(send(*lane, bytes));
  }
  UTP_CHECK(link_->flush());
  Round round;
  UTP_CHECK(collect(round));
  for (auto& [topic, lane] : used_) {
    const bool whole = lane->confirmed >= lane->sent;
    lane->window = whole ? std::min(lane->window * 2, kWindowMax) : std::max(lane->window / 2, kWindowMin);
  }
  return round;
}

Status NatsPublisher::collect(Round& round) {
  for (std::size_t open = under_way_.size(); open > 0;) {
    Message message;
    const natsStatus s = answers_->next(message, link_->answer_timeout_ms());
    if (s == NATS_NO_RESPONDERS) {  // to one of them; the library does not say which
      round.is_gone = true;
      --open;
      continue;
    }
    if (s != NATS_OK) return fail(link_->error("waiting for the server to store messages", s));
    const auto number = read_number(std::string_view(natsMsg_GetSubject(message.get())).substr(inbox_.size()));
    if (!number || *number < first_answer_ || *number >= first_answer_ + under_way_.size()) continue;
    take_answer(under_way_[*number - first_answer_], message.get(), round);
    --open;
  }
  return {};
}

// Answers of a stream come in the order of its messages.
void NatsPublisher::take_answer(const UnderWay& what, natsMsg* message, Round& round) {
  Lane& lane = *what.lane;
  const std::string_view json(natsMsg_GetData(message), static_cast<std::size_t>(natsMsg_GetDataLength(message)));
  if (json.find("\"error\"") != std::string_view::npos) {
    const int code = static_cast<int>(json_number(json, "\"err_code\"").value_or(0));
    if (code == JSStreamWrongLastMsgIDErr || round.error) return;  // not the cause
    round.error = link_->error("storing in " + lane.stream, NATS_ERR, code);
    round.error->message += " (" + json_text(json, "\"description\"") + ")";
    return;
  }
  const auto sequence = json_number(json, "\"seq\"");
  if (!sequence || what.index != lane.confirmed) return;
  ++lane.confirmed;
  const std::uint64_t position = position_at(lane.generation, *sequence);
  if (position > lane.position) {
    lane.position = position;
  } else if (json.find("\"duplicate\"") == std::string_view::npos) {
    lane.link = nullptr;  // the stream has gone back: somebody has made it anew
  }
}

Status NatsPublisher::sync() {
  UTP_CHECK(connect());
  // What a restart of the server took of ours is counted now, not with the next message.
  for (auto& [name, topic] : topics_) {
    for (Lane& lane : topic->lanes) {
      if (lane.position != 0 && lane.link == nullptr) UTP_CHECK(open(*topic, lane));
    }
  }
  return {};
}

}  // namespace utp::nats_bus
