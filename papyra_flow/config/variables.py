"""`${VAR}`, `${VAR:-default}` and `${file:/run/secrets/x}` in a pipeline file's values.

`$${` writes a literal `${`. Nothing else is substituted and nothing is evaluated. What does not live
here: deciding what type the substituted text has (`documents`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from papyra_flow.config.secrets import Secrets

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

    def substitute(self, text: str) -> str:
        """The text with every reference replaced; raises VariableError for the first that cannot be."""
        return _REFERENCE.sub(self._replace, text)

    def _replace(self, match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        reference = match[1]
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
            value = (self.folder / path).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError, ValueError) as exc:
            reason = getattr(exc, "strerror", None) or "not a text file"
            raise VariableError(f"cannot read {path}: {reason}") from exc
        self.secrets.add(value)
        return value
