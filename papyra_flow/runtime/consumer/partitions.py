"""A process' share of a stage's partitions: taken one at a time, kept as long as it is its share, let go at once.

All members of a stage say that they are alive, and see who has what. Each works out its share from that: partitions
divided by members, the first ones get one more. Whoever has more lets go, whoever has less takes what is free.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from papyra_flow.errors import FencedError, GroupGoneError, ServerError
from papyra_flow.runtime.consumer.consumer_names import consumer_name, gone
from papyra_flow.runtime.consumer.group_repair import repair_group
from papyra_flow.runtime.consumer.owner import PartitionOwner
from papyra_flow.runtime.consumer.upstream import Upstream
from papyra_flow.runtime.services.keepalive import HeldLeases
from papyra_flow.runtime.services.partition_state import PartitionState
from papyra_flow.runtime.services.state_keeper import ServerState
from papyra_flow.runtime.stage.opening import open_state
from papyra_flow.runtime.stage.stage import StageRuntime
from papyra_flow.streams.commit.ownership import Holder, Owners, Ownership, PartitionKeys, Shares

LOOK_AGAIN_SECONDS = 0.5
_log = logging.getLogger("papyra_flow.stage")


def share_of(member: str, members: Sequence[str], partitions: int) -> int:
    """How many of the partitions are a member's."""
    if member not in members:
        return 0
    rank = members.index(member)
    return partitions // len(members) + (rank < partitions % len(members))


