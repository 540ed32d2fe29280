"""The commit script's promises (invariants I1, I2, I4, I6), and that each of them can fail.

Every promise is a scenario. It holds with the real script; and with the line taken out that keeps it, named in
`GATES`, the same scenario fails. So no test here is green because nothing was tested.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files

import pytest

from papyra_flow.errors import FencedError, ServerError, TryAgainError, WrongKeyTypeError
from papyra_flow.records.entries import Entry
from papyra_flow.streams import scripts
from papyra_flow.streams.admin.dead_letters import dead_letter, read_dead_letter
from papyra_flow.streams.commit.commit import Commit, Committed
from papyra_flow.streams.commit.committer import Committer
from papyra_flow.streams.commit.lease import Leases
from papyra_flow.streams.commit.operations import (
    DeleteState,
    DeleteTimer,
    Forward,
    MoveCheckpoint,
    Operation,
    PutState,
    SetTimer,
    Wait,
)
from papyra_flow.streams.connection.client import Argument, Client, Reply
from papyra_flow.streams.connection.server import Server
from papyra_flow.streams.groups.lifecycle import GroupSpec, create_groups
from papyra_flow.streams.groups.reading import GroupReader, entries_of

IN, OUT, OTHER, DEAD, PROBE, LEASE = "{t}:in", "{t}:out", "{t}:other", "{t}:@dead:s", "{t}:@probe", "{t}:@lease:s"
STATE, TIMERS, LATER = "{t}:@state:s", "{t}:@timers:s", "{t}:@later:s"
GROUP = "s"


def committer(client: Client, consumer: str = "one", *, lease: str | None = None) -> Committer:
    return Committer(
        client,
        source=IN,
        group=GROUP,
        consumer=consumer,
        probe=PROBE,
        lease=lease,
        targets=[OUT, OTHER, DEAD],
        ledger="{t}:@ledger",
        later=LATER,
        states=[STATE],
        timers=[TIMERS],
    )


async def delivered(client: Client, count: int = 3, consumer: str = "one") -> list[Entry]:
    """Entries in IN that the consumer has read and not acked."""
    await create_groups(client, [GroupSpec(IN, GROUP)], marker="{t}:@applied")
    for number in range(count):
        await client.call("XADD", IN, "*", "data", b'{"n":%d}' % number)
    (batch,) = await GroupReader(client, client, keys=[IN], group=GROUP, consumer=consumer).read(count, block=1)
    return [batch.entry(place) for place in range(len(batch))]


async def contents(client: Client, key: str) -> list[Entry]:
    return entries_of([[key.encode(), await client.call("XRANGE", key, "-", "+")]])


async def pending(client: Client) -> int:
    reply = await client.call("XPENDING", IN, GROUP)
    assert isinstance(reply, list)
    assert isinstance(reply[0], int)
    return reply[0]


def forwarding(entries: list[Entry], target: int = 0) -> Commit:
    commit = Commit()
    for entry in entries:
        commit.forward(entry.id, target, entry.data or b"")
    return commit


# -- the promises -------------------------------------------------------------------------------------------------


async def only_what_was_acked_is_forwarded(client: Client) -> None:
    """I1: an entry that is not pending (any more) forwards nothing; one that is, does and is acked."""
    entries = await delivered(client)
    await client.call("XACK", IN, GROUP, entries[1].id)
    result = await committer(client).commit(forwarding(entries))
    assert [entry.data for entry in await contents(client, OUT)] == [entries[0].data, entries[2].data]
    assert (result.acked, result.stale) == (2, {entries[1].id})
    assert await pending(client) == 0


async def the_first_commit_wins(client: Client) -> None:
    """I2: taken over while its first owner was only slow, an entry is forwarded by whoever commits first."""
    entries = await delivered(client)
    await client.call("XCLAIM", IN, GROUP, "two", 0, *(entry.id for entry in entries))
    winner = await committer(client, "two").commit(forwarding(entries, target=0))
    loser = await committer(client, "one").commit(forwarding(entries, target=1))
    assert len(await contents(client, OUT)) == 3
    assert len(await contents(client, OTHER)) == 0
    assert (winner.acked, loser.acked, len(loser.stale)) == (3, 0, 3)


async def a_repeated_commit_does_nothing_twice(client: Client) -> None:
    """I2: the reply was lost, the commit is sent again."""
    entries = await delivered(client)
    await committer(client).commit(forwarding(entries))
    await committer(client).commit(forwarding(entries))
    assert len(await contents(client, OUT)) == 3


async def a_dead_letter_is_a_commit_too(client: Client) -> None:
    """I4: a dead letter is there if and only if its entry was acked by the same step, and there once."""
    entries = await delivered(client, 1)
    fields = dead_letter(
        entries[0].fields, error="bad", traceback="", stage="s", origin=IN, origin_id="1-1", deliveries=2
    )
    for consumer in ("one", "two"):
        commit = Commit()
        commit.emit(entries[0].id, [(2, fields)])
        await committer(client, consumer).commit(commit)
    letters = [read_dead_letter(entry) for entry in await contents(client, DEAD)]
    assert [(x.error, x.deliveries, x.fields) for x in letters] == [("bad", 2, {"data": '{"n":0}'})]
    assert await pending(client) == 0


async def a_checkpoint_moves_with_its_records(client: Client) -> None:
    """I6: the same source commit, sent again after a lost reply, adds nothing and moves nothing."""
    leases = Leases(client, "me", PROBE)
    lease = await leases.take(LEASE)
    assert lease is not None
    for _ in range(2):
        lease.commits, lease.records = 0, 0  # as it was before the reply that got lost
        await leases.ingest(
            lease, targets=[OUT], records=[(0, (b"data", b"1")), (0, (b"data", b"2"))], read=2, checkpoint="2",
            done=False,
        )  # fmt: skip
    assert [entry.data for entry in await contents(client, OUT)] == [b"1", b"2"]
    again = await leases.take(LEASE)
    assert again is not None
    assert (again.checkpoint, again.commits, again.records) == ("2", 1, 2)


async def a_fenced_source_adds_nothing(client: Client) -> None:
    """I6: a source that another process has taken over cannot add a record any more."""
    leases = Leases(client, "old", PROBE)
    old = await leases.take(LEASE)
    assert old is not None
    await Leases(client, "new", PROBE).take(LEASE)
    with pytest.raises(FencedError):
        await leases.ingest(old, targets=[OUT], records=[(0, (b"data", b"1"))], read=1, checkpoint="1", done=False)
    assert await contents(client, OUT) == []


async def a_key_of_another_type_loses_nothing(client: Client) -> None:
    """Rule 1 of the script: what could make XADD fail is found out before the first write."""
    entries = await delivered(client)
    await client.call("SET", OTHER, "a string")
    commit = forwarding(entries[:1])
    commit.forward(entries[1].id, 1, b"{}")
    with pytest.raises(WrongKeyTypeError, match="holds a string"):
        await committer(client).commit(commit)
    assert await pending(client) == 3
    assert await contents(client, OUT) == []


async def an_exclusive_owner_commits_all_or_nothing(client: Client) -> None:
    """A sink's batch of which one entry is not ours any more acks nothing, and leaves the checkpoint."""
    entries = await delivered(client)
    lease = await Leases(client, "me", PROBE).take(LEASE)
    assert lease is not None
    await client.call("XACK", IN, GROUP, entries[2].id)
    commit = Commit()
    for entry in entries:
        commit.ack(entry.id)
    result = await committer(client, lease=LEASE).commit(
        commit, checkpoint=MoveCheckpoint(LEASE, lease.epoch, "", "99")
    )
    assert (result.acked, result.missing) == (0, {entries[2].id})
    assert await pending(client) == 2
    assert await client.call("HGET", LEASE, "checkpoint") is None


