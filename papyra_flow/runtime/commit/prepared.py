"""A batch between its processing and its commit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from papyra_flow.records.batch import Batch
from papyra_flow.runtime.commit.settlement import FailureOutcome
from papyra_flow.runtime.stage.outcome import Outcome
from papyra_flow.streams.commit.commit import Commit

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
