"""What speaks Redis, against real servers: reading, claiming, retention, positions, leases, groups, the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from papyra_flow.errors import (
    CommandRefusedError,
    ConnectionLostError,
    FencedError,
    GroupGoneError,
    ServerUnreachableError,
    TryAgainError,
    WrongKeyTypeError,
)
from papyra_flow.records.entries import Entry
from papyra_flow.streams.admin.dead_letters import dead_letter, find_dead, replay
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.lag import counted
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups, delete_consumer, destroy_groups
from papyra_flow.streams.groups.reading import GroupReader
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.streams.retention import trim_acked
from tests.harness import HANGS_SECONDS
from tests.harness.pipelines import until

KEY, GROUP, MARKER = "{t}:s", "g", "{t}:@applied"


async def filled(client: Client, count: int, *groups: str) -> None:
    await create_groups(client, [GroupSpec(KEY, group) for group in groups or (GROUP,)], marker=MARKER)
    await client.call_many([("XADD", KEY, f"{n}-0", "data", b'{"n":%d}' % n) for n in range(1, count + 1)])


def reader(client: Client, consumer: str = "one", control: Client | None = None) -> GroupReader:
    return GroupReader(client, control or client, keys=[KEY], group=GROUP, consumer=consumer)


def claimer(client: Client, consumer: str = "two") -> Claimer:
    return Claimer(client, key=KEY, group=GROUP, consumer=consumer)


def numbers(entries: list[Entry]) -> list[int]:
    return [int(entry.id.split(b"-")[0]) for entry in entries]


@pytest.fixture
async def second_wire(any_url: str) -> AsyncIterator[Client]:
    server = Server(any_url)
    yield server.client
    await server.close()


# -- groups -----------------------------------------------------------------------------------------------------------


async def test_groups_are_created_with_their_streams_and_again_without_harm(client: Client) -> None:
    specs = [GroupSpec(f"{{t}}:{i}", "g") for i in range(50)]
    assert len(await create_groups(client, specs, marker=MARKER)) == 50
    assert await create_groups(client, [*specs, GroupSpec("{t}:new", "g", "$")], marker=MARKER) == [
        GroupSpec("{t}:new", "g", "$")
    ]


async def test_all_other_groups_are_created_before_the_one_that_cannot_be_is_told(client: Client) -> None:
    await client.call("SET", "{t}:a", "x")
    with pytest.raises(WrongKeyTypeError):
        await create_groups(client, [GroupSpec("{t}:a", "g"), GroupSpec("{t}:b", "g")], marker=MARKER)
    assert await client.call("TYPE", "{t}:b") == b"stream"


async def test_destroying_groups_that_are_gone_is_no_error(client: Client) -> None:
    await filled(client, 1)
    await destroy_groups(client, [GroupSpec(KEY, GROUP), GroupSpec(KEY, "never"), GroupSpec("{t}:none", "g")])
    assert await client.call("XINFO", "GROUPS", KEY) == []


async def test_a_consumer_with_pending_entries_is_not_removed(client: Client) -> None:
    await filled(client, 2)
    await reader(client).read(2, block=1)
    await delete_consumer(client, KEY, GROUP, "one")
    assert len(await claimer(client, "one").pending(10)) == 2
    await client.call("XACK", KEY, GROUP, "1-0", "2-0")
    await delete_consumer(client, KEY, GROUP, "one")
    assert await client.call("XINFO", "CONSUMERS", KEY, GROUP) == []


# -- reading ----------------------------------------------------------------------------------------------------------


async def test_a_read_waits_for_what_comes_and_ends_when_told_to(client: Client, second_wire: Client) -> None:
    await filled(client, 0)
    waiting = reader(second_wire, control=client)
    await waiting.identify()
    blocked = asyncio.create_task(waiting.read(10, block=60))
    await client.call("XADD", KEY, "1-0", "data", "{}")
    assert [batch.ids for batch in await blocked] == [(b"1-0",)]
    blocked = asyncio.create_task(waiting.read(10, block=60))
    while b"cmd=xreadgroup" not in await clients(client):
        pass  # each look is a round trip, during which the read goes out
    await waiting.stop()
    assert await blocked == []
    assert await waiting.read(10, block=60) == []


async def test_a_read_on_a_connection_made_anew_ends_too_when_told_to(client: Client, second_wire: Client) -> None:
    await filled(client, 0)
    waiting = reader(second_wire, control=client)
    await waiting.identify()
    await client.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    await until(lambda: not second_wire.connected)
    blocked = asyncio.create_task(waiting.read(10, block=60))
    while b"cmd=xreadgroup" not in await clients(client):
        pass
    await waiting.stop()
    assert await blocked == []


async def clients(client: Client) -> bytes:
    reply = await client.call("CLIENT", "LIST")
    assert isinstance(reply, bytes)
    return reply


async def test_a_group_that_is_gone_is_told_as_such(client: Client) -> None:
    with pytest.raises(GroupGoneError):
        await reader(client).read(1, block=0.01)
    await filled(client, 0)
    await client.call("XGROUP", "DESTROY", KEY, GROUP)
    with pytest.raises(GroupGoneError):
        await reader(client).read(1, block=0.01)


# -- claiming ---------------------------------------------------------------------------------------------------------


async def test_claims_carry_their_cursor_to_the_end_of_a_long_pending_list(client: Client) -> None:
    """XAUTOCLAIM looks at 10 x COUNT entries a call; without the cursor the tail would never be seen."""
    await filled(client, 3000)
    await reader(client).read(3000, block=1)
    # All but the last are made busy: looking for idle ones, a call finds nothing until it comes to the tail.
    await claimer(client, "one").refresh([b"%d-0" % n for n in range(1, 3000)])
    await client.call("XCLAIM", KEY, GROUP, "one", 0, "3000-0", "IDLE", 10_000_000, "JUSTID")
    mine, calls = claimer(client), 0
    found: list[bytes] = []
    while not found:
        found = await mine.claim(3600, count=10)
        calls += 1
        assert calls <= 40
    assert found == [b"3000-0"]
    assert calls > 1


async def test_delivery_counts_rise_only_for_entries_taken_in_hand(client: Client) -> None:
    await filled(client, 3)
    await reader(client).read(3, block=1)
    mine = claimer(client)
    assert len(await mine.claim(0)) == 3
    taken = await mine.take([b"1-0", b"2-0"])
    assert [entry.deliveries for entry in taken] == [2, 2]
    await mine.refresh([b"1-0", b"2-0", b"3-0"])
    assert await mine.deliveries([b"1-0", b"2-0", b"3-0"]) == {b"1-0": 2, b"2-0": 2, b"3-0": 1}


async def test_what_is_given_back_is_taken_by_the_next_consumer_at_once(client: Client) -> None:
    await filled(client, 5)
    await reader(client).read(5, block=1)
    assert await claimer(client).claim(3600) == []
    assert await claimer(client, "one").give_back(3600) == 5
    assert all(3600 < p.idle < 3600 + HANGS_SECONDS for p in await claimer(client).pending(9, consumer="")), (
        "not their true age"
    )
    assert len(await claimer(client).claim(3600)) == 5
    assert [p.deliveries for p in await claimer(client).pending(9)] == [1] * 5


async def test_an_entry_deleted_by_somebody_is_counted_and_not_waited_for(client: Client) -> None:
    await filled(client, 3)
    await reader(client).read(3, block=1)
    await client.call("XDEL", KEY, "2-0")
    mine = claimer(client)
    assert len(await mine.claim(0)) == 2
    assert mine.deleted == 1
    assert numbers(await mine.take([b"1-0", b"2-0", b"3-0"])) == [1, 3]


async def test_all_of_a_consumer_that_is_gone_is_taken_over(client: Client) -> None:
    await filled(client, 4)
    await reader(client, "gone").read(2, block=1)
    await reader(client, "here").read(2, block=1)
    assert await claimer(client).claim_from("gone") == [b"1-0", b"2-0"]
    assert [p.consumer for p in await claimer(client).pending(9, consumer="")] == ["two", "two", "here", "here"]


# -- retention (I3) ---------------------------------------------------------------------------------------------------


async def remaining(client: Client) -> list[int]:
    reply = await client.call("XRANGE", KEY, "-", "+")
    assert isinstance(reply, list)
    return [int(entry[0].split(b"-")[0]) for entry in reply]


async def test_what_some_group_has_not_acked_is_never_trimmed(client: Client) -> None:
    await filled(client, 10, "fast", "slow")
    for group, read, acked in (("fast", 10, 10), ("slow", 6, 3)):
        await client.call("XREADGROUP", "GROUP", group, "c", "COUNT", read, "STREAMS", KEY, ">")
        await client.call("XACK", KEY, group, *(f"{n}-0" for n in range(1, acked + 1)))
    assert await trim_acked(client, KEY, exact=True) == 3
    assert await remaining(client) == [4, 5, 6, 7, 8, 9, 10]
    await client.call("XACK", KEY, "slow", "5-0", "6-0")  # 4 is still pending
    assert await trim_acked(client, KEY, exact=True) == 0
    await client.call("XACK", KEY, "slow", "4-0")
    assert await trim_acked(client, KEY, exact=True) == 3
    assert await remaining(client) == [7, 8, 9, 10]


async def test_all_that_was_acked_is_trimmed_however_much_it_is(client: Client) -> None:
    """The server trims 10,000 entries a call at the most, unless it is told to the entry."""
    await filled(client, 25_000, GROUP)
    await client.call("XREADGROUP", "GROUP", GROUP, "c", "COUNT", 25_000, "STREAMS", KEY, ">")
    await client.call("XACK", KEY, GROUP, *(f"{n}-0" for n in range(1, 25_001)))
    assert await trim_acked(client, KEY) > 24_000
    assert len(await remaining(client)) < 1000  # what whole nodes leave


async def test_a_foreign_group_and_one_that_has_read_nothing_hold_everything(client: Client) -> None:
    await filled(client, 5, "ours")
    await client.call("XREADGROUP", "GROUP", "ours", "c", "STREAMS", KEY, ">")
    await client.call("XACK", KEY, "ours", *(f"{n}-0" for n in range(1, 6)))
    await client.call("XGROUP", "CREATE", KEY, "theirs", "0")
    assert await trim_acked(client, KEY, exact=True) == 0
    await client.call("XGROUP", "DESTROY", KEY, "theirs")
    assert await trim_acked(client, KEY, exact=True) == 5


async def test_a_stream_without_groups_and_one_that_is_not_there_are_left_alone(client: Client) -> None:
    await client.call("XADD", KEY, "*", "a", "b")
    assert await trim_acked(client, KEY, exact=True) == 0
    assert await trim_acked(client, "{t}:none", exact=True) == 0


async def test_acked_entries_are_kept_as_long_as_the_stream_says(client: Client) -> None:
    await filled(client, 3)  # ids of 1970: older than any time to keep
    new = await client.call("XADD", KEY, "*", "data", "{}")
    await client.call("XREADGROUP", "GROUP", GROUP, "c", "STREAMS", KEY, ">")
    await client.call("XACK", KEY, GROUP, "1-0", "2-0", "3-0", str(new, "ascii"))  # type: ignore[arg-type]
    assert await trim_acked(client, KEY, exact=True, keep=3600) == 3
    assert len(await remaining(client)) == 1


# -- positions --------------------------------------------------------------------------------------------------------


async def test_one_look_tells_lengths_lags_and_pending(client: Client) -> None:
    await filled(client, 10, "a", "b")
    await client.call("XREADGROUP", "GROUP", "a", "c", "COUNT", 4, "STREAMS", KEY, ">")
    await client.call("XACK", KEY, "a", "1-0")
    await client.call("SET", "{t}:x", "y")
    found = (await look(client, [KEY, "{t}:none", "{t}:x"])).streams
    a = found[KEY].groups["a"]
    assert (found[KEY].length, a.pending, a.lag, a.backlog, a.consumers) == (10, 3, 6, 9, 1)
    assert found[KEY].backlog(["a", "b"]) == 10
    assert (found["{t}:none"].kind, found["{t}:x"].kind) == ("none", "string")


async def test_lag_is_known_also_where_the_server_does_not_say(client: Client) -> None:
    """After a deletion in the part not read yet, or a group set to somewhere, XINFO's lag is null."""
    await filled(client, 10)
    await client.call("XDEL", KEY, "5-0")
    await client.call("XGROUP", "SETID", KEY, GROUP, "3-0")
    unknown = await look(client, [KEY])
    assert (unknown.streams[KEY].groups[GROUP].lag, unknown.streams[KEY].groups[GROUP].exact) == (9, False)
    group = (await counted(client, unknown)).streams[KEY].groups[GROUP]
    assert (group.lag, group.exact) == (6, True)


