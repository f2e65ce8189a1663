"""Stored events back onto a bus and into a second store, and a source's range replaced, by the commands and on real stores."""
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase, UTP, TIMEOUT_S  # noqa: E402

TYPES = ("quotes/v2", "trades/v2", "orderbook/v1", "options/v1", "news/v1")
SETTINGS = '{"pace": "flat", "rates": {"quotes": 60, "trades": 30, "books": 30, "options": 40, "news": 5, "calendar": 0.1, "heartbeat": 1}}'


class StoreReplay(ChamberCase):
    """The tests of every store; a sub-class says where stores are."""

    def capture(self, seed, name=None):
        """Some thousand frames, the same ones each time."""
        name = name or f"{seed}.utpcap"
        self.utp("capture", "sim", "-o", name, "--seed", str(seed), "--settings", SETTINGS, "--max-size", "400KiB", "-q")
        return name

    def fill(self, store, capture, source="sim.a", realm="test"):
        """The capture's events in the store, through a bus of its own."""
        return self.last_json(self.utp("replay", "sim", capture, "--store", store, "--bus", f"embedded:fill.{time.monotonic_ns()}",
                                       "--realm", realm, "--source", source, "--json"))

    def last_json(self, done):
        return json.loads(done.stdout.strip().splitlines()[-1])

    def rows(self, store, *more):
        """All rows without the time that they were taken in, which is the run's."""
        rows = []
        for event_type in TYPES:
            for line in self.utp("query", event_type, "--store", store, "--format", "jsonl", *more).stdout.splitlines():
                row = json.loads(line)
                row["type"] = event_type
                rows.append(row)
        return rows

    @staticmethod
    def keys_of(rows):
        return sorted(row["key"] + str(row.get("row_no", "")) for row in rows)

    def popen(self, *args):
        process = subprocess.Popen([UTP, *args], cwd=self.folder, env=bus_servers.environment(), stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (process.kill(), process.communicate()))
        return process

    # utp store replay

    def test_ASecondStoreEqualsTheFirst(self):
        first, second = self.store("first"), self.store("second")
        self.fill(first, self.capture(1))
        for stored in (True, False):  # the second time adds nothing
            sent = self.last_json(self.utp("store", "replay", "--store", first, "--bus", "embedded:again", "--realm", "replay_one", "--json"))
            self.assertEqual((sent["complete"], sent["refused"], sent["realm"]), (True, 0, "replay_one"))
            self.assertGreater(sent["events"], 1000)
            self.assertGreater(sent["rows"], sent["events"], "news of several tickers are several rows")
            done = self.last_json(self.utp("persister", "--bus", "embedded:again", "--store", second, "--realm", "replay_one", "--drain", "--json"))
            self.assertEqual((done["stored"], done["dlq"]), (sent["events"] if stored else 0, 0))
        self.assertEqual(self.rows(second), self.rows(first))
        topics = json.loads(self.utp("topics", "--bus", "embedded:again", "--json").stdout)["topics"]
        self.assertTrue(all(t["topic"].startswith("utp.replay_one.replay.") for t in topics if t["messages"]), topics)

    def test_OnlyWhatIsAskedForGoesOutInTheOrderOfItsTime(self):
        store = self.store("first")
        self.fill(store, self.capture(1))
        all_rows = [r for r in self.rows(store) if r["type"] in ("quotes/v2", "trades/v2") and r["symbol"] == "BTC-USD"]
        times = sorted(r["event_time"] for r in all_rows)
        begin, end = times[len(times) // 4], times[3 * len(times) // 4]
        sent = self.last_json(self.utp("store", "replay", "--store", store, "--bus", "embedded:again", "--type", "quotes/v2", "--type", "trades/v2",
                                       "--symbol", "BTC-USD", "--source", "sim.a", "--from", begin, "--to", end, "--region", "desk", "--json"))
        self.assertRegex(sent["realm"], r"^replay_\d{8}_\d{6}$")
        wanted = sorted((r["event_time"], r["type"]) for r in all_rows if begin <= r["event_time"] < end)
        self.assertEqual((sent["events"], sent["first_event_time"], sent["last_event_time"]), (len(wanted), wanted[0][0], wanted[-1][0]))
        lines = self.utp("tail", f"utp.{sent['realm']}.desk.>", "--bus", "embedded:again", "--from", "earliest", "--limit", str(len(wanted)), "--json").stdout
        found = [json.loads(line) for line in lines.splitlines()]
        self.assertEqual(sorted((e["event_time"], e["event_type"]) for e in found), wanted)

    def test_RefusesALiveRealm(self):
        for realm in ("prod", "replay_", "replay_A"):
            done = self.utp("store", "replay", "--store", self.store("first"), "--bus", "embedded:again", "--realm", realm, code=2)
            self.assertIn("replay_<id>", done.stderr)
        self.assertFalse((self.folder / "again").exists())

    def test_AnInterruptedReplayTellsWhatWentOut(self):
        store = self.store("first")
        self.fill(store, self.capture(1))
        # At a pace at which the second event would be due long after this test.
        process = self.popen("store", "replay", "--store", store, "--bus", "embedded:again", "--realm", "replay_one", "--pace", "original",
                             "--speed", "0.000001", "--json")
        topics = []
        while not any(t["messages"] for t in topics):
            self.assertIsNone(process.poll())
            done = subprocess.run([UTP, "topics", "--bus", "embedded:again", "--json"], cwd=self.folder, env=bus_servers.environment(),
                                  capture_output=True, text=True, timeout=TIMEOUT_S)
            topics = json.loads(done.stdout)["topics"] if done.returncode == 0 else []
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 130, err)
        sent = json.loads(out)
        self.assertEqual((sent["complete"], sent["events"]), (False, sum(t["messages"] for t in topics)))
        self.assertIn(f"--realm replay_one --from {sent['last_event_time']}", err)
        # As it says: the rest comes with it, and nothing twice.
        self.utp("store", "replay", "--store", store, "--bus", "embedded:again", "--realm", "replay_one", "--from", sent["last_event_time"])
        second = self.store("second")
        self.utp("persister", "--bus", "embedded:again", "--store", second, "--realm", "replay_one", "--drain")
        self.assertEqual(self.rows(second), self.rows(store))

    # utp replay --replace

    def replace(self, capture, store, *more, code=0):
        return self.utp("replay", "sim", capture, "--store", store, "--replace", *more, code=code)

    def test_ANewMappingTakesThePlaceOfTheOldOne(self):
        store, other = self.store("first"), self.store("second")
        old, new = self.capture(1), self.capture(2)
        self.fill(store, old)
        self.fill(store, old, source="live.a")
        self.fill(other, new)
        before = self.rows(store)
        wanted = self.rows(other)
        begin = min(r["event_time"] for r in before)
        # Everything of sim.a, which is the only source of this connector.
        done = self.last_json(self.replace(new, store, "--from", begin, "--to", "2100-01-01", "--json"))
        self.assertEqual((done["source_id"], done["realm"]), ("sim.a", "test"))
        after = self.rows(store)
        self.assertEqual(self.keys_of(r for r in after if r["source_id"] == "sim.a"), self.keys_of(wanted))
        self.assertEqual([r for r in after if r["source_id"] == "live.a"], [r for r in before if r["source_id"] == "live.a"])
        for event_type in TYPES:
            self.assertEqual(done["event_types"][event_type]["removed"], sum(r["type"] == event_type and r["source_id"] == "sim.a" for r in before))
            self.assertEqual(done["event_types"][event_type]["added"], sum(r["type"] == event_type for r in wanted))
        self.assertIn("rows removed", self.replace(new, store, "--source", "sim.a").stdout)
        self.assertEqual(self.keys_of(self.rows(store)), self.keys_of(after))

    def test_OnlyTheRangeIsReplaced(self):
        store = self.store("first")
        capture = self.capture(1)
        self.fill(store, capture)
        before = self.rows(store)
        times = sorted(r["event_time"] for r in before)
        begin, end = times[len(times) // 3], times[2 * len(times) // 3]
        done = self.last_json(self.replace(capture, store, "--from", begin, "--to", end, "--json"))
        inside = sum(begin <= r["event_time"] < end for r in before)
        self.assertEqual(sum(t["removed"] for t in done["event_types"].values()), inside)
        self.assertEqual(sum(t["added"] for t in done["event_types"].values()), inside)
        after = self.rows(store)
        self.assertEqual(self.keys_of(after), self.keys_of(before))

    def test_TheSourceMustBeClear(self):
        store = self.store("first")
        capture = self.capture(1)
        self.fill(store, capture, source="sim.a")
        self.fill(store, capture, source="sim.b")
        before = self.rows(store)
        done = self.replace(capture, store, code=1)
        self.assertIn("several sources of sim: sim.a, sim.b", done.stderr)
        self.assertIn("--source", done.stderr)
        done = self.replace(capture, store, "--source", "sim.a", "--realm", "prod", code=1)
        self.assertIn('holds realm "test", --realm says "prod"', done.stderr)
        none = self.store("second")
        self.fill(none, capture, source="live")
        self.assertIn("nothing of sim", self.replace(capture, none, code=1).stderr)
        self.assertEqual(self.rows(store), before)

    def test_WhatIsRefusedLeavesTheOldRows(self):
        store = self.store("first")
        capture = self.capture(1)
        self.fill(store, capture)
        before = self.rows(store)
        bytes_ = (self.folder / capture).read_bytes()
        (self.folder / "cut.utpcap").write_bytes(bytes_[:len(bytes_) // 2])
        begin = min(r["event_time"] for r in before)
        done = self.replace("cut.utpcap", store, "--from", begin, "--to", "2100-01-01", code=1)
        self.assertIn("The old rows stay; --allow-refused", done.stderr)
        self.assertEqual(self.rows(store), before)
        self.replace("cut.utpcap", store, "--from", begin, "--to", "2100-01-01", "--allow-refused")
        after = self.keys_of(self.rows(store))
        self.assertTrue(0 < len(after) < len(before))
        self.assertLess(set(after), set(self.keys_of(before)))

    def test_AKilledReplaceLeavesOldOrNewRows(self):
        store, other = self.store("first"), self.store("second")
        old, new = self.capture(1), self.capture(2)
        self.fill(store, old)
        self.fill(other, new)
        before, wanted = self.keys_of(self.rows(store)), self.keys_of(self.rows(other))
        seed = 20261123
        draw = random.Random(seed)
        began = time.monotonic()
        self.replace(new, store, "--from", "2000-01-01", "--to", "2100-01-01")
        whole = time.monotonic() - began
        self.assertEqual(self.keys_of(self.rows(store)), wanted)
        states, captures = [before, wanted], [old, new]
        now = 1
        for _ in range(8):
            process = self.popen("replay", "sim", captures[1 - now], "--store", store, "--replace", "--from", "2000-01-01", "--to", "2100-01-01")
            time.sleep(draw.uniform(0.1, 1.1) * whole)
            process.kill()
            process.wait()
            found = self.keys_of(self.rows(store))
            self.assertIn(found, states, f"neither the old nor the new rows, seed {seed}")
            now = states.index(found)
        # Nothing is left in the way.
        self.replace(captures[1 - now], store, "--from", "2000-01-01", "--to", "2100-01-01")
        self.assertEqual(self.keys_of(self.rows(store)), states[1 - now])


class SqliteReplay(StoreReplay):
    def store(self, name):
        return f"sqlite:{name}.db"


class PostgresReplay(StoreReplay):
    def setUp(self):
        super().setUp()
        self.server_ = self.server(bus_servers.Postgres)

    def store(self, name):
        self.server_.sql(f"CREATE SCHEMA IF NOT EXISTS {name}")
        return f"{self.server_.url}?options=-csearch_path%3D{name}"

    def hold(self, table, mode):
        """Another program's lock on the table, until its connection ends."""
        holder = subprocess.Popen([self.server_.program("psql"), self.server_.url, "-qAtX", "-c",
                                   f"BEGIN; LOCK TABLE first.{table} IN {mode} MODE; SELECT pg_sleep(600)"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(lambda: (holder.kill(), holder.wait()))
        while self.locks(table, True) == 0:
            time.sleep(0.02)

    def locks(self, table, granted):
        """Of those that conflict with somebody's."""
        return int(self.server_.sql(f"SELECT count(*) FROM pg_locks WHERE relation = to_regclass('first.{table}') AND granted = {granted} "
                                    "AND mode <> 'AccessShareLock'")[0][0])

    def start_held_replace(self, capture, store):
        """One that has begun, and waits for the lock of somebody else."""
        self.hold("trades", "ROW EXCLUSIVE")
        process = self.popen("replay", "sim", capture, "--store", store, "--replace")
        while self.locks("trades", False) == 0:
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        return process

    def test_AKilledReplaceLeavesNoFolderForLong(self):
        temporary = self.folder / "temporary"
        temporary.mkdir()
        with unittest.mock.patch.dict(os.environ, TMPDIR=str(temporary)):
            first, second = self.store("first"), "sqlite:second.db"
            capture = self.capture(1)
            self.fill(first, capture)
            self.fill(second, capture)
            process = self.start_held_replace(capture, first)
            self.replace(capture, second)
            self.assertEqual(len(list(temporary.glob("utp_replace_*/bus"))), 1, "the folder of one that runs stays")
            process.kill()
            process.wait()
            (temporary / "utp_replace_other").mkdir()  # it may be anybody's
            self.replace(capture, second)
            self.assertEqual([path.name for path in temporary.glob("utp_replace_*")], ["utp_replace_other"])

    def ranges_to_refresh(self, store):
        return json.loads(self.utp("store", "status", "--store", store, "--json").stdout)["ranges_to_refresh"]

    def test_WhoWritesMuchRefreshesTheAggregatesOfIt(self):
        store, capture = self.store("first"), self.capture(1)
        self.fill(store, capture)
        self.assertEqual(self.ranges_to_refresh(store), 0)
        self.replace(capture, store)
        self.assertEqual(self.ranges_to_refresh(store), 0)
        self.utp("store", "replay", "--store", store, "--bus", "embedded:again", "--realm", "replay_one")
        self.utp("persister", "--bus", "embedded:again", "--store", self.store("second"), "--realm", "replay_one", "--drain")
        self.assertEqual(self.ranges_to_refresh(self.store("second")), 0)
        bars = "SELECT bucket, symbol, open, high, low, close, trades FROM {}.trade_bars_1m ORDER BY bucket, symbol"
        self.assertEqual(self.server_.sql(bars.format("second")), self.server_.sql(bars.format("first")))

    def test_ARefreshAfterAReplayCanBeInterrupted(self):
        store, first, second = self.store("first"), self.capture(1), self.capture(2)
        self.fill(store, first)
        self.hold("utp_trade_bars_1s", "ACCESS EXCLUSIVE")
        process = self.popen("replay", "sim", second, "--store", store, "--bus", "embedded:held", "--realm", "test", "--source", "sim.a", "--json")
        while self.locks("utp_trade_bars_1s", False) == 0:
            self.assertIsNone(process.poll())
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertGreater(json.loads(out)["stored"], 0, err)
        self.assertIn("utp store maintain", err)
        # The end of its client would not wake it.
        self.server_.sql("SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)' AND pid <> pg_backend_pid()")
        self.assertGreater(self.ranges_to_refresh(store), 0)
        self.utp("store", "maintain", "--store", store)
        self.assertEqual(self.ranges_to_refresh(store), 0)

    def test_AStoreThatDiesMeanwhileTellsWhatWentOut(self):
        store = self.store("first")
        self.utp("capture", "sim", "-o", "big.utpcap", "--seed", "3", "--settings", SETTINGS, "--stream", "quotes", "--max-size", "2MiB", "-q")
        count = self.fill(store, "big.utpcap")["stored"]
        self.assertGreater(count, 10_000, "more than a cursor holds at once")
        # At a pace that leaves the time to kill it between the first event and the end.
        process = self.popen("store", "replay", "--store", store, "--bus", "embedded:again", "--realm", "replay_one", "--pace", "original",
                             "--speed", "20", "--type", "quotes/v2", "--json")
        while not (self.folder / "again").exists():
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        self.server_.kill()
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 4, err)
        sent = json.loads(out)
        self.assertFalse(sent["complete"])
        self.assertIn("--realm replay_one", err)
        topics = json.loads(self.utp("topics", "--bus", "embedded:again", "--json").stdout)["topics"]
        self.assertEqual(sum(t["messages"] for t in topics), sent["events"])
        self.assertTrue(0 < sent["events"] < count, sent)

    def test_AServerThatDiesDuringAReplaceLeavesTheOldRows(self):
        store = self.store("first")
        capture = self.capture(1)
        self.fill(store, capture)
        before = self.rows(store)
        process = self.start_held_replace(capture, store)
        self.server_.kill()
        self.assertNotEqual(process.wait(timeout=TIMEOUT_S), 0)
        self.server_.start()
        self.assertEqual(self.rows(store), before)


del StoreReplay  # not a test by itself

if __name__ == "__main__":
    unittest.main()
