// The sim's settings, read from the connector's settings object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "core/timestamp.h"

namespace utp::sim {

enum class Channel : std::uint8_t { kQuotes, kTrades, kBooks, kOptions, kNews, kCalendar, kHeartbeat };
inline constexpr std::size_t kChannels = 7;
inline constexpr std::string_view kChannelNames[kChannels] = {"quotes", "trades", "books", "options", "news", "calendar", "heartbeat"};
inline constexpr bool per_symbol(Channel channel) { return channel <= Channel::kBooks; }

enum class Fault : std::uint8_t { kNone, kGap, kDuplicate, kReorder, kStall, kMalformed, kCorrupt, kDisconnect };
inline constexpr std::size_t kFaults = 8;
inline constexpr std::string_view kFaultNames[kFaults] = {"", "gap", "duplicate", "reorder", "stall", "malformed", "corrupt", "disconnect"};

struct PlannedFault {
  std::uint64_t frame = 0;  // ordinal of the message, counted from 0 over all connections
  Fault fault = Fault::kNone;
};

struct Settings {
  bool flat = false;          // as fast as it can, by virtual time; else live, by the clock
  double speed = 1;           // live: factor on all rates
  std::optional<std::uint64_t> seed;  // default: the host's
  Timestamp start = Timestamp::from_seconds(1'795'357'800);  // of virtual time: 2026-11-22T14:30:00Z
  std::uint64_t frames = 0;   // messages until it ends; 0 = never
  int book_depth = 25;
  double rates[kChannels] = {60, 30, 30, 40, 0.2, 0.1, 1};  // messages a second, all symbols together
  double fault_chance[kFaults] = {};  // per message
  std::vector<PlannedFault> planned;  // by frame
  std::uint32_t gap_frames = 1;       // messages that one gap swallows
  std::int64_t stall_ns = 2'000'000'000;

  static Result<Settings> parse(std::string_view json);  // an object; "" is {}
};

}  // namespace utp::sim