# -- leases -----------------------------------------------------------------------------------------------------------


async def test_a_lease_has_one_owner_and_who_waits_gets_it_when_the_owner_is_silent_or_leaves(client: Client) -> None:
    old, new = Leases(client, "old", "{t}:@probe"), Leases(client, "new", "{t}:@probe")
    lease = await old.take("{t}:@lease:s")
    assert lease is not None
    assert await new.take("{t}:@lease:s", wait_for=60) is None
    await old.move(lease, "42")
    await old.release(lease)
    taken = await new.take("{t}:@lease:s", wait_for=60)
    assert taken is not None
    assert (taken.checkpoint, taken.epoch) == ("42", lease.epoch + 1)
    with pytest.raises(FencedError):
        await old.beat(lease)


# -- dead letters -----------------------------------------------------------------------------------------------------


async def test_replay_puts_the_original_fields_back_once(client: Client) -> None:
    fields = [b"data", b'{"n":1}', b"@ours", b"x", b"key", b"k"]
    letter = dead_letter(fields, error="e", traceback="t", stage="s", origin=KEY, origin_id="1-0", deliveries=3)
    await client.call("XADD", "{t}:dead", "*", *letter)
    (found,) = await find_dead(client, "{t}:dead")
    assert found.fields == {"data": '{"n":1}', "@ours": "x", "key": "k"}
    for expected in (1, 0):
        assert await replay(client, "{t}:dead", "{t}:replay", [found.id, found.id]) == expected
    reply = await client.call("XRANGE", "{t}:replay", "-", "+")
    assert isinstance(reply, list)
    assert [entry[1] for entry in reply] == [[*fields, b"@waited", b"0+3 1-0 " + KEY.encode()]], "and where it was from"


