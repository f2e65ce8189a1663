#include "connector/pipeline.h"

#include <algorithm>
#include <exception>

#include "core/log.h"

namespace utp {
namespace {

constexpr std::string_view kSystemTypes[] = {"system/gap/v1", "system/stale/v1", "system/reconnect/v1", "system/watermark/v1",
                                             "system/health/v1"};

NormalizerOptions normalizer_options(const PipelineOptions& options) {
  NormalizerOptions n;
  n.source_id = options.source_id;
  n.realm = options.realm;
  n.region = options.region;
  n.lateness_ns = options.lateness_ns;
  return n;
}

// Everything that `from` refers to becomes `to`'s own.
std::size_t copy_row(const Row& from, Row& to) {
  const Plan& plan = from.plan();
  to.reset(plan);
  std::size_t bytes = 0;
  const auto columns = plan.columns();
  for (std::size_t i = 0; i < columns.size(); ++i) {
    const Value& value = from[i];
    bytes += sizeof(Value);
    if (value.kind == Kind::kText) {
      to.copy(i, value.as_text());
      bytes += value.size;
    } else if (value.kind == Kind::kArray) {
      to.begin_array(i);
      for (Value element : from.elements(i, columns[i].arity)) {
        if (element.kind == Kind::kText) element = Value::of(to.keep(element.as_text()));
        to.push(element);
        bytes += sizeof(Value) + (element.kind == Kind::kText ? element.size : 0);
      }
      to.end_array(i, value.size);
    } else {
      to.set(i, value);
    }
  }
  return bytes;
}

}  // namespace

Pipeline::Pipeline(PipelineOptions options, const Clock& clock, Publisher& publisher, std::unique_ptr<Mapper> mapper,
                   StreamWatch* watch)
    : options_(std::move(options)),
      clock_(clock),
      publisher_(publisher),
      mapper_(std::move(mapper)),
      watch_(watch),
      normalizer_(normalizer_options(options_)) {}

Pipeline::~Pipeline() = default;

Result<std::unique_ptr<Pipeline>> Pipeline::create(PipelineOptions options, const Registry& registry, const Clock& clock,
                                                   Publisher& publisher, std::unique_ptr<Mapper> mapper,
                                                   StreamWatch* watch) {
  std::unique_ptr<Pipeline> pipeline(new Pipeline(std::move(options), clock, publisher, std::move(mapper), watch));
  UTP_CHECK(pipeline->set_up(registry));
  return pipeline;
}

Status Pipeline::set_up(const Registry& registry) {
  for (const auto& plan : options_.plans) {
    normalizer_.add_route(plan);
    conflates_.push_back(plan->delivery() == Delivery::kConflate);
    counts_.events.emplace_back(plan->event_type(), 0);
  }
  for (int i = 0; i < kSystemEvents; ++i) {
    auto plan = registry.by_event_type(kSystemTypes[i]);
    if (!plan) return fail(Code::kNotFound, "no schema for " + std::string(kSystemTypes[i]) + ", which the host publishes");
    system_[i].route = normalizer_.add_route(plan);
    system_[i].row.reset(*plan);
    counts_.events.emplace_back(plan->event_type(), 0);
    conflates_.push_back(false);
    system_[i].plan = std::move(plan);
  }
  DeadLetterOptions letters;
  letters.source_id = options_.source_id;
  letters.realm = options_.realm;
  letters.region = options_.region;
  letters.flood_per_minute = options_.dead_letters_per_minute;
  letters.overflow = options_.dead_letter_overflow;
  UTP_TRY(dead_letters_, DeadLetterWriter::create(registry, clock_, std::move(letters)));
  return {};
}

std::vector<std::pair<std::string, std::shared_ptr<const Plan>>> Pipeline::topics() const {
  std::vector<std::pair<std::string, std::shared_ptr<const Plan>>> all;
  for (std::uint32_t i = 0; i < options_.plans.size(); ++i) all.emplace_back(normalizer_.topic(i), options_.plans[i]);
  for (const SystemRoute& s : system_) all.emplace_back(normalizer_.topic(s.route), s.plan);
  return all;
}

void Pipeline::on_frame(const Frame& frame) {
  frame_ = &frame;
  frame_has_events_ = false;
  now_ = clock_.now();
  ++counts_.frames;
  counts_.frame_bytes += frame.bytes.size();
  if (frame.kind == FrameKind::kOpen) normalizer_.connection_opened();
  opens_.on_frame(frame);
  if (watch_ != nullptr) watch_->on_frame(frame, *this);
  try {
    mapper_->on_frame(frame, *this);
  } catch (const std::exception& e) {
    reject("mapper", "", std::string("the mapper failed on this frame: ") + e.what());
  }
  if (frame_has_events_) receive_ns_.push_back(frame.receive_time.ns);
  frame_ = nullptr;
}

void Pipeline::check(Timestamp now) {
  if (watch_ == nullptr) return;
  now_ = clock_.now();
  watch_->check(now, *this);
}

bool Pipeline::emit(std::uint32_t route, const EventHeader& header, const Row& row) {
  if (pressure_ && conflates_[route]) return hold(route, header, row);
  return append(route, header, row);
}

bool Pipeline::append(std::uint32_t route, const EventHeader& header, const Row& row) {
  Violation violation;
  if (!normalizer_.normalize(route, header, row, now_, batch_, violation)) {
    dead_letter(DeadLetterStage::kNormalize, route, violation.code, violation.path, violation.message);
    return false;
  }
  ++counts_.events[route].second;
  ++counts_.events_total;
  frame_has_events_ = true;
  return true;
}

bool Pipeline::hold(std::uint32_t route, const EventHeader& header, const Row& row) {
  Violation violation;
  if (!row.plan().validate(row, violation)) {
    dead_letter(DeadLetterStage::kNormalize, route, violation.code, violation.path, violation.message);
    return false;
  }
  waiting_key_.assign(reinterpret_cast<const char*>(&route), sizeof route).append(header.symbol);
  Waiting*& slot = waiting_by_key_[waiting_key_];
  if (slot == nullptr) {
    if (spare_.empty()) spare_.push_back(std::make_unique<Waiting>());
    waiting_.push_back(std::move(spare_.back()));
    spare_.pop_back();
    slot = waiting_.back().get();
    slot->route = route;
    slot->symbol.assign(header.symbol);
    slot->replaced = 0;
    slot->bytes = 0;
  } else {
    ++slot->replaced;
    ++counts_.conflated;
  }
  slot->header = header;
  slot->header.symbol = slot->symbol;
  waiting_bytes_ -= slot->bytes;
  slot->bytes = copy_row(row, slot->row) + sizeof(Waiting) + slot->symbol.size();
  waiting_bytes_ += slot->bytes;
  slot->receive_ns = frame_ != nullptr ? frame_->receive_time.ns : now_.ns;
  return true;
}

void Pipeline::release_held() {
  if (waiting_.empty()) return;
  for (auto& slot : waiting_) {
    if (slot->replaced > 0) slot->header.quality = slot->header.quality | Quality::kConflated;
    if (append(slot->route, slot->header, slot->row)) receive_ns_.push_back(slot->receive_ns);
    spare_.push_back(std::move(slot));
  }
  waiting_.clear();
  waiting_by_key_.clear();
  waiting_bytes_ = 0;
}

void Pipeline::set_pressure(bool pressure) {
  if (pressure_ && !pressure) release_held();
  pressure_ = pressure;
}

void Pipeline::command(Command command) {
  ++counts_.commands;
  command.opens = opens_.of(command.connection);
  if (options_.commands) options_.commands(std::move(command));
}

void Pipeline::reject(std::string_view code, std::string_view path, std::string_view message) {
  dead_letter(DeadLetterStage::kMap, kNoRoute, code, path, message);
}

void Pipeline::reject_event(std::uint32_t route, std::string_view code, std::string_view path, std::string_view message) {
  dead_letter(DeadLetterStage::kMap, route, code, path, message);
}

void Pipeline::dead_letter(DeadLetterStage stage, std::uint32_t route, std::string_view code, std::string_view path,
                           std::string_view message) {
  ++counts_.rejects;
  DeadLetter letter;
  letter.stage = stage;
  letter.code = code;
  letter.path = path;
  letter.message = message;
  letter.connector = options_.source_id;
  if (frame_ != nullptr) {
    letter.original = frame_->bytes;
    letter.connection = frame_->connection;
    letter.frame_kind = to_string(frame_->kind);
    letter.receive_time = frame_->receive_time;
  }
  if (route != kNoRoute) {
    letter.origin_topic = normalizer_.topic(route);
    letter.event_type = normalizer_.plan(route).event_type();
  }
  add_letter(letter);
}

void Pipeline::add_letter(const DeadLetter& letter) {
  if (dead_letters_->add(letter) == DeadLetterWriter::Outcome::kWritten) {
    dead_letter_bytes_ += letter.original.size() * 4 / 3 + 1024;  // base64 and the envelope
  }
}

template <class Fill>
void Pipeline::system_event(SystemEvent kind, std::string_view symbol, Fill&& fill) {
  SystemRoute& s = system_[kind];
  s.row.reset(*s.plan);
  const auto set = [&](std::string_view column, const auto& value) {
    if (const auto at = s.plan->column(column)) s.row.set(*at, value);
  };
  fill(set);
  EventHeader header;
  header.symbol = symbol;
  header.event_time = frame_ != nullptr ? frame_->receive_time : now_;
  header.event_time_source = EventTimeSource::kReceipt;
  append(s.route, header, s.row);
}

template <class Fill>
void Pipeline::stream_event(SystemEvent kind, const WatchedStream& stream, Fill&& fill) {
  for (const std::string& type : stream.event_types) {
    system_event(kind, stream.symbol, [&](const auto& set) {
      set("stream_type", std::string_view(type));
      set("channel", std::string_view(stream.channel));
      fill(set);
    });
  }
}

void Pipeline::gap(std::string_view event_type, std::string_view symbol, std::string_view reason, std::uint64_t missed) {
  ++counts_.gaps;
  system_event(kGap, symbol, [&](const auto& set) {
    if (!event_type.empty()) set("stream_type", event_type);
    set("reason", reason.empty() ? std::string_view("unknown") : reason.substr(0, 512));
    if (missed > 0) set("missed", static_cast<std::int64_t>(std::min(missed, kSequenceMax)));
  });
}

void Pipeline::dropped(std::uint64_t frames, Timestamp from, Timestamp to) {
  now_ = clock_.now();
  ++counts_.gaps;
  system_event(kGap, "", [&](const auto& set) {
    set("reason", std::string_view("the bus took no messages for longer than the queues hold: frames were dropped"));
    set("missed", static_cast<std::int64_t>(std::min(frames, kSequenceMax)));
    set("from_time", from);
    set("to_time", to);
  });
}

void Pipeline::health(std::string_view state, std::string_view detail) {
  now_ = clock_.now();
  system_event(kHealth, "", [&](const auto& set) {
    set("component", std::string_view(options_.source_id));
    set("state", state);
    set("detail", detail);
  });
}

void Pipeline::alive(std::uint32_t connection, std::string_view channel, std::string_view symbol) {
  if (watch_ != nullptr) watch_->alive(connection, channel, symbol, frame_ != nullptr ? frame_->receive_time : now_, *this);
}

void Pipeline::refused(std::uint32_t connection, std::string_view reason) {
  if (watch_ != nullptr) watch_->refused(connection, reason, frame_ != nullptr ? frame_->receive_time : now_);
}

void Pipeline::reconnected(std::uint32_t connection, std::string_view reason, std::uint32_t attempt, std::int64_t down_ns,
                           std::uint32_t wanted) {
  system_event(kReconnected, "", [&](const auto& set) {
    set("connection", static_cast<std::int64_t>(connection));
    if (!reason.empty()) set("reason", reason);
    set("attempt", static_cast<std::int64_t>(std::clamp<std::uint32_t>(attempt, 1, 1'000'000)));
    set("down_ms", down_ns / 1'000'000);
    set("wanted", static_cast<std::int64_t>(wanted));
  });
}

void Pipeline::stale(const WatchedStream& stream, bool stale, std::int64_t age_ns) {
  log::warn(stale ? "stream is stale" : "stream is back",
            {{"source", options_.source_id}, {"channel", stream.channel}, {"symbol", stream.symbol},
             {"age_ms", std::to_string(age_ns / 1'000'000)}});
  stream_event(kStale, stream, [&](const auto& set) {
    set("state", std::string_view(stale ? "stale" : "recovered"));
    set("age_ms", age_ns / 1'000'000);
    set("limit_ms", stream.stale_after_ns / 1'000'000);
  });
}

void Pipeline::missing(const WatchedStream& stream, std::string_view reason, Timestamp from, Timestamp to) {
  counts_.gaps += stream.event_types.size();
  stream_event(kGap, stream, [&](const auto& set) {
    set("reason", reason.substr(0, 512));
    set("from_time", from);
    set("to_time", to);
  });
}

void Pipeline::watermark(const WatchedStream& stream, Timestamp promise) {
  stream_event(kWatermark, stream, [&](const auto& set) { set("watermark", promise); });
}

void Pipeline::reconnect(std::uint32_t connection, std::string reason) {
  log::warn("connection is made again", {{"source", options_.source_id}, {"connection", std::to_string(connection)}, {"reason", reason}});
  Command again;
  again.kind = Command::Kind::kReconnect;
  again.connection = connection;
  again.text = std::move(reason);
  command(std::move(again));
}

Status Pipeline::publish_events() {
  const auto entries = batch_.entries();
  std::size_t singly_until = 0;  // in a chunk with a message that the bus refuses, to find it
  while (published_ < entries.size()) {
    const std::size_t events_max = published_ < singly_until ? 1 : options_.batch_events;
    messages_.clear();
    std::size_t bytes = 0;
    for (std::size_t i = published_; i < entries.size() && messages_.size() < events_max && bytes < options_.batch_bytes; ++i) {
      messages_.push_back({normalizer_.topic(entries[i].route), batch_.key(entries[i]), batch_.value(entries[i])});
      bytes += entries[i].value_size;
    }
    if (auto status = publisher_.publish(messages_); !status) {
      ++counts_.publish_failures;
      if (status.error().code != Code::kInvalidArgument) return status;
      if (messages_.size() > 1) {
        singly_until = published_ + messages_.size();
        continue;
      }
      DeadLetter letter;
      letter.stage = DeadLetterStage::kPublish;
      letter.code = to_string(status.error().code);
      letter.message = status.error().message;
      letter.original = messages_.front().value;
      letter.origin_topic = messages_.front().topic;
      letter.connector = options_.source_id;
      letter.symbol = messages_.front().key;
      add_letter(letter);
      ++counts_.rejects;
      ++published_;
      continue;
    }
    published_ += messages_.size();
    counts_.published += messages_.size();
  }
  return {};
}

// Goes on where it stopped: letters are only ever added behind those that are there.
Status Pipeline::publish_dead_letters() {
  if (dead_letters_->empty()) return {};
  const auto letters = dead_letters_->messages();
  std::size_t singly_until = 0;
  while (letters_published_ < letters.size()) {
    const std::size_t letters_max = letters_published_ < singly_until ? 1 : options_.batch_events;
    messages_.clear();
    std::size_t bytes = 0;
    for (std::size_t i = letters_published_; i < letters.size() && messages_.size() < letters_max && bytes < options_.batch_bytes; ++i) {
      messages_.push_back({letters[i].topic, letters[i].key, letters[i].value});
      bytes += letters[i].value.size();
    }
    if (auto status = publisher_.publish(messages_); !status) {
      ++counts_.publish_failures;
      if (status.error().code != Code::kInvalidArgument) return status;
      if (messages_.size() > 1) {
        singly_until = letters_published_ + messages_.size();
        continue;
      }
      log::error("a dead letter is lost: the bus refuses it", {{"source", options_.source_id}, {"error", status.error().message}});
    }
    letters_published_ += messages_.size();
  }
  dead_letters_->clear();
  letters_published_ = 0;
  dead_letter_bytes_ = 0;
  return {};
}

Status Pipeline::flush_batch() {
  if (batch_.size() == 0) return {};
  UTP_CHECK(publish_events());
  measure();
  batch_.clear();
  published_ = 0;
  return {};
}

// What is held back joins the batch only when the bus takes messages again: until then newer events replace it.
Status Pipeline::flush() {
  UTP_CHECK(flush_batch());
  if (!waiting_.empty()) {
    now_ = clock_.now();
    release_held();
    UTP_CHECK(flush_batch());
  }
  return publish_dead_letters();
}

void Pipeline::measure() {
  const std::int64_t now_ns = clock_.now().ns;
  for (const std::int64_t receive_ns : receive_ns_) latency_.add(now_ns - receive_ns);
  receive_ns_.clear();
}

const PipelineCounts& Pipeline::counts() {
  counts_.latency_samples = latency_.count();
  counts_.latency_p50_ns = latency_.quantile(0.5).value_or(0);
  counts_.latency_p99_ns = latency_.quantile(0.99).value_or(0);
  return counts_;
}

}  // namespace utp
