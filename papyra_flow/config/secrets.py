"""Values that must never be shown: those read by `${file:...}`, and variables whose names say that they are secret.

Whatever is shown of a file (problems, plans, diagrams, logs, dead letters) goes through `Secrets.hide`. Passwords in
addresses are taken out by `papyra_flow.streams.server.redacted`, wherever they came from.
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, field

SHOWN = "***"
SHORTEST = 4
"""Shorter values are not hidden: they would blot out every `1` and `no`."""

_SECRET_NAME = re.compile(r"password|passwd|secret|token|credential|api_?key", re.IGNORECASE)


@dataclass(slots=True)
class Secrets:
    """The secret values of one file."""

    values: set[str] = field(default_factory=set)

    def add(self, value: str, *, name: str | None = None) -> None:
        """A value that was substituted; with a variable's name it is secret only if the name says so."""
        if len(value) >= SHORTEST and (name is None or _SECRET_NAME.search(name)):
            self.values |= {value, repr(value)[1:-1]}  # also as Python quotes it in a message

    def hide(self, text: str) -> str:
        """The text with every secret replaced, longer ones first."""
        for value in sorted(self.values, key=len, reverse=True):
            text = text.replace(value, SHOWN)
        return text


def hide_in_logs(secrets: Secrets) -> None:
    """Take these secrets out of all that this process logs from now on."""
    hiding = _HidingFilter(secrets)
    for handler in logging.getLogger().handlers:
        handler.addFilter(hiding)


class _HidingFilter(logging.Filter):
    """Takes secrets out of what is logged."""

    def __init__(self, secrets: Secrets) -> None:
        super().__init__()
        self._secrets = secrets

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace the record's message by one that may be shown."""
        record.msg, record.args = self._secrets.hide(record.getMessage()), None
        return True