async def entries_that_became_one_thing_are_committed_all_or_none(client: Client) -> None:
    """I1 for many to one: a table of records of which one is not ours any more is not forwarded at all."""
    entries = await delivered(client)
    await client.call("XACK", IN, GROUP, entries[1].id)
    one = committer(client)

    def together(entries: list[Entry]) -> Commit:
        commit = Commit()
        commit.emit(entries[0].id, [(0, (b"data", b"table")), (1, (b"data", b"other"))])
        for entry in entries[1:]:
            commit.ack(entry.id)
        return commit

    result = await one.commit(together(entries), together=True)
    assert (result.acked, result.missing, await pending(client)) == (0, {entries[1].id}, 2)
    assert await contents(client, OUT) == []
    result = await one.commit(together([entries[0], entries[2]]), together=True)
    assert (result.acked, result.missing, await pending(client)) == (2, set(), 0)
    assert [entry.data for entry in await contents(client, OUT) + await contents(client, OTHER)] == [b"table", b"other"]
    again = await one.commit(together([entries[0], entries[2]]), together=True)
    assert again.missing == {entries[0].id, entries[2].id}
    assert len(await contents(client, OUT)) == 1


async def an_owner_that_was_fenced_off_commits_nothing(client: Client) -> None:
    """A sink that another process has taken over cannot ack what it wrote to a file that is not its own any more."""
    entries = await delivered(client)
    old = await Leases(client, "old", PROBE).take(LEASE)
    await Leases(client, "new", PROBE).take(LEASE)
    commit = Commit()
    commit.ack(entries[0].id)
    assert old is not None
    with pytest.raises(FencedError):
        await committer(client, lease=LEASE).commit(commit, checkpoint=MoveCheckpoint(LEASE, old.epoch, "", "9"))
    assert await pending(client) == 3


