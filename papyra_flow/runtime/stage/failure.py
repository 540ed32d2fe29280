"""What becomes of a record that failed: another attempt, the dead letters, or the end of the run.

Attempts are the entry's delivery count on the server, so that a crash does not reset them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from papyra_flow.error_text import error_of, name_of, traceback_of
from papyra_flow.errors import Dead, RecordError, Retry
from papyra_flow.records.entries import Entry
from papyra_flow.spec.models import Settings
from papyra_flow.streams.admin.dead_letters import dead_letter

MAX_DELIVERIES = 5
"""After which an entry that never came to an end is a killer, where a stage allows fewer attempts."""

KEPT_FROM_SECONDS = 1.0
"""A step's own wait that is longer is kept by the server: it outlives this process, and holds up nothing here."""


@dataclass(frozen=True, slots=True)
class FailureVerdict:
    """What to do; `delay` is the wait before another attempt, in seconds; a long one is `kept` by the server."""

    action: Literal["retry", "dead", "drop", "halt"]
    delay: float = 0.0
    kept: bool = False


class FailurePolicy:
    """A stage's `retry` and `on_error`."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def judge(self, entry: Entry, exc: Exception) -> FailureVerdict:
        """What to do with an entry that failed like this, after as many deliveries as it had."""
        settings = self._settings
        if isinstance(exc, Dead):
            return FailureVerdict("dead")
        if self._may_retry(exc) and entry.deliveries < settings.attempts:
            if isinstance(exc, Retry) and exc.after is not None:
                return FailureVerdict("retry", exc.after, kept=exc.after > KEPT_FROM_SECONDS)
            return FailureVerdict("retry", settings.backoff.wait(entry.deliveries))
        return FailureVerdict(settings.on_error)

    def _may_retry(self, exc: Exception) -> bool:
        if isinstance(exc, Retry):
            return True
        names = {name_of(cls) for cls in type(exc).__mro__}
        names |= {f"{cls.__module__}.{cls.__qualname__}" for cls in type(exc).__mro__}
        if names & set(self._settings.retry_never):
            return False
        if self._settings.retry_on is not None:
            return bool(names & set(self._settings.retry_on))
        return not isinstance(exc, RecordError)


def is_killer(entry: Entry, attempts: int) -> bool:
    """Whether an entry was delivered so often, without an end, that it must be what ends its workers (I5)."""
    return entry.deliveries > max(attempts, MAX_DELIVERIES)


def describe_failure(exc: Exception, hide: Callable[[str], str] = str) -> tuple[str, str]:
    """An exception as a dead letter has it: one line, and the traceback of the step's own frames.

    What one of our own steps says of a record needs no frames, and making them would cost more than the record did.
    `hide` takes secrets out of all of it.
    """
    told = error_of(exc, hide)
    error = told.removeprefix(f"{name_of(type(exc))}: ") if isinstance(exc, RecordError | Dead) else told
    if isinstance(exc, RecordError) and _is_ours(exc):
        return error, f"{told}\n"
    return error, traceback_of(exc, hide)


def _is_ours(exc: Exception) -> bool:
    """Whether it was raised by papyra-flow itself, or not raised yet."""
    trace = exc.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is None or trace.tb_frame.f_globals.get("__name__", "").startswith("papyra_flow.")


def dead_fields(entry: Entry, exc: Exception, stage: str, hide: Callable[[str], str]) -> list[bytes]:
    """The dead letter of an entry; `hide` removes secrets from the error and the traceback."""
    error, trace = describe_failure(exc, hide)
    key, id_, earlier = entry.origin
    return dead_letter(
        entry.fields, error=error, traceback=trace, stage=stage,
        origin=key, origin_id=id_.decode(), deliveries=entry.deliveries + earlier,
    )  # fmt: skip
