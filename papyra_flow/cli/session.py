"""A verb's way to its pipeline: load what the command line names, and open a session with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from papyra_flow.config.load import load_pipeline
from papyra_flow.runtime.process.session import Session, opened
from papyra_flow.spec.pipeline import PipelineSpec

__all__ = ["Session", "load", "session"]


def load(file: Path, redis: str | None, overrides: Sequence[str] | None) -> PipelineSpec:
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
    """A session with the file's pipeline; see `opened`."""
    with opened(load(file, redis, overrides), code=code, checked=checked) as found:
        yield found
