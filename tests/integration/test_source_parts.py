"""A source's parts: their states move in the same script as the records, or not at all."""

from __future__ import annotations

import pytest

from papyra_flow.errors import FencedError, ServerError
from papyra_flow.streams.commit.lease import Lease, Leases
from papyra_flow.streams.connection.client import Client

OUT, PROBE, LEASE = "{t}:out", "{t}:@probe", "{t}:@source:s"


async def taken(client: Client, owner: str = "me") -> tuple[Leases, Lease]:
    leases = Leases(client, owner, PROBE)
    lease = await leases.take(LEASE)
    assert lease is not None
    return leases, lease


async def added(leases: Leases, lease: Lease, *data: bytes, **parts: str) -> None:
    await leases.ingest(
        lease, targets=[OUT, "{t}:other"], records=[(0, (b"data", one)) for one in data], read=len(data),
        checkpoint="c", done=False, parts=parts,
    )  # fmt: skip


async def test_parts_move_with_their_records_and_only_those_that_moved(client: Client) -> None:
    leases, lease = await taken(client)
    await added(leases, lease, b"1", one="a", two="b")
    await added(leases, lease, b"2", two="c")
    await added(leases, lease, one="")
    assert await leases.parts(lease) == {"two": "c"}
    assert await client.call("XLEN", OUT) == 2


async def test_a_source_of_many_parts_has_all_of_them_after_a_restart(client: Client) -> None:
    leases, lease = await taken(client)
    states = {f"n{number}": "s" * 100 for number in range(3000)}
    for start in range(0, 3000, 500):
        await added(leases, lease, **dict(list(states.items())[start : start + 500]))
    again, held = await taken(client, "next")
    assert await again.parts(held) == states


async def test_a_repeated_commit_moves_no_part_twice(client: Client) -> None:
    leases, lease = await taken(client)
    await added(leases, lease, b"1", one="a")
    await client.call("HSET", lease.parts_key, "one", "moved since")
    lease.commits, lease.records = 0, 0  # as it was before the reply that got lost
    await added(leases, lease, b"1", one="a")
    assert await leases.parts(lease) == {"one": "moved since"}
    assert await client.call("XLEN", OUT) == 1


async def test_a_fenced_owner_moves_no_part(client: Client) -> None:
    leases, lease = await taken(client)
    await added(leases, lease, one="a")
    _, newer = await taken(client, "newer")
    with pytest.raises(FencedError):
        await added(leases, lease, one="b")
    assert await leases.parts(newer) == {"one": "a"}


async def test_a_commit_that_is_refused_half_way_leaves_parts_and_streams_as_they_were(client: Client) -> None:
    """The last id that a stream can have: the second record cannot be added, which no check before could tell."""
    leases, lease = await taken(client)
    await added(leases, lease, one="a", two="b")
    await client.call("XADD", OUT, "18446744073709551615-18446744073709551614", "data", "last but one")
    with pytest.raises(ServerError):
        await added(leases, lease, b"1", b"2", one="x", two="", three="y")
    assert await leases.parts(lease) == {"one": "a", "two": "b"}
    assert await client.call("XLEN", OUT) == 1


async def test_a_parts_key_of_another_type_is_found_out_before_the_first_write(client: Client) -> None:
    leases, lease = await taken(client)
    await client.call("SET", lease.parts_key, "a string")
    with pytest.raises(ServerError):
        await added(leases, lease, b"1", one="a")
    assert await client.call("XLEN", OUT) == 0
    assert await client.call("HGET", LEASE, "checkpoint") is None


async def test_a_commit_that_was_refused_half_way_is_not_taken_for_done_when_it_comes_again(client: Client) -> None:
    leases, lease = await taken(client)
    await client.call("XADD", OUT, "18446744073709551615-18446744073709551614", "data", "last but one")
    with pytest.raises(ServerError):
        await added(leases, lease, b"1", b"2", one="x")
    await client.call("DEL", OUT)
    await added(leases, lease, b"1", b"2", one="x")
    assert await leases.parts(lease) == {"one": "x"}
    assert await client.call("XLEN", OUT) == 2


async def test_an_owner_whose_lease_was_moved_without_it_adds_nothing(client: Client) -> None:
    leases, lease = await taken(client)
    await added(leases, lease, b"1", one="a")
    await client.call("HSET", LEASE, "commits", 5)
    with pytest.raises(FencedError):
        await added(leases, lease, b"2", one="b")
    assert await leases.parts(lease) == {"one": "a"}
    assert await client.call("XLEN", OUT) == 1
