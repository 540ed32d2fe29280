"""Asking before something is done that cannot be undone, and refusing what would lose records.

What would lose records is refused without `--force`, with what would be lost; the rest asks first, unless `--yes`.
"""

from __future__ import annotations

import typer

from papyra_flow.errors import RefusedError


def counted(count: int, noun: str = "entry") -> str:
    """A number of entries, or of what the noun says, in words."""
    many = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def consent(doing: str, *, losing: str | None = None, yes: bool, force: bool, json: bool) -> None:
    """Return if it may be done.

    Raises RefusedError where something would be lost without --force, or where no question can be put, because a
    script reads the answer; exits with 1 after a no.
    """
    if losing and not force:
        raise RefusedError(f"{losing}; use --force to proceed anyway")
    if yes or force:
        return
    if json:
        raise RefusedError(f"{doing}: confirm with --yes")
    if not typer.confirm(f"{doing}?", default=False):
        raise typer.Exit(1)
