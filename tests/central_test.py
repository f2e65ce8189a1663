"""A central chamber whose bridges bring two regions' events into one store: row for row what the regions have, also after a
region was away, a bridge was cut, and events came twice."""
import json
import pathlib
import signal
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase, UTP  # noqa: E402
from chaos_test import Proxy  # noqa: E402

REGION = """\
realm: test
region: {name}
data_dir: {name}
bus: {bus}
store: {store}
connectors:
  - id: sim
    name: {name}
    seed: {seed}
"""
CENTRE = """\
realm: test
region: centre
data_dir: data
store: {store}
bridges:
  - region: us
    from: {us}
  - region: eu
    from: {eu}
"""


class Central(ChamberCase):
    def write(self, us_store, eu_store, store, us_bus="embedded:bus", eu_bus="embedded:bus", from_us=None, from_eu=None):
        for seed, (name, bus, kept) in enumerate((("us", us_bus, us_store), ("eu", eu_bus, eu_store)), 1):
            (self.folder / f"{name}.yaml").write_text(REGION.format(name=name, bus=bus, store=kept, seed=seed))
        centre = CENTRE.format(store=store, us=from_us or "embedded:../us/bus", eu=from_eu or "embedded:../eu/bus")
        (self.folder / "chamber.yaml").write_text(centre)

    def begin(self, name, seconds):
        with open(self.folder / f"{name}.err", "ab") as err:
            process = subprocess.Popen([UTP, "up", f"{name}.yaml", "--seconds", str(seconds), "--json"], cwd=self.folder,
                                       env=bus_servers.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err, text=True)
        self.addCleanup(lambda: (process.kill(), process.wait(), process.stdout.close()))
        return process

    def region_runs(self, name, seconds):
        out, _ = self.begin(name, seconds).communicate(timeout=120)
        done = json.loads(out.strip().splitlines()[-1])
        self.assertEqual((done["lag"], done["dlq"]), (0, 0))
        self.assertGreater(done["stored"], 100)
        return done

    def region_health(self, name):
        return json.loads((self.folder / name / "health.json").read_text())

    def arrived(self, counts, process):
        """Once the central store has so many events of each region."""
        return self.health(lambda h: h["stored"] >= sum(counts) and h["lag"] == 0 and self.bridges_done(h), process)

    @staticmethod
    def bridges_done(health):
        return len(health["bridges"]) == 2 and all(b["lag"] == 0 and not b["last_error"] for b in health["bridges"].values())

    def end(self, process):
        process.terminate()
        return self.finish(process)

    def rows(self, store):
        """Every row of every table, by what it is; but for the time that it was taken in, which is the same anyway."""
        rows = []
        status = json.loads(self.utp("store", "status", "--store", store, "--json").stdout)
        for table in status["tables"]:
            for line in self.utp("query", table["event_type"], "--store", store, "--format", "jsonl").stdout.splitlines():
                rows.append(table["event_type"] + line)
        return sorted(rows)

    def check_equal(self, us, eu, store):
        wanted = sorted(self.rows(us) + self.rows(eu))
        self.assertEqual(self.rows(store), wanted)
        self.assertEqual(len(set(wanted)), len(wanted))
        self.assertGreater(len(wanted), 500)


