"""Random schemas of the profile and random instances, judged by our compiler and by an independent validator (PyPI's
jsonschema); for event schemas the plan's fast and general ways are held against both.

UTP_SEED repeats a run, UTP_ROUNDS makes it longer (rounds of 50 schemas)."""
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import on_demand  # noqa: E402

SCHEMAS_PER_ROUND = 50
INSTANCES_PER_SCHEMA = 24
NUMBERS = ["0", "-0", "1", "1.0", "-1", "2", "3", "0.5", "0.25", "-2.5", "100", "1e2", "1E+2", "10e-1", "0.1", "1e-3", "7", "9007199254740991",
           "9007199254740993", "9223372036854775807", "9223372036854775808", "123456789.123456789", "1e18", "1e30", "1e-30"]
HUGE = ["1e300", "1e-300", "123456789012345678901234567890", "0.1234567890123456789012345", "-1e40"]
TEXTS = ["", "a", "b", "ab", "abc", "A", "buy", "sell", "2026-11-22", "2024-02-30", "0x1f", "a-b", "é", "日本", "😀", "a😀b", "\\", "\"", "/", "\t",
         "1", "12", "x_9", " ", "a b", "aaaaaaaaaaaaaaaaaaaa", "\u007f", "\u0001"]
# Patterns that mean the same to every engine for the texts above.
PATTERNS = ["^a", "b$", "^[a-z]+$", "^[0-9]{1,3}$", "a|b", "^(ab)*c?$", "^.{2}$", "[A-Z]", "^x_[0-9]$", "^$", "^[^a]+$", "\\.", "^(?:a|b)+?$"]
NAMES = ["a", "b", "c", "price", "size", "x_y"]