# -- the wire ---------------------------------------------------------------------------------------------------------


async def test_a_cancelled_call_leaves_the_connection_in_step(client: Client) -> None:
    await client.call("SET", "a", "1")
    tasks = [asyncio.create_task(client.call("BLPOP", "{t}:none", 0.05)), *(
        asyncio.create_task(client.call("ECHO", str(n))) for n in range(50)
    )]  # fmt: skip
    await asyncio.sleep(0)
    for task in tasks[::3]:
        task.cancel()
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert [reply for n, reply in enumerate(done) if n % 3] == [str(n - 1).encode() for n in range(51) if n % 3]
    assert await client.call("GET", "a") == b"1"


async def test_error_replies_among_many_are_values_and_others_still_come(client: Client) -> None:
    first, second, third = await client.call_many([("SET", "a", "1"), ("XLEN", "a"), ("GET", "a")])
    assert (first, third) == (b"OK", b"1")
    assert isinstance(second, WrongKeyTypeError)


async def test_a_lost_connection_is_told_and_the_next_call_has_a_new_one(client: Client) -> None:
    await client.call("PING")
    waiting = asyncio.create_task(client.call("BLPOP", "{t}:none", 60))
    await asyncio.sleep(0)
    own = await wire_of_its_own(client)
    await own.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    with pytest.raises(ServerUnreachableError):
        await waiting
    assert await client.call("PING") == b"PONG"
    await own.close()


