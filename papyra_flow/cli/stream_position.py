"""Where in a stream: an entry id, `earliest`, `latest`, or a time in ISO 8601."""

from __future__ import annotations

from datetime import UTC, datetime

from papyra_flow.errors import UsageError


def entry_id(text: str, option: str) -> str:
    """An id as it is, `0` or `$` for the words, or the first id of a time (local unless it has an offset).

    Raises UsageError that names `option` for anything else.
    """
    from papyra_flow.spec.units import is_entry_id

    words = {"earliest": "0", "latest": "$"}
    if text in words:
        return words[text]
    if text == "$" or is_entry_id(text):
        return text
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{option} takes earliest, latest, an entry id, or a time such as 2026-01-31T12:00, not {text!r}"
        ) from None
    return f"{int(moment.astimezone(UTC).timestamp() * 1000)}-0"


def check_ids(ids: list[str]) -> None:
    """Raise UsageError for one that is not an entry id."""
    from papyra_flow.spec.units import is_entry_id

    for id_ in ids:
        if "-" not in id_ or not is_entry_id(id_):
            raise UsageError(f"{id_!r} is not an entry id such as 1700000000000-0")
