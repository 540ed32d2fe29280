"""A verb's way to its pipeline: load the file, find or start the server, build the topology, leave again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from papyra_flow.config.load import LoadedPipeline, load_pipeline
from papyra_flow.config.secrets import hide_in_logs, without_passwords
from papyra_flow.errors import InvalidPipelineError, PapyraFlowError, ServerError, UsageError
from papyra_flow.runtime.process.run import run_async
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.embedded.server import EMBEDDED, EmbeddedServer
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.topology.build import assemble, build_topology, unwritten
from papyra_flow.topology.model import StageSpec, StreamSpec, Topology

T = TypeVar("T")


@dataclass(slots=True)
class Session:
    """A pipeline and the address of its server, while a verb is at work."""

    loaded: LoadedPipeline
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
        """A stream of the pipeline, by its name or its key."""
        streams = self.topology.streams
        return streams.get(name) or next((found for found in streams.values() if found.key == name), None)

    def key_of(self, name: str) -> str:
        """The key of a stream by name, of `dead:STAGE`, or a key as it is if it looks like one.

        Raises UsageError for a plain word that names no stream of the pipeline.
        """
        if (found := self.stream(name)) is not None:
            return found.key
        if name.startswith("dead:"):
            return self.stage(name.removeprefix("dead:")).dead_key
        if ":" in name:
            return name
        known = ", ".join(stream.name for stream in self.topology.streams.values() if not stream.internal)
        raise UsageError(f"unknown stream {name!r}; the streams are {known}, and dead:STAGE")


def load(file: Path, redis: str | None, overrides: Sequence[str] | None) -> LoadedPipeline:
    """The file, with `--redis` and `--set` over it."""
    return load_pipeline(file, overrides=overrides or (), redis=redis)


@contextmanager
def session(
    file: Path,
    redis: str | None,
    overrides: Sequence[str] | None,
    *,
    code: bool = False,
    checked: bool = True,
) -> Iterator[Session]:
    """A session; an embedded server is started if need be, and left at the end.

    Only `code` imports step functions. Unless it is `checked`, what is wrong with the topology is not asked, either.
    """
    loaded = load(file, redis, overrides)
    if checked:
        _refuse_early(loaded, code=code)
    embedded: EmbeddedServer | None = None
    url = loaded.config.redis
    if url == EMBEDDED:
        embedded = EmbeddedServer(loaded.folder, loaded.config.pipeline)
        embedded.start()
        url = embedded.url
    hide_in_logs(lambda text: without_passwords(loaded.document.secrets.hide(text)))
    try:
        found = Session(loaded, assemble(loaded), url)
        if checked:
            found.topology = build_topology(loaded, existing=_existing(found), code=code)
        yield found
    except PapyraFlowError as exc:
        exc.args = tuple(found.topology.public(part) if isinstance(part, str) else part for part in exc.args)
        raise
    finally:
        if embedded is not None:
            embedded.leave()


def _refuse_early(loaded: LoadedPipeline, *, code: bool) -> None:
    """Raise for problems that no server could cure, before one is started."""
    try:
        build_topology(loaded, code=code)
    except InvalidPipelineError as exc:
        lasting = [problem for problem in exc.problems if problem.code != "unwritten-stream"]
        if lasting:
            raise


def _existing(found: Session) -> frozenset[str]:
    """Keys of streams that no stage of the file writes, as far as the server has them."""
    keys = unwritten(found.topology)
    if not keys:
        return frozenset()
    positions = found.ask(lambda server: look(server.client, keys))
    return frozenset(key for key, position in positions.streams.items() if position.kind == "stream")
