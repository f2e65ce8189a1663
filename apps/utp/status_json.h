// The JSON forms that several commands share.
#pragma once

#include <span>

#include "bus/bus.h"
#include "core/json_writer.h"

namespace utp::app {

void write_topics(std::span<const TopicStats> topics, JsonWriter& json);

}  // namespace utp::app
