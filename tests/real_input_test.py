"""Real recordings through the whole program: `utp replay` into SQLite, then `utp query`, compared line by line with what the
separate script independent_count.py reads out of the raw frames. Runs the binary named by UTP_BINARY (./utp test sets it)."""
import base64
import collections
import decimal
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
import independent_count  # noqa: E402

FIXTURES = ROOT.parent / "shared" / "fixtures"
UTP = os.environ.get("UTP_BINARY", str(ROOT / "build" / "release" / "bin" / "utp"))
TIMEOUT_S = 120


def plain(text):
    return format(decimal.Decimal(text).normalize(), "f")


def stored_lines(trades, quotes, books):
    """What is in the store, in the words of independent_count.flat()."""
    lines, ids, without_id, quote_counts = [], collections.defaultdict(set), collections.Counter(), collections.Counter()
    for row in trades:
        if row["trade_id"] is None:
            without_id[row["symbol"]] += 1
        else:
            ids[row["symbol"]].add(int(row["trade_id"]))
    for symbol, distinct in ids.items():
        lines += [f"trade {symbol} {i}" for i in distinct] + [f"trades {symbol} {len(distinct)}"]
    lines += [f"trades {symbol} {n}" for symbol, n in without_id.items()]
    for row in quotes:
        quote_counts[row["symbol"]] += 1
    lines += [f"quotes {symbol} {n}" for symbol, n in quote_counts.items()]

    by_symbol = collections.defaultdict(list)
    for row in books:
        by_symbol[row["symbol"]].append(row)
    for symbol, rows in by_symbol.items():
        # A book_id begins with its snapshot's time; within it, book_seq and part give the order.
        rows.sort(key=lambda r: (decimal.Decimal(r["book_id"].split(".")[0]), int(r["book_seq"]), int(r["part"])))
        events = {(r["book_id"], r["book_seq"]) for r in rows}
        lines.append(f"book_events {symbol} {len(events)}")
        changes = sum(len(r["bids"]) + len(r["asks"]) for r in rows if r["kind"] == "delta")
        if changes:
            lines.append(f"book_changes {symbol} {changes}")
        sides = {"bids": {}, "asks": {}}
        for row in rows:
            if row["kind"] == "snapshot" and int(row["part"]) == 0:
                sides = {"bids": {}, "asks": {}}
            for name, side in sides.items():
                for price, size in row[name]:
                    if decimal.Decimal(size) == 0:
                        side.pop(decimal.Decimal(price), None)
                    else:
                        side[decimal.Decimal(price)] = size
                if row["depth"] is not None:
                    for price in sorted(side, reverse=name == "bids")[int(row["depth"]):]:
                        del side[price]
        for side, word, best in ((sides["bids"], "bid", max), (sides["asks"], "ask", min)):
            if side:
                lines.append(f"top {symbol} {word} {plain(best(side))} {plain(side[best(side)])}")
        lines.append(f"levels {symbol} {len(sides['bids'])} {len(sides['asks'])}")
    lines.append("checksums_failed 0")
    return sorted(lines)


