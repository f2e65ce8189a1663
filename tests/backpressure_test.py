"""A store that takes nothing for a while, or a bus, under load: what fits waits on the bus or in the spool and is stored later; past
every limit the stream stops, and a gap event counts what is missing. Memory stays bounded throughout.

UTP_LONG=1: what is away within its limits is away for ten minutes instead of a few seconds."""
import os
import pathlib
import re
import sqlite3
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase  # noqa: E402

# About 8,000 events a second, 5 MB; every topic keeps 48 MB.
LOAD = "{speed: 50}"
LIMITS = "topics:\n" + "".join(f"  {t}: {{retention_bytes: 48MiB}}\n" for t in ("quotes/v2", "trades/v2", "orderbook/v1", "options/v1"))
MEMORY_MAX = 400 << 20
# For what is to cost lag only: room for ten minutes.
AWAY_S = 600 if os.environ.get("UTP_LONG") else 5
AWAY_LOAD = "{speed: 12}"
AWAY_LIMITS = "topics:\n" + "".join(f"  {t}: {{retention_bytes: 2GiB}}\n" for t in ("quotes/v2", "trades/v2", "orderbook/v1", "options/v1"))


class Backpressure(ChamberCase):
    def lock_store(self):
        lock = sqlite3.connect(self.folder / "data" / "store.db", isolation_level=None, check_same_thread=False)
        self.addCleanup(lock.close)
        lock.execute("PRAGMA busy_timeout=30000")
        lock.execute("BEGIN IMMEDIATE")
        return lock

    def memory(self, process):
        status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
        return int(re.search(r"RssAnon:\s+(\d+) kB", status).group(1)) << 10

    def gaps(self):
        with sqlite3.connect(self.folder / "data" / "store.db") as store:
            return store.execute("SELECT missed FROM system_gap WHERE reason LIKE 'the bus took no messages for longer%'").fetchall()

    def test_PastEveryLimitTheStreamStopsAndAGapCountsWhatIsMissing(self):
        self.write_chamber("embedded:bus", LOAD, LIMITS)
        process = self.start(1000)
        lock = self.lock_store()
        stopped = self.health(lambda h: h["connectors"]["sim.a"]["status"]["dropped_frames"] > 1000, process, timeout=120)
        self.assertIn("the stream has stopped", stopped["connectors"]["sim.a"]["status"]["detail"])
        self.assertGreater(stopped["bus"]["backlog"], 0.5)
        self.assertLess(self.memory(process), MEMORY_MAX)
        lock.execute("ROLLBACK")
        self.health(lambda h: h["lag"] < 5000 and h["connectors"]["sim.a"]["status"]["state"] == "up", process, timeout=120)
        process.terminate()
        result = self.finish(process)
        count = self.check_all_stored(result)
        dropped = result["connectors"]["sim.a"]["status"]["dropped_frames"]
        self.assertEqual(sum(missed for missed, in self.gaps()), dropped)
        self.assertEqual([g["trimmed_unread"] for t in result["bus"].get("topics", []) for g in t["groups"] if g["trimmed_unread"]], [])
        self.assertEqual(result["persister"]["lost"], 0)
        print(f"REPORT store away: {count} acknowledged and stored, {dropped} frames dropped and counted in {len(self.gaps())} gap event(s)")

    def test_OnAServerTheSpoolBridgesAStoreThatIsAway(self):
        redis = self.server(bus_servers.Redis)
        self.write_chamber(redis.url, LOAD, LIMITS)
        process = self.start(1000)
        lock = self.lock_store()
        spooling = self.health(lambda h: h["spool"]["waiting"] > 20_000, process, timeout=120)
        self.assertIn("the store is behind", spooling["spool"]["last_error"])
        lock.execute("ROLLBACK")
        self.health(lambda h: not h["spool"]["spooling"] and h["lag"] < 5000, process, timeout=120)
        self.assertLess(self.memory(process), MEMORY_MAX)
        process.terminate()
        result = self.finish(process)
        self.check_all_stored(result)
        self.assertEqual(result["connectors"]["sim.a"]["status"]["dropped_frames"], 0)
        self.assertEqual(result["persister"]["lost"], 0)

    def wait_away(self, process):
        deadline = time.monotonic() + AWAY_S
        most = 0
        while time.monotonic() < deadline:
            self.assertIsNone(process.poll(), self.errors())
            most = max(most, self.memory(process))
            time.sleep(1)
        return most

    def finish_whole(self, process, what, most):
        self.health(lambda h: not h.get("spool", {}).get("spooling") and h["lag"] < 5000, process, timeout=60 + AWAY_S)
        most = max(most, self.memory(process))
        self.assertLess(most, MEMORY_MAX)
        process.terminate()
        result = self.finish(process)
        count = self.check_all_stored(result)
        self.assertEqual(result["connectors"]["sim.a"]["status"]["dropped_frames"], 0)
        self.assertEqual(result["persister"]["lost"], 0)
        print(f"REPORT {what} away for {AWAY_S} s: {count} acknowledged, all stored, nothing dropped, {most >> 20} MiB")

    def test_AStoreThatIsAwayCostsLagOnly(self):
        self.write_chamber("embedded:bus", AWAY_LOAD, AWAY_LIMITS)
        process = self.start(3000)
        lock = self.lock_store()
        most = self.wait_away(process)
        lock.execute("ROLLBACK")
        self.finish_whole(process, "store", most)

    def test_ABusThatIsAwayCostsLagOnly(self):
        redis = self.server(bus_servers.Redis)
        self.write_chamber(redis.url, AWAY_LOAD, AWAY_LIMITS)
        process = self.start(3000)
        redis.kill()
        most = self.wait_away(process)
        redis.start()
        self.finish_whole(process, "bus", most)


if __name__ == "__main__":
    unittest.main()
