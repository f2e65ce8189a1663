"""Chaos at the store: the PostgreSQL server, with all of its processes, and the persister are killed with kill -9 while events are
published, partitions made and aggregates refreshed. At the end every row equals what was on the bus, by an account of its own, no row
stands twice, and the aggregates are those of the rows.

Three harms of each kind by default; UTP_CHAOS=50, or UTP_LONG=1, makes it 50 of each. UTP_SEED repeats a run."""
import json
import os
import pathlib
import random
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from bus_account import Account, stored_rows  # noqa: E402
from chamber_case import UTP, ChamberCase  # noqa: E402

ROUNDS = int(os.environ.get("UTP_CHAOS", "50" if os.environ.get("UTP_LONG") else "3"))
RECOVERY_S = 120
DAY_FRAMES = 250
LIVE = "{speed: 5, rates: {quotes: 60, trades: 30, books: 10, news: 5, calendar: 0, heartbeat: 1}}"
DAY = "{{pace: flat, frames: " + str(DAY_FRAMES) + ", seed: {seed}, start: '{start}', rates: {{quotes: 60, trades: 30, books: 10, news: 5, calendar: 0, heartbeat: 1}}}}"
CHAMBER = """\
realm: test
region: here
data_dir: data
bus: {bus}
durability: interval
store: {store}
connectors:
  - id: sim
    name: {name}
    seed: 7
    symbols: [AAPL, NVDA, BTC-USD, ETH-USD]
    settings: {settings}
"""
# What each aggregate is, said once more, over the rows at once: (name, table, which rows, columns).
AGGREGATES = [
    ("trade_bars", ("1s", "1m", "5m", "1h", "1d"), "trades", "price IS NOT NULL AND size IS NOT NULL",
     {"open": "(array_agg(price ORDER BY event_time, event_time_ns, sequence, key))[1]", "high": "max(price)", "low": "min(price)",
      "close": "(array_agg(price ORDER BY event_time DESC, event_time_ns DESC, sequence DESC, key DESC))[1]", "volume": "sum(size)",
      "notional": "sum(price * size)", "vwap": "sum(price * size) / nullif(sum(size), 0)", "trades": "count(*)"}),
    ("quote_stats", ("1m", "1h", "1d"), "quotes", "bid IS NOT NULL AND ask IS NOT NULL",
     {"quotes": "count(*)", "spread_min": "min(ask - bid)", "spread_max": "max(ask - bid)", "spread_sum": "sum(ask - bid)",
      "spread_mean": "avg(ask - bid)", "mid_high": "max((bid + ask) / 2)", "mid_low": "min((bid + ask) / 2)",
      "mid_close": "(array_agg((bid + ask) / 2 ORDER BY event_time DESC, event_time_ns DESC, sequence DESC, key DESC))[1]"}),
]
SPANS = {"1s": "1 second", "1m": "1 minute", "5m": "5 minutes", "1h": "1 hour", "1d": "1 day"}


