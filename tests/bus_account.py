"""Rows as they have to stand in a PostgreSQL store, worked out from what `utp tail --json` saw on the bus and from the schema files
alone, and the rows that do stand there."""
import glob
import hashlib
import json
import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent
TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)\.(\d{6})(\d{3})Z")


def read_schemas():
    """(table, exploded property, properties) by event type, of those that have a table."""
    schemas = {}
    for path in glob.glob(str(ROOT / "schemas" / "**" / "*.json"), recursive=True):
        with open(path) as file:
            schema = json.load(file)
        about = schema.get("x-utp", {})
        if "event_type" in about and about.get("table"):
            schemas[about["event_type"]] = (about["table"], about.get("explode"), schema["properties"])
    return schemas


def time_columns(name, text):
    """timestamptz counts microseconds; the rest stands beside it."""
    if text is None:
        return {name: None, name + "_ns": None}
    seconds, micros, nanos = TIME.fullmatch(text).groups()
    return {name: seconds + "." + micros, name + "_ns": int(nanos)}


def value(column, of):
    """A JSON number has one type in Python and two in a table."""
    if isinstance(column, list):
        return [value(each, of) for each in column]
    if isinstance(column, bool) or not isinstance(column, (int, float)):
        return column
    return float(column)


def digest(row):
    return hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=12).digest()


def is_time(about):
    return about.get("format") == "utp-timestamp"


class Account:
    """What was published: rows by table and identity. An event that was published twice, taken in at another time, may stand there as
    either of the two; all of its rows are of one of them."""

    def __init__(self):
        self.schemas = read_schemas()
        self.by_identity, self.events, self.rows = {}, 0, 0

    def add(self, line):
        event = json.loads(line)
        if event["event_type"] not in self.schemas:
            return
        table, explode, properties = self.schemas[event["event_type"]]
        payload = event["payload"]
        head = {"symbol": event["symbol"], "source_id": event["source_id"], "schema_ref": event["schema_ref"],
                "event_time_source": event["event_time_source"], "sequence": value(event["sequence"], None),
                "checksum": float(int.from_bytes(bytes.fromhex(event["checksum"]), "big", signed=True)),
                "quality": ",".join(event["quality"]) if event.get("quality") else None,
                **time_columns("event_time", event["event_time"]), **time_columns("ingest_time", event["ingest_time"])}
        elements = (payload.get(explode) or [None]) if explode else [None]
        rows = []
        for number, element in enumerate(elements):
            row = dict(head)
            if explode:
                row["row_no"] = float(number)
            for name, about in properties.items():
                given = element if name == explode else payload.get(name)
                row.update(time_columns(name, given) if is_time(about) else {name: value(given, about)})
            rows.append(digest(self.canonical(row)))
        candidates = self.by_identity.setdefault(self.identity(table, row), set())
        self.events += not candidates
        self.rows += len(rows) if not candidates else 0
        candidates.add(tuple(sorted(rows)))

    @staticmethod
    def canonical(row):
        return {name: float(v) if isinstance(v, int) and not isinstance(v, bool) else v for name, v in row.items()}

    @staticmethod
    def identity(table, row):
        return digest([table, *(row[c] if isinstance(row[c], (str, type(None))) else float(row[c])
                                for c in ("source_id", "symbol", "event_time", "event_time_ns", "sequence", "checksum"))])

    def differences(self, table_rows):
        """What is wrong, in words; `table_rows`: (table, row as JSON)."""
        found, keys, keys_rows = {}, set(), 0
        for table, line in table_rows:
            row = json.loads(line)
            keys.add((table, row.pop("key")) + ((row["row_no"],) if "row_no" in row else ()))
            keys_rows += 1
            for name, column in row.items():
                if isinstance(column, str) and column.endswith("+00:00") and name + "_ns" in row:
                    seconds, _, micros = column[:-6].partition(".")
                    row[name] = seconds + "." + micros.ljust(6, "0")
                else:
                    row[name] = value(column, None)
            found.setdefault(self.identity(table, row), []).append(digest(self.canonical(row)))
        missing = [i for i in self.by_identity if i not in found]
        unknown = [i for i in found if i not in self.by_identity]
        different = [i for i, rows in found.items() if i in self.by_identity and tuple(sorted(rows)) not in self.by_identity[i]]
        words = [f"{len(what)} events {name}" for name, what in (("are missing", missing), ("were never published", unknown),
                                                                 ("have other rows than were published", different)) if what]
        if len(keys) != keys_rows:
            words.append(f"{keys_rows - len(keys)} rows whose key stands twice")
        return words


def stored_rows(psql, url, tables):
    """(table, row as JSON) of all rows, one after the other."""
    for table in tables:
        command = [psql, url, "-qAtX", "-v", "FETCH_COUNT=5000", "-v", "ON_ERROR_STOP=1", "-c", f'SELECT row_to_json(t) FROM "{table}" t']
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PGTZ": "UTC"}) as process:
            for line in process.stdout:
                yield table, line
        if process.returncode != 0:
            raise RuntimeError(f"psql ends with {process.returncode}")
