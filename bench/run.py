#!/usr/bin/env python3
"""Runs the benchmark programs of a build (bench/*_bench in its bin folder) and shows what each measured against its floor
(the bare thing below it) or its peer (another program that does the same), in the same run.

    run.py --build DIR [--json] [--quick] [--save] [REGEX]

REGEX is searched in a benchmark's name. --json: a line of JSON each (name, ours, floor or peer, unit, ratio, goal, holds).
--quick: small runs, to see that they work; their figures mean little. --save: keeps the results with date and machine
under bench/results/. Exit status 0 when every goal holds, 1 when one does not or a program failed.
"""
import argparse
import datetime
import json
import os
import pathlib
import platform
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
from run_tests import find_server  # noqa: E402  the servers of tests are those of benchmarks

TIMEOUT_S = 1800  # one program


def machine():
    cpu, memory = platform.processor(), 0
    try:
        cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text()).group(1)
        memory = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text()).group(1)) // 1024
    except (OSError, AttributeError):
        pass
    return {"cpu": cpu, "cores": len(os.sched_getaffinity(0)), "memory_mib": memory, "system": platform.platform()}


def programs(build):
    """Compiled benchmarks, then scripts named *_bench.py (those that need another runtime as a peer)."""
    found = [[str(p)] for p in sorted((build / "bin").glob("*_bench")) if os.access(p, os.X_OK)]
    return found + [[sys.executable, str(p)] for p in sorted((ROOT / "bench").glob("*_bench.py"))]


def run(command, args, env):
    """(results, error): the JSON lines that the program printed, and what went wrong, if anything."""
    command = command + ["--json"] + (["--quick"] if args.quick else []) + (["--filter", args.regex] if args.regex else [])
    name = pathlib.Path(command[1] if command[0] == sys.executable else command[0]).name
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, env=env, cwd=ROOT)
    except subprocess.TimeoutExpired:
        return [], f"{name}: no end after {TIMEOUT_S} s"
    results = []
    for line in done.stdout.splitlines():
        if not line.startswith("{"):
            continue
        try:
            results.append(json.loads(line))
        except ValueError:
            return results, f"{name}: a line that is no JSON: {line[:200]}"
    # A program may exit 1 because a goal does not hold; the results say so themselves.
    broken = done.returncode not in (0, 1) or (done.returncode == 1 and all(r.get("holds", True) for r in results))
    return results, f"{name}: exit {done.returncode}\n{done.stderr.strip()[-2000:]}" if broken else None


def number(value):
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def row(result):
    other = result.get("floor", result.get("peer"))
    holds = result.get("holds")
    goal = result.get("goal")
    return [result.get("name", "?"), number(result.get("ours")), number(other), result.get("unit", ""), number(result.get("ratio")),
            number(goal), "-" if holds is None or goal is None else "yes" if holds else "NO", result.get("note", result.get("skipped", ""))]


def table(results):
    rows = [["name", "ours", "floor/peer", "unit", "ratio", "goal", "holds", ""]] + [row(r) for r in results]
    widths = [max(len(r[c]) for r in rows) for c in range(len(rows[0]))]
    for r in rows:
        cells = [r[c].rjust(widths[c]) if c in (1, 2, 4, 5) else r[c].ljust(widths[c]) for c in range(len(r))]
        print("  ".join(cells).rstrip())


def main():
    parser = argparse.ArgumentParser(prog="utp bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="a line of JSON for each result")
    parser.add_argument("--quick", action="store_true", help="small runs: do they work?")
    parser.add_argument("--save", action="store_true", help="keep the results under bench/results/")
    parser.add_argument("regex", nargs="?", help="searched in the names")
    args = parser.parse_args()
    if args.regex:
        try:
            re.compile(args.regex)
        except re.error as bad:
            print(f"utp bench: {args.regex!r} is no regular expression: {bad}", file=sys.stderr)
            return 2

    build = args.build.resolve()
    env = dict(os.environ, UTP_BINARY=str(build / "bin" / "utp"), UTP_BUILD=str(build), PYTHONDONTWRITEBYTECODE="1")
    commands = programs(build)
    if not commands:
        print(f"utp bench: no benchmark program in {build / 'bin'}; build them first: cmake --build {build}", file=sys.stderr)
        return 4
    results, failed = [], False
    for command in commands:
        if command[0].endswith("bus_servers_bench"):
            find_server(env, "kafka", "UTP_TEST_KAFKA")
        if sys.stderr.isatty() and not args.json:
            print(f"\r\033[K{pathlib.Path(command[-1]).name} ...", end="", file=sys.stderr, flush=True)
        found, error = run(command, args, env)
        found = [r for r in found if not args.regex or re.search(args.regex, r.get("name", ""))]
        if sys.stderr.isatty() and not args.json:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
        if error:
            failed = True
            print(f"utp bench: {error}", file=sys.stderr)
        for result in found:
            results.append(result)
            failed |= result.get("holds") is False and not args.quick
            if args.json:
                print(json.dumps(result), flush=True)
    if not args.json:
        table(results)
        missed = [r["name"] for r in results if r.get("holds") is False]
        print(f"{len(results)} results, {len(missed)} goals missed" + (": " + ", ".join(missed) if missed else ""))
    if args.save:
        now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        folder = ROOT / "bench" / "results"
        folder.mkdir(exist_ok=True)
        path = folder / f"{now.strftime('%Y-%m-%dT%H%M%SZ')}.json"
        path.write_text(json.dumps({"date": now.isoformat().replace("+00:00", "Z"), "machine": machine(), "quick": args.quick,
                                    "filter": args.regex, "results": results}, indent=1) + "\n")
        print(f"kept in {path.relative_to(ROOT)}", file=sys.stderr)
    if not results and not failed:
        print("utp bench: nothing matches" + (f" {args.regex!r}" if args.regex else ""), file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
