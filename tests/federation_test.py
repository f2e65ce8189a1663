"""Views over the stores of two regions, each on a private server of its own; the views are in a third database."""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase, UTP, TIMEOUT_S  # noqa: E402

TYPES = ("quotes/v2", "trades/v2", "news/v1")  # news: a row for each ticker
SETTINGS = ('{"pace": "flat", "rates": {"quotes": 60, "trades": 30, "books": 0, "options": 0, "news": 20, "calendar": 0, '
            '"heartbeat": 1}}')
TIMESCALE = os.environ.get("UTP_TEST_TIMESCALE_DSN", "")
SECRET = "s3cr%t'\\pass"


def psql(url, text, check=True):
    """Rows as lists of texts."""
    done = subprocess.run([bus_servers.Postgres.program("psql"), url, "-qAtX", "-F", "\t", "-c", text],
                          capture_output=True, text=True, timeout=60)
    if check and done.returncode != 0:
        raise RuntimeError(done.stderr)
    return [line.split("\t") for line in done.stdout.splitlines()] if check else done


class Postgres(bus_servers.Postgres):
    """Many databases are made and dropped again: nothing has to survive the machine."""

    def command(self):
        return super().command() + ["-c", "fsync=off"]


class Federation(ChamberCase):
    """Two servers for all tests; each test has databases of its own in them."""

    @classmethod
    def setUpClass(cls):
        if bus_servers.Postgres.missing():
            raise unittest.SkipTest(bus_servers.Postgres.missing())
        cls.base = pathlib.Path(tempfile.mkdtemp(prefix="utp_federation_"))
        cls.addClassCleanup(shutil.rmtree, cls.base, ignore_errors=True)
        cls.us, cls.eu = Postgres(cls.base / "us"), Postgres(cls.base / "eu")
        for server in (cls.us, cls.eu):
            cls.addClassCleanup(server.kill)
            server.start()
        cls.number = 0
        cls.filled = False

    def setUp(self):
        super().setUp()
        cls = type(self)
        cls.number += 1
        if not cls.filled:
            for seed, (server, source) in enumerate(((cls.us, "sim.us"), (cls.eu, "sim.eu")), 1):
                server.sql("CREATE DATABASE filled")
                self.fill(self.database(server, "filled"), seed, source)
            cls.filled = True
        self.us_url = self.copy_of(cls.us, "filled")
        self.eu_url = self.copy_of(cls.eu, "filled")
        self.us.sql(f"CREATE DATABASE hub_{self.number}")
        self.hub = self.database(self.us, f"hub_{self.number}")
        self.store = self.hub + "?options=-csearch_path%3Dfederated"

    @staticmethod
    def database(server, name):
        return f"postgres://utp@127.0.0.1:{server.port}/{name}"

    def copy_of(self, server, name):
        server.sql(f"CREATE DATABASE store_{self.number} TEMPLATE {name}")
        return self.database(server, f"store_{self.number}")

    def fill(self, store, seed, source, realm="test"):
        capture = f"{seed}.utpcap"
        if not (self.folder / capture).exists():
            self.utp("capture", "sim", "-o", capture, "--seed", str(seed), "--settings", SETTINGS, "--max-size", "200KiB", "-q")
        self.utp("replay", "sim", capture, "--store", store, "--bus", f"embedded:fill.{seed}.{source}.{realm}",
                 "--realm", realm, "--source", source, "-q")

    def federate(self, *more, code=0):
        return self.utp("store", "federate", "--store", self.hub, *more, "--json", code=code)

    def both(self, *more):
        return json.loads(self.federate("--region", f"us={self.us_url}", "--region", f"eu={self.eu_url}", *more).stdout)

    def rows(self, store, event_type, *more):
        told = self.utp("query", event_type, "--store", store, "--format", "jsonl", *more).stdout
        return [json.loads(line) for line in told.splitlines()]

    def expected(self, event_type, *more):
        """What both regions answer, with the region in front."""
        stores = (("us", self.us_url), ("eu", self.eu_url))
        return [{"region": name, **row} for name, url in stores for row in self.rows(url, event_type, *more)]

    @staticmethod
    def in_order(rows):
        return sorted(rows, key=lambda r: (r["event_time"], r["symbol"], r["sequence"], r["key"], r.get("row_no", 0)))


