// Dead letters, read back: list, show, repair, replay, drop (`utp dlq`).
//
// A bus is append-only, so a letter is finished by a tombstone in the same topic: a dlq/v1 event without bytes whose
// `repaired_from` is the letter's id and whose code is "replayed" or "dropped". It needs no state beside the bus, every
// operator of the bus sees it, and it goes with retention as the letter does.
//
// A letter's id is a hash of where it came from, its bytes and its error, so a letter written twice (a crash between
// publishing and acknowledging) is one letter here.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "core/clock.h"
#include "core/result.h"
#include "schema/registry.h"

namespace utp {

struct DlqFilter {
  std::string id;          // beginning of the id
  std::string code;
  std::string connector;
  std::string topic;       // origin topic or a wildcard of it
  std::string event_type;
  std::optional<Timestamp> since;  // receive time
  bool finished = false;   // also those that were replayed or dropped
  std::uint64_t limit = 0; // 0 = no limit
};

struct DlqEntry {
  std::string id;          // 32 hexadecimal digits
  std::string dlq_topic;   // where the letter lies
  std::string stage, code, path, message;
  std::uint32_t attempts = 1;
  std::string original;    // whole when `complete`
  std::uint64_t original_bytes = 0;
  std::string original_hash;
  bool complete = false;   // all parts are there and the hash is right
  std::string origin_topic;
  std::optional<std::uint32_t> origin_partition;
  std::optional<std::uint64_t> origin_position;
  std::string connector, event_type, symbol, frame_kind;
  std::optional<std::uint32_t> connection;
  std::optional<Timestamp> receive_time;
  Timestamp written_time;
  std::string finished;    // "", "replayed", "dropped"

  // True when `original` is a raw frame, for a connector to map again; false when it is a bus message.
  bool is_frame() const { return stage == "frame" || stage == "map" || stage == "normalize"; }
};

// How a letter is changed before it is sent again; with neither it goes as it is.
struct DlqRepair {
  std::string merge_patch;  // JSON Merge Patch on the message
  std::string program;      // shell command: original on stdin, repaired on stdout; another exit than 0 leaves the letter
  std::int64_t program_timeout_ms = 30'000;
  std::size_t program_output_bytes_max = 64u << 20;
};

struct DlqOptions {
  std::string realm = "prod";
  std::string region = "local";
  std::size_t assembly_bytes_max = 256u << 20;  // of letters whose parts are not all there yet
  std::size_t letters_max = 1'000'000;          // ids remembered to show a letter once, and of those that are finished
  // Maps a raw frame again and publishes what comes of it. None: frames are left, with a message.
  std::function<Status(const DlqEntry& entry, std::string_view bytes)> replay_frame;
  std::function<bool()> stop;  // asked at every message and while a repair program runs; true ends the call with kCancelled
};

struct DlqReport {
  std::uint64_t replayed = 0;
  std::uint64_t dropped = 0;
  struct Left {
    std::string id;
    std::string reason;
  };
  std::vector<Left> left;  // what could not be replayed, and stays
  bool stopped = false;    // by DlqOptions::stop, before the end
};

// Not thread-safe. Everything given must outlive it.
class Dlq {
 public:
  Dlq(Bus& bus, const Registry& registry, const Clock& clock, DlqOptions options);
  ~Dlq();

  // Calls `take` for each letter, oldest first per topic, until it says false. Memory does not grow with the number of
  // letters but for their ids.
  Status scan(const DlqFilter& filter, const std::function<bool(DlqEntry& entry)>& take);
  Result<std::vector<DlqEntry>> list(const DlqFilter& filter);  // without `original`
  Result<DlqEntry> show(std::string_view id);                   // kNotFound, or kInvalidArgument when the id is ambiguous

  // A bus message goes to its origin topic after validation by its schema; when it was changed its checksum is computed
  // anew and it is marked `repaired`. A frame goes to DlqOptions::replay_frame.
  Result<DlqReport> replay(const DlqFilter& filter, const DlqRepair& repair);
  Result<DlqReport> drop(const DlqFilter& filter);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The bytes of a bus message made valid again: validated, checksum computed, `repaired` added to its quality, the payload as
// its plan writes it. Identity (source, symbol, event time, sequence) is kept, so sending it twice adds one row.
Result<std::string> reseal_envelope(std::string_view json, const Registry& registry);

// Runs `command` with the shell, all signals as usual. kInvalidArgument when it exits with another code than 0, kTimeout, kFull
// past the limit, kCancelled when `stop` said true. In each case it is gone with all that it started.
Result<std::string> filter_through(const std::string& command, std::string_view input, std::int64_t timeout_ms,
                                   std::size_t output_bytes_max, const std::function<bool()>& stop = {});

}  // namespace utp
