#!/usr/bin/env python3
"""Checks the house rules that a compiler does not: who may include whom, where names of venues and technologies may
stand, file length, headers, secrets and stray paths. Prints one line a finding (file:line: rule: what) and exits 1.

    tidy.py [--root DIR]
"""
import argparse
import pathlib
import re
import subprocess
import sys

# What each folder may include of the project's own folders, besides itself. The order is the architecture.
INCLUDES = {
    "src/core": [],
    "src/schema": ["src/core"],
    "src/model": ["src/core", "src/schema"],
    "src/normalize": ["src/core", "src/schema", "src/model"],
    "src/bus": ["src/core", "src/schema", "src/model"],
    "src/store": ["src/core", "src/schema", "src/model"],
    "src/connector": ["src/core", "src/schema", "src/model", "src/normalize", "src/bus"],
    "src/persist": ["src/core", "src/schema", "src/model", "src/normalize", "src/bus", "src/store"],
    "drivers/bus": ["src/core", "src/schema", "src/model", "src/bus"],
    "drivers/store": ["src/core", "src/schema", "src/model", "src/store"],
    "connectors": ["src/core", "src/schema", "src/model", "src/normalize", "src/connector"],
    "apps": ["src", "drivers", "connectors"],
    "tests": ["src", "drivers", "connectors"],
    "bench": ["src", "drivers", "connectors"],
    "fuzz": ["src", "drivers", "connectors"],
}
# A test may reach further than the code beside it.
TEST_EXTRA = {
    "src/normalize": [],
    "src/persist": ["drivers"],
    "src/connector": ["drivers/bus", "src/store"],
    "connectors": ["drivers/bus", "src/bus"],
    "drivers/bus": [],
    "drivers/store": ["src/bus/testing"],
}
# Names that may stand in one place only.
VENUES = r"\b(coinbase|kraken|binance|deribit|barchart|ibkr|tastytrade|dxlink)\b"
TECHNOLOGIES = r"\b(lmdb|sqlite|redis|nats|jetstream|kafka|postgres|postgresql|timescale\w*)\b"
SECRETS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----|\bAKIA[0-9A-Z]{16}\b|\b(api_secret|password)\s*=\s*[\"'][^\"'$<{]{6,}")
PATHS = re.compile(r"(?<![\w.])/(root|home)/\w|/work/(main|shared)\b")
LINES_MAX = 600
CODE = {".h", ".cc"}


def files(root):
    listed = subprocess.run(["git", "-C", root, "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if listed.returncode == 0:
        names = listed.stdout.splitlines()
    else:
        names = [str(p.relative_to(root)) for p in pathlib.Path(root).rglob("*") if p.is_file() and "build" not in p.parts]
    return [pathlib.Path(n) for n in names if (pathlib.Path(root) / n).is_file()]


def folder_of(path):
    text = path.as_posix()
    return max((f for f in INCLUDES if text.startswith(f + "/")), key=len, default=None)


def check(root):
    findings = []
    say = lambda path, line, rule, what: findings.append(f"{path}:{line}: {rule}: {what}")
    for path in files(root):
        try:
            text = (pathlib.Path(root) / path).read_text()
        except UnicodeDecodeError:
            continue
        lines = text.splitlines()
        name = path.as_posix()
        is_test = path.stem.endswith("_test") or path.stem == "contract_suite" or path.stem.endswith("_child") or "test" in path.stem.split("_")
        for number, line in enumerate(lines, 1):
            if SECRETS.search(line) and not name.endswith("tidy.py"):
                say(path, number, "secret", "looks like a secret")
            if PATHS.search(line) and not name.endswith("tidy.py"):
                say(path, number, "path", "a path of one machine")
        if path.suffix not in CODE:
            continue
        folder = folder_of(path)
        if path.suffix == ".h" and "#pragma once" not in text:
            say(path, 1, "header", "no #pragma once")
        if len(lines) > LINES_MAX and not is_test:
            say(path, len(lines), "length", f"{len(lines)} lines, {LINES_MAX} at most: two ideas?")
        for number, line in enumerate(lines, 1):
            found = re.match(r'#include "([^"]+)"', line)
            if not found or folder is None:
                continue
            target = found.group(1)
            for candidate in (f"src/{target}", target):
                if (pathlib.Path(root) / candidate).is_file():
                    target = candidate
                    break
            else:
                continue  # generated, or a library's
            target_folder = folder_of(pathlib.Path(target)) or target
            allowed = [folder] + INCLUDES[folder] + (TEST_EXTRA.get(folder, []) if is_test else [])
            if not any(target_folder == a or target.startswith(a + "/") for a in allowed):
                say(path, number, "include", f"{folder} may not include {target}")
        if name.startswith("src/") and not is_test:
            for number, line in enumerate(lines, 1):
                code = line.lower()
                if re.search(VENUES, code):
                    say(path, number, "venue", "names of venues belong under connectors/")
                if re.search(TECHNOLOGIES, code) and not name.startswith("src/store/ddl"):  # SQL dialects are named there
                    say(path, number, "technology", "names of bus and store technologies belong under drivers/")
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", default=pathlib.Path(__file__).resolve().parent.parent, type=pathlib.Path)
    findings = check(parser.parse_args().root)
    print("\n".join(findings) if findings else "tidy: no findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
