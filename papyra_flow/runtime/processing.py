"""A batch through a stage's steps: entries in, items out, each failure kept with its entry.

An item knows the entry that it came from, because the entry is what is acknowledged: if anything made of it
fails, the entry fails as a whole and nothing of it is forwarded. What does not live here: where items go
(`routing`) and what becomes of failures (`failure`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from pydantic import BaseModel

from papyra_flow.errors import RecordError
from papyra_flow.steps.base import Each, Step, Whole
from papyra_flow.steps.emit import Emit
from papyra_flow.streams.entries import Entry, Record


class Item:
    """A record on its way through a stage. `raw` says that its entry's bytes still stand for it."""

    __slots__ = ("entry", "headers", "raw", "to", "value")

    def __init__(self, entry: Entry, value: Record) -> None:
        self.entry = entry
        self.value = value
        self.raw = True
        self.to: str | None = None
        self.headers: dict[bytes, bytes] | None = None


class Processed:
    """What became of a batch: items in order, and the exception of each entry that failed."""

    __slots__ = ("failed", "items")

    def __init__(self, items: list[Item], failed: dict[Entry, Exception]) -> None:
        self.items = [item for item in items if item.entry not in failed] if failed else items
        self.failed = failed


class Processor:
    """A stage's steps in order. Without a decoder, records are passed on as they are."""

    def __init__(self, steps: Sequence[Step], decode: Callable[[Entry], Record] | None) -> None:
        self._steps = steps
        self._decode = decode

    async def start(self) -> None:
        """Start the steps that have something to start."""
        for step in self._steps:
            if isinstance(step, Whole):
                await step.start()

    async def close(self) -> None:
        """Close what the steps opened."""
        for step in self._steps:
            if isinstance(step, Whole):
                await step.close()

    async def process(self, entries: Sequence[Entry]) -> Processed:
        """Run the steps over a batch; never raises for a record's own failure."""
        failed: dict[Entry, Exception] = {}
        items = self._decoded(entries, failed)
        for step in self._steps:
            items = _each(step, items, failed) if isinstance(step, Each) else await _whole(step, items, failed)
        return Processed(items, failed)

    def _decoded(self, entries: Sequence[Entry], failed: dict[Entry, Exception]) -> list[Item]:
        decode = self._decode
        if decode is None:
            return [Item(entry, {}) for entry in entries]
        items = []
        for entry in entries:
            try:
                items.append(Item(entry, decode(entry)))
            except RecordError as exc:
                failed[entry] = exc
        return items


def _each(step: Each, items: Iterable[Item], failed: dict[Entry, Exception]) -> list[Item]:
    apply, unchanged = step.apply, step.unchanged
    out: list[Item] = []
    for item in items:
        try:
            result = apply(item.value)
            if result is None:
                continue
            if unchanged:
                out.append(item)
            elif type(result) is dict:
                item.value = result
                item.raw = False
                out.append(item)
            else:
                out.extend(_expanded(item, result))
        except Exception as exc:  # noqa: BLE001 - a step may raise anything; it is the record's failure
            failed[item.entry] = step.explain(exc) if step.explain and not isinstance(exc, RecordError) else exc
    return out


async def _whole(step: Whole, items: list[Item], failed: dict[Entry, Exception]) -> list[Item]:
    if not items:
        return items
    try:
        results = await step.apply([item.value for item in items])
    except Exception as exc:  # noqa: BLE001 - the batch failed as one: find out whose fault it is
        if len(items) == 1:
            failed[items[0].entry] = exc
            return []
        return [out for item in items for out in await _whole(step, [item], failed)]
    out: list[Item] = []
    for item, result in zip(items, results, strict=True):
        try:
            if isinstance(result, BaseException):
                raise result
            if result is not None:
                out.extend(_expanded(item, result))
        except Exception as exc:  # noqa: BLE001 - as above
            failed[item.entry] = exc
    return out


def _expanded(item: Item, result: object) -> Iterator[Item]:
    """The items that a step's result stands for: a record, a model, an `Emit`, or an iterable of those."""
    if isinstance(result, Mapping | BaseModel | Emit):
        yield _made(item, result)
    elif isinstance(result, Iterable) and not isinstance(result, str | bytes):
        for part in result:
            if part is not None:
                yield _made(item, part)
    else:
        raise RecordError(f"a step returned {result!r:.80}, which is no record")


def _made(origin: Item, part: object) -> Item:
    made = Item(origin.entry, {})
    made.raw = False
    made.to, made.headers = origin.to, origin.headers
    if isinstance(part, Emit):
        made.to = part.to or made.to
        if added := part.all_headers():
            made.headers = {**(made.headers or {}), **added}
        part = part.record
    if isinstance(part, BaseModel):
        made.value = part.model_dump(mode="json")
    elif isinstance(part, Mapping):
        made.value = dict(part)
    else:
        raise RecordError(f"a step returned {part!r:.80}, which is no record")
    return made