class RealInput(unittest.TestCase):
    maxDiff = 4000

    def setUp(self):
        if not FIXTURES.is_dir():
            self.skipTest(f"the recordings are not here: {FIXTURES}")
        if not os.access(UTP, os.X_OK):
            self.skipTest(f"no binary at {UTP}; build it, or name it in UTP_BINARY")
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_real_input_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.store = f"sqlite:{self.folder / 'store.db'}"
        self.env = {k: v for k, v in os.environ.items() if k not in ("UTP_BUS", "UTP_STORE")}
        self.env["XDG_DATA_HOME"] = str(self.folder / "share")

    def utp(self, *args):
        done = subprocess.run([UTP, *map(str, args)], capture_output=True, text=True, timeout=TIMEOUT_S, env=self.env, cwd=self.folder)
        self.assertEqual(done.returncode, 0, f"{args}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
        return done.stdout

    def replay(self, connector, path):
        return json.loads(self.utp("replay", connector, path, "--store", self.store, "--json").splitlines()[-1])

    def query(self, event_type, result):
        if result["event_types"].get(event_type, {"events": 0})["events"] == 0:
            return []
        # Numbers stay the text that they are: no float in between.
        return json.loads(self.utp("query", event_type, "--store", self.store, "--format", "json"), parse_float=str, parse_int=str)

    def compare(self, connector, name):
        path = FIXTURES / connector / name
        expected = independent_count.flat(independent_count.tally(connector, str(path)))
        self.assertIn("checksums_failed 0", expected)
        result = self.replay(connector, path)
        self.assertEqual((result["dlq"], result["gaps"], result["duplicates"]), (0, 0, 0), result)
        self.assertEqual(result["stored"], result["events"])
        self.assertTrue(result["complete"], result)
        rows = [self.query(t, result) for t in ("trades/v2", "quotes/v2", "orderbook/v1")]
        self.assertEqual(stored_lines(*rows), expected)
        self.assertEqual(sum(map(len, rows)), result["stored"])
        again = self.replay(connector, path)
        self.assertEqual((again["stored"], again["duplicates"]), (0, result["events"]), again)
        self.assertEqual([len(self.query(t, result)) for t in ("trades/v2", "quotes/v2", "orderbook/v1")], [len(r) for r in rows])

    def test_coinbase_advanced_session_is_stored_exactly(self):
        self.compare("coinbase", "cryptofeed_COINBASE_advanced_2026-08-09.jsonl.zst")

    def test_coinbase_exchange_session_is_stored_exactly(self):
        self.compare("coinbase", "cryptofeed_COINBASE_exchange_2021-04-17.ws.txt.zst")

    def test_kraken_btcusd_depth_10_is_stored_exactly(self):
        self.compare("kraken", "kraken_btcusd_l2.cbcap")

    def test_kraken_btcusd_depth_25_is_stored_exactly(self):
        self.compare("kraken", "kraken_btcusd_sample.cbcap")

    def test_kraken_ethusd_depth_25_is_stored_exactly(self):
        self.compare("kraken", "kraken_ethusd_sample.cbcap")

    def test_kraken_v1_session_is_stored_exactly(self):
        self.compare("kraken", "cryptofeed_KRAKEN_v1.jsonl.zst")

    def test_mutilated_frames_are_dead_letters_and_take_nothing_else_with_them(self):
        data = independent_count.load(str(FIXTURES / "coinbase" / "cryptofeed_COINBASE_advanced_2026-08-09.jsonl.zst")).decode()
        lines, bad, originals = [], 0, collections.Counter()
        for line in data.splitlines():
            record = json.loads(line)
            if record["t"] == "recv" and bad < 60 and len(record["data"]) < 5000:
                text = record["data"]
                message = json.loads(text)
                broken = [text[: len(text) // 2], text[:-1], text.replace('"channel":"', '"channel":"x_', 1)]
                if message["channel"] == "ticker":
                    message["events"][0]["tickers"][0]["best_bid"] = 7
                    broken.append(json.dumps(message, separators=(",", ":")))
                for mutilated in broken:
                    lines.append(json.dumps({**record, "data": mutilated}))
                    originals[mutilated] += 1
                    bad += 1
            lines.append(line)
        path = self.folder / "mutilated.jsonl"
        path.write_text("\n".join(lines) + "\n")
        result = self.replay("coinbase", path)
        self.assertEqual(result["dlq"], bad, result)
        expected = independent_count.flat(
            independent_count.tally("coinbase", str(FIXTURES / "coinbase" / "cryptofeed_COINBASE_advanced_2026-08-09.jsonl.zst")))
        self.assertEqual(stored_lines(*[self.query(t, result) for t in ("trades/v2", "quotes/v2", "orderbook/v1")]), expected)
        letters = json.loads(self.utp("dlq", "list", "--bus", result["bus"], "--limit", bad + 10, "--json"))["letters"]
        self.assertEqual(len(letters), bad)
        self.assertEqual({letter["code"] for letter in letters}, {"json", "channel", "type"})
        for letter in letters[:5]:
            self.assertTrue(letter["message"], letter)
            shown = json.loads(self.utp("dlq", "show", letter["id"], "--bus", result["bus"], "--json"))
            shown = shown.get("letter", shown)
            original = shown["original"]
            self.assertIn(original if original in originals else base64.b64decode(original).decode(), originals)


if __name__ == "__main__":
    unittest.main()