class PostgresFederation(Federation):
    def test_AllRegionsAreReadAsOneStore(self):
        made = self.both()
        self.assertEqual([r["region"] for r in made["regions"]], ["eu", "us"])
        self.assertEqual(made["realm"], "test")
        for event_type in TYPES:
            rows = self.rows(self.store, event_type)
            self.assertGreater(len(rows), 50)
            self.assertEqual(rows, self.in_order(self.expected(event_type)))
            self.assertEqual(list(rows[0])[0], "region")
        newest = self.rows(self.store, "trades/v2", "--newest", "--limit", "7")
        self.assertEqual(newest, self.in_order(self.expected("trades/v2"))[:-8:-1])
        times = [r["event_time"] for r in self.in_order(self.expected("quotes/v2"))]
        part = ("--symbol", "TSLA", "--from", times[len(times) // 4], "--to", times[len(times) // 2])
        self.assertEqual(self.rows(self.store, "quotes/v2", *part), self.in_order(self.expected("quotes/v2", *part)))
        self.assertGreater(len(self.rows(self.store, "quotes/v2", *part)), 3)

    def test_LastValuesAreTheNewestOfAllRegions(self):
        self.both()
        for event_type in ("quotes/v2", "news/v1"):
            newest = {}
            for row in self.in_order(self.expected(event_type)):
                kept = newest.setdefault(row["symbol"], [])
                if kept and kept[0]["key"] != row["key"]:
                    kept.clear()
                kept.append(row)
            wanted = [row for symbol in sorted(newest) for row in newest[symbol]]
            self.assertEqual(self.rows(self.store, event_type, "--last"), wanted)

    def test_AggregatesComeFromAllRegions(self):
        self.both()
        bars = self.rows(self.store, "trade_bars_1m")
        order = lambda r: (r["bucket"], r["symbol"], r["source_id"])
        self.assertEqual(bars, sorted(self.expected("trade_bars_1m"), key=order))
        self.assertEqual({b["source_id"] for b in bars}, {"sim.us", "sim.eu"})
        self.assertEqual(sum(b["trades"] for b in bars), len(self.expected("trades/v2")))

    def test_StoredEventsOfAllRegionsGoBackOntoABus(self):
        self.both()
        done = self.utp("store", "replay", "--store", self.store, "--bus", "embedded:again", "--realm", "replay_one",
                        "--type", "trades/v2", "--type", "news/v1", "--json")
        sent = json.loads(done.stdout.strip().splitlines()[-1])
        self.assertEqual((sent["complete"], sent["refused"]), (True, 0))
        self.assertEqual(sent["rows"], len(self.expected("trades/v2")) + len(self.expected("news/v1")))

    def test_TimeSymbolAndOrderAreAskedOfTheRegions(self):
        self.both()
        plan = lambda sql: "\n".join(line for line, in psql(self.hub, f"EXPLAIN (VERBOSE, COSTS OFF) {sql}"))
        one = plan("SELECT * FROM federated.trades WHERE region = 'us' AND symbol = 'TSLA' AND event_time >= '2020-01-01'")
        self.assertEqual(one.count("Foreign Scan"), 1, one)
        self.assertRegex(one, r"Remote SQL: .*event_time >= .*symbol = 'TSLA'")
        bars = plan("SELECT * FROM federated.trade_bars_1m WHERE symbol = 'TSLA' AND bucket >= '2020-01-01'")
        self.assertEqual(len(re.findall(r"Remote SQL: .*trade_bars_1m WHERE .*bucket >= .*symbol = 'TSLA'", bars)), 2, bars)
        # What the reader itself asks.
        for server in (self.us, self.eu):
            server.sql(f"ALTER DATABASE store_{self.number} SET log_statement = 'all'")
        asked = {}
        questions = {"range": ("--from", "2020-01-01", "--limit", "5"),
                     "symbols": ("--from", "2020-01-01", "--symbol", "TSLA"), "last": ("--last",)}
        for what, arguments in questions.items():
            before = len((self.eu.folder / "output").read_text())
            self.rows(self.store, "quotes/v2", *arguments)
            log = (self.eu.folder / "output").read_text()[before:]
            asked[what] = re.findall(r"CURSOR FOR\n(.*public\.quotes.*)", log)
        self.assertEqual([len(asked["range"]), len(asked["symbols"])], [1, 1], asked)
        self.assertRegex(asked["range"][0], r"WHERE \(\(event_time >= .*ORDER BY event_time ASC NULLS LAST, "
                         r"event_time_ns ASC NULLS LAST, symbol USING ~<~")
        self.assertRegex(asked["symbols"][0], r"WHERE .*event_time >= .*symbol = 'TSLA'")
        symbols = {r["symbol"] for r in self.rows(self.store, "quotes/v2", "--last")}
        self.assertEqual(len(asked["last"]), len(symbols))
        self.assertRegex(asked["last"][0], r"WHERE .*symbol = \$\d.*ORDER BY event_time DESC")

    def test_ARegionThatIsDownIsNamed(self):
        self.both()
        before = self.federate().stdout
        self.eu.kill()
        self.addCleanup(lambda: self.eu.process.poll() is None or self.eu.start())
        down = self.federate("--region", f"eu={self.eu_url}", code=4)
        self.assertIn(f"region eu (127.0.0.1:{self.eu.port}/store_{self.number})", down.stderr)
        self.assertIn("federated_eu", self.utp("query", "trades/v2", "--store", self.store, code=4).stderr)
        self.assertGreater(int(psql(self.hub, "SELECT count(*) FROM federated.trades WHERE region = 'us'")[0][0]), 0)
        self.eu.start()
        self.assertEqual(self.federate().stdout, before)
        self.eu.kill()
        self.assertEqual([r["region"] for r in json.loads(self.federate("--remove", "eu").stdout)["regions"]], ["us"])
        self.assertEqual({r["region"] for r in self.rows(self.store, "trades/v2")}, {"us"})
        self.eu.start()
        self.both()
        self.assertEqual(self.rows(self.store, "trades/v2"), self.in_order(self.expected("trades/v2")))

    def test_RegionsMayDifferInTablesAndColumns(self):
        # An older minor version in eu, a column of a newer one in us; no news in eu yet.
        psql(self.eu_url, "ALTER TABLE trades DROP COLUMN conditions; "
                          "DELETE FROM utp_columns WHERE table_name = 'trades' AND name = 'conditions'")
        psql(self.us_url, "ALTER TABLE trades ADD COLUMN mood text; UPDATE trades SET mood = 'good'; "
                          "UPDATE utp_tables SET schema_ref = 'utp://trades/2.9.0' WHERE table_name = 'trades'; "
                          "INSERT INTO utp_columns VALUES ('trades', 99, 'mood', 'text')")
        psql(self.eu_url, "ALTER TABLE news RENAME TO kept; "
                          "CREATE TABLE rows AS SELECT * FROM utp_tables WHERE table_name = 'news'; "
                          "DELETE FROM utp_tables WHERE table_name = 'news'")
        made = self.both()
        self.assertEqual(next(v["regions"] for v in made["views"] if v["view"] == "news"), ["us"])
        rows = self.rows(self.store, "trades/v2")
        self.assertEqual({(r["region"], r.get("mood")) for r in rows}, {("us", "good"), ("eu", None)})
        self.assertTrue(all(r.get("conditions") is None for r in rows if r["region"] == "eu"))
        self.assertEqual(len(rows), len(self.expected("trades/v2")))
        psql(self.eu_url, "ALTER TABLE kept RENAME TO news; INSERT INTO utp_tables SELECT * FROM rows")
        made = json.loads(self.federate().stdout)
        self.assertEqual(next(v["regions"] for v in made["views"] if v["view"] == "news"), ["eu", "us"])
        self.assertEqual(self.rows(self.store, "news/v1"), self.in_order(self.expected("news/v1")))
        psql(self.eu_url, "UPDATE utp_columns SET kind = 'text' WHERE table_name = 'trades' AND name = 'price'")
        self.assertIn('trades/v2 has another type of column "price" than in region', self.federate(code=1).stderr)

    def test_AnotherRealmIsRefused(self):
        psql(self.eu_url, "UPDATE utp_meta SET value = 'lab' WHERE name = 'realm'")
        refused = self.federate("--region", f"us={self.us_url}", "--region", f"eu={self.eu_url}", code=1).stderr
        self.assertIn('region us holds realm "test", region eu realm "lab"', refused)
        self.assertEqual(psql(self.hub, "SELECT count(*) FROM pg_foreign_server"), [["0"]])
        psql(self.us_url, "CREATE DATABASE empty_%d" % self.number)
        empty = self.federate("--region", f"us={self.database(self.us, f'empty_{self.number}')}", code=4).stderr
        self.assertIn("no store is in this database", empty)

    def test_StoresInSchemasOfTheirOwn(self):
        psql(self.us_url, "CREATE SCHEMA other")
        self.fill(self.us_url + "?options=-csearch_path%3Dother", 2, "sim.us")
        several = self.federate("--region", f"us={self.us_url}", code=1).stderr
        self.assertIn("stores are in the schemas other, public", several)
        self.federate("--region", f"us={self.us_url}?options=-csearch_path%3Dother", "--schema", "another")
        rows = self.rows(self.hub + "?options=-csearch_path%3Danother", "trades/v2")
        other = self.rows(self.us_url + "?options=-csearch_path%3Dother", "trades/v2")
        self.assertEqual(rows, [{"region": "us", **r} for r in other])

    def test_ARepetitionIsTheSameAndNothingIsLeftInTheEnd(self):
        first = self.both()
        reader = f"reader_{self.number}"
        psql(self.hub, f"CREATE ROLE {reader} LOGIN; GRANT USAGE ON SCHEMA federated TO {reader}; "
                       f"ALTER DEFAULT PRIVILEGES IN SCHEMA federated GRANT SELECT ON TABLES TO {reader}")
        self.assertEqual(json.loads(self.federate().stdout), first)
        self.assertEqual(self.both(), first)
        # Who reads needs no right but to the views, and none in the regions.
        as_reader = self.store.replace("utp@", f"{reader}@")
        self.assertEqual(self.rows(as_reader, "trades/v2"), self.rows(self.store, "trades/v2"))
        self.assertNotEqual(psql(as_reader, "SELECT * FROM federated_us.trades", check=False).returncode, 0)
        # What others have built on it is not torn down.
        psql(self.hub, "CREATE VIEW public.mine AS SELECT * FROM federated.trades")
        self.assertIn("that utp did not make stands on it", self.federate(code=1).stderr)
        self.assertIn("that utp did not make stands on it", self.federate("--drop", code=1).stderr)
        self.assertEqual(self.rows(as_reader, "trades/v2"), self.rows(self.store, "trades/v2"))
        psql(self.hub, "DROP VIEW public.mine")
        asia = self.federate("--remove", "asia", code=4).stderr
        self.assertIn('there is no region "asia" in this federation; it has eu, us', asia)
        self.federate("--drop")
        left = psql(self.hub, "SELECT (SELECT count(*) FROM pg_foreign_server), (SELECT count(*) FROM pg_foreign_table), "
                              "(SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'federated%')")
        self.assertEqual(left, [["0", "0", "0"]])
        self.assertIn("there is no federation", self.federate("--drop", code=4).stderr)

    def test_WritersAreRefused(self):
        self.both()
        self.utp("capture", "sim", "-o", "written.utpcap", "--seed", "9", "--settings", SETTINGS, "--max-size", "20KiB", "-q")
        replay = ("replay", "sim", "written.utpcap", "--bus", "embedded:b", "--realm", "test")
        for command in (replay, ("store", "migrate"), ("store", "maintain"), ("store", "verify")):
            refused = self.utp(*command, "--store", self.store, code=1)
            self.assertIn("views over the stores of several regions", refused.stderr)
        self.assertNotEqual(psql(self.hub, "INSERT INTO federated_us.trades (symbol) VALUES ('X')", check=False).returncode, 0)
        status = json.loads(self.utp("store", "status", "--store", self.store, "--json").stdout)
        self.assertEqual((status["engine"], status["realm"]), ("federation", "test"))
        # Nor is a store taken for a federation.
        taken = self.utp("store", "federate", "--store", self.us_url, "--schema", "public",
                         "--region", f"eu={self.eu_url}", code=1)
        self.assertIn("has a store in it", taken.stderr)

    def test_APasswordStandsInNoLogAndAnOrdinaryUserIsEnough(self):
        for server in (self.us, self.eu):
            with open(server.folder / "data" / "pg_hba.conf", "r+") as hba:
                rest = hba.read()
                hba.seek(0)
                hba.write("host all guarded 127.0.0.1/32 scram-sha-256\n" + rest)
            server.sql("SELECT pg_reload_conf()")
        self.eu.sql("CREATE ROLE guarded LOGIN PASSWORD '" + SECRET.replace("'", "''") + "'")
        psql(self.eu_url, "GRANT SELECT ON ALL TABLES IN SCHEMA public TO guarded")
        owner = f"owner_{self.number}"
        self.us.sql(f"CREATE ROLE {owner} LOGIN; GRANT CREATE ON DATABASE hub_{self.number} TO {owner}")
        self.us.sql(f"ALTER DATABASE hub_{self.number} SET log_statement = 'all'; "
                    f"ALTER DATABASE hub_{self.number} SET log_min_duration_statement = 0; "
                    f"ALTER DATABASE hub_{self.number} SET log_parameter_max_length_on_error = -1")
        as_owner = self.hub.replace("utp@", f"{owner}@")
        os.environ["UTP_TEST_SECRET"] = urllib.parse.quote(SECRET, safe="")
        self.addCleanup(os.environ.pop, "UTP_TEST_SECRET")
        guarded = self.eu_url.replace("utp@", "guarded:${UTP_TEST_SECRET}@")
        federate = ("store", "federate", "--store", as_owner, "--region")
        cure = self.utp(*federate, f"eu={guarded}", code=4).stderr
        self.assertIn("CREATE EXTENSION postgres_fdw; GRANT USAGE ON FOREIGN DATA WRAPPER", cure)
        psql(self.hub, "CREATE EXTENSION postgres_fdw")
        self.assertIn("GRANT USAGE ON FOREIGN DATA WRAPPER", self.utp(*federate, f"eu={guarded}", code=4).stderr)
        psql(self.hub, f"GRANT USAGE ON FOREIGN DATA WRAPPER postgres_fdw TO {owner}")
        self.assertIn("Give the password in the region's URL", self.utp(*federate, f"eu={self.eu_url}", code=4).stderr)
        refused = self.utp(*federate, f"eu={guarded}&nonsense=1".replace("&", "?"), code=1).stderr
        wrong = self.utp(*federate, f"eu={self.eu_url.replace('utp@', 'guarded:wrong@')}", code=4).stderr
        done = self.utp(*federate, f"eu={guarded}")
        rows = self.rows(self.store.replace("utp@", f"{owner}@"), "trades/v2")
        self.assertEqual(rows, [{"region": "eu", **r} for r in self.rows(self.eu_url, "trades/v2")])
        log = (self.us.folder / "output").read_text(errors="replace")
        self.assertIn("utp_server_options", log, "the log has the statements")
        for text in (log, refused, wrong, done.stdout, done.stderr):
            self.assertNotIn("s3cr", text)


class PostgresFederationTimescale(Federation):
    def test_HypertablesAndContinuousAggregatesBesidePlainTables(self):
        if not TIMESCALE:
            self.skipTest("UTP_TEST_TIMESCALE_DSN names no server with TimescaleDB")
        name = f"utp_federation_{os.getpid()}"
        psql(TIMESCALE, f"CREATE DATABASE {name}")
        self.addCleanup(psql, TIMESCALE, f"DROP DATABASE {name} WITH (FORCE)")
        self.us_url = TIMESCALE.rsplit("/", 1)[0] + "/" + name
        self.fill(self.us_url, 1, "sim.us")
        self.utp("store", "maintain", "--store", self.us_url)
        self.both()
        for event_type in TYPES:
            self.assertEqual(self.rows(self.store, event_type), self.in_order(self.expected(event_type)))
        bars = self.rows(self.store, "trade_bars_1m")
        self.assertEqual(sum(b["trades"] for b in bars), len(self.expected("trades/v2")))
        self.assertEqual({b["region"] for b in bars}, {"us", "eu"})
        psql(self.us_url, "SELECT compress_chunk(c) FROM show_chunks('quotes') c")
        self.assertEqual(self.rows(self.store, "quotes/v2", "--last"), self.last_of(self.expected("quotes/v2")))

    def last_of(self, rows):
        newest = {row["symbol"]: row for row in self.in_order(rows)}
        return [newest[symbol] for symbol in sorted(newest)]


del Federation  # not a test by itself

if __name__ == "__main__":
    unittest.main()
