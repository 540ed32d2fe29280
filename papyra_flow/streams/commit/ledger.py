"""The ledger: whether all that a group was given is acked by the pipeline's own commits, or still pending.

Each commit counts what it acks in the hash `{pipeline}:@ledger`. An audit compares that with how far the group is and
what is pending for it: whatever is in neither was acked, deleted, trimmed or taken by others, and is lost for the
pipeline. It is counted there once, and told by a run. What an operator takes on purpose is written off,
as if it had been acked.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import uuid4

from papyra_flow.errors import CommandRefusedError
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.groups.lifecycle import GroupSpec
from papyra_flow.streams.keys import parts_of
from papyra_flow.streams.scripts import call_script

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Account:
    """A group's: whether it is there, entries still to do, entries lost in all, and those of them not told yet.

    `again` are those not told yet that were processed more often than once, which shows when nothing is left to do.
    """

    there: bool
    outstanding: int
    lost: int
    untold: int
    again: int = 0


@dataclass(frozen=True, slots=True)
class Balance:
    """What one audit found; `name` is another where the server has lost the ledger."""

    name: str
    accounts: list[Account]


async def audit(client: Client, ledger: str, groups: Sequence[GroupSpec], *, telling: bool) -> Balance:
    """Balance these groups, in their order; what is missing is booked as lost, and as told if it is `telling`."""
    keys, names = [spec.key for spec in groups], [spec.group for spec in groups]
    reply = await call_script(client, "audit", [ledger, *keys], [uuid4().hex, int(telling), *names])
    if not isinstance(reply, list):
        raise CommandRefusedError(f"the audit script answered {reply!r}")
    name, *accounts = reply
    return Balance(name.decode(), [Account(bool(there), *numbers) for there, *numbers in accounts])


async def audit_leases(client: Client, ledger: str, leases: Sequence[str]) -> list[tuple[bool, int]]:
    """For each lease whether it was lost, and how many states of its parts were; each is told once."""
    keys = [key for lease in leases for key in (lease, parts_of(lease))]
    reply = await call_script(client, "audit_leases", [ledger, *keys], [])
    if not isinstance(reply, list):
        raise CommandRefusedError(f"the audit of leases answered {reply!r}")
    return [(bool(gone), parts) for gone, parts in reply]


async def reopen(client: Client, ledger: str, groups: Sequence[GroupSpec]) -> None:
    """Begin the balance of these groups again, here and now: they were created, or moved on purpose."""
    if fields := [f"base {spec.key} {spec.group}" for spec in groups]:
        await client.call("HDEL", ledger, *fields)
        await audit(client, ledger, groups, telling=False)


async def move(client: Client, ledger: str, groups: Sequence[GroupSpec], moving: Awaitable[T]) -> T:
    """Have an operator move these groups: no audit finds lost what they skip, and the next one what was lost before."""
    if groups:
        await audit(client, ledger, groups, telling=False)
    done = await moving
    await reopen(client, ledger, groups)
    return done


async def write_off(client: Client, ledger: str, taken: Mapping[GroupSpec, int], taking: Awaitable[T]) -> T:
    """Have an operator, who confirmed it, take that many entries from these groups: no audit finds them lost.

    They are counted before they are gone, so that no audit in between does. Entries that were not delivered yet show in
    the balance only when the group has passed them, so that it cannot begin again behind them.
    """
    if taken:
        await audit(client, ledger, list(taken), telling=False)
    for spec, count in taken.items():
        if count:
            await client.call("HINCRBY", ledger, f"acked {spec.key} {spec.group}", count)
            # What a consumer is working on at this moment is acked by its commit, too.
            await client.call("HINCRBY", ledger, f"off {spec.key} {spec.group}", count)
    return await taking


async def losses(client: Client, ledger: str) -> dict[tuple[str, str], int]:
    """Entries lost so far, by key and group, as all audits have booked them."""
    reply = await client.call("HGETALL", ledger)
    found: dict[tuple[str, str], int] = {}
    facts = iter(reply) if isinstance(reply, list) else iter(())
    for field, number in zip(facts, facts, strict=True):
        kind, _, of = field.decode(errors="replace").partition(" ")
        if kind == "lost":
            key, _, group = of.rpartition(" ")
            found[key, group] = int(number)
    return found
