"""`Pipeline`: a pipeline in Python. The same stages, steps and settings as in a file, and the same plan and run.

    pipeline = (
        Pipeline("shop")
        .stage("read", read={"csv": "orders.csv"}, to="orders")
        .stage("price", from_="orders", process=[{"filter": "n > 3"}, add_total], write={"jsonl": "priced.jsonl"})
    )
    pipeline.run()

Everything is declared as in a file, or by the models that a file's parts become; a step may be a function. What is
needed to run one is imported when it is run.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from papyra_flow.errors import InvalidPipelineError
from papyra_flow.spec.builder import Builder
from papyra_flow.spec.given import Finder, Function, function_at, with_functions

if TYPE_CHECKING:
    from papyra_flow.config.documents import Document
    from papyra_flow.runtime.process.options import RunOptions, RunResult
    from papyra_flow.spec.pipeline import PipelineSpec
    from papyra_flow.testing.cases import CaseResult
    from papyra_flow.testing.driver import Driver
    from papyra_flow.topology.plan import Plan

Format = Literal["mermaid", "dot", "svg", "html", "ascii", "json"]


class Pipeline(Builder):
    """A pipeline made in Python: stages are added one by one, then it is planned, drawn, tested or run. Since 0.2.

    Relative paths start from `folder`, which is that of the calling module unless it is given. What is wrong is told
    by InvalidPipelineError, all of it at once, when the pipeline is used.
    """

    def __init__(
        self,
        name: str,
        *,
        redis: str = "embedded",
        description: str | None = None,
        folder: str | Path | None = None,
    ) -> None:
        super().__init__(name, redis=redis, description=description)
        self._file = _calling_file()
        beside = self._file.parent if self._file is not None else Path.cwd()
        self._folder = Path(folder).resolve() if folder is not None else beside
        self._document: Document | None = None
        self.reference: str | None = None
        """How the command line names it, such as `shop:pipeline`."""
        self.finder: Finder | None = None
        """How other processes find its functions, where the command line names it."""

    @classmethod
    def from_yaml(cls, file: str | Path, *, environment: Mapping[str, str] | None = None) -> Self:
        """The pipeline of a file, to be looked at, added to or run; `environment` in place of the process' own.

        Raises InvalidPipelineError for text that cannot be read as a pipeline, UsageError for what is not a path.
        """
        from papyra_flow.config.load import load_document, path_of

        path = path_of(file)
        document = load_document(path, environment=environment)
        if document.problems or not isinstance(document.tree, dict):
            hint = "start with `pipeline: NAME`"
            wrong = document.problem((), "wrong-value", "a pipeline file is a mapping", hint)
            raise InvalidPipelineError(document.problems or [wrong])
        made = cls(str(document.tree.get("pipeline")), folder=path.resolve().parent)
        made._tree, made._document, made._file = document.tree, document, path.resolve()
        return made

    def spec(self, *, overrides: Sequence[str] = (), redis: str | None = None) -> PipelineSpec:
        """What it says, validated; raises InvalidPipelineError with all that is wrong with it.

        `overrides` are `path.to.key=value` as `--set` takes them; `redis` replaces the pipeline's own address.
        """
        from papyra_flow.config.overrides import apply_override
        from papyra_flow.spec.models import PipelineConfig
        from papyra_flow.spec.pipeline import PipelineSpec
        from papyra_flow.spec.positions import Unplaced
        from papyra_flow.spec.secrets import Secrets
        from papyra_flow.spec.validation import validated

        tree = with_functions(self._tree, self.finder)
        for override in overrides:
            apply_override(tree, override)
        if redis is not None:
            tree["redis"] = redis
        positions = self._document or Unplaced(self.name)
        found = validated(tree, positions, self._folder)
        if not isinstance(found, PipelineConfig):
            raise InvalidPipelineError(found)
        secrets = self._document.secrets if self._document is not None else Secrets()
        return PipelineSpec(found, self._folder, positions, secrets, self._file, redis is not None)

    def plan(self, *, redis: str | None = None) -> Plan:
        """What a run would create on the server, and what is there; raises ServerErrors."""
        from papyra_flow.operate.planning import plan_on
        from papyra_flow.runtime.process.event_loop import apart
        from papyra_flow.runtime.process.session import opened

        def planned() -> Plan:
            with opened(self.spec(redis=redis)) as found:
                return found.ask(lambda server: plan_on(server, found.topology))

        return apart(planned)

    def graph(self, format: Format = "mermaid") -> str:  # noqa: A002 - its name on the command line
        """The topology as a picture; no server is needed."""
        from papyra_flow.drawing.picture import picture
        from papyra_flow.drawing.render import render
        from papyra_flow.topology.build import build_topology

        spec = self.spec()
        return render(picture(build_topology(spec, code=False), spec.positions), format)

    def run(
        self,
        *,
        drain: bool | None = None,
        processes: int = 1,
        stages: Sequence[str] | None = None,
        consumer_name: str | None = None,
        redis: str | None = None,
    ) -> RunResult:
        """Create what is missing, and work until all is drained, or until stopped; says what came of it.

        Raises what ended the run before its time. Where an event loop runs already, `run_async` is awaited instead.
        """
        from papyra_flow.runtime.process.event_loop import refuse_inside_a_loop, run_async
        from papyra_flow.runtime.process.run import run_pipeline
        from papyra_flow.runtime.process.session import opened

        refuse_inside_a_loop("run() was called inside a running event loop: use `await pipeline.run_async()`")
        options = _options(drain, processes, stages, consumer_name)
        with opened(self.spec(redis=redis), code=True) as found:
            return _ended(run_async(run_pipeline(found.topology, found.url, options)))

    async def run_async(
        self,
        *,
        drain: bool | None = None,
        processes: int = 1,
        stages: Sequence[str] | None = None,
        consumer_name: str | None = None,
        redis: str | None = None,
    ) -> RunResult:
        """As `run`, on the event loop that runs already. Cancelled, it finishes in-flight batches, as at Ctrl-C."""
        import asyncio

        from papyra_flow.runtime.process.run import run_pipeline
        from papyra_flow.runtime.process.session import opened

        options = _options(drain, processes, stages, consumer_name)
        session = ExitStack()
        found = await asyncio.to_thread(session.enter_context, opened(self.spec(redis=redis), code=True))
        try:
            # A task of its own: what is bound to its logs is bound to nothing else of the caller's.
            return _ended(await asyncio.create_task(run_pipeline(found.topology, found.url, options)))
        finally:
            await asyncio.to_thread(session.close)

    def driver(self) -> Driver:
        """A driver, which takes records through the pipeline without a server; a context manager."""
        from papyra_flow.testing.driver import drive

        return drive(self)

    def test(self, *, match: str | None = None) -> list[CaseResult]:
        """Run the pipeline's own tests (`case`), without a server; only those with `match` in their name."""
        from papyra_flow.testing.cases import run_cases

        return list(run_cases(self.spec(), Path(self.reference or self._file or self.name), match=match))

    def to_yaml(self) -> str:
        """The pipeline as the text of a file in its folder; raises UsageError where a file could not say it."""
        from papyra_flow.config.write import written_yaml

        self.spec()
        references = self._document.references if self._document is not None else {}
        return written_yaml(with_functions(self._tree, None), references)

    def function_at(self, stage: str, number: int) -> Function:
        """The function that is a stage's step; the first is number 0."""
        return function_at(self._tree, stage, number)


def _calling_file() -> Path | None:
    """The file of the module that makes a pipeline; None at a prompt."""
    frame = inspect.currentframe()
    while frame is not None and str(frame.f_globals.get("__name__")) == __name__:
        frame = frame.f_back
    file = frame.f_globals.get("__file__") if frame is not None else None
    return Path(file).resolve() if isinstance(file, str) else None


def _options(drain: bool | None, processes: int, stages: Sequence[str] | None, consumer_name: str | None) -> RunOptions:
    from papyra_flow.runtime.process.options import RunOptions

    return RunOptions(tuple(stages) if stages else None, processes, drain, consumer_name)


def _ended(result: RunResult) -> RunResult:
    if result.error is not None:
        raise result.error
    return result