class Generator:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def number(self, huge=0.05):
        return self.r.choice(HUGE if self.r.random() < huge else NUMBERS)

    def raw_value(self, depth=0):
        """JSON text of any value."""
        kind = self.r.randrange(8 if depth < 3 else 6)
        if kind == 0:
            return "null"
        if kind == 1:
            return self.r.choice(["true", "false"])
        if kind in (2, 3):
            return self.number()
        if kind in (4, 5):
            return self.text()
        space = self.r.choice(["", "", " ", "\n  "])
        if kind == 6:
            return "[" + space + ("," + space).join(self.raw_value(depth + 1) for _ in range(self.r.randrange(4))) + space + "]"
        names = self.r.sample(NAMES, self.r.randrange(4))
        return "{" + space + ",".join(f'{self.key(n)}{space}:{space}{self.raw_value(depth + 1)}' for n in names) + space + "}"

    def text(self, value=None):
        value = self.r.choice(TEXTS) if value is None else value
        if self.r.random() < 0.2:  # the same text, escaped as others would
            return '"' + "".join(f"\\u{ord(c):04x}" if ord(c) < 0x10000 else json.dumps(c)[1:-1] for c in value) + '"'
        return json.dumps(value, ensure_ascii=self.r.random() < 0.5)

    def key(self, name):
        return self.text(name) if self.r.random() < 0.1 else f'"{name}"'

    def scalar_schema(self, nullable=True):
        """Schema text for one scalar column."""
        kind = self.r.choice(["string", "string", "number", "number", "integer", "boolean"])
        parts = []
        null = nullable and self.r.random() < 0.4
        parts.append(f'"type": ["{kind}", "null"]' if null else f'"type": "{kind}"')
        if kind == "string":
            if self.r.random() < 0.3:
                parts.append(f'"minLength": {self.r.randrange(4)}')
            if self.r.random() < 0.4:
                parts.append(f'"maxLength": {self.r.choice([0, 1, 2, 3, 10, "5.0"])}')
            if self.r.random() < 0.25:
                parts.append(f'"pattern": {json.dumps(self.r.choice(PATTERNS))}')
            if self.r.random() < 0.1:
                parts.append('"format": "date"')
            if self.r.random() < 0.2:
                values = [json.dumps(t) for t in self.r.sample(TEXTS, 3)] + (["null"] if null and self.r.random() < 0.8 else [])
                parts.append(f'"enum": [{", ".join(values)}]')
        elif kind in ("number", "integer"):
            for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
                if self.r.random() < 0.15:
                    parts.append(f'"{name}": {self.r.choice(NUMBERS)}')
            if self.r.random() < 0.15:
                parts.append(f'"multipleOf": {self.r.choice(["1", "2", "0.5", "0.01", "3", "1e2", "2.5"])}')
            if self.r.random() < 0.1:
                parts.append(f'"enum": [{", ".join(self.r.sample(["0", "1", "2.5", "100", "-1", "0.1"], 3))}]')
        elif self.r.random() < 0.2:
            parts.append('"const": true')
        self.r.shuffle(parts)
        return "{" + ", ".join(parts) + "}"

    def any_schema(self, depth=0):
        """Schema text of the profile, any shape."""
        if depth > 3 or self.r.random() < 0.1:
            return self.r.choice(["true", "false", "{}", self.scalar_schema()])
        if depth and self.r.random() < 0.12:
            return self.r.choice(['{"$ref": "#"}', '{"$ref": "#/$defs/d"}', '{"$ref": "#/$defs/d", "maxLength": 2}', '{"$ref": "#/$defs/d", "title": "t"}'])
        parts = {}
        if self.r.random() < 0.6:
            names = self.r.sample(["object", "array", "string", "number", "integer", "boolean", "null"], self.r.choice([1, 1, 2, 3]))
            parts["type"] = json.dumps(names if len(names) > 1 or self.r.random() < 0.3 else names[0])
        if self.r.random() < 0.6:
            names = self.r.sample(NAMES, self.r.randrange(1, 4))
            parts["properties"] = "{" + ", ".join(f'"{n}": {self.any_schema(depth + 1)}' for n in names) + "}"
        if self.r.random() < 0.3:
            parts["required"] = json.dumps(self.r.sample(NAMES, self.r.randrange(3)))
        if self.r.random() < 0.3:
            parts["additionalProperties"] = self.any_schema(depth + 1)
        if self.r.random() < 0.4:
            parts["items"] = self.any_schema(depth + 1)
        for name, limit in (("minItems", 3), ("maxItems", 4), ("minLength", 3), ("maxLength", 4)):
            if self.r.random() < 0.1:
                parts[name] = str(self.r.randrange(limit))
        for name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
            if self.r.random() < 0.1:
                parts[name] = self.r.choice(NUMBERS)
        if self.r.random() < 0.08:
            parts["multipleOf"] = self.r.choice(["2", "0.5", "0.01", "7"])
        if self.r.random() < 0.08:
            parts["pattern"] = json.dumps(self.r.choice(PATTERNS))
        if self.r.random() < 0.08:
            parts["const"] = self.raw_value(2)
        return "{" + ", ".join(f'"{k}": {v}' for k, v in parts.items()) + "}"

    def event_schema(self):
        columns = {}
        for name in self.r.sample(NAMES, self.r.randrange(1, len(NAMES) + 1)):
            if self.r.random() < 0.25:
                inner = self.scalar_schema()
                if self.r.random() < 0.5:
                    inner = f'{{"type": "array", "items": {inner}, "minItems": 2, "maxItems": 2}}'
                kinds = self.r.choice(['"array"', '["array", "null"]'])
                columns[name] = f'{{"type": {kinds}, "items": {inner}, "maxItems": {self.r.randrange(1, 5)}}}'
            else:
                columns[name] = self.scalar_schema()
        required = json.dumps(self.r.sample(sorted(columns), self.r.randrange(len(columns) + 1)))
        body = ", ".join(f'"{n}": {s}' for n, s in columns.items())
        return ('{"$id": "utp://fuzz/1.0.0", "x-utp": {"event_type": "fuzz/v1"}, "type": "object", '
                f'"properties": {{{body}}}, "required": {required}, "additionalProperties": false}}')

    def likely(self, schema, depth=0):
        """JSON text that often fits."""
        if not isinstance(schema, dict) or self.r.random() < 0.08 or depth > 5:
            return self.raw_value(depth)
        if "enum" in schema and self.r.random() < 0.8:
            return json.dumps(self.r.choice(schema["enum"]))
        kinds = schema.get("type", "object" if "properties" in schema else None)
        kind = self.r.choice(kinds) if isinstance(kinds, list) else kinds
        if kind == "object":
            members = [(n, s) for n, s in schema.get("properties", {}).items()
                       if n in schema.get("required", []) or self.r.random() < 0.7]
            if self.r.random() < 0.1 and members:
                members.pop()
            if self.r.random() < 0.1:
                members.append((self.r.choice(NAMES + ["zz"]), True))
            if self.r.random() < 0.4:
                self.r.shuffle(members)
            space = self.r.choice(["", "", "", " ", "\n\t"])
            return "{" + space + ("," + space).join(f"{self.key(n)}{space}:{space}{self.likely(s, depth + 1)}" for n, s in members) + space + "}"
        if kind == "array":
            low = schema.get("minItems", 0)
            count = self.r.randrange(low, max(low, schema.get("maxItems", low + 3)) + 1)
            return "[" + ",".join(self.likely(schema.get("items", True), depth + 1) for _ in range(count)) + "]"
        if kind == "string":
            return self.text()
        if kind in ("number", "integer"):
            return self.number()
        if kind == "boolean":
            return self.r.choice(["true", "false"])
        return "null" if kind == "null" else self.raw_value(depth)

    def damaged(self, text):
        """The text with a character gone, doubled or another: mostly no JSON."""
        if not text:
            return text
        at = self.r.randrange(len(text))
        return text[:at] + self.r.choice(["", text[at] * 2, self.r.choice('{}[],:"\\0123e.-+ tfn/')]) + text[at + 1:]


