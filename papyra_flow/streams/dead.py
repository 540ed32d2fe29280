"""Dead letters: an entry that failed, as it was, with what is known of its failure.

The stream `{pipeline}:@dead:STAGE` holds one entry for each: the original fields untouched, and beside them
fields that start with `@`. What does not live here: when a record is dead (`papyra_flow.runtime`).
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from papyra_flow.streams.commit import MAX_FIELDS
from papyra_flow.streams.entries import Entry
from papyra_flow.streams.reading import entries_of
from papyra_flow.streams.scripts import call_script
from papyra_flow.streams.shown import text_of
from papyra_flow.streams.wire import Wire

_MARK = b"@"
_PACKED = b"@packed"
"""Holds the fields of an entry that has too many for a commit; such a dead letter cannot be put back."""
MAX_TEXT = 16 * 1024
PORTION = 200


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
        name = entry.fields[index]
        if name == _PACKED:
            fields += (base64.b64decode(part) for part in base64.b64decode(entry.fields[index + 1]).split(b"\0"))
        elif name.startswith(_MARK * 2):
            fields += (name[1:], entry.fields[index + 1])
        elif not name.startswith(_MARK):
            fields += (name, entry.fields[index + 1])
    return fields


def read_dead_letter(entry: Entry) -> DeadLetter:
    """A dead letter from its entry; facts that are missing are empty."""
    facts = {entry.fields[i]: entry.fields[i + 1] for i in range(0, len(entry.fields), 2)}

    def fact(name: bytes) -> str:
        return facts.get(_MARK + name, b"").decode(errors="replace")

    original = original_fields(entry)
    return DeadLetter(
        id=entry.id.decode(),
        error=fact(b"error"),
        traceback=fact(b"traceback"),
        stage=fact(b"stage"),
        origin=fact(b"stream"),
        origin_id=fact(b"id"),
        deliveries=int(fact(b"deliveries") or 0),
        fields={original[i].decode(errors="replace"): text_of(original[i + 1]) for i in range(0, len(original), 2)},
    )


async def find_dead(
    wire: Wire, key: str, *, ids: Sequence[str] = (), match: str | None = None, limit: int | None = None
) -> list[DeadLetter]:
    """Dead letters in order: only those with one of `ids`, or with `match` in their error; at most `limit`."""
    letters: list[DeadLetter] = []
    start = "-"
    while limit is None or len(letters) < limit:
        reply = await wire.call("XRANGE", key, start, "+", "COUNT", PORTION)
        page = [read_dead_letter(entry) for entry in entries_of([[key.encode(), reply]])]
        if not page:
            break
        start = f"({page[-1].id}"
        letters += [x for x in page if (not ids or x.id in ids) and (match is None or match in x.error)]
    return letters[:limit]


async def replay(wire: Wire, dead_key: str, replay_key: str, ids: Sequence[str]) -> int:
    """Put dead letters back to where their stage reads them again, each once; returns how many."""
    replayed = 0
    for start in range(0, len(ids), PORTION):
        reply = await call_script(wire, "replay", [dead_key, replay_key], ids[start : start + PORTION])
        replayed += reply if isinstance(reply, int) else 0
    return replayed


async def drop_dead(wire: Wire, key: str, ids: Sequence[str]) -> int:
    """Delete dead letters for good; returns how many there were."""
    dropped = 0
    for start in range(0, len(ids), PORTION):
        reply = await wire.call("XDEL", key, *ids[start : start + PORTION])
        dropped += reply if isinstance(reply, int) else 0
    return dropped