async def test_a_master_that_became_a_replica_is_left_by_its_callers(client: Client) -> None:
    """It keeps its connections; only a new one asks who is master now (Sentinel)."""
    before = await client.call("CLIENT", "ID")
    await client.call("REPLICAOF", "127.0.0.1", 1)
    with pytest.raises(TryAgainError, match="READONLY"):
        await client.call("SET", "a", 1)
    await client.call("REPLICAOF", "NO", "ONE")
    assert await client.call("CLIENT", "ID") != before


async def test_a_server_that_closes_every_connection_is_tried_a_few_times_and_then_told() -> None:
    """One connection in a hundred may break while it is made; a server that closes all of them is none of ours."""
    seen = 0

    def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        seen += 1
        writer.close()

    async with await asyncio.start_server(close, "127.0.0.1", 0) as listening:
        server = Server(f"redis://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
        with pytest.raises(ServerUnreachableError, match="no server answers"):
            await server.client.call("PING")
        await server.close()
    assert seen == 3


async def test_a_transport_that_is_closed_already_is_a_lost_connection(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """uvloop answers a write to it with a RuntimeError, not with an OSError."""
    await client.call("PING")

    class Closed:
        def is_closing(self) -> bool:
            return False

        def write(self, _: bytes) -> None:
            raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

        def abort(self) -> None:
            pass

    monkeypatch.setattr(client._link, "_transport", Closed())
    with pytest.raises(ConnectionLostError):
        await client.call("PING")
    assert await client.call("PING") == b"PONG"


async def wire_of_its_own(client: Client) -> Client:
    other = Client(client._pool)
    await other.call("PING")
    return other


async def test_where_no_server_answers_it_is_told_in_one_sentence() -> None:
    with pytest.raises(ServerUnreachableError, match="no server answers"):
        await Server("redis://127.0.0.1:1").client.call("PING")


async def test_a_wrong_password_is_told_and_not_waited_for(any_url: str) -> None:
    scheme, _, rest = any_url.partition("://")
    for wrong in (f"{any_url}?username=me&password=no", f"{scheme}://me:no@{rest}"):
        if scheme == "unix" and "@" in wrong:
            continue
        server = Server(wrong)
        with pytest.raises(CommandRefusedError, match="authentication failed"):
            await server.client.call("PING")
        await server.close()
