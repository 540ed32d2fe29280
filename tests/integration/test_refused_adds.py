"""An XADD that no check foresees is refused in the middle of a script: what it belongs to is taken back as a whole.

A stream that has used up its last id refuses all that is added to it, and looks like any other before.
"""

from __future__ import annotations

import pytest

from papyra_flow.errors import CommandRefusedError, ServerError
from papyra_flow.records.entries import Entry
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.commit.operations import MoveCheckpoint
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.delayed import fields_to_wait, waiting
from tests.integration.test_commit import GROUP, IN, LEASE, OTHER, OUT, PROBE, contents, delivered, pending

FULL, LEDGER, LATER = OTHER, "{t}:@ledger", "{t}:@later:s"
LAST = f"{2**64 - 1}-{2**64 - 1}"


def committer(client: Client, *, lease: str | None = None) -> Committer:
    return Committer(
        client, source=IN, group=GROUP, consumer="one", probe=PROBE, lease=lease, targets=[OUT, FULL], ledger=LEDGER,
        later=LATER,
    )  # fmt: skip


async def refused(client: Client, count: int) -> list[Entry]:
    """Entries to commit, with a target that will refuse."""
    entries = await delivered(client, count)
    await client.call("XADD", FULL, LAST, "data", b"the last one")
    return entries


async def acked(client: Client) -> int:
    """What the ledger has counted."""
    reply = await client.call("HGET", LEDGER, f"acked {IN} {GROUP}")
    return int(reply) if isinstance(reply, bytes) else 0


async def owners(client: Client) -> set[bytes]:
    reply = await client.call("XPENDING", IN, GROUP, "-", "+", 100)
    assert isinstance(reply, list)
    return {bytes(entry[1]) for entry in reply}


async def test_an_entry_whose_record_is_refused_stays_pending_and_those_before_it_are_done(client: Client) -> None:
    entries = await refused(client, 4)
    commit = Commit()
    for number, entry in enumerate(entries):
        commit.forward(entry.id, 1 if number == 2 else 0, b"{}")
    with pytest.raises(CommandRefusedError):
        await committer(client).commit(commit)
    assert (len(await contents(client, OUT)), await pending(client), await acked(client)) == (2, 2, 2)
    assert await owners(client) == {b"one"}


async def test_an_entry_that_became_several_records_leaves_none_where_one_is_refused(client: Client) -> None:
    entries = await refused(client, 2)
    commit = Commit()
    commit.forward(entries[0].id, 0, b"{}")
    commit.emit(entries[1].id, [(0, (b"data", b"1")), (0, (b"data", b"2")), (1, (b"data", b"3"))])
    with pytest.raises(CommandRefusedError):
        await committer(client).commit(commit)
    assert [entry.data for entry in await contents(client, OUT)] == [b"{}"]
    assert (await pending(client), await acked(client)) == (1, 1)


@pytest.mark.parametrize("exclusive", [False, True])
async def test_entries_that_are_one_leave_nothing_where_something_is_refused(client: Client, exclusive: bool) -> None:
    """Neither records, nor attempts to come, nor a checkpoint; and what is pending stays that."""
    entries = await refused(client, 3)
    commit = Commit()
    assert commit.wait(entries[0].id, 3_600_000, fields_to_wait(entries[0]))
    commit.emit(entries[1].id, [(0, (b"data", b"1"))])
    commit.emit(entries[2].id, [(1, (b"data", b"2"))])
    lease = await Leases(client, "me", PROBE).take(LEASE) if exclusive else None
    moved = MoveCheckpoint(LEASE, lease.epoch, "", "9") if lease else None
    one = committer(client, lease=LEASE if exclusive else None)
    with pytest.raises(CommandRefusedError):
        await one.commit(commit, together=not exclusive, checkpoint=moved)
    assert await contents(client, OUT) == []
    assert (await waiting(client, [LATER]))[0].records == 0
    assert (await pending(client), await acked(client)) == (3, 0)
    assert await client.call("HGET", LEASE, "checkpoint") is None
    await client.call("DEL", FULL)
    commit.waiting = None
    done = await one.commit(commit, together=not exclusive, checkpoint=moved)
    assert (done.acked, await pending(client), await acked(client)) == (3, 0, 3)
    assert (await waiting(client, [LATER]))[0].records == 1


@pytest.mark.parametrize("right", ["xack", "xadd"])
async def test_a_right_that_is_missing_is_found_out_before_anything_is_written(
    client: Client, any_url: str, right: str
) -> None:
    """A ledger that had counted what was not acked would hide as many losses; attempts count on where they were."""
    entries = await delivered(client, 2)
    await client.call("XCLAIM", IN, GROUP, "one", 0, *(entry.id for entry in entries), "RETRYCOUNT", 4)
    await client.call("ACL", "SETUSER", "low", "reset", "on", ">pw", "~*", "+@all", f"-{right}")
    server = Server(any_url.replace("://", "://low:pw@"))
    try:
        commit = Commit()
        for entry in entries:
            commit.forward(entry.id, 0, b"{}")
        with pytest.raises(ServerError, match=r"(?i)permissions|can't run this command"):
            await committer(server.client).commit(commit)
    finally:
        await server.close()
        await client.call("ACL", "DELUSER", "low")
    assert (await contents(client, OUT), await pending(client), await acked(client)) == ([], 2, 0)
    reply = await client.call("XPENDING", IN, GROUP, "-", "+", 10)
    assert isinstance(reply, list)
    assert [entry[3] for entry in reply] == [4, 4]
