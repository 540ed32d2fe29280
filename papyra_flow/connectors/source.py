"""`Source`: the base of a source of your own, a declared model and how it is read in one class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Mapping

from papyra_flow.connectors.base import ConnectorContext, OpenSource, Portion, SourceConfig
from papyra_flow.connectors.calling import done, expected, guarded
from papyra_flow.spec.components import SetupContext


class Source(SourceConfig):
    """Base of a source of your own: its fields are what a file may set, `read` is how it is read. Since 0.2.

    `because` says why its promise holds. Each method may be `async`. What it keeps between calls are attributes that
    begin with `_`; each run has a copy of its own. After a TransientError it is torn down and set up again, at the
    checkpoint that is committed.
    """

    def setup(self, context: SetupContext) -> Awaitable[None] | None:
        """Open what it reads from: a connection, a session."""
        return None

    @abstractmethod
    def resume(self, checkpoint: str) -> Awaitable[None] | None:
        """Go to a checkpoint, which is committed, or to the beginning where it is ''."""

    @abstractmethod
    def read(self, count: int) -> Awaitable[Portion] | Portion:
        """Up to `count` records and the checkpoint after them; waits until there is one, or the source has ended."""

    def restore(self, parts: Mapping[str, str]) -> Awaitable[None] | None:
        """For a source of many parts: the states of all of them by name, before `resume`."""
        return None

    def committed(self, checkpoint: str) -> Awaitable[None] | None:
        """All up to this checkpoint is in the pipeline's streams: a queue may forget it."""
        return None

    def teardown(self) -> Awaitable[None] | None:
        """Close what `setup` opened."""
        return None

    def open(self, context: ConnectorContext) -> OpenSource:
        """A copy of it, at work."""
        return _Opened(self.model_copy(deep=True), context)


class _Opened:
    """A source at work, as the runtime sees it."""

    def __init__(self, source: Source, context: ConnectorContext) -> None:
        self._source = source
        self._context = context
        self._set_up = False
        self._parts: Mapping[str, str] = {}

    def restore(self, parts: Mapping[str, str]) -> None:
        self._parts = parts

    async def start(self, checkpoint: str) -> str:
        with guarded(self._source, "restore"):
            await done(self._source.restore(self._parts))
        self._set_up = True
        with guarded(self._source, "setup"):
            await done(self._source.setup(self._context))
        with guarded(self._source, "resume"):
            await done(self._source.resume(checkpoint))
        return checkpoint

    async def read(self, count: int) -> Portion:
        with guarded(self._source, "read"):
            found = await done(self._source.read(count))
        return self._checked(found)

    def _checked(self, found: Portion) -> Portion:
        """What `read` returned; raises ConfigurationError for what could not be committed."""
        source = self._source
        expected(source, "read", found, Portion, "not a Portion")
        expected(source, "read", found.items, list | tuple, "not a list, as the items of its Portion")
        expected(source, "read", found.checkpoint, str, "not text, as the checkpoint of its Portion")
        expected(source, "read", found.parts, Mapping, "not a dict, as the parts of its Portion")
        for part in found.parts.items():
            for text in part:
                expected(source, "read", text, str, "not text, as the name or the state of a part")
        return found

    async def committed(self, checkpoint: str) -> None:
        with guarded(self._source, "committed"):
            await done(self._source.committed(checkpoint))

    async def close(self) -> None:
        if self._set_up:
            self._set_up = False
            with guarded(self._source, "teardown"):
                await done(self._source.teardown())
