// DeadLetterWriter: what could not go on becomes dlq/v1 messages with its original bytes, ready for a publisher. A flood is
// capped per connector, code and path: past the cap letters go to a bounded overflow, counted.
//
// Use: add() letters, publish messages(), then clear(). When publishing fails, keep the messages and try again: nothing may
// be acknowledged before they are published. Not thread-safe; stats() is.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "core/clock.h"
#include "core/result.h"
#include "normalize/normalizer.h"
#include "schema/registry.h"

namespace utp {

enum class DeadLetterStage : std::uint8_t { kFrame, kMap, kNormalize, kPublish, kRead, kStore };
std::string_view to_string(DeadLetterStage stage);

// Views need to live during add() only. Texts longer than dlq/v1 allows are cut, bytes that are no UTF-8 replaced; `original`
// is kept byte for byte, in parts when it is large. Empty views and optionals are left out.
struct DeadLetter {
  DeadLetterStage stage = DeadLetterStage::kRead;
  std::string_view code;     // keyword or error code; "unknown" when empty
  std::string_view path;     // JSON Pointer
  std::string_view message;
  std::uint32_t attempts = 1;
  std::string_view original;
  std::string_view origin_topic;  // read from, or meant for. Empty: a frame, to the system.frames topic
  std::optional<std::uint32_t> origin_partition;
  std::optional<std::uint64_t> origin_position;
  std::string_view connector;     // instance (source_id) that the data came from
  std::optional<std::uint32_t> connection;
  std::string_view frame_kind;    // "ws", "http", ...: to_string(FrameKind)
  std::optional<Timestamp> receive_time;  // of the frame, or when the bus took the message
  std::string_view event_type;
  std::string_view repaired_from;
  std::string_view symbol;
};

// Takes letters past the cap. False: its own limit is reached, the letter is counted as dropped.
using DeadLetterOverflow = std::function<bool(const DeadLetter&)>;

// JSON lines of dlq/v1 payloads (`original` whole), appended to `path` up to `bytes_max` in all. The file is made at the first
// letter. Errors of the file make it return false.
DeadLetterOverflow overflow_file(std::string path, std::uint64_t bytes_max);

struct DeadLetterOptions {
  std::string source_id = "dlq";  // source of the dlq/v1 events themselves
  std::string realm = "prod";
  std::string region = "local";
  std::uint32_t flood_per_minute = 100;  // letters per connector, code and path; a person reads no more
  std::size_t flood_keys_max = 4096;     // remembered combinations; past it the new ones share one cap
  DeadLetterOverflow overflow;           // none: letters past the cap are only counted
};

// For Publisher::publish.
struct DeadLetterMessage {
  std::string_view topic;
  std::string_view key;
  std::string_view value;
};

struct DeadLetterStats {
  std::uint64_t letters = 0;   // add() calls
  std::uint64_t written = 0;   // became messages
  std::uint64_t overflowed = 0;
  std::uint64_t dropped = 0;   // past the cap, and the overflow did not take them
};

class DeadLetterWriter {
 public:
  enum class Outcome : std::uint8_t { kWritten, kOverflowed, kDropped };

  // kNotFound when the registry has no dlq/v1. The clock must outlive the writer.
  static Result<std::unique_ptr<DeadLetterWriter>> create(const Registry& registry, const Clock& clock, DeadLetterOptions options);
  ~DeadLetterWriter();

  Outcome add(const DeadLetter& letter);

  // Messages of all letters since clear(); valid until the next add() or clear().
  std::span<const DeadLetterMessage> messages();
  bool empty() const { return targets_.empty(); }
  void clear();

  DeadLetterStats stats() const;

 private:
  struct Window {
    std::int64_t start_ns = 0;
    std::uint32_t count = 0;
    std::uint64_t held_back = 0;
  };

  DeadLetterWriter(const Clock& clock, DeadLetterOptions options, std::shared_ptr<const Plan> plan);
  bool within_cap(const DeadLetter& letter);
  void append(const DeadLetter& letter);

  const Clock& clock_;
  DeadLetterOptions options_;
  std::shared_ptr<const Plan> plan_;
  Normalizer normalizer_;
  std::uint32_t route_ = 0;
  EventBatch batch_;
  std::vector<std::string> targets_;  // topic of each entry of batch_
  std::vector<DeadLetterMessage> messages_;
  Row row_;
  std::unordered_map<std::string, Window> windows_;
  std::atomic<std::uint64_t> letters_{0}, written_{0}, overflowed_{0}, dropped_{0};
};

// Topic of frames that no event type can be told of: utp.<realm>.<region>.system.frames.v1.dlq
std::string frames_dead_letter_topic(std::string_view realm, std::string_view region);

}  // namespace utp
