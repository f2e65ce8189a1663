"""What the tests of whole chambers share: a folder, a chamber in it, its health file, and the check that its store has all that was
acknowledged, once."""
import json
import os
import pathlib
import shutil
import sqlite3
import subprocess
import tempfile
import time
import unittest

from bus_servers import environment

ROOT = pathlib.Path(__file__).resolve().parent.parent
UTP = os.environ.get("UTP_BINARY", str(ROOT / "build" / "release" / "bin" / "utp"))
TIMEOUT_S = 300
CHAMBER = """\
realm: test
region: here
data_dir: data
bus: {bus}
connectors:
  - id: sim
    name: a
    seed: 7
    settings: {settings}
"""


class ChamberCase(unittest.TestCase):
    def setUp(self):
        if not os.access(UTP, os.X_OK):
            self.skipTest(f"no binary at {UTP}")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_chamber_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.keys = 0

    def server(self, kind, name=None):
        """A running private server of one of bus_servers' kinds."""
        if kind.missing():
            self.skipTest(kind.missing())
        server = kind(self.folder / (name or kind.name))
        self.addCleanup(server.kill)
        server.start()
        return server

    def write_chamber(self, bus, settings="{}", more=""):
        (self.folder / "chamber.yaml").write_text(CHAMBER.format(bus=bus, settings=settings) + more)

    def utp(self, *args, code=0):
        done = subprocess.run([UTP, *args], cwd=self.folder, env=environment(), capture_output=True, text=True, timeout=TIMEOUT_S)
        self.assertEqual(done.returncode, code, f"{args}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}")
        return done

    def start_only(self, seconds):
        self.keys += 1  # a file for each start: a line that a kill cut can only be a file's last one
        with open(self.folder / "chamber.err", "ab") as err:
            process = subprocess.Popen([UTP, "up", "chamber.yaml", "--seconds", str(seconds), "--json", "--record-acknowledged", f"keys.{self.keys}"],
                                       cwd=self.folder, env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, text=True)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        return process

    def start(self, seconds):
        """Started, and it has stored something."""
        began = time.time()
        process = self.start_only(seconds)
        self.health(lambda h: h["stored"] > 0 and (self.folder / "data" / "health.json").stat().st_mtime > began, process)
        return process

    def health(self, condition, process=None, timeout=60):
        deadline = time.monotonic() + timeout
        health = None
        while time.monotonic() < deadline:
            try:
                health = json.loads((self.folder / "data" / "health.json").read_text())
                if condition(health):
                    return health
            except (OSError, ValueError, KeyError):
                pass
            if process and process.poll() is not None:
                break
            time.sleep(0.1)
        self.fail(f"the chamber does not come to what is waited for: {self.errors()}\n{json.dumps(health)[:2000]}")

    def errors(self):
        path = self.folder / "chamber.err"
        return path.read_text(errors="replace")[-3000:] if path.exists() else ""

    def finish(self, process):
        out, _ = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 0, self.errors())
        return json.loads(out.strip().splitlines()[-1])

    def acknowledged(self):
        keys = set()
        for path in self.folder.glob("keys.*"):
            keys.update(line for line in path.read_text().splitlines() if len(line) == 32)
        return keys

    def check_all_stored(self, result, least=500):
        """Every acknowledged event is a row, and no row stands twice."""
        self.assertEqual(result["lag"], 0)
        self.assertEqual(result["dlq"], 0)
        acknowledged = self.acknowledged()
        stored = self.stored()
        self.assertGreater(len(acknowledged), least)
        self.assertEqual(len(acknowledged - stored), 0, f"of {len(acknowledged)} acknowledged, such as {sorted(acknowledged - stored)[:3]}\n{self.errors()}")
        return len(acknowledged)

    def stored(self):
        """The keys of all rows, of which none stands twice."""
        stored = set()
        with sqlite3.connect(self.folder / "data" / "store.db") as store:
            for table, in store.execute("SELECT table_name FROM utp_tables").fetchall():
                columns = {row[1] for row in store.execute(f'PRAGMA table_info("{table}")')}
                parts = '|| " " || row_no' if "row_no" in columns else ""
                twice = store.execute(f'SELECT count(*) - count(DISTINCT hex(key) {parts}) FROM "{table}"').fetchone()[0]
                self.assertEqual(twice, 0, f"{table}: keys that stand twice")
                stored.update(key.hex() for key, in store.execute(f'SELECT DISTINCT key FROM "{table}"'))
        return stored
