"""What an exception says, as text that is bounded, whatever the exception is.

A step may raise anything: a message of 200 MB, a `__str__` that raises, a traceback of a million frames. What is shown,
logged or kept of it is cut here, before anything else is done with it.
"""

from __future__ import annotations

import linecache
import reprlib
from collections import deque
from collections.abc import Callable, Iterator
from types import FrameType

MAX_MESSAGE = 4096
MAX_DETAIL = 500
MAX_FRAMES = 20
MAX_DETAILS = 5
_LARGE = (list, tuple, dict, set, frozenset, bytes, bytearray)
_PACKAGE = f"{__name__.partition('.')[0]}."

_repr = reprlib.Repr()
_repr.maxlevel = 6
_repr.maxlist = _repr.maxtuple = _repr.maxdict = _repr.maxset = _repr.maxfrozenset = _repr.maxdeque = 100
_repr.maxstring = _repr.maxother = _repr.maxlong = 2000


def cut(text: str, most: int) -> str:
    """The beginning of a text, and how much of it is left out; what is not UTF-8 is replaced."""
    size = len(text)
    kept = text[:most].encode(errors="replace").decode()
    return kept if size <= most else f"{kept}... ({size - most:,} more characters)"


def message_of(exc: BaseException, most: int = MAX_MESSAGE) -> str:
    """What an exception says."""
    try:
        return cut(_said(exc), most)
    except Exception as failed:  # noqa: BLE001 - its own __str__ may raise anything
        return f"the exception cannot be shown: its text raises {name_of(type(failed))}"
    except BaseException as failed:  # noqa: BLE001 - even this
        return f"the exception cannot be shown: its text raises {name_of(type(failed))}"


def name_of(kind: type) -> str:
    """A class' name."""
    try:
        return cut(str.__str__(kind.__name__), 200)
    except BaseException:  # noqa: BLE001 - a metaclass may do anything
        return "an exception without a name"


def shown(value: object, most: int = 80) -> str:
    """A value as `repr` has it, its beginning."""
    try:
        return cut(str.__str__(_repr.repr(value)), most)
    except BaseException:  # noqa: BLE001 - its own __repr__ may raise anything
        return f"an object of the class {name_of(type(value))} that cannot be shown"


def error_of(exc: BaseException, hide: Callable[[str], str] = str) -> str:
    """The exception's class and what it says; `hide` takes secrets out of that."""
    # More than is shown goes through `hide`: a secret that is cut in two is not found.
    message = cut(hide(message_of(exc, 2 * MAX_MESSAGE)), MAX_MESSAGE) or "no message"
    return f"{name_of(type(exc))}: {message}"


def traceback_of(exc: BaseException, hide: Callable[[str], str] = str) -> str:
    """A traceback of the step's own frames, the first and last of many, and what led to the exception."""
    return "".join((*map(hide, _frames(exc)), f"{error_of(exc, hide)}\n", *map(hide, _details(exc))))


def _said(exc: BaseException) -> str:
    kind, args = type(exc), exc.args
    if kind.__str__ is BaseException.__str__ or kind.__str__ is KeyError.__str__:
        if len(args) == 1 and isinstance(args[0], str):
            text = str.__str__(args[0])
            return text if kind.__str__ is BaseException.__str__ else repr(text[: 2 * MAX_MESSAGE + 1])
        if any(isinstance(arg, _LARGE) or (isinstance(arg, str) and len(arg) > MAX_MESSAGE) for arg in args):
            return _repr.repr(args[0] if len(args) == 1 else args)
    return str.__str__(str(exc))


def _frames(exc: BaseException) -> Iterator[str]:
    found = _ends(exc, own=True) or _ends(exc, own=False)
    for frame, line, left_out in found:
        if left_out:
            yield f"  ... {left_out:,} more frames\n"
        code = frame.f_code
        yield f'  File "{cut(code.co_filename, MAX_DETAIL)}", line {line}, in {cut(code.co_name, 200)}\n'
        if source := _source(frame, line):
            yield f"    {source}\n"


def _ends(exc: BaseException, *, own: bool) -> list[tuple[FrameType, int, int]]:
    """The first and last frames, each with how many were left out before it."""
    first: list[tuple[FrameType, int, int]] = []
    last: deque[tuple[FrameType, int]] = deque(maxlen=MAX_FRAMES // 2)
    count, trace = 0, exc.__traceback__
    while trace is not None:
        if not own or not _is_ours(trace.tb_frame):
            count += 1
            if len(first) < MAX_FRAMES // 2:
                first.append((trace.tb_frame, trace.tb_lineno, 0))
            else:
                last.append((trace.tb_frame, trace.tb_lineno))
        trace = trace.tb_next
    left_out = count - len(first) - len(last)
    return first + [(frame, line, 0 if place else left_out) for place, (frame, line) in enumerate(last)]


def _is_ours(frame: FrameType) -> bool:
    name = frame.f_globals.get("__name__")
    return isinstance(name, str) and name.startswith(_PACKAGE)


def _source(frame: FrameType, line: int) -> str:
    try:
        found = linecache.getline(frame.f_code.co_filename, line, frame.f_globals)
    except Exception:  # noqa: BLE001 - a module's own loader may raise anything
        return ""
    return cut(found[: 2 * MAX_DETAIL].strip(), MAX_DETAIL)


def _details(exc: BaseException) -> Iterator[str]:
    """Notes, the exceptions of a group, and causes: a few of each."""
    notes = getattr(exc, "__notes__", None)
    for note in notes[:MAX_DETAILS] if isinstance(notes, list) else ():
        yield f"  {cut(note, MAX_DETAIL) if isinstance(note, str) else shown(note, MAX_DETAIL)}\n"
    if isinstance(exc, BaseExceptionGroup):
        for inner in exc.exceptions[:MAX_DETAILS]:
            yield f"  one of its exceptions: {name_of(type(inner))}: {message_of(inner, MAX_DETAIL)}\n"
    cause = exc.__cause__
    for _ in range(MAX_DETAILS):
        if cause is None:
            break
        yield f"  caused by {name_of(type(cause))}: {message_of(cause, MAX_DETAIL)}\n"
        cause = cause.__cause__
