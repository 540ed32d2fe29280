"""Types of columns: what the text of a CSV's field becomes, and which text is refused.

What is refused is what Python takes and a file does not mean: `1_000`, digits of other scripts, `nan`, and fractions of
a second beyond microseconds, which would be cut off.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Literal, TypeAlias

from papyra_flow.errors import RecordError

ColumnType: TypeAlias = Literal["str", "int", "float", "bool", "decimal", "date", "datetime"]
_BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,9})?", re.ASCII)
_DATETIME = re.compile(r"[0-9W-]+(?:[Tt ][0-9:]+(?:[.,][0-9]{1,6}0*)?(?:[Zz]|[+-][0-9:]+(?:\.[0-9]+)?)?)?", re.ASCII)


def _int(text: str) -> int:
    if "_" in text or not text.isascii():
        raise ValueError(text)
    return int(text)


def _float(text: str) -> float:
    number = float(text)
    if "_" in text or not math.isfinite(number) or not text.isascii():
        raise ValueError(text)
    return number


def _bool(text: str) -> bool:
    try:
        return _BOOLEANS[text.strip().lower()]
    except KeyError:
        raise ValueError(text) from None


def _decimal(text: str) -> Decimal:
    if not _DECIMAL.fullmatch(text := text.strip()):
        raise ValueError(text)
    return Decimal(text)


def _date(text: str) -> date:
    return date.fromisoformat(text.strip())


def _datetime(text: str) -> datetime:
    if not _DATETIME.fullmatch(text := text.strip()):
        raise ValueError(text)
    moment = datetime.fromisoformat(text.upper())
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


_CONVERT: dict[ColumnType, Callable[[str], object]] = {
    "int": _int,
    "float": _float,
    "bool": _bool,
    "decimal": _decimal,
    "date": _date,
    "datetime": _datetime,
}
_WORDS = {"int": "an int", "bool": "a bool (true, false, yes, no, 1, 0)", "date": "a date (ISO 8601)"}
_WORDS["datetime"] = "a datetime (ISO 8601, microseconds at the finest)"


class Columns:
    """Makes values of the fields of rows, in the order of the columns."""

    def __init__(
        self,
        names: Sequence[str],
        types: Mapping[str, ColumnType],
        nulls: Sequence[str] = (),
        *,
        empty_is_null: bool = False,
    ) -> None:
        """`nulls` mean null in all columns, and nothing at all in those that are not text, if `empty_is_null`."""
        self.names = names
        self._types = types
        self._nulls = frozenset(nulls)
        converters = {name: _CONVERT[kind] for name, kind in types.items() if kind != "str"}
        if empty_is_null:
            converters = {name: _or_null(convert) for name, convert in converters.items()}
        self._typed = [(place, converters[name]) for place, name in enumerate(names) if name in converters]

    def values(self, row: list[str]) -> list[object]:
        """The values of a row; raises RecordError for text that is not of its column's type."""
        nulls = self._nulls
        values: list[object] = [None if text in nulls else text for text in row] if nulls else [*row]
        place = 0
        try:
            for place, convert in self._typed:
                if values[place] is not None:
                    values[place] = convert(row[place])
        except ValueError:
            name = self.names[place]
            kind = self._types[name]
            text = row[place] if len(row[place]) <= 100 else row[place][:100] + "..."
            raise RecordError(f"{text!r} in column {name!r} is not {_WORDS.get(kind, f'a {kind}')}") from None
        return values


def _or_null(convert: Callable[[str], object]) -> Callable[[str], object]:
    return lambda text: convert(text) if text else None