async def an_owner_whose_server_went_back_commits_nothing(client: Client) -> None:
    """A server that lost its last commits has their entries again: what was written for them is to be cut off first."""
    entries = await delivered(client)
    lease = await Leases(client, "one", PROBE).take(LEASE)
    assert lease is not None
    owner = committer(client, lease=LEASE)

    async def acked(number: int, before: str, after: str) -> Committed:
        commit = Commit()
        commit.ack(entries[number].id)
        return await owner.commit(commit, checkpoint=MoveCheckpoint(LEASE, lease.epoch, before, after))

    assert (await acked(0, "", "5")).acked == 1
    assert (await acked(1, "5", "9")).acked == 1
    assert (await acked(1, "5", "9")).missing == {entries[1].id}, "the same once more, for a reply that was lost"
    await client.call("HSET", LEASE, "checkpoint", "5")
    with pytest.raises(FencedError, match="is not where its owner left it"):
        await acked(2, "9", "12")
    assert await pending(client) == 1


async def a_portion_behind_a_refused_one_does_nothing(client: Client) -> None:
    """I8: portions of a commit are sent in one go; what the one before has not acked keeps back those behind it."""
    entries = await delivered(client)
    head = (GROUP, "one", "", "", "", entries[0].id, 0, 0, 1)
    reply = await scripts.call_script(
        client, "commit", [IN, PROBE, PROBE, OUT, PROBE, "{t}:@ledger"], [*head, entries[1].id, "4", b"{}"]
    )
    assert reply == [0, [], b"EARLY", []]
    assert (await pending(client), await contents(client, OUT)) == (3, [])


def changing(entry: Entry, value: bytes = b"1", at: int = 5) -> list[Operation]:
    """A record that leaves, and a change of state and timers with it."""
    return [PutState(0, b"k", value), SetTimer(0, at, b"t"), Forward(0, (b"data", value))]


async def held(client: Client) -> tuple[object, object]:
    """What state and timers there are."""
    return await client.call("HGETALL", STATE), await client.call("ZRANGE", TIMERS, 0, -1, "WITHSCORES")


async def state_changes_with_the_first_commit_only(client: Client) -> None:
    """S2: an entry that was taken over changes state once, by whoever commits first."""
    entries = await delivered(client, 1)
    await client.call("XCLAIM", IN, GROUP, "two", 0, entries[0].id)
    for consumer, value in (("two", b"winner"), ("one", b"loser")):
        commit = Commit()
        commit.add(entries[0].id, changing(entries[0], value, at=5 if consumer == "two" else 6))
        await committer(client, consumer).commit(commit)
    assert [entry.data for entry in await contents(client, OUT)] == [b"winner"]
    assert await held(client) == ([b"k", b"winner"], [b"t", b"5"])


