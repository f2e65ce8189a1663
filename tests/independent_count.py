#!/usr/bin/env python3
"""Counts what is in a raw recording of Coinbase or Kraken, knowing nothing of this project's code.

    independent_count.py coinbase|kraken FILE [--flat]

prints one JSON object:
    trades, quotes, book_events   by canonical symbol (trades: distinct; book_events: one per frame and symbol)
    book_changes                  levels in updates, by symbol
    trade_ids                     digest of the sorted trade ids, where the venue has ids
    top                           final best bid and ask with sizes, by symbol, after all updates
    levels                        final number of bids and asks, by symbol
    checksums                     verified and failed (Kraken)
with --flat as lines of words, every trade id on a line of its own.
FILE may be compressed with zstd (read by the zstd command). Standard library only.
"""

import collections
import decimal
import hashlib
import json
import re
import subprocess
import sys
import zlib

Number = decimal.Decimal


def load(path):
    with open(path, "rb") as file:
        head = file.read(4)
    if head == b"\x28\xb5\x2f\xfd":
        return subprocess.run(["zstd", "-dcq", path], check=True, stdout=subprocess.PIPE).stdout
    with open(path, "rb") as file:
        return file.read()


def received(data):
    """The frames that the venue sent, as (connection, text)."""
    if data.startswith(b"CBCAP1 "):
        position = data.index(b"\n") + 1
        while position < len(data):
            end = data.index(b"\n", position)
            size = int(data[position:end].split()[1])
            yield "0", data[end + 1:end + 1 + size].decode()
            position = end + 2 + size
        return
    for line in data.decode().splitlines():
        if line.startswith("{"):
            record = json.loads(line)
            if record["t"] == "recv":
                yield record["conn"], record["data"]
        else:
            match = re.match(r"\d+(\.\d+)?: (.*)", line)
            if match:
                yield "0", match.group(2)


class Tally:
    def __init__(self):
        self.trades = collections.defaultdict(list)
        self.quotes = collections.Counter()
        self.book_events = collections.Counter()
        self.book_changes = collections.Counter()
        self.books = {}
        self.verified = 0
        self.failed = 0

    def result(self):
        trades, digests = {}, {}
        for symbol, ids in sorted(self.trades.items()):
            if all(i is not None for i in ids):
                distinct = sorted(set(ids))
                trades[symbol] = len(distinct)
                digests[symbol] = hashlib.sha256(",".join(map(str, distinct)).encode()).hexdigest()
            else:
                trades[symbol] = len(ids)
        top, levels = {}, {}
        for symbol, book in sorted(self.books.items()):
            bids, asks = book["bid"], book["ask"]
            levels[symbol] = [len(bids), len(asks)]
            top[symbol] = {}
            if bids:
                price = max(bids)
                top[symbol]["bid"] = [plain(price), plain(Number(bids[price][1]))]
            if asks:
                price = min(asks)
                top[symbol]["ask"] = [plain(price), plain(Number(asks[price][1]))]
        return {
            "trades": trades, "trade_ids": digests, "quotes": dict(sorted(self.quotes.items())),
            "book_events": dict(sorted(self.book_events.items())),
            "book_changes": dict(sorted(self.book_changes.items())), "top": top, "levels": levels,
            "checksums": {"verified": self.verified, "failed": self.failed},
        }


def plain(number):
    text = format(number.normalize(), "f")
    return text


def put(book, side, price_text, size_text):
    price = Number(price_text)
    if Number(size_text) == 0:
        book[side].pop(price, None)
    else:
        book[side][price] = (price_text, size_text)


# ---- Coinbase ----

def coinbase(frames):
    tally = Tally()
    for _, text in frames:
        message = json.loads(text)
        if "channel" in message:
            coinbase_advanced(tally, message)
        else:
            coinbase_exchange(tally, message)
    return tally


def coinbase_advanced(tally, message):
    channel = message["channel"]
    for event in message.get("events", []):
        if channel == "market_trades":
            for trade in event["trades"]:
                tally.trades[trade["product_id"]].append(int(trade["trade_id"]))
        elif channel == "ticker":
            for ticker in event["tickers"]:
                tally.quotes[ticker["product_id"]] += 1
        elif channel == "l2_data":
            symbol = event["product_id"]
            tally.book_events[symbol] += 1
            if event["type"] == "snapshot":
                tally.books[symbol] = {"bid": {}, "ask": {}}
            else:
                tally.book_changes[symbol] += len(event["updates"])
            for update in event["updates"]:
                side = "bid" if update["side"] == "bid" else "ask"
                put(tally.books[symbol], side, update["price_level"], update["new_quantity"])


