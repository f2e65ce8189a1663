"""The generated models where they run: Pydantic's from PyPI, TypeScript's compiler from npm."""
import pathlib
import shutil
import subprocess
import sys
import tempfile
import textwrap
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import on_demand  # noqa: E402

# Names and shapes that the canonical schemas do not have.
ODD_SCHEMA = r"""{"$id": "utp://odd/names/1.0.0", "x-utp": {"event_type": "odd/names/v1"}, "type": "object", "description": "Odd \"names\" */ here",
  "properties": {
    "class": {"type": "string", "pattern": "^[a-z\\d]+$", "maxLength": 4}, "json": {"type": "integer"}, "from": {"type": ["boolean", "null"]},
    "flags": {"type": "array", "items": {"type": ["integer", "null"], "minimum": 0, "maximum": 9}, "minItems": 1},
    "day": {"type": "string", "format": "date"}, "step": {"type": "number", "multipleOf": 0.05, "exclusiveMinimum": -1},
    "delete": {"type": ["string", "null"], "enum": ["a\"b", "\\", null]}},
  "required": ["class", "delete"], "additionalProperties": false}"""


def generated(language, folder):
    odd = pathlib.Path(folder, "schemas", "odd", "names")
    odd.mkdir(parents=True, exist_ok=True)
    (odd / "1.0.0.json").write_text(ODD_SCHEMA)
    done = subprocess.run([on_demand.built("schema_judge"), "generate", language, str(pathlib.Path(folder, "schemas"))],
                          capture_output=True, text=True, timeout=60)
    if done.returncode != 0:
        raise AssertionError(done.stderr)
    return done.stdout