async def state_of_entries_that_are_one_changes_for_all_or_none(client: Client) -> None:
    """S2 for a commit as a whole: where one entry is not ours any more, no state has changed."""
    entries = await delivered(client)
    await client.call("XACK", IN, GROUP, entries[1].id)

    async def together(entries: list[Entry]) -> Committed:
        commit = Commit()
        for entry in entries:
            commit.add(entry.id, changing(entry, entry.data or b""))
        return await committer(client).commit(commit, together=True)

    assert (await together(entries)).missing == {entries[1].id}
    assert (await held(client), await pending(client)) == (([], []), 2)
    assert (await together([entries[0], entries[2]])).acked == 2
    assert (await held(client), await pending(client)) == (([b"k", b'{"n":2}'], [b"t", b"5"]), 0)


async def a_hash_of_another_type_loses_nothing(client: Client) -> None:
    """Rule 1 of the script for state and timers: nothing is written where one of their keys is something else."""
    entries = await delivered(client)
    for key, other in ((STATE, TIMERS), (TIMERS, STATE)):
        await client.call("SET", key, "a string")
        commit = forwarding(entries[:1])
        commit.add(entries[1].id, changing(entries[1]))
        with pytest.raises(WrongKeyTypeError, match=r"holds a string, not a (hash|zset)"):
            await committer(client).commit(commit)
        assert (await pending(client), await contents(client, OUT)) == (3, [])
        assert await client.call("EXISTS", other) == 0
        await client.call("DEL", key)


async def half_way(client: Client, *, together: bool) -> None:
    """A commit of which an XADD fails, which no check foresees: the target has had the last id that there is."""
    entries = await delivered(client, 2)
    await client.call("XADD", OTHER, f"{2**64 - 1}-{2**64 - 1}", "data", "last")
    commit = Commit()
    commit.add(entries[0].id, [*changing(entries[0]), Wait(60_000, (b"data", b"w")), Forward(1, (b"data", b"no"))])
    commit.add(entries[1].id, changing(entries[1]))
    with pytest.raises(ServerError):
        await committer(client).commit(commit, together=together)
    assert (await held(client), await pending(client)) == (([], []), 2)
    assert (await contents(client, OUT), await client.call("EXISTS", LATER)) == ([], 0)


async def an_entry_that_fails_half_way_changes_nothing(client: Client) -> None:
    """What was added is taken back, also what was to wait; no state has changed, and the entry is pending."""
    await half_way(client, together=False)


Scenario = Callable[[Client], Awaitable[None]]


@dataclass(frozen=True)
class Gate:
    """A line of a script, what stands there when it is taken out, and the promise that then breaks."""

    script: str
    line: str
    without: str
    scenario: Scenario

    def __str__(self) -> str:
        return self.scenario.__name__


