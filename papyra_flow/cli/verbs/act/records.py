"""`add` and `tap`: put records into a stream, and see what is in one, without a group."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer

from papyra_flow.cli.options import File, Json, Redis, Set, StreamName
from papyra_flow.errors import UsageError
from papyra_flow.escapes import visible_json
from papyra_flow.stdout import write_whole

if TYPE_CHECKING:
    from papyra_flow.cli.session import Session
    from papyra_flow.records.entries import Entry, Format, Record
    from papyra_flow.streams.connection.server import Server

    Keyed = tuple[str, Record]
    KeyFor = Callable[[Record], str]

BATCH = 500
SMALLEST = 20
"""Entries that are read at once of one of many partitions."""
BLOCK_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add the verbs."""
    app.command()(add)
    app.command()(tap)


def add(
    file: File,
    stream: StreamName,
    records: Annotated[
        list[str] | None,
        typer.Argument(metavar="[JSON]...", help="JSON objects; `-` or none: lines from stdin.", show_default=False),
    ] = None,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Put records into a stream. Stops at the first line that is not a JSON object, and says how many were added."""
    from papyra_flow.cli.console import print_json
    from papyra_flow.cli.session import session

    given = records if records and records != ["-"] else None
    with session(file, redis, set_) as found:
        key, form, key_for = _target(found, stream)
        if given is not None:
            checked = [_record(text, f"argument {number}", 0, key_for) for number, text in enumerate(given, start=1)]
            added, last = found.ask(lambda server: _add(server, iter([checked]), form), about=(key,))
        else:
            added, last = found.ask(lambda server: _add(server, _from_stdin(key_for), form), about=(key,))
    if json:
        print_json({"stream": stream, "key": key, "added": added, "last_id": last})
    else:
        print(f"added {added:,} to {key}")


def _target(found: Session, stream: str) -> tuple[str, Format, KeyFor]:
    """A stream's key as it is shown, its format, and what says the key that a record goes to."""
    from papyra_flow.runtime.stage.partitioner import Partitioner

    spec, named = found.stream(stream), found.named(stream)
    if spec is not None and spec.number is not None:
        raise UsageError(f"{spec.name} is a partition: add to {spec.of}, whose `by` says where a record goes")
    if named is None or (partitioner := Partitioner.of(named.spec)) is None:
        key = found.key_of(stream)
        return key, spec.config.format if spec is not None else "json", lambda _: key
    return named.key, named.spec.config.format, lambda record: named.keys[partitioner.one(record)]


def tap(
    file: File,
    stream: StreamName,
    redis: Redis = None,
    set_: Set = None,
    json: Json = False,
    start: Annotated[
        str,
        typer.Option("--from", metavar="ID|TIME", help="An entry id, or a time such as 2026-01-31T12:00."),
    ] = "0",
    count: Annotated[
        int | None, typer.Option("--count", "-n", min=1, help="Maximum entries to show.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for new ones, until interrupted.")] = False,
) -> None:
    """Print a stream's records: one JSON line for each entry, with its id; an entry that is a table has `rows`."""
    from papyra_flow.cli.session import session
    from papyra_flow.cli.stopping import until_stopped
    from papyra_flow.cli.stream_position import entry_id

    shown: list[dict[str, object]] = []
    keys: list[str] = []
    gather = json and not follow

    seen = 0

    def show(entries: Sequence[Entry]) -> None:
        nonlocal seen
        seen += len(entries)
        for entry in entries:
            if gather:
                shown.append(_shown(entry, keys))
            else:
                _print_line(_shown(entry, keys))

    first = entry_id(start, "--from")
    if first == "$" and not follow:
        raise UsageError("--from latest needs --follow")
    with until_stopped() if follow else nullcontext(), session(file, redis, set_) as found:
        keys += found.keys_of(stream)
        found.ask(lambda server: _tap(server, keys, first, count, follow, show), about=keys)
        if not seen:
            _say_why_empty(found, stream, keys)
    if gather:
        from papyra_flow.cli.console import print_json

        print_json(shown)


def _say_why_empty(found: Session, name: str, keys: list[str]) -> None:
    """On stderr: whether there never was anything, or it is gone."""
    from papyra_flow.streams.groups.snapshot import look

    positions = found.ask(lambda server: look(server.client, keys), about=keys).streams.values()
    key, length = keys[0] if len(keys) == 1 else name, sum(position.length for position in positions)
    added = sum(position.added or 0 for position in positions if position.kind != "none")
    if not added:
        why = f"nothing was ever added to {key}"
    elif length:
        why = f"{key} has {length:,} entries, none of them in this range"
    else:
        why = f"{key} is empty: all of the {added:,} entries that were added are acknowledged and trimmed"
        why += ", or deleted (`retain` keeps them)"
    print(why, file=sys.stderr)


async def _tap(server: Server, keys: list[str], first: str, count: int | None, follow: bool, show: object) -> None:
    from papyra_flow.streams.admin.merged import Merged

    reading, left = Merged(server.client, keys, first), count
    if first == "$":
        await reading.begin_at_the_end()
    while left is None or left > 0:
        size = min(max(SMALLEST, BATCH // len(keys)), left or BATCH)
        entries = await reading.read(size)
        if entries:
            show(entries[:left])  # type: ignore[operator]
            left = left - len(entries) if left is not None else None
        elif not follow:
            return
        else:
            await reading.wait(size, seconds=BLOCK_SECONDS)


async def _add(server: Server, batches: Iterator[list[Keyed]], form: Format) -> tuple[int, str | None]:
    """Add records in the stream's format; returns how many, and the last entry's id."""
    from papyra_flow.errors import ServerError
    from papyra_flow.records.formats import entries_of_records

    added, last = 0, None
    for batch in batches:
        entries = entries_of_records([record for _, record in batch], form)
        adding: list[Sequence[str | bytes]] = [
            ("XADD", key, "*", *fields) for (key, _), fields in zip(batch, entries, strict=False)
        ]
        for reply in await server.client.call_many(adding):
            if isinstance(reply, ServerError):
                raise reply
            last = reply.decode() if isinstance(reply, bytes) else str(reply)
        added += len(batch)
    return added, last


def _from_stdin(key_for: KeyFor) -> Iterator[list[Keyed]]:
    """Batches of records from stdin; all good lines are handed out before the bad one is complained about."""
    added = 0
    waiting: list[Keyed] = []
    problem: UsageError | None = None
    for number, line in enumerate(sys.stdin.buffer, start=1):
        if not line.strip():
            continue
        try:
            waiting.append(_record(line, f"stdin, line {number}", added + len(waiting), key_for))
        except UsageError as exc:
            problem = exc
            break
        if len(waiting) == BATCH:
            yield waiting
            added, waiting = added + len(waiting), []
    if waiting:
        yield waiting
    if problem is not None:
        raise problem


def _record(text: str | bytes, place: str, before: int, key_for: KeyFor) -> Keyed:
    """A record, and the key that it goes to."""
    from papyra_flow.errors import RecordError, UndecodableError
    from papyra_flow.records.json_codec import read_json

    try:
        record = read_json(text)
    except UndecodableError as exc:
        raise UsageError(f"{place} is not JSON: {exc}; {before} records were added before it") from exc
    if not isinstance(record, dict):
        raise UsageError(f"{place} is a JSON {type(record).__name__}, not an object; {before} were added before it")
    try:
        return key_for(record), record
    except RecordError as exc:
        raise UsageError(f"{place}: {exc}; {before} records were added before it") from exc


def _shown(entry: Entry, keys: Sequence[str]) -> dict[str, object]:
    """An entry of a stream, or of one of its partitions."""
    from papyra_flow.errors import UndecodableError
    from papyra_flow.records.json_codec import read_json
    from papyra_flow.streams.admin.display import rows_in

    document: dict[str, object] = {"id": entry.id.decode()}
    if len(keys) > 1:
        document["partition"] = keys.index(entry.key)
    data = entry.data
    if (rows := rows_in(data)) is not None:
        document["rows"] = rows
    elif data is not None:
        try:
            document["data"] = read_json(data)
        except UndecodableError:
            document["data"] = data.decode(errors="replace")
    headers = {
        entry.fields[i].decode(errors="replace"): entry.fields[i + 1].decode(errors="replace")
        for i in range(0, len(entry.fields), 2)
        if data is None or entry.fields[i] != b"data"
    }
    if headers:
        document["headers" if data is not None else "fields"] = headers
    return document


def _print_line(document: dict[str, object]) -> None:
    from papyra_flow.streams.admin.display import shown_json

    write_whole(visible_json(shown_json(document)) + b"\n")
