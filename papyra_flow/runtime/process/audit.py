"""A run's audits: what others took from its streams is counted and reported during the run, and once more at its end.

One task for a whole run, however many processes share the work. Entries that were acked, deleted or trimmed by others
show in the ledger's balance (`papyra_flow.streams.commit.ledger`); of keys that are gone only the last audit can tell
what was outstanding.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from papyra_flow.errors import LostEntriesError, ServerError
from papyra_flow.streams.admin.eviction import evicted_keys
from papyra_flow.streams.commit.ledger import Account, Balance, audit, audit_leases
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.retry_policy import RetryPolicy
from papyra_flow.streams.groups.lifecycle import GroupSpec
from papyra_flow.streams.keys import parts_of
from papyra_flow.topology.model import StageSpec, Topology

EVERY_SECONDS = 1.0
TAKEN = (
    "acked (XACK), deleted (XDEL), trimmed (XTRIM) or dropped with their consumer (XGROUP DELCONSUMER) by hand, "
    "or acked by a consumer that is not this pipeline's"
)
AGAIN = "processed again: the group was moved back (XGROUP SETID) or created again by hand"
UNKNOWN = "what others took or moved since the last check is not known"
WIPED = (
    "deleted, flushed (FLUSHALL), evicted, or lost by a server that was restarted without persistence or replaced by "
    "a replica that did not have it"
)

_log = logging.getLogger("papyra_flow.audit")


@dataclass(slots=True)
class _Input:
    """A stage's group, and what was outstanding and lost for it at the last audit."""

    stage: str
    group: GroupSpec
    outstanding: int = 0
    lost: int = 0
    there: bool = False


@dataclass(slots=True)
class _Output:
    """A stream that no stage reads, so that it only grows: its length and its first id at the last audit."""

    stage: str
    key: str
    length: int = 0
    first: bytes = b""


