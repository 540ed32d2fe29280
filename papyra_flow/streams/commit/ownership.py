"""Who owns a partition of a stage: a lease with an epoch, and among how many members the partitions are shared.

An owner reads behind its group's position and moves it with its commits, so that nothing is ever pending. What the
pending list is for elsewhere comes from the lease: how often a position was taken over without having moved isolates
poison records.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from papyra_flow.errors import CommandRefusedError, FencedError, RefusedError
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.scripts import call_script


@dataclass(frozen=True, slots=True)
class PartitionKeys:
    """The keys of one partition of a stage: its lease, state and timers, and the streams that it reads."""

    lease: str
    state: str
    timers: str
    streams: tuple[str, ...]


@dataclass(slots=True)
class Ownership:
    """A partition that is owned: the epoch, and what the owners before left."""

    keys: PartitionKeys
    epoch: int
    commits: int
    """Commits so far, by all owners."""
    positions: dict[str, bytes]
    """For each stream the id behind which the group reads on."""
    pending: dict[str, int]
    """For each stream the entries that are pending: of a stage that was shared before."""
    kept: Mapping[str, str] = field(default_factory=dict)
    """What else owners keep in the lease, such as watermarks."""
    limit: int = 0
    """Entries that may be taken at once, because owners before died; 0 for as many as the stage allows."""
    recovered: bool = False
    """Whether there is no reason for that any more, which the next commit is to tell."""
    lost: int = 0
    """Fields of state that are not there any more."""
    owner: str = ""
    """The member that owns it."""
    moved: tuple[str, ...] = ()
    """Streams whose group is not where the last commit left it: it was moved by hand."""

    @property
    def token(self) -> str:
        """What a commit shows: an epoch may come again where a server lost the newest ones, and is another's then."""
        return f"{self.epoch} {self.owner}"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a partition's lease: the owner, '' for none; its last sign of life; the lease's epoch."""

    owner: str
    beat: int
    epoch: int
    commits: int
    ours: bool
    """Whether it is the asking member's, with the group where its last commit left it."""


@dataclass(frozen=True, slots=True)
class Shares:
    """A stage's members in order of their names, the holder of each partition, and the server's time in ms."""

    members: list[str]
    holders: list[Holder]
    now: int


def does_not_fit(stage: str) -> str:
    """The sentence on state that was made by a step of another shape."""
    return (
        f"the state of {stage!r} does not fit the file any more: its step had another key, window or functions; "
        f"`papyra-flow reset FILE {stage} --state` drops it, or give the stage a new name"
    )


class Owners:
    """Takes and releases partitions for one member of a stage, `ledger` knows of their leases."""

    def __init__(self, client: Client, *, member: str, group: str, members: str, ledger: str, shape: str = "") -> None:
        """`members` is the key of the stage's members, `shape` what the meaning of its state depends on."""
        self._client = client
        self._member = member
        self._group = group
        self._members = members
        self._ledger = ledger
        self._shape = shape
        self._beats: dict[str, tuple[bytes, float]] = {}
        """For each lease that we wait for: its owner's last beat, and since when we have seen no other."""

    async def take(
        self, keys: PartitionKeys, *, silence: float, batch_size: int, gone: Holder | None = None
    ) -> Ownership | None:
        """Become a partition's owner, if it has none, or one that has been silent for that many seconds.

        An owner that is known to be `gone` is not waited for. Raises RefusedError for state that does not fit,
        GroupGoneError if a group is not there, and other ServerErrors.
        """
        stood = self._stood_still(keys.lease, silence) if gone is None else b"%d" % gone.beat
        try:
            reply = await call_script(
                self._client, "own_take",
                [keys.lease, self._ledger, keys.state, keys.timers, *keys.streams],
                [self._member, int(silence * 1000), stood, self._group, batch_size, self._shape],
            )  # fmt: skip
        except CommandRefusedError as exc:
            if "RESHAPED" in str(exc):
                raise RefusedError(does_not_fit(keys.lease.rpartition(":")[2])) from exc
            raise
        if not isinstance(reply, list):
            raise CommandRefusedError(f"the lease script answered {reply!r}")
        epoch, beat, _, flat, lost, streams = reply
        if epoch == 0:
            if self._beats.get(keys.lease, (b"", 0.0))[0] != beat:
                self._beats[keys.lease] = (beat, time.monotonic())
            return None
        self._beats.pop(keys.lease, None)
        kept = {name.decode(): value.decode() for name, value in zip(flat[::2], flat[1::2], strict=True)}
        stands = {key: at for key, (at, _) in zip(keys.streams, streams, strict=True)}
        return Ownership(
            keys, epoch, int(kept.get("commits", 0)), stands,
            {key: pending for key, (_, pending) in zip(keys.streams, streams, strict=True)},
            kept, int(kept["limit"]), lost=lost, owner=self._member,
            moved=tuple(key for key, at in stands.items() if kept.get(f"at {key}", at.decode()) != at.decode()),
        )  # fmt: skip

    def _stood_still(self, lease: str, silence: float) -> bytes:
        """The owner's beat, if we have seen it stand still for so long by our own clock: the server's may go back."""
        beat, since = self._beats.get(lease, (b"", time.monotonic()))
        return beat if time.monotonic() - since > silence + 1 else b""

    async def share(
        self, partitions: Sequence[PartitionKeys], owned: Mapping[int, Ownership], silence: float
    ) -> Shares:
        """Say that this member is alive, and look at who has which partition; members silent for so long are gone."""
        keys = [self._members, *(one.lease for one in partitions), *(key for one in partitions for key in one.streams)]
        epochs = [owned[number].epoch if number in owned else "" for number in range(len(partitions))]
        arguments = [self._member, int(silence * 1000), self._group, len(partitions), *epochs]
        reply = await call_script(self._client, "own_share", keys, arguments)
        if not isinstance(reply, list):
            raise CommandRefusedError(f"the share script answered {reply!r}")
        members, leases, now = reply
        holders = [
            Holder(owner.decode(), int(beat), int(epoch), int(commits), bool(ours))
            for owner, beat, epoch, commits, ours in leases
        ]
        return Shares([member.decode() for member in members], holders, int(now))

    async def release(self, ownership: Ownership) -> None:
        """Let the next owner start at once; raises FencedError if there is one already."""
        if await call_script(self._client, "own_release", [ownership.keys.lease], [ownership.token]) != 1:
            raise FencedError(f"{ownership.keys.lease} has another owner")

    async def trying(self, ownership: Ownership, source: str, what: bytes) -> int:
        """Note that something from there is tried by itself; returns how often it was, over all owners.

        One note for each source: else what does well from one would hide what does not from another.

        Raises FencedError if the partition has another owner.
        """
        tries = await call_script(self._client, "own_try", [ownership.keys.lease], [ownership.token, source, what])
        if not isinstance(tries, int) or tries < 1:
            raise FencedError(f"{ownership.keys.lease} has another owner")
        return tries

    async def leave(self) -> None:
        """Not be a member any more."""
        await self._client.call("ZREM", self._members, self._member)
