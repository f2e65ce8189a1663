#!/usr/bin/env python3
"""How soon it is there: the binary's start, and a started chamber's first stored event. Best and median of several runs; the
goals are absolute, so the floor is what the same machine needs to start and end /bin/true."""
import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import tempfile
import time

UTP = os.environ["UTP_BINARY"]


def seconds(command):
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started


def first_stored_ms():
    folder = tempfile.mkdtemp(prefix="utp_bench_")
    try:
        done = subprocess.run([UTP, "demo", "--seconds", "1.5", "--json", "--data", os.path.join(folder, "data")],
                              capture_output=True, text=True, check=True)
        return json.loads(done.stdout.splitlines()[-1])["first_stored_ms"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def report(name, ours, floor, unit, goal, note):
    print(json.dumps({"name": name, "ours": round(ours, 3), "floor": round(floor, 3), "unit": unit, "ratio": round(ours / goal, 3),
                      "goal": 1, "holds": ours <= goal, "note": note}), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--filter", default="")
    args = parser.parse_args()
    if re.search(args.filter, "start/version"):
        runs = 5 if args.quick else 51
        ours = statistics.median(seconds([UTP, "--version"]) for _ in range(runs)) * 1e3
        floor = statistics.median(seconds(["/bin/true"]) for _ in range(runs)) * 1e3
        report("start/version", ours, floor, "ms", 20, "limit 20 ms; floor: /bin/true")
    if re.search(args.filter, "start/first_stored"):
        runs = 1 if args.quick else 5
        times = [first_stored_ms() for _ in range(runs)]
        report("start/first_stored", statistics.median(times), min(times), "ms", 1000, "limit 1000 ms from the chamber's start; floor: the best run")


if __name__ == "__main__":
    main()
