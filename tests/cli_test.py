"""The command line from outside: what a user types, what a user gets wrong, and what must come of it. Runs the binary named
by UTP_BINARY (./utp test sets it)."""
import csv
import io
import json
import os
import pathlib
import resource
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
FIXTURES = ROOT.parent / "shared" / "fixtures"
UTP = os.environ.get("UTP_BINARY", str(ROOT / "build" / "release" / "bin" / "utp"))
TIMEOUT_S = 120

CHAMBER = """\
realm: test
region: here
data_dir: data
connectors:
  - id: sim
    name: stocks
    seed: 7
"""


class CommandLine(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_cli_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.env = {k: v for k, v in os.environ.items() if k not in ("UTP_BUS", "UTP_STORE", "NO_COLOR")}
        self.env["XDG_DATA_HOME"] = str(self.folder / "share")

    def utp(self, *args, code=0, env=None, preexec=None, cwd=None, stdin=None):
        done = subprocess.run([UTP, *map(str, args)], capture_output=True, text=True, timeout=TIMEOUT_S, input=stdin,
                              env={**self.env, **(env or {})}, cwd=cwd or self.folder, preexec_fn=preexec)
        if code is not None:
            self.assertEqual(done.returncode, code, f"{args}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done

    def refused(self, *args, code, says, **more):
        """One message on standard error that holds every text of `says`."""
        done = self.utp(*args, code=code, **more)
        messages = [l for l in done.stderr.splitlines() if l.startswith("utp: ")]
        self.assertEqual(len(messages), 1, done.stderr)
        for text in says:
            self.assertIn(text, done.stderr)
        return done

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def last_json(self, done):
        return json.loads(done.stdout.strip().splitlines()[-1])

    # What a user types wrong

    def test_NamesTheNearestCommand(self):
        self.refused("tpoics", code=2, says=['"tpoics" is no command of utp', 'did you mean "topics"?', "utp --help"])

    def test_NamesTheNearestOption(self):
        self.refused("topics", "--jsno", code=2, says=["--jsno", "did you mean --json?", "utp topics --help"])

    def test_NamesTheNearestSubcommand(self):
        self.refused("dlq", "lst", code=2, says=['"lst" is no command of utp dlq', 'did you mean "list"?'])

    def test_NamesTheNearestEventType(self):
        self.write("x.db", "")
        self.refused("query", "trade/v2", "--store", "sqlite:x.db", code=3, says=["did you mean trades/v2?"])

    def test_RefusesATimeThatIsNone(self):
        self.refused("query", "trades/v2", "--from", "yesterday", code=2, says=["--from", "yesterday", "2026-11-22"])

    def test_NamesSchemesOfUrls(self):
        self.refused("topics", "--bus", "foo:bar", code=3, says=['no bus driver "foo"', "embedded:PATH"])
        self.refused("topics", "--bus", "bar", code=3, says=['"bar" is no URL of a bus', "embedded:PATH"])

    def test_RefusesARedisBusWithoutShowingItsPassword(self):
        for url, code, text in (("rediss://me:hidden@127.0.0.1:1", 4, "127.0.0.1:1"), ("redis://me:hidden@h:99999", 3, "port"),
                                ("redis://me:hidden@127.0.0.1:1", 4, "127.0.0.1:1")):
            done = self.refused("topics", "--bus", url, code=code, says=[text])
            self.assertNotIn("hidden", done.stderr)
        text = CHAMBER + "bus: redis://me:hidden@127.0.0.1:1\n"
        self.write("chamber.yaml", text)
        done = self.utp("up", "chamber.yaml", "--seconds", "1", code=4)
        self.assertIn("the bus was not there: redis 127.0.0.1:1/0", done.stderr)
        self.assertIn("events wait in the disk spool for the next start", done.stderr)
        self.assertNotIn("hidden", done.stderr + done.stdout)
        self.refused("persister", "--chamber", "chamber.yaml", "--drain", code=4, says=["127.0.0.1:1"])

    def test_RunsAChamberOnARedisBus(self):
        server = shutil.which("redis-server")
        if server is None:
            self.skipTest("redis-server is not installed (Debian: apt-get install redis-server)")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        (self.folder / "redis").mkdir()
        redis = subprocess.Popen([server, "--port", str(port), "--bind", "127.0.0.1", "--dir", self.folder / "redis", "--save", "",
                                  "--appendonly", "yes", "--requirepass", "word"], stdout=subprocess.DEVNULL)
        self.addCleanup(redis.wait)
        self.addCleanup(redis.kill)
        self.write("chamber.yaml", CHAMBER + f"bus: redis://:${{REDIS_WORD}}@127.0.0.1:{port}\n")
        env = {"REDIS_WORD": "word", "UTP_REDIS_PASSWORD": "word"}
        for _ in range(100):
            if self.utp("topics", "--bus", f"redis://127.0.0.1:{port}", code=None, env=env).returncode == 0:
                break
            time.sleep(0.05)
        self.utp("up", "chamber.yaml", "--seconds", "2", env=env)
        listing = json.loads(self.utp("topics", "--json", "--bus", f"redis://:word@127.0.0.1:{port}").stdout)
        self.assertEqual(listing["bus"], f"redis://:***@127.0.0.1:{port}")
        trades = next(t for t in listing["topics"] if t["topic"] == "utp.test.here.trades.v2")
        self.assertGreater(trades["messages"], 0)
        self.assertEqual([(g["group"], g["lag"]) for g in trades["groups"]], [("persister", 0)])

    def test_SaysWhereItLookedWhenThereIsNoBus(self):
        self.refused("topics", code=3, says=["--bus URL", "chamber.yaml", "utp demo"])

    def test_SaysThatThereIsNoStore(self):
        self.refused("query", "trades/v2", "--store", "sqlite:none.db", code=4, says=["none.db", "there is no store"])
        self.assertFalse((self.folder / "none.db").exists())

    def test_HelpHasExamplesForEveryCommand(self):
        for command in ("demo", "up", "replay", "capture", "connect", "persister", "query", "topics", "tail", "doctor", "completion",
                        "dlq", "schema", "connector", "dlq list", "store", "store replay"):
            help = self.utp(*command.split(), "--help").stdout
            self.assertIn("Examples:", help, command)
            self.assertIn(f"Usage: utp {command} ", help)

    def test_RefusesANumberThatIsNone(self):
        for text in ("abc", "0", "-1", "1x", "nan", "inf", ""):
            done = self.refused("demo", "--seconds=" + text if text else "--seconds=", code=2, says=["--seconds"])
            self.assertLess(len(done.stderr), 200, done.stderr)
        self.refused("up", "x.yaml", "--seconds", "abc", code=2, says=['"abc" is no number above 0', "such as 60"])

    def test_UpWithoutAFileNamesTheCure(self):
        self.refused("up", code=3, says=["chamber.yaml", "no such file", "utp up FILE", "examples/chamber.yaml"])

    def test_UpSaysOnceWhereItsDataIs(self):
        self.write("chamber.yaml", CHAMBER)
        done = self.utp("up", "chamber.yaml", "--seconds", "1")
        self.assertEqual(done.stderr.count("store sqlite:"), 1, done.stderr)
        self.assertIn("data/store.db", done.stderr)
        command = done.stderr[done.stderr.index("utp topics"):].splitlines()[0].split(" (")[0].split()
        self.assertIn("utp.test.here.", self.utp(*command[1:]).stdout)

    # Configuration

    def bad_chamber(self, text, says, code=3, env=None):
        self.write("chamber.yaml", text)
        done = self.refused("up", "chamber.yaml", "--seconds", "1", code=code, says=says, env=env)
        self.assertFalse((self.folder / "data" / "store.db").exists())
        return done

    def test_NamesTheLineOfBrokenYaml(self):
        self.bad_chamber("realm: test\nconnectors:\n  - id: sim\n   name: x\n", ["chamber.yaml:4"])

    def test_NamesTheLineOfAnUnknownKeyAndTheKnownOne(self):
        self.bad_chamber(CHAMBER + "    symbls: [A]\n", ["chamber.yaml:8", '"symbls"', 'did you mean "symbols"?'])

    def test_NamesTheLineOfAWrongType(self):
        self.bad_chamber(CHAMBER.replace("realm: test", "realm: [test]"), ["chamber.yaml:1", "/realm"])

    def test_NamesTheLineOfABadDuration(self):
        self.bad_chamber(CHAMBER + "    lateness: soon\n", ["chamber.yaml:8", "lateness", "such as 30s"])
        self.bad_chamber(CHAMBER + "    stale_after: 30\n", ["chamber.yaml:8", "found 30", "such as 30s"])
        self.bad_chamber(CHAMBER + "topics:\n  quotes/v2: {retention: long}\n", ["chamber.yaml:9", "such as 30s"])

    def test_RefusesAChamberWithoutConnectors(self):
        self.bad_chamber("realm: test\n", ["chamber.yaml:1", "connectors"])

    def test_RefusesTwoInstancesOfOneName(self):
        self.bad_chamber(CHAMBER + "  - id: sim\n    name: stocks\n", ["chamber.yaml:8", "sim.stocks", "chamber.yaml:5", "name"])

    def test_NamesTheNearestConnector(self):
        self.bad_chamber(CHAMBER.replace("id: sim", "id: coinbse"), ["chamber.yaml:5", '"coinbse"', 'did you mean "coinbase"?'])

    def test_RefusesAChannelThatTheConnectorDoesNotHave(self):
        self.bad_chamber(CHAMBER + "    streams: [tickers]\n", ["chamber.yaml:5", "tickers"])

    def test_RefusesAnUnknownTopicType(self):
        self.bad_chamber(CHAMBER + "topics:\n  quote/v2: {retention: 1h}\n", ["chamber.yaml:9", "did you mean quotes/v2?"])

    def test_SaysThatTheChamberFileIsNotThere(self):
        self.refused("up", "missing.yaml", code=3, says=["missing.yaml"])

    def test_NamesTheMissingSecretAndNeverItsValue(self):
        text = CHAMBER + "    settings: {token: 'abc${UTP_TEST_TOKEN}'}\n"
        self.bad_chamber(text, ["chamber.yaml:8", "UTP_TEST_TOKEN", "is not set"])
        done = self.bad_chamber(text.replace("name: stocks", "nme: stocks"), ["chamber.yaml:6"], env={"UTP_TEST_TOKEN": "s3cr3t-value"})
        self.assertNotIn("s3cr3t-value", done.stderr + done.stdout)

    def test_RefusesAManifestWithAnUnknownEventType(self):
        shutil.copytree(ROOT / "examples" / "exec_connector", self.folder / "mine" / "exec_connector")
        manifest = self.folder / "mine" / "exec_connector" / "connector.manifest.yaml"
        text = manifest.read_text().replace("event_type: quotes/v2", "event_type: quoted/v2", 1)
        manifest.write_text(text)
        line = next(n for n, l in enumerate(text.splitlines(), 1) if "quoted/v2" in l)
        self.bad_chamber(CHAMBER.replace("id: sim", "id: exec_connector") + "connector_dirs: [mine]\n",
                         [f"connector.manifest.yaml:{line}", "quoted/v2"])
        self.refused("connector", "check", "mine/exec_connector", code=3, says=[f"connector.manifest.yaml:{line}", "quoted/v2"])

    def test_RefusesASchemaWithAnUnsupportedKeyword(self):
        schema = json.loads((ROOT / "schemas" / "quotes" / "2.0.0.json").read_text())
        schema["$id"], schema["x-utp"]["event_type"], schema["x-utp"]["table"] = "utp://mine/1.0.0", "mine/v1", "mine"
        schema["properties"]["bid"]["if"] = {}
        self.write("my_schemas/mine/1.0.0.json", json.dumps(schema))
        self.bad_chamber(CHAMBER + "schemas: [my_schemas]\n", ["1.0.0.json", "/properties/bid/if"])
        self.refused("schema", "check", "my_schemas", code=1, says=["1.0.0.json", "/properties/bid/if"])

    # The machine

    def test_NamesADirectoryThatMayNotBeWritten(self):
        self.write("chamber.yaml", CHAMBER.replace("data_dir: data", "data_dir: /proc/utp"))
        self.refused("up", "chamber.yaml", "--seconds", "1", code=4, says=["/proc/utp", "data_dir"])

    def test_NamesAFileInTheWayOfADirectory(self):
        self.write("data", "a file")
        self.write("chamber.yaml", CHAMBER)
        self.refused("up", "chamber.yaml", "--seconds", "1", code=4, says=["data", "data_dir"])

    def test_SaysWhoHoldsTheDataDirectory(self):
        self.write("chamber.yaml", CHAMBER)
        first = self.start("up", "chamber.yaml", "--seconds", "60")
        self.wait_for(lambda: (self.folder / "data" / "health.json").exists())
        self.refused("up", "chamber.yaml", "--seconds", "1", code=4, says=[f"process {first.pid}", "data_dir"])
        self.assertEqual(self.stop(first), 0)

    def test_SaysThatTheStoreIsLocked(self):
        demo = self.demo()
        path = self.folder / "demo" / "store.db"
        lock = sqlite3.connect(path, isolation_level=None)
        self.addCleanup(lock.close)
        lock.execute("BEGIN EXCLUSIVE")
        before = demo["stored"]
        done = self.utp("replay", "sim", self.capture(), "--store", f"sqlite:{path}", "--realm", "prod", code=4)
        self.assertIn("store.db", done.stderr)
        self.assertIn("lock", done.stderr)
        lock.execute("ROLLBACK")
        self.assertEqual(self.rows(path), before)

    def test_ALostStandardErrorEndsNothing(self):
        # A full disk behind it, and a closed descriptor.
        for lost in ("2>/dev/full", "2>&-"):
            demo = f"'{UTP}' demo --seconds 1 --json --data demo {lost}"
            done = subprocess.run(["sh", "-c", demo], cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=TIMEOUT_S)
            self.assertEqual(done.returncode, 0, lost)
            result = self.last_json(done)
            self.assertEqual(result["stored"], result["events"], lost)
            wrong = subprocess.run(["sh", "-c", f"'{UTP}' query nope/v1 --store sqlite:demo/store.db {lost}"], cwd=self.folder, env=self.env, timeout=TIMEOUT_S)
            self.assertEqual(wrong.returncode, 3, lost)
        # A reader that has gone: everything received is still stored.
        self.write("chamber.yaml", CHAMBER)
        process = subprocess.Popen([UTP, "up", "chamber.yaml", "--seconds", "2"], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stderr.close()
        process.stdout.close()
        self.assertEqual(process.wait(TIMEOUT_S), 0)

    def test_WrongArgumentsAreRefusedBeforeAnythingIsOpened(self):
        for option in (["--limit", "0"], ["--limit", "-1"], ["--from", "2026-11-23", "--to", "2026-11-22"]):
            self.refused("query", "trades/v2", *option, code=2, says=[option[-2]])
        time = "2026-11-22"
        for options, says in ((["--last", "--to", time], "--to"), (["--last", "--newest"], "--newest"), (["--last", "--as-of", time], "--last"),
                              (["--as-of", time, "--to", time], "--to"), (["--as-of", time, "--newest"], "--newest"), (["--as-of", "yesterday"], "yesterday"),
                              (["--as-of", time, "--from", "2026-11-23"], "--from")):
            self.refused("query", "trades/v2", *options, code=2, says=[says])
        self.refused("query", "trades/v2", "--chamber", "nope.yaml", code=3, says=["nope.yaml"])
        self.refused("query", "trades/v2", "--schemas", "/nope", "--store", "sqlite:x.db", code=3, says=["/nope"])
        self.refused("query", "dlq/v1", "--store", "sqlite:x.db", code=3, says=["utp dlq list"])
        self.refused("tail", "trades/v2", "--from", "yesterday", code=2, says=["yesterday", "earliest"])
        self.refused("dlq", "list", "--since", "yesterday", code=2, says=["yesterday", "10m"])
        self.refused("dlq", "replay", "--all", "--patch", "{bad", code=2, says=["--patch", "{bad"])

    def test_SaysThatAFileIsNoStore(self):
        self.write("x.db", "this is not a database, but it is long enough to be looked at as one" * 20)
        self.refused("query", "trades/v2", "--store", "sqlite:x.db", code=1, says=["x.db"])
        self.assertIn("this is not a database", (self.folder / "x.db").read_text())

    def test_FullDiskStopsAnOutputAndLeavesNoHalfFile(self):
        self.demo()
        limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)))
        self.refused("query", "quotes/v2", "--format", "csv", "-o", "out.csv", "--store", f"sqlite:{self.folder / 'demo' / 'store.db'}",
                     code=4, says=["out.csv", "free some space"], preexec=limit)
        self.assertEqual([p.name for p in self.folder.glob("out.csv*")], [])

    def test_FullDiskLosesNothingThatWasStored(self):
        demo = self.demo()
        path = self.folder / "demo" / "store.db"
        limit = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)))
        done = self.utp("demo", "--seconds", "2", "--json", "--data", self.folder / "demo", code=None, preexec=limit)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "(?i)full|too large|space")
        again = self.demo()  # the disk has room again: nothing is lost, what was on the bus is stored now
        self.assertEqual(again["lag"], 0)
        self.assertGreaterEqual(self.rows(path), demo["stored"])

    # What works

    def start(self, *args):
        process = subprocess.Popen([UTP, *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.env, cwd=self.folder)

        def end():
            if process.poll() is None:
                process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()
        self.addCleanup(end)
        return process

    def stop(self, process):
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(err.count("utp: unexpected"), 0, err)
        return process.returncode

    def wait_for(self, condition):
        end = time.monotonic() + TIMEOUT_S
        while not condition():
            self.assertLess(time.monotonic(), end, "it did not happen")
            time.sleep(0.02)

    def rows(self, path):
        """Events in a store: distinct keys over its tables."""
        db = sqlite3.connect(path)
        try:
            tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'utp\\_%' ESCAPE '\\'")]
            return sum(db.execute(f'SELECT count(DISTINCT key) FROM "{t}"').fetchone()[0] for t in tables)
        finally:
            db.close()

    def demo(self, *more):
        return self.last_json(self.utp("demo", "--seconds", "2", "--json", "--data", self.folder / "demo", *more))

    def capture(self):
        path = self.folder / "sim.utpcap"
        if not path.exists():
            self.utp("capture", "sim", "-o", path, "--seconds", "1", "--seed", "3")
        return path

    def test_HeadlessDemoStoresEveryEventAndDrains(self):
        result = self.demo()
        self.assertGreater(result["events"], 100)
        self.assertEqual(result["stored"], result["events"])
        self.assertEqual(result["lag"], 0)
        self.assertEqual(result["dlq"], 0)
        self.assertEqual(sum(t["events"] for t in result["event_types"].values()), result["events"])
        self.assertEqual(sum(t["stored"] for t in result["event_types"].values()), result["stored"])
        self.assertGreaterEqual(len(result["connectors"]), 3)
        self.assertLess(result["first_stored_ms"], 5000)  # the goal of 1 s is a benchmark's: tests share the machine
        for event_type in ("quotes/v2", "trades/v2", "orderbook/v1", "options/v1", "news/v1", "calendar/v1"):
            self.assertIn(event_type, result["event_types"])
        self.assertEqual(self.rows(self.folder / "demo" / "store.db"), result["stored"])

    def test_UpStopsCleanlyOnSigterm(self):
        self.write("chamber.yaml", CHAMBER)
        process = self.start("up", "chamber.yaml", "--json")
        health = self.folder / "data" / "health.json"
        self.wait_for(lambda: health.exists() and json.loads(health.read_text())["stored"] > 0)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=TIMEOUT_S)
        self.assertEqual(process.returncode, 0, err)
        result = json.loads(out.strip().splitlines()[-1])
        self.assertEqual(result["lag"], 0)
        self.assertEqual(result["stored"], result["events"])
        self.assertEqual(json.loads(health.read_text())["state"], "stopped")

    def test_PartsRunAsProcessesOfTheirOwn(self):
        self.write("chamber.yaml", CHAMBER)
        connector = self.last_json(self.utp("connect", "chamber.yaml", "sim.stocks", "--seconds", "1", "--json"))
        self.assertGreater(connector["events"], 0)
        persister = self.last_json(self.utp("persister", "--drain", "--json"))
        self.assertEqual(persister["stored"], connector["events"])
        self.assertEqual(persister["lag"], 0)

    def test_APersisterEndsWhileOthersPublish(self):
        self.write("chamber.yaml", CHAMBER)
        connector = self.start("connect", "chamber.yaml", "sim.stocks", "--seconds", "600", "--quiet")
        self.wait_for(lambda: (self.folder / "data" / "bus" / "topics").exists())
        drained = self.last_json(self.utp("persister", "--drain", "--json"))
        persister = self.start("persister", "--json", "--quiet")
        self.wait_for(lambda: self.rows(self.folder / "data" / "store.db") > drained["stored"])
        self.assertEqual(self.stop(persister), 0)
        self.assertIsNone(connector.poll(), "the connector ended")
        self.assertEqual(self.stop(connector), 0)
        rest = self.last_json(self.utp("persister", "--drain", "--json"))
        self.assertEqual(rest["lag"], 0)

    def test_RefusesTheStoreOfAnotherRealmBeforeAnythingIsRead(self):
        self.write("chamber.yaml", CHAMBER)
        self.utp("up", "chamber.yaml", "--seconds", "1", "--quiet")
        self.write("chamber.yaml", CHAMBER.replace("realm: test", "realm: other"))
        self.refused("up", "chamber.yaml", "--seconds", "1", code=3, says=["chamber.yaml: /realm", "store.db", '"test"', '"other"'])

    def test_AcknowledgedKeysAreRecordedAndStored(self):
        self.write("chamber.yaml", CHAMBER)
        result = self.last_json(self.utp("up", "chamber.yaml", "--seconds", "1", "--json", "--record-acknowledged", "keys"))
        keys = (self.folder / "keys").read_text().split()
        self.assertEqual(len(keys), result["events"])
        db = sqlite3.connect(self.folder / "data" / "store.db")
        stored = {bytes(r[0]).hex() for t in ("quotes", "trades") for r in db.execute(f"SELECT key FROM {t}")}
        db.close()
        self.assertTrue(stored and stored <= set(keys))

    def test_ReplayTwiceAddsNoRow(self):
        capture = self.capture()
        first = self.last_json(self.utp("replay", "sim", capture, "--store", "sqlite:r.db", "--json"))
        self.assertGreater(first["stored"], 0)
        self.assertEqual(first["lag"], 0)
        rows = self.rows(self.folder / "r.db")
        second = self.last_json(self.utp("replay", "sim", capture, "--store", "sqlite:r.db", "--json"))
        self.assertEqual(second["stored"], 0)
        self.assertEqual(second["duplicates"], first["stored"])
        self.assertEqual(second["event_types"].keys(), first["event_types"].keys())
        self.assertEqual(self.rows(self.folder / "r.db"), rows)

    def test_AReplaySaysWhereItsDeadLettersAre(self):
        opened = {"t": "connect", "conn": "0", "ts": 1795357800.0, "data": "wss://sim"}
        bad = {"t": "recv", "conn": "0", "ts": 1795357801.0, "data": "no json"}
        self.write("bad.jsonl", "".join(json.dumps(frame) + "\n" for frame in [opened] + 350 * [bad]))
        done = self.utp("replay", "sim", "bad.jsonl", "--store", "sqlite:new/bad.db")
        self.assertIn("350 dead letters; 100 are on the bus: utp dlq list --bus embedded:new/bad.db.bus; "
                      "250 more went to new/sim.replay.overflow.jsonl", done.stderr)
        self.assertEqual(len((self.folder / "new" / "sim.replay.overflow.jsonl").read_text().splitlines()), 250)
        result = self.last_json(self.utp("replay", "sim", "bad.jsonl", "--store", "sqlite:newer/bad.db", "--json"))
        self.assertEqual((result["dlq"], result["dlq_overflow"]), (350, {"newer/sim.replay.overflow.jsonl": 250}))

    def test_ADamagedCaptureIsNamedOnce(self):
        self.utp("capture", "sim", "-o", "cut.utpcap", "--level", "0", "--seconds", "1")
        whole = (self.folder / "cut.utpcap").read_bytes()
        (self.folder / "cut.utpcap").write_bytes(whole[:-5])
        done = self.refused("replay", "sim", "cut.utpcap", "--store", "sqlite:cut.db", "-q", code=1, says=["everything before it was replayed"])
        self.assertEqual(done.stderr.count("cut.utpcap"), 1, done.stderr)

    def test_ACaptureCountsWhatIsInTheFile(self):
        self.refused("capture", "sim", "-o", "none.utpcap", "--max-size", "10", code=3, says=["--max-size 10", "4KiB or more"])
        self.assertFalse((self.folder / "none.utpcap").exists())
        wrote = self.last_json(self.utp("capture", "sim", "-o", "small.utpcap", "--max-size", "20KiB", "--json"))
        self.assertLessEqual((self.folder / "small.utpcap").stat().st_size, 20 << 10)
        self.assertGreater(wrote["frames"], 0)
        read = self.last_json(self.utp("replay", "sim", "small.utpcap", "--store", "sqlite:small.db", "--json"))
        self.assertEqual(wrote["frames"], read["frames"])

    def test_ReplayRefusesACaptureThatIsNone(self):
        self.write("x.bin", "\x01\x02 nothing that anybody recorded")
        self.refused("replay", "coinbase", "x.bin", "--store", "sqlite:r.db", code=1, says=["x.bin"])
        self.refused("replay", "coinbase", "missing", "--store", "sqlite:r.db", code=4, says=["missing"])

    def test_ReplayRefusesAnotherRealmsStore(self):
        capture = self.capture()
        self.utp("replay", "sim", capture, "--store", "sqlite:r.db", "--realm", "first", "--json")
        done = self.utp("replay", "sim", capture, "--store", "sqlite:r.db", "--realm", "second", "--json", code=None)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn("first", done.stderr)
        self.assertIn("second", done.stderr)

    def test_QueryFormatsHoldTheSameRows(self):
        self.demo()
        store = ["--store", f"sqlite:{self.folder / 'demo' / 'store.db'}"]
        args = ["query", "trades/v2", "--limit", "25", *store]
        as_json = json.loads(self.utp(*args, "--format", "json").stdout)
        self.assertEqual(len(as_json), 25)
        lines = [json.loads(l) for l in self.utp(*args, "--format", "jsonl").stdout.splitlines()]
        self.assertEqual(lines, as_json)
        rows = list(csv.DictReader(io.StringIO(self.utp(*args, "--format", "csv").stdout)))
        self.assertEqual([r["price"] for r in rows], [json.dumps(r["price"]) for r in as_json])
        self.assertEqual([r["event_time"] for r in rows], [r["event_time"] for r in as_json])
        self.assertRegex(rows[0]["event_time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$")
        table = self.utp(*args, "--format", "table").stdout.splitlines()
        self.assertEqual(len(table), 26)
        symbol = as_json[0]["symbol"]
        one = json.loads(self.utp("query", "trades/v2", *store, "--symbol", symbol, "--json").stdout)
        self.assertEqual({r["symbol"] for r in one}, {symbol})
        times = [r["event_time"] for r in one]
        self.assertEqual(times, sorted(times))
        newest = json.loads(self.utp("query", "trades/v2", *store, "--symbol", symbol, "--json", "--newest", "--limit", "1").stdout)
        self.assertEqual(newest[0]["event_time"], times[-1])
        some = json.loads(self.utp("query", "trades/v2", *store, "--symbol", symbol, "--json", "--from", times[1], "--to", times[-1]).stdout)
        self.assertTrue(all(times[1] <= r["event_time"] < times[-1] for r in some))
        self.assertEqual(json.loads(self.utp("query", "trades/v2", *store, "--symbol", "NONE", "--json").stdout), [])

    def test_QueryGivesTheLastEventOfEachSymbol(self):
        self.demo()
        store = ["--store", f"sqlite:{self.folder / 'demo' / 'store.db'}"]
        history = json.loads(self.utp("query", "quotes/v2", *store, "--json").stdout)

        def last_of(rows):
            found = {row["symbol"]: row for row in rows}
            return [found[symbol] for symbol in sorted(found)]

        last = json.loads(self.utp("query", "quotes/v2", *store, "--last", "--json").stdout)
        self.assertGreater(len(last), 1)
        self.assertEqual(last, last_of(history))
        middle = history[len(history) // 2]["event_time"]
        then = [row for row in history if row["event_time"] <= middle]
        as_of = ["query", "quotes/v2", *store, "--as-of", middle]
        self.assertEqual(json.loads(self.utp(*as_of, "--json").stdout), last_of(then))
        self.assertEqual([json.loads(line) for line in self.utp(*as_of, "--format", "jsonl").stdout.splitlines()], last_of(then))
        rows = list(csv.DictReader(io.StringIO(self.utp(*as_of, "--format", "csv").stdout)))
        self.assertEqual([row["key"] for row in rows], [row["key"] for row in last_of(then)])
        self.assertEqual(len(self.utp(*as_of, "--format", "table", "--limit", "1").stdout.splitlines()), 2)
        one = last[-1]
        self.assertEqual(json.loads(self.utp("query", "quotes/v2", *store, "--last", "--symbol", one["symbol"], "--source", one["source_id"], "--json").stdout), [one])
        recent = json.loads(self.utp("query", "quotes/v2", *store, "--last", "--from", one["event_time"], "--json").stdout)
        self.assertEqual(recent, [row for row in last if row["event_time"] >= one["event_time"]])
        self.assertEqual(json.loads(self.utp("query", "quotes/v2", *store, "--as-of", "2000-01-01", "--json").stdout), [])

    def test_QueryWritesAWholeFile(self):
        self.demo()
        self.utp("query", "quotes/v2", "--format", "csv", "-o", "out.csv", "--store", f"sqlite:{self.folder / 'demo' / 'store.db'}")
        rows = list(csv.reader(io.StringIO((self.folder / "out.csv").read_text())))
        self.assertGreater(len(rows), 10)
        self.assertEqual({len(r) for r in rows}, {len(rows[0])})

    def test_ABrokenPipeIsNoError(self):
        self.demo()
        done = subprocess.run(f"'{UTP}' query quotes/v2 --format csv --store 'sqlite:{self.folder}/demo/store.db' | head -1",
                              shell=True, capture_output=True, text=True, env=self.env, timeout=TIMEOUT_S)
        self.assertTrue(done.stdout.startswith("event_time"), done.stdout)
        self.assertEqual(done.stderr, "")

    def test_BridgeCopiesComparesAndGoesOn(self):
        self.demo()
        near, far = f"embedded:{self.folder / 'demo' / 'bus'}", f"embedded:{self.folder / 'far'}"
        first = json.loads(self.utp("bridge", "--from", near, "--to", far, "--topics", "utp.>", "--verify", "--json").stdout)
        self.assertTrue(first["verify"]["equal"])
        self.assertEqual(first["forwarded"], sum(t["from_messages"] for t in first["verify"]["topics"]))
        self.assertGreater(first["forwarded"], 0)
        again = json.loads(self.utp("bridge", "--from", near, "--to", far, "--topics", "utp.>", "--once", "--json").stdout)
        self.assertEqual((again["forwarded"], again["already_there"]), (0, 0))
        other = self.utp("bridge", "--from", near, "--to", f"embedded:{self.folder / 'empty'}", "--topics", "utp.>", "--verify-only", "--json", code=1)
        self.assertFalse(json.loads(other.stdout)["verify"]["equal"])
        human = self.utp("bridge", "--from", near, "--to", far, "--topics", "utp.>", "--verify-only")
        self.assertIn("the far side has everything, in order", human.stderr)

    def test_ATokenInABusURLIsNotShown(self):
        for url, secret in (("nats://sesame@127.0.0.1:1", "sesame"), ("nats://sesame@127.0.0.1:1,127.0.0.1:2", "sesame"), ("nats://me:sesame@127.0.0.1:1", "sesame")):
            done = subprocess.run([UTP, "doctor", "--bus", url, "--json"], capture_output=True, text=True, env=self.env, cwd=self.folder, timeout=TIMEOUT_S)
            if "without the NATS bus" in done.stdout + done.stderr:
                self.skipTest("this program has no NATS bus: install libnats-dev and build again")
            self.assertNotIn(secret, done.stdout + done.stderr)
            if ":1," in url:
                continue
            self.write("chamber.yaml", f"realm: t\nregion: h\ndata_dir: data\nbus: {url}\nconnectors:\n  - {{id: sim, name: a}}\n")
            done = subprocess.run([UTP, "up", "chamber.yaml", "--seconds", "1", "--json"], capture_output=True, text=True, env=self.env, cwd=self.folder, timeout=TIMEOUT_S)
            self.assertIn("***", done.stdout)
            self.assertNotIn(secret, done.stdout + done.stderr + (self.folder / "data" / "health.json").read_text())

    def test_APasswordInAStoreURLIsNotShown(self):
        for url in ("postgres://me:sesame@127.0.0.1:1/market?sslmode=disable", "postgres://me@127.0.0.1:1/market?password=sesame",
                    "postgres://me:ses@ame@127.0.0.1:1/market", "postgres://me:sesame@127.0.0.1:sesame/market"):
            self.write("chamber.yaml", f"realm: t\nregion: h\ndata_dir: data\nstore: {url}\nconnectors:\n  - {{id: sim, name: a}}\n")
            runs = [self.utp("query", "trades/v2", "--store", url, code=None), self.utp("doctor", "--chamber", "chamber.yaml", "--json", code=None)]
            if "without the PostgreSQL store" in runs[0].stderr:
                self.skipTest("this program has no PostgreSQL store: install libpq-dev and build again")
            if "market?pass" not in url:  # a server that is away is waited for at the end: once is enough
                runs.append(self.utp("up", "chamber.yaml", "--seconds", "1", "--json", code=None))
            for done in runs:
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn("sesame", done.stdout + done.stderr)

    def test_OptionsOfABusURLDoNotShowTheirValues(self):
        url = "kafka://me:sesame@127.0.0.1:1?security=plaintext&ssl.key.password=mustard"
        done = self.utp("doctor", "--bus", url, "--json", code=None)
        self.write("chamber.yaml", f"realm: t\nregion: h\ndata_dir: data\nbus: {url}\nconnectors:\n  - {{id: sim, name: a}}\n")
        up = self.utp("up", "chamber.yaml", "--seconds", "1", "--json", code=None)
        if "without the Kafka bus" in up.stderr:
            self.skipTest("this program has no Kafka bus: install librdkafka-dev and build again")
        self.assertIn("kafka://me:***@127.0.0.1:1?security=plaintext&ssl.key.password=***", up.stdout)
        for text in (done.stdout, done.stderr, up.stdout, up.stderr, (self.folder / "data" / "health.json").read_text()):
            self.assertNotIn("sesame", text)
            self.assertNotIn("mustard", text)

    def test_BridgeRefusesWhatWouldLoop(self):
        self.demo()
        near = f"embedded:{self.folder / 'demo' / 'bus'}"
        self.refused("bridge", "--from", near, "--to", near, "--topics", "utp.>", code=3, says=["the same bus"])
        self.refused("bridge", "--from", near, "--to", f"embedded:{self.folder / 'demo' / '.' / 'x' / '..'}/bus", "--topics", "utp.>", "--once", code=3, says=["the same bus"])
        self.refused("bridge", "--from", near, "--to", f"embedded:{self.folder / 'far'}", "--topics", "utp.nowhere.>", code=3,
                     says=["none yet", "--region", "--all-regions"])
        self.refused("bridge", "--from", f"embedded:{self.folder / 'nothing'}", "--to", near, "--topics", "utp.>", code=4, says=["there is no bus here"])

    def test_TopicsShowDepthAndLag(self):
        demo = self.demo()
        bus = f"embedded:{self.folder / 'demo' / 'bus'}"
        topics = json.loads(self.utp("topics", "--json", "--bus", bus).stdout)["topics"]
        quotes = next(t for t in topics if t["topic"].endswith(".quotes.v2"))
        self.assertEqual((quotes["rate"], quotes["dlq"]["messages"], quotes["retention_seconds"]), (0, 0, 72 * 3600))
        self.assertGreater(quotes["retention_bytes"], quotes["bytes"])
        self.assertTrue(all(g["lag_seconds"] == 0 for g in quotes["groups"] if g["lag"] == 0))
        self.assertEqual(quotes["messages"], demo["event_types"]["quotes/v2"]["events"])
        self.assertEqual([g["lag"] for g in quotes["groups"]], [0])
        self.assertIn(quotes["topic"], self.utp("topics", "--bus", bus).stdout)

    def test_TailPrintsEnvelopes(self):
        self.demo()
        bus = f"embedded:{self.folder / 'demo' / 'bus'}"
        lines = self.utp("tail", "trades/v2", "--from", "earliest", "--limit", "5", "--json", "--bus", bus).stdout.splitlines()
        self.assertEqual(len(lines), 5)
        self.assertTrue(all(json.loads(l)["event_type"] == "trades/v2" for l in lines))
        payloads = self.utp("tail", "trades/v2", "--from", "earliest", "--limit", "5", "--payload", "--bus", bus).stdout.splitlines()
        self.assertEqual([json.loads(p) for p in payloads], [json.loads(l)["payload"] for l in lines])

    def test_AReplayReportsWhatAnOutageOfTheRecordingCost(self):
        opened = "wss://venue.example <-> {}.0\n"
        frame = ('{}.0: {{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"1.5","best_bid":"1.4","best_ask":"1.6",'
                 '"time":"2021-04-17T15:{}.000000Z","trade_id":1}}\n')
        self.write("outage.txt", opened.format(1618672677) + frame.format(1618672678, "17:58") +
                   opened.format(1618672700) + frame.format(1618672701, "18:21"))
        for stored in (1, 0):  # a second replay adds nothing
            result = self.last_json(self.utp("replay", "coinbase", "outage.txt", "--store", "sqlite:r.db", "--json"))
            self.assertEqual(result["event_types"]["system/gap/v1"]["stored"], stored)
            self.assertEqual(result["event_types"]["system/reconnect/v1"]["stored"], stored)
        gap, = json.loads(self.utp("query", "system/gap/v1", "--store", "sqlite:r.db", "--format", "json").stdout)
        self.assertEqual((gap["symbol"], gap["stream_type"]), ("BTC-USD", "quotes/v2"))
        self.assertEqual((gap["from_time"], gap["to_time"]), ("2021-04-17T15:17:58.000000000Z", "2021-04-17T15:18:20.000000000Z"))

    def test_DamagedFramesGoToTheDeadLettersWithTheirBytes(self):
        self.write("bad.txt", '1618678134.1: {"type":"ticker","product_id":\n1618678134.2: {"type":"match"}\n')
        result = self.last_json(self.utp("replay", "coinbase", "bad.txt", "--store", "sqlite:r.db", "--json"))
        self.assertEqual(result["stored"], 0)
        self.assertEqual(result["dlq"], 2)
        listing = json.loads(self.utp("dlq", "list", "--json", "--bus", f"embedded:{self.folder}/r.db.bus").stdout)
        self.assertEqual(len(listing["letters"]), 2)

    def test_DeadLettersAreShownRepairedAndDropped(self):
        good = '{"type":"ticker","sequence":1,"product_id":"BTC-USD","price":"1.5","best_bid":"1.4","best_ask":"1.6","time":"2021-04-17T13:00:00.000000Z","trade_id":1}'
        self.write("bad.txt", f"1618678134.1: {good[:-1]}\n1618678134.2: nonsense\n")
        self.utp("replay", "coinbase", "bad.txt", "--store", "sqlite:r.db", "--json")
        bus = ["--bus", f"embedded:{self.folder}/r.db.bus"]
        letters = json.loads(self.utp("dlq", "list", "--json", *bus).stdout)["letters"]
        self.assertEqual(len(letters), 2)
        cut = next(l for l in letters if l["original_bytes"] == len(good) - 1)
        shown = json.loads(self.utp("dlq", "show", cut["id"][:12], "--json", *bus).stdout)
        self.assertEqual(shown["original"], good[:-1])
        self.utp("dlq", "show", cut["id"], "-o", "frame.bin", *bus)
        self.assertEqual((self.folder / "frame.bin").read_text(), good[:-1])
        self.refused("dlq", "drop", code=2, says=["--all"])
        self.refused("dlq", "show", "ffffffffffff", *bus, code=1, says=["ffffffffffff"])
        done = json.loads(self.utp("dlq", "replay", cut["id"], "--filter", "cat; printf '}'", "--json", *bus).stdout)
        self.assertEqual((done["replayed"], done["left"]), (1, []))
        other = next(l for l in letters if l["id"] != cut["id"])
        self.assertEqual(json.loads(self.utp("dlq", "drop", other["id"], "--json", *bus).stdout)["dropped"], 1)
        self.assertEqual(json.loads(self.utp("dlq", "list", "--json", *bus).stdout)["letters"], [])
        stored = self.last_json(self.utp("persister", "--drain", "--json", "--store", "sqlite:r.db", *bus))
        self.assertEqual(stored["event_types"]["quotes/v2"]["stored"], 1)

    def test_TheLimitOfDeadLettersIsTheirTotal(self):
        for realm in ("first", "second"):
            self.write("bad.txt", f"1618678134.1: {realm}\n1618678134.2: nonsense {realm}\n")
            self.utp("replay", "coinbase", "bad.txt", "--store", f"sqlite:{realm}.db", "--bus", "embedded:both", "--realm", realm, "--json")
        dropped = json.loads(self.utp("dlq", "drop", "--all", "--limit", "3", "--json", "--bus", "embedded:both").stdout)
        self.assertEqual(dropped["dropped"], 3)

    def test_RepairingDeadLettersEndsOnSigterm(self):
        self.write("bad.txt", "1618678134.1: nonsense\n1618678134.2: more of it\n")
        self.utp("replay", "coinbase", "bad.txt", "--store", "sqlite:r.db", "--json")
        process = self.start("dlq", "replay", "--all", "--filter", f"touch '{self.folder}/started'; sleep 600", "--bus", "embedded:r.db.bus")
        self.wait_for((self.folder / "started").exists)
        self.assertEqual(self.stop(process), 130)
        letters = json.loads(self.utp("dlq", "list", "--json", "--bus", "embedded:r.db.bus").stdout)["letters"]
        self.assertEqual(len(letters), 2)

    def test_ANewPythonConnectorPassesItsCases(self):
        self.utp("connector", "new", "my_venue")
        self.refused("connector", "new", "my_venue", code=1, says=["my_venue"])
        result = json.loads(self.utp("connector", "test", "my_venue", "--json").stdout)
        self.assertEqual(result["failed"], 0, result)
        self.assertGreaterEqual(result["passed"], 7, result)
        self.refused("connector", "new", "My Venue", code=1, says=["My Venue"])

    def test_AManifestsPatternsAreSaidInWords(self):
        self.utp("connector", "new", "mine")
        manifest = self.folder / "mine" / "connector.manifest.yaml"
        text = manifest.read_text()
        manifest.write_text(text.replace("exec:python3 mine.py", "python3 mine.py"))
        done = self.refused("connector", "check", "mine", code=3, says=["/entry", 'such as "exec:python3 feed.py"'])
        self.assertNotIn("[a-z", done.stderr)
        manifest.write_text(text.replace("60s", "60"))
        self.refused("connector", "check", "mine", code=3, says=["stale_after", "found 60", "such as 250ms or 30s"])

    def test_ANewConnectorRunsAsItsReadmeSays(self):
        self.utp("connector", "new", "myvenue")
        commands = [l.strip().split("   ")[0].split() for l in (self.folder / "myvenue" / "README.md").read_text().splitlines()
                    if l.startswith("    utp ")]
        self.assertEqual([c[1] for c in commands], ["connector", "up", "query"])
        for command in commands:
            out = self.utp(*command[1:-1], "3").stdout if "--seconds" in command else self.utp(*command[1:]).stdout
        self.assertIn("myvenue", out)

    def test_TheExampleConnectorPassesItsCheck(self):
        self.assertIn("good", self.utp("connector", "check", ROOT / "examples" / "exec_connector").stdout)

    def test_ConnectorListNamesWhatIsBuiltIn(self):
        ids = {c["id"] for c in json.loads(self.utp("connector", "list", "--json").stdout)}
        self.assertLessEqual({"coinbase", "kraken", "replay", "sim"}, ids)

    def test_SchemaCommandsAnswer(self):
        self.assertIn("quotes/v2", self.utp("schema", "show").stdout)
        self.assertEqual(json.loads(self.utp("schema", "show", "quotes/v2", "--json").stdout)["$id"], "utp://quotes/2.0.0")
        db = sqlite3.connect(":memory:")
        db.executescript(self.utp("schema", "ddl").stdout)
        db.close()
        self.utp("schema", "validate", "quotes/v2", stdin='{"bid":1.5}')
        self.refused("schema", "validate", "quotes/v2", code=1, says=["/bid"], stdin='{"bid":"x"}')
        old = json.loads(self.utp("schema", "show", "quotes/v2", "--json").stdout)
        new = self.write("2.1.0.json", json.dumps({**old, "$id": "utp://quotes/2.1.0", "properties": {**old["properties"], "more": {"type": "integer"}}}))
        self.assertEqual(json.loads(self.utp("schema", "compat", "quotes/v2", new, "--json").stdout)["level"], "minor")
        compile(self.utp("schema", "gen", "pydantic", "quotes/v2").stdout, "models.py", "exec")
        for language in ("cpp", "typescript"):
            self.assertIn("QuotesV2", self.utp("schema", "gen", language, "quotes/v2").stdout)

    def test_CompletionKnowsEveryCommandAndOption(self):
        script = self.utp("completion", "bash").stdout
        ask = script + '\nCOMP_WORDS=(utp dlq l); COMP_CWORD=2; _utp; echo "${COMPREPLY[@]}"\n' \
                       'COMP_WORDS=(utp query x --format j); COMP_CWORD=4; _utp; echo "${COMPREPLY[@]}"\n' \
                       'COMP_WORDS=(utp query --sto); COMP_CWORD=2; _utp; echo "${COMPREPLY[@]}"\n'
        done = subprocess.run(["bash", "-c", ask], capture_output=True, text=True, timeout=TIMEOUT_S)
        self.assertEqual(done.stdout.splitlines(), ["list", "json jsonl", "--store"], done.stderr)
        for shell in ("zsh", "fish"):
            self.assertIn("persister", self.utp("completion", shell).stdout)
            if shutil.which(shell):
                subprocess.run([shell, "-n"], input=self.utp("completion", shell).stdout, text=True, check=True, timeout=TIMEOUT_S)

    def test_TheExampleChamberIsValid(self):
        shutil.copytree(ROOT / "examples", self.folder / "examples")
        done = self.utp("doctor", "examples/chamber.yaml", "--offline", "--json", code=None)
        checks = {c["name"]: c for c in json.loads(done.stdout)["checks"]}
        self.assertEqual(checks["configuration"]["state"], "good", checks["configuration"])
        for name in ("connector coinbase.us1", "connector sim.stocks"):
            self.assertEqual(checks[name]["state"], "good", checks[name])

    def test_DoctorFindsABadConfiguration(self):
        self.write("chamber.yaml", CHAMBER + "    symbls: [A]\n")
        done = self.utp("doctor", "--offline", "--json", code=1)
        bad = [c for c in json.loads(done.stdout)["checks"] if c["state"] == "bad"]
        self.assertTrue(any("symbls" in c["found"] for c in bad), bad)

    def test_AConnectorInPythonPublishes(self):
        shutil.copytree(ROOT / "examples" / "exec_connector", self.folder / "mine" / "exec_connector")
        self.write("chamber.yaml", CHAMBER.replace("id: sim", "id: exec_connector").replace("    seed: 7\n", "") + "connector_dirs: [mine]\n")
        result = self.last_json(self.utp("up", "chamber.yaml", "--seconds", "3", "--json"))
        self.assertGreater(result["event_types"]["quotes/v2"]["stored"], 0)
        self.assertEqual(result["dlq"], 0)

    def test_CanonicalSchemasPassTheirCheck(self):
        self.utp("schema", "check", ROOT / "schemas")


if __name__ == "__main__":
    unittest.main()
