"""Dead letters: an entry that failed, as it was, with what is known of its failure.

The stream `{pipeline}:@dead:STAGE` holds one entry for each: the original fields untouched, and beside them
fields that start with `@`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from papyra_flow.records.entries import Entry
from papyra_flow.streams.admin.display import text_of
from papyra_flow.streams.commit.commit import MAX_FIELDS
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.reading import entries_of
from papyra_flow.streams.scripts import call_script

_MARK = b"@"
_PACKED = b"@packed"
"""Holds the fields of an entry that has too many for a commit; such a dead letter cannot be put back."""
MAX_TEXT = 16 * 1024
PORTION = 200
PAGE = 50
"""Letters read at once: each may weigh as much as `max_record` allows."""
MAX_GROUPS = 1000
_DIFFERS = re.compile(r"'[^']*'|\"[^\"]*\"|`[^`]*`|[-+]?\d[\w.,:-]*")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter as it is shown: `origin` is the stream and id (or file and line) that it came from."""

    id: str
    error: str
    traceback: str
    stage: str
    origin: str
    origin_id: str
    deliveries: int
    fields: dict[str, str]


def dead_letter(
    fields: Sequence[bytes],
    *,
    error: str,
    traceback: str,
    stage: str,
    origin: str,
    origin_id: str,
    deliveries: int,
) -> list[bytes]:
    """The flat fields of a dead letter's entry."""
    facts = {
        "error": error[:MAX_TEXT],
        "traceback": traceback[-MAX_TEXT:],
        "stage": stage,
        "stream": origin,
        "id": origin_id,
        "deliveries": str(deliveries),
    }
    kept: list[bytes] = []
    if len(fields) > 2 * (MAX_FIELDS - len(facts)):
        kept += (_PACKED, base64.b64encode(b"\0".join(base64.b64encode(part) for part in fields)))
        fields = ()
    for index in range(0, len(fields), 2):
        # An original field that starts with our mark gets it twice, so that `original_fields` can tell.
        name = fields[index]
        kept += (_MARK + name if name.startswith(_MARK) else name, fields[index + 1])
    for fact, text in facts.items():
        kept += (_MARK + fact.encode(), text.encode(errors="replace"))
    return kept


def original_fields(entry: Entry) -> list[bytes]:
    """The flat fields that the entry had before it died."""
    fields: list[bytes] = []
    for index in range(0, len(entry.fields), 2):
        name, value = entry.fields[index], entry.fields[index + 1]
        if name == _PACKED:
            fields += _unpacked(value)
        elif name.startswith(_MARK * 2):
            fields += (name[1:], value)
        elif not name.startswith(_MARK):
            fields += (name, value)
    return fields


def _unpacked(value: bytes) -> list[bytes]:
    """The fields in `@packed`; one that is damaged stays as it is, under its own name."""
    try:
        found = [base64.b64decode(part, validate=True) for part in base64.b64decode(value, validate=True).split(b"\0")]
    except ValueError:
        return [_PACKED, value]
    return found if len(found) % 2 == 0 else [_PACKED, value]


def read_dead_letter(entry: Entry) -> DeadLetter:
    """A dead letter from its entry; facts that are missing or damaged are empty."""
    facts = {entry.fields[i]: entry.fields[i + 1] for i in range(0, len(entry.fields), 2)}

    def fact(name: bytes) -> str:
        return facts.get(_MARK + name, b"").decode(errors="replace")

    original, deliveries = original_fields(entry), fact(b"deliveries")
    return DeadLetter(
        id=entry.id.decode(),
        error=fact(b"error") or "not written by papyra-flow",
        traceback=fact(b"traceback"),
        stage=fact(b"stage"),
        origin=fact(b"stream"),
        origin_id=fact(b"id"),
        deliveries=int(deliveries) if deliveries.isascii() and deliveries.isdigit() and len(deliveries) < 20 else 0,
        fields={original[i].decode(errors="replace"): text_of(original[i + 1]) for i in range(0, len(original), 2)},
    )


