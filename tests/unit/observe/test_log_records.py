"""A secret is hidden wherever in a log record it is."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from papyra_flow.observe.masking import masked_logs
from papyra_flow.spec.secrets import SHOWN


class Unshowable:
    def __str__(self) -> str:
        raise ValueError("no: hunter2")


@pytest.fixture
def logger() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger, and what it has written; the secret is hidden in it."""
    stream, made = io.StringIO(), logging.Logger("mine")
    made.addHandler(logging.StreamHandler(stream))
    with masked_logs(lambda text: text.replace("hunter2", SHOWN)):
        yield made, stream


def test_a_stack_that_is_logged_shows_no_secret(logger: tuple[logging.Logger, io.StringIO]) -> None:
    made, stream = logger
    made.error("here", stack_info=True)  # hunter2, as the stack shows this line
    assert "Stack (most recent call last)" in stream.getvalue()
    assert SHOWN in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_what_cannot_be_logged_is_told_without_the_secret(logger: tuple[logging.Logger, io.StringIO]) -> None:
    made, stream = logger
    made.error("%s", Unshowable())
    assert stream.getvalue() == f"a message that cannot be shown: ValueError: no: {SHOWN}\n"
