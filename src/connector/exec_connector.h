// exec: connectors. The program writes JSON lines on its standard output, one event each:
//   {"event_type","symbol","event_time","event_time_source","sequence"?,"quality"?,"payload"}
// A line is a frame, so that captures, replays and the dead letters work as for any other connector; LineMapper reads it.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "connector/collector.h"
#include "connector/manifest.h"

namespace utp {

struct ExecOptions {
  std::string connector;
  std::vector<std::string> program;  // program and arguments; a relative program with a '/' or one that stands in `folder` is
                                     // looked up there, any other in PATH
  std::string folder;                // working directory
  // Set in the program's environment besides its parent's PATH, HOME, LANG, LC_ALL, TZ and TMPDIR; nothing else is passed on.
  std::vector<std::pair<std::string, std::string>> environment;
  std::size_t line_bytes_max = 1u << 20;  // a longer line goes to the dead letters, cut to this length
  std::int64_t stop_timeout_ns = 5'000'000'000;
  std::uint32_t log_lines_per_minute = 60;  // of its standard error; the rest is counted
};

// The program's environment for a wanted configuration: UTP_CONNECTOR, UTP_STREAMS (JSON list of {channel, symbol, venue_symbol}),
// UTP_ENDPOINT, UTP_SETTINGS (JSON), UTP_SEED, UTP_CA_FILE, and each secret under its `env` name (or its own name).
std::vector<std::pair<std::string, std::string>> exec_environment(const Manifest& manifest, const CollectorContext& context);

// Runs the program in a process group of its own, its standard input closed, and starts it again with backoff when it ends or
// cannot be started now (kClose with the reason, then kOpen); a program that is not there ends the connector. kSend commands
// are refused: it has no way to hear them; kReconnect restarts it.
Result<std::unique_ptr<Collector>> make_exec_collector(ExecOptions options, CollectorContext context);

// Reads the lines. Streams of the manifest's channels are alive when an event of one of their types and their symbol comes.
Result<std::unique_ptr<Mapper>> make_line_mapper(const Manifest& manifest, MapperContext context);

}  // namespace utp
