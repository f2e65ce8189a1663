"""A whole chamber over a private bus server that is killed, hangs, or is away for a while: nothing is lost, nothing stands twice."""
import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import TIMEOUT_S, ChamberCase  # noqa: E402


class ServerChamber(ChamberCase):
    kind = None
    pace = 1  # of the slowest step: how long a server takes to come up, or to be found gone

    def setUp(self):
        super().setUp()
        if self.kind is None:
            self.skipTest("the base of the others")
        self.bus = self.server(self.kind)
        self.write_chamber(self.bus.url, more="topics:\n  quotes/v2: {pack: 20}\n")  # where a bus takes it

    def test_AKilledServerCostsNothing(self):
        process = self.start(10 * self.pace)
        self.bus.kill()
        waiting = self.health(lambda h: h["spool"]["waiting"] > 50)
        self.assertEqual(waiting["state"], "degraded")
        self.bus.start()
        result = self.finish(process)
        self.check_all_stored(result)
        self.assertGreater(result["spool"]["forwarded"], 50)
        self.assertEqual(result["spool"]["waiting"], 0)

    def test_TheBusAndTheStoreAreCompared(self):
        result = self.finish(self.start(4))
        self.check_all_stored(result)
        compared = json.loads(self.utp("store", "reconcile", "--chamber", "chamber.yaml", "--json").stdout)
        self.assertEqual((compared["missing"], compared["equal"]), (0, True))
        for name, of in compared["event_types"].items():
            self.assertEqual((of["unread"], of["unreadable"], of["waiting"], of["bus"]), (0, 0, 0, of["stored"]), name)
        self.assertGreater(compared["event_types"]["quotes/v2"]["bus"], 0)

    def test_WhatWaitsAtTheEndIsSentByTheNextStart(self):
        process = self.start(4)
        self.bus.kill()
        out, _ = process.communicate(timeout=TIMEOUT_S)
        self.assertNotEqual(process.returncode, 0)
        self.assertGreater(json.loads(out.strip().splitlines()[-1])["spool"]["waiting"], 0)
        self.bus.start()
        self.check_all_stored(self.finish(self.start(3)))

    def test_AChamberThatIsKilledWhileItSpoolsLosesNothing(self):
        for _ in range(3):
            process = self.start(60)
            self.bus.kill()
            self.health(lambda h: h["spool"]["waiting"] > 50)
            process.kill()
            process.wait()
            self.bus.start()
        self.check_all_stored(self.finish(self.start(3)))

    def test_AServerThatIsNotThereAtTheStartIsWaitedFor(self):
        self.bus.kill()
        process = self.start_only(12 * self.pace)
        waiting = self.health(lambda h: h["spool"]["waiting"] > 50, process)
        self.assertEqual(waiting["state"], "degraded")
        self.bus.start()
        self.check_all_stored(self.finish(process))

    def test_AServerThatHangsCostsNothing(self):
        process = self.start(16 * self.pace)
        self.bus.pause()
        time.sleep(12)  # longer than an answer is waited for
        self.bus.go_on()
        self.check_all_stored(self.finish(process))


def load_tests(loader, tests, pattern):
    suite = unittest.TestSuite()
    for case in ServerChamber.__subclasses__():
        suite.addTests(loader.loadTestsFromTestCase(case))
    return suite


class RedisChamber(ServerChamber):
    kind = bus_servers.Redis


class NatsChamber(ServerChamber):
    kind = bus_servers.Nats


class KafkaChamber(ServerChamber):
    kind = bus_servers.Kafka
    pace = 3


if __name__ == "__main__":
    unittest.main()
