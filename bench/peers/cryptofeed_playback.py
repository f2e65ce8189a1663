#!/usr/bin/env python3
"""The peer of mapper_bench: PyPI cryptofeed's own Coinbase Exchange handler over raw frames, callbacks set as a user would.

    cryptofeed_playback.py FRAMES ROUNDS [--no-install]        FRAMES: "<unix ms>\\t<frame>" a line

Prints {"peer","ns_per_frame","events"}, the best round, or {"skipped"}. 2.4.0 is the last release that knows the Exchange feed;
it lives in a virtual environment in $UTP_BENCH_CACHE.
"""
import json
import os
import pathlib
import subprocess
import sys
import time

VERSION = "2.4.0"


def skip(why):
    print(json.dumps({"skipped": why}))
    sys.exit(0)


def enter_environment():
    cache = pathlib.Path(os.environ.get("UTP_BENCH_CACHE") or pathlib.Path.home() / ".cache" / "utp-bench")
    home = cache / f"cryptofeed-{VERSION}"
    python = home / "bin" / "python3"
    if not (home / "installed").exists():
        if "--no-install" in sys.argv:
            skip("cryptofeed is not installed; the full benchmark run installs it")
        try:
            cache.mkdir(parents=True, exist_ok=True)
            subprocess.run([sys.executable, "-m", "venv", str(home)], check=True, capture_output=True)
            subprocess.run([str(python), "-m", "pip", "install", "-q", f"cryptofeed=={VERSION}"], check=True, capture_output=True)
            (home / "installed").touch()
        except (OSError, subprocess.CalledProcessError):
            skip(f"cryptofeed {VERSION} could not be installed from PyPI")
    if pathlib.Path(sys.prefix).resolve() != home.resolve():
        os.execv(str(python), [str(python), *sys.argv])


async def measure(lines, rounds):
    from cryptofeed.defines import COINBASE, L2_BOOK, TICKER, TRADES
    from cryptofeed.exchanges import Coinbase
    from cryptofeed.symbols import Symbols

    products = sorted({json.loads(text)["product_id"] for _, text in lines if '"product_id":"' in text})
    mapping, info = Coinbase._parse_symbol_data([{"id": p, "quote_increment": "0.00000001"} for p in products])
    best, events = float("inf"), 0
    for _ in range(rounds):
        Symbols.set(COINBASE, mapping, info)
        events = 0

        async def callback(data, receipt_timestamp):
            nonlocal events
            events += 1

        feed = Coinbase(symbols=list(mapping), channels=[L2_BOOK, TRADES, TICKER],
                        callbacks={L2_BOOK: callback, TRADES: callback, TICKER: callback})
        handler = feed.message_handler
        start = time.perf_counter_ns()
        for received, text in lines:
            await handler(text, None, received)
        best = min(best, (time.perf_counter_ns() - start) / len(lines))
    return best, events


def main():
    enter_environment()
    import asyncio
    import importlib.metadata

    with open(sys.argv[1], encoding="utf-8") as file:
        lines = [(int(t) / 1000, text) for t, text in (line.rstrip("\n").split("\t", 1) for line in file)]
    best, events = asyncio.run(measure(lines, max(1, int(sys.argv[2]) // 5)))
    version = importlib.metadata.version("cryptofeed")
    print(json.dumps({"peer": f"cryptofeed {version} on Python {sys.version.split()[0]}", "ns_per_frame": best, "events": events}))


if __name__ == "__main__":
    main()