ACK_GATE = "local ours = redis.call('XACK', source, group, id) == 1"
NO_GATE = "local ours = redis.call('XACK', source, group, id) < 2"
EPOCH = "if held[1] ~= epoch then return"
PLACE = "if at ~= ARGV[4] and at ~= ARGV[5] then"
ALL = "if found < #ids then"
EARLY = "if ARGV[6] ~= '' and #redis.call('XPENDING', source, group, ARGV[6], ARGV[6], 1) > 0 then"
EAGER = "if not failure then change(changes) end"
UNDO = "entry[1] == later and 'ZREM' or 'XDEL'"
GATES = [
    Gate("commit", ACK_GATE, NO_GATE, only_what_was_acked_is_forwarded),
    Gate("commit", ACK_GATE, NO_GATE, the_first_commit_wins),
    Gate("commit", ACK_GATE, NO_GATE, a_repeated_commit_does_nothing_twice),
    Gate("commit", ACK_GATE, NO_GATE, a_dead_letter_is_a_commit_too),
    Gate("commit", "if kind ~= wanted and kind ~= 'none' then", "if false then", a_key_of_another_type_loses_nothing),
    Gate("commit", ALL, "if false then", an_exclusive_owner_commits_all_or_nothing),
    Gate("commit", ALL, "if false then", entries_that_became_one_thing_are_committed_all_or_none),
    Gate("commit", EPOCH, "if false then return", an_owner_that_was_fenced_off_commits_nothing),
    Gate("commit", PLACE, "if false then", an_owner_whose_server_went_back_commits_nothing),
    Gate("commit", EARLY, "if false then", a_portion_behind_a_refused_one_does_nothing),
    Gate("commit", ACK_GATE, NO_GATE, state_changes_with_the_first_commit_only),
    Gate("commit", ALL, "if false then", state_of_entries_that_are_one_changes_for_all_or_none),
    Gate("commit", "if kind ~= wanted and kind ~= 'none' then", "if false then", a_hash_of_another_type_loses_nothing),
    Gate("commit", EAGER, "change(changes)", an_entry_that_fails_half_way_changes_nothing),
    Gate("commit", UNDO, "'XDEL'", an_entry_that_fails_half_way_changes_nothing),
    Gate("ingest", "if commits == number then", "if false then", a_checkpoint_moves_with_its_records),
    Gate("ingest", "if held[1] ~= epoch then", "if false then", a_fenced_source_adds_nothing),
]


@pytest.mark.parametrize("gate", GATES, ids=str)
async def test_promise_holds(gate: Gate, client: Client) -> None:
    await gate.scenario(client)


