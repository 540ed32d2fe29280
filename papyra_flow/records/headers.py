"""The headers of an entry, as `headers` in an expression has them: text by name.

They are looked at only for expressions that name them. A header that is not valid UTF-8 can be compared, but not
written out.
"""

from __future__ import annotations

from collections.abc import Mapping

from papyra_flow.errors import ExpressionError


class Headers(dict[str, str]):
    """Headers by name; one that is not there is a failure of the record."""

    @classmethod
    def of(cls, headers: Mapping[bytes, bytes]) -> Headers:
        """The headers as an entry has them."""
        return cls((_text(name), _text(value)) for name, value in headers.items())

    def over(self, added: Mapping[bytes, bytes] | None) -> Headers:
        """These headers with others over them, that a step has added."""
        return Headers({**self, **Headers.of(added)}) if added else self

    def __missing__(self, name: str) -> str:
        raise ExpressionError(f"the entry has no header {name!r}")


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")
