"""The built-in defaults of stages and streams: models, help texts, reference and runtime take them from here.

The prose of the documentation repeats some; `tests/docs` compares.
"""

from __future__ import annotations

from typing import Final, Literal

from papyra_flow.spec.units import Backoff

CONSUMERS: Final = 1
RECORDS_IN_BATCH: Final = 500
TABLES_IN_BATCH: Final = 16
"""A stage that reads tables takes fewer of them, because one is many records."""
BATCH_WAIT: Final = 0.0
ATTEMPTS: Final = 5
BACKOFF: Final = Backoff(0.2, 30.0)
ON_ERROR: Final[Literal["dead"]] = "dead"
CLAIM_AFTER: Final = 30.0
BATCHES_PENDING: Final = 4
"""Batches that a consumer holds: one at work, one committed, one read ahead, and room for retries."""
MAX_RECORD: Final = 8 * 1024**2
RECORDS_IN_BACKLOG: Final = 100_000
TABLES_IN_BACKLOG: Final = 250
PARTITIONS: Final = 16
"""Of a stream that says `by` alone."""
IDLE_AFTER: Final = 60.0
STATE_CACHE: Final = 64 * 1024**2
