"""What workers tell of themselves: each process keeps a report under its name in the hash `{pipeline}:@workers`.

So every view of the server shows all workers, wherever they run, without reaching any of them. A report that is not
renewed is of a process that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import orjson

from papyra_flow.errors import ServerError
from papyra_flow.histograms import SECONDS, VALUES, Histogram
from papyra_flow.observe.counters import RunCounters, StageCounters
from papyra_flow.streams.connection.client import Client

_OWN = {"own_durations": SECONDS, "own_values": VALUES}
"""What steps measure themselves, and the bounds that it is counted by."""

EVERY_SECONDS = 2.0
GONE_AFTER_SECONDS = 30.0


@dataclass(slots=True)
class Report:
    """A process' report: its age in seconds, and what its stages did since it started."""

    worker: str
    age: float
    told: bytes
    """What it told, as it stands on the server: another each time that it is renewed."""
    started: float
    """When it started, in seconds since 1970 by the server's clock."""
    counters: RunCounters = field(default_factory=lambda: RunCounters({}))


async def server_time(client: Client) -> float:
    """Seconds since 1970 by the server's clock (TIME)."""
    reply = await client.call("TIME")
    return int(reply[0]) + int(reply[1]) / 1e6 if isinstance(reply, list) else 0.0


async def write_report(
    client: Client, key: str, worker: str, counters: RunCounters, *, now: float, started: float
) -> None:
    """Put a process' report down, or renew it."""
    stages = {name: _packed(one) for name, one in counters.stages.items()}
    await client.call("HSET", key, worker, orjson.dumps({"at": now, "started": started, "stages": stages}))


async def remove_report(client: Client, key: str, worker: str) -> None:
    """A process has ended in an orderly way."""
    await client.call("HDEL", key, worker)


async def read_reports(client: Client, key: str) -> list[Report]:
    """The reports of all processes that are there, by their names."""
    reply, now = await client.call_many([("HGETALL", key), ("TIME",)])
    for answer in (reply, now):
        if isinstance(answer, ServerError):
            raise answer
    if not isinstance(reply, list) or not isinstance(now, list):
        return []
    clock = int(now[0]) + int(now[1]) / 1e6
    found = []
    for name, text in zip(reply[::2], reply[1::2], strict=True):
        if (report := _read(name.decode(errors="replace"), text, clock)) is not None:
            found.append(report)
    return sorted(found, key=lambda report: report.worker)


class Alive:
    """Which reports are of processes that live, for a view that looks again and again: by its own clock.

    A report's age is by the server's clock; after that went back, one of a process that is gone looks new for as long.
    """

    def __init__(self) -> None:
        self._seen: dict[str, tuple[bytes, float]] = {}

    def of(self, reports: Sequence[Report], now: float) -> list[Report]:
        """Those that were renewed within the time in which a process has to."""
        known = {report.worker: self._seen.get(report.worker, (b"", 0.0)) for report in reports}
        self._seen = {
            report.worker: known[report.worker] if known[report.worker][0] == report.told else (report.told, now)
            for report in reports
        }
        return [report for report in reports if now - self._seen[report.worker][1] <= GONE_AFTER_SECONDS]


def _packed(one: StageCounters) -> dict[str, object]:
    away = {"away": one.away} if one.away else {}
    own = {name: {key: _buckets(h) for key, h in sorted(getattr(one, name).items())} for name in _OWN}
    return {**one.as_json(), **own, **away, "timings": {name: _buckets(h) for name, h in one.timings.each()}}


def _buckets(histogram: Histogram) -> list[object]:
    return [histogram.counts, histogram.sum]


def _read(worker: str, text: bytes, clock: float) -> Report | None:
    """A report, None if it is too old or of a version that writes others."""
    try:
        told = orjson.loads(text)
        age = max(0.0, clock - told["at"])
        if age > GONE_AFTER_SECONDS:
            return None
        stages = {name: _unpacked(facts) for name, facts in told["stages"].items()}
        return Report(worker, age, text, told["started"], RunCounters(stages))
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return None


def _unpacked(facts: dict[str, object]) -> StageCounters:
    one = StageCounters()
    for name, value in facts.items():
        if name == "emitted" and isinstance(value, dict):
            one.emitted.update(value)
        elif name == "own" and isinstance(value, dict):
            one.own.update(value)
        elif name in _OWN and isinstance(value, dict):
            for key, (counts, total) in value.items():
                getattr(one, name).setdefault(key, Histogram(_OWN[name])).add(counts, total)
        elif name == "timings" and isinstance(value, dict):
            for kind, histogram in one.timings.each():
                counts, total = value[kind]
                histogram.add(counts, total)
        elif name == "away" and isinstance(value, str):
            one.away = value
        elif isinstance(value, int):
            setattr(one, name, value)
    return one
