// What every driver asks of the sizes of messages before it publishes any of them.
#pragma once

#include <span>

#include "bus/bus.h"

namespace utp {

// kInvalidArgument, with the message's number and topic, for an envelope or a key that is too long.
[[nodiscard]] Status check_sizes(std::span<const OutMessage> messages, std::size_t key_bytes_max);

}  // namespace utp
