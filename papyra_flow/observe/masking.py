"""Logs without secrets: what a run hides in its own words, everything that is logged meanwhile hides, too."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any  # what a log record is made of

from papyra_flow.error_text import error_of

Hide = Callable[[str], str]

_lock = threading.Lock()


@contextmanager
def masked_logs(hide: Hide) -> Iterator[None]:
    """Apply `hide` to everything that this process logs, from any logger to any handler, until the end.

    Several may overlap, as runs in threads do: each takes out its own, and the last to end leaves logging as it was.
    """
    with _lock:
        _Masking.hides.append(hide)
        if logging.getLogRecordFactory() is not _masked_record:
            _Masking.made = staticmethod(logging.getLogRecordFactory())
            logging.setLogRecordFactory(_masked_record)
    try:
        yield
    finally:
        with _lock:
            _Masking.hides.remove(hide)
            # A factory that was set on top meanwhile calls ours, which then hides nothing.
            if not _Masking.hides and logging.getLogRecordFactory() is _masked_record:
                logging.setLogRecordFactory(_Masking.made)
                _Masking.made = staticmethod(logging.LogRecord)


class _Masking:
    """What records are made by, and what is hidden in them; one a process, as logging itself is."""

    hides: list[Hide] = []  # noqa: RUF012 - see above
    made: Callable[..., logging.LogRecord] = staticmethod(logging.LogRecord)


def _hide(text: str) -> str:
    for hide in tuple(_Masking.hides):
        text = hide(text)
    return text


def _masked_record(*arguments: Any, **more: Any) -> logging.LogRecord:
    """A log record in which nothing is left to be hidden: neither in its message nor in its traceback."""
    record = _Masking.made(*arguments, **more)
    try:
        message = record.getMessage()
        if (hidden := _hide(message)) != message:
            record.msg, record.args = hidden, None
        if record.exc_info:
            text = logging.Formatter().formatException(record.exc_info)
            if (hidden := _hide(text)) != text:
                record.exc_text, record.exc_info = hidden, None
        if record.stack_info:
            record.stack_info = _hide(record.stack_info)
    except Exception as exc:  # noqa: BLE001 - the arguments do not fit, or cannot be shown
        told = f"a message that cannot be shown: {error_of(exc, _hide)}"
        record.msg, record.args, record.exc_info = told, None, None
    return record
