"""Where rows go: routes with conditions, formats, headers, and the arguments of the commit.

A batch whose records are plain JSON and of which nothing became more than one record goes out in whole columns;
anything else entry by entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Literal, TypeAlias

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError, UnknownTargetError
from papyra_flow.expressions.compiled import Compiled, compile_choice, compile_expression, explain
from papyra_flow.records.batch import Batch
from papyra_flow.records.entries import (
    DATA,
    Format,
    Record,
    encode_fields,
    encode_json,
    headers_of,
    refuse_large,
    value_of,
)
from papyra_flow.records.headers import Headers
from papyra_flow.records.json_codec import write_records
from papyra_flow.records.rows import Failures, Note, Rows
from papyra_flow.records.values import refuse_non_finite
from papyra_flow.runtime.stage.processing import Processed
from papyra_flow.steps.functions.calls import failure_of
from papyra_flow.streams.commit.commit import NOWHERE, Commit
from papyra_flow.topology.model import RouteSpec, StreamSpec

Emitted: TypeAlias = tuple[int, Sequence[bytes]]
"""A record that leaves: the number of its target, and its entry's flat fields."""


class Router:
    """A stage's routes; targets are counted from 0 in the order of `targets`."""

    def __init__(
        self,
        routes: Sequence[RouteSpec],
        match: Literal["first", "all"],
        targets: Sequence[StreamSpec],
        source: Format,
        max_record: int,
    ) -> None:
        self._max_record = max_record
        self._index = {target.name: index for index, target in enumerate(targets)}
        self._formats = [target.config.format for target in targets]
        self._json_only = source == "json" and set(self._formats) <= {"json"}
        self._raw_allowed = source == "json"
        self._copy_all = match == "all"
        self._routes: list[tuple[int, Compiled | None, str]] = [
            (self._index[route.stream], compile_expression(route.when) if route.when else None, route.when or "")
            for route in routes
        ]
        self._choice = compile_choice([(self._index[route.stream], route.when) for route in routes], NOWHERE)
        self._needs_headers = self._choice.needs_headers
        plain = len(self._routes) == 1 and self._routes[0][1] is None
        self._only = self._routes[0][0] if plain else None

    @property
    def needs_value(self) -> bool:
        """Whether records have to be decoded in order to be routed."""
        return any(when for _, when, _ in self._routes) or "fields" in self._formats or not self._raw_allowed

    def route(self, batch: Batch, processed: Processed) -> tuple[Commit, Failures]:
        """The commit for those of the batch's entries that did not fail; and what failed on the way out."""
        commit, failures = Commit(), Failures()
        if not self._in_columns(commit, batch, processed):
            self._one_by_one(commit, batch, processed, failures)
        return commit, failures

    # -- whole columns ----------------------------------------------------------------------------------------

    def _in_columns(self, commit: Commit, batch: Batch, processed: Processed) -> bool:
        """Put the batch into the commit at once; False, and nothing done, if it is not as simple as that."""
        rows, data = processed.rows, batch.plain()
        if not self._json_only or data is None or (rows is not None and (rows.notes is not None or not rows.one_each)):
            return False
        targets, payloads = self._chosen(rows, len(batch)), self._payloads(rows, data, processed)
        if targets is None or payloads is None:
            return False
        if NOWHERE in targets:
            payloads = [
                payload if target != NOWHERE else b"" for target, payload in zip(targets, payloads, strict=True)
            ]
        if rows is None or len(rows) == len(batch):
            commit.extend(batch.ids, targets, payloads)
            return True
        became, carried = [NOWHERE] * len(batch), [b""] * len(batch)
        for origin, target, payload in zip(rows.origins, targets, payloads, strict=True):
            became[origin], carried[origin] = target, payload
        if processed.failures:
            lives = [place not in processed.failures for place in range(len(batch))]
            commit.extend(*(list(compress(column, lives)) for column in (batch.ids, became, carried)))  # type: ignore[arg-type]
        else:
            commit.extend(batch.ids, became, carried)
        return True

    def _payloads(self, rows: Rows | None, data: Sequence[bytes], processed: Processed) -> Sequence[bytes] | None:
        """What each row is as JSON, or None if one of them needs a closer look."""
        if rows is None or (processed.raw and len(rows) == len(data)):
            return data
        if processed.raw:
            return [data[origin] for origin in rows.origins]
        payloads = write_records(rows.records)
        return payloads if payloads is not None and max(map(len, payloads), default=0) <= self._max_record else None

    def _chosen(self, rows: Rows | None, size: int) -> Sequence[int] | None:
        """The target of each row, `NOWHERE` for none; or None if that needs a closer look."""
        if self._only is not None:
            return [self._only] * (size if rows is None else len(rows))
        if self._copy_all or rows is None:
            return None
        try:
            return self._choice.over([(r, Headers()) for r in rows.records] if self._needs_headers else rows.records)
        except Exception:  # noqa: BLE001 - the condition does not fit one of them: found one by one
            return None

    # -- entry by entry ---------------------------------------------------------------------------------------

    def _one_by_one(self, commit: Commit, batch: Batch, processed: Processed, failures: Failures) -> None:
        rows = processed.rows
        if rows is None:  # not decoded; where all rows were dropped there are none, which is something else
            rows = Rows([{}] * len(batch), range(len(batch)))
        of_entry: dict[int, list[int]] = {}
        for row, origin in enumerate(rows.origins):
            of_entry.setdefault(origin, []).append(row)
        for place, entry_id in enumerate(batch.ids):
            if place in processed.failures:
                continue
            try:
                put(
                    commit,
                    entry_id,
                    [
                        self._emitted(batch.fields[place], rows.records[row], note, target, raw=processed.raw)
                        for row in of_entry.get(place, ())
                        for note in (rows.notes[row] if rows.notes is not None else None,)
                        for target in self._targets(rows.records[row], note, batch.fields[place])
                    ],
                )
            except Exception as exc:  # noqa: BLE001 - a value may be anything; it is the record's failure
                failures[place] = failure_of(exc)

    def _targets(self, record: Record, note: Note | None, original: Sequence[bytes]) -> Sequence[int]:
        if note is not None and note.to is not None:
            return (named(self._index, note.to),)
        if self._only is not None:
            return (self._only,)
        refuse_non_finite(record)  # before a condition decides on it as if it were a number
        found = []
        pair = (record, self._headers(note, original)) if self._needs_headers else None
        for target, when, text in self._routes:
            try:
                fits = when is None or when.one(pair if when.needs_headers else record)
            except Exception as exc:
                raise explain(text)(exc) from exc
            if fits:
                found.append(target)
                if not self._copy_all:
                    break
        return found

    def _headers(self, note: Note | None, original: Sequence[bytes]) -> Headers:
        own = headers_of(original) if self._raw_allowed else {}
        return Headers.of(own).over(note.headers if note is not None else None)

    def _emitted(
        self, original: Sequence[bytes], record: Record, note: Note | None, target: int, *, raw: bool
    ) -> Emitted:
        if self._formats[target] == "fields":
            fields = encode_fields(record)
        elif raw and self._raw_allowed:
            if (data := value_of(original)) is None:
                return target, list(original)
            fields = [DATA, data]
        else:
            data = encode_json(record)
            if len(data) > self._max_record:
                raise RecordError(f"the record has become {len(data):,} bytes, more than `max_record` allows")
            fields = [DATA, data]
        headers = headers_of(original) if self._raw_allowed else {}
        added = (note.headers if note is not None else None) or {}
        if self._formats[target] == "fields":
            headers = beside_fields(fields, headers, added)
        for name, value in (headers | added).items():
            fields += (name, value)
        if added:
            refuse_large(sum(map(len, fields)), self._max_record)
        return target, fields


