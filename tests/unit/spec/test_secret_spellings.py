"""A secret is hidden however it is spelled."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from papyra_flow.spec.secrets import SHOWN, Secrets, without_passwords


def hidden(value: str, text: str, name: str | None = None) -> str:
    found = Secrets()
    found.add(value, name=name)
    return found.hide(text)


@pytest.mark.parametrize("value", ["p@ss/w:d", 'a"bc', "a\\b\nc", "äöü€", "it's", "both ' and \"", "100%"])
def test_every_spelling_is_hidden(value: str) -> None:
    quoted = repr(value)[1:-1]
    spellings = [value, quoted, json.dumps(value)[1:-1], json.dumps(quoted)[1:-1], quote(value, safe="")]
    assert hidden(value, f"<{'> <'.join(spellings)}>") == f"<{'> <'.join([SHOWN] * 5)}>"


def test_a_secret_that_begins_with_another_leaves_nothing_of_itself() -> None:
    found = Secrets()
    for value in ("hunter", "hunter2-long"):
        found.add(value)
    assert found.hide("hunter2-long, hunter") == f"{SHOWN}, {SHOWN}"


def test_what_is_too_short_blots_out_nothing() -> None:
    assert hidden("1", "1 of 10") == "1 of 10"


@pytest.mark.parametrize(
    ("name", "secret"),
    [("REDIS_PASSWORD", True), ("my_passwd", True), ("API_KEY", True), ("ApiKey", True), ("TOKEN", True),
     ("credentials", True), ("client_secret", True), ("REGION", False), ("KEYSPACE", False)],
)  # fmt: skip
def test_a_variable_is_secret_if_its_name_says_so(name: str, secret: bool) -> None:
    assert (hidden("frankfurt", "in frankfurt", name) == f"in {SHOWN}") == secret


def test_a_password_with_signs_of_an_address_in_it_is_hidden_whole() -> None:
    shown = without_passwords("at redis://user:p@ss:w@rd/x?y@host:6379/0")
    assert shown == f"at redis://user:{SHOWN}@host:6379/0"
