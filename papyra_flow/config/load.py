"""From a file to a validated pipeline, or to all of its problems at once.

Read the text, substitute variables, apply `--set`, and validate.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from papyra_flow.config.documents import Document, read_document
from papyra_flow.config.overrides import apply_override
from papyra_flow.config.variables import Variables
from papyra_flow.error_text import shown
from papyra_flow.errors import InvalidPipelineError, Problem, UsageError
from papyra_flow.spec.models import PipelineConfig
from papyra_flow.spec.pipeline import PipelineSpec
from papyra_flow.spec.validation import validated

MAX_FILE_BYTES = 8 * 1024 * 1024


def load_pipeline(
    path: Path,
    *,
    overrides: Sequence[str] = (),
    redis: str | None = None,
    environment: Mapping[str, str] | None = None,
) -> PipelineSpec:
    """Load the pipeline file at `path`.

    `overrides` are `path.to.key=value` as `--set` takes them; `redis` replaces the file's own address.
    Raises InvalidPipelineError with every problem of the file, UsageError when the file cannot be read or
    an override is malformed.
    """
    document = load_document(path, environment=environment)
    for override in overrides:
        apply_override(document.tree, override)
    if redis is not None and isinstance(document.tree, dict):
        document.tree["redis"] = redis
    return replace(spec_of(document, path), other_server=redis is not None)


def path_of(file: object) -> Path:
    """A pipeline file's path; raises UsageError for what is none."""
    try:
        return Path(file)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"{shown(file)} is no pipeline: give a file's path, or a Pipeline") from None


def load_document(path: Path, *, environment: Mapping[str, str] | None = None) -> Document:
    """The data of the file at `path`, with variables filled in; raises UsageError when it cannot be read."""
    variables = Variables(os.environ if environment is None else environment, path.resolve().parent)
    return read_document(_read(path), str(path), variables)


def spec_of(document: Document, path: Path) -> PipelineSpec:
    """The pipeline that a document says; raises InvalidPipelineError with every problem of it."""
    problems = list(document.problems)
    if document.tree is not None or not problems:
        found = validated(document.tree, document, path.resolve().parent)
        if isinstance(found, PipelineConfig) and not problems:
            return PipelineSpec(found, path.resolve().parent, document, document.secrets, path.resolve())
        if not isinstance(found, PipelineConfig):
            placed = {(problem.line, problem.column) for problem in problems}
            problems += [problem for problem in found if (problem.line, problem.column) not in placed]
    raise InvalidPipelineError(problems)


def _read(path: Path) -> str:
    if path.suffix == ".py" and path.is_file():
        raise UsageError(f"{path} is Python: name the pipeline in it, such as {path}:pipeline")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise UsageError(f"{path} is larger than {MAX_FILE_BYTES // 1024**2} MiB: not a pipeline file")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as exc:
        line = exc.object[: exc.start].count(b"\n") + 1
        raise InvalidPipelineError(
            [Problem(str(path), line, 1, "encoding", "the file is not UTF-8 text", None)]
        ) from exc
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "not a usable name"
        raise UsageError(f"cannot read {path}: {reason}") from exc
