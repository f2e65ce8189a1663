"""The same events on three buses, in three orders, through three persisters at once, ten times each: every event is stored once, as it
was published."""
import pathlib
import json
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from bus_account import Account, stored_rows  # noqa: E402
from chamber_case import TIMEOUT_S, UTP, ChamberCase  # noqa: E402

TIMES = 10
DAYS = (1, 2, 3, 4)
BATCHES = {"a": 40, "b": 333, "c": 2000}  # events in one, by bus
CHAMBER = """\
realm: test
region: here
data_dir: {name}
durability: interval
store: {store}
persister: {{group: {group}, batch_events: {batch}}}
connectors:
"""
CONNECTOR = """\
  - id: sim
    name: d{day}
    seed: {day}
    symbols: [AAPL, NVDA, BTC-USD, ETH-USD]
    settings: {{pace: flat, frames: 400, seed: {day}, start: '2026-03-0{day}T12:00:00Z', rates: {{quotes: 60, trades: 30, books: 10, news: 10, heartbeat: 1}}}}
"""


class Writers:
    """On any engine; a sub-class says which."""
    kind = None

    def write_chamber_of(self, name, group):
        text = CHAMBER.format(name=name, store=self.server_.url, group=group, batch=BATCHES[name])
        (self.folder / f"{name}.yaml").write_text(text + "".join(CONNECTOR.format(day=day) for day in DAYS))

    def all_at_once(self, commands):
        processes = []
        for command in commands:
            process = subprocess.Popen([UTP, *command, "--json"], cwd=self.folder, env=bus_servers.environment(), stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(lambda p=process: (p.kill(), p.communicate()))
            processes.append(process)
        results = []
        for process in processes:
            out, err = process.communicate(timeout=TIMEOUT_S)
            self.assertEqual(process.returncode, 0, err)
            self.assertNotIn("SQLSTATE", err)  # no deadlock, and no time-out, comes out
            results.append(json.loads(out.strip().splitlines()[-1]))
        return results

    def test_AnEventSentTenTimesThroughThreePersistersIsOneRow(self):
        self.server_ = self.server(self.kind)
        for name in BATCHES:
            self.write_chamber_of(name, "first")
        orders = {"a": DAYS, "b": DAYS[::-1], "c": DAYS[2:] + DAYS[:2]}
        for i in range(len(DAYS)):
            self.all_at_once(["connect", f"{name}.yaml", f"sim.d{orders[name][i]}"] for name in BATCHES)
        account = Account()
        topics = json.loads(self.utp("topics", "--chamber", "a.yaml", "--json", "--sample", "0").stdout)["topics"]
        messages = sum(topic["messages"] for topic in topics if not topic["topic"].endswith(".dlq"))
        for name in BATCHES:  # whose ingest_time stands in a row depends on who was first
            lines = self.utp("tail", "utp.>", "--chamber", f"{name}.yaml", "--from", "earliest", "--json", "--limit", str(messages)).stdout
            for line in lines.splitlines():
                account.add(line)
        self.assertEqual(account.events, messages, "the three buses have the same events")
        taken = stored = 0
        for time in range(TIMES):  # a new group reads all of the bus again
            for name in BATCHES:
                self.write_chamber_of(name, f"g{time}")
            for result in self.all_at_once(["persister", "--chamber", f"{name}.yaml", "--drain"] for name in BATCHES):
                taken += result["stored"] + result["duplicates"]
                stored += result["stored"]
                self.assertEqual((result["lag"], result["dlq"]), (0, 0))
        self.assertEqual((taken, stored), (len(BATCHES) * TIMES * account.events, account.events))
        tables = [table for table, in self.server_.sql("SELECT table_name FROM utp_tables")]
        self.assertEqual(account.differences(stored_rows(bus_servers.Postgres.program("psql"), self.server_.url, tables)), [])
        self.utp("store", "maintain", "--store", self.server_.url)
        self.utp("store", "verify", "--store", self.server_.url)


class PostgresWriters(Writers, ChamberCase):
    kind = bus_servers.Postgres


class TimescaleWriters(Writers, ChamberCase):
    kind = bus_servers.Timescale


if __name__ == "__main__":
    unittest.main()
