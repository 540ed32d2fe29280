"""Records that wait on the server for another attempt, because a step said when it should be made.

Each stage has a sorted set `{pipeline}:@later:STAGE`, by the server's own clock. A commit acknowledges an entry and
puts it there (`commit`); when its time has come it goes to the stream that the stage's dead letters are put back to,
with a field that says where it came from and how many attempts it has had.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError, ServerError
from papyra_flow.records.batch import Batch, Before
from papyra_flow.records.entries import Entry, Origin
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.scripts import call_script

_MARK = b"@waited"
_BEFORE = re.compile(rb"(\d{1,9})(?:\+(\d{1,9}))? (\d+-\d+) (.+)", re.DOTALL)
"""Attempts, and those before it was replayed (`lua/replay.lua`), id and stream."""
MOST, MOST_BYTES = 100, 1024 * 1024
"""Of a stage in one script: about a millisecond of the server's time."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many records wait, and seconds until the first of them is due."""

    records: int
    first: float


def fields_to_wait(entry: Entry) -> list[bytes]:
    """The fields of an entry that is to wait, with what it was."""
    key, id_, earlier = entry.origin
    return [*entry.fields, _MARK, b"%d+%d %s %s" % (entry.deliveries, earlier, id_, key.encode())]


def opened(batch: Batch) -> Batch:
    """Entries that were put back as they were before, each with what is known of its attempts before."""
    if not any(fields[-2] == _MARK for fields in batch.fields if len(fields) > 2):
        return batch
    found = [_before(fields) for fields in batch.fields]
    stripped = [fields[:-2] if before else fields for fields, before in zip(batch.fields, found, strict=True)]
    return batch.with_past(stripped, found)


def _before(fields: Sequence[bytes]) -> Before | None:
    match = _BEFORE.fullmatch(fields[-1]) if len(fields) > 2 and fields[-2] == _MARK else None
    if not match:
        return None
    attempts, earlier, id_, key = match.groups()
    return Before(int(attempts), Origin(key.decode(errors="replace"), id_, int(earlier or 0)))


async def wake(client: Client, places: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Put back what is due of each set, to the stream beside it; returns how many were, and how many still wait."""
    reply = await call_script(client, "wake", [key for place in places for key in place], [MOST, MOST_BYTES])
    if not isinstance(reply, list):
        raise CommandRefusedError(f"the wake script answered {reply!r:.100}")
    return [(moved, left) for moved, left in reply]


async def waiting(client: Client, keys: Sequence[str]) -> list[Waiting]:
    """What waits in each of these sets."""
    commands = [("ZCARD", key) for key in keys] + [("ZRANGE", key, 0, 0, "WITHSCORES") for key in keys]
    *replies, time = await client.call_many([*commands, ("TIME",)])
    for reply in (*replies, time):
        if isinstance(reply, ServerError):
            raise reply
    now = int(time[0]) + int(time[1]) / 1e6 if isinstance(time, list) else 0.0
    found = []
    for count, first in zip(replies[: len(keys)], replies[len(keys) :], strict=True):
        due = float(first[1]) / 1000 if isinstance(first, list) and first else now
        found.append(Waiting(count if isinstance(count, int) else 0, max(0.0, due - now)))
    return found
