"""The end of what goes on until it is stopped, such as `serve`: SIGTERM and Ctrl-C end it in an orderly way, with 0."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def until_stopped() -> Iterator[None]:
    """A signal leaves the block by way of what is in it, which is wound up."""
    before = {
        # A shell's background starts us with Ctrl-C ignored; a run takes it there, too.
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
        signal.SIGTERM: signal.signal(signal.SIGTERM, _as_ctrl_c),
    }
    try:
        yield
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _as_ctrl_c(_number: int, frame: FrameType | None) -> None:
    """Whoever handles SIGINT at the moment handles SIGTERM, too: Python, asyncio or the web server."""
    handler = signal.getsignal(signal.SIGINT)
    if callable(handler):
        handler(signal.SIGINT, frame)
