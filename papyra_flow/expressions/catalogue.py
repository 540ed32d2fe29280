"""All that an expression may call or ask for: each with what it does, and an example that a test evaluates.

The page `docs/reference/expressions.md` is written from this. `run` is what an ordinary call costs; where a call could
make more than it is given, `guarded` is what is called instead, unless the checker sees that it cannot.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from papyra_flow.expressions import bounds, times
from papyra_flow.expressions.patterns import matches

SAMPLE: dict[str, Any] = {
    "name": "Ada Lovelace", "n": 7, "price": 2.5, "tags": ["b", "a"], "nothing": None,
    "airport": {"iata": "SEA", "lat": 47.4}, "when": "2024-01-31T12:30:00", "day": "2024-01-31",
    "items": [{"qty": 2, "price": 1.5}, {"qty": 1, "price": 4.0}], "a b": 1,
}  # fmt: skip
"""The record that examples are about."""
SAMPLE_HEADERS = {"topic": "orders"}


@dataclass(frozen=True, slots=True)
class Documented:
    """Something that an expression may say: what it does, and an example with its result."""

    call: str
    text: str
    example: str
    result: object


@dataclass(frozen=True, slots=True)
class Function(Documented):
    """A function, by what it runs."""

    run: Callable[..., Any]
    guarded: Callable[..., Any] | None = None


@dataclass(frozen=True, slots=True)
class Method(Documented):
    """A method; `guarded` is called with the object first."""

    guarded: Callable[..., Any] | None = None


def _coalesce(*values: object) -> object:
    return next((value for value in values if value is not None), None)


def _get(record: Mapping[str, object], name: str, default: object = None) -> object:
    return record.get(name, default)


def _has(record: Mapping[str, object], name: str) -> bool:
    return name in record


FUNCTIONS: dict[str, Function] = {
    "abs": Function("abs(number)", "A number without its sign.", "abs(-3)", 3, abs),
    "all": Function("all(values)", "Whether every value is true.", "all(t != 'c' for t in tags)", True, all),
    "any": Function("any(values)", "Whether at least one value is true.", "any(t == 'a' for t in tags)", True, any),
    "bool": Function("bool(value)", "Whether a value counts as true.", "bool(tags)", True, bool),
    "coalesce": Function(
        "coalesce(value, ...)", "The first value that is not null.", "coalesce(nothing, get('m'), 2)", 2, _coalesce
    ),
    "date": Function(
        "date(text)", "A day, from its ISO form or a datetime (in UTC).", "date(day).isoformat()", "2024-01-31",
        times.date_of,
    ),
    "datetime": Function(
        "datetime(text)", "A date and time, from its ISO form; in UTC without an offset.",
        "datetime(when).isoformat()", "2024-01-31T12:30:00+00:00", times.datetime_of,
    ),
    "float": Function(
        "float(value)", "A floating-point number, from a number or text; not NaN, nor infinite.",
        "float('2.5')", 2.5, bounds.float_of,
    ),
    "get": Function(
        "get(name, default)", "A field of the record, or the default (null) without one.", "get('missing', 3)", 3, _get
    ),
    "has": Function("has(name)", "Whether the record has a field.", "has('n') and not has('m')", True, _has),
    "int": Function(
        "int(value)", "A whole number, from text or a number; fractions are truncated.",
        "int('12') + int(2.9)", 14, int, bounds.integer_of,
    ),
    "len": Function("len(value)", "The length of text, a list, a set or an object.", "len(name)", 12, len),
    "list": Function("list(values)", "A list of values.", "list(airport)", ["iata", "lat"], list, bounds.list_of),
    "matches": Function(
        "matches(pattern, text)", "Whether a regular expression is found in a text.",
        "matches('^Ada\\\\b', name)", True, matches,
    ),
    "max": Function("max(values)", "The largest of a list, or of several values.", "max(n, 9)", 9, max),
    "min": Function("min(values)", "The smallest of a list, or of several values.", "min(tags)", "a", min),
    "round": Function(
        "round(number, places)", "A number rounded, half to even; without places to a whole one.",
        "round(n / 3, 2)", 2.33, round, bounds.rounded,
    ),
    "set": Function("set(values)", "The distinct values.", "len(set(tags + tags))", 2, set, bounds.set_of),
    "sorted": Function(
        "sorted(values, reverse=False)", "A sorted list.", "sorted(tags)", ["a", "b"], sorted, bounds.sorted_of
    ),
    "str": Function("str(value)", "A value as text.", "str(n) + '%'", "7%", str, bounds.text_of),
    "sum": Function(
        "sum(numbers)", "The sum of numbers.", "sum(i.qty * i.price for i in items)", 7.0, sum, bounds.total
    ),
    "timedelta": Function(
        "timedelta(days=0, hours=0, minutes=0, seconds=0)", "A span of time.",
        "(date(day) + timedelta(days=1)).isoformat()", "2024-02-01", times.timedelta_of,
    ),
    "tuple": Function("tuple(values)", "An immutable list of values.", "len(tuple(tags))", 2, tuple,
                      bounds.tuple_of),
}  # fmt: skip

METHODS: dict[str, Method] = {
    "capitalize": Method("text.capitalize()", "Upper case for the first letter only.", "'aDA'.capitalize()", "Ada"),
    "casefold": Method("text.casefold()", "Text for comparisons that ignore case.", "'Straße'.casefold()", "strasse"),
    "count": Method("text.count(part)", "Occurrences of a part in a text, or of a value.", "name.count('a')", 2),
    "date": Method("moment.date()", "The day of a datetime.", "datetime(when).date().isoformat()", "2024-01-31"),
    "endswith": Method("text.endswith(part)", "Whether a text ends with a part.", "name.endswith('lace')", True),
    "find": Method("text.find(part)", "Index of a part, from 0; -1 if it is not found.", "name.find(' ')", 3),
    "get": Method(
        "object.get(name, default)", "A field of an object, or the default (null).", "airport.get('alt', 0)", 0
    ),
    "isalpha": Method("text.isalpha()", "Whether a text is all letters, and not empty.", "name.isalpha()", False),
    "isdigit": Method("text.isdigit()", "Whether a text is all digits, and not empty.", "'12'.isdigit()", True),
    "isoformat": Method("moment.isoformat()", "A date or time in its ISO form.", "date(day).isoformat()", "2024-01-31"),
    "isoweekday": Method("moment.isoweekday()", "The day of the week, from Monday (1).", "date(day).isoweekday()", 3),
    "items": Method("object.items()", "Names and values of an object.", "[k for k, v in airport.items()]",
                    ["iata", "lat"]),
    "join": Method("text.join(texts)", "Texts joined by this one.", "'+'.join(tags)", "b+a", bounds.join),
    "keys": Method("object.keys()", "The names of an object.", "sorted(airport.keys())", ["iata", "lat"]),
    "lower": Method("text.lower()", "All letters in lower case.", "name.lower()", "ada lovelace"),
    "lstrip": Method("text.lstrip(characters)", "Without leading spaces, or characters.", "' x '.lstrip()", "x ",
                     bounds.lstrip),
    "removeprefix": Method("text.removeprefix(part)", "Without a prefix.", "name.removeprefix('Ada ')",
                           "Lovelace"),
    "removesuffix": Method("text.removesuffix(part)", "Without a suffix.", "name.removesuffix('lace')",
                           "Ada Love"),
    "replace": Method("text.replace(old, new)", "With every occurrence of a part replaced.", "name.replace('a', 'o')",
                      "Ado Loveloce", bounds.replace),
    "rstrip": Method("text.rstrip(characters)", "Without trailing spaces, or characters.", "' x '.rstrip()", " x",
                     bounds.rstrip),
    "split": Method("text.split(separator)", "The parts of a text, at spaces or a separator.", "name.split(' ')",
                    ["Ada", "Lovelace"], bounds.split),
    "startswith": Method("text.startswith(part)", "Whether a text begins with a part.", "name.startswith('Ada')", True),
    "strftime": Method("moment.strftime(format)", "A date or time in a format.", "date(day).strftime('%d.%m.%Y')",
                       "31.01.2024", times.strftime),
    "strip": Method("text.strip(characters)", "Without spaces, or characters, at both ends.", "' x '.strip()", "x",
                    bounds.strip),
    "timestamp": Method("moment.timestamp()", "Seconds since 1970 began, in UTC.", "datetime(when).timestamp()",
                        1706704200.0, times.timestamp),
    "title": Method("text.title()", "Each word's first letter upper case.", "'ada lovelace'.title()", "Ada Lovelace"),
    "total_seconds": Method("span.total_seconds()", "A span of time in seconds.",
                            "(datetime(when) - datetime(day)).total_seconds()", 45000.0),
    "upper": Method("text.upper()", "All letters in upper case.", "name.upper()", "ADA LOVELACE"),
    "values": Method("object.values()", "The values of an object.", "list(airport.values())", ["SEA", 47.4]),
    "weekday": Method("moment.weekday()", "The day of the week, from Monday (0).", "date(day).weekday()", 2),
}  # fmt: skip

ATTRIBUTES: dict[str, Documented] = {
    "year": Documented("moment.year", "The year of a date or datetime.", "date(day).year", 2024),
    "month": Documented("moment.month", "Its month, from 1.", "date(day).month", 1),
    "day": Documented("moment.day", "Its day of the month, from 1.", "date(day).day", 31),
    "hour": Documented("moment.hour", "The hour of a datetime.", "datetime(when).hour", 12),
    "minute": Documented("moment.minute", "Its minute.", "datetime(when).minute", 30),
    "second": Documented("moment.second", "Its second.", "datetime(when).second", 0),
    "microsecond": Documented("moment.microsecond", "Its microsecond.", "datetime(when).microsecond", 0),
    "days": Documented("span.days", "The whole days of a span.", "(date(day) - date('2024-01-01')).days", 30),
    "seconds": Documented("span.seconds", "The seconds of a span beyond its days.",
                          "(datetime(when) - datetime(day)).seconds", 45000),
}  # fmt: skip

TYPES: tuple[Documented, ...] = (
    Documented("null", "JSON's null is `None`.", "nothing is None", True),
    Documented("true, false", "JSON's `true` and `false` are `True` and `False`.", "not (n > 5)", False),
    Documented("whole number", "Exact, of any size up to the bound.", "n // 2 + 2 ** 64", 18446744073709551619),
    Documented("number", "Floating-point, 64 bits.", "price * 2", 5.0),
    Documented("text", "Characters count from 0, and from the end from -1.", "name[-8:]", "Lovelace"),
    Documented("list", "As JSON's, `[...]`.", "tags[0]", "b"),
    Documented("object", "As JSON's: its fields by `.name` or `['name']`.", "airport.iata + airport['iata']", "SEASEA"),
    Documented("set", "Distinct values; becomes a list by `sorted` or `list`.", "sorted({'x', 'y', 'x'})", ["x", "y"]),
    Documented("tuple", "An immutable list.", "name in ('Ada Lovelace', 'x')", True),
    Documented("date", "A day, by `date`.", "date(day) < date('2024-02-01')", True),
    Documented("datetime", "A date and time, by `datetime`; always with an offset.",
               "datetime(when) == datetime('2024-01-31T13:30:00+01:00')", True),
    Documented("timedelta", "A span of time: a difference, or by `timedelta`.",
               "datetime(when) - datetime(day) > timedelta(hours=12)", True),
)  # fmt: skip

SYNTAX: tuple[Documented, ...] = (
    Documented("name", "A field of the record; one that is not there is a failure (`get`, `has`).", "n", 7),
    Documented("record", "The record itself: for names that are not identifiers, or are `headers`.",
               "record['a b']", 1),
    Documented("headers", "The headers of the entry, all of them text.", "headers.topic", "orders"),
    Documented("+ - * / // % **", "Arithmetic; `+` also joins texts and lists, `*` repeats them.",
               "-n % 4 + 2 ** 3", 9),
    Documented("& | ^ ~", "Bits of whole numbers; `&`, `|` and `-` also of sets.", "n & 3", 3),
    Documented("== != < <= > >=", "Comparisons, also in a chain.", "0 < n <= 7", True),
    Documented("in, not in, is, is not", "Membership and identity.", "'a' in tags and nothing is None", True),
    Documented("and, or, not", "Logic, from left to right.", "n > 5 and not nothing", True),
    Documented("a if condition else b", "A choice.", "'many' if n > 5 else 'few'", "many"),
    Documented("value[index], value[from:to]", "An item, or a slice.", "name[:3]", "Ada"),
    Documented("[...], (...), {...}, {k: v}", "Lists, tuples, sets and objects.", "{'id': n, 'tags': tags[:1]}",
               {"id": 7, "tags": ["b"]}),
    Documented("[x for x in values if condition]", "Comprehensions, also of sets and objects; `for` may be repeated.",
               "[t.upper() for t in tags if t != 'a']", ["B"]),
    Documented("f'...{value:format}...'", "Text with values in it, in Python's formats and those of dates.",
               "f'{n:03}|{date(day):%d.%m.%Y}'", "007|31.01.2024"),
    Documented("# ...", "A comment, to the end of its line; a text over several lines is one expression.",
               "n > 5  # enough\nand n < 9", True),
)  # fmt: skip
