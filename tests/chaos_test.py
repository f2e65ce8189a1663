"""Chaos on a real bus server: the server, the publisher and the persister are killed with kill -9, the server stands still, the
connection is cut in the middle of a message. Nothing that was acknowledged may be missing from the store, no row may stand twice, and
nobody helps.

Each kind of harm once by default; UTP_CHAOS=50, or UTP_LONG=1, makes it 50 rounds of each (a server that stands still does so for 30
seconds then). UTP_SEED repeats a run."""
import json
import os
import pathlib
import random
import selectors
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import UTP, ChamberCase  # noqa: E402

ROUNDS = int(os.environ.get("UTP_CHAOS", "50" if os.environ.get("UTP_LONG") else "1"))
PAUSE_S = 30 if ROUNDS >= 50 else 3
RECOVERY_S = 120
LOAD = "{speed: 20}"


class Proxy:
    """Between the chamber and its bus, on a port of its own. cut(): every connection ends after some more bytes of it."""

    def __init__(self, target):
        self.target, self.left = target, None
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.stopping = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def cut(self, after_bytes):
        self.left = after_bytes

    def close(self):
        self.stopping = True
        self.thread.join()
        self.listener.close()

    def end(self, client, server):
        for s in (client, server):
            try:
                self.selector.unregister(s)
            except (KeyError, ValueError):
                pass
            s.close()

    def run(self):
        pairs = set()
        while not self.stopping:
            for key, _ in self.selector.select(0.05):
                if key.fileobj is self.listener:
                    client, _ = self.listener.accept()
                    try:
                        server = socket.create_connection(("127.0.0.1", self.target), timeout=2)
                    except OSError:
                        client.close()
                        continue
                    server.settimeout(None)
                    pairs.add((client, server))
                    self.selector.register(client, selectors.EVENT_READ, (client, server, server))
                    self.selector.register(server, selectors.EVENT_READ, (client, server, client))
                    continue
                client, server, to = key.data
                if (client, server) not in pairs:
                    continue
                try:
                    data = key.fileobj.recv(65536)
                    # Towards the server: what is left of it goes on, so that a message ends in its middle.
                    if self.left is not None and to is server and len(data) > self.left:
                        to.sendall(data[:self.left])
                        self.left = None
                        for pair in list(pairs):
                            self.end(*pair)
                        pairs.clear()
                        continue
                    if self.left is not None and to is server:
                        self.left -= len(data)
                    if data:
                        to.sendall(data)
                        continue
                except OSError:
                    pass
                pairs.discard((client, server))
                self.end(client, server)
        for pair in pairs:
            self.end(*pair)


class Chaos(ChamberCase):
    kind = None

    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("UTP_SEED", random.SystemRandom().randrange(1 << 32)))
        self.random = random.Random(self.seed)
        self.starts = 0
        if self.kind.missing():
            self.skipTest(self.kind.missing())
        self.bus = self.kind(self.folder / self.kind.name)
        self.proxy = Proxy(self.bus.port)
        self.addCleanup(self.proxy.close)
        self.bus.seen_at(self.proxy.port)
        self.addCleanup(self.bus.kill)
        self.bus.start()
        self.write_chamber(f"{self.kind.name}://127.0.0.1:{self.proxy.port}", LOAD)
        self.parts = {}
        self.addCleanup(lambda: [self.kill_part(name) for name in list(self.parts)])

    def start_part(self, name):
        commands = {"publisher": ["connect", "chamber.yaml", "sim.a"], "persister": ["persister", "--chamber", "chamber.yaml"]}
        command = [UTP, *commands[name], "--log-level", "warn"]
        if name == "publisher":
            self.starts += 1
            command += ["--record-acknowledged", f"keys.{self.starts}"]
        with open(self.folder / "chamber.err", "ab") as err:
            self.parts[name] = subprocess.Popen(command, cwd=self.folder, env=bus_servers.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err)

    def kill_part(self, name):
        process = self.parts.pop(name)
        process.kill()
        process.wait()

    def recorded(self):
        return sum(path.stat().st_size for path in self.folder.glob("keys.*"))

    def wait_for_load(self):
        """Until the publisher publishes again."""
        before, deadline = self.recorded(), time.monotonic() + RECOVERY_S
        while self.recorded() < before + 33 * 200:
            if time.monotonic() > deadline:
                self.fail(f"nothing is published any more (seed {self.seed})\n{self.errors()}")
            for name, process in self.parts.items():
                self.assertIsNone(process.poll(), f"the {name} has ended (seed {self.seed})\n{self.errors()}")
            time.sleep(0.05)

    def lag(self):
        topics = json.loads(self.utp("topics", "--bus", self.bus.url, "--json").stdout)
        return sum(group["lag"] for topic in topics["topics"] for group in topic["groups"])

    def wait_for_store(self):
        """Until the persister has stored what is on the bus, as long as it gets on with it."""
        left, deadline = self.lag(), time.monotonic() + RECOVERY_S  # more comes of the spool, which the persister forwards, too
        while left > 0:
            self.assertIsNone(self.parts["persister"].poll(), f"the persister has ended (seed {self.seed})\n{self.errors()}")
            if time.monotonic() > deadline:
                self.fail(f"the persister does not get on: {left} messages are left (seed {self.seed}, after {self.last_harm})\n"
                          f"{self.utp('topics', '--bus', self.bus.url).stdout}\n{self.errors()}")
            time.sleep(0.5)
            before, left = left, self.lag()
            if left < before:
                deadline = time.monotonic() + RECOVERY_S

    def kill_server(self):
        self.bus.kill()
        time.sleep(self.random.random() * 2)
        self.bus.start()

    def kill_publisher(self):
        self.kill_part("publisher")
        self.start_part("publisher")

    def kill_persister(self):
        self.kill_part("persister")
        self.start_part("persister")

    def pause_server(self):
        self.bus.pause()
        time.sleep(PAUSE_S)
        self.bus.go_on()

    def cut_connections(self):
        self.proxy.cut(self.random.randrange(200_000))
        time.sleep(0.5)

    def test_NothingAcknowledgedIsLostWhateverIsKilled(self):
        for name in ("publisher", "persister"):
            self.start_part(name)
        self.wait_for_load()
        harms = [self.kill_server, self.kill_publisher, self.kill_persister, self.pause_server, self.cut_connections] * ROUNDS
        self.random.shuffle(harms)
        for i, harm in enumerate(harms):
            time.sleep(self.random.random() * 0.5)
            harm()
            self.last_harm = harm.__name__
            self.wait_for_load()
            if i % 25 == 24:  # before a topic comes to its limit, where the oldest messages go
                self.kill_part("publisher")
                self.wait_for_store()
                self.start_part("publisher")
        self.kill_part("publisher")
        self.wait_for_store()
        self.kill_part("persister")
        result = self.finish(self.start(3))  # a whole chamber forwards the spool, stores the rest
        count = self.check_all_stored(result)
        print(f"REPORT {self.kind.name} chaos, {len(harms)} rounds, seed {self.seed}: {count} acknowledged, all stored, none twice")


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite()
    for case in Chaos.__subclasses__():
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class RedisChaos(Chaos):
    kind = bus_servers.Redis


class NatsChaos(Chaos):
    kind = bus_servers.Nats


class KafkaChaos(Chaos):
    kind = bus_servers.Kafka


if __name__ == "__main__":
    unittest.main()
