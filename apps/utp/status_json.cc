#include "apps/utp/status_json.h"

namespace utp::app {
namespace {

void time_field(JsonWriter& json, std::string_view name, Timestamp time) {
  json.key(name);
  if (time.ns == 0) json.null();
  else json.value(time);
}

}  // namespace

void write_topics(std::span<const TopicStats> topics, JsonWriter& json) {
  json.begin_array();
  for (const TopicStats& t : topics) {
    json.begin_object()
        .field("topic", t.topic)
        .field("partitions", t.partitions)
        .field("messages", t.messages)
        .field("bytes", t.bytes)
        .field("published", t.published)
        .field("lost", t.lost);
    time_field(json, "first_time", t.first_time);
    time_field(json, "last_time", t.last_time);
    json.key("groups").begin_array();
    for (const GroupStats& g : t.groups) {
      json.begin_object().field("group", g.group).field("lag", g.lag);
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
