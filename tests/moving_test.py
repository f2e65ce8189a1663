"""A chamber under load moves from bus to bus while it runs, and between two starts: the store at the end equals the source."""
import json
import pathlib
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase  # noqa: E402

# All rates together are 161 events a second at speed 1.
LOAD = "{speed: 125}"
KINDS = [bus_servers.Redis, bus_servers.Nats, bus_servers.Kafka]


class Moving(ChamberCase):
    def move(self, url):
        text = (self.folder / "chamber.yaml").read_text().splitlines()
        (self.folder / "chamber.yaml").write_text("\n".join(f"bus: {url}" if line.startswith("bus:") else line for line in text) + "\n")
        return self.utp("reload", "chamber.yaml", "--wait", "--json")

    def test_AChamberMovesFromBusToBusUnderLoad(self):
        buses = [self.server(kind).url for kind in KINDS]
        self.write_chamber("embedded:bus", LOAD)
        began = time.monotonic()
        process = self.start(1000)
        visited = 0
        for url in buses + ["embedded:other"]:
            time.sleep(3)
            self.move(url)
            visited += 1
        time.sleep(2)
        process.terminate()
        seconds = time.monotonic() - began
        result = self.finish(process)
        self.assertEqual(result["events"], result["stored"])
        self.assertEqual(result["bus"]["url"], "embedded:other")
        count = self.check_all_stored(result, least=10_000)
        print(f"REPORT moved {visited} times at {count / seconds:,.0f} events a second: {count} events acknowledged, all stored, none twice")

    def test_WhatAnOldBusHoldsIsStoredAfterAStartWithAnother(self):
        redis = self.server(bus_servers.Redis)
        self.write_chamber(redis.url, LOAD)
        process = self.start(1000)
        time.sleep(1)
        process.kill()  # with events on the bus that are not stored
        process.wait()
        self.write_chamber("embedded:bus", LOAD)
        self.check_all_stored(self.finish(self.start(5)))
        self.assertEqual((self.folder / "data" / "buses").read_text().split(), ["embedded:bus"])

    def test_AMoveToABusThatIsNotThereChangesNothing(self):
        self.write_chamber("embedded:bus", LOAD)
        process = self.start(1000)
        text = (self.folder / "chamber.yaml").read_text()
        (self.folder / "chamber.yaml").write_text(text.replace("bus: embedded:bus", f"bus: redis://127.0.0.1:{bus_servers.free_port()}"))
        done = self.utp("reload", "chamber.yaml", code=1)
        self.assertIn("the chamber goes on as it was", done.stderr)
        process.terminate()
        result = self.finish(process)
        self.assertEqual(result["bus"]["url"], "embedded:bus")
        self.check_all_stored(result)

    def test_AChamberThatIsKilledInTheMiddleOfAMoveStoresBothBuses(self):
        redis = self.server(bus_servers.Redis)
        for i in range(3):
            self.write_chamber("embedded:bus" if i % 2 == 0 else redis.url, LOAD)
            process = self.start(1000)
            self.write_chamber(redis.url if i % 2 == 0 else "embedded:bus", LOAD)
            self.utp("reload", "chamber.yaml")  # comes back when the chamber is over there, before the old bus is stored
            process.kill()
            process.wait()
        self.check_all_stored(self.finish(self.start(5)))

    def test_TheSpoolOfANewBusHasTheTopicsOfTheChamberFile(self):
        redis = self.server(bus_servers.Redis)
        topics = "topics:\n  quotes/v2: {partitions: 3}\n"
        self.write_chamber("embedded:bus", LOAD, topics)
        process = self.start(1000)
        self.move(redis.url)
        redis.kill()
        self.health(lambda h: h["spool"]["waiting"] > 1000, process)
        process.kill()
        process.wait()
        redis.start()
        self.check_all_stored(self.finish(self.start(5)))

    def test_ABusThatWasAwayIsNotForgottenWhenTheChamberMoves(self):
        redis = self.server(bus_servers.Redis)
        self.write_chamber(redis.url, LOAD)
        process = self.start(1000)
        process.kill()
        process.wait()
        redis.kill()
        process = self.start_only(1000)
        self.health(lambda h: h["state"] == "degraded" and h["spool"]["waiting"] > 0, process)
        self.write_chamber("embedded:bus", LOAD)
        self.utp("reload", "chamber.yaml")
        self.assertEqual((self.folder / "data" / "buses").read_text().split(), ["embedded:bus", redis.url])
        process.terminate()
        self.finish(process)

    def test_ABusThatIsWrittenToIsCopiedAndCompared(self):
        self.write_chamber("embedded:bus", "{speed: 2}")
        process = self.start(1000)
        sides = ["--from", "embedded:data/bus", "--to", "embedded:copy", "--topics", "utp.>", "--seconds", "60", "--json"]
        for mode in ("--once", "--verify"):
            began = time.monotonic()
            result = json.loads(self.utp("bridge", *sides, mode).stdout)
            self.assertLess(time.monotonic() - began, 55)
            self.assertGreater(result["forwarded"], 0)
        self.assertTrue(result["verify"]["equal"])
        self.assertEqual(sum(t["extra"] for t in result["verify"]["topics"]), 0)
        process.terminate()
        self.finish(process)

    def test_ReloadSaysThatNoChamberRuns(self):
        self.write_chamber("embedded:bus")
        self.assertIn("no chamber runs on", self.utp("reload", "chamber.yaml", code=4).stderr)


if __name__ == "__main__":
    unittest.main()
