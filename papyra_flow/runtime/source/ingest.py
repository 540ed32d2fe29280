"""What a source's items become: entries for each of its streams, or dead letters.

A stream of records gets an entry for each item, a stream of tables one for all items of a portion. What does not
live here: reading the source, and the commit (`source_worker`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from papyra_flow.connectors.base import BadRecord, Portion, SourceConfig, SourceItem, fields_of
from papyra_flow.error_text import MAX_MESSAGE, shown
from papyra_flow.errors import RecordError
from papyra_flow.records.entries import CODECS, DATA, TABLE_MAGIC, Record, decode_all, decode_json, refuse_large
from papyra_flow.runtime.stage.partitioner import Spread
from papyra_flow.runtime.stage.targets import Targets
from papyra_flow.streams.admin.dead_letters import dead_letter
from papyra_flow.streams.commit.commit import refuse_wide
from papyra_flow.topology.model import StageSpec


@dataclass(slots=True)
class Ingested:
    """Entries to be added, each for a target's number; how many items are in them, and how many were dead."""

    entries: list[tuple[int, Sequence[bytes]]] = field(default_factory=list)
    good: int = 0
    dead: int = 0

    def for_each(self) -> Counter[int]:
        """How many entries there are for each target."""
        return Counter(target for target, _ in self.entries)


class Ingest:
    """Makes entries of a source's items."""

    def __init__(self, spec: StageSpec, config: SourceConfig, targets: Targets) -> None:
        self._stage = spec.name
        self._most = spec.settings.max_record
        self._config = config
        self._dead = targets.dead
        spread = Spread(targets.streams)
        streams = [(number, targets.streams[number]) for number in spread.first.values()]
        self._spread = spread or None
        self._rows = [(number, target) for number, target in streams if not target.holds_tables]
        self._tables = [number for number, target in streams if target.holds_tables]
        self._fixed = None if spread else [number for number, _ in self._rows]
        """The number of the target for each stream of records, where it is the same for all items."""

    def entries(self, portion: Portion) -> Ingested:
        """What a portion of the source becomes."""
        found = Ingested()
        packed: list[tuple[SourceItem, Record]] = []
        numbers = self._at_once(portion.items)
        for place, item in enumerate(portion.items):
            try:
                self._accept(item, found, packed, numbers[place] if numbers is not None else None)
            except RecordError as exc:
                self._bury(item, exc, portion, found)
        if packed:
            self._pack(packed, portion, found)
        return found

    def _at_once(self, items: Sequence[SourceItem]) -> Sequence[Sequence[int]] | None:
        """The number of each item's target for each stream of records; None where they have to be found one by one."""
        spread = self._spread
        if spread is None or not items or not all(isinstance(item, bytes) for item in items):
            return None
        if (records := decode_all(items)) is None:  # type: ignore[arg-type]
            return None
        try:
            return list(zip(*(spread.over([number] * len(items), records) for number, _ in self._rows), strict=True))
        except Exception:  # noqa: BLE001 - `by` does not fit one of them: found one by one
            return None

    def _numbers(self, item: SourceItem, fields: Sequence[bytes]) -> Sequence[int]:
        """The number of an item's target for each stream of records; raises RecordError for one without a partition."""
        if self._spread is None:
            return ()
        own = isinstance(item, list | tuple)  # an entry of another stream, which stays as it is
        found = []
        for number, target in self._rows:
            record = CODECS[target.config.format if own else "json"].decode(fields)
            found.append(self._spread.one(number, record))
        return found

    def _accept(
        self,
        item: SourceItem,
        found: Ingested,
        packed: list[tuple[SourceItem, Record]],
        numbers: Sequence[int] | None,
    ) -> None:
        """Take an item; raises RecordError, with nothing taken, for an invalid or oversized record."""
        if isinstance(item, BadRecord):
            raise RecordError(item.error)
        fields = fields_of(item)
        refuse_large(sum(map(len, fields)) if len(fields) > 2 else len(fields[1]), self._most)
        refuse_wide(fields)
        numbers = numbers or self._fixed or self._numbers(item, fields)
        if self._tables:
            if len(fields) == 2 and fields[1].startswith(TABLE_MAGIC):
                found.entries += [(number, fields) for number in self._tables]
            else:
                packed.append((item, decode_json(fields)))
                found.good -= 1  # counted when its table is made
        for number, (_, target) in zip(numbers, self._rows, strict=True):
            if target.config.format != "json" and isinstance(item, bytes | Mapping):
                found.entries.append((number, CODECS[target.config.format].encode(decode_json(fields))))
            else:
                found.entries.append((number, fields))
        found.good += 1

    def _pack(self, packed: list[tuple[SourceItem, Record]], portion: Portion, found: Ingested) -> None:
        """Make tables of records; one whose values do not fit the others' is dead."""
        from papyra_flow.records.tables import encoded_parts, table_of, usual_types

        good, types = packed, None
        try:
            table = table_of([record for _, record in packed])
        except RecordError:
            types, good = usual_types([record for _, record in packed], {}), []
            for item, record in packed:
                try:
                    table_of([record], types)
                except RecordError as exc:
                    self._bury(item, exc, portion, found)
                else:
                    good.append((item, record))
            table = table_of([record for _, record in good], types)
        found.good += len(good)
        if good:
            for data in encoded_parts(table, self._most):
                found.entries += [(number, (DATA, data)) for number in self._tables]

    def _bury(self, item: SourceItem, exc: RecordError, portion: Portion, found: Ingested) -> None:
        origin, place = self._config.describe(), portion.checkpoint
        try:
            fields = fields_of(item)
        except RecordError:  # which is what it is dead of
            fields = (DATA, shown(item, MAX_MESSAGE).encode())
        if isinstance(item, BadRecord):
            origin, place = item.origin, item.place
        letter = dead_letter(
            fields, error=str(exc), traceback="", stage=self._stage, origin=origin, origin_id=place, deliveries=1
        )
        found.dead += 1
        found.entries.append((self._dead, letter))
