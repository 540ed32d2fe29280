"""What a check of a topology finds: the part of the pipeline, a code, what is wrong, and a hint where there is one."""

from __future__ import annotations

from typing import TypeAlias

from papyra_flow.spec.positions import Path

Finding: TypeAlias = tuple[Path, str, str, str | None]