async def find_dead(
    client: Client,
    key: str,
    *,
    ids: Sequence[str] | None = None,
    match: str | None = None,
    limit: int | None = None,
    before: str = "+",
) -> list[DeadLetter]:
    """Dead letters, the newest first: those with one of `ids` where they are given, with `match` in their error.

    At most `limit`, and only those older than `before`.
    """
    letters: list[DeadLetter] = []
    async for letter in each_dead(client, key, ids=ids, before=before):
        if limit is not None and len(letters) >= limit:
            break
        if match is None or match in letter.error:
            letters.append(letter)
    return letters


async def each_dead(
    client: Client, key: str, *, ids: Sequence[str] | None = None, before: str = "+"
) -> AsyncIterator[DeadLetter]:
    """Dead letters one by one, the newest first, a page of them in memory at a time."""
    if ids is not None:
        for id_ in dict.fromkeys(ids):
            for entry in entries_of([[key.encode(), await client.call("XRANGE", key, id_, id_)]]):
                yield read_dead_letter(entry)
        return
    end = before if before == "+" else f"({before}"
    while page := entries_of([[key.encode(), await client.call("XREVRANGE", key, end, "-", "COUNT", PAGE)]]):
        for entry in page:
            yield read_dead_letter(entry)
        end = f"({page[-1].id.decode()}"


async def dead_ids(
    client: Client, key: str, *, ids: Sequence[str] | None = None, match: str | None = None
) -> list[str]:
    """Ids of dead letters, the oldest first, chosen as `find_dead` does."""
    found = [letter.id async for letter in each_dead(client, key, ids=ids) if match is None or match in letter.error]
    return found if ids is not None else found[::-1]


async def count_dead(client: Client, keys: Sequence[str]) -> list[int]:
    """How many dead letters there are under each key."""
    replies = await client.call_many([("XLEN", key) for key in keys])
    return [reply if isinstance(reply, int) else 0 for reply in replies]


@dataclass(slots=True)
class DeadGroup:
    """Dead letters that failed alike: their error with what differs left out, and one of them as an example."""

    stage: str
    error: str
    count: int
    first: str
    last: str
    """Ids of the oldest and the newest: their milliseconds are when they died, by the server's clock."""
    example: str


def alike(error: str) -> str:
    """An error without what differs from record to record: numbers, and what stands in quotes."""
    return _DIFFERS.sub("…", error[:MAX_TEXT])


async def group_dead(client: Client, key: str, *, match: str | None = None) -> list[DeadGroup]:
    """Dead letters by their errors, the most frequent first; beyond `MAX_GROUPS` kinds the rest is one group."""
    groups: dict[str, DeadGroup] = {}
    async for letter in each_dead(client, key):
        if match is not None and match not in letter.error:
            continue
        error = alike(letter.error)
        if error not in groups and len(groups) >= MAX_GROUPS:
            error = "other errors"
        found = groups.setdefault(error, DeadGroup(letter.stage, error, 0, letter.id, letter.id, letter.error))
        found.count += 1
        found.first = letter.id
    return sorted(groups.values(), key=lambda group: -group.count)


async def replay(client: Client, dead_key: str, replay_key: str, ids: Sequence[str]) -> int:
    """Put dead letters back to where their stage reads them again, each once; returns how many."""
    replayed = 0
    for start in range(0, len(ids), PORTION):
        reply = await call_script(client, "replay", [dead_key, replay_key], ids[start : start + PORTION])
        replayed += reply if isinstance(reply, int) else 0
    return replayed


async def drop_dead(client: Client, key: str, ids: Sequence[str]) -> int:
    """Delete dead letters for good; returns how many there were."""
    dropped = 0
    for start in range(0, len(ids), PORTION):
        reply = await client.call("XDEL", key, *ids[start : start + PORTION])
        dropped += reply if isinstance(reply, int) else 0
    return dropped