def named(index: Mapping[str, int], name: str) -> int:
    """The number of the stream that an `Emit` names; raises UnknownTargetError."""
    if name not in index:
        there = f"; it names {', '.join(index)}" if index else ""
        raise UnknownTargetError(f"Emit: `to` is {shown(name)}, which the stage's `to` does not name{there}")
    return index[name]


def beside_fields(
    fields: Sequence[bytes], headers: dict[bytes, bytes], added: Mapping[bytes, bytes]
) -> dict[bytes, bytes]:
    """The headers that can stand beside a record whose fields are the entry's own: those of other names.

    Raises RecordError for one that a step has `added`: as a field of that name it would take the record's place.
    """
    own = set(fields[::2])
    if taken := own & added.keys():
        name = min(taken).decode()
        raise RecordError(f"Emit: the header {shown(name)} has the name of a field, in a stream with `format: fields`")
    return {name: value for name, value in headers.items() if name not in own} if own & headers.keys() else headers


def put(commit: Commit, entry_id: bytes, records: Sequence[Emitted]) -> None:
    """What an entry became, in the shortest form that the commit has for it."""
    if not records:
        commit.ack(entry_id)
    elif len(records) == 1 and len(records[0][1]) == 2 and records[0][1][0] == DATA:
        commit.forward(entry_id, records[0][0], records[0][1][1])
    else:
        commit.emit(entry_id, records)
