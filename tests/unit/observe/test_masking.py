"""Secrets are in nothing that is shown: messages, addresses, and what anybody logs, tracebacks included."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from papyra_flow.observe.logs import JsonFormatter
from papyra_flow.observe.masking import masked_logs
from papyra_flow.spec.secrets import SHOWN, Secrets, without_passwords

SECRET = 'hunter2"\n\\é secret'


@pytest.fixture(autouse=True)
def hiding() -> Iterator[Secrets]:
    """The secret is hidden in logs."""
    found = Secrets({SECRET})
    with masked_logs(lambda text: without_passwords(found.hide(text))):
        yield found


def logged(formatter: logging.Formatter, exc: BaseException | None, message: str, *arguments: object) -> str:
    """What a handler of the user's own gets to see."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    logger = logging.Logger("mine")
    logger.addHandler(handler)
    logger.error(message, *arguments, exc_info=exc)
    return stream.getvalue()


def failed(text: str) -> ValueError:
    try:
        try:
            raise KeyError(text)
        except KeyError as cause:
            raise ValueError(f"no: {text}") from cause
    except ValueError as exc:
        return exc


@pytest.mark.parametrize("formatter", [logging.Formatter(), JsonFormatter()])
@pytest.mark.parametrize("text", [SECRET, f"redis://user:{'pw' * 9}@host/0"])
def test_nothing_that_is_logged_holds_a_secret(formatter: logging.Formatter, text: str) -> None:
    told = logged(formatter, failed(text), "trouble with %s", text)
    assert "trouble with " in told
    assert "Traceback" in told
    for secret in ("hunter2", "pwpw"):
        assert secret not in told
    assert told.count(SHOWN) >= 3


def test_a_traceback_without_a_secret_is_left_as_it_is() -> None:
    told = json.loads(logged(JsonFormatter(), failed("plain"), "trouble"))
    assert "no: plain" in told["exception"]


def test_a_message_whose_arguments_do_not_fit_is_told() -> None:
    assert "cannot be shown" in logged(logging.Formatter(), None, "%d and %d", SECRET)


def test_text_that_is_not_utf8_is_logged_as_json() -> None:
    assert json.loads(logged(JsonFormatter(), None, "odd \ud800"))["event"] == "odd \ud800"


@pytest.mark.parametrize("unit", ["x", "://", "a://", "a:b@", "?password", "&password=x", "://u:p@h ", '"://', "é://"])
def test_passwords_are_found_in_linear_time(unit: str) -> None:
    """In quadratic time these are hours."""
    text = unit * 1_000_000
    assert len(without_passwords(text)) > 0
    assert len(without_passwords(f"a://{text}")) > 0
    assert Secrets({"hunter2"}).hide(text) == text


@settings(deadline=None)
@given(st.from_regex(r"[a-z][a-z+]*", fullmatch=True), st.from_regex(r"[^\s'\"]{4,30}", fullmatch=True), st.text())
def test_the_password_of_an_address_is_in_no_text(scheme: str, password: str, context: str) -> None:
    shown = without_passwords(f"{context} {scheme}://user:{password}@host:6379/0?db=1 {context}")
    assert f"{scheme}://user:{SHOWN}@host:6379/0?db=1" in shown


def test_passwords_in_the_query_of_an_address_are_hidden() -> None:
    assert without_passwords("unix:///s.sock?db=0&sentinel_password=x&a=b") == (
        f"unix:///s.sock?db=0&sentinel_password={SHOWN}&a=b"
    )
    assert without_passwords("http://[broken") == "http://[broken"


def test_logging_is_as_it_was_once_the_last_run_has_ended() -> None:
    first, second = masked_logs(lambda text: text.replace("a", "*")), masked_logs(lambda text: text.replace("b", "*"))
    first.__enter__()
    second.__enter__()
    assert logged(logging.Formatter(), None, "a b") == "* *\n"
    first.__exit__(None, None, None)
    assert logged(logging.Formatter(), None, "a b") == "a *\n"
    second.__exit__(None, None, None)
    assert logged(logging.Formatter(), None, "a b") == "a b\n"


def test_a_run_that_fails_leaves_logging_as_it_was(hiding: Secrets) -> None:
    before = logging.getLogRecordFactory()
    with pytest.raises(ValueError, match="no"), masked_logs(str.upper):
        raise ValueError("no")
    assert logging.getLogRecordFactory() is before
    assert logged(logging.Formatter(), None, "a") == "a\n"
