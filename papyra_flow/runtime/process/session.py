"""A pipeline and its server, from start to end: find or start the server, build the topology, leave again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

from papyra_flow.errors import InvalidPipelineError, PapyraFlowError, ServerError, UsageError
from papyra_flow.observe.masking import masked_logs
from papyra_flow.runtime.process.event_loop import run_async
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.spec.secrets import without_passwords
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.embedded.server import EMBEDDED, EmbeddedServer
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.build import assemble, build_topology, unwritten
from papyra_flow.topology.model import StageSpec, Topology
from papyra_flow.topology.streams import NamedStream, StreamSpec

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """A pipeline and the address of its server, while something is done with it."""

    spec: PipelineSpec
    topology: Topology
    url: str

    def ask(self, question: Callable[[Server], Awaitable[T]], *, about: Iterable[str] = ()) -> T:
        """Run one coroutine against the server, which is checked first; raises ServerErrors.

        `about` are the keys that are asked about, where they may be others than the pipeline's own.
        """

        async def asked() -> T:
            server = Server(self.url, key=next(iter(about), self.topology.keys.applied))
            try:
                await server.check()
                return await question(server)
            finally:
                with suppress(ServerError):
                    await server.close()

        return run_async(asked())

    def stage(self, name: str) -> StageSpec:
        """A stage by name; raises UsageError with the names that there are."""
        try:
            return self.topology.stages[name]
        except KeyError:
            raise UsageError(f"unknown stage {name!r}; the stages are {', '.join(self.topology.stages)}") from None

    def stream(self, name: str) -> StreamSpec | None:
        """A stream in Redis of the pipeline, by its name (of a partition such as `orders/3`) or its key."""
        streams = self.topology.streams
        return streams.get(name) or next((found for found in streams.values() if found.key == name), None)

    def named(self, name: str) -> NamedStream | None:
        """A stream of the pipeline by its name in the file."""
        return self.topology.named.get(name)

    def keys_of(self, name: str) -> list[str]:
        """The keys of a stream by name, one or those of its partitions; one of `dead:STAGE`, or of a key as it is.

        Raises UsageError for a plain word that names no stream of the pipeline.
        """
        if (stream := self.stream(name)) is not None:
            return [stream.key]
        if (named := self.named(name)) is not None:
            return named.keys
        if name.startswith("dead:"):
            return [self.stage(name.removeprefix("dead:")).dead_key]
        if ":" in name:
            return [name]
        known = ", ".join(stream.name for stream in self.topology.named.values() if not stream.spec.internal)
        raise UsageError(f"unknown stream {name!r}; the streams are {known}, and dead:STAGE")

    def key_of(self, name: str) -> str:
        """As `keys_of`, of a stream that is one key; raises UsageError for one with partitions, too."""
        keys = self.keys_of(name)
        if len(keys) > 1:
            last = f"{name}/{len(keys) - 1}"
            raise UsageError(f"{name!r} has {len(keys)} partitions: name one of them, {name}/0 to {last}")
        return keys[0]


@contextmanager
def opened(spec: PipelineSpec, *, code: bool = False, checked: bool = True) -> Iterator[Session]:
    """A session; an embedded server is started if need be, and left at the end. Logs hide the pipeline's secrets.

    Only `code` imports step functions. Unless it is `checked`, what is wrong with the topology is not asked, either.
    """
    if checked:
        _refuse_early(spec, code=code)
    with ExitStack() as stack:
        url = spec.config.redis
        if url == EMBEDDED:
            embedded = EmbeddedServer(spec.folder, spec.name)
            embedded.start()
            stack.callback(embedded.leave)
            url = embedded.url
        stack.enter_context(masked_logs(lambda text: without_passwords(spec.secrets.hide(text))))
        try:
            found = Session(spec, assemble(spec), url)
            if checked:
                found.topology = build_topology(spec, existing=_existing(found), code=code)
            yield found
        except PapyraFlowError as exc:
            exc.args = tuple(found.topology.public(part) if isinstance(part, str) else part for part in exc.args)
            raise


def _refuse_early(spec: PipelineSpec, *, code: bool) -> None:
    """Raise for problems that no server could cure, before one is started."""
    try:
        build_topology(spec, code=code)
    except InvalidPipelineError as exc:
        lasting = [problem for problem in exc.problems if problem.code != "unwritten-stream"]
        if lasting:
            raise


def _existing(found: Session) -> frozenset[str]:
    """Keys of streams that no stage of the pipeline writes, as far as the server has them."""
    keys = unwritten(found.topology)
    if not keys:
        return frozenset()
    positions = found.ask(lambda server: look(server.client, keys))
    return frozenset(key for key, position in positions.streams.items() if position.kind == "stream")
