"""`Source`: the base of a source of your own, a declared model and how it is read in one class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Awaitable, Mapping

from papyra_flow.connectors.base import ConnectorContext, OpenSource, Portion, SourceConfig
from papyra_flow.connectors.calling import done, guarded
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

    def restore(self, parts: Mapping[str, str]) -> None:
        """For a source of many parts: the states of all of them by name, before `resume`."""
        return

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

    def restore(self, parts: Mapping[str, str]) -> None:
        self._source.restore(parts)

    async def start(self, checkpoint: str) -> str:
        self._set_up = True
        with guarded(self._source, "setup"):
            await done(self._source.setup(self._context))
        with guarded(self._source, "resume"):
            await done(self._source.resume(checkpoint))
        return checkpoint

    async def read(self, count: int) -> Portion:
        with guarded(self._source, "read"):
            return await done(self._source.read(count))

    async def committed(self, checkpoint: str) -> None:
        with guarded(self._source, "committed"):
            await done(self._source.committed(checkpoint))

    async def close(self) -> None:
        if self._set_up:
            self._set_up = False
            with guarded(self._source, "teardown"):
                await done(self._source.teardown())
