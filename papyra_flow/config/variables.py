"""`${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` in a pipeline file's values.

`$${` writes a literal `${`. Nothing else is substituted and nothing is evaluated: in an expression a reference is a
value, never a piece of the program (`papyra_flow.expressions.template`).
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from papyra_flow.expressions.template import Reference, Template
from papyra_flow.spec.secrets import Secrets

MAX_FILE_BYTES = 1024**2
"""Of a file that `${file:...}` reads: a secret or a few words, not data."""

_REFERENCE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class VariableError(ValueError):
    """A reference cannot be resolved: an unset variable, an unreadable file, a malformed name."""


@dataclass(slots=True)
class Variables:
    """Resolves references against an environment; `folder` is what relative file paths start from."""

    environment: Mapping[str, str]
    folder: Path
    secrets: Secrets = field(default_factory=Secrets)

    def substitute(self, text: str) -> Template:
        """The text with every reference replaced; raises VariableError for the first that cannot be."""
        parts: list[str | Reference] = []
        end = 0
        for match in _REFERENCE.finditer(text):
            parts.append(text[end : match.start()])
            parts.append("${" if match[0] == "$${" else Reference(match[0], self._value(match[1])))
            end = match.end()
        return Template.of([*parts, text[end:]])

    def _value(self, reference: str) -> str:
        if reference.startswith("file:"):
            return self._read(reference.removeprefix("file:"))
        name, has_default, default = reference.partition(":-")
        if not _NAME.fullmatch(name):
            raise VariableError(f"${{{reference}}} is not ${{VAR}}, ${{VAR:-default}} or ${{file:PATH}}")
        value = self.environment.get(name, "")
        self.secrets.add(value, name=name)
        if value or (not has_default and name in self.environment):
            return value
        if has_default:
            return default
        raise VariableError(f"the environment variable {name} is not set")

    def _read(self, path: str) -> str:
        try:
            value = _bounded(self.folder / path).decode().strip()
        except (OSError, UnicodeDecodeError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or "not a text file"
            raise VariableError(f"cannot read {path}: {reason}") from exc
        self.secrets.add(value)
        return value


def _bounded(path: Path) -> bytes:
    """What is in a regular file; raises OSError for what might never end, or block, and for what is too large."""
    _refuse_irregular(path.stat().st_mode)  # before it is opened: that alone may block, or move a tape
    with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
        _refuse_irregular(os.fstat(file.fileno()).st_mode)
        found = file.read(MAX_FILE_BYTES + 1)
    if len(found) > MAX_FILE_BYTES:
        raise OSError(errno.EFBIG, f"larger than {MAX_FILE_BYTES // 1024**2} MiB")
    return found


def _refuse_irregular(mode: int) -> None:
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "not a regular file")
