"""`PipelineSpec`: what a pipeline is, however it was written. A file becomes one, and so does a `Pipeline` in Python.

It is what topologies are built from. It knows no YAML: where its parts are written is asked of `positions`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path as FolderPath
from typing import Protocol

from papyra_flow.spec.models import PipelineConfig
from papyra_flow.spec.positions import Path, Place, Positions
from papyra_flow.spec.secrets import Secrets


@dataclass(frozen=True)
class PipelineSpec:
    """A pipeline's models, its folder, and where its parts are written."""

    config: PipelineConfig
    folder: FolderPath
    """What relative paths start from, and where step functions are imported from."""
    positions: Positions
    secrets: Secrets = field(default_factory=Secrets)
    """What must not be shown of it."""
    file: FolderPath | None = None
    """The file that says it, in YAML or in Python; None where that is not known."""
    other_server: bool = False
    """Whether the server was given with `--redis`, in place of the pipeline's own."""

    @property
    def name(self) -> str:
        """The pipeline's name."""
        return self.config.pipeline

    def where(self, path: Path) -> Place | None:
        """The place of a part in the pipeline's file; None where there is none."""
        return self.positions.where(path)


class HasSpec(Protocol):
    """What can say what pipeline it is: a `Pipeline`."""

    def spec(self, *, overrides: Sequence[str] = ()) -> PipelineSpec:
        """The pipeline, with `path=value` over it; raises InvalidPipelineError with all that is wrong with it."""
