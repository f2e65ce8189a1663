// The JSON forms that several commands share.
#pragma once

#include <map>
#include <span>
#include <string>

#include "bus/bus.h"
#include "core/json_writer.h"

namespace utp::app {

// `now`: for ages. `rates`: messages a second by topic; a topic without one has null.
void write_topics(std::span<const TopicStats> topics, Timestamp now, const std::map<std::string, double>& rates, JsonWriter& json);

// By how much `now` is past the oldest message that a group has not acknowledged; 0 when there is none.
std::int64_t lag_ns(const GroupStats& group, Timestamp now);

}  // namespace utp::app
