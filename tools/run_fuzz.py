#!/usr/bin/env python3
"""Runs every fuzz target of a build (named in <build>/fuzz.list) for a fixed time.

    run_fuzz.py --build DIR [--seconds N] [REGEX]

Seeds come from fuzz/seeds/<target>/; what a run finds interesting stays in <build>/corpus/<target>/ for the next one. A crash
prints the target, its log and the input's path, and fails the run.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def fuzz(build, name, seconds):
    corpus = build / "corpus" / name
    crashes = build / "crashes" / name
    corpus.mkdir(parents=True, exist_ok=True)
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = ROOT / "fuzz" / "seeds" / name
    command = [str(build / "bin" / name), str(corpus)] + ([str(seeds)] if seeds.is_dir() else [])
    command += [f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=2048", "-max_len=16384",
                f"-artifact_prefix={crashes}/", "-print_final_stats=1"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace",
                          timeout=seconds + 120, cwd=build, env=dict(os.environ, ASAN_OPTIONS="detect_leaks=1"))
    runs = re.search(r"stat::number_of_executed_units:\s+(\d+)", done.stderr)
    return done.returncode == 0, int(runs.group(1)) if runs else 0, done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default 30)")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("regex", nargs="?", default="")
    args = parser.parse_args()
    build = args.build.resolve()
    names = [n for n in (build / "fuzz.list").read_text().split() if re.search(args.regex, n)]
    failed = 0
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        for name, (ok, runs, log) in zip(names, pool.map(lambda n: fuzz(build, n, args.seconds), names)):
            print(f"{name}: {runs} inputs in {args.seconds} s" + ("" if ok else ", FAILED"), flush=True)
            if not ok:
                failed += 1
                print(log[-6000:], flush=True)
    print(f"fuzz: {len(names) - failed} targets clean, {failed} failed")
    return 1 if failed or not names else 0


if __name__ == "__main__":
    sys.exit(main())
