"""Where rows go: routes with conditions, formats, and headers.

A batch whose records are plain JSON and of which nothing became more than one record goes out in whole columns;
anything else entry by entry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Literal

from papyra_flow.error_text import shown
from papyra_flow.errors import RecordError
from papyra_flow.expressions.compiled import compile_choice, compile_expression, explain
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
from papyra_flow.records.rows import Note, Rows
from papyra_flow.records.values import refuse_non_finite
from papyra_flow.runtime.stage.outcome import Became, Emitted, Outcome
from papyra_flow.runtime.stage.processing import Processed
from papyra_flow.runtime.stage.routes import Routes
from papyra_flow.steps.functions.calls import failure_of
from papyra_flow.streams.commit.commit import NOWHERE
from papyra_flow.topology.model import RouteSpec
from papyra_flow.topology.streams import StreamSpec


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
        self._routes = Routes(routes, match, targets, compile_expression)
        self._formats = self._routes.formats
        self._spread = self._routes.spread or None
        self._json_only = source == "json" and set(self._formats) <= {"json"}
        self._raw_allowed = source == "json"
        numbered = zip(self._routes.ways, routes, strict=True)
        self._choice = compile_choice([(way.target, route.when) for way, route in numbered], NOWHERE)
        self._needs_headers = self._choice.needs_headers

    @property
    def needs_value(self) -> bool:
        """Whether records have to be decoded in order to be routed."""
        decides = any(way.when for way in self._routes.ways) or self._spread is not None
        return decides or "fields" in self._formats or not self._raw_allowed

    def route(self, batch: Batch, processed: Processed) -> Outcome:
        """What becomes of the batch: what did not fail leaves, unless it fails on the way out."""
        return self._in_columns(batch, processed) or self._one_by_one(batch, processed)

    # -- whole columns ----------------------------------------------------------------------------------------

    def _in_columns(self, batch: Batch, processed: Processed) -> Outcome | None:
        """The batch in columns, without a look at each record; None if it is not as simple as that."""
        rows, data = processed.rows, batch.plain()
        if not self._json_only or data is None or (rows is not None and (rows.notes is not None or not rows.one_each)):
            return None
        targets, payloads = self._chosen(rows, len(batch)), self._payloads(rows, data, processed)
        if targets is None or payloads is None:
            return None
        if NOWHERE in targets:
            payloads = [
                payload if target != NOWHERE else b"" for target, payload in zip(targets, payloads, strict=True)
            ]
        if rows is None or len(rows) == len(batch):
            return Outcome(batch.ids, targets, payloads)
        became, carried = [NOWHERE] * len(batch), [b""] * len(batch)
        for origin, target, payload in zip(rows.origins, targets, payloads, strict=True):
            became[origin], carried[origin] = target, payload
        if not processed.failures:
            return Outcome(batch.ids, became, carried)
        lives = [place not in processed.failures for place in range(len(batch))]
        return Outcome(
            list(compress(batch.ids, lives)), list(compress(became, lives)), list(compress(carried, lives)),
            failures=processed.failures,
        )  # fmt: skip

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
        only, spread = self._routes.only, self._spread
        if only is not None and spread is None:
            return [only] * (size if rows is None else len(rows))
        if self._routes.copy_all or rows is None:
            return None
        records = rows.records
        try:
            if only is not None and spread is not None:
                return spread.all(only, records)
            found = self._choice.over([(r, Headers()) for r in records] if self._needs_headers else records)
            return found if spread is None else spread.over(found, records)
        except Exception:  # noqa: BLE001 - a condition, or `by`, does not fit one of them: found one by one
            return None

    # -- entry by entry ---------------------------------------------------------------------------------------

    def _one_by_one(self, batch: Batch, processed: Processed) -> Outcome:
        outcome = Outcome(failures=dict(processed.failures))
        rows = processed.rows
        if rows is None:  # not decoded; where all rows were dropped there are none, which is something else
            rows = Rows([{}] * len(batch), range(len(batch)))
        of_entry: dict[int, list[int]] = {}
        for row, origin in enumerate(rows.origins):
            of_entry.setdefault(origin, []).append(row)
        for place in range(len(batch)):
            if place in processed.failures:
                continue
            try:
                emitted = [
                    self._emitted(batch.fields[place], rows.records[row], note, target, raw=processed.raw)
                    for row in of_entry.get(place, ())
                    for note in (rows.notes[row] if rows.notes is not None else None,)
                    for target in self._targets(rows.records[row], note, batch.fields[place])
                ]
            except Exception as exc:  # noqa: BLE001 - a value may be anything; it is the record's failure
                outcome.failures[place] = failure_of(exc)
            else:
                outcome.became[place] = Became(emitted, dropped=0 if emitted else 1)
        return outcome

    def _targets(self, record: Record, note: Note | None, original: Sequence[bytes]) -> Sequence[int]:
        found, spread = self._streams(record, note, original), self._spread
        return found if spread is None else [spread.one(target, record) for target in found]

    def _streams(self, record: Record, note: Note | None, original: Sequence[bytes]) -> Sequence[int]:
        if note is not None and note.to is not None:
            return (self._routes.named(note.to),)
        if self._routes.only is not None:
            return (self._routes.only,)
        refuse_non_finite(record)  # before a condition decides on it as if it were a number
        found = []
        pair = (record, self._headers(note, original)) if self._needs_headers else None
        for target, when, text in self._routes.ways:
            try:
                fits = when is None or when.one(pair if when.needs_headers else record)
            except Exception as exc:
                raise explain(text)(exc) from exc
            if fits:
                found.append(target)
                if not self._routes.copy_all:
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
