"""What an exception says is bounded, whatever it is."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.error_text import MAX_MESSAGE, cut, error_of, message_of, shown, traceback_of

HUGE = 50_000_000
ROOM = 200
"""For a class' name, and for saying how much was left out."""


class Raises(Exception):  # noqa: N818
    def __str__(self) -> str:
        raise SystemExit(3)


class NoText(Exception):  # noqa: N818
    def __str__(self) -> str:
        return 7  # type: ignore[return-value]  # noqa: PLE0307


class Unshowable:
    def __repr__(self) -> str:
        raise KeyboardInterrupt


def raised(exc: BaseException) -> BaseException:
    try:
        raise exc
    except BaseException as caught:  # noqa: BLE001
        return caught


@pytest.mark.parametrize(
    "exc",
    [
        Raises(), NoText(), ValueError(Unshowable()), ValueError("x" * HUGE), KeyError("x" * HUGE),
        ValueError(b"x" * HUGE),
        ValueError(list(range(1_000_000))), ValueError("a", "x" * HUGE), ValueError(10**5000), ValueError("\ud800"),
        ExceptionGroup("many", [ValueError("x" * HUGE)] * 1000), type("N" * 100_000, (Exception,), {})("x"),
        SyntaxError("bad", ("f", 1, 1, "x" * HUGE)), UnicodeDecodeError("utf-8", b"x" * HUGE, 0, 1, "r" * HUGE),
    ],
)  # fmt: skip
def test_any_exception_can_be_shown_and_is_bounded(exc: BaseException) -> None:
    caught = raised(exc)
    caught.add_note("n" * HUGE)
    caught.__notes__.append(Unshowable())  # type: ignore[arg-type]
    assert 0 < len(error_of(caught)) <= MAX_MESSAGE + 2 * ROOM
    text = traceback_of(caught)
    assert len(text) < 16 * 1024
    text.encode()


def test_long_chains_and_deep_tracebacks_are_bounded() -> None:
    exc = ValueError("first")
    for number in range(100_000):
        later = ValueError(str(number))
        later.__cause__ = exc
        exc = later
    text = traceback_of(exc)
    assert text.count("caused by") == 5

    def deep(left: int) -> None:
        if not left:
            raise ValueError("at the bottom")
        deep(left - 1)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try:
        deep(5000)
    except ValueError as caught:
        text = traceback_of(caught)
    finally:
        sys.setrecursionlimit(limit)
    assert "more frames" in text
    assert len(text) < 16 * 1024
    while exc.__cause__ is not None:  # taken apart one by one: freeing it at once is a recursion of its own
        exc, cause = exc.__cause__, exc  # type: ignore[assignment]
        cause.__cause__ = None


@settings(deadline=None)
@given(st.text())
def test_what_is_short_is_shown_as_it_is(text: str) -> None:
    expected = text.encode(errors="replace").decode()
    assert message_of(ValueError(text)) == expected
    assert cut(text, 10_000) == expected


def test_a_secret_is_found_before_anything_is_cut() -> None:
    secret = "s3cr3t" * 10
    hidden = error_of(
        ValueError("x" * (MAX_MESSAGE - 20) + secret + "y" * 100_000), lambda text: text.replace(secret, "*")
    )
    assert "s3cr" not in hidden
    assert "s3cr" not in traceback_of(ValueError(secret), lambda text: text.replace(secret, "*"))


def test_a_value_is_shown_by_its_beginning() -> None:
    assert shown([1, 2]) == "[1, 2]"
    assert len(shown(["x" * 1_000_000] * 1000)) < ROOM
    assert "cannot be shown" in shown(Unshowable())
