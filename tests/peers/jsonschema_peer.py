"""An independent judge: reads lines {"schema": ..., "instance": "<JSON text>"} and answers each with "valid", "invalid" or
"syntax" (no JSON). Runs where the package jsonschema is installed. Numbers are exact (Decimal, int)."""
import decimal
import json
import numbers
import re
import sys

import jsonschema

decimal.getcontext().prec = 2000
decimal.getcontext().Emax = decimal.MAX_EMAX
decimal.getcontext().Emin = decimal.MIN_EMIN


def pairs(items):
    out = dict(items)
    if len(out) != len(items):
        raise ValueError("two members of one name")
    return out


def constant(name):
    raise ValueError(name)


def parse(text):
    value = json.loads(text, parse_float=decimal.Decimal, parse_constant=constant, object_pairs_hook=pairs)
    json.dumps(value, default=str, ensure_ascii=False).encode("utf-8")  # lone surrogates
    return value


def is_number(_, value):
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def is_integer(_, value):
    return is_number(_, value) and (isinstance(value, int) or value == value.to_integral_value())


checker = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("number", is_number).redefine("integer", is_integer)
Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=checker)
formats = jsonschema.FormatChecker(formats=[])


@formats.checks("date")
def date(value):
    return not isinstance(value, str) or (re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value) is not None and valid_day(value))


def valid_day(value):
    year, month, day = map(int, value.split("-"))
    lengths = [31, 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
    return 1 <= month <= 12 and 1 <= day <= lengths[month - 1]


known, validator = None, None
for line in sys.stdin:
    case = json.loads(line, parse_float=decimal.Decimal)
    text = line[:line.index(', "instance"')]
    if text != known:
        known, validator = text, Validator(case["schema"], format_checker=formats)
    try:
        instance = parse(case["instance"])
    except (ValueError, UnicodeEncodeError):
        print("syntax", flush=True)
        continue
    print("valid" if validator.is_valid(instance) else "invalid", flush=True)
