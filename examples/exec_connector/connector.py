#!/usr/bin/env python3
"""A random walk as quotes: one JSON object a line on standard output, and the host does the rest."""
import datetime
import json
import os
import random
import sys
import time

streams = json.loads(os.environ["UTP_STREAMS"])            # [{"channel", "symbol", "venue_symbol"}, ...]: what is wanted
settings = json.loads(os.environ.get("UTP_SETTINGS") or "{}")  # the manifest's settings, and the chamber file's over them
generator = random.Random(int(os.environ.get("UTP_SEED", "0")))
cents = {stream["symbol"]: generator.randint(10_000, 50_000) for stream in streams}

while True:
    for symbol in cents:
        cents[symbol] = max(100, cents[symbol] + generator.randint(-5, 5))
        now = datetime.datetime.now(datetime.timezone.utc)
        json.dump({
            "event_type": "quotes/v2",
            "symbol": symbol,
            "event_time": now.strftime("%Y-%m-%dT%H:%M:%S.%f") + "000Z",  # nanoseconds, 30 characters
            "event_time_source": "venue",
            "payload": {"bid": cents[symbol] / 100, "ask": (cents[symbol] + 2) / 100, "venue": "walk", "tick_type": "quote"},
        }, sys.stdout)
        sys.stdout.write("\n")
    sys.stdout.flush()
    time.sleep(settings.get("interval_ms", 200) / 1000)
