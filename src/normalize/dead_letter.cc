#include "normalize/dead_letter.h"

#include <algorithm>
#include <cstdio>

#include "core/base64.h"
#include "core/hash.h"
#include "core/json_writer.h"
#include "core/log.h"

namespace utp {
namespace {

constexpr std::int64_t kFloodWindowNs = 60'000'000'000;
// dlq/v1 allows 480,000 characters of base64; with cut texts around them a part stays below kEnvelopeBytesMax.
constexpr std::size_t kPartBytesMax = 330'000;

// Length in bytes of the UTF-8 sequence at `text`, 0 when there is none.
std::size_t utf8_size(std::string_view text) {
  const auto at = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const auto tail = [&](std::size_t i) { return (at(i) & 0xC0) == 0x80; };
  const unsigned c = at(0);
  if (c < 0x80) return 1;
  if (c >= 0xC2 && c <= 0xDF) return tail(1) ? 2 : 0;
  if (c >= 0xE0 && c <= 0xEF) {
    if (!tail(1) || !tail(2) || (c == 0xE0 && at(1) < 0xA0) || (c == 0xED && at(1) > 0x9F)) return 0;
    return 3;
  }
  if (c >= 0xF0 && c <= 0xF4) {
    if (!tail(1) || !tail(2) || !tail(3) || (c == 0xF0 && at(1) < 0x90) || (c == 0xF4 && at(1) > 0x8F)) return 0;
    return 4;
  }
  return 0;
}

// At most `code_points_max` code points; what is no UTF-8 or a control character becomes '?', so that JSON does not swell.
std::string clip(std::string_view text, std::size_t code_points_max) {
  std::string out;
  for (std::size_t count = 0; !text.empty() && count < code_points_max; ++count) {
    const std::size_t size = utf8_size(text);
    if (size == 0 || (size == 1 && static_cast<unsigned char>(text[0]) < 0x20)) {
      out += '?';
    } else {
      out.append(text.substr(0, size));
    }
    text.remove_prefix(std::max<std::size_t>(size, 1));
  }
  return out;
}

// A symbol that the envelope would refuse is left out rather than losing the letter.
std::string_view usable_symbol(std::string_view symbol) {
  constexpr std::string_view kOther = " ._:/+=^#$@&*!~-";
  const auto good = [&](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || kOther.find(c) != std::string_view::npos;
  };
  return symbol.size() <= 64 && std::all_of(symbol.begin(), symbol.end(), good) ? symbol : std::string_view{};
}

void write_overflow(std::string& out, const DeadLetter& letter) {
  JsonWriter json(out);
  json.begin_object();
  json.field("stage", to_string(letter.stage)).field("code", clip(letter.code, 64)).field("path", clip(letter.path, 1024));
  json.field("message", clip(letter.message, 4000)).field("attempts", letter.attempts);
  std::string original;
  append_base64(original, letter.original);
  json.field("original", original).field("original_bytes", letter.original.size());
  json.field("original_hash", hash128(letter.original).to_hex()).field("part", 0).field("parts", 1);
  if (!letter.origin_topic.empty()) json.field("origin_topic", clip(letter.origin_topic, 256));
  if (letter.origin_partition) json.field("origin_partition", *letter.origin_partition);
  if (letter.origin_position) json.field("origin_position", *letter.origin_position);
  if (!letter.connector.empty()) json.field("connector", clip(letter.connector, 128));
  if (letter.connection) json.field("connection", *letter.connection);
  if (!letter.frame_kind.empty()) json.field("frame_kind", clip(letter.frame_kind, 16));
  if (letter.receive_time) json.field("receive_time", *letter.receive_time);
  if (!letter.event_type.empty()) json.field("event_type", clip(letter.event_type, 64));
  json.end_object();
  out += '\n';
}

}  // namespace

std::string_view to_string(DeadLetterStage stage) {
  switch (stage) {
    case DeadLetterStage::kFrame: return "frame";
    case DeadLetterStage::kMap: return "map";
    case DeadLetterStage::kNormalize: return "normalize";
    case DeadLetterStage::kPublish: return "publish";
    case DeadLetterStage::kRead: return "read";
    case DeadLetterStage::kStore: return "store";
  }
  return "";
}

std::string frames_dead_letter_topic(std::string_view realm, std::string_view region) {
  return dead_letter_topic(topic_name(realm, region, "system/frames/v1"));
}

DeadLetterOverflow overflow_file(std::string path, std::uint64_t bytes_max) {
  return [path = std::move(path), bytes_max, buffer = std::string()](const DeadLetter& letter) mutable {
    buffer.clear();
    write_overflow(buffer, letter);
    std::FILE* file = std::fopen(path.c_str(), "ab");
    if (file == nullptr) return false;
    std::fseek(file, 0, SEEK_END);
    const long size = std::ftell(file);
    bool taken = size >= 0 && static_cast<std::uint64_t>(size) + buffer.size() <= bytes_max;
    if (taken) taken = std::fwrite(buffer.data(), 1, buffer.size(), file) == buffer.size();
    return std::fclose(file) == 0 && taken;
  };
}

Result<std::unique_ptr<DeadLetterWriter>> DeadLetterWriter::create(const Registry& registry, const Clock& clock,
                                                                   DeadLetterOptions options) {
  auto plan = registry.by_event_type("dlq/v1");
  if (!plan) {
    return fail(Code::kNotFound, "the schema of dead letters (dlq/v1) is not among the schemas: start with the built-in ones");
  }
  for (const char* name : {"stage", "code", "path", "message", "attempts", "original", "original_bytes", "original_hash", "part",
                           "parts", "origin_topic", "origin_partition", "origin_position", "connector", "connection",
                           "frame_kind", "receive_time", "event_type", "repaired_from"}) {
    if (!plan->column(name)) return fail(Code::kUnsupported, plan->schema_ref() + " lacks the field \"" + name + "\"");
  }
  return std::unique_ptr<DeadLetterWriter>(new DeadLetterWriter(clock, std::move(options), std::move(plan)));
}

DeadLetterWriter::DeadLetterWriter(const Clock& clock, DeadLetterOptions options, std::shared_ptr<const Plan> plan)
    : clock_(clock),
      options_(std::move(options)),
      plan_(std::move(plan)),
      normalizer_(NormalizerOptions{.source_id = options_.source_id, .realm = options_.realm, .region = options_.region}) {
  route_ = normalizer_.add_route(plan_);
}

DeadLetterWriter::~DeadLetterWriter() = default;

DeadLetterWriter::Outcome DeadLetterWriter::add(const DeadLetter& letter) {
  letters_.fetch_add(1, std::memory_order_relaxed);
  if (within_cap(letter)) {
    append(letter);
    written_.fetch_add(1, std::memory_order_relaxed);
    return Outcome::kWritten;
  }
  if (options_.overflow && options_.overflow(letter)) {
    overflowed_.fetch_add(1, std::memory_order_relaxed);
    return Outcome::kOverflowed;
  }
  dropped_.fetch_add(1, std::memory_order_relaxed);
  return Outcome::kDropped;
}

bool DeadLetterWriter::within_cap(const DeadLetter& letter) {
  const std::int64_t now = clock_.monotonic_ns();
  std::string name;
  // What names no connector (a message that is no envelope) is told apart by its topic.
  name.append(letter.connector.empty() ? letter.origin_topic : letter.connector).append(1, '\n').append(letter.code).append(1, '\n').append(letter.path);
  auto found = windows_.find(name);
  if (found == windows_.end()) {
    if (windows_.size() >= options_.flood_keys_max) {
      std::erase_if(windows_, [&](const auto& entry) { return now - entry.second.start_ns >= kFloodWindowNs; });
    }
    if (windows_.size() >= options_.flood_keys_max) name.clear();
    found = windows_.try_emplace(name, Window{now, 0, 0}).first;
  }
  Window& window = found->second;
  if (now - window.start_ns >= kFloodWindowNs) window = {now, 0, 0};
  if (window.count < options_.flood_per_minute) {
    ++window.count;
    return true;
  }
  if (window.held_back++ == 0) {
    log::warn("flood of dead letters: the rest of this minute is held back",
              {{"connector", letter.connector}, {"code", letter.code}, {"path", letter.path},
               {"per_minute", std::to_string(options_.flood_per_minute)}});
  }
  return false;
}

void DeadLetterWriter::append(const DeadLetter& letter) {
  const Plan& plan = *plan_;
  const auto column = [&](const char* name) { return *plan.column(name); };
  const std::size_t parts = std::max<std::size_t>(1, (letter.original.size() + kPartBytesMax - 1) / kPartBytesMax);
  const std::string hash = hash128(letter.original).to_hex();
  const std::string topic = letter.origin_topic.empty() ? frames_dead_letter_topic(options_.realm, options_.region)
                            : is_dead_letter_topic(letter.origin_topic) ? std::string(letter.origin_topic)
                                                                        : dead_letter_topic(letter.origin_topic);
  const Timestamp now = clock_.now();

  for (std::size_t part = 0; part < parts; ++part) {
    row_.reset(plan);
    const auto text = [&](const char* name, std::string_view value, std::size_t code_points_max) {
      if (!value.empty()) row_.copy(column(name), clip(value, code_points_max));
    };
    const auto number = [&](const char* name, std::uint64_t value) {
      row_.set(column(name), static_cast<std::int64_t>(value));
    };
    row_.copy(column("stage"), to_string(letter.stage));
    text("code", letter.code.empty() ? "unknown" : letter.code, 64);
    text("path", letter.path, 1024);
    row_.copy(column("message"), clip(letter.message, 4000));
    number("attempts", std::clamp<std::uint32_t>(letter.attempts, 1, 1'000'000));
    std::string original;
    append_base64(original, letter.original.substr(part * kPartBytesMax, kPartBytesMax));
    row_.copy(column("original"), original);
    number("original_bytes", letter.original.size());
    row_.copy(column("original_hash"), hash);
    number("part", part);
    number("parts", parts);
    text("origin_topic", letter.origin_topic, 256);
    if (letter.origin_partition) number("origin_partition", *letter.origin_partition);
    if (letter.origin_position) number("origin_position", *letter.origin_position);
    text("connector", letter.connector, 128);
    if (letter.connection) number("connection", *letter.connection);
    text("frame_kind", letter.frame_kind, 16);
    if (letter.receive_time) row_.set(column("receive_time"), *letter.receive_time);
    text("event_type", letter.event_type, 64);
    text("repaired_from", letter.repaired_from, 32);

    EventHeader header;
    header.symbol = usable_symbol(letter.symbol);
    header.event_time = letter.receive_time.value_or(now);
    header.event_time_source = EventTimeSource::kReceipt;
    Violation violation;
    if (!normalizer_.normalize(route_, header, row_, now, batch_, violation)) {
      // The fields above are cut to what dlq/v1 allows, so only a name that the caller made up (frame_kind) gets here.
      log::error("a dead letter was refused by its own schema",
                 {{"code", violation.code}, {"path", violation.path}, {"message", violation.message}});
      row_.set(column("frame_kind"), Value{});
      if (!normalizer_.normalize(route_, header, row_, now, batch_, violation)) continue;
    }
    targets_.push_back(topic);
  }
}

std::span<const DeadLetterMessage> DeadLetterWriter::messages() {
  messages_.clear();
  for (std::size_t i = 0; i < targets_.size(); ++i) {
    const EventBatch::Entry& entry = batch_.entries()[i];
    messages_.push_back({targets_[i], batch_.key(entry), batch_.value(entry)});
  }
  return messages_;
}

void DeadLetterWriter::clear() {
  batch_.clear();
  targets_.clear();
  messages_.clear();
}

DeadLetterStats DeadLetterWriter::stats() const {
  return {letters_.load(std::memory_order_relaxed), written_.load(std::memory_order_relaxed),
          overflowed_.load(std::memory_order_relaxed), dropped_.load(std::memory_order_relaxed)};
}

}  // namespace utp
