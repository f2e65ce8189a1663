"""A chamber with the least rights over a private store server that asks for passwords: who may do what, what doctor says of it, and that no password
is shown anywhere."""
import json
import os
import pathlib
import subprocess
import sys
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bus_servers  # noqa: E402
from chamber_case import ChamberCase, TIMEOUT_S, UTP  # noqa: E402

WORDS = {"market": "owners-word", "chamber": "chambers-word", "analyst": "analysts-word", "mender": "menders-word"}


class StoreSecurity(ChamberCase):
    def setUp(self):
        super().setUp()
        self.server_ = self.server(bus_servers.Postgres)
        (self.server_.folder / "data" / "pg_hba.conf").write_text("host all utp 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.server_.sql("SELECT pg_reload_conf()")
        self.server_.sql(f"CREATE ROLE market LOGIN PASSWORD '{WORDS['market']}'")
        self.server_.sql("ALTER SCHEMA public OWNER TO market")
        self.shown = []

    def url(self, user):
        return self.server_.url.replace("//utp@", f"//{user}@")

    def as_user(self, user, *args, code=0):
        """`utp` with the user's password from the environment; what it prints is looked at for passwords in the end."""
        with unittest.mock.patch.dict(os.environ, {"UTP_POSTGRES_PASSWORD": WORDS.get(user, "")}):
            done = self.utp(*args, "--store", self.url(user), code=code)
        self.shown += [done.stdout, done.stderr]
        return done

    def set_up(self):
        self.as_user("market", "store", "migrate")
        self.server_.sql("ALTER SYSTEM SET log_statement = 'all'")
        self.server_.sql("SELECT pg_reload_conf()")
        self.as_user("utp", "store", "roles", "--writer", "chamber", "--reader", "analyst", "--apply")
        self.server_.sql("ALTER SYSTEM RESET log_statement")
        self.server_.sql("SELECT pg_reload_conf()")
        for name in ("chamber", "analyst"):
            self.server_.sql(f"ALTER ROLE {name} PASSWORD '{WORDS[name]}'")  # what \password does, the server's log aside
        secret = self.folder / "secret"
        secret.write_text(WORDS["chamber"] + "\n")
        self.write_chamber("embedded:bus", more=f"store: {self.url('chamber').replace('chamber@', 'chamber:${file:' + str(secret) + '}@')}\n")

    def check_nothing_leaked(self):
        for path in self.folder.rglob("*"):
            if path.is_file() and path.name not in ("secret", "output") and "postgres" not in path.relative_to(self.folder).parts[0]:
                self.shown.append(path.read_text(errors="replace"))
        log = (self.server_.folder / "output").read_text(errors="replace")
        self.shown += [line for line in log.splitlines() if "ALTER ROLE" not in line]
        for word in WORDS.values():
            self.assertFalse([text for text in self.shown if word in text], word)

    def test_AChamberThatMayOnlyWriteStoresAndLeavesTheRestToTheOwner(self):
        self.set_up()
        process = self.start(4)
        health = self.health(lambda h: not h["store"]["looked_after"], process)
        self.assertIn("market", health["store"]["error"])
        self.assertEqual(self.finish(process)["dlq"], 0)
        warnings = [line for line in self.errors().splitlines() if "may not look after it" in line]
        self.assertEqual(len(warnings), 1, self.errors())
        self.assertNotIn("ERROR", self.errors())
        trades = int(self.server_.sql("SELECT count(*) FROM trades")[0][0])
        self.assertGreater(trades, 0)
        # The reader reads, and does nothing else.
        rows = self.as_user("analyst", "query", "trades/v2", "--format", "csv").stdout.splitlines()
        self.assertEqual(len(rows) - 1, trades)
        self.assertTrue(self.as_user("analyst", "query", "trades/v2", "--last", "--format", "csv").stdout)
        self.as_user("analyst", "store", "maintain", code=4)
        self.assertIn("may, its owner", self.shown[-1])
        # The owner looks after it.
        self.as_user("market", "store", "maintain")
        self.as_user("analyst", "store", "verify")
        status = json.loads(self.as_user("analyst", "store", "status", "--json").stdout)
        self.assertEqual((status["user"], status["may_write"], status["may_maintain"], status["ranges_to_refresh"]), ("analyst", False, False, 0))
        bars = [json.loads(line) for line in self.as_user("analyst", "query", "trade_bars_1m", "--format", "jsonl").stdout.splitlines()]
        self.assertEqual(sum(bar["trades"] for bar in bars), trades)
        self.check_nothing_leaked()

    def test_DoctorSaysWhatTheServerIsAndWhatTheChamberMayDo(self):
        def doctor(code=0):
            done = self.utp("doctor", "chamber.yaml", "--offline", "--json", code=code)
            self.shown.append(done.stdout)
            return {check["name"]: check for check in json.loads(done.stdout)["checks"]}
        self.write_chamber("embedded:bus", more=f"store: {self.server_.url}\n")
        checks = doctor()
        self.assertIn("made at the start", checks["store"]["found"])
        self.assertIn("(TimescaleDB is ", checks["store engine"]["found"])
        self.set_up()
        checks = doctor()
        self.assertIn("PostgreSQL 1", checks["store"]["found"])
        self.assertIn("not encrypted, within this machine", checks["store connection"]["found"])
        self.assertEqual((checks["store rights"]["state"], checks["store catalogue"]["state"]), ("warning", "good"))
        self.assertIn("utp store maintain", checks["store rights"]["cure"])
        self.assertEqual(checks["store tables"]["state"], "good")
        self.server_.sql("DELETE FROM utp_columns WHERE table_name = 'trades' AND name = 'price'")
        self.assertIn("trades", doctor()["store tables"]["found"])
        self.server_.sql("ALTER ROLE chamber SET synchronous_commit = off")
        self.assertEqual(doctor()["store synchronous_commit"]["state"], "warning")
        (self.folder / "secret").write_text("another-word\n")
        checks = doctor(code=1)
        self.assertEqual(checks["store"]["state"], "bad")
        self.assertIn("came from the URL", checks["store"]["found"])
        self.server_.kill()
        self.assertIn("Check that the server runs", doctor(code=1)["store"]["found"])
        self.assertIn("store", self.utp("doctor", "chamber.yaml", "--offline", code=1).stdout)
        self.check_nothing_leaked()

    def test_AReplacerReplacesWhatACaptureHolds(self):
        self.as_user("market", "store", "migrate")
        self.as_user("utp", "store", "roles", "--writer", "chamber", "--replacer", "mender", "--apply")
        for name in ("chamber", "mender"):
            self.server_.sql(f"ALTER ROLE {name} PASSWORD '{WORDS[name]}'")
        self.utp("capture", "sim", "-o", "sim.utpcap", "--seed", "7", "--seconds", "1")
        self.as_user("chamber", "replay", "sim", "sim.utpcap", "--bus", "embedded:replay.bus", "--json")
        rows = self.server_.sql("SELECT count(*), min(event_time), max(event_time) FROM quotes")
        self.assertNotEqual(rows[0][0], "0")
        self.server_.sql("UPDATE quotes SET bid = 0")
        self.as_user("chamber", "replay", "sim", "sim.utpcap", "--replace", "--source", "sim.replay", code=4)
        self.as_user("mender", "replay", "sim", "sim.utpcap", "--replace", "--source", "sim.replay")
        self.assertEqual(self.server_.sql("SELECT count(*), min(event_time), max(event_time) FROM quotes"), rows)
        self.assertEqual(self.server_.sql("SELECT count(*) FROM quotes WHERE bid = 0"), [["0"]])
        self.check_nothing_leaked()

    def test_RolesArePrintedAndAppliedOnlyWhenAsked(self):
        refused = self.as_user("market", "store", "roles", "--reader", "analyst", code=4)
        self.assertIn("utp store migrate", refused.stderr)
        self.as_user("market", "store", "migrate")
        script = self.as_user("market", "store", "roles", "--writer", "chamber", "--replacer", "mender", "--reader", 'a"b; DROP TABLE x').stdout
        self.assertIn('CREATE ROLE "a""b; DROP TABLE x" LOGIN', script)
        self.assertEqual(self.server_.sql("SELECT count(*) FROM pg_roles WHERE rolname IN ('chamber', 'mender')"), [["0"]])
        for _ in range(2):  # a script of psql's too, any number of times
            done = subprocess.run([self.server_.program("psql"), self.server_.url, "-qX", "-v", "ON_ERROR_STOP=1"], input=script, capture_output=True, text=True,
                                  timeout=TIMEOUT_S)
            self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(self.server_.sql("SELECT count(*) FROM pg_roles WHERE rolname IN ('chamber', 'mender')"), [["2"]])
        applied = json.loads(self.as_user("utp", "store", "roles", "--reader", "analyst", "--dedicated", "--apply", "--json").stdout)
        self.assertTrue(applied["applied"])
        self.assertEqual(self.server_.sql("SELECT has_database_privilege('analyst', 'postgres', 'CONNECT'), has_database_privilege('analyst', 'postgres', 'TEMPORARY'), "
                                          "has_database_privilege('market', 'postgres', 'TEMPORARY')"), [["t", "f", "t"]])
        self.assertIn("no role is named", self.as_user("market", "store", "roles", code=2).stderr)
        self.assertIn("chmod", self.sqlite_roles())

    def sqlite_roles(self):
        self.write_chamber("embedded:bus")
        self.start(1).wait()
        return self.utp("store", "roles", "--reader", "a", "--store", "sqlite:data/store.db", code=1).stderr


class ApacheTimescale(ChamberCase):
    def test_TheFallbackIsTakenAndSaid(self):
        dsn = os.environ.get("UTP_TEST_TIMESCALE_APACHE_DSN")
        if not dsn:
            self.skipTest("UTP_TEST_TIMESCALE_APACHE_DSN names no server with TimescaleDB (timescaledb.license = apache; a URL)")
        schema = f"utp_test_{os.getpid()}_doctor"
        def psql(text):
            subprocess.run([bus_servers.Postgres.program("psql") or "psql", dsn, "-qX", "-c", text], check=True, capture_output=True, timeout=TIMEOUT_S)
        psql(f"CREATE SCHEMA {schema}")
        self.addCleanup(psql, f"DROP SCHEMA {schema} CASCADE")
        self.write_chamber("embedded:bus", more=f"store: {dsn}{'&' if '?' in dsn else '?'}options=-csearch_path%3D{schema}%2Cpublic\n")
        for _ in range(2):  # before and after the store is made
            checks = {check["name"]: check for check in json.loads(self.utp("doctor", "chamber.yaml", "--offline", "--json").stdout)["checks"]}
            self.assertTrue(checks["store engine"]["found"].startswith("postgresql (TimescaleDB is there with its Apache licence"), checks["store engine"])
            self.assertIn("(Apache licence)", checks["store"]["found"])
            self.utp("store", "migrate", "--chamber", "chamber.yaml")
        status = json.loads(self.utp("store", "status", "--chamber", "chamber.yaml", "--json").stdout)
        self.assertEqual((status["engine"], {table["layout"] for table in status["tables"]}), ("postgresql", {"partitions"}))
        self.assertIn("Apache licence", status["engine_reason"])


if __name__ == "__main__":
    unittest.main()