def coinbase_exchange(tally, message):
    kind = message["type"]
    symbol = message.get("product_id")
    if kind == "match":
        tally.trades[symbol].append(message["trade_id"])
    elif kind == "ticker":
        tally.quotes[symbol] += 1
    elif kind == "snapshot":
        tally.book_events[symbol] += 1
        tally.books[symbol] = {"bid": {}, "ask": {}}
        for side, name in (("bid", "bids"), ("ask", "asks")):
            for price, size in message[name]:
                put(tally.books[symbol], side, price, size)
    elif kind == "l2update":
        tally.book_events[symbol] += 1
        tally.book_changes[symbol] += len(message["changes"])
        for side, price, size in message["changes"]:
            put(tally.books[symbol], "bid" if side == "buy" else "ask", price, size)


# ---- Kraken ----

class Text(str):
    """A JSON number as the venue wrote it."""


def kraken_symbol(name):
    assets = {"XBT": "BTC", "XDG": "DOGE"}
    return "-".join(assets.get(part, part) for part in name.split("/"))


def kraken_checksum(book):
    digits = ""
    for side, best_first in (("ask", sorted(book["ask"])), ("bid", sorted(book["bid"], reverse=True))):
        for price in best_first[:10]:
            for text in book[side][price]:
                digits += text.replace(".", "").lstrip("0")
    return zlib.crc32(digits.encode())


def kraken_book(tally, symbol, snapshot, levels, checksum, depth):
    tally.book_events[symbol] += 1
    if snapshot:
        tally.books[symbol] = {"bid": {}, "ask": {}}
    else:
        tally.book_changes[symbol] += len(levels)
    book = tally.books[symbol]
    for side, price, size in levels:
        put(book, side, str(price), str(size))
    for side in ("bid", "ask"):
        excess = len(book[side]) - depth
        if excess > 0:
            worst = sorted(book[side], reverse=side == "ask")[:excess]
            for price in worst:
                del book[side][price]
    if checksum is not None:
        if kraken_checksum(book) == int(checksum):
            tally.verified += 1
        else:
            tally.failed += 1


def kraken(frames):
    tally = Tally()
    depths = {}
    for _, text in frames:
        message = json.loads(text, parse_float=Text, parse_int=Text)
        if isinstance(message, list):
            kraken_v1(tally, message)
        elif message.get("method") == "subscribe" and message.get("result", {}).get("channel") == "book":
            depths[message["result"]["symbol"]] = int(message["result"]["depth"])
        elif message.get("channel") == "book":
            for data in message["data"]:
                levels = [(side[:-1], level["price"], level["qty"]) for side in ("bids", "asks") for level in data[side]]
                kraken_book(tally, kraken_symbol(data["symbol"]), message["type"] == "snapshot", levels, data["checksum"],
                            depths[data["symbol"]])
        elif message.get("channel") == "trade":
            for trade in message["data"]:
                tally.trades[kraken_symbol(trade["symbol"])].append(int(trade["trade_id"]))
        elif message.get("channel") == "ticker":
            for ticker in message["data"]:
                tally.quotes[kraken_symbol(ticker["symbol"])] += 1
    return tally


def kraken_v1(tally, message):
    name, symbol = message[-2], kraken_symbol(message[-1])
    if name == "trade":
        tally.trades[symbol].extend(None for _ in message[1])
    elif name == "ticker":
        tally.quotes[symbol] += 1
    elif name.startswith("book-"):
        levels, snapshot, checksum = [], False, None
        for payload in message[1:-2]:
            snapshot = snapshot or "as" in payload or "bs" in payload
            for key, side in (("bs", "bid"), ("as", "ask"), ("b", "bid"), ("a", "ask")):
                levels += [(side, level[0], level[1]) for level in payload.get(key, [])]
            checksum = payload.get("c", checksum)
        kraken_book(tally, symbol, snapshot, levels, checksum, int(name[5:]))


def tally(connector, path):
    return {"coinbase": coinbase, "kraken": kraken}[connector](received(load(path)))


def count(connector, path):
    return tally(connector, path).result()


def flat(counted):
    """The same as lines, sorted: "top BTC-USD bid 65083.66 0.2"."""
    result = counted.result()
    lines = ["trade %s %d" % (symbol, i) for symbol in result["trade_ids"] for i in set(counted.trades[symbol])]
    for name in ("trades", "quotes", "book_events", "book_changes"):
        lines += ["%s %s %d" % (name, symbol, n) for symbol, n in result[name].items()]
    for symbol, sides in result["top"].items():
        lines += ["top %s %s %s %s" % (symbol, side, *level) for side, level in sides.items()]
    lines += ["levels %s %d %d" % (symbol, *n) for symbol, n in result["levels"].items()]
    lines.append("checksums_failed %d" % result["checksums"]["failed"])
    return sorted(lines)


def main():
    arguments = [a for a in sys.argv[1:] if a != "--flat"]
    if len(arguments) != 2 or arguments[0] not in ("coinbase", "kraken"):
        sys.exit(__doc__)
    if "--flat" in sys.argv:
        print("\n".join(flat(tally(*arguments))))
    else:
        json.dump(count(*arguments), sys.stdout, indent=1)
        print()


if __name__ == "__main__":
    main()
