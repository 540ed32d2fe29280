"""Who may write a source's records or a sink's file: one owner at a time, fenced by an epoch.

Taking a lease raises its epoch; every commit of the owner before then carries the old one and is refused by
the script it runs in (the fencing token of https://martin.kleppmann.com/2016/02/08/how-to-do-distributed-locking.html).
The checkpoint lives in the same hash, so that it moves in the same script as what it stands for. A source of many
parts, such as the files of a glob, has a state for each of them in a second hash, so that a commit writes those that
moved and no others.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from papyra_flow.errors import CommandRefusedError, FencedError, RecordError
from papyra_flow.streams.connection.client import Argument, Client
from papyra_flow.streams.connection.server_errors import refusal
from papyra_flow.streams.keys import parts_of
from papyra_flow.streams.scripts import call_script


@dataclass(slots=True)
class Lease:
    """A lease that was taken: its epoch, and what its last owner left."""

    key: str
    epoch: int
    checkpoint: str
    commits: int
    done: bool
    records: int

    @property
    def parts_key(self) -> str:
        """The hash of the states of a source's parts."""
        return parts_of(self.key)


class Leases:
    """Takes, refreshes and moves leases over one connection; `owner` is this process' name, `ledger` knows of them."""

    def __init__(self, client: Client, owner: str, probe: str, ledger: str = "") -> None:
        self._client = client
        self._owner = owner
        self._probe = probe
        self._ledger = [ledger] if ledger else []
        self._beats: dict[str, tuple[bytes, float]] = {}
        """For each lease that we wait for: its owner's last beat, and since when we have seen no other."""

    async def take(self, key: str, *, wait_for: float | None = None) -> Lease | None:
        """Become the owner.

        With `wait_for`, only if the owner has been silent for that many seconds, else None: by the server's clock, or
        by ours, since the server's may go back.
        """
        mode = "take" if wait_for is None else "wait"
        arguments = (self._owner, mode, int(wait_for or 0), self._stood_still(key, wait_for or 0.0))
        reply = await call_script(self._client, "acquire", [key, *self._ledger], arguments)
        if not isinstance(reply, list):
            raise CommandRefusedError(f"the lease script answered {reply!r}")
        epoch, checkpoint, commits, done, records, beat = reply
        if epoch == 0:
            if self._beats.get(key, (b"", 0.0))[0] != beat:
                self._beats[key] = (beat, time.monotonic())
            return None
        self._beats.pop(key, None)
        return Lease(key, epoch, checkpoint.decode(), int(commits), done == b"1", int(records))

    async def parts(self, lease: Lease) -> dict[str, str]:
        """The states of a source's parts by their names; only the lease's owner moves them."""
        found: dict[str, str] = {}
        cursor = b"0"
        while True:
            reply = await self._client.call("HSCAN", lease.parts_key, cursor, "COUNT", 500)
            if not isinstance(reply, list):
                raise CommandRefusedError(f"HSCAN answered {reply!r}")
            cursor, flat = reply
            found |= {name.decode(): state.decode() for name, state in zip(flat[::2], flat[1::2], strict=True)}
            if cursor == b"0":
                return found

    async def is_known(self, lease: Lease) -> bool:
        """Whether the server has it, with any owner."""
        return await self._client.call("HGET", lease.key, "epoch") is not None

    def _stood_still(self, key: str, silence: float) -> bytes:
        """The owner's beat, if we have seen it stand still for so long; beats are whole seconds."""
        beat, since = self._beats.get(key, (b"", time.monotonic()))
        return beat if time.monotonic() - since > silence + 1 else b""

    async def beat(self, lease: Lease) -> None:
        """Say that the owner is still there; raises FencedError if another process is by now."""
        await self._update(lease)

    async def move(self, lease: Lease, checkpoint: str) -> None:
        """Set the checkpoint outside a commit, if it is another; raises FencedError."""
        if checkpoint != lease.checkpoint:
            await self._update(lease, "checkpoint", checkpoint)
            lease.checkpoint = checkpoint

    async def release(self, lease: Lease) -> None:
        """Let the next owner start at once."""
        await self._update(lease, "owner", "")

    async def _update(self, lease: Lease, *fields: str) -> None:
        if await call_script(self._client, "update_lease", [lease.key], [lease.epoch, *fields]) != 1:
            raise FencedError(f"{lease.key} has another owner")

    async def ingest(
        self,
        lease: Lease,
        *,
        targets: Sequence[str],
        records: Sequence[tuple[int, Sequence[bytes]]],
        read: int,
        checkpoint: str,
        done: bool,
        parts: Mapping[str, str] | None = None,
    ) -> None:
        """Add a source's records to `targets` and move its checkpoint, atomically.

        `records` are target index and flat fields; `read` counts the source's records in this commit, `done`
        says that it has ended, `parts` are the new states of those parts that moved ('' for one to forget).
        Repeating it with the same lease after a lost reply does nothing twice. Raises FencedError if another process
        owns the source, ServerErrors with nothing done.
        """
        number, total = lease.commits + 1, lease.records + read
        moved = parts or {}
        arguments: list[Argument] = [lease.epoch, number, checkpoint, int(done), total, len(moved)]
        for name, state in moved.items():
            arguments += (name, state)
        for target, fields in records:
            if not fields:
                raise RecordError("a record without fields cannot be added to a stream")
            if len(fields) == 2 and fields[0] == b"data":
                arguments += (target + 4, fields[1])
            else:
                arguments += ("*", target + 4, len(fields), *fields)
        keys = [self._probe, lease.key, lease.parts_key, *targets]
        reply = await call_script(self._client, "ingest", keys, arguments)
        if isinstance(reply, list) and reply[1]:
            raise refusal(reply[1].decode(errors="replace"))
        lease.commits, lease.records = number, total
        lease.checkpoint, lease.done = checkpoint, done
