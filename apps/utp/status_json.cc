#include "apps/utp/status_json.h"

#include <algorithm>

#include "model/envelope.h"

namespace utp::app {
namespace {

void time_field(JsonWriter& json, std::string_view name, Timestamp time) {
  json.key(name);
  if (time.ns == 0) json.null();
  else json.value(time);
}

}  // namespace

std::int64_t lag_ns(const GroupStats& group, Timestamp now) {
  return group.oldest_unread.ns == 0 ? 0 : std::max<std::int64_t>(now.ns - group.oldest_unread.ns, 0);
}

void write_topics(std::span<const TopicStats> topics, Timestamp now, const std::map<std::string, double>& rates, JsonWriter& json) {
  json.begin_array();
  for (const TopicStats& t : topics) {
    json.begin_object()
        .field("topic", t.topic)
        .field("partitions", t.partitions)
        .field("messages", t.messages)
        .field("bytes", t.bytes)
        .field("published", t.published)
        .field("lost", t.lost);
    json.key("rate");
    if (const auto rate = rates.find(t.topic); rate != rates.end()) json.value(rate->second);
    else json.null();
    json.field("retention_seconds", static_cast<double>(t.retention_ns / 1'000'000) / 1e3).field("retention_bytes", t.retention_bytes);
    time_field(json, "first_time", t.first_time);
    time_field(json, "last_time", t.last_time);
    if (!is_dead_letter_topic(t.topic)) {
      const auto dead = std::find_if(topics.begin(), topics.end(), [&](const TopicStats& other) { return other.topic == t.topic + ".dlq"; });
      json.key("dlq").begin_object().field("messages", dead == topics.end() ? 0 : dead->messages).field("bytes", dead == topics.end() ? 0 : dead->bytes).end_object();
    }
    json.key("groups").begin_array();
    for (const GroupStats& g : t.groups) {
      json.begin_object().field("group", g.group).field("lag", g.lag);
      json.field("lag_seconds", static_cast<double>(lag_ns(g, now) / 1'000'000) / 1e3);
      time_field(json, "oldest_unread", g.oldest_unread);
      json.field("trimmed_unread", g.trimmed_unread).key("members").begin_array();
      for (const std::string& member : g.members) json.value(member);
      json.end_array().end_object();
    }
    json.end_array().end_object();
  }
  json.end_array();
}

}  // namespace utp::app
