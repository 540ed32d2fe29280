"""Durations as ISO 8601 writes them: `P1Y2M3DT4H5M6.5S` (https://en.wikipedia.org/wiki/ISO_8601#Durations)."""

from __future__ import annotations

NANOSECONDS = 1_000_000_000
"""In a second."""


def iso_duration(months: int, days: int, nanoseconds: int) -> str:
    """A duration as ISO 8601 writes it; where its parts have different signs, each has its own."""
    sign = "-" if max(months, days, nanoseconds) <= 0 and (months, days, nanoseconds) != (0, 0, 0) else ""
    if sign:
        months, days, nanoseconds = -months, -days, -nanoseconds
    years, months = _split(months, 12)
    seconds, rest = _split(nanoseconds, NANOSECONDS)
    minutes, seconds = _split(seconds, 60)
    hours, minutes = _split(minutes, 60)
    found = "".join(f"{number}{unit}" for number, unit in ((years, "Y"), (months, "M"), (days, "D")) if number)
    clock = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M")) if number)
    if seconds or rest:
        minus = "-" if seconds < 0 or rest < 0 else ""
        fraction = f".{abs(rest):09d}".rstrip("0").rstrip(".")
        clock += f"{minus}{abs(seconds)}{fraction}S"
    return f"{sign}P{found}" + (f"T{clock}" if clock else "") if found or clock else "PT0S"


def iso_of_nanoseconds(count: int) -> str:
    """A duration of days, hours, minutes and seconds, as ISO 8601 writes it."""
    days, rest = _split(count, 86400 * NANOSECONDS)
    return iso_duration(0, days, rest)


def _split(number: int, size: int) -> tuple[int, int]:
    """How many whole sizes are in a number, and the rest, both with its sign."""
    whole = abs(number) // size * (1 if number >= 0 else -1)
    return whole, number - whole * size