class PostgresCentral(Central):
    def setUp(self):
        super().setUp()
        self.us, self.eu = self.server(bus_servers.Postgres, "us.db"), self.server(bus_servers.Postgres, "eu.db")
        self.us.sql("CREATE DATABASE centre")
        self.centre = f"postgres://utp@127.0.0.1:{self.us.port}/centre"

    def test_TheCentralStoreEqualsTheRegionalOnes(self):
        self.write(self.us.url, self.eu.url, self.centre)
        centre = self.start_only(120)  # before there is any region
        self.health(lambda h: h["state"] == "degraded" and "bridge of region" in h["detail"], centre)
        regions = [self.begin(name, 3) for name in ("us", "eu")]
        counts = [self.finish(process)["stored"] for process in regions]
        self.arrived(counts, centre)
        # A region that comes again, and a centre that was killed meanwhile.
        again = self.begin("us", 3)
        self.health(lambda h: h["stored"] > sum(counts), centre)
        centre.kill()
        centre.wait()
        counts[0] += self.finish(again)["stored"]
        centre = self.start_only(120)
        self.health(lambda h: h["state"] == "up" and h["lag"] == 0 and self.bridges_done(h) and self.count() >= sum(counts), centre)
        done = self.end(centre)
        self.assertEqual((done["lag"], done["dlq"]), (0, 0))
        self.check_equal(self.us.url, self.eu.url, self.centre)
        # Bridged once more: what the bus has is not sent again. And by another way: nothing is new in the store.
        for target, way in (("data/bus", "already_there"), ("other", "forwarded")):
            for name, count in zip(("us", "eu"), counts):
                told = self.utp("bridge", "--from", f"embedded:{name}/bus", "--to", f"embedded:{target}", "--topics", f"utp.test.{name}.>",
                                "--once", "--group", f"again_{target[:4]}", "--json")
                self.assertEqual(json.loads(told.stdout)[way], count)
        told = self.utp("persister", "--bus", "embedded:other", "--store", self.centre, "--drain", "--json").stdout
        done = json.loads(told.strip().splitlines()[-1])
        self.assertEqual((done["stored"], done["duplicates"], done["dlq"]), (0, sum(counts), 0))
        self.check_equal(self.us.url, self.eu.url, self.centre)
        # Its aggregates have both sources.
        self.utp("store", "maintain", "--store", self.centre)
        self.assertTrue(json.loads(self.utp("store", "verify", "--store", self.centre, "--json").stdout)["good"])
        bars = self.utp("query", "trade_bars_1d", "--store", self.centre, "--format", "jsonl").stdout.splitlines()
        self.assertEqual({json.loads(bar)["source_id"] for bar in bars}, {"sim.us", "sim.eu"})

    def count(self):
        """Events, not rows."""
        try:
            tables = [t for t, in self.psql("SELECT table_name FROM utp_tables")]
            return sum(int(self.psql(f'SELECT count(DISTINCT key) FROM "{t}"')[0][0]) for t in tables)
        except RuntimeError:
            return 0

    def psql(self, text):
        done = subprocess.run([self.us.program("psql"), self.centre, "-qAtX", "-F", "\t", "-c", text],
                              capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        return [line.split("\t") for line in done.stdout.splitlines()]


class RedisCentral(Central):
    def test_ACutLinkIsLagAndNothingElse(self):
        server = self.server(bus_servers.Redis)
        link = Proxy(server.port)
        self.addCleanup(link.close)
        self.write("sqlite:store.db", "sqlite:store.db", "sqlite:store.db", us_bus=server.url,
                   from_us=f"redis://127.0.0.1:{link.port}")
        counts = [self.region_runs("eu", 2)["stored"]]
        centre = self.start_only(120)
        us = self.begin("us", 5)
        self.health(lambda h: h["bridges"]["us"]["forwarded"] > 0 and h["bridges"]["eu"]["lag"] == 0, centre)
        for _ in range(3):
            link.cut(100)
            time.sleep(0.3)
        forwarded = self.health(lambda h: True)["bridges"]["us"]["forwarded"]
        self.health(lambda h: h["bridges"]["us"]["forwarded"] > forwarded, centre)
        server.pause()
        time.sleep(1)
        server.go_on()
        # The centre moves to another bus meanwhile; its bridges go on where they were.
        with open(self.folder / "chamber.yaml", "a") as file:
            file.write("bus: embedded:second\n")
        centre.send_signal(signal.SIGUSR1)
        self.health(lambda h: h["reloads"] == 1 and h["reload_error"] == "" and h["bus"]["url"] == "embedded:second", centre)
        counts.append(self.finish(us)["stored"])
        self.arrived(counts, centre)
        done = self.end(centre)
        bridge = done["bridges"]["us"]
        self.assertEqual((done["lag"], done["dlq"], bridge["lost"], bridge["refused"]), (0, 0, 0, 0))
        self.check_equal("sqlite:us/store.db", "sqlite:eu/store.db", "sqlite:data/store.db")


class SharedHubCentral(Central):
    def test_RegionsOnOneBusAreTakenByABridgeEach(self):
        # Patterns that name every region: each bridge reads all and takes its own.
        self.write("sqlite:store.db", "sqlite:store.db", "sqlite:store.db", us_bus="embedded:../hub", eu_bus="embedded:../hub",
                   from_us="embedded:../hub\n    topics: ['utp.*.*.>']", from_eu="embedded:../hub\n    topics: ['utp.*.*.>']")
        for name in ("us", "eu"):  # a persister stores its own region
            path = self.folder / f"{name}.yaml"
            path.write_text(path.read_text() + f"persister: {{group: {name}}}\n")
        counts = [self.begin(name, 2) for name in ("us", "eu")]
        done = [json.loads(process.communicate(timeout=120)[0].strip().splitlines()[-1]) for process in counts]
        centre = self.start_only(120)
        published = sum(part["events"] for part in done)
        self.assertGreater(published, 500)
        self.health(lambda h: h["stored"] >= published and h["lag"] == 0 and self.bridges_done(h), centre)
        bridges = self.end(centre)["bridges"]
        self.assertEqual({b["lost"] + b["refused"] for b in bridges.values()}, {0})
        self.assertEqual(sum(b["forwarded"] for b in bridges.values()), published)


class CentralConfiguration(Central):
    def refused(self, text):
        (self.folder / "chamber.yaml").write_text(text)
        return self.utp("up", "chamber.yaml", code=3).stderr

    def test_WhatCannotWorkIsRefusedWithItsPlace(self):
        us = "bridges:\n  - region: us\n    from: embedded:{}\n"
        for text, says in (("region: us\n" + us.format("../us/bus"), "chamber.yaml:3: /bridges/0/region: \"us\" is this chamber's own region"),
                           (us.format("../us/bus"), "name this chamber's own region"),
                           ("region: hub\n" + us.format("bus"), "this is the chamber's own bus"),
                           ("region: hub\n" + us.format("a") + "  - {region: us, from: embedded:b}\n", 'a second bridge of region "us"'),
                           ("region: hub\n", "there are no connectors and no bridges")):
            self.assertIn(says, self.refused(text))


del Central  # not a test by itself

if __name__ == "__main__":
    unittest.main()
