#include "model/envelope.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace utp {
namespace {

constexpr std::array<std::string_view, 3> kSources = {"venue", "gateway", "receipt"};
constexpr std::array<std::string_view, kQualityCount> kQualities = {
    "delayed", "stale", "snapshot", "gap", "late", "conflated", "indicative", "rounded", "repaired"};
constexpr std::string_view kDeadLetterSuffix = ".dlq";
constexpr std::size_t kTopicBytesMax = 200;

bool is_segment_char(char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

// The segment that begins at `at`; `at` moves behind it and its dot, npos at the end.
std::string_view next_segment(std::string_view text, std::size_t& at) {
  const std::size_t dot = text.find('.', at);
  const std::string_view segment = text.substr(at, dot == std::string_view::npos ? dot : dot - at);
  at = dot == std::string_view::npos ? dot : dot + 1;
  return segment;
}

Status check_segments(std::string_view text, bool wildcards) {
  const std::string what = wildcards ? "topic pattern" : "topic";
  const auto refuse = [&](const std::string& why) {
    return fail(Code::kInvalidArgument, what + " \"" + std::string(text.substr(0, 100)) + "\": " + why);
  };
  if (text.empty()) return refuse("is empty");
  if (text.size() > kTopicBytesMax) return refuse("has more than " + std::to_string(kTopicBytesMax) + " bytes");
  for (std::size_t at = 0; at != std::string_view::npos;) {
    const std::string_view segment = next_segment(text, at);
    if (segment.empty()) return refuse("has an empty segment");
    if (wildcards && segment == "*") continue;
    if (wildcards && segment == ">") {
      // "a.>.dlq" asks for the dead letters below "a".
      if (at == std::string_view::npos || text.substr(at) == "dlq") continue;
      return refuse("\">\" stands for the rest, so only \".dlq\" may follow it");
    }
    if (!std::all_of(segment.begin(), segment.end(), is_segment_char)) {
      return refuse("the segment \"" + std::string(segment) + "\" has other characters than a-z, 0-9, _ and -");
    }
  }
  return {};
}

bool segments_match(std::string_view pattern, std::string_view topic) {
  std::size_t p = 0;
  std::size_t t = 0;
  while (p != std::string_view::npos && t != std::string_view::npos) {
    const std::string_view want = next_segment(pattern, p);
    if (want == ">") return p == std::string_view::npos;
    const std::string_view have = next_segment(topic, t);
    if (have.empty() || (want != "*" && want != have)) return false;
  }
  return p == t;
}

}  // namespace

std::string_view to_string(EventTimeSource source) { return kSources[static_cast<std::size_t>(source)]; }

std::optional<EventTimeSource> parse_event_time_source(std::string_view text) {
  for (std::size_t i = 0; i < kSources.size(); ++i) {
    if (kSources[i] == text) return static_cast<EventTimeSource>(i);
  }
  return std::nullopt;
}

std::string_view quality_name(unsigned bit) { return bit < kQualityCount ? kQualities[bit] : std::string_view{}; }

std::optional<Quality> parse_quality(std::string_view name) {
  for (unsigned bit = 0; bit < kQualityCount; ++bit) {
    if (kQualities[bit] == name) return static_cast<Quality>(1u << bit);
  }
  return std::nullopt;
}

std::string to_string(Quality set) {
  std::string text;
  for (unsigned bit = 0; bit < kQualityCount; ++bit) {
    if (!has(set, static_cast<Quality>(1u << bit))) continue;
    if (!text.empty()) text += ',';
    text += kQualities[bit];
  }
  return text;
}

Hash128 idempotency_key(const Envelope& envelope) {
  const std::size_t texts = envelope.event_type.size() + envelope.source_id.size() + envelope.symbol.size();
  std::array<char, 512> small;
  std::string large;
  char* begin = small.data();
  if (texts + 36 > small.size()) {
    large.resize(texts + 36);
    begin = large.data();
  }
  char* out = begin;
  const auto put_number = [&out](auto value) {
    if constexpr (std::endian::native == std::endian::big) {
      value = sizeof value == 4 ? __builtin_bswap32(static_cast<std::uint32_t>(value)) : __builtin_bswap64(value);
    }
    std::memcpy(out, &value, sizeof value);
    out += sizeof value;
  };
  for (const std::string_view text : {envelope.event_type, envelope.source_id, envelope.symbol}) {
    put_number(static_cast<std::uint32_t>(text.size()));
    if (!text.empty()) std::memcpy(out, text.data(), text.size());
    out += text.size();
  }
  put_number(static_cast<std::uint64_t>(envelope.event_time.ns));
  put_number(envelope.sequence);
  put_number(envelope.checksum);
  return hash128({begin, static_cast<std::size_t>(out - begin)});
}

std::string topic_name(std::string_view realm, std::string_view region, std::string_view event_type) {
  std::string topic = "utp.";
  topic.append(realm).append(".").append(region).append(".");
  const std::size_t start = topic.size();
  topic.append(event_type);
  std::replace(topic.begin() + static_cast<std::ptrdiff_t>(start), topic.end(), '/', '.');
  return topic;
}

std::string dead_letter_topic(std::string_view topic) { return std::string(topic) + std::string(kDeadLetterSuffix); }
bool is_dead_letter_topic(std::string_view topic) { return topic.ends_with(kDeadLetterSuffix); }

bool topic_matches(std::string_view pattern, std::string_view topic) {
  if (topic.empty() || is_dead_letter_topic(pattern) != is_dead_letter_topic(topic)) return false;
  if (is_dead_letter_topic(pattern)) {
    pattern.remove_suffix(kDeadLetterSuffix.size());
    topic.remove_suffix(kDeadLetterSuffix.size());
  }
  return segments_match(pattern, topic);
}

Status check_topic(std::string_view topic) { return check_segments(topic, false); }
Status check_topic_pattern(std::string_view pattern) { return check_segments(pattern, true); }

}  // namespace utp
