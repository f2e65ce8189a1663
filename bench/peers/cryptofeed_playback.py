#!/usr/bin/env python3
"""The peer of mapper_bench: PyPI cryptofeed over a recording of its Coinbase Exchange feed, callbacks set as a user would.

    cryptofeed_playback.py [--handler] FILE [--no-install]

FILE is in the format of cryptofeed's own recorder (its name says ".ws."). Measured is a whole playback() of the file; with
--handler only the feed's message handler, over frames in memory. Prints {"peer","events"} once it is warm, or {"skipped"}; then,
for every byte on its standard input, goes through the frames and prints the nanoseconds that a frame took. 2.4.0 is the last
release that knows the Exchange feed; it lives in a virtual environment in $UTP_BENCH_CACHE.
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


def read_frames(path):
    with open(path, encoding="utf-8") as file:
        return [tuple(line.rstrip("\n").split(": ", 1)) for line in file if line[:1].isdigit()]


class Rounds:
    """All frames of the file once per call."""

    def __init__(self, path):
        from cryptofeed.defines import L2_BOOK, TICKER, TRADES
        self.path = path
        self.frames = read_frames(path)
        names = {json.loads(text)["product_id"] for _, text in self.frames if '"product_id":"' in text}
        self.products = [{"id": name, "quote_increment": "0.00000001"} for name in sorted(names)]
        self.channels = (L2_BOOK, TRADES, TICKER)
        self.events = 0

    async def callback(self, data, receipt_timestamp):
        self.events += 1

    def callbacks(self):
        self.events = 0
        return dict.fromkeys(self.channels, self.callback)

    def handler(self):
        import asyncio
        from cryptofeed.defines import COINBASE
        from cryptofeed.exchanges import Coinbase
        from cryptofeed.symbols import Symbols

        async def run():
            mapping, info = Coinbase._parse_symbol_data(self.products)
            Symbols.set(COINBASE, mapping, info)
            feed = Coinbase(symbols=list(mapping), channels=list(self.channels), callbacks=self.callbacks())
            handle = feed.message_handler
            start = time.perf_counter_ns()
            for received, text in self.frames:
                await handle(text, None, received)
            return time.perf_counter_ns() - start

        return asyncio.run(run()) / len(self.frames)

    def write_configuration(self):
        """What cryptofeed's recorder writes beside the frames: the venue's answer about its products, and the subscription."""
        # Playback knows its files by their names: neither "ws" nor "http" may be in this one, a folder must.
        os.chdir(pathlib.Path(self.path).parent)
        names = [product["id"] for product in self.products]
        pathlib.Path("COINBASE.0").write_text(
            f"https://api.pro.coinbase.com/products -> 0: {json.dumps(self.products)}\n"
            f"configuration: {json.dumps(dict.fromkeys(self.channels, names))}\n", encoding="utf-8")

    def playback(self):
        from cryptofeed.defines import COINBASE
        from cryptofeed.raw_data_collection import playback
        files, callbacks = ["./COINBASE.0", "./" + pathlib.Path(self.path).name], self.callbacks()
        start = time.perf_counter_ns()
        result = playback(COINBASE, files, callbacks)
        took = time.perf_counter_ns() - start
        if result["messages_processed"] != len(self.frames):
            sys.exit(f"playback saw {result['messages_processed']} of {len(self.frames)} frames")
        return took / len(self.frames)


def main():
    enter_environment()
    import importlib.metadata
    rounds = Rounds(next(arg for arg in sys.argv[1:] if not arg.startswith("--")))
    if "--handler" in sys.argv:
        run = rounds.handler
    else:
        rounds.write_configuration()
        run = rounds.playback
    for _ in range(3):
        run()
    version = importlib.metadata.version("cryptofeed")
    print(json.dumps({"peer": f"cryptofeed {version} on Python {sys.version.split()[0]}", "events": rounds.events}), flush=True)
    while os.read(0, 1):
        print(run(), flush=True)


if __name__ == "__main__":
    main()
