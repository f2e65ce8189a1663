"""A whole chamber over a private Redis server that is killed, hangs, or is away for a while: nothing is lost, nothing stands twice."""
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
UTP = os.environ.get("UTP_BINARY", str(ROOT / "build" / "release" / "bin" / "utp"))
SERVER = shutil.which("redis-server")
TIMEOUT_S = 120
CHAMBER = """\
realm: test
region: here
data_dir: data
bus: redis://127.0.0.1:{port}
connectors:
  - id: sim
    name: a
    seed: 7
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Redis:
    def __init__(self, folder, port):
        self.folder, self.port, self.process = folder, port, None
        folder.mkdir(exist_ok=True)

    def start(self):
        self.process = subprocess.Popen(
            [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder), "--appendonly", "yes", "--appendfsync", "always", "--save", "",
             "--daemonize", "no", "--loglevel", "warning"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
                    s.sendall(b"PING\r\n")
                    if s.recv(64).startswith(b"+PONG"):
                        return
            except OSError:
                pass
            time.sleep(0.05)
        raise RuntimeError("redis-server does not answer")

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()


@unittest.skipUnless(SERVER, "redis-server is not installed")
class RedisChamber(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_redis_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.redis = Redis(self.folder / "redis", free_port())
        self.redis.start()
        self.addCleanup(self.redis.kill)
        (self.folder / "chamber.yaml").write_text(CHAMBER.format(port=self.redis.port))
        self.env = {k: v for k, v in os.environ.items() if k not in ("UTP_BUS", "UTP_STORE")}

    def start(self, seconds):
        process = subprocess.Popen([UTP, "up", "chamber.yaml", "--seconds", str(seconds), "--json", "--record-acknowledged", "keys.txt"],
                                   cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.kill(), process.wait()))
        self.health(lambda h: h["stored"] > 0)
        return process

    def health(self, condition):
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                health = json.loads((self.folder / "data" / "health.json").read_text())
                if condition(health):
                    return health
            except (OSError, ValueError, KeyError):
                pass
            time.sleep(0.1)
        self.fail("the chamber does not come to what is waited for")

    def finish(self, process):
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 0, err[-3000:])
        return json.loads(out.strip().splitlines()[-1])

    def check_all_stored(self, result):
        self.assertEqual(result["lag"], 0)
        self.assertEqual(result["dlq"], 0)
        acknowledged = {line.split()[-1] for line in (self.folder / "keys.txt").read_text().splitlines()}
        store = sqlite3.connect(self.folder / "data" / "store.db")
        tables = [name for name, in store.execute("SELECT table_name FROM utp_tables")]
        stored = set()
        for table in tables:
            stored.update(key.hex() for key, in store.execute(f'SELECT DISTINCT key FROM "{table}"'))
        self.assertGreater(len(acknowledged), 500)
        self.assertEqual(acknowledged - stored, set())

    def test_AKilledServerCostsNothing(self):
        process = self.start(8)
        self.redis.kill()
        waiting = self.health(lambda h: h["spool"]["waiting"] > 50)
        self.assertEqual(waiting["state"], "degraded")
        self.redis.start()
        result = self.finish(process)
        self.check_all_stored(result)
        self.assertGreater(result["spool"]["forwarded"], 50)
        self.assertEqual(result["spool"]["waiting"], 0)

    def test_WhatWaitsAtTheEndIsSentByTheNextStart(self):
        process = self.start(4)
        self.redis.kill()
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertNotEqual(process.returncode, 0)
        self.assertGreater(json.loads(out.strip().splitlines()[-1])["spool"]["waiting"], 0)
        self.redis.start()
        self.check_all_stored(self.finish(self.start(3)))

    def test_AChamberThatIsKilledWhileItSpoolsLosesNothing(self):
        for _ in range(3):
            process = self.start(60)
            self.redis.kill()
            self.health(lambda h: h["spool"]["waiting"] > 50)
            process.kill()
            process.wait()
            self.redis.start()
        self.check_all_stored(self.finish(self.start(3)))

    def test_AServerThatHangsCostsNothing(self):
        process = self.start(16)
        self.redis.process.send_signal(signal.SIGSTOP)
        time.sleep(12)  # longer than an answer is waited for
        self.redis.process.send_signal(signal.SIGCONT)
        self.check_all_stored(self.finish(process))


if __name__ == "__main__":
    unittest.main()