class Partitions:
    """A stage's partitions in one process; `run` it, `stop` it, `leave`."""

    def __init__(self, stage: StageRuntime, partitions: Sequence[PartitionKeys], member: str) -> None:
        self._stage = stage
        self._partitions = partitions
        spec, context = stage.spec, stage.context
        self._member = member
        self._silence = spec.settings.claim_after
        self._owners = Owners(
            context.server.client, member=member, group=spec.group, members=context.topology.keys.owners(spec.name),
            ledger=context.topology.keys.ledger, shape=stage.shape,
        )  # fmt: skip
        self._mine: dict[int, PartitionOwner] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._leaving: set[int] = set()
        """Those that are let go: their batch in flight is still being committed."""
        self._stopping: set[asyncio.Task[None]] = set()
        self._held = HeldLeases(self._silence / 3)
        context.keepalive.watch(self._held)
        self._looked = False
        self._changed = asyncio.Event()

    @property
    def name(self) -> str:
        """The stage's."""
        return self._stage.name

    @property
    def at_rest(self) -> bool:
        """Whether nothing of what it owns is in flight, and it has looked for what it might own."""
        return self._looked and not self._leaving and all(owner.at_rest for owner in self._mine.values())

    async def run(self) -> None:
        """Own a share of the partitions until stopped; raises what ends the pipeline."""
        context = self._stage.context
        try:
            while not context.stopping.is_set():
                again = await self._look()
                await self._wait(0.0 if again else LOOK_AGAIN_SECONDS)
                for number in [number for number, task in self._tasks.items() if task.done()]:
                    await self._ended_one(number)
        finally:
            await asyncio.gather(*(owner.stop() for owner in self._mine.values()))
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            for task in self._tasks.values():
                if not task.cancelled() and (exc := task.exception()) is not None and not context.stopping.is_set():
                    raise exc

    async def stop(self) -> None:
        """Have all owners finish what is in flight."""
        self._changed.set()
        await asyncio.gather(*(owner.stop() for owner in self._mine.values()))

    async def leave(self) -> None:
        """Let the next owners start at once."""
        for owner in list(self._mine.values()):
            await self._release(owner)
        self._mine.clear()
        await self._owners.leave()

    def end_of_input(self) -> None:
        """All of the stage's input has arrived: what is open closes."""
        for owner in self._mine.values():
            owner.end_of_input()

    # -- sharing ----------------------------------------------------------------------------------------------

    async def _look(self) -> bool:
        """Take or let go of one partition, if that is due; returns whether there may be more to do at once."""
        keep_trying = self._stage.retry_policy.keep_trying
        owned = {number: owner.ownership for number, owner in self._mine.items()}
        commits = {number: ownership.commits for number, ownership in owned.items()}
        shares = await keep_trying(lambda: self._owners.share(self._partitions, owned, self._silence))
        self._held.beaten()
        if lost := gone(shares.members):  # else a share of the partitions would wait for them
            await keep_trying(lambda: self._owners.leave(*lost))
            shares = replace(shares, members=[member for member in shares.members if member not in lost])
        for number, ownership in owned.items():
            self._check(number, ownership, commits[number], shares.holders[number])
        share = share_of(self._member, shares.members, len(self._partitions))
        kept = [number for number in self._mine if number not in self._leaving]
        if len(kept) > share:
            self._let_go(kept[-1])
            return True
        took = len(kept) < share and await self._take_one(shares)
        self._looked = self._looked or not took
        if not took:
            self._stage.context.activity.set()
        return took

    def _check(self, number: int, ownership: Ownership, commits: int, holder: Holder) -> None:
        """Let go of a partition that has to be taken again, which an owner that has nothing to commit does not notice.

        It has another owner, it or its group was moved by hand, its group is gone, or the server has lost commits.
        """
        if holder.ours and holder.commits >= commits:
            return
        owner = self._mine.get(number)
        if owner is not None and owner.ownership is ownership and number not in self._leaving:
            self._let_go(number)

    async def _take_one(self, shares: Shares) -> bool:
        """Take a partition that nobody has, or whose owner is gone; those that come last in everybody's order first."""
        rank, count = shares.members.index(self._member), len(self._partitions)
        first = rank * count // len(shares.members)
        lost = set(gone(holder.owner for holder in shares.holders if holder.owner))
        for number in ((first + step) % count for step in range(count)):
            holder = shares.holders[number]
            if number in self._mine:
                continue
            free = not holder.owner or holder.owner == self._member or holder.owner in lost
            if not free and shares.now - holder.beat < self._silence * 1000 and holder.owner in shares.members:
                continue
            try:
                ownership = await self._stage.retry_policy.keep_trying(
                    lambda number=number, holder=holder: self._owners.take(  # type: ignore[misc]
                        self._partitions[number], silence=self._silence,
                        batch_size=self._stage.spec.settings.batch_size, gone=holder if holder.owner in lost else None,
                    )
                )  # fmt: skip
            except GroupGoneError:
                await self._stage.retry_policy.keep_trying(lambda: repair_group(self._stage))
                return True
            if ownership is not None:
                self._begin(number, ownership)
                return True
        return False

    def _begin(self, number: int, ownership: Ownership) -> None:
        stage = self._stage
        for key in ownership.moved:
            _log.warning(
                "%s: the group on %s was moved by hand, to %s", stage.name, key, ownership.positions[key].decode()
            )
        if ownership.lost:
            _log.warning(
                "%s: the server lost %d keys of the state %s", stage.name, ownership.lost, ownership.keys.state
            )
            stage.counters.lost += ownership.lost
        owner = PartitionOwner(
            stage, consumer_name(stage.context.process, stage.name, number), ownership, self._state_of(ownership),
            self._owners.trying,
        )  # fmt: skip
        self._mine[number] = owner
        self._held.hold(ownership)
        self._tasks[number] = asyncio.create_task(owner.run())
        self._tasks[number].add_done_callback(lambda _: self._changed.set())

    def _state_of(self, ownership: Ownership) -> PartitionState | None:
        stage, context = self._stage, self._stage.context
        keeper = ServerState(context.server.client, ownership.keys, stage.retry_policy)
        held = Upstream(context, stage.spec).holds_anything
        return open_state(stage, ownership, keeper, held, asyncio.get_running_loop().time())

    def _let_go(self, number: int) -> None:
        self._leaving.add(number)
        stopping = asyncio.create_task(self._mine[number].stop())
        self._stopping.add(stopping)
        stopping.add_done_callback(self._stopping.discard)

    async def _ended_one(self, number: int) -> None:
        """An owner has ended: because it was to let go, or has lost the partition, or for an error, which is raised."""
        task, owner = self._tasks.pop(number), self._mine.pop(number)
        self._leaving.discard(number)
        self._held.drop(owner.ownership)
        # Whatever the reason, nothing is in flight any more: who takes the partition next need not be careful.
        with suppress(ServerError):
            await self._release(owner)
        task.result()

    async def _release(self, owner: PartitionOwner) -> None:
        with suppress(FencedError):
            await self._owners.release(owner.ownership)

    async def _wait(self, seconds: float) -> None:
        if not seconds:
            return
        self._changed.clear()
        stopping = asyncio.create_task(self._stage.context.stopping.wait())
        changed = asyncio.create_task(self._changed.wait())
        try:
            await asyncio.wait({stopping, changed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            changed.cancel()
