"""Which partition of a stream each record goes to: `by` evaluated, for a batch at once or for one record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from zlib import crc32

from papyra_flow.errors import RecordError
from papyra_flow.expressions.compiled import Compiled, compile_expression, explain
from papyra_flow.records.formats import entries_of_records
from papyra_flow.state.fields import key_text, partition_of
from papyra_flow.topology.streams import StreamSpec


class Partitioner:
    """The partitions of one stream."""

    def __init__(self, stream: str, by: Sequence[str], total: int) -> None:
        self._stream = stream
        self._by = [(text, compile_expression(text)) for text in by]
        self._total = total

    @classmethod
    def of(cls, stream: StreamSpec) -> Partitioner | None:
        """That of the stream of the file that a stream in Redis is a part of; None where that has no partitions."""
        return cls(stream.of, stream.config.by, stream.total) if stream.number is not None else None

    def over(self, records: Sequence[Any]) -> list[int]:
        """The number of each record's partition; raises anything if one of the records has none."""
        total, columns = self._total, [compiled.over(records) for _, compiled in self._by]
        if len(columns) > 1:
            return [partition_of(self._text(values), total) for values in zip(*columns, strict=True)]
        return [
            crc32(value.encode() if value.__class__ is str else self._text((value,))) % total for value in columns[0]
        ]

    def one(self, record: Mapping[str, Any]) -> int:
        """The number of a record's partition; raises RecordError if it has none."""
        try:
            return partition_of(self._text([self._value(part, record) for part in self._by]), self._total)
        except RecordError as exc:
            raise RecordError(f"the record has no partition of {self._stream!r}: {exc}") from exc

    def _value(self, part: tuple[str, Compiled], record: Mapping[str, Any]) -> object:
        text, compiled = part
        try:
            return compiled.one(record)
        except Exception as exc:
            raise explain(text)(exc) from exc

    def _text(self, values: Sequence[object]) -> bytes:
        if None in values:
            text, _ = self._by[values.index(None)]
            raise RecordError(f"`{text}` is null")
        return key_text(values[0] if len(values) == 1 else list(values))


def keyed_entries(
    records: Sequence[Mapping[str, Any]], parts: Sequence[StreamSpec]
) -> list[tuple[str, Sequence[bytes]]]:
    """Records as entries of a stream, each with the key of its partition among `parts`; raises RecordError."""
    entries = entries_of_records(records, parts[0].config.format)
    if (partitioner := Partitioner.of(parts[0])) is None:
        return [(parts[0].key, fields) for fields in entries]
    return [(parts[partitioner.one(record)].key, fields) for record, fields in zip(records, entries, strict=True)]


class Spread:
    """Where records go among streams in Redis that are counted from 0, partitions of a stream one after the other."""

    def __init__(self, targets: Sequence[StreamSpec]) -> None:
        self.first: dict[str, int] = {}
        """The number of the first partition of each stream of the file."""
        for number, stream in enumerate(targets):
            self.first.setdefault(stream.of, number)
        self._by_first: dict[int, Partitioner] = {}
        for number in self.first.values():
            if (partitioner := Partitioner.of(targets[number])) is not None:
                self._by_first[number] = partitioner

    def __bool__(self) -> bool:
        """Whether any of the streams has partitions."""
        return bool(self._by_first)

    def one(self, target: int, record: Mapping[str, Any]) -> int:
        """The number of the stream for a record that goes to the one that begins at `target`; raises RecordError."""
        partitioner = self._by_first.get(target)
        return target if partitioner is None else target + partitioner.one(record)

    def all(self, target: int, records: Sequence[Any]) -> list[int]:
        """The same for records that all go there; raises anything if one of them has no partition."""
        return [target + number for number in self._by_first[target].over(records)]

    def over(self, targets: Sequence[int], records: Sequence[Any]) -> list[int]:
        """The same for records that go to one of `targets` each."""
        found = list(targets)
        for first, partitioner in self._by_first.items():
            places = [place for place, target in enumerate(targets) if target == first]
            for place, number in zip(places, partitioner.over([records[place] for place in places]), strict=True):
                found[place] = first + number
        return found
