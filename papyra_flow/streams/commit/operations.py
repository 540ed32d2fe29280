"""What a commit is made of, beside acknowledging and forwarding records."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MoveCheckpoint:
    """Move the checkpoint of a lease, as its owner with this epoch, from where it was `before` to where it is `after`.

    Such a commit is done as a whole or not at all: what it stands for was written outside.
    """

    lease: str
    epoch: int
    before: str
    after: str
