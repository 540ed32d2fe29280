"""Consumers whose pending entries do not grow older, because the server's clock went back after they were delivered.

Idle times come from the server's wall clock. An entry that was delivered, or refreshed, at a time that is still to come
has an idle time of zero, look after look; a live holder refreshes it every third of the claim time, which
ends that. So an idle time that stays at zero for the claim time by our own clock is that of a dead consumer's entry.
"""

from __future__ import annotations

from collections.abc import Mapping

from papyra_flow.streams.groups.claims import Pending

LOOKS = 3
"""Looks at the least: a refresh may come in the millisecond before one of them, but not before each."""


class Unaging:
    """What looks at one group have seen; times are seconds by our own clock."""

    def __init__(self, claim_after: float) -> None:
        self._claim_after = claim_after
        self._since: dict[tuple[str, bytes], tuple[float, int]] = {}

    def look(self, first: Mapping[str, Pending], now: float) -> list[str]:
        """Note each consumer's first pending entry; returns the consumers that must be gone."""
        seen = {(name, entry.id) for name, entry in first.items() if entry.idle == 0}
        self._since = {
            key: (since, looks + 1)
            for key in seen
            for since, looks in [self._since.get(key, (now, 0))]
        }  # fmt: skip
        return [
            name
            for (name, _), (since, looks) in self._since.items()
            if looks >= LOOKS and now - since >= self._claim_after
        ]