class SchemaGenerators(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="utp_generators_"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_ok(self, *command):
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)
        self.assertEqual(done.returncode, 0, (done.stdout + done.stderr)[-4000:])
        return done.stdout

    def test_CppCompilesWithOddNames(self):
        compiler = shutil.which("g++") or shutil.which("clang++")
        if compiler is None:
            self.skipTest("no C++ compiler")
        root = pathlib.Path(__file__).resolve().parent.parent
        (self.folder / "types.h").write_text(generated("cpp", self.folder))
        (self.folder / "use.cc").write_text('#include "types.h"\nutp::types::OddNamesV1 use(const utp::Row& r) { return utp::types::OddNamesV1::from_row(r); }\n')
        self.run_ok(compiler, "-std=c++20", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", f"-I{root / 'src'}", "use.cc")

    def test_PydanticIsExactAndTolerant(self):
        python = on_demand.python_with("pydantic==2.9.2")
        (self.folder / "events.py").write_text(generated("pydantic", self.folder))
        (self.folder / "check.py").write_text(textwrap.dedent(r'''
            from decimal import Decimal
            from pydantic import ValidationError
            import events
            from events import *

            def refused(model, text, where):
                try:
                    model.model_validate_json(text)
                except ValidationError as error:
                    assert where in [".".join(map(str, e["loc"])) for e in error.errors()], (text, error)
                else:
                    raise AssertionError(f"{model.__name__} takes {text}")

            text = '{"bid":0.1234567890123456789,"ask":84213.10,"bid_size":1e-3,"venue":null,"tick_type":"ticker","unknown":[1]}'
            quote = QuotesV2.model_validate_json(text)
            assert quote.bid == Decimal("0.1234567890123456789"), quote.bid
            assert not hasattr(quote, "unknown") and quote.mid is None
            assert quote.model_dump_json() == '{"bid":0.1234567890123456789,"ask":84213.1,"bid_size":0.001,"tick_type":"ticker"}'
            assert QuotesV2(bid=1, ask=0.1).ask == Decimal("0.1")
            assert QuotesV2(bid=Decimal("1e20")).model_dump_json() == '{"bid":100000000000000000000}'
            refused(QuotesV2, '{"bid":"1"}', "bid")
            refused(QuotesV2, '{"bid":true}', "bid")
            refused(QuotesV2, '{"bid_size":-1e-30}', "bid_size")
            refused(QuotesV2, '{"tick_type":"x"}', "tick_type")
            refused(QuotesV2, '{"venue":"' + "x" * 65 + '"}', "venue")
            QuotesV2.model_validate_json('{"venue":"' + "\U0001F600" * 64 + '"}')

            levels = GexLevelsV1.model_validate_json('{"asof":"2026-11-22T14:30:00.123456789Z"}')
            assert levels.asof.ns == 1795357800123456789, levels.asof.ns
            assert Timestamp.from_ns(levels.asof.ns) == levels.asof and Timestamp.from_ns(-1) == "1969-12-31T23:59:59.999999999Z"
            assert levels.model_dump_json() == '{"asof":"2026-11-22T14:30:00.123456789Z"}'
            for bad in ("2026-11-22T14:30:00Z", "2026-02-30T14:30:00.123456789Z", "2026-11-22T24:30:00.123456789Z"):
                refused(GexLevelsV1, '{"asof":"%s"}' % bad, "asof")
            refused(GexLevelsV1, "{}", "asof")

            book = OrderbookV1.model_validate_json(
                '{"kind":"delta","book_id":"b","book_seq":1.0,"part":0,"parts":1,"bids":[[1.10,2]],"asks":[]}')
            assert book.bids == [(Decimal("1.10"), Decimal(2))] and book.book_seq == 1
            assert '"bids":[[1.1,2]]' in book.model_dump_json()
            refused(OrderbookV1, '{"kind":"delta","book_id":"b","book_seq":1.5,"part":0,"parts":1,"bids":[],"asks":[]}', "book_seq")
            refused(OrderbookV1, '{"kind":"delta","book_id":"b","book_seq":1,"part":0,"parts":1,"bids":[[1,2,3]],"asks":[]}', "bids.0")
            refused(BarsV1, '{"interval":"05m"}', "interval")
            refused(BarsV1, '{"interval":"5m\\n"}', "interval")

            text = '{"class":"a1","json":3,"from":true,"flags":[1,null],"day":"2024-02-29","step":0.35,"delete":"a\\"b"}'
            odd = OddNamesV1.model_validate_json(text)
            assert odd.class_ == "a1" and odd.json_ == 3 and odd.flags == [1, None]
            assert odd.model_dump_json() == text, odd.model_dump_json()
            assert OddNamesV1(class_="a", delete=None).model_dump_json() == '{"class":"a","delete":null}'
            refused(OddNamesV1, '{"class":"a"}', "delete")
            refused(OddNamesV1, '{"class":"\u0967","delete":null}', "class")
            refused(OddNamesV1, '{"class":"a","delete":null,"step":0.36}', "step")
            refused(OddNamesV1, '{"class":"a","delete":null,"flags":[]}', "flags")
            refused(OddNamesV1, '{"class":"a","delete":null,"day":"2023-02-29"}', "day")
            assert events.EVENT_TYPES["trades/v2"] is TradesV2 and TradesV2.SCHEMA_REF == "utp://trades/2.0.0"
            '''))
        self.run_ok(python, "check.py")

    def test_TypeScriptChecksAndIsExact(self):
        modules = on_demand.node_with("typescript@5.6.3")
        (self.folder / "events.ts").write_text(generated("typescript", self.folder))
        (self.folder / "check.ts").write_text(textwrap.dedent(r'''
            import { BarsV1, Decimal, GexLevelsV1, OddNamesV1, OrderbookV1, PayloadError, QuotesV2, eventTypes, read, timestampNs, write } from "./events";

            function same(found: unknown, expected: unknown): void {
              if (found !== expected) throw new Error(`found ${found}, expected ${expected}`);
            }
            function refused(run: () => unknown, pointer: string): void {
              try {
                run();
              } catch (error) {
                if (error instanceof PayloadError) return same(error.pointer, pointer);
                throw error;
              }
              throw new Error(`taken, expected an error at ${pointer}`);
            }

            const quote: QuotesV2 = read(QuotesV2, '{"bid":0.1234567890123456789, "ask":84213.10,"bid_size":1e-3,"venue":null,"tick_type":"ticker","x":[{"y":[1,"]}"]}]}');
            same(quote.bid?.toString(), "0.1234567890123456789");
            same(quote.venue, null);
            same(write(QuotesV2, quote), '{"bid":0.1234567890123456789,"ask":84213.1,"bid_size":0.001,"venue":null,"tick_type":"ticker"}');
            same(write(QuotesV2, { bid: new Decimal("-0.0"), ask: new Decimal("1.50e3") }), '{"bid":0,"ask":1500}');
            refused(() => read(QuotesV2, '{"bid":"1"}'), "/bid");
            refused(() => read(QuotesV2, '{"tick_type":"x"}'), "/tick_type");
            refused(() => read(QuotesV2, "[]"), "");

            const levels = read(GexLevelsV1, '{"asof":"2026-11-22T14:30:00.123456789Z"}');
            same(timestampNs(levels.asof), 1795357800123456789n);
            refused(() => read(GexLevelsV1, '{"asof":"2026-02-30T14:30:00.123456789Z"}'), "/asof");
            refused(() => read(GexLevelsV1, "{}"), "");

            const book = read(OrderbookV1, '{"kind":"delta","book_id":"\\u0062\\"","book_seq":9007199254740991,"part":0,"parts":1,"bids":[[1.10,2]],"asks":[]}');
            same(book.book_seq, 9007199254740991);
            same(book.book_id, 'b"');
            same(book.bids[0][0].text, "1.10");
            same(write(OrderbookV1, book), '{"kind":"delta","book_id":"b\\"","book_seq":9007199254740991,"part":0,"parts":1,"bids":[[1.1,2]],"asks":[]}');
            refused(() => read(OrderbookV1, '{"kind":"delta","book_id":"b","book_seq":1,"part":0,"parts":1,"bids":[[1,2,3]],"asks":[]}'), "/bids/0");
            const odd = read(OddNamesV1, '{"class":"a","json":9223372036854775807,"flags":[1,null],"delete":"\\\\"}');
            same(odd.json, 9223372036854775807n);
            same(write(OddNamesV1, odd), '{"class":"a","json":9223372036854775807,"flags":[1,null],"delete":"\\\\"}');
            same(eventTypes["bars/v1"].schemaRef, BarsV1.schemaRef);
            '''))
        self.run_ok("node", str(modules / "node_modules" / "typescript" / "bin" / "tsc"), "--strict", "--noUnusedLocals", "--exactOptionalPropertyTypes",
                    "--target", "es2020", "--module", "commonjs", "--outDir", "out", "events.ts", "check.ts")
        self.run_ok("node", "out/check.js")


if __name__ == "__main__":
    unittest.main()
