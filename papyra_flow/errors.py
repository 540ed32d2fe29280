"""Every error that papyra-flow raises on purpose, and the exit code that each one means.

One hierarchy: `PapyraFlowError` is what a caller catches. Each class says when it is raised. The exit
codes are those of the command line's contract: 1 failed while running, 2 wrong usage or an invalid
file, 4 the server cannot be reached or refuses us.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEAD_LETTERS = 3
EXIT_SERVER = 4


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with a pipeline, and where: `line` and `column` count from 1.

    Of a pipeline that stands in no file they are None, and `file` names its part: `pipeline 'shop', stage 'price'`.
    """

    file: str
    line: int | None
    column: int | None
    code: str
    message: str
    hint: str | None = None
    excerpt: str | None = None

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.place}: {self.message}{hint}"

    @property
    def place(self) -> str:
        """Where it is: `file:line:column`, or the name of the part."""
        return self.file if self.line is None else f"{self.file}:{self.line}:{self.column}"

    @property
    def order(self) -> tuple[str, int, int]:
        """What problems are sorted by: their places in the file; without one they stay as they were found."""
        return ("", 0, 0) if self.line is None else (self.file, self.line, self.column or 0)


class PapyraFlowError(Exception):
    """Base of all errors that are shown as one clear sentence; never raised itself. Since 0.1."""

    exit_code = EXIT_FAILED


class UsageError(PapyraFlowError):
    """A verb got invalid arguments: an unknown stage, a missing file, a malformed id."""

    exit_code = EXIT_USAGE


class InvalidPipelineError(PapyraFlowError):
    """A pipeline file has problems; all of them are in `problems`, in the order of the file. Since 0.1."""

    exit_code = EXIT_USAGE

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = sorted(problems, key=lambda problem: problem.order)
        super().__init__("\n".join(map(str, self.problems)))


class ServerError(PapyraFlowError):
    """The server is unreachable or refuses (exit code 4)."""

    exit_code = EXIT_SERVER


class ServerUnreachableError(ServerError):
    """No server answers at the pipeline's address, or the connection was lost and did not come back."""


class ServerTooOldError(ServerError):
    """The server is older than Redis 7.0 or Valkey 7.2, which the commit script needs (`#!lua`)."""


class EmbeddedServerError(ServerError):
    """The embedded server could not be found, started or stopped."""


class WrongKeyTypeError(ServerError):
    """A key that a pipeline uses as a stream holds a value of another type (`WRONGTYPE`)."""


class CommandRefusedError(ServerError):
    """The server answered a command with an error that waiting does not fix (`NOPERM`, `ERR`, ...)."""


class TryAgainError(ServerError):
    """The server refuses for now: `OOM`, `LOADING`, `BUSY`, `MISCONF`, `READONLY`, `NOREPLICAS`, ..."""


class ConnectionLostError(ServerUnreachableError):
    """A connection broke before the reply arrived: it is unknown whether the command was executed."""


class GroupGoneError(ServerError):
    """A consumer group or its stream is gone (`NOGROUP`) and must be created again."""


class FencedError(PapyraFlowError):
    """Another process took over a source or sink that only one may own; nothing was committed."""


class GroupMovedError(PapyraFlowError):
    """The group of a stage whose partitions have owners was moved by hand; nothing was committed."""


class ConnectorError(PapyraFlowError):
    """A source cannot be read or a sink cannot be written, for a reason of unknown kind. Since 0.1.

    While a stage is running, it is retried up to `retry.attempts` times, and then ends the run; while a stage is
    starting, it ends the run at once. A connector that knows the kind raises one of the three below.
    """


class TransientError(ConnectorError):
    """The other system is away or refuses for now: a lost connection, 429, 503, a deadlock. Since 0.2.

    The stage waits with backoff, or for `retry_after` seconds if given; this never ends the run.
    """

    def __init__(self, reason: str, *, retry_after: float | None = None) -> None:
        if not isinstance(retry_after, int | float | None):
            raise TypeError(f"`retry_after` has to be a number of seconds, not {retry_after!r}")
        super().__init__(reason)
        self.retry_after = retry_after


class ConfigurationError(ConnectorError):
    """Waiting does not help: no such table, a wrong password, a missing bucket. Since 0.2.

    The run ends at once, with this message.
    """


class RecordsError(ConnectorError):
    """Some records of a sink's `write` were refused: a constraint, too large, a 400. Since 0.2.

    `failures` maps the index of each in the call to the reason; they become dead letters. All others
    were written, and `checkpoint` is the one after them, for a sink that has checkpoints.
    """

    def __init__(self, failures: Mapping[int, str | Exception], checkpoint: str = "") -> None:
        if not (isinstance(failures, Mapping) and all(isinstance(place, int) for place in failures)):
            raise TypeError("RecordsError takes a dict of reasons by the places of the records: {2: 'too large'}")
        count = len(failures)
        first = next(iter(failures.values()), "no reason")
        super().__init__(f"{count} record{'s' if count != 1 else ''} refused: {first}")
        self.failures = failures
        self.checkpoint = checkpoint

    def __reduce__(self) -> tuple[type[RecordsError], tuple[Mapping[int, str | Exception], str]]:
        return RecordsError, (self.failures, self.checkpoint)


class SetupError(PapyraFlowError):
    """The `setup` of a step failed when its stage started: the run ends at once. Since 0.2."""


class OutputError(PapyraFlowError):
    """Output cannot be written: standard output is closed, or on a full disk."""


class OpenFilesError(PapyraFlowError):
    """The process needs to open more files and connections than it may (`ulimit -n`)."""

    def __init__(
        self, message: str = "too many open files: raise the limit (`ulimit -n`) or lower `consumers`"
    ) -> None:
        super().__init__(message)


class PipelineFailedError(PapyraFlowError):
    """A run ended because a stage could not continue, e.g. a record failed in a stage with `on_error: halt`."""


class LostEntriesError(PapyraFlowError):
    """Others took entries before a run processed them, gave it some again, or deleted keys of the pipeline."""


class RefusedError(PapyraFlowError):
    """A verb would lose records, and `--force` was not given; nothing was done."""

    exit_code = EXIT_USAGE


class RecordError(PapyraFlowError):
    """A record cannot be processed, and a retry would not help: it goes to the dead letters at once. Since 0.1."""


class ExpressionError(RecordError):
    """An expression failed on a record: a missing field, a comparison of a number with None."""


class UndecodableError(RecordError):
    """An entry does not match the stream's format, e.g. its `data` is not a JSON object."""


class MissingKeyError(RecordError):
    """A `lookup` with `missing: dead` found no row for a record's key."""


class UnknownTargetError(RecordError):
    """A step emitted to a stream that its stage does not name in `to`."""


class Dead(PapyraFlowError):  # noqa: N818 - said by step authors: `raise Dead("no such customer")`
    """Raised by a step function: this record goes to the dead letters now, without a retry. Since 0.1."""


class LateError(Dead):
    """A record came after its window had closed; raised for it where `late_to` is `dead`."""


class Retry(PapyraFlowError):  # noqa: N818 - said by step authors: `raise Retry(after=5)`
    """Raised by a step function: retry this record, after `after` seconds if given. Since 0.1.

    It counts as an attempt: after `retry.attempts` of them, the record goes to the dead letters. The server keeps a
    wait of more than a second, up to a year: it survives the process, and delays no other record.
    """

    def __init__(self, reason: str = "the step asked for a retry", *, after: float | None = None) -> None:
        super().__init__(reason)
        self.after = after
