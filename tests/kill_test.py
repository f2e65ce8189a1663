"""Kill -9 at random instants under load: nothing that the bus acknowledged may be missing from the store after a restart, and
no row may stand twice. Runs the binary named by UTP_BINARY (./utp test sets it).

UTP_LONG=1 makes it 200 instants instead of a few (UTP_KILLS sets the number), UTP_SEED repeats a run."""
import json
import os
import pathlib
import random
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
UTP = os.environ.get("UTP_BINARY", str(ROOT / "build" / "release" / "bin" / "utp"))
KILLS = int(os.environ.get("UTP_KILLS", "200" if os.environ.get("UTP_LONG") else "3"))
START_TIMEOUT_S = 60
DRAIN_TIMEOUT_S = 300
KEY_LINE_BYTES = 33  # 32 hexadecimal digits and a line feed
LEASE_MS = 10_000    # of the persister that was killed

CHAMBER = """\
realm: kill
region: here
data_dir: data
durability: {durability}
connectors:
  - id: sim
    name: fast
    seed: 1
    settings: {{speed: 150}}
  - id: sim
    name: faulty
    seed: 2
    settings: {{speed: 50, faults: {{gap: 0.001, duplicate: 0.001, reorder: 0.001, malformed: 0.001, corrupt: 0.001, disconnect: 0.0002}}}}
  - id: sim
    name: again                    # the same events after every restart
    seed: 3
    settings: {{pace: flat, frames: 30000, seed: 3}}
"""


