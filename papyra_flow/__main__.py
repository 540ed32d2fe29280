"""The command `papyra-flow`, also as `python -m papyra_flow`, from its first moment on.

Its imports take some tenths of a second, and a Ctrl-C that comes meanwhile would be shown as a traceback through them,
or be swallowed by one that catches everything.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType
from typing import NoReturn

INTERRUPTED = 130


def main() -> NoReturn:
    """Run the command line and exit with its code."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # else it is ignored, as in the background of a shell
        signal.signal(signal.SIGINT, _leave)
    from papyra_flow.cli.main import main as command

    try:
        signal.signal(signal.SIGINT, before)
        command()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _leave(_number: int, _frame: FrameType | None) -> NoReturn:
    os._exit(INTERRUPTED)  # nothing has been begun that would have to be ended


if __name__ == "__main__":
    main()
