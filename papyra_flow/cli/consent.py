"""Asking before something is done that cannot be undone, and refusing what would lose records.

What would be lost is said first, and not done without `--force`; what loses nothing is asked for, unless `--yes`.
"""

from __future__ import annotations

import typer

from papyra_flow.errors import RefusedError


def counted(count: int) -> str:
    """A number of entries, in words."""
    return "1 entry" if count == 1 else f"{count:,} entries"


def consent(doing: str, *, losing: str | None = None, yes: bool, force: bool, json: bool) -> None:
    """Return if it may be done.

    Raises RefusedError where something would be lost and nobody said --force, or where nobody can be asked, because
    a script reads the answer; exits with 1 after a no.
    """
    if losing and not force:
        raise RefusedError(f"{losing}; --force does it all the same")
    if yes or force:
        return
    if json:
        raise RefusedError(f"{doing}: say --yes")
    if not typer.confirm(f"{doing}?", default=False):
        raise typer.Exit(1)
