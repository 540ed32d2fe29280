"""The server in memory answers what real ones do, to the same commands in the same order: so tests may rely on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from papyra_flow.errors import CommandRefusedError, ConnectionLostError, GroupGoneError, ServerError, TryAgainError
from papyra_flow.streams.commit.commit import Commit
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.connection.client import Argument, Reply
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.claims import Claimer
from papyra_flow.streams.groups.lag import count_slice
from papyra_flow.streams.groups.lifecycle import delete_consumer
from papyra_flow.streams.groups.reading import GroupReader
from papyra_flow.streams.groups.snapshot import look
from papyra_flow.streams.retention import trim_acked
from papyra_flow.streams.scripts import call_script
from tests.harness.memory import MemoryServer
from tests.harness.servers import REDIS, VALKEY, plain_client

Command = Sequence[Argument]
S, T = "{m}:s", "{m}:t"


@pytest.fixture(params=["memory", REDIS, VALKEY])
async def server(request: pytest.FixtureRequest, shared_servers: Callable[[str], str]) -> AsyncIterator[Server]:
    """An empty server: the one in memory, and those that it stands for."""
    if request.param == "memory":
        found = MemoryServer().connect()
    else:
        found = Server(shared_servers(request.param))
        await found.client.call("FLUSHALL")
        await found.client.call("SCRIPT", "FLUSH")
    yield found
    await found.close()


def shape(reply: Reply | ServerError) -> object:
    """A reply, errors by their kind: their words are for people."""
    if isinstance(reply, ServerError):
        return type(reply).__name__
    return [shape(part) for part in reply] if isinstance(reply, list) else reply


def facts(reply: object, *names: bytes) -> object:
    """What XINFO says of each, of these facts only: newer servers tell more, and idle times are what they are."""
    if not isinstance(reply, list):
        return reply
    told = [dict(zip(one[::2], one[1::2], strict=True)) for one in reply]
    return sorted([[one[name] for name in names] for one in told], key=repr)


# -- any commands, in any order ---------------------------------------------------------------------------------------

ids = st.integers(1, 12).map("{}-0".format)
few_ids = st.lists(ids, min_size=1, max_size=4, unique=True)
keys, groups, consumers = st.sampled_from([S, T]), st.sampled_from(["g", "h"]), st.sampled_from(["one", "two"])
bounds = st.sampled_from(["-", "+", "3-0", "(3-0", "6", "(9-0"])
commands: st.SearchStrategy[Command] = st.one_of(
    st.tuples(st.just("XADD"), keys, ids, st.just("data"), st.just("x")),
    st.tuples(st.just("XADD"), keys, ids, st.just("data"), st.just("x")),
    st.tuples(st.just("XADD"), keys, st.just("NOMKSTREAM"), ids, st.just("p"), st.just("p")),
    st.tuples(
        st.just("XGROUP"), st.just("CREATE"), keys, groups, st.sampled_from(["0", "$", "5-0"]), st.just("MKSTREAM")
    ),
    st.tuples(st.just("XGROUP"), st.just("DESTROY"), keys, groups),
    st.tuples(st.just("XGROUP"), st.just("DELCONSUMER"), keys, groups, consumers),
    st.tuples(st.just("XGROUP"), st.just("SETID"), keys, groups, ids),
    st.tuples(st.just("XGROUP"), st.just("SETID"), keys, groups, ids, st.just("ENTRIESREAD"), st.integers(0, 12)),
    st.tuples(
        st.just("XREAD"), st.just("COUNT"), st.integers(1, 5), st.just("BLOCK"), st.just(1), st.just("STREAMS"), keys,
        st.sampled_from(["0", "3-0", "7"]),
    ),
    st.tuples(
        st.just("XREADGROUP"), st.just("GROUP"), groups, consumers, st.just("COUNT"), st.integers(1, 5),
        st.just("BLOCK"), st.just(1), st.just("STREAMS"), keys, st.just(">"),
    ),
    st.tuples(keys, groups, few_ids).map(lambda t: ("XACK", t[0], t[1], *t[2])),
    st.tuples(keys, groups, consumers, few_ids).map(lambda t: ("XCLAIM", *t[:3], 0, *t[3], "JUSTID")),
    st.tuples(keys, groups, consumers, few_ids).map(lambda t: ("XCLAIM", *t[:3], 0, *t[3])),
    st.tuples(keys, groups, consumers, few_ids).map(lambda t: ("XCLAIM", *t[:3], 0, *t[3], "FORCE", "JUSTID")),
    st.tuples(keys, groups, consumers, ids, st.integers(1, 3)).map(
        lambda t: ("XAUTOCLAIM", *t[:3], 0, t[3], "COUNT", t[4], "JUSTID")
    ),
    st.tuples(st.just("XPENDING"), keys, groups),
    st.tuples(st.just("XDEL"), keys, ids),
    st.tuples(st.just("XTRIM"), keys, st.just("MINID"), st.just("="), ids),
    st.tuples(st.just("XRANGE"), keys, bounds, bounds, st.just("COUNT"), st.integers(1, 5)),
    st.tuples(st.just("XREVRANGE"), keys, bounds, bounds),
    st.tuples(st.just("XLEN"), keys),
    st.tuples(st.just("HLEN"), keys),
    st.tuples(st.just("HGETALL"), keys),
    st.tuples(st.just("TYPE"), keys),
    st.tuples(st.just("DEL"), keys),
    st.tuples(st.just("SET"), keys, st.just("text")),
    st.tuples(st.just("HSET"), keys, st.sampled_from(["a", "b"]), st.integers(0, 3)),
    st.tuples(st.just("HINCRBY"), keys, st.sampled_from(["a", "b"]), st.integers(-2, 3)),
    st.tuples(st.just("HDEL"), keys, st.sampled_from(["a", "b"])),
    st.tuples(st.just("HMGET"), keys, st.just("a"), st.just("b")),
    st.tuples(st.just("ZADD"), keys, st.just("NX"), st.integers(0, 5), st.sampled_from(["a", "b"])),
    st.tuples(st.just("ZADD"), keys, st.just("XX"), st.integers(0, 5), st.sampled_from(["a", "b"])),
    st.tuples(st.just("ZADD"), keys, st.integers(0, 5), st.sampled_from(["a", "b"])),
    st.tuples(st.just("ZREMRANGEBYSCORE"), keys, st.just("-inf"), st.integers(0, 5)),
    st.tuples(st.just("ZRANGE"), keys, st.just("-inf"), st.integers(0, 5), st.just("BYSCORE")),
    st.tuples(st.just("ZREM"), keys, st.sampled_from(["a", "b"])),
)  # fmt: skip


async def answers(server: Server, orders: Sequence[Command]) -> list[object]:
    """What a server says to these commands, and what is there afterwards."""
    found = [shape(reply) for order in orders for reply in await server.client.call_many([order])]
    deleted = any(order[0] == "XDEL" for order in orders)  # the versions differ in what they know of a lag then
    for key in (S, T):
        (reply,) = await server.client.call_many([("XINFO", "GROUPS", key)])
        names = (
            b"name",
            b"consumers",
            b"pending",
            b"last-delivered-id",
            *(() if deleted else (b"entries-read", b"lag")),
        )
        found.append(facts(shape(reply), *names))
        for group in ("g", "h"):
            pending, named = await server.client.call_many(
                [("XPENDING", key, group, "-", "+", 100), ("XINFO", "CONSUMERS", key, group)]
            )
            found.append([[one[0], one[1], one[3]] for one in pending] if isinstance(pending, list) else shape(pending))
            found.append(facts(shape(named), b"name", b"pending"))
    return found


@pytest.fixture(scope="module")
def real_url(shared_servers: Callable[[str], str]) -> str:
    return shared_servers(REDIS)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders=st.lists(commands, max_size=40))
def test_it_answers_any_commands_as_a_real_server_does(real_url: str, orders: list[Command]) -> None:
    with plain_client(real_url) as emptied:
        emptied.flushall()

    async def both() -> tuple[list[object], list[object]]:
        real, memory = Server(real_url), MemoryServer().connect()
        try:
            return await answers(real, orders), await answers(memory, orders)
        finally:
            await real.close()
            await memory.close()

    real, memory = asyncio.run(both())
    for place, (theirs, ours) in enumerate(zip(real, memory, strict=True)):
        assert ours == theirs, orders[place] if place < len(orders) else "what is there at the end"


# -- what takes time, or goes over several connections ----------------------------------------------------------------


async def filled(server: Server, count: int) -> None:
    await server.client.call("XGROUP", "CREATE", S, "g", "0", "MKSTREAM")
    await server.client.call_many([("XADD", S, f"{n}-0", "data", f"{n}") for n in range(1, count + 1)])


def reader(server: Server, consumer: str = "one") -> GroupReader:
    return GroupReader(server.new_wire(), server.client, keys=[S], group="g", consumer=consumer)


def claimer(server: Server, consumer: str) -> Claimer:
    return Claimer(server.client, key=S, group="g", consumer=consumer)


async def test_a_read_waits_for_an_entry_and_ends_when_it_is_unblocked(server: Server) -> None:
    await filled(server, 0)
    waiting = reader(server)
    await waiting.identify()
    blocked = asyncio.create_task(waiting.read(10, block=60))
    await server.client.call("XADD", S, "1-0", "data", "{}")
    assert [batch.ids for batch in await blocked] == [(b"1-0",)]
    blocked = asyncio.create_task(waiting.read(10, block=60))
    while not blocked.done():  # it is told again until it has begun
        await waiting.stop()
    assert await blocked == []
    await waiting.close()


async def test_a_read_that_waits_is_told_that_its_group_is_gone(server: Server) -> None:
    await filled(server, 0)
    waiting = reader(server)
    await waiting.identify()
    blocked = asyncio.create_task(waiting.read(10, block=60))
    while not blocked.done():
        await server.client.call("XGROUP", "DESTROY", S, "g")
        await asyncio.sleep(0)
    with pytest.raises(GroupGoneError):
        await blocked
    await waiting.close()


async def test_given_back_entries_have_the_age_that_they_were_given_and_are_claimed_by_it(server: Server) -> None:
    await filled(server, 5)
    reading = reader(server)
    await reading.read(5, block=1)
    await reading.close()
    assert await claimer(server, "two").claim(30) == []
    assert await claimer(server, "one").give_back(30) == 5
    assert all(entry.idle >= 30 for entry in await claimer(server, "one").pending(10))
    assert len(await claimer(server, "one").pending(10, idle=3600)) == 0
    two = claimer(server, "two")
    assert await two.claim(30) == [b"%d-0" % n for n in range(1, 6)]
    assert two.at_start
    assert [(entry.id, entry.deliveries) for entry in await two.take([b"2-0", b"9-0"])] == [(b"2-0", 2)]


async def test_its_scripts_are_the_real_ones_and_unknown_until_they_were_sent(server: Server) -> None:
    await filled(server, 6)
    reading = reader(server)
    await reading.read(4, block=1)
    await reading.close()
    commit = Commit()
    commit.forward(b"1-0", 0, b"one")
    commit.ack(b"2-0")
    commit.emit(b"3-0", [(0, (b"data", b"a", b"h", b"x")), (0, (b"data", b"b"))])
    commit.forward(b"5-0", 0, b"not delivered")
    committer = Committer(
        server.client, source=S, group="g", consumer="one", probe="{m}:@p", lease=None, targets=[T], ledger="{m}:@l"
    )
    done = await committer.commit(commit)
    assert (done.acked, done.stale) == (3, {b"5-0"})
    entries = await server.client.call("XRANGE", T, "-", "+")
    assert isinstance(entries, list)
    assert [entry[1] for entry in entries] == [[b"data", b"one"], [b"data", b"a", b"h", b"x"], [b"data", b"b"]]
    found = (await look(server.client, [S, T], undelivered=[(S, "g")])).streams[S].groups["g"]
    assert (found.pending, found.lag, found.last_delivered) == (1, 2, "4-0")
    assert (await count_slice(server.client, S, "4-0", 10))[0] == 2
    assert not await delete_consumer(server.client, S, "g", "one")
    assert await trim_acked(server.client, S, exact=True) == 3
    await server.client.call("SET", T, "text")
    assert shape((await server.client.call_many([("EVALSHA", "0" * 40, 0)]))[0]) == "CommandRefusedError"
    taken = await call_script(server.client, "acquire", ["{m}:@lease"], ["owner", "take", 0, b""])
    assert isinstance(taken, list)
    assert taken[0] == 1


# -- what only a test can order ---------------------------------------------------------------------------------------


@pytest.fixture
async def memory() -> MemoryServer:
    return MemoryServer()


async def refused(call: Awaitable[Reply], kind: type[ServerError]) -> None:
    with pytest.raises(kind):
        await call


async def test_faults_happen_as_they_were_ordered_and_no_more_often(memory: MemoryServer) -> None:
    client = memory.client()
    memory.lose_reply("HINCRBY")
    await refused(client.call("HINCRBY", "h", "n", 1), ConnectionLostError)
    assert await client.call("HGET", "h", "n") == b"1"
    memory.lose_command("HINCRBY")
    await refused(client.call("HINCRBY", "h", "n", 1), ConnectionLostError)
    assert await client.call("HGET", "h", "n") == b"1"
    memory.refuse("HINCRBY", "OOM command not allowed", times=2)
    for _ in range(2):
        await refused(client.call("HINCRBY", "h", "n", 1), TryAgainError)
    await refused(client.call("NONSENSE"), CommandRefusedError)
    held = memory.hold("HINCRBY")
    waiting = asyncio.create_task(client.call("HINCRBY", "h", "n", 1))
    await held.arrived.wait()
    assert memory.do("HGET", "h", "n") == b"1"
    held.release()
    assert await waiting == 2
    assert client.connections == 3