class StoreChaos(ChamberCase):
    def setUp(self):
        super().setUp()
        self.seed = int(os.environ.get("UTP_SEED", random.SystemRandom().randrange(1 << 32)))
        self.random = random.Random(self.seed)
        self.parts, self.days, self.last_harm = {}, 0, "the start"
        self.publishers = []
        self.stopping = False
        self.maintained = self.failed_to_maintain = 0
        self.addCleanup(self.end_all)

    def end_all(self):
        self.stopping = True
        for process in [*self.parts.values(), *self.publishers]:
            process.kill()
            process.wait()

    def says(self, text):
        return f"{text} (seed {self.seed}, after {self.last_harm})\n{self.errors()}"

    def popen(self, *args, out=subprocess.DEVNULL):
        with open(self.folder / "chamber.err", "ab") as err:
            return subprocess.Popen([UTP, *args, "--log-level", "warn"], cwd=self.folder, env=bus_servers.environment(), stdin=subprocess.DEVNULL,
                                    stdout=out, stderr=err)

    def publisher(self, name, settings):
        (self.folder / f"{name}.yaml").write_text(CHAMBER.format(bus=f"embedded:{self.folder}/bus", store=self.server_.url, name=name, settings=settings))
        self.keys += 1
        return self.popen("connect", f"{name}.yaml", f"sim.{name}", "--record-acknowledged", f"keys.{self.keys}")

    def publish_a_day(self):
        """Some seconds of a day that no partition is there for; one of three days a second time, in which nothing is new."""
        if self.days == 0 or self.random.random() > 0.33:
            self.days += 1
        day = self.days if self.random.random() > 0.2 else self.random.randint(1, self.days)
        start = f"{2020 + day // 300}-{1 + day // 25 % 12:02}-{1 + day % 25:02}T{day % 24:02}:30:00Z"
        self.publishers = [p for p in self.publishers if p.poll() is None]
        self.publishers.append(self.publisher(f"d{day}", DAY.format(seed=day, start=start)))

    def start_persister(self):
        self.parts["persister"] = self.popen("persister", "--chamber", "live.yaml")

    def keep(self):
        """Somebody refreshes the aggregates all the time."""
        while not self.stopping:
            done = subprocess.run([UTP, "store", "maintain", "--store", self.server_.url, "--json"], cwd=self.folder, env=bus_servers.environment(),
                                  capture_output=True, text=True, timeout=RECOVERY_S)
            self.maintained += done.returncode == 0
            self.failed_to_maintain += done.returncode != 0
            time.sleep(0.1)

    def rows(self):
        try:
            return int(self.server_.sql("SELECT count(*) FROM trades")[0][0])
        except RuntimeError:
            return 0  # it is not made yet

    def wait_for_progress(self):
        before, deadline = self.rows(), time.monotonic() + RECOVERY_S
        while self.rows() <= before:
            for name, process in self.parts.items():
                self.assertIsNone(process.poll(), self.says(f"the {name} has ended"))
            self.assertLess(time.monotonic(), deadline, self.says("nothing is stored any more"))
            time.sleep(0.03)

    def wait_until_stored(self):
        deadline, left = time.monotonic() + RECOVERY_S, None
        while left != 0:
            topics = json.loads(self.utp("topics", "--chamber", "live.yaml", "--json", "--sample", "0").stdout)["topics"]
            before, left = left, sum(group["lag"] for topic in topics for group in topic["groups"] if group["group"] == "persister")
            if before is None or left < before:
                deadline = time.monotonic() + RECOVERY_S
            self.assertLess(time.monotonic(), deadline, self.says(f"{left} messages stay on the bus"))
            self.assertIsNone(self.parts["persister"].poll(), self.says("the persister has ended"))
            time.sleep(0.1)
        return sum(topic["messages"] for topic in topics if topic["messages"] and not topic["topic"].endswith(".dlq"))

    def kill_server(self):
        self.server_.kill()
        time.sleep(self.random.random() * 0.3)
        self.server_.start()

    def kill_persister(self):
        process = self.parts.pop("persister")
        process.kill()
        process.wait()
        self.start_persister()

    def harm(self, kinds):
        self.parts["publisher"] = self.publisher("live", LIVE)
        deadline = time.monotonic() + RECOVERY_S
        while not list(self.folder.glob("keys.1")):
            self.assertLess(time.monotonic(), deadline, self.says("nothing is published"))
            time.sleep(0.02)
        with open(self.folder / "bus.jsonl", "wb") as out:
            self.parts["account"] = self.popen("tail", "utp.>", "--chamber", "live.yaml", "--from", "earliest", "--json", out=out)
        self.start_persister()
        keeper = threading.Thread(target=self.keep)
        keeper.start()
        try:
            self.wait_for_progress()
            harms = kinds * ROUNDS
            self.random.shuffle(harms)
            for harm in harms:
                self.publish_a_day()
                time.sleep(self.random.random() * 0.8)
                harm()
                self.last_harm = harm.__name__
                self.wait_for_progress()
            self.parts["publisher"].terminate()
            for process in [self.parts.pop("publisher"), *self.publishers]:
                self.assertEqual(process.wait(timeout=RECOVERY_S), 0, self.says("a publisher failed"))
            messages = self.wait_until_stored()
        finally:
            self.stopping = True
            keeper.join()
        self.check(messages, len(harms))

    def read_account(self, messages):
        account, lines = Account(), 0
        path = self.folder / "bus.jsonl"
        deadline = time.monotonic() + RECOVERY_S
        while path.read_bytes().count(b"\n") < messages:
            self.assertLess(time.monotonic(), deadline, self.says("the account does not come to the bus's end"))
            time.sleep(0.2)
        tail = self.parts.pop("account")
        tail.terminate()
        tail.wait(timeout=RECOVERY_S)
        with open(path) as file:
            for line in file:
                lines += 1
                account.add(line)
        self.assertEqual(lines, messages, "the bus has not kept all of it")
        return account

    def check(self, messages, harms):
        account = self.read_account(messages)
        url, server = self.server_.url, self.server_
        tables = [table for table, in server.sql("SELECT table_name FROM utp_tables")]
        wrong = account.differences(stored_rows(bus_servers.Postgres.program("psql"), url, tables))
        self.assertEqual(wrong, [], self.says("the rows are not what was published"))
        stored = {key.replace("-", "") for table in tables for key, in server.sql(f'SELECT DISTINCT key FROM "{table}"')}
        self.assertEqual(stored, self.acknowledged())
        for _ in range(20):
            self.utp("store", "maintain", "--store", url)
            status = json.loads(self.utp("store", "status", "--store", url, "--json").stdout)
            if status["ranges_to_refresh"] == 0:
                break
        self.assertEqual(status["ranges_to_refresh"], 0)
        verified = self.utp("store", "verify", "--store", url, "--json")
        self.assertTrue(json.loads(verified.stdout)["good"], verified.stdout)
        buckets = self.check_aggregates()
        self.assertEqual(self.utp("dlq", "list", "--chamber", "live.yaml", "--json").stdout.count('"error"'), 0)
        print(f"REPORT {self.id()}: {harms} kills, seed {self.seed}: {account.events} events on the bus are {account.rows} rows, every column the "
              f"same, none twice; {self.days} days; {self.maintained} refreshes meanwhile ({self.failed_to_maintain} cut off), {buckets} buckets "
              f"equal their rows", flush=True)

    def check_aggregates(self):
        buckets = 0
        for family, levels, table, where, columns in AGGREGATES:
            for level in levels:
                fresh = (f"SELECT date_bin('{SPANS[level]}', event_time, '2000-01-01 00:00:00+00') AS bucket, symbol, source_id, "
                         + ", ".join(f"{sql} AS {name}" for name, sql in columns.items()) + f" FROM {table} WHERE {where} GROUP BY 1, 2, 3")
                # Sums of floating-point numbers depend on their order.
                same = " AND ".join(f"(abs(a.{c} - f.{c}) <= 1e-9 * greatest(1, abs(f.{c})) OR a.{c} IS NULL AND f.{c} IS NULL)" for c in columns)
                odd, count = self.server_.sql(f"SELECT count(*) FILTER (WHERE ({same}) IS NOT TRUE), count(*) FROM {family}_{level} a FULL JOIN ({fresh}) f "
                                              "USING (bucket, symbol, source_id)")[0]
                self.assertEqual(odd, "0", self.says(f"{family}_{level}: of {count} buckets {odd} are not those of the rows"))
                buckets += int(count)
        self.assertGreater(buckets, 0)
        return buckets


class PostgresChaos(StoreChaos):
    def test_RowsEqualTheBusWhateverIsKilled(self):
        self.server_ = self.server(bus_servers.Postgres)
        self.assertEqual(self.server_.sql("SHOW fsync"), [["on"]])
        self.harm([self.kill_server, self.kill_persister])


class TimescaleChaos(StoreChaos):
    def test_RowsEqualTheBusWhenThePersisterIsKilled(self):
        self.server_ = self.server(bus_servers.Timescale)
        self.harm([self.kill_persister])


def load_tests(loader, tests, pattern):
    return unittest.TestSuite(loader.loadTestsFromTestCase(case) for case in StoreChaos.__subclasses__())


if __name__ == "__main__":
    unittest.main()
