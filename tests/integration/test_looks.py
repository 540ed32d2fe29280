"""Looks: they find out what is there without holding the server, and draining never goes by a lag that is wrong."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from papyra_flow.errors import LostEntriesError
from papyra_flow.runtime.process.drain import Drain
from papyra_flow.streams.connection.client import Client
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.ends import ends_of
from papyra_flow.streams.groups.lag import Counter, counted
from papyra_flow.streams.groups.snapshot import look
from tests.harness.pipelines import PipelineFolder
from tests.harness.servers import plain_client

KEY, GROUP = "{l}:s", "g"


async def added(client: Client, number: int, size: int = 10) -> None:
    for _ in range(number):
        await client.call("XADD", KEY, "*", "data", b"x" * size)


async def calls(client: Client, command: str) -> int:
    """How often a command was executed, in scripts too."""
    text = await client.call("INFO", "commandstats")
    assert isinstance(text, bytes)
    line = next((line for line in text.decode().splitlines() if line.startswith(f"cmdstat_{command}:")), "")
    return int(line.partition("calls=")[2].partition(",")[0] or 0)


@pytest.mark.parametrize("size", [10, 16_384, 3_000_000])
async def test_a_look_copies_no_entry_though_no_lag_is_known(client: Client, size: int) -> None:
    await added(client, 20, size)
    await client.call("XGROUP", "CREATE", KEY, GROUP, "0")
    reply = await client.call("XREVRANGE", KEY, "+", "-", "COUNT", 2)
    assert isinstance(reply, list)
    await client.call("XDEL", KEY, reply[1][0])
    await client.call("CONFIG", "RESETSTAT")
    group = (await look(client, [KEY])).streams[KEY].groups[GROUP]
    assert (group.lag, group.exact) == (19, False)
    assert [await calls(client, name) for name in ("xrange", "xrevrange", "xread", "xinfo|stream")] == [0, 0, 0, 0]


async def test_large_entries_are_not_copied_to_count_or_name_them(client: Client) -> None:
    await added(client, 5, 3_000_000)
    await client.call("XGROUP", "CREATE", KEY, GROUP, "0")
    reply = await client.call("XREVRANGE", KEY, "+", "-", "COUNT", 2)
    assert isinstance(reply, list)
    await client.call("XDEL", KEY, reply[1][0])
    size = await client.call("MEMORY", "USAGE", KEY)
    assert isinstance(size, int)
    await client.call("CONFIG", "RESETSTAT")
    positions = await counted(client, await look(client, [KEY]))
    assert not positions.streams[KEY].groups[GROUP].exact
    assert await ends_of(client, [positions.streams[KEY]], [size]) == [(None, None)]
    assert [await calls(client, name) for name in ("xrange", "xinfo|stream")] == [0, 0]


async def test_small_entries_are_counted_and_named(client: Client) -> None:
    await added(client, 300)
    await client.call("XGROUP", "CREATE", KEY, GROUP, "0")
    reply = await client.call("XRANGE", KEY, "-", "+")
    assert isinstance(reply, list)
    await client.call("XDEL", KEY, reply[100][0])
    size = await client.call("MEMORY", "USAGE", KEY)
    assert isinstance(size, int)
    positions = await counted(client, await look(client, [KEY]))
    group = positions.streams[KEY].groups[GROUP]
    assert (group.lag, group.exact) == (299, True)
    ends = (reply[0][0].decode(), reply[-1][0].decode())
    assert await ends_of(client, [positions.streams[KEY]], [size]) == [ends]


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 400)),
        st.tuples(st.just("read"), st.integers(1, 300)),
        st.tuples(st.just("delete"), st.integers(0, 400)),
        st.tuples(st.just("trim"), st.integers(0, 200)),
        st.tuples(st.just("count"), st.integers(1, 600)),
    ),
    max_size=12,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(OPERATIONS)
@example([("count", 2), ("delete", 1)])
def test_a_count_never_says_room_where_there_is_none_and_comes_to_rest_at_the_truth(
    any_url: str, operations: list[tuple[str, int]]
) -> None:
    """While entries are deleted it may be too high; when the group has read on, or nothing is there, it is right."""
    with plain_client(any_url) as plain:
        plain.flushall()
        plain.xgroup_create(KEY, GROUP, "0", mkstream=True)
        asyncio.run(_follows(any_url, plain, [("add", 3), ("delete", 1), *operations]))


async def _follows(url: str, plain: redis.Redis, operations: list[tuple[str, int]]) -> None:
    server = Server(url)
    counter = Counter(server.client, KEY)

    async def lag(at_most: int) -> int:
        stream = (await look(server.client, [KEY])).streams[KEY]
        group = stream.groups[GROUP]
        return group.lag if group.exact and not group.lag else await counter.lag(group, stream.length, at_most=at_most)

    def truth() -> list[bytes]:
        groups: Any = plain.xinfo_groups(KEY)
        entries: Any = plain.xrange(KEY, "(" + groups[0]["last-delivered-id"].decode(), "+")
        return [id_ for id_, _ in entries]

    for what, number in operations:
        if what == "add":
            for _ in range(number):
                plain.xadd(KEY, {"data": "x"})
        elif what == "read":
            plain.xreadgroup(GROUP, "c", {KEY: ">"}, count=number, noack=True)
        elif what == "delete":
            there = truth()
            if number < len(there):
                plain.xdel(KEY, there[number])
        elif what == "trim":
            plain.xtrim(KEY, maxlen=number, approximate=False)
        else:
            assert await lag(number) >= min(number, len(truth()))
    while truth():
        plain.xreadgroup(GROUP, "c", {KEY: ">"}, count=100, noack=True)
    await lag(1000)  # a group that stands still is looked at twice before its lag is doubted
    assert await lag(1000) == 0
    await server.close()


# -- draining ---------------------------------------------------------------------------------------------------------

PIPELINE = """\
    pipeline: l
    stages: {a: {from: s, process: [{set: {y: "1"}}], to: t}}
    streams: {s: {retain: all}, t: {retain: all}}
    """


def _filled(plain: redis.Redis, number: int) -> list[bytes]:
    plain.xgroup_create(KEY, "a", "0", mkstream=True)
    return [plain.xadd(KEY, {"data": f'{{"n": {n}}}'}) for n in range(number)]  # type: ignore[misc]


async def _drained(folder: PipelineFolder, url: str) -> int:
    result = await folder.pipeline(PIPELINE).run(url, drain=True)
    assert (result.outcome, result.streams["s"]["backlog"]) == ("drained", 0)
    with plain_client(url) as plain:
        return int(plain.xlen("{l}:t"))


async def test_a_run_does_not_end_early_where_the_server_says_that_nothing_is_left(
    any_url: str, folder: PipelineFolder
) -> None:
    """XGROUP SETID ... ENTRIESREAD says how many entries a group has read, and the server believes it."""
    with plain_client(any_url) as plain:
        _filled(plain, 50)
        plain.execute_command("XGROUP", "SETID", KEY, "a", "0", "ENTRIESREAD", 50)
        assert plain.xinfo_groups(KEY)[0]["lag"] == 0
    with pytest.raises(LostEntriesError, match="processed again"):  # for the ledger the group was moved back
        await _drained(folder, any_url)
    with plain_client(any_url) as plain:
        assert plain.xlen("{l}:t") == 50


@pytest.mark.parametrize("deleted", [[-1], [10], [0], [48, 49], list(range(50))])
async def test_a_run_ends_though_the_lag_is_not_known(any_url: str, folder: PipelineFolder, deleted: list[int]) -> None:
    with plain_client(any_url) as plain:
        ids = _filled(plain, 50)
        plain.xdel(KEY, *(ids[number] for number in deleted))
    assert await _drained(folder, any_url) == 50 - len(deleted)


async def test_a_run_ends_though_the_server_counts_entries_that_are_gone(any_url: str, folder: PipelineFolder) -> None:
    with plain_client(any_url) as plain:
        _filled(plain, 50)
        plain.xreadgroup("a", "x", {KEY: ">"}, count=10, noack=True)
        plain.xtrim(KEY, maxlen=5, approximate=False)
        with pytest.raises(LostEntriesError, match=r"lost 35 entries"):
            await _drained(folder, any_url)
        assert plain.xlen("{l}:t") == 5


async def test_writers_go_on_when_their_readers_have_caught_up_whatever_the_lag_says(
    any_url: str, folder: PipelineFolder
) -> None:
    """The stream keeps everything, so that neither its length nor a lag that is not known says that there is room."""
    folder.pipeline("""\
        pipeline: l
        stages:
          in: {read: {jsonl: in.jsonl}, to: s}
          a: {from: s, process: [{set: {y: "1"}}], to: t}
        streams: {s: {retain: all, max_backlog: 20}, t: {retain: all}}
        """)
    folder.records("in.jsonl", [{"n": number} for number in range(200)])
    with plain_client(any_url) as plain:
        ids = _filled(plain, 300)
        plain.xreadgroup("a", "x", {KEY: ">"}, count=300, noack=True)
        plain.xdel(KEY, ids[-1])
    result = await folder.run(any_url)
    assert result.outcome == "drained"
    with plain_client(any_url) as plain:
        assert plain.xlen("{l}:t") == 200


@pytest.mark.parametrize("told", ["nothing", "unknown", "right"])
async def test_what_waits_is_seen_whatever_the_lag_says_and_copied_once(
    any_url: str, folder: PipelineFolder, told: str
) -> None:
    """The decision alone: no consumer is at work that could be faster than the look."""
    topology = folder.pipeline(PIPELINE).topology()
    server = Server(any_url)
    context: Any = SimpleNamespace(topology=topology, server=server, activity=asyncio.Event())
    drain = Drain(context, ["a"], lambda: True)
    with plain_client(any_url) as plain:
        ids = _filled(plain, 5)
        if told == "nothing":
            plain.execute_command("XGROUP", "SETID", KEY, "a", "0", "ENTRIESREAD", 5)
        elif told == "unknown":
            plain.xdel(KEY, ids[2])
        assert [await drain.drained() for _ in range(3)] == [False] * 3
        plain.config_resetstat()
        assert [await drain.drained() for _ in range(3)] == [False] * 3
        assert await calls(server.client, "xrange") == 0
        plain.xreadgroup("a", "c", {KEY: ">"}, count=3)
        assert not await drain.drained()  # pending
        plain.xack(KEY, "a", *ids)
        assert [await drain.drained() for _ in range(3)] == [False] * 3
        plain.xtrim(KEY, maxlen=0)
        assert [await drain.drained() for _ in range(3)][-1]
    await server.close()
