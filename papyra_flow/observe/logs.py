"""Logs: sentences for people on a terminal, one JSON object a line for everything else, by structlog.

What is logged is logged by Python's own `logging`; whatever is bound in the task at work (`stage`, `pipeline`) is added
here. `PAPYRA_FLOW_LOG` says `json` or `text` where the terminal is not to decide.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cached_property
from types import MappingProxyType
from typing import IO, Any  # Any: an event of structlog's

from papyra_flow.escapes import visible_lines

VARIABLE = "PAPYRA_FLOW_LOG"
_facts: ContextVar[Mapping[str, str]] = ContextVar("papyra_flow_facts", default=MappingProxyType({}))
"""What is bound in the task at work. Not structlog's own, which would have to be imported for it by every run."""


def as_json(stream: IO[str]) -> bool:
    """Whether what goes to a stream is JSON."""
    wanted = os.environ.get(VARIABLE, "").lower()
    return wanted == "json" or (wanted != "text" and not stream.isatty())


def set_up_logging(level: int, stream: IO[str] | None = None) -> None:
    """Log to a stream (stderr): papyra-flow's own from `level` on, warnings of other loggers."""
    stream = stream or sys.stderr
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter() if as_json(stream) else TextFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("papyra_flow").setLevel(level)


class TextFormatter(logging.Formatter):
    """A sentence a record, which may have a traceback below it; nothing in it moves the cursor."""

    def format(self, record: logging.LogRecord) -> str:
        """The record's text."""
        return visible_lines(super().format(record))


class JsonFormatter(logging.Formatter):
    """One JSON object a record: `timestamp`, `level`, `logger`, `event`, and what is bound.

    structlog is imported when the first record comes: most commands log nothing.
    """

    @cached_property
    def _inner(self) -> logging.Formatter:
        import orjson
        import structlog

        def dumps(document: object, **_: object) -> str:
            try:
                return orjson.dumps(document, default=str).decode()
            except TypeError:  # text that is not UTF-8, numbers of more than 64 bits
                return json.dumps(document, default=str)

        return structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[
                lambda _, __, event: {**_facts.get(), **_traceback(event), **event},
                structlog.stdlib.add_log_level,
                structlog.stdlib.add_logger_name,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
            ],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(serializer=dumps),
            ],
        )

    def format(self, record: logging.LogRecord) -> str:
        """The record's line."""
        return self._inner.format(record)


def _traceback(event: Mapping[str, Any]) -> dict[str, str]:
    """A traceback that is text already, because something was hidden in it."""
    record = event["_record"]
    return {"exception": record.exc_text} if record.exc_text and not record.exc_info else {}


def bind(**facts: str) -> None:
    """Add facts to all that is logged from here on in the task at work, where logs are JSON."""
    _facts.set({**_facts.get(), **facts})