class Audit:
    """The audits of one run: `begin` it, `run` it beside the work, `finish` it."""

    def __init__(self, client: Client, topology: Topology, stages: Iterable[str]) -> None:
        self._client = client
        self._ledger, self._marker = topology.keys.ledger, topology.keys.applied
        names = list(stages)
        self._inputs = [
            _Input(name, GroupSpec(topology.streams[stream].key, topology.stages[name].group))
            for name in names
            for stream in topology.stages[name].inputs
        ]
        self._outputs = [
            _Output(stream.writers[0], stream.key)
            for stream in topology.streams.values()
            if stream.retain == "all" and not stream.readers and not stream.external and {*stream.writers} & {*names}
        ]
        self._leases = [(name, *lease) for name in names for lease in _leases_of(topology.stages[name])]
        self._name = ""
        self._mark: bytes | None = None
        self._evicted = 0
        self.lost: Counter[str] = Counter()
        """Entries lost, by stage."""
        self.again: Counter[str] = Counter()
        """Entries that were processed more often than once, by stage."""
        self.wiped: list[str] = []
        """Keys that the server had, and has lost."""

    async def begin(self) -> None:
        """The audit before the work: finds what was taken since the last run, too; raises ServerErrors."""
        self._evicted = await evicted_keys(self._client)
        balance = await self._balance()
        self._name, self._mark = balance.name, await self._marked()
        for one, account in zip(self._inputs, balance.accounts, strict=True):
            one.lost = account.lost - account.untold
        self._compare(balance, forgotten=False)
        await self._compare_outputs()
        await self._compare_leases()

    async def run(self) -> None:
        """Audit until cancelled; whether the server is away is for the stages to notice."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            with suppress(ServerError):
                await self._look()

    async def finish(self) -> None:
        """The audit behind the work: exact where nothing is left to do; raises ServerErrors."""
        await RetryPolicy("the last audit", give_up_after=5.0).keep_trying(self._look)

    @property
    def error(self) -> LostEntriesError | None:
        """What the run has to end with, if anything was lost under it."""
        told = []
        if total := self.lost.total():
            told.append(f"lost {_counted(total)} before the pipeline had processed them ({_by_stage(self.lost)})")
        if self.wiped:
            told.append(f"{', '.join(dict.fromkeys(self.wiped))} was {WIPED}")
        elif total:
            told.append(f"they were {TAKEN}")
        if total := self.again.total():
            told.append(f"{_counted(total)} ({_by_stage(self.again)}) {_was(total)} {AGAIN}")
        return LostEntriesError("; ".join(told)) if told else None

    async def _look(self) -> None:
        balance = await self._balance()
        self._compare(balance, forgotten=balance.name != self._name and not await self._only_ledger_lost())
        self._name = balance.name
        await self._compare_outputs()
        await self._compare_leases()

    async def _balance(self) -> Balance:
        return await audit(self._client, self._ledger, [one.group for one in self._inputs], telling=True)

    async def _marked(self) -> bytes | None:
        """What the server's groups were marked with when it got them."""
        found = await self._client.call("GET", self._marker)
        return found if isinstance(found, bytes) else None

    async def _only_ledger_lost(self) -> bool:
        """Whether the server has all else that it had, which is said."""
        before, self._mark = self._mark, await self._marked()
        if before is None or self._mark != before:
            return False
        self.wiped.append(self._ledger)
        _log.warning("%s was %s: %s", self._ledger, WIPED, UNKNOWN)
        return True

    def _compare(self, balance: Balance, *, forgotten: bool) -> None:
        for one, account in zip(self._inputs, balance.accounts, strict=True):
            if one.there and (forgotten or not account.there):
                self._gone(one.stage, one.group.key, one.outstanding, "were outstanding")
            elif (more := account.lost - one.lost) > 0:
                self.lost[one.stage] += more
                _log.warning("%s: lost %s of %s: they were %s", one.stage, _counted(more), one.group.key, TAKEN)
            if again := account.again:
                self.again[one.stage] += again
                _log.warning("%s: %s of %s %s %s", one.stage, _counted(again), one.group.key, _was(again), AGAIN)
            _update(one, account)

    async def _compare_outputs(self) -> None:
        """Readers of an output may trim it; so one that begins later is lost only where keys are evicted."""
        keys = [one.key for one in self._outputs]
        lengths = await self._client.call_many([("XLEN", key) for key in keys])
        firsts = await self._client.call_many([("XRANGE", key, "-", "+", "COUNT", 1) for key in keys])
        for one, length, entries in zip(self._outputs, lengths, firsts, strict=True):
            first = entries[0][0] if isinstance(entries, list) and entries else b""
            if one.length and first != one.first and await evicted_keys(self._client) > self._evicted:
                self._gone(one.stage, one.key, one.length, "were there")
            one.length, one.first = length if isinstance(length, int) else 0, first

    async def _compare_leases(self) -> None:
        """Where a lease is lost, how far its stage had read or written is not known any more."""
        found = await audit_leases(self._client, self._ledger, [lease for _, lease, _ in self._leases])
        for (stage, lease, meaning), (gone, parts) in zip(self._leases, found, strict=True):
            if gone or parts:
                key = lease if gone else parts_of(lease)
                self.wiped.append(key)
                _log.warning("%s: %s was %s: %s", stage, key, WIPED, meaning)

    def _gone(self, stage: str, key: str, count: int, what: str) -> None:
        self.wiped.append(key)
        self.lost[stage] += count
        _log.warning("%s: %s was %s; %s %s at the last check", stage, key, WIPED, _counted(count), what)


def _leases_of(stage: StageSpec) -> list[tuple[str, str]]:
    """A stage's leases, each with what it means that one is lost."""
    found = []
    if stage.source is not None:
        found.append((stage.source_lease, "its source may read earlier records again"))
    if stage.exclusive:
        found.append((stage.sink_lease, "uncommitted output may be written twice"))
    return found


def _update(one: _Input, account: Account) -> None:
    one.there, one.outstanding, one.lost = account.there, account.outstanding, account.lost


def _by_stage(counts: Counter[str]) -> str:
    return ", ".join(f"{stage} {count:,}" for stage, count in counts.items() if count)


def _was(count: int) -> str:
    return "was" if count == 1 else "were"


def _counted(count: int) -> str:
    return f"{count:,} {'entry' if count == 1 else 'entries'}"