@pytest.mark.parametrize("gate", GATES, ids=str)
async def test_promise_breaks_without_its_gate(gate: Gate, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    take_out(gate, monkeypatch)
    with pytest.raises((AssertionError, pytest.fail.Exception, ServerError, FencedError)):
        await gate.scenario(client)


def take_out(gate: Gate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the server run the script without the gate's line."""
    original = scripts.source_of
    text, _ = original(gate.script)
    assert text.count(gate.line) == 1, f"the line stands elsewhere by now: {gate.line}"
    broken = text.replace(gate.line, gate.without)
    sha = hashlib.sha1(broken.encode(), usedforsecurity=False).hexdigest()
    monkeypatch.setattr(scripts, "source_of", lambda name: (broken, sha) if name == gate.script else original(name))


# -- what the server refuses ----------------------------------------------------------------------------------------


@pytest.fixture
async def full(client: Client) -> Client:
    """A server that is out of memory, with entries that were delivered before."""
    await delivered(client)
    await client.call("CONFIG", "SET", "maxmemory", 1)
    return client


async def test_a_server_out_of_memory_refuses_the_whole_commit(full: Client) -> None:
    entries = await contents(full, IN)
    with pytest.raises(TryAgainError, match="OOM"):
        await committer(full).commit(forwarding(entries))
    await full.call("CONFIG", "SET", "maxmemory", 0)
    assert (await pending(full), await contents(full, OUT)) == (3, [])
    await committer(full).commit(forwarding(entries))
    assert (await pending(full), len(await contents(full, OUT))) == (0, 3)


def test_every_script_lets_the_server_refuse_it_whole() -> None:
    """`#!lua` in the first line is what makes a full, read-only or lonely server refuse before the first write."""
    names = [path.name.removesuffix(".lua") for path in (files("papyra_flow.streams") / "lua").iterdir()]
    assert {"commit", "ingest", "relay", "replay"} <= set(names)
    assert [name for name in names if not scripts.source_of(name)[0].startswith("#!lua")] == []


async def test_a_script_that_the_server_forgot_is_sent_again(client: Client) -> None:
    entries = await delivered(client)
    await committer(client).commit(forwarding(entries[:1]))
    await client.call("SCRIPT", "FLUSH")
    await committer(client).commit(forwarding(entries[1:]))
    assert len(await contents(client, OUT)) == 3


async def test_a_script_that_the_server_forgot_is_sent_again_before_all_portions(client: Client) -> None:
    entries = await delivered(client, 1000)
    await client.call("SCRIPT", "FLUSH")
    assert (await committer(client).commit(forwarding(entries))).acked == 1000
    assert [entry.data for entry in await contents(client, OUT)] == [entry.data for entry in entries]


async def test_a_script_that_the_server_forgets_between_two_portions_is_sent_again(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[object] = []
    really = client.call_many

    async def and_forget(commands: Sequence[Sequence[Argument]]) -> list[Reply | ServerError]:
        replies = await really([*commands[:2], ("SCRIPT", "FLUSH"), *commands[2:]])
        forgotten.append(replies.pop(2))
        return replies

    entries = await delivered(client, 1000)
    await committer(client).commit(forwarding(entries[:1]))
    monkeypatch.setattr(client, "call_many", and_forget)
    assert (await committer(client).commit(forwarding(entries[1:]))).acked == 999
    assert b"OK" in forgotten
    assert [entry.data for entry in await contents(client, OUT)] == [entry.data for entry in entries]


async def test_a_large_commit_is_sent_in_portions_and_in_order(client: Client) -> None:
    entries = await delivered(client, 2500)
    commit = forwarding(entries)
    assert len(commit.seal()) == 20
    assert (await committer(client).commit(commit)).acked == 2500
    assert [entry.data for entry in await contents(client, OUT)] == [entry.data for entry in entries]


async def test_fan_out_and_headers_arrive_as_they_were_emitted(client: Client) -> None:
    entries = await delivered(client, 1)
    commit = Commit()
    commit.emit(entries[0].id, [(0, (b"data", b"1", b"key", b"k")), (1, (b"a", b"x", b"b", b"y"))])
    await committer(client).commit(commit)
    assert [entry.fields for entry in await contents(client, OUT)] == [[b"data", b"1", b"key", b"k"]]
    assert [entry.fields for entry in await contents(client, OTHER)] == [[b"a", b"x", b"b", b"y"]]


# -- state and timers -----------------------------------------------------------------------------------------------


async def test_state_and_timers_change_in_the_order_of_the_operations(client: Client) -> None:
    entries = await delivered(client, 2)
    commit = Commit()
    commit.add(entries[0].id, [
        PutState(0, b"a", b"1"), PutState(0, b"b", b"1"), PutState(0, b"a", b"2"), SetTimer(0, 7, b"t"),
        SetTimer(0, 8, b"u"), SetTimer(0, 9, b"t"),
    ])  # fmt: skip
    commit.add(entries[1].id, [DeleteState(0, b"b"), DeleteState(0, b"never"), DeleteTimer(0, b"u")])
    assert (await committer(client).commit(commit)).acked == 2
    assert await held(client) == ([b"a", b"2"], [b"t", b"9"])
    assert await contents(client, OUT) == []


async def test_a_whole_batch_of_changes_is_sent_in_portions(client: Client) -> None:
    entries = await delivered(client, 400)
    commit = Commit()
    for number, entry in enumerate(entries):
        commit.add(entry.id, [PutState(0, b"%d" % (number % 7), entry.data or b""), Forward(0, (b"data", b"x"))])
    assert len(commit.seal()) > 1
    assert (await committer(client).commit(commit)).acked == 400
    assert await client.call("HGET", STATE, b"%d" % (399 % 7)) == entries[399].data
    assert await client.call("XLEN", OUT) == 400


async def test_entries_that_are_one_and_fail_half_way_change_nothing(client: Client) -> None:
    await half_way(client, together=True)


async def test_state_that_a_user_may_not_change_is_refused_before_anything_is_written(
    any_url: str, client: Client
) -> None:
    entries = await delivered(client, 1)
    await client.call("ACL", "SETUSER", "half", "on", ">pw", "~*", "+@all", "-hdel")
    server = Server(any_url.replace("://", "://half:pw@"))
    commit = Commit()
    commit.add(entries[0].id, changing(entries[0]))
    try:
        with pytest.raises(ServerError, match="no permissions to run HDEL on"):
            await committer(server.client).commit(commit)
    finally:
        await server.close()
        await client.call("ACL", "DELUSER", "half")
    assert (await held(client), await pending(client), await contents(client, OUT)) == (([], []), 1, [])