class KillChamber(unittest.TestCase):
    def setUp(self):
        if not os.access(UTP, os.X_OK):
            self.skipTest(f"no binary at {UTP}")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_kill_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.seed = int(os.environ.get("UTP_SEED", random.SystemRandom().randrange(1 << 32)))
        self.random = random.Random(self.seed)
        print(f"{self.id()}: UTP_SEED={self.seed}", flush=True)
        self.running = []
        self.addCleanup(self.end_all)
        self.records = []
        self.acknowledged_before = 0

    def end_all(self):
        for process in self.running:
            if process.poll() is None:
                process.kill()
                process.wait()

    def start(self, name, *args, record=False):
        command = [UTP, *args, "--log-level", "error"]
        if record:
            # A file for each start: a line that the kill cut can only be a file's last one.
            self.records.append(self.folder / f"acknowledged.{len(self.records)}")
            command += ["--record-acknowledged", str(self.records[-1])]
        with open(self.folder / f"{name}.log", "ab") as log:
            process = subprocess.Popen(command, cwd=self.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.running.append(process)
        return process

    def log(self):
        return "\n".join(f"{p.name}: {p.read_text(errors='replace')[-2000:]}" for p in sorted(self.folder.glob("*.log")))

    def recorded_bytes(self):
        return self.records[-1].stat().st_size if self.records[-1].exists() else 0

    def wait_for_load(self, process):
        """Until the process that was just started has acknowledged something."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while self.recorded_bytes() < 100 * KEY_LINE_BYTES:
            self.assertIsNone(process.poll(), f"the process ended by itself\n{self.log()}")
            self.assertLess(time.monotonic(), deadline, f"nothing was acknowledged within {START_TIMEOUT_S} s\n{self.log()}")
            time.sleep(0.002)

    def check_take_over(self):
        """A chamber after a killed one stores at once: it does not wait for the lease of the dead."""
        health = self.folder / "data" / "health.json"
        health.unlink(missing_ok=True)
        process = self.start("up", "up", "chamber.yaml", record=True)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not health.exists() or (first := json.loads(health.read_text())["first_stored_ms"]) is None:
            self.assertIsNone(process.poll(), f"the process ended by itself\n{self.log()}")
            self.assertLess(time.monotonic(), deadline, f"nothing was stored within {START_TIMEOUT_S} s\n{self.log()}")
            time.sleep(0.02)
        self.assertLess(first, LEASE_MS)
        self.kill(process)

    def kill(self, process):
        self.assertIsNone(process.poll(), f"the process ended by itself\n{self.log()}")
        process.send_signal(signal.SIGKILL)
        process.wait()

    def acknowledged(self):
        keys = set()
        for record in self.records:
            if record.exists():
                keys.update(line for line in record.read_bytes().split(b"\n")[:-1] if len(line) == KEY_LINE_BYTES - 1)
        return {bytes.fromhex(key.decode()) for key in keys}

    def drain(self):
        done = subprocess.run([UTP, "persister", "--drain", "--chamber", "chamber.yaml"], cwd=self.folder, stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, timeout=DRAIN_TIMEOUT_S)
        self.assertEqual(done.returncode, 0, done.stdout[-2000:] + done.stderr[-2000:])

    def check_store(self):
        """Every acknowledged key has its row, and no event has two."""
        missing = self.acknowledged()
        total = len(missing)
        self.assertGreater(total, 100)
        with sqlite3.connect(f"file:{self.folder}/data/store.db?mode=ro", uri=True) as store:
            self.assertEqual(store.execute("PRAGMA integrity_check").fetchone(), ("ok",))
            tables = [row[0] for row in store.execute("SELECT table_name FROM utp_tables")]
            rows = 0
            for table in tables:
                columns = {row[1] for row in store.execute(f'PRAGMA table_info("{table}")')}
                row_no = ", row_no" if "row_no" in columns else ""
                twice = store.execute(f'SELECT count(*) - count(DISTINCT hex(key){" || row_no" if row_no else ""}) FROM "{table}"').fetchone()[0]
                self.assertEqual(twice, 0, f"{table}: keys that stand twice")
                # Without trusting the key: the same thing of the same source at the same time.
                twice = store.execute(f'SELECT count(*) FROM (SELECT 1 FROM "{table}" GROUP BY source_id, symbol, event_time, sequence, checksum'
                                      f'{row_no} HAVING count(*) > 1)').fetchone()[0]
                self.assertEqual(twice, 0, f"{table}: events that stand twice")
                for (key,) in store.execute(f'SELECT key FROM "{table}"'):
                    missing.discard(key)
                    rows += 1
            # The venue's own numbers, which nothing of ours has made: one row for each trade of the source that starts anew.
            twice = store.execute("SELECT count(*) - count(DISTINCT symbol || ' ' || trade_id) FROM trades WHERE source_id = 'sim.again'").fetchone()[0]
            self.assertEqual(twice, 0, "trades that stand twice")
        self.assertEqual(len(missing), 0, f"{len(missing)} of {total} acknowledged events are not in the store (seed {self.seed}), "
                                          f"such as {[k.hex() for k in list(missing)[:3]]}\n{self.log()}")
        return total, rows

    def write_chamber(self):
        durability = self.random.choice(["commit", "interval"])
        (self.folder / "chamber.yaml").write_text(CHAMBER.format(durability=durability))

    def test_LosesNothingAcknowledgedWhenTheWholeChamberIsKilled(self):
        self.write_chamber()
        for _ in range(KILLS):
            process = self.start("up", "up", "chamber.yaml", record=True)
            self.wait_for_load(process)
            time.sleep(self.random.random() * 0.7)
            self.kill(process)
        self.check_take_over()
        self.drain()
        total, rows = self.check_store()
        print(f"{KILLS} kills: {total} acknowledged, {rows} rows, none missing, none twice", flush=True)

    def test_LosesNothingAcknowledgedWhenOneProcessOfSeveralIsKilled(self):
        self.write_chamber()
        parts = {"connect": lambda: self.start("connect", "connect", "chamber.yaml", "sim.fast", record=True),
                 "persister": lambda: self.start("persister", "persister", "--chamber", "chamber.yaml"),
                 "again": lambda: self.start("again", "connect", "chamber.yaml", "sim.again", record=True)}
        alive = {name: start() for name, start in parts.items()}
        for _ in range(KILLS):
            victim = self.random.choice(sorted(alive))
            time.sleep(0.2 + self.random.random() * 0.6)
            process = alive[victim]
            if victim == "again" and process.poll() is not None:
                pass  # it had come to its end
            else:
                self.kill(process)
            alive[victim] = parts[victim]()
            if victim != "persister":
                self.wait_for_load(alive[victim])
        for process in alive.values():
            if process.poll() is None:
                self.kill(process)
        self.drain()
        total, rows = self.check_store()
        print(f"{KILLS} kills: {total} acknowledged, {rows} rows, none missing, none twice", flush=True)


if __name__ == "__main__":
    unittest.main()
