"""Tables of a `lookup` that lie on a Redis server: a hash, or what another stage keeps in its state.

They are asked with one HMGET a batch (https://redis.io/docs/latest/commands/hmget/), one for each partition where a
table has several, and so always answer what holds now.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeAlias

from papyra_flow.error_text import shown
from papyra_flow.errors import ConnectorError, RecordError, ServerError, UndecodableError
from papyra_flow.records.entries import Record, Value
from papyra_flow.records.json_codec import read_json
from papyra_flow.spec.tables import ReadState, TableRef
from papyra_flow.state.event_time import event_time
from papyra_flow.state.fields import field_of, key_text, partition_of
from papyra_flow.state.record_texts import record_of
from papyra_flow.state.versions import Versions, held_at, newest
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.connection.server import Server

_Place: TypeAlias = tuple[int, bytes]
"""The number of a partition, and a field of its hash."""


class Hashes:
    """Hashes of one server; its address is not looked at before the stage starts."""

    def __init__(self, url: str, keys: Sequence[str], label: str, read: ReadState | None = None) -> None:
        """`label` is what messages call them; `read` is asked in place of the server."""
        self._read = read
        self._url = url
        self._keys = tuple(keys)
        self._label = label
        self._retry_policy = RetryPolicy(f"looking up in {label}")
        self._server: Server | None = None

    async def start(self) -> None:
        """Make the connection, which connects when it is needed."""
        if self._read is None:
            self._server = Server(self._url, key=self._keys[0])

    async def values(self, number: int, fields: Sequence[str | bytes]) -> Sequence[object]:
        """The values of fields of one of the hashes; a server that goes away is waited for: no record is to blame."""
        if self._read is not None:
            return await self._read(self._keys[number], fields)
        if (server := self._server) is None:
            raise ConnectorError("lookup: the step was not started")
        try:
            reply = await self._retry_policy.keep_trying(
                lambda: server.client.call("HMGET", self._keys[number], *fields)
            )
        except ServerError as exc:
            raise type(exc)(f"cannot look up in {self._label}: {exc}") from exc
        return reply if isinstance(reply, list) else []

    async def close(self) -> None:
        """Close the connection."""
        if self._server is not None:
            await self._server.close()


class HashTable:
    """A hash as a table: fields are keys, values JSON or text."""

    def __init__(self, url: str, key: str) -> None:
        self._hashes = Hashes(url, (key,), f"the hash {key}")
        self.start, self.close = self._hashes.start, self._hashes.close

    async def rows(self, keys: Sequence[object]) -> list[Value | RecordError]:
        """The rows of keys, None for one that has none; a key that is a failure is its row's."""
        values = await self._hashes.values(0, ["" if isinstance(key, RecordError) else str(key) for key in keys])
        return [
            key if isinstance(key, RecordError) else None if value is None else _hash_value(value)
            for key, value in zip(keys, values, strict=True)
        ]


class StageTable:
    """A table that a stage keeps: what it has committed by now."""

    def __init__(self, url: str, stage: str, table: TableRef, read: ReadState | None = None) -> None:
        """`read` is asked in place of the server at `url`."""
        self._hashes = Hashes(url, table.hashes, f"the table of {stage!r}", read)
        self._partitions = len(table.hashes)
        self._kept = table.kept
        self.start, self.close = self._hashes.start, self._hashes.close

    async def rows(
        self, keys: Sequence[object], times: Sequence[object] | None = None
    ) -> list[Record | RecordError | None]:
        """The rows of keys, each a record of its own, that hold now, or that held at times; None for one that has none.

        A key or a time that is a failure, or none, is its row's.
        """
        places = [self._place(key) for key in keys]
        moments = [0] * len(keys) if times is None else [_moment(time) for time in times]
        found = await self._load([place for place in places if isinstance(place, tuple)])
        rows: list[Record | RecordError | None] = []
        for place, moment in zip(places, moments, strict=True):
            if isinstance(place, RecordError):
                rows.append(place)
            elif isinstance(moment, RecordError):
                rows.append(moment)
            elif place is None or not (versions := found[place]):
                rows.append(None)
            else:
                text = newest(versions) if times is None else held_at(versions, moment, self._kept.ttl)
                rows.append(None if text is None else record_of(text))
        return rows

    def _place(self, key: object) -> _Place | RecordError | None:
        """The partition and the field of a key; None for null."""
        if isinstance(key, RecordError):
            return key
        parts = [key]
        if self._kept.parts > 1:
            if not isinstance(key, list | tuple) or len(key) != self._kept.parts:
                return RecordError(f"lookup: the key has to be a list of {self._kept.parts} values, not {shown(key)}")
            parts = list(key)
        if any(part is None for part in parts):
            return None
        try:
            number = partition_of(key_text(key), self._partitions) if self._partitions > 1 else 0
            return number, field_of(parts)
        except RecordError as exc:
            return exc

    async def _load(self, places: Sequence[_Place]) -> dict[_Place, Versions]:
        """What the server has at places."""
        wanted: dict[int, list[bytes]] = {}
        for number, field in dict.fromkeys(places):
            wanted.setdefault(number, []).append(field)
        replies = await asyncio.gather(*(self._hashes.values(number, fields) for number, fields in wanted.items()))
        return {
            (number, field): () if value is None else read_json(value)  # type: ignore[arg-type]
            for (number, fields), values in zip(wanted.items(), replies, strict=True)
            for field, value in zip(fields, values, strict=True)
        }


def _moment(time: object) -> int | RecordError:
    if isinstance(time, RecordError):
        return time
    try:
        return event_time(time)
    except RecordError as exc:
        return exc


def _hash_value(value: object) -> Value:
    try:
        decoded: Value = read_json(value)  # type: ignore[arg-type]
    except UndecodableError:
        return value.decode(errors="replace") if isinstance(value, bytes) else str(value)
    return decoded
