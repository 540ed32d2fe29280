"""The partitions of a stage with owners as they are on the server: who owns them, how far they are, what they keep.

A look takes a few short commands for each partition, however large its state is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from papyra_flow.errors import CommandRefusedError, RefusedError
from papyra_flow.streams.commit.ownership import PartitionKeys
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.scripts import call_script

_COMMANDS = 5
"""Commands that a look sends for each partition."""


@dataclass(frozen=True, slots=True)
class PartitionPosition:
    """One partition at the moment of a look; times are in milliseconds."""

    number: int
    keys: PartitionKeys
    owner: str = ""
    """Whose lease it is, alive or not; '' where it was let go, or never taken."""
    alive: bool = False
    """Whether that owner has given a sign of life in time."""
    silent_ms: int | None = None
    """Since the owner's last sign of life."""
    commits: int = 0
    positions: Mapping[str, str] = field(default_factory=dict)
    """For each stream the id behind which its owner reads on, as the lease knows it."""
    watermark: int | None = None
    watermarks: Mapping[str, str] = field(default_factory=dict)
    """Those of the inputs, by the names of their streams."""
    entries: int = 0
    """Fields of state."""
    bytes: int = 0
    """What state and timers take of the server's memory."""
    timers: int = 0
    lost: int = 0
    """Fields of state that are gone since the last commit."""
    limit: int = 0
    """Entries that are taken at once, because owners died of what they had; 0 for as many as usual."""
    tries: Mapping[str, int] = field(default_factory=dict)
    """For each stream how often its next entry was taken by itself, without an end."""
    shape: str | None = None


@dataclass(frozen=True, slots=True)
class PartitionsSnapshot:
    """All partitions of a stage, and the server's time of the look, in milliseconds."""

    partitions: list[PartitionPosition]
    now: int

    @property
    def owners(self) -> list[str | None]:
        """For each partition its owner, None where none is alive."""
        return [one.owner if one.alive else None for one in self.partitions]

    @property
    def owned(self) -> int:
        """Partitions whose owner is alive."""
        return sum(one.alive for one in self.partitions)

    @property
    def entries(self) -> int:
        """Fields of state in all partitions."""
        return sum(one.entries for one in self.partitions)

    @property
    def bytes(self) -> int:
        """What state and timers take of the server's memory."""
        return sum(one.bytes for one in self.partitions)

    @property
    def timers(self) -> int:
        """Timers in all partitions."""
        return sum(one.timers for one in self.partitions)

    @property
    def lost(self) -> int:
        """Fields of state that are gone since the last commits."""
        return sum(one.lost for one in self.partitions)

    @property
    def isolating(self) -> int:
        """Partitions whose next entry is taken by itself, because it may have ended those who took it."""
        return sum(one.limit == 1 and any(tries > 1 for tries in one.tries.values()) for one in self.partitions)

    @property
    def watermark(self) -> int | None:
        """The smallest of the partitions that have read something."""
        return min((one.watermark for one in self.partitions if one.watermark is not None), default=None)

    @property
    def delay_ms(self) -> int | None:
        """How far the watermark is behind the server's clock; 0 where it is ahead."""
        return None if self.watermark is None else max(0, self.now - self.watermark)


async def look_at_partitions(client: Client, partitions: Sequence[PartitionKeys], silence: float) -> PartitionsSnapshot:
    """Look at partitions, whose owners are gone when they are silent for so many seconds; raises ServerErrors."""
    commands: list[tuple[Argument, ...]] = [("TIME",)]
    for keys in partitions:
        commands += [
            ("HGETALL", keys.lease), ("HLEN", keys.state), ("ZCARD", keys.timers),
            ("MEMORY", "USAGE", keys.state, "SAMPLES", 5), ("MEMORY", "USAGE", keys.timers, "SAMPLES", 5),
        ]  # fmt: skip
    replies = await client.call_many(commands)
    now = replies[0]
    if isinstance(now, Exception):
        raise now
    clock = int(now[0]) * 1000 + int(now[1]) // 1000 if isinstance(now, list) else 0
    found = []
    for number, keys in enumerate(partitions):
        told = replies[1 + number * _COMMANDS : 1 + (number + 1) * _COMMANDS]
        for reply in told[:3]:
            if isinstance(reply, Exception):
                raise reply
        found.append(_partition(number, keys, told, clock, silence))
    return PartitionsSnapshot(found, clock)


def _partition(
    number: int, keys: PartitionKeys, told: Sequence[Reply | Exception], clock: int, silence: float
) -> PartitionPosition:
    flat, entries, timers, *sizes = told
    lease = {}
    if isinstance(flat, list):
        words = [word.decode(errors="replace") for word in flat]
        lease = dict(zip(words[::2], words[1::2], strict=True))
    owner, silent = lease.get("owner", ""), clock - int(lease.get("beat", 0))
    there = _number(entries)
    return PartitionPosition(
        number, keys, owner,
        alive=owner != "" and silent < silence * 1000,
        silent_ms=max(0, silent) if owner else None,
        commits=int(lease.get("commits", 0)),
        positions={name[3:]: id_ for name, id_ in lease.items() if name.startswith("at ")},
        watermark=int(lease["watermark"]) if "watermark" in lease else None,
        watermarks={name[10:]: at for name, at in lease.items() if name.startswith("watermark ")},
        entries=there,
        bytes=sum(map(_number, sizes)),
        timers=_number(timers),
        lost=max(0, int(lease.get("fields", 0)) - there),
        limit=int(lease.get("limit", 0)),
        tries={name[6:]: int(count) for name, count in lease.items() if name.startswith("tries ")},
        shape=lease.get("shape"),
    )  # fmt: skip


async def reset_partition(
    client: Client,
    ledger: str,
    keys: PartitionKeys,
    group: str,
    to: Mapping[str, str],
    *,
    silence: float,
    force: bool = False,
    state: bool = False,
    times: bool = False,
) -> None:
    """Move the group of a partition's streams to ids, in its lease too, and fence off its owner.

    With `state` that is dropped, with `times` how far event time has got is forgotten. Raises RefusedError where an
    owner is alive, unless by `force`; GroupGoneError where a stream that moves has no such group.
    """
    flags = ["1" if flag else "" for flag in (force, state, times)]
    reply = await call_script(
        client, "own_reset", [keys.lease, ledger, keys.state, keys.timers, *to],
        [group, int(silence * 1000), *flags, *to.values()],
    )  # fmt: skip
    if not isinstance(reply, bytes):
        raise CommandRefusedError(f"the reset script answered {reply!r}")
    if reply:
        raise RefusedError(f"{reply.decode(errors='replace')!r} is at work on it; use --force to proceed anyway")


def _number(reply: object) -> int:
    """A number; 0 for a key that is not there, or a right that is missing."""
    return reply if isinstance(reply, int) else 0
