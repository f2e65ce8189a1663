// Reads one topic once, up to its end.
#pragma once

#include <functional>
#include <string>

#include "bus/bus.h"

namespace utp {

// `take` gets what the topic holds from `start` up to its newest message at the call, in order within a partition; a view is valid
// until `take` returns. What retention removes meanwhile is passed over. kCancelled when `give_up` says true. How many messages should have
// come and did not, before the bus fell silent for two seconds; always some with a start in the middle.
Result<std::uint64_t> read_topic(Bus& bus, const std::string& topic, const Start& start, const std::function<bool()>& give_up,
                  const std::function<void(const InMessage&)>& take);

}  // namespace utp
