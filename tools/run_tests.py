#!/usr/bin/env python3
"""Runs every test of a build: GoogleTest programs named in <build>/tests.list, and the scripts in tests/ that are named
*_test.py (unittest). Prints failures in full, skips with their reason, and closes with "N passed, N failed".

    run_tests.py --build DIR [--jobs N] [--list] [--exclude REGEX] [REGEX]

REGEX is searched in the full test name (Suite.Case), and in the name of its program or script: then all of its tests run.
Exit status 0 only when at least one test ran and none failed, 2 when none matches or the regex is none.
"""
import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIMEOUT_S = 1200  # one program; a hang is a failure, not a wait


def gtest_names(program):
    """The full names of the tests in a GoogleTest program."""
    listing = subprocess.run([program, "--gtest_list_tests"], capture_output=True, text=True, timeout=120)
    if listing.returncode != 0:
        raise RuntimeError(f"{program} --gtest_list_tests: {listing.stderr.strip()[-500:]}")
    names, suite = [], ""
    for line in listing.stdout.splitlines():
        name = line.split("#")[0].rstrip()
        if line.startswith("  "):
            names.append(suite + name.strip())
        elif name.endswith("."):
            suite = name
    return [n for n in names if "DISABLED_" not in n]


def run_gtest(program, names, env):
    """(name, state, text, seconds) for each test; a crash fails the test it happened in and those not reached."""
    results = []
    remaining = list(names)
    while remaining:
        with tempfile.NamedTemporaryFile(suffix=".json") as report, \
             tempfile.NamedTemporaryFile("w", suffix=".flags") as flags:
            flags.write("--gtest_filter=" + ":".join(remaining) + "\n")
            flags.flush()
            started = time.monotonic()
            try:
                done = subprocess.run([program, f"--gtest_flagfile={flags.name}", f"--gtest_output=json:{report.name}",
                                       "--gtest_print_time=0"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      timeout=TIMEOUT_S, env=env, cwd=ROOT)
                output, code = done.stdout.decode(errors="replace"), done.returncode
            except subprocess.TimeoutExpired as late:
                output, code = (late.stdout or b"").decode(errors="replace"), "timeout"
            try:
                suites = json.load(open(report.name))["testsuites"]
            except (ValueError, KeyError):
                suites = None
        if suites is None or code == "timeout":
            ran = re.findall(r"^\[ RUN      \] (\S+)", output, re.M)
            ok = set(re.findall(r"^\[       OK \] (\S+)", output, re.M))
            skipped = set(re.findall(r"^\[  SKIPPED \] (\S+)", output, re.M))
            culprit = ran[-1] if ran else remaining[0]
            for name in ran[:-1]:
                state = "passed" if name in ok else "skipped" if name in skipped else "failed"
                results.append((name, state, "see the crash of this program" if state == "failed" else "", 0.0))
            results.append((culprit, "failed", f"the program ended with {code} in this test\n{output[-6000:]}",
                            time.monotonic() - started))
            remaining = [n for n in remaining if n not in set(ran) | {culprit}]
            continue
        for suite in suites:
            for case in suite["testsuite"]:
                name = f"{case['classname']}.{case['name']}"
                seconds = float(case.get("time", "0s").rstrip("s"))
                if case.get("failures"):
                    state, text = "failed", "\n".join(f["failure"] for f in case["failures"])
                elif case.get("result") == "SKIPPED" or case.get("skipped"):
                    found = re.search(re.escape(f"[ RUN      ] {name}") + r"\n(.*?)\[  SKIPPED \]", output, re.S)
                    lines = found.group(1).strip().splitlines() if found else []
                    state, text = "skipped", " ".join(l for l in lines if ": Skipped" not in l) or "no reason given"
                else:
                    found = re.search(re.escape(f"[ RUN      ] {name}") + r"\n(.*?)\[       OK \]", output, re.S)
                    state, text = "passed", "\n".join(
                        l[len("REPORT "):] for l in (found.group(1).splitlines() if found else []) if l.startswith("REPORT "))
                results.append((name, state, text, seconds))
        if code not in (0, 1):
            results.append((f"{pathlib.Path(program).name}.exit", "failed", f"exit {code}\n{output[-6000:]}", 0.0))
        break
    return results


def run_script(path, pattern, exclude, env):
    """unittest scripts: each test method by name."""
    code = (
        "import sys,unittest,json,importlib.util,re,time\n"
        "path,pattern,list_only,exclude=sys.argv[1:5]\n"
        "spec=importlib.util.spec_from_file_location('t',path);m=importlib.util.module_from_spec(spec)\n"
        "sys.modules['t']=m;spec.loader.exec_module(m)\n"
        "def flat(s):\n"
        "  for t in s:\n"
        "    yield from flat(t) if isinstance(t,unittest.TestSuite) else [t]\n"
        "for t in flat(unittest.defaultTestLoader.loadTestsFromModule(m)):\n"
        "  name=type(t).__name__+'.'+t._testMethodName\n"
        "  if exclude and re.search(exclude,name): continue\n"
        "  if pattern and not re.search(pattern,name): continue\n"
        "  if list_only=='1': print('@@'+json.dumps([name,'listed','',0.0]),flush=True); continue\n"
        "  r=unittest.TestResult();began=time.monotonic();unittest.TestSuite([t]).run(r)\n"
        "  bad=r.failures+r.errors\n"
        "  state='failed' if bad else 'skipped' if r.skipped else 'passed'\n"
        "  text=bad[0][1] if bad else r.skipped[0][1] if r.skipped else ''\n"
        "  print('@@'+json.dumps([name,state,text,time.monotonic()-began]),flush=True)\n")
    try:
        done = subprocess.run([sys.executable, "-c", code, str(path), pattern or "", "1" if env.get("UTP_LIST") else "0", exclude or ""],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT_S, env=env, cwd=ROOT)
        out, err, status = done.stdout, done.stderr, done.returncode
    except subprocess.TimeoutExpired as late:
        out, err, status = (late.stdout or b"").decode(), "timeout", "timeout"
    results = [tuple(json.loads(line[2:])) for line in out.splitlines() if line.startswith("@@")]
    for line in out.splitlines():
        if line.startswith("REPORT ") and results:
            name, state, text, seconds = results[-1]
            results[-1] = (name, state, (text + "\n" if text else "") + line[len("REPORT "):], seconds)
    if status != 0:
        results.append((f"{path.name}.exit", "failed", f"exit {status}\n{err[-4000:]}", 0.0))
    return results


def find_server(env, name, variable):
    """Where the tests of a bus find a server that no distribution package has, or why there is none."""
    if env.get(variable):
        return
    found = subprocess.run([sys.executable, str(ROOT / "tests" / "on_demand.py"), name], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, env=env)
    if found.returncode == 0:
        env[variable] = found.stdout.strip()
    else:
        env[f"{variable}_MISSING"] = (found.stderr.strip().splitlines() or ["no reason given"])[-1]


def contract_table(results):
    """Lines: the cases of the contract suites that ran against several drivers, a column for each driver."""
    marks = {"passed": "ok", "skipped": "skipped", "failed": "FAILED"}
    suites = {}
    for test, state in results:
        found = re.fullmatch(r"\w+/(\w+Contract)\.(\w+)/(\w+)", test)
        if found:
            suite, case, driver = found.groups()
            suites.setdefault(suite, {}).setdefault(case, {})[driver] = marks[state]
    for suite, cases in sorted(suites.items()):
        drivers = sorted({d for row in cases.values() for d in row})
        if len(drivers) < 2:
            continue
        width = max(len(c) for c in cases)
        yield f"{suite:<{width}}  " + "  ".join(drivers)
        for case, row in cases.items():
            yield f"{case:<{width}}  " + "  ".join(f"{row.get(d, '-'):<{len(d)}}" for d in drivers).rstrip()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=1, help="programs at once (default 1: tests may measure time)")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--exclude", metavar="REGEX", help="tests whose full name matches are left out")
    parser.add_argument("--fail-on-skip", metavar="REGEX", help="a skip whose name matches counts as a failure")
    parser.add_argument("regex", nargs="?")
    args = parser.parse_args()
    try:
        pattern = re.compile(args.regex or "")
    except re.error as bad:
        print(f"{args.regex!r} is no regular expression: {bad}; a name such as Persister or tidy_test is one", file=sys.stderr)
        return 2

    build = args.build.resolve()
    env = dict(os.environ, UTP_BINARY=str(build / "bin" / "utp"), UTP_BUILD=str(build), PYTHONDONTWRITEBYTECODE="1")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1:detect_stack_use_after_return=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    env.setdefault("TSAN_OPTIONS", "halt_on_error=0:second_deadlock_stack=1")
    if args.list:
        env["UTP_LIST"] = "1"
    jobs = []
    for name in (build / "tests.list").read_text().split():
        program = str(build / "bin" / name)
        names = gtest_names(program)
        if not pattern.search(name):
            names = [n for n in names if pattern.search(n)]
        if args.exclude:
            names = [n for n in names if not re.search(args.exclude, n)]
        if args.list:
            print("\n".join(names))
        elif names:
            jobs.append((name, lambda p=program, n=names: run_gtest(p, n, env)))
    for prefix, name, variable in (("kafka_", "kafka", "UTP_TEST_KAFKA"), ("nats_", "nats", "UTP_TEST_NATS_CURRENT")):
        if any(job.startswith(prefix) for job, _ in jobs):
            find_server(env, name, variable)
    for path in sorted((ROOT / "tests").glob("**/*_test.py")):
        wanted = None if pattern.search(path.name) else args.regex
        jobs.append((path.name, lambda p=path, w=wanted: run_script(p, w, args.exclude, env)))
    passed = failed = 0
    skips, reports, slow, states = [], [], [], []
    with concurrent.futures.ThreadPoolExecutor(max_workers=args.jobs) as pool:
        for name, future in [(name, pool.submit(job)) for name, job in jobs]:
            results = future.result()
            if args.list:
                print("\n".join(r[0] for r in results if r[1] == "listed"))
                continue
            for test, state, text, seconds in results:
                if state == "skipped" and args.fail_on_skip and re.search(args.fail_on_skip, test):
                    state, text = "failed", f"skipped where a skip is not allowed: {text}"
                states.append((test, state))
                if state == "passed":
                    passed += 1
                    if text:
                        reports.append(text)
                elif state == "skipped":
                    skips.append((test, text))
                else:
                    failed += 1
                    print(f"FAILED {test}\n{text}\n", flush=True)
                slow.append((seconds, test))
            if results:
                count = sum(r[1] == "passed" for r in results)
                print(f"{name}: {count} of {len(results)} passed", flush=True)
    if args.list:
        return 0
    for seconds, test in sorted(slow, reverse=True)[:5]:
        if seconds > 5:
            print(f"slow: {test} {seconds:.1f} s")
    for line in contract_table(states):
        print(line)
    for text in reports:
        print(text)
    for test, reason in skips:
        print(f"SKIPPED {test}: {reason.strip()}")
    print(f"{passed} passed, {failed} failed" + (f", {len(skips)} skipped" if skips else ""))
    if passed + failed == 0:
        print(f"no test matches {args.regex!r}" if args.regex else "no tests found", file=sys.stderr)
        return 2
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
