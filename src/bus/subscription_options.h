// What every driver asks of the options of a subscription.
#pragma once

#include "bus/bus.h"

namespace utp {

inline constexpr std::size_t kGroupNameBytesMax = 100;  // of groups and members; printable ASCII without spaces

// kInvalidArgument with the cure where they are wrong. A member without a name gets one that no other process has.
[[nodiscard]] Status prepare(SubscriptionOptions& options);

}  // namespace utp
