"""A batch between its processing and its commit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from papyra_flow.records.batch import Batch
from papyra_flow.runtime.commit.settlement import FailureOutcome
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.operations import StateChanges

if TYPE_CHECKING:
    from opentelemetry.trace import Span


@dataclass(slots=True)
class Prepared:
    """A batch that waits for its commit."""

    batch: Batch
    outcome: Outcome
    commit: Commit
    fate: FailureOutcome
    span: Span | None = None
    """The batch's span, where it is traced."""
    read: Batch | None = None
    """What was read, where only the first of it are committed: the rest waits."""
    changes: StateChanges | None = None
    """The state that changes with it."""
    late: int = 0
    """Records in it whose window had closed."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """What the partition's lease keeps with it."""

    @property
    def whole(self) -> Batch:
        """All that was read."""
        return self.batch if self.read is None else self.read
