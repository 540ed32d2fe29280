"""What methods of a source or sink of the user's own return or raise: what means nothing is refused in one sentence."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from papyra_flow import (
    BadRecord,
    ConfigurationError,
    ConnectorError,
    Portion,
    RecordError,
    RecordsError,
    Sink,
    Source,
    TransientError,
)
from papyra_flow.connectors.base import ConnectorContext, fields_of

# What a stranger writes who has not read the annotations.
ANY_PORTION: Any = Portion
ANY_BAD: Any = BadRecord
ANY_TRANSIENT: Any = TransientError
ANY_REFUSED: Any = RecordsError


class Given(Source):
    """A source whose `read` does what it is told."""

    because = "it is a test"
    _does: Callable[[], Any] = lambda: None
    _parts: Any = None

    async def restore(self, parts: Any) -> None:
        self._parts = parts

    def resume(self, checkpoint: str) -> None:
        self._resumed = checkpoint

    def read(self, count: int) -> Any:
        return self._does()


class Taken(Sink):
    """A sink whose `write` does what it is told."""

    because = "it is a test"
    _does: Callable[[], Any] = lambda: None

    def write(self, records: Any, keys: Any) -> Any:
        return self._does()


def raised(error: Callable[[], BaseException]) -> Callable[[], object]:
    def does() -> object:
        raise error()

    return does


def read(does: Callable[[], Any]) -> Portion:
    async def opened() -> Portion:
        given = Given()
        given._does = does
        source = given.open(ConnectorContext(Path()))
        await source.start("")
        return await source.read(5)

    return asyncio.run(opened())


def written(does: Callable[[], Any]) -> str:
    async def opened() -> str:
        taken = Taken()
        taken._does = does
        sink = taken.open(ConnectorContext(Path()))
        await sink.start("")
        return await sink.write([(b"1-0", b"{}")])

    return asyncio.run(opened())


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "`read` returned None, not a Portion"),
        ([{"n": 1}], "not a Portion"),
        (ANY_PORTION(({"n": n} for n in range(3)), "1"), "not a list, as the items"),
        (ANY_PORTION({"n": 1}, "1"), "not a list, as the items"),
        (ANY_PORTION([], None), "`read` returned None, not text, as the checkpoint"),
        (ANY_PORTION([], 1), "`read` returned 1, not text, as the checkpoint"),
        (ANY_PORTION([], "1", parts={"a": 1}), "not text, as the name or the state of a part"),
        (ANY_PORTION([], "1", parts=["a"]), "not a dict, as the parts"),
    ],
)
def test_what_is_no_portion_is_refused_in_one_sentence(found: object, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        read(lambda: found)


@pytest.mark.parametrize("found", [3, ["1"], (n for n in range(3)), object()])
def test_a_sink_that_returns_no_checkpoint_and_not_nothing_has_not_written(found: object) -> None:
    with pytest.raises(ConfigurationError, match="neither a checkpoint, which is text, nor None"):
        written(lambda: found)


@pytest.mark.parametrize("use", [read, written])
@pytest.mark.parametrize(
    ("error", "message"),
    [
        (lambda: SystemExit(3), "failed: SystemExit: 3"),
        (lambda: ANY_TRANSIENT("503", retry_after="120"), "`retry_after` has to be a number of seconds, not '120'"),
        (lambda: ANY_REFUSED(["a"]), "RecordsError takes a dict"),
        (lambda: ANY_REFUSED({"0": "a"}), "RecordsError takes a dict"),
        (lambda: ANY_BAD("text", "bad", "here", "1"), "BadRecord: `raw` has to be bytes"),
    ],
)
def test_whatever_a_method_raises_is_a_connector_error(
    use: Callable[[Callable[[], object]], object], error: Callable[[], BaseException], message: str
) -> None:
    with pytest.raises(ConnectorError, match=message):
        use(raised(error))


@pytest.mark.parametrize("item", [None, 3, "text", {1}])
def test_what_is_no_item_becomes_a_dead_letter(item: Any) -> None:
    with pytest.raises(RecordError, match="is not a dict, an Emit or a BadRecord"):
        fields_of(item)


def test_an_async_restore_is_awaited_before_resume() -> None:
    async def started() -> Any:
        opened: Any = Given().open(ConnectorContext(Path()))
        opened.restore({"a": "1"})
        await opened.start("")
        return opened._source._parts

    assert asyncio.run(started()) == {"a": "1"}