class SchemaDifferential(unittest.TestCase):
    def test_AgreesWithAnIndependentValidator(self):
        judge = on_demand.built("schema_judge")
        peer = on_demand.python_with("jsonschema==4.23.0")
        seed = int(os.environ.get("UTP_SEED", "20261122"))
        rounds = int(os.environ.get("UTP_ROUNDS", "6"))
        counts = {}
        for number in range(rounds):
            self.round(judge, peer, seed + number, counts)
        summary = ", ".join(f"{k} {v}" for k, v in sorted(counts.items()))
        print(f"REPORT schema differential, seed {seed}: {summary}")
        for kind in ("valid", "valid planned", "invalid", "syntax"):
            self.assertGreater(counts.get(kind, 0), 100, f"the generator no longer makes enough of {kind}: {summary}")

    def round(self, judge, peer, seed, counts):
        generator = Generator(seed)
        lines = []
        for _ in range(SCHEMAS_PER_ROUND):
            if generator.r.random() < 0.5:
                schema = generator.event_schema()
            else:
                schema = generator.any_schema()
                if schema.startswith("{") and len(schema) > 2:
                    schema = f'{{"$defs": {{"d": {generator.scalar_schema()}}}, ' + schema[1:]
                elif '"$ref"' in schema:
                    continue
            schema = schema.replace("\n", " ")  # one line a case
            parsed = json.loads(schema)
            for _ in range(INSTANCES_PER_SCHEMA):
                instance = generator.likely(parsed)
                if generator.r.random() < 0.08:
                    instance = generator.damaged(instance)
                lines.append(f'{{"schema": {schema}, "instance": {json.dumps(instance)}}}')
        with tempfile.TemporaryFile("w+") as cases:
            cases.write("\n".join(lines) + "\n")
            answers = []
            peer_script = str(pathlib.Path(__file__).resolve().parent / "peers" / "jsonschema_peer.py")
            for command in ([judge, "judge"], [peer, peer_script]):
                cases.seek(0)
                done = subprocess.run(command, stdin=cases, capture_output=True, text=True, timeout=600)
                self.assertEqual(done.returncode, 0, f"seed {seed}: {done.stderr[-2000:]}{done.stdout[-300:]}")
                answers.append(done.stdout.split("\n")[:-1])
        self.assertEqual(len(answers[0]), len(lines))
        self.assertEqual(len(answers[1]), len(lines))
        for line, ours, theirs in zip(lines, *answers):
            kind = "syntax" if ours.startswith("invalid json") else "invalid" if ours.startswith("invalid") else ours.split(" /")[0]
            if ours.startswith("refused"):
                kind = "refused"
            counts[kind] = counts.get(kind, 0) + 1
            where = f"seed {seed}\n  {line}\n  ours: {ours}\n  theirs: {theirs}"
            self.assertFalse(ours.startswith("disagree"), where)
            if kind == "refused":
                self.assertRegex(ours, "leads back|stands twice|a number of at most 18 digits", where)  # what the generator may make by chance
            else:
                self.assertEqual(kind.split(" ")[0], theirs, where)


if __name__ == "__main__":
    unittest.main()
