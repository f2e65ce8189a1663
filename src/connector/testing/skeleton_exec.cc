#include "connector/testing/skeleton_files.h"

namespace utp::testing {
namespace {

constexpr std::string_view kManifestText = R"~(manifest: 1
id: {{id}}
version: 0.1.0
title: What {{id}} connects to, in a few words
entry: "exec:python3 {{id}}.py"
event_types:
  - {event_type: quotes/v2, schema_ref: "utp://quotes/2.0.0"}
channels:
  - {name: quotes, event_types: [quotes/v2], stale_after: 60s}
symbols:
  default: [BTC-USD]
settings: {interval_s: 1.0}
)~";

constexpr std::string_view kProgramText = R"~(#!/usr/bin/env python3
"""Writes one event a line; docs/connectors.md tells what a line holds. Replace the made-up prices by a real source."""
import datetime
import json
import os
import random
import sys
import time

settings = json.loads(os.environ.get("UTP_SETTINGS", "{}"))
streams = json.loads(os.environ.get("UTP_STREAMS", "[]"))
rng = random.Random(os.environ.get("UTP_SEED", "0"))
prices = {stream["symbol"]: 10_000 for stream in streams}  # in cents


def now():
    t = datetime.datetime.now(datetime.timezone.utc)
    return t.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z"


while True:
    for symbol in prices:
        prices[symbol] = max(100, prices[symbol] + rng.randint(-5, 5))
        bid = prices[symbol]
        print(json.dumps({
            "event_type": "quotes/v2", "symbol": symbol,
            "event_time": now(), "event_time_source": "receipt",
            "payload": {"bid": bid / 100, "ask": (bid + 1) / 100, "venue": "{{id}}", "tick_type": "quote"},
        }), flush=True)
    print(f"{len(prices)} quotes written", file=sys.stderr)
    time.sleep(settings.get("interval_s", 1.0))
)~";

constexpr std::string_view kReadmeText = R"~(# {{id}}

What it connects to, and where its source is documented.

| stream | becomes | evidence |
|---|---|---|
| `quotes` | `quotes/v2` | `tests/quotes` |

## Next steps

From the folder that holds this one:

    utp connector test {{id}}                      runs its contract cases
    utp up {{id}}/chamber.yaml --seconds 10        runs it, into {{id}}/data
    utp query quotes/v2 --newest --limit 10 --chamber {{id}}/chamber.yaml

1. Replace the made-up prices in `{{id}}.py` by a real source. What it publishes stands in `connector.manifest.yaml`.
2. Replace the lines in `tests/quotes/` by real ones: the program's in `frames.jsonl`, what they must become in `expected.jsonl`.
3. To run it beside others, copy the lines of `chamber.yaml` into their chamber file.
)~";

constexpr std::string_view kChamberText = R"~(# This connector on its own: utp up {{id}}/chamber.yaml
data_dir: data          # paths are taken from this file's folder
connector_dirs: [..]    # folders whose sub-folders are connectors
connectors:
  - id: {{id}}
)~";

constexpr std::string_view kFramesText = R"~({"t":"connect","conn":"0","ts":1767323045.0,"data":"exec:python3"}
{"t":"recv","conn":"0","ts":1767323045.1,"data":"{\"event_type\":\"quotes/v2\",\"symbol\":\"BTC-USD\",\"event_time\":\"2026-01-02T03:04:05.000000006Z\",\"event_time_source\":\"receipt\",\"payload\":{\"bid\":1.5,\"ask\":1.7}}"}
{"t":"recv","conn":"0","ts":1767323045.2,"data":"{\"event_type\":\"quotes/v2\",\"symbol\":\"BTC-USD\",\"event_time\":\"today\",\"event_time_source\":\"receipt\",\"payload\":{}}"}
)~";

constexpr std::string_view kExpectedText = R"~({"event_type":"quotes/v2","symbol":"BTC-USD","event_time":"2026-01-02T03:04:05.000000006Z","event_time_source":"receipt","payload":{"bid":1.5,"ask":1.7}}
{"reject":{"code":"format","path":"/event_time"}}
)~";

constexpr std::string_view kInvalidText = R"~(# expect: did you mean quotes/v2?
manifest: 1
id: {{id}}
version: 0.1.0
entry: "exec:python3 {{id}}.py"
event_types:
  - {event_type: quote/v2, schema_ref: "utp://quotes/2.0.0"}
)~";

}  // namespace

std::span<const SkeletonFile> exec_skeleton() {
  static constexpr SkeletonFile files[] = {
      {"connector.manifest.yaml", kManifestText},
      {"{{id}}.py", kProgramText, true},
      {"README.md", kReadmeText},
      {"chamber.yaml", kChamberText},
      {"tests/quotes/frames.jsonl", kFramesText},
      {"tests/quotes/expected.jsonl", kExpectedText},
      {"tests/invalid/unknown_event_type.yaml", kInvalidText},
  };
  return files;
}

}  // namespace utp::testing
