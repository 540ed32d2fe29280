"""Values that must never be shown: those read by `${file:...}`, and variables whose names say that they are secret.

Whatever is shown of a file (problems, plans, diagrams, logs, dead letters) goes through `Secrets.hide`. Passwords in
addresses are taken out of any text by `without_passwords`, wherever they came from.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from urllib.parse import quote

SHOWN = "***"
SHORTEST = 4
"""Shorter values are not hidden: they would blot out every `1` and `no`."""

_AUTHORITY = "://"
_END = re.compile(r"[\s'\"]")
_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|api_?key", re.IGNORECASE)


@dataclass(slots=True)
class Secrets:
    """The secret values of one file."""

    values: set[str] = field(default_factory=set)

    def add(self, value: str, *, name: str | None = None) -> None:
        """A value that was substituted; with a variable's name it is secret only if the name suggests it."""
        if len(value) >= SHORTEST and (name is None or _SECRET_NAME.search(name)):
            self.values |= {value, repr(value)[1:-1]}  # also as Python quotes it in a message, which JSON quotes again

    def hide(self, text: str) -> str:
        """The text with every secret replaced, longer ones first."""
        spellings = {spelling for value in self.values for spelling in _spellings(value)}
        for spelling in sorted(spellings, key=len, reverse=True):
            text = text.replace(spelling, SHOWN)
        return text


def without_passwords(text: str) -> str:
    """The text with the passwords of addresses in it replaced, in time that grows with the text and no faster."""
    parts: list[str] = []
    at = 0
    while (found := text.find(_AUTHORITY, at)) >= 0:
        start = found + len(_AUTHORITY)
        end = match.start() if (match := _END.search(text, start)) else len(text)
        parts += (text[at:start], _without_password(text[start:end]))
        at = end
    return "".join((*parts, text[at:]))


def _without_password(rest: str) -> str:
    """What stands behind an address' `://`, from there to its end."""
    login, has_login, place = rest.rpartition("@")
    user, has_password, _ = login.partition(":")
    shown = f"{user}:{SHOWN}@{place}" if has_login and has_password else rest
    place, has_query, query = shown.partition("?")
    return f"{place}{has_query}{'&'.join(map(_without_option, query.split('&')))}"


def _without_option(option: str) -> str:
    name, has_value, _ = option.partition("=")
    return f"{name}={SHOWN}" if has_value and "password" in name.lower() else option


def _spellings(value: str) -> set[str]:
    """A value as it is, and as `repr`, JSON and addresses write it."""
    return {value, repr(value)[1:-1], json.dumps(value)[1:-1], quote(value, safe="")}
