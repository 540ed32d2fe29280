"""What a traceback shows: the step's own frames, bounded, whatever its module's source is."""

from __future__ import annotations

import linecache
from collections.abc import Callable

import pytest

from papyra_flow.error_text import traceback_of
from papyra_flow.spec.units import parse_duration
from papyra_flow.steps.functions.calls import contained


def step() -> None:
    raise ValueError("no")


def raised(call: Callable[[], object]) -> BaseException:
    with pytest.raises(ValueError, match=r"\S") as caught:
        call()
    return caught.value


def test_the_frames_that_call_a_step_are_left_out() -> None:
    told = traceback_of(raised(lambda: contained(step)))
    assert "in step\n    raise ValueError" in told
    assert "calls.py" not in told


def test_where_there_are_no_others_the_frames_of_papyra_flow_are_shown() -> None:
    exc = raised(lambda: parse_duration("x"))
    while exc.__traceback__ is not None and "papyra_flow" not in str(exc.__traceback__.tb_frame.f_globals["__name__"]):
        exc.__traceback__ = exc.__traceback__.tb_next
    assert "units.py" in traceback_of(exc)


class Loader:
    def get_source(self, _: str) -> str:
        raise RuntimeError("mine")


def made(name: str, **facts: object) -> Callable[[], object]:
    """A function of a module whose file is not there."""
    names: dict[str, object] = {"__name__": "made", **facts}
    exec(compile("def f():\n    raise ValueError('no')", name, "exec"), names)
    return names["f"]  # type: ignore[return-value]


def test_a_module_whose_source_cannot_be_read_has_a_traceback_all_the_same() -> None:
    assert 'File "/nowhere/mine.py", line 2, in f' in traceback_of(
        raised(made("/nowhere/mine.py", __loader__=Loader(), __spec__=None))
    )


def test_a_line_of_any_length_is_cut() -> None:
    linecache.cache["/nowhere/long.py"] = (1, None, ["\n", "x" * 1_000_000 + "\n"], "/nowhere/long.py")
    try:
        assert len(traceback_of(raised(made("/nowhere/long.py")))) < 16 * 1024
    finally:
        del linecache.cache["/nowhere/long.py"]
