"""A verb's way to its pipeline: load what the command line names, and open a session with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from papyra_flow.config.load import load_pipeline
from papyra_flow.references import find_pipeline, is_reference
from papyra_flow.runtime.process.session import Session, opened
from papyra_flow.spec.pipeline import PipelineSpec

__all__ = ["Session", "load", "session"]


def load(file: Path, redis: str | None, overrides: Sequence[str] | None, *, again: bool = False) -> PipelineSpec:
    """The pipeline of a file, or one in Python, with `--redis` and `--set` over it; one in Python is read `again`."""
    if is_reference(file):
        return find_pipeline(str(file), again=again).spec(overrides=overrides or (), redis=redis)
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
    """A session with the file's pipeline; see `opened`."""
    with opened(load(file, redis, overrides), code=code, checked=checked) as found:
        yield found
